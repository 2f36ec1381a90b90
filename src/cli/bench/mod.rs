//! `eagre bench`: known queries over made-up events, and how many events a second they take.
//!
//! The events are files of JSON lines (`data.rs`), so that decoding is measured, too. Same events on every machine. Beside
//! each run stands one of a program written by hand for that question alone (`bound.rs`), so that figures of different
//! machines can be compared.

mod bound;
mod data;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;

use self::data::Input;
use super::output::{Format, Rows};
use crate::dataflow::settings::Restore;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::project::{Origin, Project, SqlText};

/// Run known queries over made-up events and tell events per second, and per second of processor time.
///
/// `of_bound` compares with a program written by hand for that question, per second of processor time: 1.00 is as much
/// work done, more is possible because only what the query reads is decoded.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workloads [default: all].
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Events to make.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    events: u64,
    /// Worker threads, decoding included.
    #[arg(long, default_value_t = 1, value_name = "N")]
    parallelism: usize,
    /// Files that the events are split into, each a partition [default: the parallelism].
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Runs of each workload, in turn with the hand-written program; the median is told.
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// Keep the events (and the results) here, and use those that are there [default: a folder that is removed].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How the answer looks.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// A query that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Parsing only: nothing passes the filter.
    W0,
    /// Count and sum per customer and minute.
    W1,
    /// Interval join of customer and order events.
    W2,
    /// Counts over the last hour per customer.
    W3,
    /// Filter and projection to a file.
    W4,
    /// Nexmark 5: auctions with the most bids, hopping windows.
    Q5,
    /// Nexmark 7: the highest bid, tumbling windows.
    Q7,
    /// Nexmark 8: persons who opened auctions as they came.
    Q8,
}

impl Workload {
    /// Its SQL, with `$DATA` for the folder of events and `$OUT` for the file of results.
    fn sql(self) -> &'static str {
        match self {
            Workload::W0 => concat!(include_str!("sql/events.sql"), include_str!("sql/w0.sql")),
            Workload::W1 => concat!(include_str!("sql/events.sql"), include_str!("sql/w1.sql")),
            Workload::W2 => include_str!("sql/w2.sql"),
            Workload::W3 => concat!(include_str!("sql/events.sql"), include_str!("sql/w3.sql")),
            Workload::W4 => concat!(include_str!("sql/events.sql"), include_str!("sql/w4.sql")),
            Workload::Q5 => concat!(include_str!("sql/auctions.sql"), include_str!("sql/q5.sql")),
            Workload::Q7 => concat!(include_str!("sql/auctions.sql"), include_str!("sql/q7.sql")),
            Workload::Q8 => concat!(include_str!("sql/auctions.sql"), include_str!("sql/q8.sql")),
        }
    }

    /// The inputs that it reads.
    fn inputs(self) -> &'static [Input] {
        match self {
            Workload::W2 => &[Input::Customers, Input::Orders],
            Workload::W0 | Workload::W1 | Workload::W3 | Workload::W4 => &[Input::Events],
            Workload::Q5 | Workload::Q7 => &[Input::Bids],
            Workload::Q8 => &[Input::Auctions, Input::Persons],
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Took {
    seconds: f64,
    cpu_seconds: f64,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let kept = args.dir.clone();
    let dir = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("eagre-bench-{}", std::process::id())));
    let done = measure(&args, &dir).await;
    if kept.is_none() && dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|e| Error::failed(format!("removing '{}'", dir.display())).because(e))?;
    }
    super::print(&done?)?;
    Ok(0)
}

