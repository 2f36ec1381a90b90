//! `eagre replay TOPIC`: history through the project's pipelines in a shadow, and how its results differ from what is live.
//!
//! ```text
//!  topic ─▶ all tables that read it, and what else their results are made of ─▶ shadow ─▶ results
//!                                   live tables, topics of the log ──────────────────────▶ --diff
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};

use super::difference::{Difference, compare};
use super::source::Origin;
use crate::cli::moment::Moment;
use crate::cli::output::{self, Format};
use crate::cli::project_args::PlaceArgs;
use crate::cli::sql::session::Session;
use crate::cli::topics::log::Topics;
use crate::connector::options::parts;
use crate::dataflow::graph::NodeKind;
use crate::dataflow::message::SourceReport;
use crate::engine::Engine;
use crate::engine::shadow::{Histories, Shadow, downstream};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::fixture::{Cell, rows};
use crate::format::{Binding, EncodedRecord, EncodedRecords, FormatConfig, KeyForm, KeySpec, RecordSpec};
use crate::log::{Blob, Resend, Whole};
use crate::project::Project;
use crate::rules::pipelines::ALERTS;
use crate::sql::catalog::Entry;
use crate::sql::lower;

/// Rows that are written together.
const PAGE: usize = 1_000;

/// Which history, and what to do with what comes of it.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// A table that the project reads, or the topic that its tables read.
    #[arg(required = true)]
    topic: Option<String>,
    /// Project folder or SQL file.
    #[arg(default_value = ".")]
    path: std::path::PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Results from this time on: 2026-01-31T12:00:00Z, or -1h for an hour ago; a bare number is an offset: each partition
    /// is read from there, and rows of windows that began before it are left out (not with --diff).
    #[arg(long, allow_hyphen_values = true, value_name = "TIME|OFFSET")]
    since: Option<Since>,
    /// Results up to this time.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<Moment>,
    /// Only this result: a live table, or a table that pipelines write.
    #[arg(long, value_name = "TABLE")]
    result: Option<String>,
    /// Compare with what the live tables and the written tables hold; exit code 1 if something differs.
    #[arg(long, conflicts_with = "into")]
    diff: bool,
    /// Write the rows of one result to this topic of the log, as JSON; or to this table of the log, in its format.
    #[arg(long, value_name = "TABLE|TOPIC")]
    into: Option<String>,
    /// How rows look.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Where history begins.
#[derive(Debug, Clone, Copy)]
enum Since {
    Time(i64),
    Offset(i64),
}

impl FromStr for Since {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim().parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Since::Offset(offset)),
            _ => text.parse().map(|Moment(micros)| Since::Time(micros)),
        }
    }
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let project = args.place.apply(Project::open(&args.path)?)?;
    let engine = Engine::load(project.clone())?;
    let data_dir = engine.environment().data_dir.clone();
    if let (Some(Since::Offset(offset)), true) = (args.since, args.diff) {
        let text = format!("--diff takes a time for --since: offset {offset} is another time in each partition");
        return Err(Error::input(text));
    }
    let starts = starts(&engine, args.topic.as_deref().unwrap_or_default())?;
    let downstream = downstream(engine.graph(), &starts);
    let results = args.results(&downstream.results)?;

    let log_is_there = data_dir.join("log").is_dir();
    let topics = if log_is_there { Some(Arc::new(Topics::reach(data_dir.clone(), false).await?)) } else { None };
    let offset = if let Some(Since::Offset(offset)) = args.since { Some(offset) } else { None };
    let mut histories = Histories::new();
    for name in &downstream.sources {
        let Some(Entry::Table(table)) = engine.catalog().get(name) else { continue };
        let read = async { Origin::of(&engine, table)?.histories(topics.as_ref(), offset.filter(|_| starts.contains(name))).await };
        match read.await {
            Ok(history) => _ = histories.insert(name.clone(), history),
            Err(error) if starts.contains(name) => return Err(error.at(Place::thing(name))),
            Err(error) => tracing::warn!("nothing comes from table '{name}', which the results are made of, too: {error}"),
        }
    }
    let partitions = histories.iter().map(|(name, of)| (name.clone(), u32::try_from(of.len()).unwrap_or(u32::MAX))).collect();
    let shadow = Shadow::new(&project, &partitions)?;
    let whole_since = shadow.run(histories).await?;
    for (node, reason, count) in shadow.dropped() {
        tracing::info!("shadow: {} reached no result at {node} ({reason})", counted(count as usize));
    }

    if let (Some(Since::Time(since)), Some(until)) = (args.since, args.until)
        && since >= until.0
    {
        return Err(Error::input("--since is not before --until: no row lies between"));
    }
    let from = match args.since {
        Some(Since::Time(micros)) => micros,
        Some(Since::Offset(_)) => whole_since.unwrap_or(i64::MIN),
        None => i64::MIN,
    };
    let span = Span { from, until: args.until.map_or(i64::MAX, |moment| moment.0) };
    let mut told = BTreeMap::new();
    for name in &results {
        told.insert(name.as_str(), span.of(&shadow.rows(name)?)?);
    }
    for (name, chosen) in told.iter().filter(|(_, chosen)| chosen.cut > 0) {
        tracing::info!("{name}: {} of windows that --since or --until cuts left out", counted(chosen.cut));
    }
    match (&args.into, args.diff) {
        (Some(goal), _) => into(&engine, &data_dir, topics, goal, told).await,
        (None, true) => diff(&engine, topics, &downstream.sources, &span, &told).await,
        (None, false) => show(args.format, &told),
    }
}

