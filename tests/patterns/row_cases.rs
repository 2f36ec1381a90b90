//! The cases of MATCH_RECOGNIZE, given to the operator as a spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::physical_expr::expressions::Column;
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::row_pattern::{Regex, RowPattern, RowSkip, RowsPerMatch};
use eagre::operator::pattern::spec::{Binding, Bounds, Emission, End, Expr, Find, Labels, Navigation, Order, Rule, bindings_schema};
use serde_json::Value;

use super::cases::ways;
use super::driver::{INDEX, KEY, TIME, run_batches};
use super::expression::{Scope, condition};
use super::random::Random;
use super::translate::{Case, Events};

/// The pattern's place in a case of any dialect.
fn body(case: &Case) -> &Value {
    let pattern = &case.body["pattern"];
    if pattern["regex"].is_array() { pattern } else { &pattern["expr"] }
}

/// Is it a case of row matching?
pub fn is_rows(case: &Case) -> bool {
    body(case).get("regex").is_some()
}

struct Variables {
    names: Vec<String>,
    unions: Vec<(String, Vec<usize>)>,
}

impl Variables {
    fn of(case: &Case) -> Self {
        fn collect(regex: &Value, names: &mut Vec<String>) {
            match regex {
                Value::String(name) if name != "^" && name != "$" && !names.contains(name) => names.push(name.clone()),
                Value::Array(parts) if parts[0] == "rep" => collect(&parts[1], names),
                Value::Array(parts) => parts[1..].iter().for_each(|part| collect(part, names)),
                _ => {}
            }
        }
        let mut names = Vec::new();
        collect(&body(case)["regex"], &mut names);
        let at = |name: &Value| names.iter().position(|other| Some(other.as_str()) == name.as_str());
        let members = |list: &Value| list.as_array().unwrap().iter().filter_map(at).collect();
        let unions = body(case)["subset"].as_object().into_iter().flatten().map(|(name, list)| (name.clone(), members(list))).collect();
        Variables { names, unions }
    }

    fn labels(&self, name: &str) -> Option<Vec<usize>> {
        let one = self.names.iter().position(|other| other == name).map(|at| vec![at]);
        one.or_else(|| self.unions.iter().find(|(union, _)| union == name).map(|(_, members)| members.clone()))
    }
}

fn regex(value: &Value, variables: &Variables) -> Result<Regex, String> {
    let Value::Array(parts) = value else {
        return match value.as_str() {
            Some("^") => Ok(Regex::Start),
            Some("$") => Ok(Regex::End),
            Some(name) => Ok(Regex::Label(variables.labels(name).ok_or("unknown variable")?[0])),
            None => Err(format!("uses {value} in a pattern")),
        };
    };
    let all = || parts[1..].iter().map(|part| regex(part, variables)).collect::<Result<Vec<_>, _>>();
    Ok(match parts[0].as_str() {
        Some("seq") => Regex::Seq(all()?),
        Some("alt") => Regex::Alt(all()?),
        Some("permute") => Regex::Permute(all()?),
        Some("exclude") => Regex::Exclude(Box::new(Regex::Seq(all()?))),
        Some("empty") => Regex::Empty,
        Some("rep") => Regex::Repeat {
            inner: Box::new(regex(&parts[1], variables)?),
            from: parts[2].as_u64().unwrap_or(0) as u32,
            to: parts[3].as_u64().map(|to| to as u32),
            greedy: parts.get(4).and_then(Value::as_str) != Some("reluctant"),
        },
        other => return Err(format!("uses {other:?} in a pattern")),
    })
}

