//! MATCH_RECOGNIZE against a matcher that tries every way in preference order, on random rows, patterns and conditions: in
//! random cuts, restored between any two rows; and what is emitted is never behind the watermark that was passed on.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema, TimestampMillisecondType};
use datafusion::physical_expr::expressions::Column;
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::{Binding, Emission, End, Expr, Navigation, bindings_schema};
use eagre::operator::pattern::row_pattern::{Regex, RowPattern, RowSkip, RowsPerMatch};
use eagre::operator::pattern::spec::{Bounds, Find, Order, Rule};
use eagre::operator::{OperatorSpec, Output};
use eagre::state::StateHandles;
use eagre::time::Watermark;
use serde_json::{Value, json};

use super::cases::ways;
use super::driver::{INDEX, KEY, TIME, run_batches};
use super::expression::{Scope, condition};
use super::random::Random;
use super::translate::{Case, Events};

const LABELS: [&str; 3] = ["A", "B", "C"];

/// A pattern over the rows of a stream.
struct Sample {
    /// Milliseconds and value.
    rows: Vec<(i64, i64)>,
    regex: Regex,
    define: Vec<Option<Value>>,
    skip: RowSkip,
    within_ms: Option<i64>,
}

fn regex(random: &mut Random, depth: u32) -> Regex {
    match random.below(if depth == 0 { 3 } else { 10 }) {
        0..3 => Regex::Label(random.below(3) as usize),
        3..6 => Regex::Seq((0..2 + random.below(2)).map(|_| regex(random, depth - 1)).collect()),
        6 => Regex::Alt((0..2).map(|_| regex(random, depth - 1)).collect()),
        7 => Regex::Permute((0..2).map(|_| regex(random, depth - 1)).collect()),
        _ => {
            // What may be empty is not repeated: of that the cases of others tell.
            let inner =
                Box::new(if depth > 1 && random.below(3) == 0 { never_empty(random) } else { Regex::Label(random.below(3) as usize) });
            let from = random.below(3) as u32;
            let to = (random.below(2) == 0).then(|| from.max(1) + random.below(2) as u32);
            Regex::Repeat { inner, from, to, greedy: random.below(3) > 0 }
        }
    }
}

fn never_empty(random: &mut Random) -> Regex {
    let label = |random: &mut Random| Regex::Label(random.below(3) as usize);
    match random.below(2) {
        0 => Regex::Seq(vec![label(random), label(random)]),
        _ => Regex::Alt(vec![label(random), label(random)]),
    }
}

fn defined(random: &mut Random) -> Option<Value> {
    let label = LABELS[random.below(3) as usize];
    let number = random.below(6);
    Some(match random.below(9) {
        0 => return None,
        1 | 2 => json!([">", "$v", number]),
        3 => json!(["<", "$v", ["prev", 1, "$v"]]),
        4 => json!([">=", "$v", ["prev", 1, "$v"]]),
        5 => json!([">=", "$v", ["last", label, "$v"]]),
        6 => json!(["<=", "$v", ["first", label, "$v", random.below(2), 0]]),
        7 => json!(["<", ["sum", "*", "$v"], 4 + 2 * number]),
        _ => json!(["<=", ["sum", label, "$v"], 1 + number]),
    })
}

fn sample(random: &mut Random) -> Sample {
    let mut time = 0;
    let rows = (0..1 + random.below(12))
        .map(|_| {
            time += [0, 500, 1_000, 2_000][random.below(4) as usize];
            (time, random.below(6) as i64)
        })
        .collect();
    Sample {
        rows,
        regex: regex(random, 3),
        define: (0..3).map(|_| defined(random)).collect(),
        skip: if random.below(2) == 0 { RowSkip::PastLast } else { RowSkip::ToNext },
        within_ms: (random.below(2) == 0).then(|| 1_000 * (1 + random.below(6) as i64)),
    }
}

impl Sample {
    /// The value of an operand for the last row of `path` (labels of rows from `start`).
    fn value(&self, operand: &Value, start: usize, path: &[usize]) -> Option<i64> {
        let row = start + path.len() - 1;
        let v = |row: usize| self.rows[row].1;
        let Value::Array(parts) = operand else {
            return operand.as_i64().or_else(|| operand.as_str().map(|_| v(row)));
        };
        let of = |name: &Value| LABELS.iter().position(|label| Some(*label) == name.as_str());
        let mut taken = (0..path.len()).filter(|at| parts[0] == "prev" || of(&parts[1]).is_none_or(|label| path[*at] == label));
        match parts[0].as_str().unwrap() {
            "prev" => row.checked_sub(1).map(v),
            "last" => taken.next_back().map(|at| v(start + at)),
            "first" => taken.nth(parts[3].as_u64().unwrap() as usize).map(|at| v(start + at)),
            "sum" => taken.map(|at| v(start + at)).reduce(|a, b| a + b),
            other => panic!("{other}"),
        }
    }

