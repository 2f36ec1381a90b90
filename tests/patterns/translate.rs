//! Cases as patterns: what each dialect says, in the engine's words; or why it has none for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::Condition;
use eagre::operator::pattern::sequence::{Body, Inner, Link, Sequence, Skip, SkipTo, Start, Step, Times};
use eagre::operator::pattern::spec::{Bounds, Find, OnTimeout, Order, Rule};
use serde_json::{Map, Value};

use super::driver::{INDEX, KEY, TIME, emission, emitted_schema};
use super::expression::{Scope, condition};

/// Why a case does not apply.
pub type Inapplicable = String;

/// A case.
#[derive(Debug)]
pub struct Case {
    pub id: String,
    pub dialect: String,
    pub body: Value,
}

/// Reads the cases of a file.
pub fn read(text: &str) -> Vec<Case> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let body: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            Case { id: text("id"), dialect: text("dialect"), body }
        })
        .collect()
}

/// The events' fields with `$index`, `$key` and `$time`, everything twice over: key 2 sees what key 1 sees, so that a
/// key that is not kept apart shows.
pub struct Events {
    pub schema: SchemaRef,
    pub rows: RecordBatch,
    /// Times in milliseconds, one per row.
    pub times: Vec<i64>,
    /// The column that the pattern matches by, if the case names one.
    pub key: Option<usize>,
}

impl Events {
    /// The events of a case; `key` is the field that the pattern matches by.
    pub fn new(case: &Case, key: Option<&str>) -> Self {
        let events: Vec<&Map<String, Value>> = case.body["events"].as_array().unwrap().iter().map(|e| e.as_object().unwrap()).collect();
        let mut types: BTreeMap<&str, DataType> = BTreeMap::new();
        for (name, value) in events.iter().flat_map(|event| event.iter()) {
            let data_type = match value {
                Value::Number(_) => DataType::Float64,
                Value::Bool(_) => DataType::Boolean,
                Value::Null => continue,
                _ => DataType::Utf8View,
            };
            let known = types.entry(name).or_insert(data_type.clone());
            if *known != data_type {
                *known = DataType::Utf8View;
            }
        }
        let copies = if key.is_some() { 1 } else { 2 };
        let rows: Vec<(usize, i64)> = (0..events.len()).flat_map(|event| (1..=copies).map(move |key| (event, key))).collect();
        let mut fields: Vec<Field> = types.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (name, data_type) in &types {
            let values = rows.iter().map(|(event, _)| events[*event].get(*name).filter(|value| !value.is_null()));
            columns.push(match data_type {
                DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(|v| v.and_then(Value::as_f64)))),
                DataType::Boolean => Arc::new(BooleanArray::from_iter(values.map(|v| v.and_then(Value::as_bool)))),
                _ => {
                    Arc::new(StringViewArray::from_iter(values.map(|v| v.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)))))
                }
            });
        }
        let times: Vec<i64> = rows.iter().map(|(event, _)| events[*event]["ts"].as_i64().unwrap()).collect();
        fields.push(Field::new(INDEX, DataType::Int64, true));
        columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|(event, _)| *event as i64))));
        fields.push(Field::new(KEY, DataType::Int64, true));
        columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, key)| *key))));
        fields.push(Field::new(TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true));
        columns.push(Arc::new(TimestampMillisecondArray::from(times.clone())));
        let schema = Arc::new(Schema::new(fields));
        let key = key.map(|key| schema.index_of(key).unwrap());
        Events { rows: RecordBatch::try_new(schema.clone(), columns).unwrap(), schema, times, key }
    }
}

