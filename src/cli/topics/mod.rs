//! `eagre topics`: what `topics.yaml` wants of the brokers, a look into what they hold, and records written by hand.
//!
//! | command | |
//! |---|---|
//! | `lint` | what is wrong in the file, without a broker |
//! | `plan` · `apply` | what differs · carried out, and looked at again |
//! | `list` · `tail` · `put` | in the embedded log, or in the broker that `--broker` names |

mod declared;
mod filter;
pub(super) mod log;
mod put;
mod table;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use self::declared::{Declarations, broker, brokers_of};
use self::filter::Filter;
use self::log::{Topics, tail_to};
use self::put::{Goal, Rabbit, put_all};
use self::table::table;
use crate::connector::rabbitmq::look::{AsyncShow, Begin, Look};
use crate::connector::topology::{Change, Permit, Topology};
use crate::error::{Error, Place, Result};
use crate::log::{Put, Tail, TailFrom, TopicFigures};
use crate::project::topology::{At, LOG, lint};

/// Rounds of carrying out and looking again: what is made again loses its bindings, which the next round makes.
const ROUNDS: usize = 4;

/// Topics, exchanges and queues: what topics.yaml wants, and what there is.
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
    /// A broker that eagre.yaml names, instead of the embedded log.
    #[arg(long, global = true, default_value = LOG)]
    broker: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is wrong in topics.yaml; touches no broker. Exit code 2 if anything is.
    Lint,
    /// What differs between topics.yaml and the brokers.
    Plan,
    /// Bring the brokers to what topics.yaml says, and look again.
    Apply {
        /// More partitions: keys go to other partitions from then on.
        #[arg(long)]
        allow_repartition: bool,
        /// Delete (only if nothing is in it) and make again what cannot be changed.
        #[arg(long)]
        recreate: bool,
    },
    /// All topics (or queues) with their figures.
    List,
    /// Show records as lines of JSON, and follow.
    Tail {
        /// Topic; with a RabbitMQ an exchange, a stream or a queue.
        topic: String,
        /// Where to begin: earliest, latest, an offset, -N (the last N of each partition), or a time like 2026-01-31T12:00:00Z.
        #[arg(long, default_value = "-10", allow_hyphen_values = true)]
        from: TailFrom,
        /// Show only what a condition of SQL keeps, over the fields of the values and what is around them.
        #[arg(long = "where", value_name = "SQL")]
        condition: Option<String>,
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
        /// Topic; made when it is not there. With a RabbitMQ an exchange or a queue, which must be there.
        topic: String,
        /// File of lines; - is stdin.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Field of the objects that becomes the record's key (with a RabbitMQ: the routing key).
        #[arg(long)]
        key_field: Option<String>,
        /// With a RabbitMQ: the routing key of all messages.
        #[arg(long, conflicts_with = "key_field")]
        routing_key: Option<String>,
        /// One partition, instead of by key or in turn.
        #[arg(long)]
        partition: Option<u32>,
    },
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| args.project.join(".eagre"));
    match &args.command {
        Command::Lint => return lint_file(&Declarations::of(&args.project)?),
        Command::Plan => return plan(&args, data_dir).await,
        Command::Apply { allow_repartition, recreate } => {
            let permits = [Permit::Free].into_iter().chain(allow_repartition.then_some(Permit::Repartition));
            let permits: Vec<Permit> = permits.chain(recreate.then_some(Permit::Recreate)).collect();
            return apply(&args, data_dir, &permits).await;
        }
        Command::List | Command::Tail { .. } | Command::Put { .. } => {}
    }
    if args.broker != LOG {
        return look(args).await;
    }
    let makes = matches!(args.command, Command::Put { .. });
    let topics = Topics::reach(data_dir, makes).await?;
    match args.command {
        Command::Tail { topic, from, condition, partition, limit, no_follow } => {
            let mut filter = condition.as_deref().map(Filter::new).transpose()?;
            let tail = Tail { topic, partition, from, limit, follow: !no_follow, stands: Vec::new() };
            tail_to(&topics, tail, filter.as_mut(), &mut std::io::stdout()).await?;
            warn_of_names(filter.as_ref());
        }
        Command::Put { topic, file, key_field, partition, .. } => {
            let (input, source, bytes) = put::open(&file)?;
            let put = Put { topic: topic.clone(), partition, key_field, source, lines: 0, records: 0 };
            let records = put_all(Goal::Log(&topics, put), input, &put::progress(bytes)).await?;
            writeln!(std::io::stdout(), "{records} records put into {topic}").map_err(unwritable)?;
        }
        _ => {
            let figures: Vec<TopicFigures> = topics.call("topics.list", &()).await?;
            log::list(&figures, &mut std::io::stdout()).map_err(unwritable)?;
        }
    }
    Ok(0)
}

