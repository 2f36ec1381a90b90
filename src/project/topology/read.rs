//! The file to its documents. All faults are told in one go, each at its place.

use serde_json::Value as Json;

use super::{At, Binding, Document, Exchange, Properties, Queue, Topic};
use crate::error::{Error, Result};
use crate::time::parse_duration;
use crate::yaml::{Entry, Fields, Node, Value, documents};

/// Reads the text of the file; `file` is its name for people.
pub fn read(text: &str, file: &str) -> Result<Vec<Document>> {
    let mut faults = Vec::new();
    let nodes = documents(text, file)?;
    let read = nodes.iter().filter(|node| node.value != Value::Null).filter_map(|node| document(node, &mut faults)).collect();
    Error::all(faults).map_or(Ok(read), Err)
}

fn document(node: &Node, faults: &mut Vec<Error>) -> Option<Document> {
    let mut fields = Fields::of(node, "topics.yaml", faults)?;
    let broker = fields.take("broker").and_then(|node| text(node, "'broker'", faults));
    let topics = entries(fields.take("topics"), "'topics'", faults).iter().filter_map(|entry| topic(entry, faults)).collect();
    let producer = settings(fields.take("producer"), "'producer'", faults);
    let consumer = settings(fields.take("consumer"), "'consumer'", faults);
    let exchanges = fields.list("exchanges").iter().filter_map(|node| exchange(node, faults)).collect();
    let queues = fields.list("queues").iter().filter_map(|node| queue(node, faults)).collect();
    let bindings = fields.list("bindings").iter().filter_map(|node| binding(node, faults)).collect();
    fields.close(faults);
    let document = Document { broker, topics, producer, consumer, exchanges, queues, bindings };
    if document.is_log() && (document.is_rabbitmq() || !document.producer.is_empty() || !document.consumer.is_empty()) {
        faults.push(node.fault("'broker: log' has topics only: the embedded log knows neither exchanges nor client settings"));
    }
    Some(document)
}

fn topic(entry: &Entry, faults: &mut Vec<Error>) -> Option<Topic> {
    let name = At { value: entry.key.clone(), place: entry.place.clone() };
    let what = format!("topic '{}'", entry.key);
    if entry.node.value == Value::Null {
        return Some(Topic { name, partitions: None, replication_factor: None, config: Vec::new(), retention_micros: None });
    }
    let mut fields = Fields::of(&entry.node, what.clone(), faults)?;
    let partitions = number(fields.take("partitions"), &what, "partitions", faults);
    let replication_factor = number(fields.take("replication_factor"), &what, "replication_factor", faults);
    let config = settings(fields.take("config"), &format!("{what}: 'config'"), faults);
    let retention_micros = fields.take("retention").and_then(|node| {
        let kept = node.text().ok_or_else(|| node.fault(format!("{what}: 'retention' is {}", node.kind()))).and_then(parse_duration);
        match kept {
            Ok(micros) => Some(At { value: micros, place: node.place.clone() }),
            Err(fault) => {
                faults.push(fault.at(node.place.clone()));
                None
            }
        }
    });
    close(fields, faults);
    Some(Topic { name, partitions, replication_factor, config, retention_micros })
}

fn exchange(node: &Node, faults: &mut Vec<Error>) -> Option<Exchange> {
    let mut fields = Fields::of(node, "an exchange", faults)?;
    let name = fields.need("name", faults).and_then(|node| text(node, "'name'", faults))?;
    let mut fields = fields.named(format!("exchange '{}'", name.value));
    let kind = fields.need("type", faults).and_then(|node| text(node, "'type'", faults)).map(|kind| kind.value);
    let durable = durable(&mut fields, faults);
    let auto_delete = fields.flag("auto_delete", faults);
    let internal = fields.flag("internal", faults);
    let properties = properties(fields.take("properties"), "'properties'", faults);
    close(fields, faults);
    Some(Exchange { name, kind: kind?, durable, auto_delete, internal, properties })
}

