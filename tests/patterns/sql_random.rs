//! MATCH_RECOGNIZE as SQL text against a matcher of its own that tries every way in preference order: random patterns with
//! everything that the clause has, over many random partitions at once; as a pipeline in random cuts, and as a bounded
//! query. Nothing here knows of the engine's spec: what comes in is text, what comes out are rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use eagre::sql::bounded;
use eagre::sql::catalog::Catalog;
use eagre::sql::functions::Functions;
use serde_json::{Value, json};

use super::random::Random;
use crate::cases::{self, Step};

const LABELS: [&str; 3] = ["A", "B", "C"];
/// Steps after which a partition is given up: too ambiguous to be tried by hand.
const PATIENCE: u32 = 20_000;

#[derive(Debug, Clone)]
enum Regex {
    Empty,
    Start,
    End,
    Label(usize),
    Seq(Vec<Regex>),
    Alt(Vec<Regex>),
    Permute(Vec<Regex>),
    Exclude(Box<Regex>),
    Repeat { inner: Box<Regex>, from: u32, to: Option<u32>, greedy: bool },
}

/// Which variables: none for all.
type Of = Option<Vec<usize>>;

#[derive(Debug, Clone)]
enum Number {
    Constant(i64),
    /// FIRST or LAST with a logical offset, then PREV or NEXT by a physical one.
    Row {
        of: Of,
        last: bool,
        skip: usize,
        shift: i64,
        is_final: bool,
    },
    Aggregate {
        function: &'static str,
        of: Of,
        is_final: bool,
    },
}