/// The pattern of a case, over its events.
pub fn pattern(case: &Case) -> Result<(PatternSpec, Events), Inapplicable> {
    if let Some(variant) = case.body.get("variant") {
        return Err(format!("variant {variant}: finished matches are never held back"));
    }
    let key = case.body["pattern"].get("key").and_then(Value::as_str);
    let events = Events::new(case, key);
    let sequence = match case.dialect.as_str() {
        "nfa" => nfa(&case.body["pattern"], &events)?,
        "eql" => eql(&case.body["pattern"], &events)?,
        "siddhi" => siddhi(case, &events)?,
        "esper" => esper(&case.body["pattern"], &events)?,
        "core" => nfa(&case.body["pattern"], &events)?,
        other => return Err(format!("dialect {other}")),
    };
    let timeouts = case.body.get("timeouts").is_some();
    let rule = Rule {
        name: "case".to_owned(),
        emit: emission(&events.schema, "case", "match"),
        on_timeout: timeouts.then(|| OnTimeout { at_least: None, emit: emission(&events.schema, "case", "timeout") }),
        bounds: Bounds::default(),
        warm_up: false,
        find: Find::Sequence(sequence),
    };
    let at = |name: &str| events.schema.index_of(name).unwrap();
    let spec = PatternSpec {
        group: None,
        input: events.schema.clone(),
        keys: vec![events.key.unwrap_or_else(|| at(KEY))],
        time: at(TIME),
        then_by: Vec::new(),
        seq: None,
        order: Order::EventTime,
        rules: vec![rule],
        schema: emitted_schema(&events.schema),
    };
    Ok((spec, events))
}

/// Refuses what is not in `known`: a case that uses it means something that is not looked at here.
fn only(object: &Value, known: &[&str]) -> Result<(), Inapplicable> {
    let unknown = object.as_object().and_then(|object| object.keys().find(|key| !known.contains(&key.as_str())));
    unknown.map_or(Ok(()), |key| Err(format!("uses {key}")))
}

fn millis(value: &Value) -> Option<i64> {
    value.as_f64().map(|ms| (ms * 1_000.0) as i64)
}

/// The names of the positive steps, groups flattened.
fn names(steps: &Value, negated: fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for step in steps.as_array().into_iter().flatten() {
        if step.get("group").is_some() {
            found.extend(names(&step["group"], negated));
        } else if !negated(step) {
            found.push(step["name"].as_str().unwrap().to_owned());
        }
    }
    found
}

fn where_of(step: &Value, name: &str, labels: &[String], events: &Events) -> Result<Option<Condition>, Inapplicable> {
    let time = events.schema.index_of(TIME).unwrap();
    let scope = Scope { input: &events.schema, time, labels, unions: &[], tried: None };
    step.get(name).filter(|value| !value.is_null()).map(|value| condition(value, &scope)).transpose()
}

fn nfa(pattern: &Value, events: &Events) -> Result<Sequence, Inapplicable> {
    only(pattern, &["steps", "within", "skip", "gap"])?;
    let labels = names(&pattern["steps"], |step| matches!(step["contiguity"].as_str(), Some("not_next" | "not_followed_by")));
    let mut sequence = Sequence::of(nfa_steps(&pattern["steps"], &labels, events)?);
    sequence.within = millis(&pattern["within"]);
    sequence.gap = millis(&pattern["gap"]);
    let skip = &pattern["skip"];
    if !skip.is_null() {
        only(skip, &["mode", "step", "error_on_miss"])?;
        let to = || {
            let step = skip["step"].as_str().ok_or("a skip without its step")?;
            let label =
                labels.iter().position(|label| label == step).ok_or_else(|| format!("skips to {step}, which is no positive step"))?;
            Ok::<_, Inapplicable>(SkipTo { label, error_on_miss: skip["error_on_miss"].as_bool().unwrap_or_default() })
        };
        sequence.skip = match skip["mode"].as_str() {
            Some("no_skip" | "none") => Skip::None,
            Some("to_next") => Skip::ToNext,
            Some("past_last") => Skip::PastLast,
            Some("to_first") => Skip::ToFirst(to()?),
            Some("to_last") => Skip::ToLast(to()?),
            other => return Err(format!("skip {other:?}")),
        };
    }
    Ok(sequence)
}

fn nfa_steps(steps: &Value, labels: &[String], events: &Events) -> Result<Vec<Step>, Inapplicable> {
    steps.as_array().into_iter().flatten().map(|step| nfa_step(step, labels, events)).collect()
}