/// `final last(B.value, 2)` and the like, as a binding.
fn measure(text: &str, variables: &Variables, events: &Events) -> Result<Binding, String> {
    let (running, call) = match text.split_once(' ') {
        Some(("final", call)) => (false, call),
        Some(("running", call)) => (true, call),
        _ => (true, text),
    };
    let (function, inside) = call.strip_suffix(')').and_then(|call| call.split_once('(')).ok_or_else(|| format!("measure {text}"))?;
    let (inner, number) = match inside.rsplit_once(',') {
        Some((inner, number)) => (inner, number.trim().parse::<i64>().map_err(|_| format!("measure {text}"))?),
        None => (inside, if matches!(function, "prev" | "next") { 1 } else { 0 }),
    };
    let field = |text: &str| -> Result<(Labels, Option<Expr>), String> {
        let (of, name) = match text.split_once('.') {
            Some((variable, name)) => (Some(variables.labels(variable).ok_or("unknown variable")?), name),
            None => (None, text),
        };
        let at = events.schema.index_of(name).map_err(|_| format!("unknown field {name}"))?;
        Ok((of, Some(Arc::new(Column::new(name, at)))))
    };
    let navigation = match function {
        "classifier" => {
            let of = (!inner.is_empty()).then(|| variables.labels(inner).ok_or("unknown variable")).transpose()?;
            Navigation { of, end: End::Last, skip: 0, shift: 0, running, value: None }
        }
        "first" | "last" => {
            let (of, value) = field(inner)?;
            let end = if function == "first" { End::First } else { End::Last };
            Navigation { of, end, skip: number as usize, shift: 0, running, value }
        }
        "prev" | "next" => {
            let shift = if function == "prev" { -number } else { number };
            match inner.contains('(') {
                true => match measure(inner, variables, events)? {
                    Binding::Navigate(inner) => Navigation { shift, ..inner },
                    _ => return Err(format!("measure {text}")),
                },
                false => {
                    let (of, value) = field(inner)?;
                    Navigation { of, end: End::Last, skip: 0, shift, running, value }
                }
            }
        }
        _ => return Err(format!("measure {text}")),
    };
    Ok(Binding::Navigate(navigation))
}

fn spec(case: &Case) -> Result<(PatternSpec, Events, Vec<String>), String> {
    let pattern = body(case);
    let variables = Variables::of(case);
    let events = Events::new(case, pattern["partition_by"].as_str());
    let at = |name: &str| events.schema.index_of(name).unwrap();
    let mut define = Vec::new();
    for (label, name) in variables.names.iter().enumerate() {
        let scope =
            Scope { input: &events.schema, time: at(TIME), labels: &variables.names, unions: &variables.unions, tried: Some(label) };
        define.push(pattern["define"].get(name).map(|value| condition(value, &scope)).transpose()?);
    }
    let to = || variables.labels(pattern["skip"]["step"].as_str().unwrap_or_default()).ok_or("skips to an unknown variable");
    let skip = match pattern["skip"]["mode"].as_str() {
        Some("past_last") | None => RowSkip::PastLast,
        Some("to_next") => RowSkip::ToNext,
        Some("to_first") => RowSkip::ToFirst(to()?),
        Some("to_last") => RowSkip::ToLast(to()?),
        other => return Err(format!("skip {other:?}")),
    };
    let all = |empty, unmatched| RowsPerMatch::All { empty, unmatched };
    let rows = match pattern["rows"].as_str() {
        Some("one") => RowsPerMatch::One,
        None | Some("all") => all(true, false),
        Some("all_omit_empty") => all(false, false),
        Some("all_with_unmatched") => all(true, true),
        other => return Err(format!("rows {other:?}")),
    };
    let classifier = Navigation { of: None, end: End::Last, skip: 0, shift: 0, running: true, value: None };
    let mut bindings = vec![Binding::MatchNumber, Binding::Navigate(classifier)];
    let measures: Vec<String> = case.body["measures"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for name in &measures {
        bindings.push(measure(name, &variables, &events)?);
    }
    let bound = bindings_schema(&events.schema, at(TIME), &bindings).unwrap();
    let first = events.schema.fields().len();
    let mut columns: Vec<Expr> = vec![Arc::new(Column::new(INDEX, at(INDEX))), Arc::new(Column::new(KEY, at(KEY)))];
    columns.extend((first..bound.fields().len()).map(|at| Arc::new(Column::new(bound.field(at).name(), at)) as Expr));
    let mut fields = vec![Field::new(INDEX, DataType::Int64, true), Field::new(KEY, DataType::Int64, true)];
    fields.extend(bound.fields()[first..].iter().map(|field| field.as_ref().clone()));
    let within = pattern["within"].as_i64().map(|ms| ms * 1_000);
    let pattern = RowPattern { regex: regex(&pattern["regex"], &variables)?, variables: variables.names, define, skip, rows, within };
    let rule = Rule {
        name: "case".to_owned(),
        find: Find::Rows(pattern),
        emit: Emission { bindings, columns },
        on_timeout: None,
        bounds: Bounds::default(),
    };
    let spec = PatternSpec {
        group: None,
        input: events.schema.clone(),
        keys: vec![events.key.unwrap_or_else(|| at(KEY))],
        time: at(TIME),
        seq: None,
        order: Order::EventTime,
        rules: vec![rule],
        schema: Arc::new(Schema::new(fields)),
    };
    Ok((spec, events, measures))
}

/// A row as the cases write it: event, match number, label; then the measures.
type Row = (i64, Option<i64>, Option<String>, Vec<Value>);

fn read(batches: &[RecordBatch], key: Option<i64>) -> Vec<Row> {
    let mut found = Vec::new();
    for batch in batches {
        let (index, keys, number) = (batch.column(0), batch.column(1), batch.column(2));
        let (index, keys, number) =
            (index.as_primitive::<Int64Type>(), keys.as_primitive::<Int64Type>(), number.as_primitive::<Int64Type>());
        let labels = batch.column(3).as_string_view();
        let measure = |at: usize, row: usize| {
            let column = batch.column(at);
            match column.data_type() {
                _ if column.is_null(row) => Value::Null,
                DataType::Utf8View => Value::from(column.as_string_view().value(row)),
                _ => Value::from(cast(column, &DataType::Float64).unwrap().as_primitive::<Float64Type>().value(row)),
            }
        };
        for row in (0..batch.num_rows()).filter(|row| key.is_none() || key == Some(keys.value(*row))) {
            let label = labels.is_valid(row).then(|| labels.value(row).to_owned());
            let number = number.is_valid(row).then(|| number.value(row));
            found.push((index.value(row), number, label, (4..batch.num_columns()).map(|at| measure(at, row)).collect()));
        }
    }
    found.sort_by(|a, b| (a.1, a.0, &a.2).cmp(&(b.1, b.0, &b.2)));
    found
}

fn expected_rows(case: &Case, measures: &[String]) -> Option<Vec<Row>> {
    let rows = case.body["rows_out"].as_array()?;
    let measured = |row: usize| {
        measures.iter().map(move |name| match &case.body["measures"][name][row] {
            Value::Number(number) => Value::from(number.as_f64().unwrap()),
            other => other.clone(),
        })
    };
    let mut expected: Vec<Row> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| (row[0].as_i64().unwrap(), row[1].as_i64(), row[2].as_str().map(str::to_owned), measured(at).collect()))
        .collect();
    expected.sort_by(|a, b| (a.1, a.0, &a.2).cmp(&(b.1, b.0, &b.2)));
    Some(expected)
}