fn queue(node: &Node, faults: &mut Vec<Error>) -> Option<Queue> {
    let mut fields = Fields::of(node, "a queue", faults)?;
    let name = fields.need("name", faults).and_then(|node| text(node, "'name'", faults))?;
    let mut fields = fields.named(format!("queue '{}'", name.value));
    let durable = durable(&mut fields, faults);
    let auto_delete = fields.flag("auto_delete", faults);
    let properties = properties(fields.take("properties"), "'properties'", faults);
    close(fields, faults);
    Some(Queue { name, durable, auto_delete, properties })
}

fn binding(node: &Node, faults: &mut Vec<Error>) -> Option<Binding> {
    let mut fields = Fields::of(node, "a binding", faults)?;
    let exchange = fields.need("exchange", faults).and_then(|node| text(node, "'exchange'", faults))?;
    let queue = fields.take("queue").and_then(|node| text(node, "'queue'", faults));
    let other = fields.take("to_exchange").and_then(|node| text(node, "'to_exchange'", faults));
    let routing_key = fields.text("routing_key", faults).unwrap_or_default().to_owned();
    let arguments = properties(fields.take("arguments"), "'arguments'", faults).into_iter().map(|at| at.value).collect();
    close(fields, faults);
    let (to, to_exchange) = match (queue, other) {
        (Some(queue), None) => (queue, false),
        (None, Some(other)) => (other, true),
        _ => {
            faults.push(node.fault(format!("a binding of '{}' leads to a 'queue' or 'to_exchange', one of them", exchange.value)));
            return None;
        }
    };
    Some(Binding { exchange, to, to_exchange, routing_key, arguments, place: node.place.clone() })
}

/// Keys that nobody asked for are faults; a broker is named elsewhere.
fn close(mut fields: Fields<'_>, faults: &mut Vec<Error>) {
    if let Some(entry) = fields.take_any("broker") {
        let what = fields.what();
        let text = format!(
            "{what}: 'broker' stands at the top of the file, beside 'topics' and 'queues'; for another broker begin a document with '---'"
        );
        faults.push(Error::input(text).at(entry.place.clone()));
    }
    fields.close(faults);
}

/// Things outlive a restart unless it is said otherwise.
fn durable(fields: &mut Fields<'_>, faults: &mut Vec<Error>) -> bool {
    fields.read("durable", "true or false", faults, |text| text.parse().ok()).unwrap_or(true)
}

fn text(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<At<String>> {
    let text = node.text();
    if text.is_none() {
        faults.push(node.fault(format!("{what} is one value, not {}", node.kind())));
    }
    text.map(|text| At { value: text.to_owned(), place: node.place.clone() })
}

fn number<T: std::str::FromStr>(node: Option<&Node>, what: &str, key: &str, faults: &mut Vec<Error>) -> Option<At<T>> {
    let node = node?;
    match node.text().and_then(|text| text.parse().ok()).filter(|_| node.text() != Some("0")) {
        Some(value) => Some(At { value, place: node.place.clone() }),
        None => {
            faults.push(node.fault(format!("{what}: '{key}' is {}; expected a whole number from 1", node.kind())));
            None
        }
    }
}

fn entries<'a>(node: Option<&'a Node>, what: &str, faults: &mut Vec<Error>) -> &'a [Entry] {
    match node {
        None => &[],
        Some(node) => match &node.value {
            Value::Map(entries) => entries,
            _ => {
                faults.push(node.fault(format!("{what} is a mapping (name: …), not {}", node.kind())));
                &[]
            }
        },
    }
}

fn settings(node: Option<&Node>, what: &str, faults: &mut Vec<Error>) -> Vec<At<(String, String)>> {
    let entries = entries(node, what, faults).iter();
    let setting = |entry: &Entry| {
        let value = text(&entry.node, &format!("{what}: '{}'", entry.key), faults)?;
        Some(At { value: (entry.key.clone(), value.value), place: entry.place.clone() })
    };
    entries.filter_map(setting).collect()
}

fn properties(node: Option<&Node>, what: &str, faults: &mut Vec<Error>) -> Properties {
    let property = |entry: &Entry| {
        let value: Json = entry.node.to_json();
        At { value: (entry.key.clone(), value), place: entry.place.clone() }
    };
    entries(node, what, faults).iter().map(property).collect()
}
