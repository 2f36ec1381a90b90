//! A file of rules to rules as written. All faults of the file are told in one go, each at its line and column.

use crate::connector::address::TopicAddress;
use crate::error::{Error, Result};
use crate::project::Size;
use crate::rules::form::{
    AggregateText, Comparison, CountText, EmitText, KeyText, Limit, MatchText, Meta, Mode, Order, Overflow, RuleText, SlidingText, Text,
    WarmUp,
};
use crate::rules::read_sequence::sequence;
use crate::rules::read_tests::tests;
use crate::time::parse_duration;
use crate::yaml::{Fields, Node, Value, documents};

/// All rules of a file, in its order; `file` is its name for people.
pub fn rules(text: &str, file: &str) -> Result<Vec<RuleText>> {
    let mut faults = Vec::new();
    let mut rules: Vec<RuleText> = Vec::new();
    for document in documents(text, file)? {
        if document.value == Value::Null {
            continue;
        }
        if let Some(rule) = rule(&document, &mut faults) {
            if let Some(other) = rules.iter().find(|other| other.name.text == rule.name.text) {
                let message = format!("rule '{}' stands in this file twice; first at {}", rule.name.text, other.name.place);
                faults.push(Error::input(message).at(rule.name.place.clone()));
            }
            rules.push(rule);
        }
    }
    Error::all(faults).map_or(Ok(rules), Err)
}

fn rule(node: &Node, faults: &mut Vec<Error>) -> Option<RuleText> {
    let mut fields = Fields::of(node, "a rule", faults)?;
    let name = fields.need("rule", faults).and_then(|node| one_text(node, "the rule's name", faults));
    let what = name.as_ref().map_or_else(|| "a rule".to_owned(), |name| format!("rule '{}'", name.text));
    let mut fields = fields.named(what.clone());
    let meta = fields.take("meta").map(|node| meta(node, &what, faults)).unwrap_or_default();
    let on = fields.need("on", faults).map(|node| streams(node, &what, faults)).unwrap_or_default();
    let key = fields.need("key", faults).and_then(|node| key(node, &what, faults));
    let matching = fields.need("match", faults).and_then(|node| matching(node, &what, faults));
    let emit = fields.need("emit", faults).and_then(|node| emit(node, &what, faults));
    let suppress_micros = duration(&mut fields, "suppress", faults);
    let mode = choice(&mut fields, "mode", &[("active", Mode::Active), ("shadow", Mode::Shadow), ("off", Mode::Off)], faults);
    let order = choice(&mut fields, "order", &[("event_time", Order::EventTime), ("arrival", Order::Arrival)], faults);
    let warm_up = choice(&mut fields, "warm_up", &[("none", WarmUp::None), ("log", WarmUp::Log)], faults);
    let tests = tests(fields.list("tests"), &what, faults);
    fields.close(faults);
    Some(RuleText {
        name: name?,
        meta,
        on,
        key: key?,
        matching: matching?,
        emit: emit?,
        suppress_micros,
        mode: mode.unwrap_or_default(),
        order: order.unwrap_or_default(),
        warm_up: warm_up.unwrap_or_default(),
        tests,
    })
}

fn meta(node: &Node, what: &str, faults: &mut Vec<Error>) -> Meta {
    let Some(mut fields) = Fields::of(node, format!("{what}: meta"), faults) else { return Meta::default() };
    let mut word = |key| fields.text(key, faults).map(str::to_owned);
    let (title, description, level) = (word("title"), word("description"), word("level"));
    let (owner, version) = (word("owner"), word("version"));
    let tags = fields.list("tags").iter().filter_map(|tag| one_text(tag, "a tag", faults)).map(|tag| tag.text).collect();
    fields.close(faults);
    Meta { title, description, level, tags, owner, version }
}

/// `on: payments`, or `on: { payment: payments, login: logins }`.
fn streams(node: &Node, what: &str, faults: &mut Vec<Error>) -> Vec<(Text, Text)> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .filter_map(|entry| {
                let alias = Text { text: entry.key.clone(), place: entry.place.clone() };
                Some((alias, one_text(&entry.node, "a stream", faults)?))
            })
            .collect(),
        Value::Scalar { text, .. } => {
            let table = Text { text: text.clone(), place: node.place.clone() };
            vec![(table.clone(), table)]
        }
        _ => {
            faults.push(node.fault(format!("{what}: 'on' is a table or view, or a mapping of names to them, not {}", node.kind())));
            Vec::new()
        }
    }
}