/// A look into a broker.
async fn look(args: Args) -> Result<u8> {
    let brokers = brokers_of(&args.project)?;
    let name = At { value: args.broker.clone(), place: Place::thing("--broker") };
    let options = broker(&brokers, Some(&name), &["rabbitmq"], "RabbitMQ")?;
    let look = Look::connect(options, &args.project).await?;
    match args.command {
        Command::Tail { topic, from, condition, limit, no_follow, .. } => {
            let from = match from {
                TailFrom::Earliest => Begin::First,
                TailFrom::Latest | TailFrom::Last(_) => Begin::Next,
                TailFrom::Offset(offset) => Begin::Offset(offset),
                TailFrom::Time(micros) => Begin::Time(u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0)),
            };
            let filter = condition.as_deref().map(Filter::new).transpose()?;
            let mut shown = Shown { filter, left: limit };
            look.tail(&topic, from, !no_follow, &mut shown).await?;
            warn_of_names(shown.filter.as_ref());
        }
        Command::Put { topic, file, key_field, routing_key, .. } => {
            let (input, source, bytes) = put::open(&file)?;
            let rabbit = Rabbit { name: topic.clone(), routing_key, key_field, source, lines: 0, records: 0 };
            let records = put_all(Goal::Rabbit(&look, rabbit), input, &put::progress(bytes)).await?;
            writeln!(std::io::stdout(), "{records} records put into {topic}").map_err(unwritable)?;
        }
        _ => {
            let rows = look.queues().await?.into_iter().map(|queue| {
                let [messages, unacknowledged, consumers] =
                    [queue.messages, queue.messages_unacknowledged, queue.consumers].map(|number| number.to_string());
                vec![queue.name, queue.kind, messages, unacknowledged, consumers, queue.policy.unwrap_or_else(|| "-".to_owned())]
            });
            let heads = ["queue", "type", ">messages", ">unacknowledged", ">consumers", "policy"];
            table(&heads, rows.collect(), &mut std::io::stdout()).map_err(unwritable)?;
        }
    }
    Ok(0)
}

/// Prints lines that a condition keeps, up to a limit.
struct Shown {
    filter: Option<Filter>,
    left: Option<u64>,
}

#[async_trait::async_trait]
impl AsyncShow for Shown {
    async fn show(&mut self, line: String) -> Result<bool> {
        let line = match &mut self.filter {
            Some(filter) => filter.keep(&line).await?,
            None => line,
        };
        if !line.is_empty() {
            match std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => return Err(unwritable(error)),
            }
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Ok(self.left != Some(0))
    }
}

/// A name that no record has had is most likely a slip.
fn warn_of_names(filter: Option<&Filter>) {
    if let Some(warning) = filter.and_then(Filter::never_met) {
        tracing::warn!("{warning}");
    }
}

fn lint_file(declared: &Declarations) -> Result<u8> {
    let faults = lint(&declared.documents);
    let mut out = std::io::stdout().lock();
    for fault in &faults {
        writeln!(out, "{}", fault.line()).map_err(unwritable)?;
    }
    Ok(if faults.is_empty() { 0 } else { 2 })
}

async fn plan(args: &Args, data_dir: PathBuf) -> Result<u8> {
    let declared = Declarations::of(&args.project)?;
    let mut out = std::io::stdout();
    for topology in declared.topologies(data_dir).await? {
        let changes = topology.plan().await?;
        show_plan(topology.as_ref(), &changes, &mut out).map_err(unwritable)?;
    }
    Ok(0)
}

fn show_plan(topology: &dyn Topology, changes: &[Change], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}:{}", topology.broker(), if changes.is_empty() { " as declared" } else { "" })?;
    changes.iter().try_for_each(|change| writeln!(out, "  {}: {}{}", change.thing, change.what, needs(change.permit)))
}

fn needs(permit: Permit) -> &'static str {
    match permit {
        Permit::Free => "",
        Permit::Repartition => " (needs --allow-repartition)",
        Permit::Recreate => " (recreate: needs --recreate)",
        Permit::Impossible => " (cannot be done)",
    }
}

