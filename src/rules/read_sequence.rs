//! `sequence:` as written: steps, groups, and what holds for all of them.

use crate::error::Error;
use crate::rules::form::{Link, Loop, SequenceText, Skip, StepText, Text, TimeoutText, Times};
use crate::rules::read::{choice, duration, emit, expression, max_bytes, one_text, overflow, positive_duration, texts};
use crate::yaml::{Fields, Node, Value};

/// Words that say how a step follows; their value is the step's name.
const LINKS: [(&str, Link); 5] =
    [("then", Link::Then), ("next", Link::Next), ("any", Link::Any), ("not", Link::Not), ("not_next", Link::NotNext)];

/// What else a step may say.
const STEP_KEYS: [&str; 13] =
    ["of", "where", "times", "optional", "greedy", "until", "loop", "gap", "after", "for", "between", "group", "first"];

pub(super) fn sequence(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<SequenceText> {
    let mut fields = Fields::of(node, what, faults)?;
    let within_micros = match fields.take("within") {
        Some(node) if node.text() == Some("none") => Some(None),
        Some(node) => positive_duration(node, what, "within", faults).map(Some),
        None => {
            let message = format!("{what}: 'within' is missing: how long a match may take, such as 'within: 30m' ('none' on purpose)");
            faults.push(Error::input(message).at(fields.place().clone()));
            None
        }
    };
    let gap_micros = duration(&mut fields, "gap", faults);
    let skip = fields.take("skip").and_then(|node| skip(node, what, faults)).unwrap_or(Skip::PastLast);
    let start_latest = choice(&mut fields, "start", &[("all", false), ("latest", true)], faults).unwrap_or(false);
    let steps = fields.need("steps", faults).map(|node| steps(node, what, true, faults)).unwrap_or_default();
    let on_timeout = fields.take("on_timeout").and_then(|node| timeout(node, what, faults));
    let max_runs = fields.read("max_runs", "a whole number above 0", faults, |text| text.parse().ok().filter(|runs| *runs > 0));
    let max_bytes = max_bytes(&mut fields, faults);
    let overflow = overflow(&mut fields, faults);
    fields.close(faults);
    let within_micros = within_micros?;
    Some(SequenceText { within_micros, gap_micros, skip, start_latest, steps, on_timeout, max_runs, max_bytes, overflow })
}

/// `skip: past_last`, `skip: { to_first: step }`; in one line also `skip: to_first step`.
fn skip(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<Skip> {
    let expected = "expected none, to_next, past_last, { to_first: STEP } or { to_last: STEP }";
    let found = match &node.value {
        Value::Scalar { text, .. } => match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["none"] => Some(Skip::None),
            ["to_next"] => Some(Skip::ToNext),
            ["past_last"] => Some(Skip::PastLast),
            [to @ ("to_first:" | "to_first" | "to_last:" | "to_last"), step] => {
                let step = Text { text: (*step).to_owned(), place: node.place.clone() };
                Some(if to.starts_with("to_first") { Skip::ToFirst(step) } else { Skip::ToLast(step) })
            }
            _ => None,
        },
        Value::Map(entries) => match entries.as_slice() {
            [entry] => match (entry.key.as_str(), one_text(&entry.node, "a step's name", faults)) {
                ("to_first", Some(step)) => Some(Skip::ToFirst(step)),
                ("to_last", Some(step)) => Some(Skip::ToLast(step)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    if found.is_none() {
        faults.push(node.fault(format!("{what}: 'skip' is {}; {expected}", node.kind())));
    }
    found
}

fn timeout(node: &Node, what: &str, faults: &mut Vec<Error>) -> Option<TimeoutText> {
    let what = format!("{what}: on_timeout");
    let mut fields = Fields::of(node, what.clone(), faults)?;
    let at_least = expression(&mut fields, "at_least", faults);
    let emit = fields.need("emit", faults).and_then(|node| emit(node, &what, faults));
    if let Some(topic) = emit.as_ref().and_then(|emit| emit.topic.as_ref()) {
        let text = format!("{what}: all alerts of a rule go to one topic: say it in the 'emit' of the rule");
        faults.push(Error::input(text).at(topic.place.clone()));
    }
    fields.close(faults);
    Some(TimeoutText { at_least, emit: emit? })
}

/// The steps of a sequence or of a group; `outer`: the very first may be written without a link.
fn steps(node: &Node, what: &str, outer: bool, faults: &mut Vec<Error>) -> Vec<StepText> {
    let Value::List(items) = &node.value else {
        faults.push(node.fault(format!("{what}: the steps are a list, not {}", node.kind())));
        return Vec::new();
    };
    if items.is_empty() {
        faults.push(node.fault(format!("{what}: there are no steps")));
    }
    items.iter().enumerate().filter_map(|(number, item)| step(item, what, outer && number == 0, number == 0, faults)).collect()
}

/// `first`: it begins the sequence. `heads`: it is the first of its list, and may be written `{ NAME: STREAM, … }`.
fn step(node: &Node, what: &str, first: bool, heads: bool, faults: &mut Vec<Error>) -> Option<StepText> {
    let mut fields = Fields::of(node, format!("{what}: a step"), faults)?;
    let links: Vec<(&str, Link, &Node)> = LINKS.iter().filter_map(|(key, link)| Some((*key, *link, fields.take(key)?))).collect();
    let begun = fields.take("first");
    let (name, link, mut of) = match (links.as_slice(), begun) {
        ([(_, link, name)], None) => (one_text(name, "a step's name", faults), *link, None),
        ([], Some(name)) => (one_text(name, "a step's name", faults), Link::First, None),
        ([], None) => match own_name(node) {
            Some(entry) => {
                fields.take_any(&entry.key);
                let name = Text { text: entry.key.clone(), place: entry.place.clone() };
                (Some(name), Link::First, one_text(&entry.node, "a step's stream", faults))
            }
            None => (None, Link::First, None),
        },
        _ => {
            faults.push(node.fault(format!("{what}: a step has one of then, next, any, not and not_next")));
            return None;
        }
    };
    let said = name.as_ref().map_or_else(|| "a step".to_owned(), |name| format!("step '{}'", name.text));
    let what = format!("{what}: {said}");
    let mut fields = fields.named(what.clone());
    if link == Link::First && !heads {
        faults.push(node.fault(format!("{what}: expected then, next, any, not or not_next: how does it follow the step before?")));
    }
    if first && !matches!(link, Link::First | Link::Then | Link::Next | Link::Any | Link::Not) {
        faults.push(node.fault(format!("{what}: nothing comes before it: write '{{ NAME: STREAM, … }}', or 'not' with 'for'")));
    }
    if let Some(stream) = expression(&mut fields, "of", faults) {
        of = Some(stream);
    }
    let filter = expression(&mut fields, "where", faults);
    let expected = "3, 2..4, 3+ or 0+";
    let (times, mut optional) = match fields.read("times", expected, faults, times) {
        Some(Times { least: 0, most }) => (Times { least: 1, most }, true),
        Some(times) => (times, false),
        None => (Times::ONCE, false),
    };
    optional |= fields.flag("optional", faults);
    let greedy = fields.flag("greedy", faults);
    let until = expression(&mut fields, "until", faults);
    let loops = [("relaxed", Loop::Relaxed), ("strict", Loop::Strict), ("combinations", Loop::Combinations)];
    let looping = choice(&mut fields, "loop", &loops, faults).unwrap_or_default();
    let gap_micros = duration(&mut fields, "gap", faults);
    let after_micros = duration(&mut fields, "after", faults);
    let hold_micros = duration(&mut fields, "for", faults);
    let between = fields.take("between").and_then(|node| match texts(node, "a step's name", faults).as_slice() {
        [from, to] => Some((from.clone(), to.clone())),
        _ => {
            faults.push(node.fault(format!("{what}: 'between' names two steps: [from, to]")));
            None
        }
    });
    let group = fields.take("group").map(|node| steps(node, &what, false, faults)).unwrap_or_default();
    fields.close(faults);
    let place = node.place.clone();
    if name.is_none() && group.is_empty() {
        faults.push(node.fault(format!("{what}: it has no name: write '{{ NAME: STREAM, … }}' or '{{ then: NAME, … }}'")));
        return None;
    }
    Some(StepText {
        name,
        place,
        link: if first && !matches!(link, Link::Not) { Link::First } else { link },
        of,
        filter,
        times,
        optional,
        greedy,
        until,
        looping,
        gap_micros,
        after_micros,
        hold_micros,
        between,
        group,
    })
}

/// The entry `NAME: STREAM` of a step that has no link: the only one whose key is no word of the form.
fn own_name(node: &Node) -> Option<&crate::yaml::Entry> {
    let Value::Map(entries) = &node.value else { return None };
    let known = |key: &str| STEP_KEYS.contains(&key) || LINKS.iter().any(|(word, _)| *word == key);
    entries.first().filter(|entry| !known(&entry.key) && entry.node.text().is_some())
}

/// `3`, `2..4`, `3+`, `0+`.
fn times(text: &str) -> Option<Times> {
    let (least, most) = if let Some(least) = text.strip_suffix('+') {
        (least.trim().parse().ok()?, None)
    } else if let Some((least, most)) = text.split_once("..") {
        (least.trim().parse().ok()?, Some(most.trim().parse().ok()?))
    } else {
        let times = text.trim().parse().ok()?;
        (times, Some(times))
    };
    (most.is_none_or(|most| most >= least && most > 0)).then_some(Times { least, most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::form::MatchText;
    use crate::rules::read::rules;

    fn read(sequence: &str) -> Result<SequenceText, Vec<String>> {
        let text = format!(
            "rule: r\non: {{ login: logins, payment: payments, mfa: mfa }}\nkey: user\nmatch:\n  sequence:\n{sequence}\nemit: {{ type: t.A }}\n"
        );
        match rules(&text, "r.yaml") {
            Ok(mut rules) => match rules.remove(0).matching {
                MatchText::Sequence(sequence) => Ok(sequence),
                other => panic!("{other:?}"),
            },
            Err(error) => Err(error.each().map(Error::line).collect()),
        }
    }

    #[test]
    fn steps_links_and_groups() {
        let sequence = read(
            "
    within: 30m
    skip: { to_first: ok }
    steps:
      - { fail: login, where: \"not ok\", times: 3+, loop: strict }
      - { then: ok, of: login, after: 10m }
      - { any: more, group: [ { first: x, of: login }, { next: y, of: mfa } ], times: 2..3, greedy: true }
      - { not: stepup, of: mfa, where: ok, between: [ok, pay] }
      - { then: pay, of: payment, times: 0+ }",
        )
        .unwrap();
        let told: Vec<String> = sequence
            .steps
            .iter()
            .map(|step| {
                let of = step.of.as_ref().map_or("-", |of| of.text.as_str());
                let times = (step.times.least, step.times.most, step.optional);
                format!("{:?} {} {of} {times:?} {}", step.link, step.name.as_ref().unwrap().text, step.group.len())
            })
            .collect();
        assert_eq!(
            told,
            [
                "First fail login (3, None, false) 0",
                "Then ok login (1, Some(1), false) 0",
                "Any more - (2, Some(3), false) 2",
                "Not stepup mfa (1, Some(1), false) 0",
                "Then pay payment (1, None, true) 0",
            ]
        );
        assert!(matches!(&sequence.skip, Skip::ToFirst(step) if step.text == "ok"));
        assert_eq!(sequence.steps[1].after_micros, Some(600_000_000));
        assert_eq!(sequence.steps[3].between.as_ref().unwrap().1.text, "pay");
    }

    #[test]
    fn faults_of_steps() {
        let told = read(
            "
    steps:
      - { a: login, times: 4..2 }
      - { b: login }
      - { then: c, next: d }
      - { then: e, lop: strict }
      - { where: x }
    skip: back",
        )
        .unwrap_err();
        assert_eq!(
            told,
            [
                "r.yaml:7:5: rule 'r': sequence: 'within' is missing: how long a match may take, such as 'within: 30m' ('none' on purpose)",
                "r.yaml:13:11: rule 'r': sequence: 'skip' is 'back'; expected none, to_next, past_last, { to_first: STEP } or { to_last: STEP }",
                "r.yaml:8:28: rule 'r': sequence: step 'a': 'times' is '4..2'; expected 3, 2..4, 3+ or 0+",
                "r.yaml:9:9: rule 'r': sequence: step 'b': expected then, next, any, not or not_next: how does it follow the step before?",
                "r.yaml:10:9: rule 'r': sequence: a step has one of then, next, any, not and not_next",
                "r.yaml:11:20: rule 'r': sequence: step 'e': unknown key 'lop'; did you mean 'loop'?",
                "r.yaml:12:9: rule 'r': sequence: a step: expected then, next, any, not or not_next: how does it follow the step before?",
                "r.yaml:12:9: rule 'r': sequence: a step: it has no name: write '{ NAME: STREAM, … }' or '{ then: NAME, … }'",
            ]
        );
    }
}