async fn measure(args: &Args, dir: &Path) -> Result<String> {
    let all = Workload::value_variants();
    let workloads = if args.workloads.is_empty() { all } else { args.workloads.as_slice() };
    let partitions = args.partitions.unwrap_or(args.parallelism as u32).max(1);
    let data = dir.join(format!("{}-{partitions}", args.events));
    let progress = super::progress("events made");
    let made = data::make(&data, args.events, partitions, workloads.iter().flat_map(|w| w.inputs()), &mut |events| {
        progress.set_position(events);
    })?;
    progress.finish_and_clear();

    let mut rows = Rows::new(["workload", "events", "rows", "seconds", "events_per_second", "events_per_cpu_second", "bound", "of_bound"]);
    for workload in workloads {
        let events: u64 = workload.inputs().iter().map(|input| made.count(*input)).sum::<Result<u64>>()?;
        let (mut engine, mut by_hand) = (Vec::new(), Vec::new());
        let out = dir.join("out").join(format!("{}.jsonl", workload.name()));
        let bound_out = dir.join("out").join(format!("{}-by-hand", workload.name()));
        for _ in 0..args.runs.max(1) {
            engine.push(run_once(*workload, &data, dir, &out, args.parallelism).await?);
            if bound::exists(*workload) {
                by_hand.push(bound_once(*workload, &data, partitions, &bound_out)?);
            }
        }
        let count = lines(&out)?;
        if !by_hand.is_empty() {
            let expected = (0..partitions).map(|partition| lines(&bound::part(&bound_out, partition))).sum::<Result<u64>>()?;
            if expected != count {
                return Err(Error::bug(format!("{} gave {count} rows, the hand-written program {expected}", workload.name())));
            }
        }
        let (seconds, per_cpu_second) = (median(&engine, |took| took.seconds), events as f64 / mean_cpu(&engine));
        let bound = (!by_hand.is_empty()).then(|| events as f64 / mean_cpu(&by_hand));
        rows.push([
            workload.name(),
            whole(events as f64, args.format),
            whole(count as f64, args.format),
            format!("{seconds:.3}"),
            whole(events as f64 / seconds, args.format),
            whole(per_cpu_second, args.format),
            bound.map_or_else(String::new, |bound| whole(bound, args.format)),
            bound.map_or_else(String::new, |bound| format!("{:.2}", per_cpu_second / bound)),
        ]);
    }
    rows.text(args.format)
}

/// A whole number: with commas for people, without for programs.
fn whole(value: f64, format: Format) -> String {
    let digits = format!("{value:.0}");
    if format != Format::Table {
        return digits;
    }
    let from_end = |at: usize| digits.len() - at;
    let comma = |at: usize| if at > 0 && from_end(at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

fn median(runs: &[Took], figure: impl Fn(&Took) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Processor time comes in ticks of 10 ms, so that of all runs together is told, not that of one.
fn mean_cpu(runs: &[Took]) -> f64 {
    runs.iter().map(|took| took.cpu_seconds).sum::<f64>() / runs.len() as f64
}

fn lines(path: &Path) -> Result<u64> {
    let text = std::fs::read(path).map_err(|e| Error::failed(format!("reading '{}'", path.display())).because(e))?;
    Ok(memchr::memchr_iter(b'\n', &text).count() as u64)
}

/// One run from the SQL text to the last row on disk.
async fn run_once(workload: Workload, data: &Path, dir: &Path, out: &Path, parallelism: usize) -> Result<Took> {
    let text = workload.sql().replace("$DATA", &data.display().to_string()).replace("$OUT", &out.display().to_string());
    let mut project = Project::of_texts("bench", dir, vec![SqlText { name: format!("{}.sql", workload.name()), text }]);
    let place = || crate::error::Place::thing("bench");
    project.settings.set("parallelism", &parallelism.to_string(), Origin::Flag, place())?;
    let (begun, cpu) = (Instant::now(), usage::cpu_seconds()?);
    let engine = Engine::load(project)?;
    engine.start(Restore::None, true).await?.wait().await?;
    Ok(Took { seconds: begun.elapsed().as_secs_f64(), cpu_seconds: usage::cpu_seconds()? - cpu })
}

/// The same by hand.
fn bound_once(workload: Workload, data: &Path, partitions: u32, out: &Path) -> Result<Took> {
    let (begun, cpu) = (Instant::now(), usage::cpu_seconds()?);
    bound::run(workload, data, partitions, out)?;
    Ok(Took { seconds: begun.elapsed().as_secs_f64(), cpu_seconds: usage::cpu_seconds()? - cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every query gives as many rows as the program written by hand, split into partitions or not.
    #[tokio::test]
    async fn the_engine_and_the_programs_by_hand_agree() {
        let dir = tempfile::tempdir().unwrap();
        for parallelism in [1, 2] {
            let workloads = vec![Workload::W1, Workload::W2, Workload::W3, Workload::W4, Workload::Q7];
            let args = Args { workloads, events: 30_000, parallelism, partitions: None, runs: 1, dir: None, format: Format::Json };
            let text = measure(&args, dir.path()).await.unwrap();
            let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(told.iter().map(|row| row["workload"].as_str().unwrap()).collect::<Vec<_>>(), ["w1", "w2", "w3", "w4", "q7"]);
            assert!(told.iter().all(|row| row["rows"].as_str().unwrap().parse::<u64>().unwrap() > 0), "{text}");
        }
    }

    #[test]
    fn people_get_commas() {
        assert_eq!(["7", "123", "1,234", "1,234,567"], [7.0, 123.4, 1234.0, 1_234_567.0].map(|n| whole(n, Format::Table)));
        assert_eq!(whole(1234.0, Format::Csv), "1234");
    }
}