async fn apply(args: &Args, data_dir: PathBuf, permits: &[Permit]) -> Result<u8> {
    let declared = Declarations::of(&args.project)?;
    let mut refused = Vec::new();
    for topology in declared.topologies(data_dir).await? {
        let mut changes = topology.plan().await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}:{}", topology.broker(), if changes.is_empty() { " as declared" } else { "" }).map_err(unwritable)?;
        for _ in 0..ROUNDS {
            let allowed: Vec<&Change> = changes.iter().filter(|change| permits.contains(&change.permit)).collect();
            if allowed.is_empty() {
                break;
            }
            for change in allowed {
                (change.step)().await.map_err(|e| e.at(Place::thing(&change.thing)))?;
                writeln!(out, "  {}: {}", change.thing, change.what).map_err(unwritable)?;
            }
            // Read back: what the broker did not take is seen now, not when it is missed.
            changes = topology.plan().await?;
        }
        if let Some(change) = changes.iter().find(|change| permits.contains(&change.permit)) {
            let text = format!("{}: {} has been carried out and still differs: {}", topology.broker(), change.thing, change.what);
            return Err(Error::failed(text));
        }
        refused.extend(changes.iter().map(|change| Error::input(format!("{}: {}{}", change.thing, change.what, needs(change.permit)))));
    }
    Error::all(refused).map_or(Ok(0), Err)
}

fn unwritable(error: std::io::Error) -> Error {
    Error::failed("cannot write to stdout").because(error)
}

/// A duration in its largest whole unit.
fn humane(micros: i64) -> String {
    const UNITS: [(&str, i64); 6] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
    let unit = UNITS.iter().find(|(_, length)| micros % length == 0 && micros >= *length);
    unit.map_or_else(|| micros.to_string(), |(name, length)| format!("{} {name}", micros / length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::ProgressBar;

    async fn open() -> (tempfile::TempDir, Topics) {
        let dir = tempfile::tempdir().unwrap();
        let topics = Topics::reach(dir.path().to_owned(), true).await.unwrap();
        (dir, topics)
    }

    fn put(key_field: Option<&str>) -> Put {
        let key_field = key_field.map(str::to_owned);
        Put { topic: "orders".into(), partition: None, key_field, source: "stdin".into(), lines: 0, records: 0 }
    }

    fn tail(limit: Option<u64>) -> Tail {
        Tail { topic: "orders".into(), partition: None, from: TailFrom::Earliest, limit, follow: false, stands: vec![] }
    }

    fn lines(out: &[u8]) -> Vec<serde_json::Value> {
        out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    #[tokio::test]
    async fn lines_go_in_and_come_out() {
        let (_dir, topics) = open().await;
        let text: String = (0..50_000).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(50))).collect();
        let put = put_all(Goal::Log(&topics, put(Some("n"))), text.as_bytes(), &ProgressBar::hidden()).await.unwrap();
        assert_eq!(put, 50_000);
        let mut out = Vec::new();
        tail_to(&topics, tail(None), None, &mut out).await.unwrap();
        let mut numbers: Vec<i64> = lines(&out).iter().map(|l| l["value"]["n"].as_i64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50_000).collect::<Vec<_>>());
        assert!(lines(&out).iter().all(|l| l["key"].as_str() == Some(&l["value"]["n"].to_string())));
        // A condition, and a limit on what it keeps.
        for (condition, limit, wanted) in [("n % 1000 = 7", None, 50), ("n % 1000 = 7", Some(10), 10), ("n < 3 AND key = '1'", None, 1)] {
            let mut out = Vec::new();
            tail_to(&topics, tail(limit), Some(&mut Filter::new(condition).unwrap()), &mut out).await.unwrap();
            assert_eq!(lines(&out).len(), wanted, "{condition}");
        }
    }

    #[tokio::test]
    async fn a_bad_line_deep_in_the_input_keeps_its_number() {
        let (_dir, topics) = open().await;
        let mut lines = "{\"a\":\"0123456789012345678901234567890123456789\"}\n".repeat(40_000);
        lines.push_str("nonsense\n");
        let told = put_all(Goal::Log(&topics, put(None)), lines.as_bytes(), &ProgressBar::hidden()).await.unwrap_err();
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
        log::list(&[figures], &mut out).unwrap();
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