impl Args {
    /// The results that are asked for.
    fn results(&self, all: &[String]) -> Result<Vec<String>> {
        // `--into` a table that is a result means that one.
        let wanted = self.result.as_ref().or(self.into.as_ref().filter(|into| all.contains(into)));
        let found: Vec<String> = all.iter().filter(|name| wanted.is_none_or(|wanted| *name == wanted)).cloned().collect();
        match (found.as_slice(), wanted) {
            ([], Some(wanted)) => {
                let near = did_you_mean(wanted, all.iter().map(String::as_str));
                Err(Error::input(format!("--result '{wanted}': no such result comes of it{near}; there are {}", all.join(", "))))
            }
            ([], None) => Err(Error::input("no pipeline and no rule makes anything of it")),
            ([_, _, ..], None) if self.into.is_some() => {
                Err(Error::input(format!("--into takes one result: name it by --result; there are {}", all.join(", "))))
            }
            _ => Ok(found),
        }
    }
}

/// The sources that a table or a topic is.
fn starts(engine: &Engine, wanted: &str) -> Result<BTreeSet<String>> {
    let mut names = Vec::new();
    let mut starts = BTreeSet::new();
    for node in engine.graph().nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_))) {
        let Some(Entry::Table(table)) = engine.catalog().get(&node.name) else { continue };
        let options = lower::connector_options(&table.def);
        let topic = options.get("topic").cloned().unwrap_or_else(|| node.name.clone());
        if node.name == wanted || topic == wanted {
            starts.insert(node.name.clone());
        }
        names.extend([node.name.clone(), topic]);
    }
    if starts.is_empty() {
        names.sort();
        names.dedup();
        let near = match did_you_mean(wanted, names.iter().map(String::as_str).chain(["dead-letters"])) {
            near if near.is_empty() => format!("; it reads {}", names.join(", ")),
            near => near,
        };
        return Err(Error::input(format!("the project reads no table and no topic '{wanted}'{near}")));
    }
    Ok(starts)
}

/// Which rows count.
struct Span {
    /// Microseconds since 1970.
    from: i64,
    until: i64,
}

/// Rows of a result that count.
struct Chosen {
    rows: Vec<RecordBatch>,
    schema: Option<SchemaRef>,
    /// Rows left out because their window is not whole in the span.
    cut: usize,
    /// The latest time of any of the rows that count.
    latest: Option<i64>,
}

impl Span {
    /// The rows of a table that count: all of them where rows have no time.
    fn of(&self, batches: &[RecordBatch]) -> Result<Chosen> {
        let schema = batches.first().map(RecordBatch::schema);
        let mut chosen = Chosen { rows: Vec::new(), schema, cut: 0, latest: None };
        for batch in batches {
            let times = Times::of(batch)?;
            let mut keep = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let Some((begin, end)) = times.of_row(row) else {
                    keep.push(true);
                    continue;
                };
                let inside = begin >= self.from && end <= self.until;
                let outside = end <= self.from || begin >= self.until;
                chosen.cut += usize::from(!inside && !outside);
                if inside {
                    chosen.latest = chosen.latest.max(Some(end));
                }
                keep.push(inside);
            }
            chosen.rows.push(filter_record_batch(batch, &BooleanArray::from(keep))?);
        }
        Ok(chosen)
    }
}