fn nfa_step(step: &Value, labels: &[String], events: &Events) -> Result<Step, Inapplicable> {
    only(
        step,
        &["name", "group", "where", "contiguity", "times", "loop", "greedy", "optional", "until", "gap_within", "within_prev", "within"],
    )?;
    let link = match step["contiguity"].as_str() {
        None | Some("followed_by") => Link::Then,
        Some("next") => Link::Next,
        Some("followed_by_any") => Link::Any,
        Some("not_next") => Link::NotNext,
        Some("not_followed_by") => Link::Not,
        Some(other) => return Err(format!("contiguity {other}")),
    };
    let body = if step.get("group").is_some() {
        Body::Group(nfa_steps(&step["group"], labels, events)?)
    } else {
        Body::Event { name: step["name"].as_str().unwrap().to_owned(), when: where_of(step, "where", labels, events)? }
    };
    let mut made = Step::of(body, link);
    if let Some(times) = step["times"].as_array() {
        made.times = Times { from: times[0].as_u64().unwrap() as u32, to: times[1].as_u64().map(|to| to as u32) };
    }
    made.inner = match step["loop"].as_str() {
        None | Some("relaxed") => Inner::Relaxed,
        Some("strict") => Inner::Strict,
        Some("any" | "combinations") => Inner::Combinations,
        Some(other) => return Err(format!("loop {other}")),
    };
    made.greedy = step["greedy"].as_bool().unwrap_or_default();
    made.optional = step["optional"].as_bool().unwrap_or_default();
    made.until = where_of(step, "until", labels, events)?;
    made.gap = millis(&step["gap_within"]);
    let since = millis(&step["within_prev"]);
    // Within so long of the event before, nothing: absent for so long.
    *(if link == Link::Not { &mut made.absent_for } else { &mut made.after }) = since;
    Ok(made)
}

/// Between the name of a step and the number of its repetition, where that is a step of its own.
pub const RUN: char = '~';

/// Elasticsearch: the newest start counts, `within` includes its end.
fn eql(pattern: &Value, events: &Events) -> Result<Sequence, Inapplicable> {
    only(pattern, &["steps", "within", "key", "until", "contiguity"])?;
    if !matches!(pattern["contiguity"].as_str(), None | Some("latest")) {
        return Err(format!("contiguity {}", pattern["contiguity"]));
    }
    let missing = |step: &Value| step["missing"].as_bool().unwrap_or_default();
    let labels = names(&pattern["steps"], missing);
    let mut steps = Vec::new();
    for step in pattern["steps"].as_array().into_iter().flatten() {
        only(step, &["name", "where", "missing", "times"])?;
        let link = if missing(step) { Link::Not } else { Link::Then };
        // `with runs`: so many steps, of which the newest start counts in each.
        let runs = step["times"].as_array().map_or(1, |times| times[0].as_u64().unwrap());
        for run in 1..=runs {
            let name = step["name"].as_str().unwrap();
            let name = if run == 1 { name.to_owned() } else { format!("{name}{RUN}{run}") };
            steps.push(Step::event(&name, link, where_of(step, "where", &labels, events)?));
        }
    }
    let mut sequence = Sequence::of(steps);
    sequence.within = millis(&pattern["within"]).map(|within| within + 1);
    if sequence.steps.first().is_some_and(|step| step.link == Link::Not) {
        // Absent for the whole span before the first event.
        sequence.steps.iter_mut().take_while(|step| step.link == Link::Not).for_each(|step| step.absent_for = sequence.within);
    }
    sequence.until = where_of(pattern, "until", &labels, events)?;
    sequence.start = Start::Latest;
    Ok(sequence)
}

