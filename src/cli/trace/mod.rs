//! `eagre trace`: the tree of events by cause, over the topics of the log and the live tables.

mod tree;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde_json::{Map, Value};

use self::tree::{Event, Events, Node};
use super::project_args::ProjectArgs;
use super::sql::session::Session;
use super::topics::log::Topics;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::lift_metadata;
use crate::log::{Tail, TailFrom, Tailed, TopicFigures};
use crate::table::TableSpec;

/// Print the tree of events by cause: of a correlation id, or of the id of any event in it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A correlation id, or the id of an event.
    id: String,
    #[command(flatten)]
    project: ProjectArgs,
    /// How the answer looks.
    #[arg(long, value_enum, default_value = "tree")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Tree,
    Json,
}

/// Headers of events whose attributes travel beside the data: those of Kafka's and of AMQP's binding.
const PREFIXES: [&str; 3] = ["ce_", "cloudEvents:", "cloudEvents_"];

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let project = args.project.open()?;
    let data_dir = project.data_dir(&project.settings.resolve()?);
    let mut events = Events::default();
    let mut searched = Vec::new();
    match Topics::reach(data_dir.clone(), false).await {
        Ok(topics) => of_topics(&topics, &mut events, &mut searched).await?,
        // Where nothing has been written to a topic, tables may hold events all the same.
        Err(error) if error.kind() == Kind::Unreachable => searched.push("no topic: there is no log yet".to_owned()),
        Err(error) => return Err(error),
    }
    let tables = Engine::load(project.clone())?.tables().specs();
    let mut session = Session::open(project, &data_dir).await?;
    for spec in tables {
        if let Some(sql) = query(&spec) {
            of_table(&mut session, &spec.name, &sql, &mut events, &mut searched).await?;
        }
    }
    let trees = events.trees(&args.id);
    if trees.is_empty() {
        return Err(Error::failed(format!(
            "no event has '{}' as its id or its correlation id; searched: {}",
            args.id,
            searched.join(", ")
        )));
    }
    super::print(&match args.format {
        Format::Tree => text(&trees),
        Format::Json => serde_json::to_string_pretty(&trees).map_err(|e| Error::bug("a tree that is no JSON").because(e))? + "\n",
    })?;
    Ok(0)
}

fn text(trees: &[Node]) -> String {
    let mut text = String::new();
    trees.iter().for_each(|tree| tree.write(&mut text));
    let count: usize = trees.iter().map(Node::count).sum();
    text.push_str(&format!("{}\n", counted(count as u64, "event")));
    text
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Every event of every topic; records that are no events are passed over.
async fn of_topics(topics: &Topics, events: &mut Events, searched: &mut Vec<String>) -> Result<()> {
    let all: Vec<TopicFigures> = topics.call("topics.list", &Value::Null).await?;
    for figures in all {
        let mut tail = Tail {
            topic: figures.topic.clone(),
            partition: None,
            from: TailFrom::Earliest,
            limit: None,
            follow: false,
            stands: Vec::new(),
        };
        let mut records = 0;
        loop {
            let Tailed { page, next } = topics.call("topics.tail", &tail).await?;
            records += page.records;
            for line in page.lines.lines() {
                let record: Value = serde_json::from_str(line).map_err(|e| Error::bug("a record's line is no JSON").because(e))?;
                if let Some(event) = event_of(&record, &figures.topic) {
                    events.add(event);
                }
            }
            if page.ended {
                break;
            }
            tail = next;
        }
        searched.push(format!("topic {} ({})", figures.topic, counted(records, "record")));
    }
    Ok(())
}

/// The record as an event, in either mode; `None`: it is none.
fn event_of(record: &Value, topic: &str) -> Option<Event> {
    let mut attributes = Map::new();
    for (name, value) in record.get("headers").and_then(Value::as_object).into_iter().flatten() {
        if let Some(name) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    if attributes.is_empty() {
        attributes = record.get("value")?.as_object().cloned()?;
    }
    if !attributes.contains_key("specversion") {
        return None;
    }
    lift_metadata(&mut attributes);
    let text = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
    let place = format!("{topic}[{}]@{}", record.get("partition")?, record.get("offset")?);
    Some(Event {
        id: text("id")?,
        kind: text("type"),
        time: text("time"),
        correlation: text("correlationid"),
        causation: text("causationid"),
        places: vec![place],
    })
}

/// Asks a table for its events; `None`: its rows are none, as they have no id, or nothing that leads to others.
fn query(spec: &TableSpec) -> Option<String> {
    let is_text =
        |name: &str| spec.schema.field_with_name(name).is_ok_and(|field| matches!(field.data_type(), DataType::Utf8View | DataType::Utf8));
    if !is_text("id") || !(is_text("correlationid") || is_text("causationid")) {
        return None;
    }
    let text = |name: &str| if is_text(name) { format!("`{name}`") } else { "CAST(NULL AS STRING)".to_owned() };
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let time = match spec.time_column {
        Some(at) => format!("CAST({} AS STRING)", quoted(spec.schema.field(at).name())),
        None => text("time"),
    };
    let (id, kind, correlation, causation) = (text("id"), text("type"), text("correlationid"), text("causationid"));
    Some(format!("SELECT {id}, {kind}, {time}, {correlation}, {causation} FROM {}", quoted(&spec.name)))
}

async fn of_table(session: &mut Session, table: &str, sql: &str, events: &mut Events, searched: &mut Vec<String>) -> Result<()> {
    let mut rows = 0;
    for batch in session.rows(sql, table).await? {
        rows += batch.num_rows() as u64;
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8View)).collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let text = |at: usize| columns[at].is_valid(row).then(|| columns[at].as_string_view().value(row).to_owned());
            let (Some(id), kind, time) = (text(0), text(1), text(2)) else { continue };
            let (correlation, causation) = (text(3), text(4));
            events.add(Event { id, kind, time, correlation, causation, places: vec![format!("table {table}")] });
        }
    }
    searched.push(format!("table {table} ({})", counted(rows, "row")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modes_are_events_and_other_records_are_none() {
        let structured = serde_json::json!({"partition": 1, "offset": 7, "value": {"specversion": "1.0", "id": "a", "type": "t.A",
            "metadata": {"correlationId": "c", "causationId": "b"}}});
        let event = event_of(&structured, "t").unwrap();
        assert_eq!((event.correlation.as_deref(), event.causation.as_deref(), event.places[0].as_str()), (Some("c"), Some("b"), "t[1]@7"));
        let binary = serde_json::json!({"partition": 0, "offset": 8, "headers": {"ce_specversion": "1.0", "ce_id": "x", "ce_causationid": "a"}, "value": {"n": 1}});
        assert_eq!(event_of(&binary, "t").unwrap().causation.as_deref(), Some("a"));
        for other in [
            serde_json::json!({"partition": 0, "offset": 1, "value": {"id": "a"}}),
            serde_json::json!({"partition": 0, "offset": 1, "value": null}),
        ] {
            assert_eq!(event_of(&other, "t"), None);
        }
    }
}