/// When the rows of a batch are: from the first moment of their window to behind its last; of rows with several times, as joins
/// give them, from the earliest of these to the latest.
struct Times {
    /// Per row, microseconds since 1970.
    bounds: Vec<Vec<Cell>>,
    /// The times are moments, not the bounds of a window.
    moment: bool,
    /// Rows come when time has passed them, so that up to the latest of them all are there.
    closed: bool,
}

impl Times {
    fn of(batch: &RecordBatch) -> Result<Times> {
        let schema = batch.schema();
        let is_time = |at: &usize| matches!(schema.field(*at).data_type(), DataType::Timestamp(..));
        let named = |name: &str| schema.index_of(name).ok().filter(is_time);
        let cells = |at: usize| (0..batch.num_rows()).map(|row| Cell::of(batch.column(at), row)).collect::<Result<Vec<_>>>();
        if let (Some(start), Some(end)) = (named("window_start"), named("window_end")) {
            return Ok(Times { bounds: vec![cells(start)?, cells(end)?], moment: false, closed: true });
        }
        let closed = ["window_time", "window_end", "window_start", "alert_time"].into_iter().find_map(named);
        let stamps = closed.map_or_else(|| (0..schema.fields().len()).filter(is_time).collect(), |one| vec![one]);
        let bounds = stamps.into_iter().map(cells).collect::<Result<_>>()?;
        Ok(Times { bounds, moment: true, closed: closed.is_some() })
    }

    fn of_row(&self, row: usize) -> Option<(i64, i64)> {
        let times = || self.bounds.iter().filter_map(|column| if let Cell::Time(time) = column[row] { Some(time) } else { None });
        Some((times().min()?, times().max()? + i64::from(self.moment)))
    }
}

fn show(format: Format, told: &BTreeMap<&str, Chosen>) -> Result<u8> {
    if let [(name, chosen)] = told.iter().collect::<Vec<_>>().as_slice() {
        tracing::info!("{name}: {} in the shadow", counted(count(&chosen.rows)));
        if !chosen.rows.is_empty() {
            super::super::print(&format.text(&chosen.rows)?)?;
        }
        return Ok(0);
    }
    let mut summary = output::Rows::new(["result", "rows", "latest"]);
    for (name, chosen) in told {
        let latest = chosen.latest.map_or_else(String::new, output::time);
        summary.push([(*name).to_owned(), count(&chosen.rows).to_string(), latest]);
    }
    super::super::print(&summary.text(format)?)?;
    Ok(0)
}