/// Siddhi: `every` is our way of starting; without it there is one run ever, which is the same where one event can start.
fn siddhi(case: &Case, events: &Events) -> Result<Sequence, Inapplicable> {
    let pattern = &case.body["pattern"];
    only(pattern, &["steps", "every", "within"])?;
    let labels = names(&pattern["steps"], |step| step.get("absent_for").is_some());
    let mut steps = Vec::new();
    for step in pattern["steps"].as_array().into_iter().flatten() {
        only(step, &["name", "where", "contiguity", "absent_for"])?;
        let link = match (step.get("absent_for").is_some(), step["contiguity"].as_str()) {
            (true, _) => Link::Not,
            (false, Some("next")) => Link::Next,
            (false, None) => Link::Then,
            (false, other) => return Err(format!("contiguity {other:?}")),
        };
        let mut made = Step::event(step["name"].as_str().unwrap(), link, where_of(step, "where", &labels, events)?);
        made.absent_for = millis(&step["absent_for"]);
        steps.push(made);
    }
    if pattern["every"].as_bool() != Some(true) {
        let starts = match &steps[0].body {
            Body::Event { when: Some(when), .. } if when.bindings.is_empty() => {
                let values = when.expr.evaluate(&events.rows).unwrap().into_array(events.rows.num_rows()).unwrap();
                // Every event is there twice.
                arrow::array::AsArray::as_boolean(&values).true_count() / 2
            }
            _ => 2,
        };
        if starts > 1 {
            return Err("one run ever (every: false), and several events that fit its start".to_owned());
        }
    }
    let mut sequence = Sequence::of(steps);
    sequence.within = millis(&pattern["within"]);
    Ok(sequence)
}

/// Esper: chains of filters whose first is `every`; a later `every` is our `any`. `every` of a whole chain begins anew when
/// the chain is complete: the run begun first is, if no filter reads another's event, and skips past its last event.
fn esper(pattern: &Value, events: &Events) -> Result<Sequence, Inapplicable> {
    only(pattern, &["expr", "start_ts"])?;
    let whole = &pattern["expr"];
    let again = whole["op"].as_str() == Some("every");
    let expr = if again { &whole["arg"] } else { whole };
    if expr["op"].as_str() != Some("followed_by") {
        return Err(format!("uses {} outside a chain", expr["op"]));
    }
    only(expr, &["op", "args"])?;
    let args: Vec<&Value> = expr["args"].as_array().into_iter().flatten().collect();
    let tag = |value: &Value| value["tag"].as_str().or_else(|| value["arg"]["tag"].as_str()).map(str::to_owned);
    let labels: Vec<String> = args.iter().filter_map(|arg| tag(arg)).collect();
    let mut steps = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        let (link, filter) = match arg["op"].as_str() {
            Some("every") if !again => (Link::Any, &arg["arg"]),
            Some("filter") if at > 0 || again => (Link::Then, *arg),
            _ if again => return Err("every of more than a chain of filters".to_owned()),
            Some("filter") => return Err("one run ever (no every)".to_owned()),
            Some("and") if at + 1 == args.len() => {
                steps.push(absence(arg, &labels, events)?);
                continue;
            }
            other => return Err(format!("uses {other:?} in a chain")),
        };
        if filter["op"].as_str() != Some("filter") {
            return Err("every of more than a filter".to_owned());
        }
        only(filter, &["op", "tag", "where"])?;
        let when = where_of(filter, "where", &labels, events)?;
        if again && when.as_ref().is_some_and(|when| !when.bindings.is_empty()) {
            return Err("every of a chain whose filters read each other's events".to_owned());
        }
        steps.push(Step::event(filter["tag"].as_str().unwrap(), link, when));
    }
    let mut sequence = Sequence::of(steps);
    if again {
        sequence.skip = Skip::PastLast;
    }
    Ok(sequence)
}

/// `timer:interval(t) and not filter`: nothing of it for that long.
fn absence(and: &Value, labels: &[String], events: &Events) -> Result<Step, Inapplicable> {
    let parts: Vec<&Value> = and["args"].as_array().into_iter().flatten().collect();
    let of = |op: &str| parts.iter().find(|part| part["op"].as_str() == Some(op));
    let (Some(timer), Some(not), 2) = (of("timer"), of("not"), parts.len()) else { return Err("uses and".to_owned()) };
    let filter = &not["arg"];
    only(filter, &["op", "tag", "where"])?;
    let mut step = Step::event("_", Link::Not, where_of(filter, "where", labels, events)?);
    step.absent_for = millis(&timer["ms"]);
    Ok(step)
}
