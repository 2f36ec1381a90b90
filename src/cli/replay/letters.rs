//! `eagre replay dead-letters`: sends them again to where they came from, each once.
//!
//! ```text
//!  table or topic ─▶ letters ─ filters ─▶ not yet sent ─ oldest first ─▶ log: records and memory in one batch
//!                                                                      └▶ broker: sent, confirmed, then remembered
//! ```
//! A letter keeps its record's bytes, key, headers, time and partition; a header (`eagre-replay`) says which letter it
//! was and how often it was sent. Where a record must not come twice ends this: into the log it comes once; to a broker
//! it comes again when the process dies between the confirmation and the memory.

use std::collections::{BTreeMap, HashSet};

use super::goal::{Broker, Goal, Goals, check_table};
use super::letter::Letter;
use super::memory::{Memory, each_page};
use crate::cli::moment::Moment;
use crate::cli::project_args::ProjectArgs;
use crate::cli::sql::session::Session;
use crate::cli::topics::filter::Filter;
use crate::cli::topics::log::Topics;
use crate::connector::look::Look;
use crate::dataflow::dead_letter::DEAD_LETTERS;
use crate::dataflow::replayed::Replayed;
use crate::engine::Engine;
use crate::error::{Error, Result, did_you_mean};
use crate::fault::{self, Point};
use crate::log::{Blob, Reading, Whole};
use crate::metrics::Reason;

/// Letters that are sent, and remembered, together.
const PAGE: usize = 500;
/// Letters that a condition looks at together.
const JUDGED: usize = 4_096;

/// Send dead letters again to where they came from, each once.
///
/// A record goes to the topic of the log, the Kafka topic or the RabbitMQ queue that it was read from, with its bytes,
/// key, headers, time and partition, oldest first per key, and a header `eagre-replay`. What was sent is remembered in
/// the log: another call, also one after a crash, does not send it again. Into the log that holds without exception;
/// to a broker a record goes again if the process dies after the broker has taken it and before that is remembered. A
/// letter of an operator (a late row, say) holds the row and not the bytes of its record: it is counted, not sent.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    project: ProjectArgs,
    /// A topic of dead letters to read, instead of the table dead_letters.
    #[arg(long, value_name = "TOPIC")]
    from: Option<String>,
    /// The topic of --from is one of this broker of eagre.yaml (Kafka), instead of the embedded log.
    #[arg(long, value_name = "NAME", requires = "from")]
    broker: Option<String>,
    /// Send them to this topic of the log (made when it is not there), each by its key.
    #[arg(long, value_name = "TOPIC")]
    into: Option<String>,
    /// Only letters refused for this reason; may be repeated.
    #[arg(long)]
    reason: Vec<String>,
    /// Only letters of this table; may be repeated.
    #[arg(long, alias = "table", value_name = "TABLE")]
    source: Vec<String>,
    /// Only letters refused at or after this moment: 2026-01-31T12:00:00Z, or -1h for an hour ago.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<Moment>,
    /// Only letters refused before this moment.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<Moment>,
    /// Only letters that a condition of SQL keeps, over the fields of their values and what --dry-run shows of them.
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Send no more than so many.
    #[arg(long)]
    limit: Option<usize>,
    /// Show what would be sent, as lines of JSON, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Send also what was sent before.
    #[arg(long)]
    again: bool,
}

/// A letter that has somewhere to go.
struct Going {
    id: String,
    goal: Goal,
    letter: Letter,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let engine = Engine::load(args.project.open()?)?;
    let data_dir = engine.environment().data_dir.clone();
    args.check(&engine)?;
    let topics = match args.dry_run && !data_dir.join("log").is_dir() {
        // Nothing was ever sent, and nothing is to be made.
        true => None,
        false => Some(Topics::reach(data_dir, true).await?),
    };
    let mut goals = Goals::new(&engine, args.into.as_deref());
    let letters = args.letters(&engine, topics.as_ref(), &mut goals).await?;
    let found = letters.len();
    let letters = args.chosen(letters).await?;
    let mut memory = match &topics {
        Some(topics) => Memory::read(topics).await?,
        None => Memory::default(),
    };

