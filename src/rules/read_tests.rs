//! `tests:` of a rule as written.
//!
//! ```yaml
//! tests:
//!   - { at: [0s, 10m, 20m], alerts: 1 }                          # events of the rule at these times
//!   - { at: { fail: [0s, 1m], ok: 2m }, alerts: 1 }              # of its steps
//!   - { events: [ { at: 0s, step: fail, with: { ip: 'a' } } ], with: { country: DE }, alerts: [ { user: u1 } ] }
//! ```

use crate::error::Error;
use crate::rules::form::{ExpectedAlerts, TestEvent, TestText, Text};
use crate::rules::read::expression;
use crate::time::parse_duration;
use crate::yaml::{Entry, Fields, Node, Value};

pub(super) fn tests(nodes: &[Node], what: &str, faults: &mut Vec<Error>) -> Vec<TestText> {
    nodes.iter().enumerate().filter_map(|(number, node)| test(node, &format!("{what}: test {}", number + 1), faults)).collect()
}

fn test(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<TestText> {
    let mut fields = Fields::of(node, what, faults)?;
    let (at, listed) = (fields.take("at"), fields.take("events"));
    let mut events = match (at, listed) {
        (Some(at), None) => times(at, what, faults),
        (None, Some(Node { value: Value::List(items), .. })) => items.iter().filter_map(|item| event(item, what, faults)).collect(),
        _ => {
            faults.push(node.fault(format!("{what}: expected 'at' (times) or 'events' (a list)")));
            Vec::new()
        }
    };
    // Events of one time stay in the order of the file.
    events.sort_by_key(|event| event.at_micros);
    let with = fields.take("with").map(|node| values(node, what, faults)).unwrap_or_default();
    let alerts = fields.need("alerts", faults).and_then(|node| expected(node, what, faults));
    fields.close(faults);
    Some(TestText { place: node.place.clone(), events, with, alerts: alerts? })
}

/// `[0s, 10m]`, or `{ step: [0s, 1m], other: 2m }`.
fn times(node: &Node, what: &str, faults: &mut Vec<Error>) -> Vec<TestEvent> {
    let mut events = Vec::new();
    let mut read = |node: &Node, step: Option<Text>| {
        let items = if let Value::List(items) = &node.value { items.as_slice() } else { std::slice::from_ref(node) };
        for item in items {
            match time(item) {
                Some(at_micros) => events.push(TestEvent { at_micros, step: step.clone(), of: None, with: Vec::new() }),
                None => faults.push(item.fault(format!("{what}: {} is no time; expected one such as '10m'", item.kind()))),
            }
        }
    };
    match &node.value {
        Value::Map(steps) => steps.iter().for_each(|entry| read(&entry.node, Some(key_of(entry)))),
        _ => read(node, None),
    }
    events
}

fn event(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<TestEvent> {
    let mut fields = Fields::of(node, format!("{what}: an event"), faults)?;
    let at = fields.need("at", faults);
    let at_micros = at.and_then(|node| {
        let at = time(node);
        if at.is_none() {
            faults.push(node.fault(format!("{what}: {} is no time; expected one such as '10m'", node.kind())));
        }
        at
    });
    let (step, of) = (expression(&mut fields, "step", faults), expression(&mut fields, "of", faults));
    let with = fields.take("with").map(|node| values(node, what, faults)).unwrap_or_default();
    fields.close(faults);
    Some(TestEvent { at_micros: at_micros?, step, of, with })
}

fn time(node: &Node) -> Option<i64> {
    node.text().and_then(|text| parse_duration(text).ok())
}

fn key_of(entry: &Entry) -> Text {
    Text { text: entry.key.clone(), place: entry.place.clone() }
}

fn values(node: &Node, what: &str, faults: &mut Vec<Error>) -> Vec<(Text, serde_json::Value)> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| (key_of(entry), entry.node.to_json())).collect(),
        _ => {
            faults.push(node.fault(format!("{what}: expected a mapping of columns to values, not {}", node.kind())));
            Vec::new()
        }
    }
}

fn expected(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<ExpectedAlerts> {
    match &node.value {
        Value::List(items) => Some(ExpectedAlerts::Data(items.iter().map(|item| values(item, what, faults)).collect())),
        _ => {
            let count = node.text().and_then(|text| text.parse().ok());
            if count.is_none() {
                faults.push(node.fault(format!("{what}: 'alerts' is a number, or a list of what they say, not {}", node.kind())));
            }
            count.map(ExpectedAlerts::Count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::document;

    fn read(text: &str) -> Result<Vec<TestText>, Vec<String>> {
        let node = document(text, "r.yaml").unwrap();
        let Value::List(items) = &node.value else { panic!() };
        let mut faults = Vec::new();
        let read = tests(items, "rule 'r'", &mut faults);
        if faults.is_empty() { Ok(read) } else { Err(faults.iter().map(Error::line).collect()) }
    }

    #[test]
    fn the_three_forms() {
        let read = read(
            "
- { at: [0s, 10m], alerts: 1, with: { amount: 10.5, ok: true, name: '7' } }
- { at: { b: 5m, a: [0s, 10m] }, alerts: 0 }
- events:
    - { at: 1m, of: payments, with: { amount: 1 } }
  alerts: [ { user: u1 } ]",
        )
        .unwrap();
        let values: Vec<String> = read[0].with.iter().map(|(name, value)| format!("{}={value}", name.text)).collect();
        assert_eq!(values, ["amount=10.5", "ok=true", "name=\"7\""]);
        let steps: Vec<&str> = read[1].events.iter().map(|e| e.step.as_ref().unwrap().text.as_str()).collect();
        assert_eq!(steps, ["a", "b", "a"]);
        assert_eq!(read[2].events[0].at_micros, 60_000_000);
        assert!(matches!(&read[2].alerts, ExpectedAlerts::Data(data) if data[0][0].1 == "u1"));
    }

    #[test]
    fn faults_of_tests() {
        let told = read("- { at: [soon], alerts: many }\n- { alerts: 1 }\n").unwrap_err();
        assert_eq!(
            told,
            [
                "r.yaml:1:10: rule 'r': test 1: 'soon' is no time; expected one such as '10m'",
                "r.yaml:1:25: rule 'r': test 1: 'alerts' is a number, or a list of what they say, not 'many'",
                "r.yaml:2:3: rule 'r': test 2: expected 'at' (times) or 'events' (a list)",
            ]
        );
    }
}
