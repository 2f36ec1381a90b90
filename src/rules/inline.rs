//! The tests that stand in a rule's own file: events made up as far as the rule says itself what they look like, run
//! through the rule, alerts compared.
//!
//! An event gets, in this order: what the event or the test says (`with`), the literals that the step's `where` compares
//! with (`type = 'x'`, `ok`, `not ok`), and a constant for key columns. A column that is read and still has no value is an
//! error that names it.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::json::ReaderBuilder;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value as Literal};

use crate::error::{Error, Result};
use crate::rules::form::{ExpectedAlerts, MatchText, RuleText, SlidingText, StepText, TestEvent, TestText, Text, Value};
use crate::rules::group::{Group, groups};
use crate::rules::input::{ID, TIME, key_name};
use crate::rules::runner::Runner;
use crate::sql::catalog::Catalog;
use crate::sql::expression::parse_expression;

/// Tests begin at this time: 2024-01-01 00:00:00, in microseconds.
const BEGIN_MICROS: i64 = 1_704_067_200_000_000;

/// Runs the tests of all rules; every one that fails is told. Returns how many there were.
pub fn run_all(rules: &[RuleText], catalog: &Catalog) -> Result<usize> {
    let mut faults = Vec::new();
    let mut count = 0;
    for rule in rules {
        match run(rule, catalog) {
            Ok(tests) => count += tests,
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(count), Err)
}

/// Runs all tests of `rule`; every one that fails is told. Returns how many there were.
pub fn run(rule: &RuleText, catalog: &Catalog) -> Result<usize> {
    if rule.tests.is_empty() {
        return Ok(0);
    }
    let all = groups(std::slice::from_ref(rule), catalog)?;
    let [group] = all.as_slice() else { return Err(Error::bug("a rule is not one group")) };
    let mut faults = Vec::new();
    for (number, test) in rule.tests.iter().enumerate() {
        let outcome = alerts(rule, group, test).and_then(|alerts| compare(&test.expected_texts(), &alerts, test));
        if let Err(fault) = outcome {
            let place = fault.place().cloned().unwrap_or_else(|| test.place.clone());
            let text = format!("rule '{}': test {}: {}", rule.name.text, number + 1, fault.message());
            faults.push(Error::new(fault.kind(), text).at(place));
        }
    }
    Error::all(faults).map_or(Ok(rule.tests.len()), Err)
}

/// The data of the alerts that a test raises.
fn alerts(rule: &RuleText, group: &Group, test: &TestText) -> Result<Vec<serde_json::Map<String, Value>>> {
    let mut runner = Runner::new(group, &[rule])?;
    for (number, event) in test.events.iter().enumerate() {
        runner.rows(row(rule, group, test, event, number)?)?;
    }
    let mut data = Vec::new();
    for batch in runner.finish()? {
        let column = batch.column_by_name("data").and_then(|column| column.as_string_view_opt().cloned());
        let column = column.ok_or_else(|| Error::bug("alerts without data"))?;
        for text in column.iter().flatten() {
            data.push(serde_json::from_str(text).map_err(|e| Error::bug("an alert's data is no object").because(e))?);
        }
    }
    Ok(data)
}

/// The event as a row of the group's input.
fn row(rule: &RuleText, group: &Group, test: &TestText, event: &TestEvent, number: usize) -> Result<RecordBatch> {
    let input = &group.input;
    let at = format!("the event at {}", seconds(event.at_micros));
    let spoken = spoken_of(rule, event)?;
    let of = event.of.as_ref().or(spoken.of);
    let stream = input.stream(of, &at, &test.place)?;
    let columns = &input.streams[stream];
    let mut literals = Vec::new();
    if let Some(filter) = spoken.filter {
        literals_of(&parse_expression(&filter.text, &filter.place)?, &mut literals);
    }
    for (name, _) in event.with.iter().chain(&test.with) {
        if columns.schema.index_of(&name.text).is_err() {
            let elsewhere = input.streams.iter().any(|stream| stream.schema.index_of(&name.text).is_ok());
            // What is said for all events may be about some of the streams only.
            if !elsewhere || event.with.iter().any(|(own, _)| own == name) {
                return Err(input.no_column(stream, &name.text).at(name.place.clone()));
            }
        }
    }
    let value = |column: &str| {
        let said = event.with.iter().chain(&test.with).find(|(name, _)| name.text == column).map(|(_, value)| value.clone());
        said.or_else(|| literals.iter().find(|(name, _)| name == column).map(|(_, value)| value.clone()))
    };
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    fields.insert(TIME.to_owned(), timestamp(BEGIN_MICROS + event.at_micros).into());
    fields.insert(ID.to_owned(), format!("test-{}", number + 1).into());
    if input.several() {
        fields.insert(crate::rules::input::STREAM.to_owned(), columns.alias.clone().into());
    }
    let mut keys = BTreeMap::new();
    for (number, at) in columns.keys.iter().enumerate() {
        let field = columns.schema.field(*at);
        let constant = value(field.name()).unwrap_or_else(|| constant(field.data_type()));
        keys.insert(field.name().clone(), constant.clone());
        fields.insert(key_name(number), constant);
    }
    for column in input.columns(stream) {
        let name = columns.schema.field(column).name();
        let known = value(name)
            .or_else(|| keys.get(name).cloned())
            .or_else(|| (column == columns.time).then(|| Value::from(timestamp(BEGIN_MICROS + event.at_micros))));
        let known = known.or_else(|| (Some(column) == columns.id).then(|| Value::from(format!("test-{}", number + 1))));
        let Some(known) = known else {
            let text = format!("{at} has no value for column '{name}', which the rule reads; say it in 'with: {{ {name}: … }}'");
            return Err(Error::input(text));
        };
        let place = input.column(stream, name).ok_or_else(|| Error::bug("a column that was read is not there"))?;
        fields.insert(place, known);
    }
    decoded(group, fields, &at)
}

fn decoded(group: &Group, fields: BTreeMap<String, Value>, at: &str) -> Result<RecordBatch> {
    let text = serde_json::to_vec(&fields).map_err(|e| Error::bug("a row that is no JSON").because(e))?;
    let schema = group.input.schema().clone();
    let mut decoder = ReaderBuilder::new(schema).build_decoder()?;
    let fault = |e: arrow::error::ArrowError| Error::input(format!("{at}: a value does not fit its column")).because(e);
    decoder.decode(&text).map_err(fault)?;
    decoder.flush().map_err(fault)?.ok_or_else(|| Error::bug("an event was lost"))
}

/// What an event takes its stream and its literals from.
struct Spoken<'a> {
    of: Option<&'a Text>,
    filter: Option<&'a Text>,
}