    let (mut going, mut sent_before) = (Vec::new(), 0);
    // Of a record that is several rows there may be several letters.
    let mut ids = HashSet::new();
    let mut stays: BTreeMap<(String, String), usize> = BTreeMap::new();
    for letter in letters {
        let id = letter.id(goals.is_of_queue(&letter));
        match goals.of(&letter) {
            Ok(_) if !ids.insert(id.clone()) => {}
            Ok(_) if memory.knows(&id) && !args.again => sent_before += 1,
            Ok(goal) => going.push(Going { id, goal, letter }),
            Err(why) => *stays.entry((letter.source, why)).or_default() += 1,
        }
    }
    going.sort_by(|a, b| order(a).cmp(&order(b)));
    let left_out = going.len().saturating_sub(args.limit.unwrap_or(usize::MAX));
    going.truncate(going.len() - left_out);

    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in &going {
        *counts.entry((one.letter.source.clone(), one.goal.describe())).or_default() += 1;
    }
    match (args.dry_run, &topics) {
        (false, Some(topics)) => send(&engine, topics, &mut memory, going).await?,
        _ => super::super::print(&going.iter().map(|one| one.letter.line(&one.id, &one.goal.describe())).collect::<String>())?,
    }
    let mut told = String::new();
    for ((source, goal), count) in &counts {
        told.push_str(&format!("{source}: {} sent to {goal}\n", lettered(*count)));
    }
    for ((source, why), count) in &stays {
        told.push_str(&format!("{source}: {} not sent: {why}\n", lettered(*count)));
    }
    let rest = [(sent_before, "sent before (--again sends them, too)"), (left_out, "left for another call (--limit)")];
    rest.iter().filter(|(count, _)| *count > 0).for_each(|(count, what)| told.push_str(&format!("{} {what}\n", lettered(*count))));
    if told.is_empty() {
        told = match found {
            0 => "there are no dead letters\n".to_owned(),
            found => format!("none of {} is what was asked for\n", lettered(found)),
        };
    }
    match args.dry_run {
        true => told.lines().for_each(|line| tracing::info!("dry run: {}", line.replace(" sent to ", " to be sent to "))),
        false => super::super::print(&told)?,
    }
    Ok(0)
}

/// Oldest first per key: the letters of a partition in the order in which their records came for the first time.
fn order(one: &Going) -> (&Goal, &str, Option<&str>, i64, i64, i64) {
    let letter = &one.letter;
    (&one.goal, &letter.source, letter.origin.as_deref(), letter.first_offset(), letter.offset.unwrap_or_default(), letter.time_micros)
}

fn lettered(count: usize) -> String {
    format!("{count} {}", if count == 1 { "letter" } else { "letters" })
}

impl Args {
    /// What is asked for that cannot be.
    fn check(&self, engine: &Engine) -> Result<()> {
        for reason in &self.reason {
            let known = Reason::ALL.map(Reason::as_str);
            // Those of Connect are classes, which nobody can list.
            if !known.contains(&reason.as_str()) && !reason.contains('.') {
                let near = match did_you_mean(reason, known) {
                    near if near.is_empty() => format!("; there are {}", known.join(", ")),
                    near => near,
                };
                return Err(Error::input(format!("--reason '{reason}': nothing is refused for that{near}")));
            }
        }
        if self.from.is_none() {
            self.source.iter().try_for_each(|source| check_table(engine, source))?;
        }
        if let Some(Some(topic)) = self.from.as_ref().map(|from| self.into.as_ref().filter(|into| *into == from)) {
            return Err(Error::input(format!("--from and --into are the same topic '{topic}'")));
        }
        Ok(())
    }

    /// All letters there are.
    async fn letters(&self, engine: &Engine, topics: Option<&Topics>, goals: &mut Goals<'_>) -> Result<Vec<Letter>> {
        let mut letters = Vec::new();
        let mut others = 0;
        let mut of_records = |records: Vec<Whole>| {
            for record in &records {
                match Letter::of_record(record) {
                    Some(letter) => letters.push(letter),
                    None => others += 1,
                }
            }
            Ok(())
        };
        match (&self.from, &self.broker, topics) {
            (Some(topic), Some(name), _) => {
                let broker = Broker::named(engine, name)?;
                broker.reach(engine).await?.read(topic, &mut of_records).await?;
                letters.iter().for_each(|letter| goals.without_table(&letter.source, &broker));
            }
            (Some(topic), None, Some(topics)) => each_page(topics, Reading::all(topic), of_records).await?,
            (Some(topic), None, None) => {
                return Err(Error::unreachable(format!(
                    "there is no topic '{topic}': there is no log in {}",
                    engine.environment().data_dir.display()
                )));
            }
            (None, ..) => {
                let mut session = Session::open(engine.project().clone(), &engine.environment().data_dir).await?;
                for batch in session.rows(&format!("SELECT * FROM {DEAD_LETTERS}"), DEAD_LETTERS).await? {
                    letters.extend(Letter::of_rows(&batch)?);
                }
            }
        }
        if others > 0 {
            tracing::warn!("{others} records of the topic are no dead letters: they lack the headers of one");
        }
        Ok(letters)
    }

