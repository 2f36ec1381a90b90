//! `eagre topics`: looks into the topics of the embedded log and writes to them.
//!
//! With the log in its hands, or, while an engine holds it, through the engine's socket: the same calls either way.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::log::{Log, Put, Putting, Tail, TailFrom, Tailed, TopicFigures};
use crate::server::socket::{Client, Request};

/// Bytes of lines that are put in one go.
const PIECE_BYTES: usize = 1 << 20;

/// Topics of the embedded log.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Project folder.
    #[arg(long, global = true, default_value = ".")]
    project: PathBuf,
    /// Where state and the embedded log are [default: .eagre in the project folder].
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All topics with partitions, records, bytes, time span and retention.
    List,
    /// Show records as lines of JSON, and follow.
    Tail {
        /// Topic.
        topic: String,
        /// Where to begin: earliest, latest, an offset, -N (the last N of each partition), or a time like 2026-01-31T12:00:00Z.
        #[arg(long, default_value = "-10", allow_hyphen_values = true)]
        from: TailFrom,
        /// One partition only.
        #[arg(long)]
        partition: Option<u32>,
        /// Stop after so many records.
        #[arg(long)]
        limit: Option<u64>,
        /// Stop at the end instead of waiting for more.
        #[arg(long)]
        no_follow: bool,
    },
    /// Write lines of JSON, one object each, from a file or stdin.
    Put {
        /// Topic; made when it is not there.
        topic: String,
        /// File of lines; - is stdin.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Field of the objects that becomes the record's key.
        #[arg(long)]
        key_field: Option<String>,
        /// One partition, instead of by key or in turn.
        #[arg(long)]
        partition: Option<u32>,
    },
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let data_dir = args.data_dir.unwrap_or_else(|| args.project.join(".eagre"));
    let makes = matches!(args.command, Command::Put { .. });
    let topics = Topics::reach(data_dir, makes).await?;
    match args.command {
        Command::List => {
            let figures: Vec<TopicFigures> = topics.call("topics.list", &()).await?;
            list(&figures, &mut std::io::stdout()).map_err(unwritable)?;
        }
        Command::Tail { topic, from, partition, limit, no_follow } => {
            let tail = Tail { topic, partition, from, limit, follow: !no_follow, stands: Vec::new() };
            tail_to(&topics, tail, &mut std::io::stdout().lock()).await?;
        }
        Command::Put { topic, file, key_field, partition } => {
            let stdin = file.as_os_str() == "-";
            let source = if stdin { "stdin".to_owned() } else { file.display().to_string() };
            let unreadable = |e| Error::unreachable(format!("cannot read {source}")).because(e);
            let (input, bytes): (Box<dyn Read>, Option<u64>) = if stdin {
                (Box::new(std::io::stdin()), None)
            } else {
                let opened = File::open(&file).map_err(unreadable)?;
                let bytes = opened.metadata().map_err(unreadable)?.len();
                (Box::new(opened), Some(bytes))
            };
            let put = Put { topic: topic.clone(), partition, key_field, source, lines: 0, records: 0 };
            let put = put_from(&topics, put, input, &progress(bytes)).await?;
            writeln!(std::io::stdout(), "{} records put into {topic}", put.records).map_err(unwritable)?;
        }
    }
    Ok(0)
}

/// The way to the topics.
enum Topics {
    /// The log itself.
    Log(Log),
    /// The engine that holds the log.
    Engine(Box<Mutex<Client>>),
}

impl Topics {
    /// The engine that runs on a data directory, or else its log; only putting makes one where there is none.
    async fn reach(data_dir: PathBuf, makes: bool) -> Result<Topics> {
        if let Some(client) = Client::connect(&data_dir).await? {
            return Ok(Topics::Engine(Box::new(Mutex::new(client))));
        }
        let dir = data_dir.join("log");
        if !makes && !dir.is_dir() {
            let text = format!(
                "there is no log in {}; run a project that writes to one, or name its data directory with --data-dir",
                data_dir.display()
            );
            return Err(Error::unreachable(text));
        }
        Ok(Topics::Log(Log::open(&dir)?))
    }

