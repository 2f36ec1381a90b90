//! `eagre topics`: what `topics.yaml` wants of the brokers, a look into what they hold, and records written by hand.
//!
//! | command | |
//! |---|---|
//! | `lint` | what is wrong in the file, without a broker |
//! | `plan` · `apply` | what differs · carried out, and looked at again |
//! | `list` · `tail` · `put` | in the embedded log, or in the broker that `--broker` names |

mod declared;
pub(super) mod filter;
pub(super) mod log;
mod printer;
mod put;
mod table;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use self::declared::{Declarations, KAFKA, RABBITMQ, broker, brokers_of};
use self::filter::Filter;
use self::log::{Topics, tail_to};
use self::printer::Printer;
use self::put::{Goal, put_all};
use self::table::table;
use crate::connector::kafka::look::KafkaLook;
use crate::connector::look::{Listing, Look};
use crate::connector::rabbitmq::look::RabbitLook;
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
    Lint(Folder),
    /// What differs between topics.yaml and the brokers. Exit code 2 if some of it cannot be carried out from here.
    Plan(Folder),
    /// Bring the brokers to what topics.yaml says, and look again.
    Apply {
        #[command(flatten)]
        folder: Folder,
        /// More partitions: keys go to other partitions from then on.
        #[arg(long)]
        allow_repartition: bool,
        /// Delete (only if nothing is in it) and make again what cannot be changed.
        #[arg(long)]
        recreate: bool,
    },
    /// All topics (or queues) with their figures.
    List(Folder),
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
        /// Topic; made when it is not there, as the tables of the project declare it. In a broker it must be there; with a RabbitMQ it is an exchange or a queue.
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

/// The project, where no other word follows the command.
#[derive(Debug, ClapArgs)]
struct Folder {
    /// Project folder, as --project says it.
    #[arg(conflicts_with = "project")]
    path: Option<PathBuf>,
}

impl Command {
    fn folder(&self) -> Option<&PathBuf> {
        match self {
            Command::Lint(folder) | Command::Plan(folder) | Command::List(folder) | Command::Apply { folder, .. } => folder.path.as_ref(),
            Command::Tail { .. } | Command::Put { .. } => None,
        }
    }
}

/// Runs the command; returns the exit code.
pub async fn run(mut args: Args) -> Result<u8> {
    if let Some(folder) = args.command.folder() {
        args.project = folder.clone();
    }
    let data_dir = args.data_dir.clone().unwrap_or_else(|| args.project.join(".eagre"));
    match &args.command {
        Command::Lint(_) => return lint_file(&Declarations::of(&args.project)?),
        Command::Plan(_) => return plan(&args, data_dir).await,
        Command::Apply { allow_repartition, recreate, .. } => {
            let permits = [Permit::Free].into_iter().chain(allow_repartition.then_some(Permit::Repartition));
            let permits: Vec<Permit> = permits.chain(recreate.then_some(Permit::Recreate)).collect();
            return apply(&args, data_dir, &permits).await;
        }
        Command::List(_) | Command::Tail { .. } | Command::Put { .. } => {}
    }
    let place = if args.broker == LOG {
        let makes = matches!(args.command, Command::Put { .. });
        Where::Log(Topics::reach(data_dir, makes).await?)
    } else {
        Where::Broker(reach(&args).await?)
    };
    let mut out = std::io::stdout();
    match args.command {
        Command::Tail { topic, from, condition, partition, limit, no_follow } => {
            let filter = condition.as_deref().map(Filter::new).transpose()?;
            // What a condition drops does not count: the limit is the printer's then.
            let read = if filter.is_some() { None } else { limit };
            let tail = Tail { topic, partition, from, limit: read, follow: !no_follow, stands: Vec::new() };
            let mut printer = Printer::new(filter, limit, &mut out);
            match &place {
                Where::Log(topics) => tail_to(topics, tail, &mut printer).await?,
                Where::Broker(look) => look.tail(&tail, &mut printer).await?,
            }
            printer.warn_of_names();
        }
        Command::Put { topic, file, key_field, routing_key, partition } => {
            let (input, source, bytes) = put::open(&file)?;
            let put = Put { topic: topic.clone(), partition, key_field, source, lines: 0, records: 0 };
            let goal = match &place {
                Where::Log(topics) => {
                    put::make_topic(&args.project, topics, &topic).await?;
                    Goal::Log(topics, put)
                }
                Where::Broker(look) => Goal::Broker(look.as_ref(), put, routing_key),
            };
            let records = put_all(goal, input, &put::progress(bytes)).await?;
            writeln!(out, "{records} records put into {topic}").map_err(unwritable)?;
        }
        _ => match &place {
            Where::Log(topics) => {
                let mut figures: Vec<TopicFigures> = topics.call("topics.list", &()).await?;
                // As in Kafka: what begins like this is the engine's own.
                figures.retain(|figures| !figures.topic.starts_with("__"));
                log::list(&figures, &mut out).map_err(unwritable)?;
            }
            Where::Broker(look) => {
                let Listing { heads, rows } = look.list().await?;
                table(heads, rows, &mut out).map_err(unwritable)?;
            }
        },
    }
    Ok(0)
}