    /// Those that are asked for.
    async fn chosen(&self, letters: Vec<Letter>) -> Result<Vec<Letter>> {
        let among = |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|one| one == found);
        let (since, until) = (self.since.map_or(i64::MIN, |moment| moment.0), self.until.map_or(i64::MAX, |moment| moment.0));
        let mut chosen: Vec<Letter> = letters
            .into_iter()
            .filter(|letter| among(&self.reason, &letter.reason) && among(&self.source, &letter.source))
            .filter(|letter| (since..until).contains(&letter.time_micros))
            .collect();
        if let Some(condition) = &self.condition {
            let mut filter = Filter::new(condition)?;
            let mut kept = Vec::new();
            for some in chosen.chunks(JUDGED) {
                let lines: String = some.iter().map(|letter| letter.line("", "")).collect();
                let judged = filter.judge(&lines).await?;
                kept.extend(some.iter().zip(judged).filter(|(_, kept)| *kept).map(|(letter, _)| letter.clone()));
            }
            if let Some(warning) = filter.never_met() {
                tracing::warn!("{warning}");
            }
            chosen = kept;
        }
        Ok(chosen)
    }
}

/// Sends, page by page, and remembers each.
async fn send(engine: &Engine, topics: &Topics, memory: &mut Memory, going: Vec<Going>) -> Result<()> {
    let progress = super::super::progress("letters");
    let mut looks: BTreeMap<Broker, Box<dyn Look>> = BTreeMap::new();
    let mut going = going.into_iter().peekable();
    while let Some(first) = going.next() {
        let goal = first.goal.clone();
        let mut page = vec![first];
        while let Some(next) = going.next_if(|next| next.goal == goal && page.len() < PAGE) {
            page.push(next);
        }
        let ids: Vec<String> = page.iter().map(|one| one.id.clone()).collect();
        let wholes = page.into_iter().map(whole).collect::<Result<Vec<_>>>()?;
        let sent = ids.len() as u64;
        match &goal {
            Goal::Log(topic) => memory.send(topics, wholes.into_iter().map(|whole| (topic.clone(), whole)).collect(), ids).await?,
            Goal::Broker { broker, topic } => {
                let look = match looks.get(broker) {
                    Some(look) => look,
                    None => looks.entry(broker.clone()).or_insert(broker.reach(engine).await?),
                };
                look.send(topic, wholes).await?;
                fault::reach(Point::Resent);
                memory.send(topics, Vec::new(), ids).await?;
            }
        }
        fault::reach(Point::Remembered);
        progress.inc(sent);
    }
    progress.finish_and_clear();
    Ok(())
}

/// The record of a letter as it is sent again.
fn whole(one: Going) -> Result<Whole> {
    let Going { id, goal, letter } = one;
    let mut headers = letter.headers.clone();
    let attempt = 1 + Replayed::of(&headers).map_or(0, |replayed| replayed.attempt);
    Replayed { letter: id, attempt, first_offset: letter.first_offset() }.put(&mut headers)?;
    // Where it came from it has its partition; elsewhere its key finds one.
    let partition = match &goal {
        Goal::Log(topic) => letter.place().filter(|(own, _)| own == topic).map(|(_, partition)| partition),
        Goal::Broker { .. } => letter.place().map(|(_, partition)| partition),
    };
    Ok(Whole {
        partition,
        offset: 0,
        timestamp_micros: letter.record_micros,
        key: letter.key.map(Blob),
        headers: headers.into_iter().map(|(name, value)| (name, Blob(value))).collect(),
        value: letter.value.map(Blob),
        properties: letter.properties,
    })
}