/// The matches that rows tell of, where every row of a match is shown; sorted.
fn matches_of(case: &Case, rows: &[Row]) -> Vec<Vec<Vec<i64>>> {
    let labels: Vec<&str> = case.body["match_steps"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    let mut matches: BTreeMap<i64, Vec<Vec<i64>>> = BTreeMap::new();
    for (index, number, label, _) in rows {
        let Some(number) = number else { continue };
        let one = matches.entry(*number).or_insert_with(|| vec![Vec::new(); labels.len()]);
        if let Some(at) = labels.iter().position(|other| Some(*other) == label.as_deref()) {
            one[at].push(*index);
        }
    }
    let mut all: Vec<Vec<Vec<i64>>> = matches.into_values().collect();
    all.sort();
    all
}

/// Runs a case every way; says what is wrong.
pub fn try_rows(case: &Case, random: &mut Random) -> Result<(), String> {
    let (spec, events, measures) = spec(case).map_err(|why| format!("? {why}"))?;
    for (way, steps) in ways(&events, i64::MAX, random) {
        let result = run_batches(&spec, &steps);
        if let Some(error) = case.body["expect_error"].as_str() {
            match result {
                Err(_) => continue,
                Ok(batches) => return Err(format!("{way}: must fail ({error}), but finds {:?}", read(&batches, Some(1)))),
            }
        }
        let batches = result.map_err(|error| format!("{way}: {error}"))?;
        let keys = if events.key.is_some() { vec![None] } else { vec![Some(1), Some(2)] };
        for key in keys {
            let found = read(&batches, key);
            if let Some(expected) = expected_rows(case, &measures)
                && found != expected
            {
                return Err(format!("{way}, key {key:?}:\n    found    {found:?}\n    expected {expected:?}"));
            }
            let all_shown =
                !body(case)["regex"].to_string().contains("exclude") && body(case)["rows"].as_str().is_none_or(|rows| rows == "all");
            let mut expected: Vec<Vec<Vec<i64>>> = serde_json::from_value(case.body["matches"].clone()).unwrap();
            expected.sort();
            // Match numbers are per partition: those of several cannot be told apart here.
            if all_shown && events.key.is_none() && matches_of(case, &found) != expected {
                return Err(format!("{way}, key {key:?}: found {:?}, expected {expected:?}", matches_of(case, &found)));
            }
        }
    }
    Ok(())
}