#[derive(Debug, Clone)]
enum Truth {
    Compare(&'static str, Number, Number),
    IsNull(Number),
    Not(Box<Truth>),
    Both(Box<Truth>, Box<Truth>),
    Either(Box<Truth>, Box<Truth>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    One,
    All,
    OmitEmpty,
    WithUnmatched,
}

#[derive(Debug, Clone)]
enum Skip {
    PastLast,
    ToNext,
    To { last: bool, of: Vec<usize> },
}

/// A query.
#[derive(Debug, Clone)]
struct Sample {
    regex: Regex,
    define: Vec<Option<Truth>>,
    /// A union variable: U.
    subset: Option<Vec<usize>>,
    measures: Vec<Number>,
    shown: Shown,
    skip: Skip,
    within_ms: Option<i64>,
}

/// Time and value.
type Row = (i64, Option<i64>);

// ---- making them up

fn regex(random: &mut Random, depth: u32) -> Regex {
    let inner = |random: &mut Random| regex(random, depth - 1);
    if depth == 0 {
        return Regex::Label(random.below(3) as usize);
    }
    match random.below(16) {
        0..3 => Regex::Label(random.below(3) as usize),
        3..7 => Regex::Seq((0..2 + random.below(2)).map(|_| inner(random)).collect()),
        7 | 8 => Regex::Alt((0..2 + random.below(2)).map(|_| inner(random)).collect()),
        9 => Regex::Permute((0..2 + random.below(2)).map(|_| Regex::Label(random.below(3) as usize)).collect()),
        10 => Regex::Exclude(Box::new(inner(random))),
        11 => [Regex::Empty, Regex::Start, Regex::End][random.below(3) as usize].clone(),
        _ => {
            let from = random.below(3) as u32;
            let to = (random.below(2) == 0).then(|| from.max(1) + random.below(2) as u32);
            // What takes no row whatever comes is refused when it is repeated.
            let repeated = loop {
                let made = inner(random);
                if !names(&made).is_empty() {
                    break made;
                }
            };
            Regex::Repeat { inner: Box::new(repeated), from, to, greedy: random.below(3) > 0 }
        }
    }
}

fn of(random: &mut Random, subset: &Option<Vec<usize>>) -> Of {
    match random.below(5) {
        0 => None,
        1 => subset.clone(),
        _ => Some(vec![random.below(3) as usize]),
    }
}

fn number(random: &mut Random, subset: &Option<Vec<usize>>, measured: bool) -> Number {
    let is_final = measured && random.below(3) == 0;
    match random.below(10) {
        0..3 if !measured => Number::Constant(random.below(6) as i64),
        0..4 => {
            let shift = [0, 0, -1, -1, -2, 1][random.below(6) as usize];
            Number::Row { of: None, last: true, skip: 0, shift, is_final: is_final && shift == 0 }
        }
        4..7 => Number::Row {
            of: of(random, subset),
            last: random.below(2) == 0,
            skip: random.below(3) as usize / 2,
            shift: [0, 0, 0, -1, 1][random.below(5) as usize],
            is_final,
        },
        _ => {
            let function = ["COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT(*)", "SUM(CLASSIFIER())"][random.below(7) as usize];
            Number::Aggregate { function, of: of(random, subset), is_final }
        }
    }
}

fn truth(random: &mut Random, subset: &Option<Vec<usize>>, depth: u32) -> Truth {
    let next = |random: &mut Random| Box::new(truth(random, subset, depth.saturating_sub(1)));
    match random.below(if depth == 0 { 7 } else { 11 }) {
        0..6 => {
            let sign = ["<", "<=", ">", ">=", "=", "<>"][random.below(6) as usize];
            let own = Number::Row { of: None, last: true, skip: 0, shift: 0, is_final: false };
            let left = if random.below(2) == 0 { own } else { number(random, subset, false) };
            Truth::Compare(sign, left, number(random, subset, false))
        }
        6 => Truth::IsNull(number(random, subset, false)),
        7 => Truth::Not(next(random)),
        8 | 9 => Truth::Both(next(random), next(random)),
        _ => Truth::Either(next(random), next(random)),
    }
}

fn sample(random: &mut Random) -> Sample {
    let subset = (random.below(3) == 0).then(|| vec![random.below(2) as usize, 2]);
    let regex = loop {
        // At least one variable, or the text is refused.
        let made = regex(random, 3);
        if !names(&made).is_empty() {
            break made;
        }
    };
    let named = names(&regex);
    let only = |of: Vec<usize>| of.into_iter().filter(|label| named.contains(label)).collect::<Vec<_>>();
    let subset = subset.map(only).filter(|of| of.len() == 2);
    let target = random.below(2) == 0;
    let to = if let (true, Some(subset)) = (random.below(3) == 0, &subset) {
        subset.clone()
    } else {
        vec![named[random.below(named.len() as u64) as usize]]
    };
    Sample {
        define: (0..3)
            .map(|label| (named.contains(&label) && random.below(5) > 0).then(|| known(truth(random, &subset, 1), &named)))
            .collect(),
        measures: (0..1 + random.below(4)).map(|_| known_number(number(random, &subset, true), &named)).collect(),
        subset,
        shown: [Shown::One, Shown::All, Shown::OmitEmpty, Shown::WithUnmatched][random.below(4) as usize],
        skip: match random.below(4) {
            0 => Skip::PastLast,
            1 => Skip::ToNext,
            _ => Skip::To { last: target, of: to },
        },
        within_ms: (random.below(3) == 0).then(|| 1_000 * (1 + random.below(6) as i64)),
        regex,
    }
}

/// The variables of a pattern.
fn names(regex: &Regex) -> Vec<usize> {
    let mut found: Vec<usize> = match regex {
        Regex::Empty | Regex::Start | Regex::End => Vec::new(),
        Regex::Label(label) => vec![*label],
        Regex::Seq(parts) | Regex::Alt(parts) | Regex::Permute(parts) => parts.iter().flat_map(names).collect(),
        Regex::Exclude(inner) | Regex::Repeat { inner, .. } => names(inner),
    };
    found.sort_unstable();
    found.dedup();
    found
}

/// Only variables of the pattern may be named.
fn known_number(number: Number, named: &[usize]) -> Number {
    let only = |of: Of| of.map(|of| of.into_iter().map(|label| if named.contains(&label) { label } else { named[0] }).collect());
    match number {
        Number::Row { of, last, skip, shift, is_final } => Number::Row { of: only(of), last, skip, shift, is_final },
        Number::Aggregate { function, of, is_final } => Number::Aggregate { function, of: only(of), is_final },
        constant => constant,
    }
}

fn known(truth: Truth, named: &[usize]) -> Truth {
    let boxed = |truth: Box<Truth>| Box::new(known(*truth, named));
    match truth {
        Truth::Compare(sign, a, b) => Truth::Compare(sign, known_number(a, named), known_number(b, named)),
        Truth::IsNull(a) => Truth::IsNull(known_number(a, named)),
        Truth::Not(a) => Truth::Not(boxed(a)),
        Truth::Both(a, b) => Truth::Both(boxed(a), boxed(b)),
        Truth::Either(a, b) => Truth::Either(boxed(a), boxed(b)),
    }
}

/// Rows of a partition in the order of time, no two at one time.
fn rows(random: &mut Random) -> Vec<Row> {
    let mut time = random.below(3) as i64 * 100;
    (0..1 + random.below(9))
        .map(|_| {
            time += [100, 500, 1_000, 2_000][random.below(4) as usize];
            (time, (random.below(8) > 0).then(|| random.below(6) as i64))
        })
        .collect()
}

// ---- as text

impl Sample {
    fn prefix(&self, of: &Of) -> String {
        match of {
            None => String::new(),
            Some(of) if of.len() > 1 && Some(of) == self.subset.as_ref() => "U.".to_owned(),
            Some(of) => format!("{}.", LABELS[of[0]]),
        }
    }

    fn number(&self, number: &Number) -> String {
        match number {
            Number::Constant(value) => value.to_string(),
            Number::Row { of, last, skip, shift, is_final } => {
                let value = format!("{}v", self.prefix(of));
                let end = if *last { "LAST" } else { "FIRST" };
                let meaning = if *is_final { "FINAL " } else { "" };
                let logical = match (last, skip, is_final) {
                    (true, 0, false) => value,
                    (_, 0, _) => format!("{meaning}{end}({value})"),
                    _ => format!("{meaning}{end}({value}, {skip})"),
                };
                match shift {
                    0 => logical,
                    -1 => format!("PREV({logical})"),
                    back if *back < 0 => format!("PREV({logical}, {})", -back),
                    ahead => format!("NEXT({logical}, {ahead})"),
                }
            }
            Number::Aggregate { function, of, is_final } => {
                let meaning = if *is_final { "FINAL " } else { "" };
                match *function {
                    "COUNT(*)" => format!("{meaning}COUNT({}*)", self.prefix(of)),
                    "SUM(CLASSIFIER())" => {
                        let label = format!("CLASSIFIER({})", self.prefix(of).trim_end_matches('.'));
                        format!("{meaning}SUM(CASE {label} WHEN '{}' THEN 1 WHEN '{}' THEN 10 ELSE 100 END)", LABELS[0], LABELS[1])
                    }
                    function => format!("{meaning}{function}({}v)", self.prefix(of)),
                }
            }
        }
    }

    fn truth(&self, truth: &Truth) -> String {
        match truth {
            Truth::Compare(sign, a, b) => format!("{} {sign} {}", self.number(a), self.number(b)),
            Truth::IsNull(a) => format!("{} IS NULL", self.number(a)),
            Truth::Not(a) => format!("NOT ({})", self.truth(a)),
            Truth::Both(a, b) => format!("({}) AND ({})", self.truth(a), self.truth(b)),
            Truth::Either(a, b) => format!("({}) OR ({})", self.truth(a), self.truth(b)),
        }
    }

    fn pattern(regex: &Regex) -> String {
        let all = |parts: &[Regex], between: &str| parts.iter().map(Sample::pattern).collect::<Vec<_>>().join(between);
        match regex {
            Regex::Empty => "()".to_owned(),
            Regex::Start => "^".to_owned(),
            Regex::End => "$".to_owned(),
            Regex::Label(label) => LABELS[*label].to_owned(),
            Regex::Seq(parts) => format!("({})", all(parts, " ")),
            Regex::Alt(parts) => format!("({})", all(parts, " | ")),
            Regex::Permute(parts) => format!("PERMUTE({})", all(parts, ", ")),
            Regex::Exclude(inner) => format!("{{- {} -}}", Sample::pattern(inner)),
            Regex::Repeat { inner, from, to, greedy } => {
                let many = match (from, to) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (from, None) => format!("{{{from},}}"),
                    (from, Some(to)) => format!("{{{from},{to}}}"),
                };
                format!("({}){many}{}", Sample::pattern(inner), if *greedy { "" } else { "?" })
            }
        }
    }

    fn query(&self) -> String {
        let mut measures = vec!["MATCH_NUMBER() AS n".to_owned(), "CLASSIFIER() AS label".to_owned()];
        measures.extend(self.measures.iter().enumerate().map(|(at, measure)| format!("{} AS m{at}", self.number(measure))));
        let shown = match self.shown {
            Shown::One => "ONE ROW PER MATCH",
            Shown::All => "ALL ROWS PER MATCH SHOW EMPTY MATCHES",
            Shown::OmitEmpty => "ALL ROWS PER MATCH OMIT EMPTY MATCHES",
            Shown::WithUnmatched => "ALL ROWS PER MATCH WITH UNMATCHED ROWS",
        };
        if self.shown == Shown::One {
            measures.push("LAST(idx) AS idx".to_owned());
        }
        let skip = match &self.skip {
            Skip::PastLast => "PAST LAST ROW".to_owned(),
            Skip::ToNext => "TO NEXT ROW".to_owned(),
            Skip::To { last, of } => {
                format!("TO {} {}", if *last { "LAST" } else { "FIRST" }, self.prefix(&Some(of.clone())).trim_end_matches('.'))
            }
        };
        let within = self.within_ms.map_or(String::new(), |ms| format!(" WITHIN INTERVAL '{}' SECOND", ms / 1000));
        let subset = self.subset.as_ref().map_or(String::new(), |of| format!(" SUBSET U = ({}, {})", LABELS[of[0]], LABELS[of[1]]));
        let define: Vec<String> = self
            .define
            .iter()
            .enumerate()
            .filter_map(|(at, truth)| Some(format!("{} AS {}", LABELS[at], self.truth(truth.as_ref()?))))
            .collect();
        let define = if define.is_empty() { String::new() } else { format!(" DEFINE {}", define.join(", ")) };
        let wanted: String = (0..self.measures.len()).map(|at| format!(", CAST(m{at} AS DOUBLE) AS m{at}")).collect();
        format!(
            "SELECT k, idx, n, label{wanted} FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY `at` MEASURES {} {shown} AFTER MATCH SKIP {skip} PATTERN ({}){within}{subset}{define})",
            measures.join(", "),
            Sample::pattern(&self.regex)
        )
    }
}

// ---- by trying every way

/// What is still to be matched.
#[derive(Clone)]
enum Todo {
    Match(Regex),
    /// A turn of an endless loop is over that began when so many rows were taken: one that took nothing is the last.
    Turn(Regex, usize),
    Excluding(bool),
}

/// A row taken: its variable, and whether it is shown.
type Taken = (usize, bool);

struct Trial<'a> {
    sample: &'a Sample,
    rows: &'a [Row],
    start: usize,
    /// No row from here on may be taken.
    end: usize,
    steps: u32,
}