async fn diff(
    engine: &Engine,
    topics: Option<Arc<Topics>>,
    sources: &BTreeSet<String>,
    span: &Span,
    told: &BTreeMap<&str, Chosen>,
) -> Result<u8> {
    // Without an engine the log is held here, and what is stored in it is to be read.
    drop(topics);
    let mut session = Session::open(engine.project().clone(), &engine.environment().data_dir).await?;
    let read = read_up_to(engine, &mut session, sources).await?;
    let mut text = String::new();
    let mut differ = false;
    for (name, chosen) in told {
        let mut live = match session.rows(&format!("SELECT * FROM `{}`", name.replace('`', "``")), name).await {
            Ok(rows) => span.of(&rows)?,
            Err(error) => {
                text.push_str(&format!("{name}: not compared: {}\n", error.message()));
                continue;
            }
        };
        let floor = kept_since(engine, name, live.latest);
        let (compared, early, beyond) = between(chosen, floor, &live, read)?;
        live.rows = between(&live, floor, &live, read)?.0;
        let key = key_of(engine, name);
        let outcome = set_beside(&live, &compared, &early, &key)?;
        let beyond = if beyond > 0 { format!("; {} later than all that is live", counted(beyond)) } else { String::new() };
        match outcome {
            None => text.push_str(&format!("{name}: the same, {}{beyond}\n", counted(count(&live.rows)))),
            Some(Difference { summary, lines }) => {
                differ = true;
                text.push_str(&format!("{name}: {summary}{beyond}\n"));
                lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
        }
    }
    super::super::print(&text)?;
    Ok(u8::from(differ))
}

/// Up to when the live project has read all partitions of some sources, microseconds since 1970.
async fn read_up_to(engine: &Engine, session: &mut Session, sources: &BTreeSet<String>) -> Result<i64> {
    let mut marks = Vec::new();
    match session {
        Session::Engine(_) => {
            for batch in session.rows("SELECT source, watermark FROM system.partitions", "system.partitions").await? {
                for row in rows(&[batch])? {
                    if let [Cell::Text(source), Cell::Time(mark)] = row.as_slice()
                        && sources.contains(source)
                    {
                        marks.push(*mark);
                    }
                }
            }
        }
        Session::Here(_) => {
            let manifest = engine.checkpoints().newest().await?;
            let entries = manifest.into_iter().flat_map(|manifest| manifest.sources).filter(|entry| sources.contains(&entry.name));
            for partition in entries.flat_map(|entry| entry.partitions) {
                let report: SourceReport = serde_json::from_value(partition)
                    .map_err(|e| Error::corrupt("the newest checkpoint does not say where its sources stood").because(e))?;
                marks.push(report.watermark.0);
            }
        }
    }
    // A partition without events holds nobody back.
    Ok(marks.into_iter().filter(|mark| *mark != i64::MIN).min().unwrap_or(i64::MAX))
}

/// Rows from `floor` on, up to where the live table has come (the end of history has closed what is still open there), and
/// how many are later than that. Rows that do not wait for time to pass are all there up to where the live project has `read`:
/// per row, is it later than that?
fn between(rows: &Chosen, floor: i64, live: &Chosen, read: i64) -> Result<(Vec<RecordBatch>, Vec<bool>, usize)> {
    let Some(latest) = live.latest else {
        // Nothing is closed yet, or rows have no time.
        return match rows.latest {
            Some(_) if count(&live.rows) == 0 => Ok((Vec::new(), Vec::new(), count(&rows.rows))),
            _ => Ok((rows.rows.clone(), Vec::new(), 0)),
        };
    };
    let (mut kept, mut early) = (Vec::new(), Vec::new());
    let mut beyond = 0;
    for batch in &rows.rows {
        let times = Times::of(batch)?;
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let time = times.of_row(row);
            beyond += usize::from(time.is_some_and(|(_, end)| end > latest));
            let counts = time.is_none_or(|(begin, end)| begin >= floor && end <= latest);
            if counts {
                early.push(!times.closed && time.is_some_and(|(_, end)| end > read));
            }
            keep.push(counts);
        }
        kept.push(filter_record_batch(batch, &BooleanArray::from(keep))?);
    }
    Ok((kept, early, beyond))
}

/// From when on a live table still holds all rows: older ones are removed as it goes on, and not from its shadow.
fn kept_since(engine: &Engine, name: &str, latest: Option<i64>) -> i64 {
    let retention = engine.tables().snapshot().table(name).and_then(|live| live.spec.retention_micros);
    latest.zip(retention).map_or(i64::MIN, |(latest, retention)| latest.saturating_sub(retention))
}