/// What is looked into.
enum Where {
    /// The embedded log.
    Log(Topics),
    /// A broker.
    Broker(Box<dyn Look>),
}

/// The broker that `--broker` names.
async fn reach(args: &Args) -> Result<Box<dyn Look>> {
    let brokers = brokers_of(&args.project)?;
    let name = At { value: args.broker.clone(), place: Place::thing("--broker") };
    let connectors: Vec<&str> = KAFKA.iter().chain(RABBITMQ).copied().collect();
    let options = broker(&brokers, Some(&name), &connectors, "broker with topics or queues")?;
    if options.get("connector").is_some_and(|connector| KAFKA.contains(&connector.as_str())) {
        if matches!(args.command, Command::Put { routing_key: Some(_), .. }) {
            return Err(Error::input("--routing-key is RabbitMQ's; a record of Kafka has a key: --key-field takes it from the lines"));
        }
        return Ok(Box::new(KafkaLook::new(options)?));
    }
    Ok(Box::new(RabbitLook::connect(options, &args.project).await?))
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
    let mut impossible = Vec::new();
    for topology in declared.topologies(data_dir).await? {
        let changes = topology.plan().await?;
        show_plan(topology.as_ref(), &changes, &mut out).map_err(unwritable)?;
        impossible
            .extend(changes.iter().filter(|change| change.permit == Permit::Impossible).map(|change| refusal(topology.as_ref(), change)));
    }
    Error::all(impossible).map_or(Ok(0), Err)
}

/// A change that is not carried out, and what it needs.
fn refusal(topology: &dyn Topology, change: &Change) -> Error {
    Error::input(format!("{}: {}: {}{}", topology.broker(), change.thing, change.what, needs(change.permit)))
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
        refused.extend(changes.iter().map(|change| refusal(topology.as_ref(), change)));
    }
    Error::all(refused).map_or(Ok(0), Err)
}

fn unwritable(error: std::io::Error) -> Error {
    Error::failed("cannot write to stdout").because(error)
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
        tail_to(&topics, tail(None), &mut Printer::new(None, None, &mut out)).await.unwrap();
        let mut numbers: Vec<i64> = lines(&out).iter().map(|l| l["value"]["n"].as_i64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50_000).collect::<Vec<_>>());
        assert!(lines(&out).iter().all(|l| l["key"].as_str() == Some(&l["value"]["n"].to_string())));
        // A condition, and a limit on what it keeps.
        for (condition, limit, wanted) in [("n % 1000 = 7", None, 50), ("n % 1000 = 7", Some(10), 10), ("n < 3 AND key = '1'", None, 1)] {
            let mut out = Vec::new();
            let mut printer = Printer::new(Some(Filter::new(condition).unwrap()), limit, &mut out);
            tail_to(&topics, tail(None), &mut printer).await.unwrap();
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
