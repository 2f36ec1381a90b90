//! Random small patterns over random small streams: the engine finds what the enumeration finds.
//!
//! `EAGRE_SEED` repeats a run; each pattern runs over four streams; `EAGRE_LONG` makes them 100,000 in all.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{Column, binary, lit};
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::{Binding, Condition, End, Expr, bindings_schema};
use eagre::operator::pattern::sequence::{self, Body, Inner, Sequence, SkipTo, Start, Times};
use eagre::operator::pattern::spec::{Bounds, Find, Order, Rule};

use super::driver::{INDEX, KEY, Step as Drive, TIME, emission, emitted_schema, run};
use super::naive::{Event, Fit, Link, Pattern, Selection, Skip, Step, What, selections, skipped};

/// A generator of random numbers.
pub struct Random(u64);

impl Random {
    /// The seed of this run: as given, else another one each time.
    pub fn seed() -> u64 {
        match std::env::var("EAGRE_SEED") {
            Ok(given) => given.parse().unwrap(),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        }
    }

    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % below
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// The letter that only negations use.
const X: i64 = 3;

fn random_step(random: &mut Random, labels: &mut usize, depth: usize) -> Step {
    let link = [Link::Next, Link::Then, Link::Then, Link::Any][random.below(4) as usize];
    let group = depth == 0 && random.one_in(6);
    let what = if group {
        let count = 1 + random.below(2);
        let mut steps: Vec<Step> = (0..count).map(|_| random_step(random, labels, depth + 1)).collect();
        // A group of nothing is the same as none: how often it was repeated then is anybody's guess.
        steps.last_mut().unwrap().optional = false;
        What::Group(steps)
    } else {
        let label = *labels;
        *labels += 1;
        let at_least = (label > 0 && random.one_in(4)).then(|| random.below(label as u64) as usize);
        What::Event(Fit { label, letter: random.below(3) as i64, at_least })
    };
    let (lo, hi) = match random.below(if depth == 0 { 8 } else { 12 }) {
        0 => (1, None),
        1 => (2, Some(2)),
        2 => (1, Some(3)),
        3 => (2, None),
        _ => (1, Some(1)),
    };
    let looping = hi != Some(1);
    Step {
        what,
        link,
        lo,
        hi,
        optional: random.one_in(5),
        greedy: false,
        inner: [Link::Next, Link::Then, Link::Then, Link::Any][random.below(4) as usize],
        until: (looping && !group && random.one_in(4)).then_some(3),
        gap: (looping && random.one_in(6)).then(|| 2 + random.below(4) as i64),
        after: random.one_in(8).then(|| 2 + random.below(6) as i64),
        not: Vec::new(),
        not_next: Vec::new(),
    }
}

/// A pattern for which the meaning is fixed by the rules alone: what depends on the order of the engine's own moves is
/// left out (a negation after a step that may be left out; `greedy` before one; `greedy` with `until`).
fn random_pattern(random: &mut Random) -> Pattern {
    let mut labels = 0;
    let count = 1 + random.below(4) as usize;
    let mut steps: Vec<Step> = (0..count).map(|_| random_step(random, &mut labels, 0)).collect();
    let single = |step: &Step| matches!(step.what, What::Event(_));
    for at in 1..count {
        let (before, step) = (steps[at - 1].clone(), &mut steps[at]);
        if !single(&before) || before.optional {
            continue;
        }
        if random.one_in(6) {
            step.not.push(X);
        } else if random.one_in(8) {
            step.not_next.push(X);
        }
    }
    for at in 0..count {
        let last = at + 1 == count;
        let next_is_there = last
            || (!steps[at + 1].optional && single(&steps[at + 1]) && steps[at + 1].not.is_empty() && steps[at + 1].not_next.is_empty());
        let step = &mut steps[at];
        let plain = matches!(step.what, What::Event(fit) if fit.at_least.is_none())
            && step.until.is_none()
            && step.not.is_empty()
            && step.not_next.is_empty();
        step.greedy = next_is_there && plain && step.hi != Some(1) && random.one_in(3);
    }
    let within = random.one_in(2).then(|| 3 + random.below(12) as i64);
    let last = &steps[count - 1];
    let not_after =
        if within.is_some() && single(last) && !last.optional && !last.greedy && random.one_in(4) { vec![X] } else { Vec::new() };
    Pattern { steps, within, gap: random.one_in(8).then(|| 2 + random.below(5) as i64), not_after }
}

fn schema() -> SchemaRef {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let time = Field::new(TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true);
    Arc::new(Schema::new(vec![int("letter"), int("value"), int(INDEX), int(KEY), time]))
}

fn column(at: usize, schema: &Schema) -> Expr {
    Arc::new(Column::new(schema.field(at).name(), at))
}

fn of_letter(letter: i64, schema: &SchemaRef) -> Expr {
    binary(column(0, schema), Operator::Eq, lit(letter), schema).unwrap()
}

fn condition(fit: Fit, schema: &SchemaRef) -> Condition {
    let letter = of_letter(fit.letter, schema);
    let Some(label) = fit.at_least else { return Condition::of_event(letter) };
    let bindings = vec![Binding::Row { of: Some(vec![label]), end: End::First, skip: 0, value: column(1, schema) }];
    let bound = bindings_schema(schema, 4, &bindings).unwrap();
    let at_least = binary(column(1, schema), Operator::GtEq, column(5, &bound), &bound).unwrap();
    Condition { bindings, expr: binary(letter, Operator::And, at_least, &bound).unwrap() }
}

fn millis(ms: Option<i64>) -> Option<i64> {
    ms.map(|ms| ms * 1_000)
}

fn engine_steps(steps: &[Step], schema: &SchemaRef) -> Vec<sequence::Step> {
    let mut made = Vec::new();
    for step in steps {
        let not =
            |link: sequence::Link, letter: &i64| sequence::Step::event("not", link, Some(Condition::of_event(of_letter(*letter, schema))));
        made.extend(step.not.iter().map(|letter| not(sequence::Link::Not, letter)));
        made.extend(step.not_next.iter().map(|letter| not(sequence::Link::NotNext, letter)));
        let body = match &step.what {
            What::Event(fit) => Body::Event { name: fit.label.to_string(), when: Some(condition(*fit, schema)) },
            What::Group(steps) => Body::Group(engine_steps(steps, schema)),
        };
        let link = match step.link {
            Link::Next => sequence::Link::Next,
            Link::Then => sequence::Link::Then,
            Link::Any => sequence::Link::Any,
        };
        let mut one = sequence::Step::of(body, link);
        one.times = Times { from: step.lo as u32, to: step.hi.map(|hi| hi as u32) };
        one.inner = match step.inner {
            Link::Next => Inner::Strict,
            Link::Then => Inner::Relaxed,
            Link::Any => Inner::Combinations,
        };
        (one.optional, one.greedy) = (step.optional, step.greedy);
        one.until = step.until.map(|until| Condition::of_event(binary(column(1, schema), Operator::GtEq, lit(until), schema).unwrap()));
        (one.gap, one.after) = (millis(step.gap), millis(step.after));
        made.push(one);
    }
    made
}

fn engine_pattern(pattern: &Pattern, skip: Skip, schema: &SchemaRef) -> PatternSpec {
    let mut sequence = Sequence::of(engine_steps(&pattern.steps, schema));
    for letter in &pattern.not_after {
        let absent = Condition::of_event(of_letter(*letter, schema));
        sequence.steps.push(sequence::Step::event("not", sequence::Link::Not, Some(absent)));
    }
    (sequence.within, sequence.gap) = (millis(pattern.within), millis(pattern.gap));
    sequence.start = Start::Every;
    let to = |label: usize| SkipTo { label, error_on_miss: false };
    sequence.skip = match skip {
        Skip::None => sequence::Skip::None,
        Skip::ToNext => sequence::Skip::ToNext,
        Skip::PastLast => sequence::Skip::PastLast,
        Skip::ToFirst(label) => sequence::Skip::ToFirst(to(label)),
        Skip::ToLast(label) => sequence::Skip::ToLast(to(label)),
    };
    let bounds = Bounds { max_runs: usize::MAX, ..Bounds::default() };
    let rule = Rule {
        name: "random".to_owned(),
        find: Find::Sequence(sequence),
        emit: emission(schema, "random", "match"),
        on_timeout: None,
        bounds,
        warm_up: false,
    };
    PatternSpec {
        group: None,
        input: schema.clone(),
        keys: vec![3],
        time: 4,
        then_by: Vec::new(),
        seq: None,
        order: Order::EventTime,
        rules: vec![rule],
        schema: emitted_schema(schema),
    }
}

fn rows(events: &[Event], schema: &SchemaRef) -> RecordBatch {
    let ints = |f: &dyn Fn(usize) -> i64| Arc::new(Int64Array::from_iter_values((0..events.len()).map(f)));
    let times = TimestampMillisecondArray::from_iter_values(events.iter().map(|event| event.time));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![ints(&|at| events[at].letter), ints(&|at| events[at].value), ints(&|at| at as i64), ints(&|_| 7), Arc::new(times)];
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

/// Steps with random cuts, watermarks and (sometimes) restores.
fn drive(random: &mut Random, events: &[Event], schema: &SchemaRef) -> Vec<Drive> {
    let rows = rows(events, schema);
    let (cut, restored) = (random.one_in(2), random.one_in(4));
    let mut steps = Vec::new();
    let mut from = 0;
    for to in 1..=events.len() {
        if to < events.len() && !(cut && random.one_in(2)) {
            continue;
        }
        steps.push(Drive::Rows(rows.slice(from, to - from)));
        from = to;
        if let Some(next) = events.get(to).filter(|_| random.one_in(2)) {
            steps.push(Drive::Mark(next.time * 1_000));
        }
        if restored {
            steps.push(Drive::Restore(1 + random.below(3) as usize));
        }
    }
    steps.push(Drive::Mark(i64::MAX));
    steps
}

fn random_events(random: &mut Random) -> Vec<Event> {
    let mut time = 0;
    let count = random.below(8);
    (0..count)
        .map(|_| {
            time += random.below(4) as i64;
            Event { letter: random.below(4) as i64, value: random.below(4) as i64, time }
        })
        .collect()
}

/// The labels' number.
fn labels(steps: &[Step]) -> usize {
    steps.iter().map(|step| if let What::Group(steps) = &step.what { labels(steps) } else { 1 }).sum()
}

#[test]
fn the_engine_finds_what_an_enumeration_finds() {
    let seed = Random::seed();
    let wanted = if std::env::var_os("EAGRE_LONG").is_some() { 25_000 } else { 1_500 };
    println!("EAGRE_SEED={seed}");
    let schema = schema();
    let (mut matches, mut skips) = (0, 0);
    for number in 0..wanted {
        let random = &mut Random::new(seed.wrapping_add(number));
        let pattern = random_pattern(random);
        let label = random.below(labels(&pattern.steps) as u64) as usize;
        let skip =
            [Skip::None, Skip::None, Skip::ToNext, Skip::PastLast, Skip::ToFirst(label), Skip::ToLast(label)][random.below(6) as usize];
        let skip = if pattern.not_after.is_empty() { skip } else { Skip::None };
        for _ in 0..4 {
            let events = random_events(random);
            let all = selections(&pattern, &events);
            let (skip, expected) = match skipped(&all, skip) {
                Some(left) => (skip, left),
                None => (Skip::None, all),
            };
            let spec = engine_pattern(&pattern, skip, &schema);
            let emitted = run(&spec, &drive(random, &events, &schema)).unwrap();
            let selection = |events: &Vec<(String, i64)>| -> Selection {
                events.iter().map(|(label, at)| (label.parse().unwrap(), *at as usize)).collect()
            };
            let mut found: Vec<Selection> = emitted.iter().map(|one| selection(&one.events)).collect();
            found.sort();
            found.dedup();
            assert_eq!(found, expected, "EAGRE_SEED={seed}, number {number}: {skip:?} {pattern:?}\n{events:?}");
            matches += expected.len();
            skips += usize::from(skip != Skip::None);
        }
    }
    println!("{wanted} patterns over four streams each: {matches} matches; {skips} streams with a skip strategy");
    assert!(matches as u64 > wanted, "patterns must match now and then");
}