fn spoken_of<'a>(rule: &'a RuleText, event: &TestEvent) -> Result<Spoken<'a>> {
    let sliding = |sliding: &'a SlidingText| Spoken { of: sliding.of.as_ref(), filter: sliding.filter.as_ref() };
    match (&rule.matching, &event.step) {
        (MatchText::Count(count), None) => Ok(sliding(&count.sliding)),
        (MatchText::Aggregate(aggregate), None) => Ok(sliding(&aggregate.sliding)),
        (MatchText::Sequence(_), None) => Ok(Spoken { of: None, filter: None }),
        (MatchText::Sequence(sequence), Some(name)) => {
            let step = find_step(&sequence.steps, &name.text).ok_or_else(|| {
                let mut names = Vec::new();
                step_names(&sequence.steps, &mut names);
                let near = crate::error::did_you_mean(&name.text, names.iter().copied());
                Error::input(format!("no step '{}'{near}", name.text)).at(name.place.clone())
            })?;
            Ok(Spoken { of: step.of.as_ref(), filter: step.filter.as_ref() })
        }
        (_, Some(name)) => Err(Error::input(format!("'{}': only sequences have steps", name.text)).at(name.place.clone())),
    }
}

fn find_step<'a>(steps: &'a [StepText], name: &str) -> Option<&'a StepText> {
    steps.iter().find_map(|step| {
        if step.group.is_empty() && step.name.as_ref().is_some_and(|own| own.text == name) {
            Some(step)
        } else {
            find_step(&step.group, name)
        }
    })
}