/// Compares by the columns that both have.
fn set_beside(live: &Chosen, shadow: &[RecordBatch], early: &[bool], key: &[String]) -> Result<Option<Difference>> {
    let (of_live, of_shadow) = match (live.schema.clone(), shadow.first().map(RecordBatch::schema)) {
        (Some(of_live), Some(of_shadow)) => (of_live, of_shadow),
        // Where one of them has no rows at all, it has no columns to differ in.
        (Some(one), None) | (None, Some(one)) => (one.clone(), one),
        (None, None) => return Ok(None),
    };
    let both: Vec<&str> = of_live.fields().iter().map(|f| f.name().as_str()).filter(|name| of_shadow.index_of(name).is_ok()).collect();
    let only = |own: &SchemaRef, other: &SchemaRef| -> Vec<String> {
        own.fields().iter().map(|f| f.name().clone()).filter(|name| other.index_of(name).is_err()).collect()
    };
    for (columns, whose) in [(only(&of_live, &of_shadow), "only live"), (only(&of_shadow, &of_live), "only in the shadow")] {
        if !columns.is_empty() {
            tracing::info!("columns {} are {whose} and are not compared", columns.join(", "));
        }
    }
    let project = |batches: &[RecordBatch]| -> Result<Vec<Vec<Cell>>> {
        let narrow = |batch: &RecordBatch| -> Result<RecordBatch> {
            let at = both.iter().map(|name| batch.schema().index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(batch.project(&at)?)
        };
        rows(&batches.iter().map(narrow).collect::<Result<Vec<_>>>()?)
    };
    let schema = Arc::new(of_live.project(&both.iter().filter_map(|name| of_live.index_of(name).ok()).collect::<Vec<_>>())?);
    let key: Vec<usize> = key.iter().filter_map(|name| both.iter().position(|column| column == name)).collect();
    Ok(compare(&schema, &key, &project(&live.rows)?, &project(shadow)?, early))
}

/// The primary key of a result.
fn key_of(engine: &Engine, name: &str) -> Vec<String> {
    if name == ALERTS {
        return vec!["id".to_owned()];
    }
    match engine.tables().snapshot().table(name) {
        Some(live) => live.spec.primary_key.iter().map(|at| live.schema().field(*at).name().clone()).collect(),
        None => match engine.catalog().get(name) {
            Some(Entry::Table(table)) => table.def.primary_key.clone(),
            _ => Vec::new(),
        },
    }
}

async fn into(
    engine: &Engine,
    data_dir: &std::path::Path,
    topics: Option<Arc<Topics>>,
    goal: &str,
    told: BTreeMap<&str, Chosen>,
) -> Result<u8> {
    let mut options = BTreeMap::from([("format".to_owned(), "json".to_owned())]);
    let mut topic = goal.to_owned();
    if let Some(Entry::Table(table)) = engine.catalog().get(goal) {
        options = lower::connector_options(&table.def);
        if options.get("connector").map(String::as_str) != Some(crate::connector::log::NAME) {
            return Err(Error::input(format!("--into '{goal}': the table is none of the log; rows of a shadow go to topics of the log")));
        }
        topic = options.get("topic").cloned().unwrap_or(topic);
    }
    let format = FormatConfig::from_options(&options.remove("format").unwrap_or_else(|| "json".to_owned()), &mut options)?;
    let key = options.get("key.fields").cloned().unwrap_or_default();
    let topics = match topics {
        Some(topics) => topics,
        None => Arc::new(Topics::reach(data_dir.to_owned(), true).await?),
    };
    topics.make_as_declared(&topic, &options).await?;
    for (name, chosen) in told {
        for batch in &chosen.rows {
            for page in records(batch, &format, &key)?.chunks(PAGE) {
                let page = page.iter().map(|record| (topic.clone(), record.clone())).collect();
                _ = topics.call::<i64>("topics.resend", &Resend { records: page, ..Resend::default() }).await?;
            }
        }
        super::super::print(&format!("{name}: {} put into topic {topic} of the log\n", counted(count(&chosen.rows))))?;
    }
    Ok(0)
}

/// Rows as records; `key`: the columns of the key, separated by `;`.
fn records(batch: &RecordBatch, format: &FormatConfig, key: &str) -> Result<Vec<Whole>> {
    let schema = batch.schema();
    let columns = parts(key).map(|name| schema.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
    let key = (!columns.is_empty()).then_some(KeySpec { columns, names: None, form: KeyForm::Text });
    let columns = (0..schema.fields().len()).collect();
    let mut encoder = format.record_encoder(&RecordSpec { schema, columns, key, binding: Binding::Kafka, upserts: false })?;
    let mut encoded = EncodedRecords::default();
    encoder.encode(batch, &mut encoded)?;
    let blob = |bytes: &[u8]| Blob(bytes::Bytes::copy_from_slice(bytes));
    let whole = |record: EncodedRecord<'_>| Whole {
        partition: None,
        offset: 0,
        timestamp_micros: record.timestamp_micros,
        key: record.key.map(blob),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), Blob(value.clone()))).collect(),
        value: record.value.map(blob),
        properties: Default::default(),
    };
    Ok(encoded.iter().map(whole).collect())
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn counted(rows: usize) -> String {
    format!("{rows} {}", if rows == 1 { "row" } else { "rows" })
}