    async fn call<T: DeserializeOwned>(&self, name: &str, argument: &impl Serialize) -> Result<T> {
        let unfit = |e| Error::bug(format!("call {name}")).because(e);
        let argument = serde_json::to_value(argument).map_err(unfit)?;
        let answer = match self {
            Topics::Log(log) => log.call(name, argument).await.ok_or_else(|| Error::bug(format!("no call {name}")))??,
            Topics::Engine(client) => client.lock().await.value(&Request::Call { name: name.to_owned(), arguments: argument }).await?,
        };
        serde_json::from_value(answer).map_err(unfit)
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::failed("cannot write to stdout").because(error)
}

/// Prints figures as a table, one topic a line.
fn list(figures: &[TopicFigures], out: &mut dyn Write) -> std::io::Result<()> {
    let time = |micros: Option<i64>| match micros.and_then(chrono::DateTime::from_timestamp_micros) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        None => "-".to_owned(),
    };
    let retention = |micros: Option<i64>| match micros {
        Some(micros) => humane(micros),
        None => "for ever".to_owned(),
    };
    let mut rows = vec![["topic", "partitions", "records", "bytes", "earliest", "latest", "retention"].map(str::to_owned)];
    rows.extend(figures.iter().map(|f| {
        let numbers = [u64::from(f.partitions), f.records, f.bytes].map(|n| n.to_string());
        let [partitions, records, bytes] = numbers;
        [f.topic.clone(), partitions, records, bytes, time(f.earliest_micros), time(f.latest_micros), retention(f.retention_micros)]
    }));
    let widths: Vec<usize> = (0..7).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padded = if (1..=3).contains(&at) { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") };
            line.push_str(&padded);
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A duration in its largest whole unit.
fn humane(micros: i64) -> String {
    const UNITS: [(&str, i64); 6] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
    let unit = UNITS.iter().find(|(_, length)| micros % length == 0 && micros >= *length);
    unit.map_or_else(|| micros.to_string(), |(name, length)| format!("{} {name}", micros / length))
}

/// Shows records until the tail ends or nobody reads them any more.
async fn tail_to(topics: &Topics, mut tail: Tail, out: &mut dyn Write) -> Result<()> {
    loop {
        let Tailed { page, next } = topics.call("topics.tail", &tail).await?;
        match out.write_all(page.lines.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(unwritable(error)),
        }
        if page.ended {
            return Ok(());
        }
        tail = next;
    }
}

/// Puts all lines of `input`, in pieces of whole lines.
async fn put_from(topics: &Topics, mut put: Put, input: impl Read, progress: &ProgressBar) -> Result<Put> {
    let mut input = BufReader::with_capacity(PIECE_BYTES, input);
    let mut piece = Vec::new();
    loop {
        let read = input.read_until(b'\n', &mut piece);
        let read = read.map_err(|e| Error::failed(format!("cannot read {}", put.source)).because(e))?;
        // Whoever types, or a slow pipe, is not kept waiting for a piece to fill.
        let rest_is_here = memchr::memchr(b'\n', input.buffer()).is_some();
        if !piece.is_empty() && (piece.len() >= PIECE_BYTES || !rest_is_here) {
            progress.inc(piece.len() as u64);
            let at = put.lines + 1;
            let lines = String::from_utf8(std::mem::take(&mut piece))
                .map_err(|e| Error::input(format!("{}: the lines from {at} on are no UTF-8 text", put.source)).because(e))?;
            put = topics.call("topics.put", &Putting { put, lines }).await?;
            progress.set_message(format!("{} records", put.records));
        }
        if read == 0 {
            progress.finish_and_clear();
            return Ok(put);
        }
    }
}

/// A progress line on a terminal; `bytes`: how many will come, if known.
fn progress(bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg} eta {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open() -> (tempfile::TempDir, Topics) {
        let dir = tempfile::tempdir().unwrap();
        let topics = Topics::reach(dir.path().to_owned(), true).await.unwrap();
        (dir, topics)
    }

    fn put(key_field: Option<&str>) -> Put {
        let key_field = key_field.map(str::to_owned);
        Put { topic: "orders".into(), partition: None, key_field, source: "stdin".into(), lines: 0, records: 0 }
    }

    #[tokio::test]
    async fn lines_go_in_and_come_out() {
        let (_dir, topics) = open().await;
        let lines: String = (0..50_000).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(50))).collect();
        let put = put_from(&topics, put(Some("n")), lines.as_bytes(), &ProgressBar::hidden()).await.unwrap();
        assert_eq!((put.lines, put.records), (50_000, 50_000));
        let mut out = Vec::new();
        let tail = Tail { topic: "orders".into(), partition: None, from: TailFrom::Earliest, limit: None, follow: false, stands: vec![] };
        tail_to(&topics, tail, &mut out).await.unwrap();
        let lines: Vec<serde_json::Value> =
            out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
        let mut numbers: Vec<i64> = lines.iter().map(|l| l["value"]["n"].as_i64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50_000).collect::<Vec<_>>());
        assert!(lines.iter().all(|l| l["key"].as_str() == Some(&l["value"]["n"].to_string())));
    }

    #[tokio::test]
    async fn a_bad_line_deep_in_the_input_keeps_its_number() {
        let (_dir, topics) = open().await;
        let mut lines = "{\"a\":\"0123456789012345678901234567890123456789\"}\n".repeat(40_000);
        lines.push_str("nonsense\n");
        let told = put_from(&topics, put(None), lines.as_bytes(), &ProgressBar::hidden()).await.unwrap_err();
        assert_eq!(told.place().unwrap().to_string(), "stdin:40001:1");
        assert!(told.to_string().ends_with("the 40000 records before it are in the topic"), "{told}");
    }

    #[test]
    fn topics_are_listed_as_a_table() {
        let figures = TopicFigures {
            topic: "orders".into(),
            partitions: 4,
            records: 12_345,
            bytes: 999,
            earliest_micros: Some(1_000_000),
            latest_micros: None,
            retention_micros: Some(7 * 86_400_000_000),
        };
        let mut out = Vec::new();
        list(&[figures], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "topic   partitions  records  bytes  earliest                  latest  retention\n\
             orders           4    12345    999  1970-01-01T00:00:01.000Z  -       7 d\n"
        );
    }

    #[tokio::test]
    async fn no_log_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = Topics::reach(dir.path().join("none"), false).await.err().unwrap();
        assert!(told.to_string().starts_with("there is no log in"), "{told}");
    }
}