fn step_names<'a>(steps: &'a [StepText], names: &mut Vec<&'a str>) {
    for step in steps {
        names.extend(step.name.as_ref().map(|name| name.text.as_str()));
        step_names(&step.group, names);
    }
}

/// The values that make conditions joined by AND true by saying so.
fn literals_of(syntax: &Expr, found: &mut Vec<(String, Value)>) {
    match syntax {
        Expr::Nested(inner) => literals_of(inner, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            literals_of(left, found);
            literals_of(right, found);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Identifier(name), other) | (other, Expr::Identifier(name)) => {
                found.extend(literal(other).map(|value| (name.value.clone(), value)));
            }
            _ => {}
        },
        Expr::InList { expr, list, negated: false } => {
            if let (Expr::Identifier(name), Some(value)) = (expr.as_ref(), list.first().and_then(literal)) {
                found.push((name.value.clone(), value));
            }
        }
        Expr::Identifier(name) => found.push((name.value.clone(), true.into())),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            if let Expr::Identifier(name) = expr.as_ref() {
                found.push((name.value.clone(), false.into()));
            }
        }
        _ => {}
    }
}

fn literal(syntax: &Expr) -> Option<Value> {
    let Expr::Value(value) = syntax else { return None };
    match &value.value {
        Literal::SingleQuotedString(text) => Some(text.clone().into()),
        Literal::Boolean(truth) => Some((*truth).into()),
        Literal::Number(number, _) => serde_json::from_str(&number.to_string()).ok(),
        _ => None,
    }
}

/// Some value of a key column.
fn constant(data_type: &DataType) -> Value {
    match data_type {
        DataType::Utf8View | DataType::Utf8 => "key".into(),
        DataType::Boolean => true.into(),
        DataType::Timestamp(..) | DataType::Date32 => "2024-01-01".into(),
        _ => 1.into(),
    }
}

fn timestamp(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()).unwrap_or_default()
}

fn seconds(micros: i64) -> String {
    format!("{} s", micros as f64 / 1e6)
}

impl TestText {
    fn expected_texts(&self) -> String {
        match &self.alerts {
            ExpectedAlerts::Count(count) => format!("{count} {}", if *count == 1 { "alert" } else { "alerts" }),
            ExpectedAlerts::Data(data) => {
                let one = |fields: &Vec<(Text, Value)>| {
                    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}: {value}", name.text)).collect();
                    format!("{{{}}}", fields.join(", "))
                };
                format!("the alerts {}", data.iter().map(one).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn compare(expected: &str, alerts: &[serde_json::Map<String, Value>], test: &TestText) -> Result<()> {
    let equal = match &test.alerts {
        ExpectedAlerts::Count(count) => *count == alerts.len(),
        ExpectedAlerts::Data(data) => {
            data.len() == alerts.len()
                && data.iter().zip(alerts).all(|(wanted, alert)| wanted.iter().all(|(name, value)| same(alert.get(&name.text), value)))
        }
    };
    if equal {
        return Ok(());
    }
    let raised: Vec<String> = alerts.iter().map(|alert| Value::Object(alert.clone()).to_string()).collect();
    let raised = if raised.is_empty() { "none was raised".to_owned() } else { format!("raised: {}", raised.join(", ")) };
    Err(Error::input(format!("expected {expected}, {raised}")))
}

/// Equal, numbers by their value.
fn same(found: Option<&Value>, wanted: &Value) -> bool {
    match (found.and_then(Value::as_f64), wanted.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1.0),
        _ => found.unwrap_or(&Value::Null) == wanted,
    }
}