fn key(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<KeyText> {
    let columns = |node: &Node, faults: &mut Vec<Error>| texts(node, "a key column", faults);
    match &node.value {
        Value::Scalar { text, quoted: false } if text == "none" => Some(KeyText::None),
        Value::Map(entries) => {
            let per_stream: Vec<(Text, Vec<Text>)> = entries
                .iter()
                .map(|entry| (Text { text: entry.key.clone(), place: entry.place.clone() }, columns(&entry.node, faults)))
                .collect();
            Some(KeyText::PerStream(per_stream))
        }
        Value::List(items) if items.is_empty() => {
            faults.push(node.fault(format!("{what}: 'key' names no column; write 'key: none' if all events belong together")));
            None
        }
        _ => Some(KeyText::Columns(columns(node, faults))),
    }
}

fn matching(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<MatchText> {
    let mut fields = Fields::of(node, format!("{what}: match"), faults)?;
    let found = [fields.take("count"), fields.take("aggregate"), fields.take("sequence")];
    fields.close(faults);
    match found {
        [Some(node), None, None] => count(node, &format!("{what}: count"), faults).map(MatchText::Count),
        [None, Some(node), None] => aggregate(node, &format!("{what}: aggregate"), faults).map(MatchText::Aggregate),
        [None, None, Some(node)] => sequence(node, &format!("{what}: sequence"), faults).map(MatchText::Sequence),
        _ => {
            faults.push(node.fault(format!("{what}: 'match' holds one of 'count', 'aggregate' and 'sequence'")));
            None
        }
    }
}

fn sliding(fields: &mut Fields<'_>, what: &str, faults: &mut Vec<Error>) -> Option<SlidingText> {
    let of = expression(fields, "of", faults);
    let filter = expression(fields, "where", faults);
    let place = fields.place().clone();
    let over_micros = fields.take("over").map(|node| positive_duration(node, what, "over", faults));
    if over_micros.is_none() {
        faults.push(Error::input(format!("{what}: 'over' is missing: the length of the sliding time, such as 'over: 1h'")).at(place));
    }
    Some(SlidingText { of, filter, each: fields.flag("each", faults), over_micros: over_micros?? })
}

const LIMITS: [(&str, Comparison); 3] =
    [("more_than", Comparison::MoreThan), ("at_least", Comparison::AtLeast), ("less_than", Comparison::LessThan)];

fn count(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<CountText> {
    let mut fields = Fields::of(node, what, faults)?;
    let sliding = sliding(&mut fields, what, faults);
    let mut limits = LIMITS.iter().filter_map(|(key, comparison)| Some((*comparison, fields.take(key)?)));
    let (first, second) = (limits.next(), limits.next());
    let limit = match (first, second) {
        (Some((comparison, node)), None) => match node.text().map(str::parse::<u64>) {
            Some(Ok(bound)) => Some(Limit { comparison, bound: Text { text: bound.to_string(), place: node.place.clone() } }),
            _ => {
                faults.push(node.fault(format!("{what}: the bound is {}; expected a whole number from 0", node.kind())));
                None
            }
        },
        _ => {
            faults.push(node.fault(format!("{what}: expected one of 'more_than', 'at_least' and 'less_than'")));
            None
        }
    };
    fields.close(faults);
    Some(CountText { sliding: sliding?, limit: limit? })
}

fn aggregate(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<AggregateText> {
    let mut fields = Fields::of(node, what, faults)?;
    let sliding = sliding(&mut fields, what, faults);
    let expr = fields.need("expr", faults).and_then(|node| one_text(node, "'expr'", faults));
    let having = fields.need("having", faults).and_then(|node| one_text(node, "'having'", faults));
    let (max_bytes, overflow) = (max_bytes(&mut fields, faults), overflow(&mut fields, faults));
    fields.close(faults);
    Some(AggregateText { sliding: sliding?, expr: expr?, having: having?, max_bytes, overflow })
}

/// `max_bytes: 64 mb`.
pub(super) fn max_bytes(fields: &mut Fields<'_>, faults: &mut Vec<Error>) -> Option<usize> {
    let size = |text: &str| usize::try_from(Size::parse(text).ok()?.bytes()).ok();
    fields.read("max_bytes", "an amount of memory, such as '64 mb'", faults, size)
}

/// `overflow`.
pub(super) fn overflow(fields: &mut Fields<'_>, faults: &mut Vec<Error>) -> Overflow {
    let overflows = [("drop_oldest", Overflow::DropOldest), ("drop_newest", Overflow::DropNewest), ("fail_rule", Overflow::FailRule)];
    choice(fields, "overflow", &overflows, faults).unwrap_or_default()
}

/// `emit`, of the rule or of its `on_timeout`.
pub(super) fn emit(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<EmitText> {
    let what = format!("{what}: emit");
    let mut fields = Fields::of(node, what.clone(), faults)?;
    let event_type = fields.need("type", faults).and_then(|node| one_text(node, "the alert's type", faults));
    let subject = expression(&mut fields, "subject", faults);
    let topic = expression(&mut fields, "topic", faults);
    if let Some(topic) = &topic
        && let Err(fault) = TopicAddress::parse(&topic.text)
    {
        faults.push(Error::input(format!("{what}: 'topic': {}", fault.message())).at(topic.place.clone()));
    }
    let data = match fields.take("data") {
        None => Vec::new(),
        Some(Node { value: Value::Map(entries), .. }) => entries
            .iter()
            .filter_map(|entry| {
                let name = Text { text: entry.key.clone(), place: entry.place.clone() };
                Some((name, one_text(&entry.node, "a field of 'data'", faults)?))
            })
            .collect(),
        Some(other) => {
            faults.push(other.fault(format!("{what}: 'data' is a mapping of names to expressions, not {}", other.kind())));
            Vec::new()
        }
    };
    fields.close(faults);
    Some(EmitText { event_type: event_type?, subject, data, topic })
}

/// A text with its place.
pub(super) fn one_text(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<Text> {
    let text = node.text().map(|text| Text { text: text.to_owned(), place: node.place.clone() });
    if text.is_none() {
        faults.push(node.fault(format!("{what} is one value, not {}", node.kind())));
    }
    text
}

/// One text, or a list of them.
pub(super) fn texts(node: &Node, what: &str, faults: &mut Vec<Error>) -> Vec<Text> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| one_text(item, what, faults)).collect(),
        _ => one_text(node, what, faults).into_iter().collect(),
    }
}

/// The text of `key` with its place: an expression, the name of a stream.
pub(super) fn expression(fields: &mut Fields<'_>, key: &'static str, faults: &mut Vec<Error>) -> Option<Text> {
    fields.take(key).and_then(|node| one_text(node, &format!("'{key}'"), faults))
}

/// A duration above zero, in microseconds.
pub(super) fn positive_duration(node: &Node, what: &str, key: &str, faults: &mut Vec<Error>) -> Option<i64> {
    let micros = node.text().and_then(|text| parse_duration(text).ok()).filter(|micros| *micros > 0);
    if micros.is_none() {
        faults.push(node.fault(format!("{what}: '{key}' is {}; expected a duration such as '10m' or '1h'", node.kind())));
    }
    micros
}

/// The duration of `key`, in microseconds.
pub(super) fn duration(fields: &mut Fields<'_>, key: &'static str, faults: &mut Vec<Error>) -> Option<i64> {
    let what = fields.what().to_owned();
    fields.take(key).and_then(|node| positive_duration(node, &what, key, faults))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    fields: &mut Fields<'_>,
    key: &'static str,
    choices: &[(&'static str, T)],
    faults: &mut Vec<Error>,
) -> Option<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    fields.read(key, &format!("one of {}", words.join(", ")), faults, |text| {
        choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VELOCITY: &str = "\
rule: card-velocity
meta: { title: More than 5 payments in an hour, level: high, tags: [payments], owner: risk, version: 3 }
on: payments
key: [customer_id]
match: { count: { where: \"type = 'x'\", over: 1h, more_than: 5 } }
emit: { type: shop.fraud.FraudAlertRaised, subject: customer_id, data: { customerId: customer_id, payments: \"count()\" } }
suppress: 1h
mode: shadow
tests:
  - { at: [0s, 10m], alerts: 1 }
";

    #[test]
    fn a_count_rule() {
        let rules = rules(VELOCITY, "v.yaml").unwrap();
        let [rule] = rules.as_slice() else { panic!() };
        assert_eq!(rule.name.text, "card-velocity");
        assert_eq!((rule.meta.version.as_deref(), rule.mode, rule.suppress_micros), (Some("3"), Mode::Shadow, Some(3_600_000_000)));
        let MatchText::Count(count) = &rule.matching else { panic!() };
        assert_eq!((count.sliding.over_micros, count.limit.comparison), (3_600_000_000, Comparison::MoreThan));
        assert_eq!(rule.emit.data[1].1.text, "count()");
        assert_eq!(rule.emit.data[1].1.place.to_string(), "v.yaml:6:109");
    }

    #[test]
    fn all_faults_of_a_file_are_told() {
        let text = "\
rule: a
on: [x]
key: []
match: { count: { over: soon, more_than: many, wher: 1 } }
emit: { data: 1 }
mode: shadwo
---
rule: b
on: t
key: none
match: {}
emit: { type: t.A }
levle: 1
";
        let told: Vec<String> = rules(text, "r.yaml").unwrap_err().each().map(Error::line).collect();
        assert_eq!(
            told,
            [
                "r.yaml:2:5: rule 'a': 'on' is a table or view, or a mapping of names to them, not a list",
                "r.yaml:3:6: rule 'a': 'key' names no column; write 'key: none' if all events belong together",
                "r.yaml:4:25: rule 'a': count: 'over' is 'soon'; expected a duration such as '10m' or '1h'",
                "r.yaml:4:42: rule 'a': count: the bound is 'many'; expected a whole number from 0",
                "r.yaml:4:48: rule 'a': count: unknown key 'wher'; did you mean 'where'?",
                "r.yaml:5:7: rule 'a': emit: 'type' is missing",
                "r.yaml:5:15: rule 'a': emit: 'data' is a mapping of names to expressions, not '1'",
                "r.yaml:6:7: rule 'a': 'mode' is 'shadwo'; expected one of active, shadow, off",
                "r.yaml:11:8: rule 'b': 'match' holds one of 'count', 'aggregate' and 'sequence'",
                "r.yaml:13:1: rule 'b': unknown key 'levle'; it knows rule, meta, on, key, match, emit, suppress, mode, order, warm_up, tests",
            ]
        );
    }
}