/// Too many ways.
struct Hopeless;

impl Trial<'_> {
    fn go(&mut self, todo: &[Todo], path: &mut Vec<Taken>, excluding: bool) -> Result<bool, Hopeless> {
        self.steps += 1;
        if self.steps > PATIENCE || path.len() + todo.len() > 400 {
            return Err(Hopeless);
        }
        let Some((first, rest)) = todo.split_first() else { return Ok(true) };
        let with = |these: Vec<Todo>| [these, rest.to_vec()].concat();
        let regex = match first {
            Todo::Excluding(on) => return self.go(rest, path, *on),
            Todo::Turn(_, before) if path.len() == *before => return self.go(rest, path, excluding),
            Todo::Turn(again, _) => return self.go(&with(vec![Todo::Match(again.clone())]), path, excluding),
            Todo::Match(regex) => regex,
        };
        match regex {
            Regex::Empty => self.go(rest, path, excluding),
            Regex::Start => Ok(self.start + path.len() == 0 && self.go(rest, path, excluding)?),
            Regex::End => Ok(self.start + path.len() == self.rows.len() && self.go(rest, path, excluding)?),
            Regex::Label(label) => {
                if self.start + path.len() >= self.end {
                    return Ok(false);
                }
                let before = path.len();
                path.push((*label, excluding));
                let define = &self.sample.define[*label];
                let fits = define.as_ref().is_none_or(|truth| self.seen(path, Some(before)).truth(truth) == Some(true));
                if fits && self.go(rest, path, excluding)? {
                    return Ok(true);
                }
                path.truncate(before);
                Ok(false)
            }
            Regex::Seq(parts) => self.go(&with(parts.iter().cloned().map(Todo::Match).collect()), path, excluding),
            Regex::Alt(ways) => {
                for way in ways {
                    if self.go(&with(vec![Todo::Match(way.clone())]), path, excluding)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Regex::Permute(parts) => {
                for order in orders(parts.len()) {
                    if self.go(&with(order.into_iter().map(|at| Todo::Match(parts[at].clone())).collect()), path, excluding)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Regex::Exclude(inner) => {
                let inside = vec![Todo::Excluding(true), Todo::Match(inner.as_ref().clone()), Todo::Excluding(excluding)];
                self.go(&with(inside), path, excluding)
            }
            Regex::Repeat { inner, from, to, greedy } => {
                let less = |n: u32| n.saturating_sub(1);
                let again = Regex::Repeat { inner: inner.clone(), from: less(*from), to: to.map(less), greedy: *greedy };
                let next = match (from, to) {
                    (0, None) => Todo::Turn(again, path.len()),
                    _ => Todo::Match(again),
                };
                let once_more = vec![Todo::Match(inner.as_ref().clone()), next];
                match (from, to) {
                    (1.., _) => self.go(&with(once_more), path, excluding),
                    (0, Some(0)) => self.go(rest, path, excluding),
                    _ => {
                        let mut ways = [with(once_more), rest.to_vec()];
                        if !greedy {
                            ways.reverse();
                        }
                        Ok(self.go(&ways[0], path, excluding)? || self.go(&ways[1], path, excluding)?)
                    }
                }
            }
        }
    }

    fn seen<'p>(&'p self, path: &'p [Taken], current: Option<usize>) -> Seen<'p> {
        Seen { rows: self.rows, start: self.start, path, current }
    }
}

/// All orders of so many things, by position, first ones first.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..count {
        for rest in orders(count - 1) {
            let others: Vec<usize> = (0..count).filter(|at| *at != first).collect();
            all.push(std::iter::once(first).chain(rest.into_iter().map(|at| others[at])).collect());
        }
    }
    all
}

/// What an expression sees.
struct Seen<'a> {
    rows: &'a [Row],
    start: usize,
    path: &'a [Taken],
    /// Place of the current row in the match; none: there is none.
    current: Option<usize>,
}

