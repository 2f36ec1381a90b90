//! Topics of the embedded log: with the log in its hands, or, while an engine holds it, through the engine's socket.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::filter::Filter;
use super::table::table;
use super::{humane, unwritable};
use crate::error::{Error, Result};
use crate::log::{Log, Tail, Tailed, TopicFigures};
use crate::server::socket::{Client, Request};

/// The way to the topics.
pub enum Topics {
    /// The log itself.
    Log(Log),
    /// The engine that holds the log.
    Engine(Box<Mutex<Client>>),
}

impl Topics {
    /// The engine that runs on a data directory, or else its log; only putting makes one where there is none.
    pub async fn reach(data_dir: PathBuf, makes: bool) -> Result<Topics> {
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

    /// Calls what the log does by name.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, argument: &impl Serialize) -> Result<T> {
        let unfit = |e| Error::bug(format!("call {name}")).because(e);
        let argument = serde_json::to_value(argument).map_err(unfit)?;
        let answer = match self {
            Topics::Log(log) => log.call(name, argument).await.ok_or_else(|| Error::bug(format!("no call {name}")))??,
            Topics::Engine(client) => client.lock().await.value(&Request::Call { name: name.to_owned(), arguments: argument }).await?,
        };
        serde_json::from_value(answer).map_err(unfit)
    }
}

/// Prints figures as a table, one topic a line.
pub fn list(figures: &[TopicFigures], out: &mut dyn Write) -> std::io::Result<()> {
    let time = |micros: Option<i64>| match micros.and_then(chrono::DateTime::from_timestamp_micros) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        None => "-".to_owned(),
    };
    let kept = |micros: Option<i64>| micros.map_or("for ever".to_owned(), humane);
    let rows = figures.iter().map(|f| {
        let [partitions, records, bytes] = [u64::from(f.partitions), f.records, f.bytes].map(|n| n.to_string());
        vec![f.topic.clone(), partitions, records, bytes, time(f.earliest_micros), time(f.latest_micros), kept(f.retention_micros)]
    });
    table(&["topic", ">partitions", ">records", ">bytes", "earliest", "latest", "retention"], rows.collect(), out)
}

/// Shows records until the tail ends or nobody reads them any more.
pub async fn tail_to(topics: &Topics, mut tail: Tail, mut filter: Option<&mut Filter>, out: &mut (dyn Write + Send)) -> Result<()> {
    // Records that a condition drops do not count: it is applied to pages, so the limit is ours then.
    let mut left = tail.limit;
    if filter.is_some() {
        tail.limit = None;
    }
    loop {
        let Tailed { page, next } = topics.call("topics.tail", &tail).await?;
        let mut lines = page.lines;
        if let Some(filter) = &mut filter {
            lines = filter.keep(&lines).await?;
            if let Some(most) = &mut left {
                let end = lines.match_indices('\n').take(usize::try_from(*most).unwrap_or(usize::MAX)).last().map_or(0, |(at, _)| at + 1);
                lines.truncate(end);
                *most -= lines.lines().count() as u64;
            }
        }
        match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(unwritable(error)),
        }
        if page.ended || (filter.is_some() && left == Some(0)) {
            return Ok(());
        }
        tail = next;
    }
}