    fn holds(&self, start: usize, path: &[usize]) -> bool {
        let Some(Value::Array(parts)) = &self.define[*path.last().unwrap()] else { return true };
        let (Some(a), Some(b)) = (self.value(&parts[1], start, path), self.value(&parts[2], start, path)) else { return false };
        match parts[0].as_str().unwrap() {
            "<" => a < b,
            "<=" => a <= b,
            ">" => a > b,
            _ => a >= b,
        }
    }

    /// Tries every way to match `parts` behind `path` in preference order, until one is taken.
    fn go(&self, parts: &[Regex], start: usize, end: usize, path: &mut Vec<usize>) -> bool {
        let Some((first, rest)) = parts.split_first() else { return true };
        let then = |these: &[Regex], path: &mut Vec<usize>| self.go(&[these, rest].concat(), start, end, path);
        match first {
            Regex::Label(label) => {
                if start + path.len() >= end {
                    return false;
                }
                path.push(*label);
                if self.holds(start, path) && self.go(rest, start, end, path) {
                    return true;
                }
                path.pop();
                false
            }
            Regex::Seq(parts) => then(parts, path),
            Regex::Alt(ways) => ways.iter().any(|way| then(std::slice::from_ref(way), path)),
            Regex::Permute(two) => then(two, path) || then(&[two[1].clone(), two[0].clone()], path),
            Regex::Repeat { inner, from, to, greedy } => {
                let less = |n: &u32| n.saturating_sub(1);
                let again = Regex::Repeat { inner: inner.clone(), from: less(from), to: to.as_ref().map(less), greedy: *greedy };
                let once_more = [inner.as_ref().clone(), again];
                if *from > 0 {
                    then(&once_more, path)
                } else if *to == Some(0) {
                    then(&[], path)
                } else {
                    let ways: [&[Regex]; 2] = if *greedy { [&once_more, &[]] } else { [&[], &once_more] };
                    ways.into_iter().any(|way| then(way, path))
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Rows as they are shown: number of the row, of the match, label.
    fn expected(&self) -> Vec<(i64, Option<i64>, Option<String>)> {
        let (mut found, mut next, mut shown, mut number) = (Vec::new(), 0, 0, 0);
        while next < self.rows.len() {
            let within = |within: i64| self.rows.partition_point(|row| row.0 < self.rows[next].0 + within);
            let end = self.within_ms.map_or(self.rows.len(), within);
            let mut path = Vec::new();
            if !self.go(std::slice::from_ref(&self.regex), next, end, &mut path) {
                if next >= shown {
                    found.push((next as i64, None, None));
                }
                next += 1;
                continue;
            }
            number += 1;
            match path.is_empty() {
                true => found.push((next as i64, Some(number), None)),
                false => {
                    found.extend(path.iter().enumerate().map(|(at, l)| ((next + at) as i64, Some(number), Some(LABELS[*l].to_owned()))))
                }
            }
            shown = shown.max(next + path.len().max(1));
            next += if self.skip == RowSkip::PastLast { path.len().max(1) } else { 1 };
        }
        found.sort();
        found
    }

    fn events(&self) -> Events {
        let events: Vec<Value> = self.rows.iter().map(|(ts, v)| json!({ "ts": ts, "v": v })).collect();
        Events::new(&Case { id: String::new(), dialect: String::new(), body: json!({ "events": events }) }, None)
    }

    fn spec(&self, events: &Events) -> PatternSpec {
        let at = |name: &str| events.schema.index_of(name).unwrap();
        let labels: Vec<String> = LABELS.iter().map(|label| (*label).to_owned()).collect();
        let define = self.define.iter().enumerate().map(|(label, define)| {
            let scope = Scope { input: &events.schema, time: at(TIME), labels: &labels, unions: &[], tried: Some(label) };
            define.as_ref().map(|define| condition(define, &scope).unwrap())
        });
        let last = |value: Option<Expr>| {
            Binding::Navigate(Navigation { of: None, end: End::Last, skip: 0, shift: 0, running: value.is_none(), value })
        };
        let time: Expr = Arc::new(Column::new(TIME, at(TIME)));
        let bindings = vec![Binding::MatchNumber, last(None), last(Some(time))];
        let bound = bindings_schema(&events.schema, at(TIME), &bindings).unwrap();
        let first = events.schema.fields().len();
        let mut columns: Vec<Expr> = vec![Arc::new(Column::new(INDEX, at(INDEX))), Arc::new(Column::new(KEY, at(KEY)))];
        columns.extend((first..bound.fields().len()).map(|at| Arc::new(Column::new(bound.field(at).name(), at)) as Expr));
        let mut fields: Vec<Field> = [INDEX, KEY].iter().map(|name| events.schema.field(at(name)).clone()).collect();
        fields.extend(bound.fields()[first..].iter().map(|field| field.as_ref().clone()));
        let pattern = RowPattern {
            variables: labels.clone(),
            regex: self.regex.clone(),
            define: define.collect(),
            skip: self.skip.clone(),
            rows: RowsPerMatch::All { empty: true, unmatched: true },
            within: self.within_ms.map(|ms| ms * 1_000),
            timed: true,
        };
        let emit = Emission { bindings, columns };
        let rule = Rule {
            name: "sample".to_owned(),
            find: Find::Rows(pattern),
            emit,
            on_timeout: None,
            bounds: Bounds::default(),
            warm_up: false,
        };
        PatternSpec {
            group: None,
            input: events.schema.clone(),
            keys: vec![at(KEY)],
            time: at(TIME),
            then_by: Vec::new(),
            seq: None,
            order: Order::EventTime,
            rules: vec![rule],
            schema: Arc::new(Schema::new(fields)),
        }
    }

    fn tell(&self) -> String {
        format!("{:?}\n  {:?}\n  define {:?}\n  {:?} within {:?} ms", self.rows, self.regex, self.define, self.skip, self.within_ms)
    }
}

fn read(batches: &[RecordBatch], key: i64) -> Vec<(i64, Option<i64>, Option<String>)> {
    let mut found = Vec::new();
    for batch in batches {
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let labels = batch.column(3).as_string_view();
        for row in (0..batch.num_rows()).filter(|row| number(1).value(*row) == key) {
            let label = labels.is_valid(row).then(|| labels.value(row).to_owned());
            found.push((number(0).value(row), number(2).is_valid(row).then(|| number(2).value(row)), label));
        }
    }
    found.sort();
    found
}

/// Row by row: no match ends behind the watermark that was passed on before.
fn in_time(spec: &PatternSpec, events: &Events) -> Result<(), String> {
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).map_err(|error| error.to_string())?;
    let mut passed = Watermark::MIN;
    for row in 0..events.rows.num_rows() {
        let mut out = Output::default();
        operator.on_batch(0, events.rows.slice(row, 1), &mut out).unwrap();
        let mark = operator.on_watermark(Watermark(events.times[row] * 1_000), &mut out).unwrap();
        for batch in out.take_batches() {
            let ends = batch.column(4).as_primitive::<TimestampMillisecondType>();
            if let Some(end) = ends.iter().flatten().find(|end| Watermark(end * 1_000) < passed) {
                return Err(format!("a match ends at {end} ms, the watermark is {passed} already"));
            }
        }
        if mark < passed {
            return Err(format!("the watermark goes back from {passed} to {mark}"));
        }
        passed = mark;
    }
    Ok(())
}

#[test]
fn rows_match_as_if_every_way_were_tried() {
    let seed = Random::seed();
    println!("EAGRE_SEED={seed}");
    let mut random = Random::new(seed);
    let samples = if std::env::var_os("EAGRE_LONG").is_some() { 20_000 } else { 200 };
    let mut matches = 0;
    for number in 0..samples {
        let sample = sample(&mut random);
        let events = sample.events();
        let spec = sample.spec(&events);
        let expected = sample.expected();
        matches += expected.iter().filter(|row| row.2.is_some()).count();
        for (way, steps) in ways(&events, i64::MAX, &mut random) {
            let batches =
                run_batches(&spec, &steps).unwrap_or_else(|error| panic!("EAGRE_SEED={seed}, {number}, {way}: {error}\n{}", sample.tell()));
            for key in [1, 2] {
                let found = read(&batches, key);
                assert!(
                    found == expected,
                    "EAGRE_SEED={seed}, {number}, {way}:\nfound    {found:?}\nexpected {expected:?}\n{}",
                    sample.tell()
                );
            }
        }
        if let Err(why) = in_time(&spec, &events) {
            panic!("EAGRE_SEED={seed}, {number}: {why}\n{}", sample.tell());
        }
    }
    assert!(matches > samples, "the samples match nothing");
    println!("{samples} samples, {matches} rows in matches");
}