impl Seen<'_> {
    fn number(&self, number: &Number) -> Option<f64> {
        let fits = |of: &Of, at: usize| of.as_ref().is_none_or(|of| of.contains(&self.path[at].0));
        let until = |is_final: bool| if is_final { self.path.len() } else { self.current.map_or(self.path.len(), |at| at + 1) };
        match number {
            Number::Constant(value) => Some(*value as f64),
            Number::Row { of, last, skip, shift, is_final } => {
                self.current?;
                let mut places: Vec<usize> =
                    (0..if *last { until(*is_final) } else { self.path.len() }).filter(|at| fits(of, *at)).collect();
                if *last {
                    places.reverse();
                }
                let place = (self.start + places.get(*skip)?) as i64 + shift;
                self.rows.get(usize::try_from(place).ok()?)?.1.map(|value| value as f64)
            }
            Number::Aggregate { function, of, is_final } => {
                let rows: Vec<usize> = (0..until(*is_final)).filter(|at| fits(of, *at)).collect();
                let values: Vec<f64> = rows.iter().filter_map(|at| self.rows[self.start + at].1).map(|value| value as f64).collect();
                let sum = || values.iter().copied().reduce(|a, b| a + b);
                match *function {
                    "COUNT(*)" => Some(rows.len() as f64),
                    "SUM(CLASSIFIER())" => {
                        let worth = |at: &usize| [1.0, 10.0].get(self.path[*at].0).copied().unwrap_or(100.0);
                        rows.iter().map(worth).reduce(|a, b| a + b)
                    }
                    "COUNT" => Some(values.len() as f64),
                    "SUM" => sum(),
                    "AVG" => sum().map(|sum| sum / values.len() as f64),
                    "MIN" => values.iter().copied().reduce(f64::min),
                    _ => values.iter().copied().reduce(f64::max),
                }
            }
        }
    }

    fn truth(&self, truth: &Truth) -> Option<bool> {
        match truth {
            Truth::Compare(sign, a, b) => {
                let (a, b) = (self.number(a)?, self.number(b)?);
                Some(match *sign {
                    "<" => a < b,
                    "<=" => a <= b,
                    ">" => a > b,
                    ">=" => a >= b,
                    "=" => a == b,
                    _ => a != b,
                })
            }
            Truth::IsNull(a) => Some(self.number(a).is_none()),
            Truth::Not(a) => self.truth(a).map(|truth| !truth),
            Truth::Both(a, b) => match (self.truth(a), self.truth(b)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Truth::Either(a, b) => match (self.truth(a), self.truth(b)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

impl Sample {
    /// The rows that come out for a partition; `None`: it ends in an error, or there are too many ways.
    fn expected(&self, key: usize, first_idx: usize, rows: &[Row]) -> Option<Vec<String>> {
        let (mut found, mut next, mut shown, mut number) = (Vec::new(), 0, 0, 0_i64);
        let mut show = |number: Option<i64>, row: Option<usize>, seen: &Seen<'_>| {
            let mut out = json!({ "k": key, "idx": row.map(|row| row + first_idx), "n": number });
            out["label"] = seen.current.map_or(Value::Null, |at| LABELS[seen.path[at].0].into());
            for (at, measure) in self.measures.iter().enumerate() {
                // A row in no match has no measures.
                let value = number.and_then(|_| seen.number(measure));
                out[format!("m{at}")] = value.map_or(Value::Null, Value::from);
            }
            found.push(cases::canonical(&out.to_string()));
        };
        while next < rows.len() {
            let end = self.within_ms.map_or(rows.len(), |within| rows.partition_point(|row| row.0 < rows[next].0 + within));
            let mut trial = Trial { sample: self, rows, start: next, end, steps: 0 };
            let mut path = Vec::new();
            let Ok(matched) = trial.go(&[Todo::Match(self.regex.clone())], &mut path, false) else { return None };
            if !matched {
                if next >= shown && self.shown == Shown::WithUnmatched {
                    show(None, Some(next), &trial.seen(&[], None));
                }
                next += 1;
                continue;
            }
            number += 1;
            if path.is_empty() {
                match self.shown {
                    Shown::OmitEmpty => {}
                    Shown::One => show(Some(number), None, &trial.seen(&[], None)),
                    Shown::All | Shown::WithUnmatched => show(Some(number), Some(next), &trial.seen(&[], None)),
                }
            } else if self.shown == Shown::One {
                show(Some(number), Some(next + path.len() - 1), &trial.seen(&path, Some(path.len() - 1)));
            } else {
                for at in (0..path.len()).filter(|at| !path[*at].1) {
                    show(Some(number), Some(next + at), &trial.seen(&path, Some(at)));
                }
            }
            shown = shown.max(next + path.len().max(1));
            let to = |last: bool, of: &[usize]| {
                let mut places = (0..path.len()).filter(|at| of.contains(&path[*at].0));
                if last { places.next_back() } else { places.next() }
            };
            next += match &self.skip {
                _ if path.is_empty() => 1,
                Skip::PastLast => path.len(),
                Skip::ToNext => 1,
                Skip::To { last, of } => to(*last, of).filter(|at| *at > 0)?,
            };
        }
        Some(found)
    }
}

// ---- both beside each other

fn at(time: i64) -> String {
    let base = 1_704_067_200_000;
    chrono::DateTime::from_timestamp_millis(base + time).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// All partitions as a table in the order of time: time, key, number, value.
fn table(partitions: &[Vec<Row>]) -> Vec<(i64, usize, usize, Option<i64>)> {
    let mut all = Vec::new();
    let mut idx = 0;
    for (key, rows) in partitions.iter().enumerate() {
        for (time, value) in rows {
            all.push((*time, key, idx, *value));
            idx += 1;
        }
    }
    all.sort_by_key(|row| row.0);
    all
}

fn case(query: &str, table: &[(i64, usize, usize, Option<i64>)]) -> cases::Case {
    let sql = format!(
        "CREATE TABLE t (k BIGINT, idx BIGINT, v DOUBLE, `at` TIMESTAMP(3), WATERMARK FOR `at` AS `at` - INTERVAL '0.001' SECOND)
         WITH ('connector' = 'feed', 'format' = 'json');\nCREATE MATERIALIZED VIEW out AS {query};"
    );
    let row = |(time, key, idx, value): &(i64, usize, usize, Option<i64>)| {
        json!({ "k": key, "idx": idx, "v": value, "at": at(*time) }).to_string()
    };
    let mut steps: Vec<(Step, Vec<String>)> = table.iter().map(|one| (Step::Row("t".to_owned(), row(one)), Vec::new())).collect();
    steps.push((Step::End, Vec::new()));
    cases::Case { path: PathBuf::from("random"), sql, disorder_micros: None, steps, dropped: BTreeMap::new() }
}

async fn bounded_rows(query: &str, table: &[(i64, usize, usize, Option<i64>)]) -> Result<Vec<String>, String> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(table.iter().map(|row| row.1 as i64))),
        Arc::new(Int64Array::from_iter_values(table.iter().map(|row| row.2 as i64))),
        Arc::new(Float64Array::from_iter(table.iter().map(|row| row.3.map(|value| value as f64)))),
        Arc::new(TimestampMillisecondArray::from_iter_values(table.iter().map(|row| row.0))),
    ];
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("idx", DataType::Int64, true),
        Field::new("v", DataType::Float64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]));
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let context = bounded::session(&Functions::default());
    context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
    let found = bounded::collect(&context, &Catalog::new(), query, "random.sql").await.map_err(|e| e.to_string())?;
    let mut rows: Vec<String> = found.iter().flat_map(cases::rows_of).collect();
    rows.sort();
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_match_as_if_every_way_were_tried() {
    let seed = Random::seed();
    println!("EAGRE_SEED={seed}");
    let mut random = Random::new(seed);
    let (samples, partitions) = if std::env::var_os("EAGRE_LONG").is_some() { (800, 40) } else { (15, 20) };
    let (mut pairs, mut seen) = (0, 0);
    for number in 0..samples {
        let sample = sample(&mut random);
        let mut kept: Vec<Vec<Row>> = Vec::new();
        let mut expected = Vec::new();
        let mut idx = 0;
        for _ in 0..partitions {
            let rows = rows(&mut random);
            if let Some(more) = sample.expected(kept.len(), idx, &rows) {
                expected.extend(more);
                idx += rows.len();
                kept.push(rows);
            }
        }
        if kept.is_empty() {
            continue;
        }
        expected.sort();
        pairs += kept.len();
        seen += expected.len();
        let (query, table) = (sample.query(), table(&kept));
        let case = case(&query, &table);
        let whole = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        let cuts: Vec<usize> = (1..table.len()).filter(|_| random.below(table.len() as u64) < 5).collect();
        let plain = |answer: Result<(Vec<String>, BTreeMap<String, u64>), String>| answer.map(|(rows, _)| rows);
        let mut answers = vec![("bounded", bounded_rows(&query, &table).await)];
        if number % 4 == 0 {
            answers.push(("at once in two tasks", plain(cases::at_once(&case, 2, whole).await)));
        } else {
            answers.push(("cut", plain(cases::in_cuts(&case, 1, &cuts).await)));
        }
        for (way, answer) in answers {
            let mut found = answer.unwrap_or_else(|error| panic!("EAGRE_SEED={seed}, {number}, {way}: {error}\n{query}"));
            found.sort();
            if found == expected {
                continue;
            }
            let only = |a: &[String], b: &[String]| a.iter().filter(|row| !b.contains(row)).take(6).cloned().collect::<Vec<_>>();
            let wrong = only(&found, &expected).into_iter().chain(only(&expected, &found)).next().unwrap_or_default();
            let key = serde_json::from_str::<Value>(&wrong).ok().and_then(|row| row["k"].as_u64()).unwrap_or(0) as usize;
            let of_key = |rows: &[String]| {
                rows.iter().filter(|row| row.contains(&format!("\"k\":{key},"))).cloned().collect::<Vec<_>>().join("\n  ")
            };
            panic!(
                "EAGRE_SEED={seed}, {number}, {way}:\n{query}\npartition {key}: {:?}\nfound\n  {}\nexpected\n  {}",
                kept.get(key),
                of_key(&found),
                of_key(&expected)
            );
        }
    }
    assert!(seen > pairs, "the samples match nothing");
    println!("{pairs} pairs of a pattern and a partition, {seen} rows");
}
