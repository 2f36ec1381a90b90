//! Counts and aggregates against sums over the whole input; bounds; absences; order of arrival; many rules at once.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::functions_aggregate::{average::avg_udaf, count::count_udaf, min_max::max_udaf, sum::sum_udaf};
use datafusion::logical_expr::{AggregateUDF, Operator};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column, binary, cast, lit};
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::{Binding, Condition, Expr, bindings_schema};
use eagre::operator::pattern::sequence::{Inner, Link, Sequence, Step, Times};
use eagre::operator::pattern::spec::{AggregateRule, Bounds, Compare, CountRule, Find, Order, Overflow, Rule};
use eagre::operator::{OperatorSpec, Output};
use eagre::state::StateHandles;
use eagre::time::Watermark;

use super::driver::{INDEX, KEY, Step as Drive, TIME, emission, emitted_schema, run};
use super::random::Random;

/// letter, value, key, milliseconds.
type Event = (i64, i64, i64, i64);

fn schema() -> SchemaRef {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let time = Field::new(TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true);
    Arc::new(Schema::new(vec![int("letter"), int("value"), int(INDEX), int(KEY), time]))
}

fn rows(events: &[Event]) -> RecordBatch {
    let ints = |f: &dyn Fn(usize) -> i64| Arc::new(Int64Array::from_iter_values((0..events.len()).map(f)));
    let times = TimestampMillisecondArray::from_iter_values(events.iter().map(|event| event.3));
    let columns: Vec<ArrayRef> =
        vec![ints(&|at| events[at].0), ints(&|at| events[at].1), ints(&|at| at as i64), ints(&|at| events[at].2), Arc::new(times)];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn column(at: usize) -> Expr {
    Arc::new(Column::new(schema().field(at).name(), at))
}

fn of_letter(letter: i64) -> Expr {
    binary(column(0), Operator::Eq, lit(letter), &schema()).unwrap()
}

fn when(letter: i64) -> Option<Condition> {
    Some(Condition::of_event(of_letter(letter)))
}

fn spec(finds: Vec<Find>, order: Order, bounds: Bounds) -> PatternSpec {
    let rule = |(number, find): (usize, Find)| {
        let name = format!("rule {number}");
        Rule { emit: emission(&schema(), &name, "match"), name, find, on_timeout: None, bounds, warm_up: false }
    };
    PatternSpec {
        group: None,
        input: schema(),
        keys: vec![3],
        time: 4,
        then_by: Vec::new(),
        seq: None,
        order,
        rules: finds.into_iter().enumerate().map(rule).collect(),
        schema: emitted_schema(&schema()),
    }
}

fn one(find: Find) -> PatternSpec {
    spec(vec![find], Order::EventTime, Bounds::default())
}

/// (rule, events of the match) of everything that is found, in order.
fn found(spec: &PatternSpec, events: &[Event], cuts: &[usize], restored: bool) -> Vec<(String, Vec<i64>)> {
    let rows = rows(events);
    let mut steps = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([events.len()]) {
        steps.push(Drive::Rows(rows.slice(from, to - from)));
        steps.extend(events[to..].iter().map(|event| event.3).min().map(|next| Drive::Mark(next * 1_000)));
        if restored {
            steps.push(Drive::Restore(1 + to % 3));
        }
        from = to;
    }
    steps.push(Drive::Mark(i64::MAX));
    let emitted = run(spec, &steps).unwrap();
    emitted.into_iter().map(|one| (one.rule, one.events.into_iter().map(|(_, at)| at).collect())).collect()
}

fn count(letter: i64, over_ms: i64, compare: Compare, each: bool) -> Find {
    Find::Count(CountRule { when: Some(of_letter(letter)), over_micros: over_ms * 1_000, compare, each })
}

#[test]
fn the_sixth_payment_within_an_hour_fires_once() {
    const MINUTE: i64 = 60_000;
    let fraud = one(count(1, 60 * MINUTE, Compare::MoreThan(5), false));
    let at = |minutes: &[i64]| -> Vec<Event> { minutes.iter().map(|minute| (1, 0, 7, minute * MINUTE)).collect() };
    let matches =
        |minutes: &[i64]| -> Vec<Vec<i64>> { found(&fraud, &at(minutes), &[], false).into_iter().map(|(_, events)| events).collect() };
    assert_eq!(matches(&[0, 10, 20, 30, 40, 50]), [[0, 1, 2, 3, 4, 5]]);
    assert!(matches(&[0, 10, 20, 30, 40, 60]).is_empty(), "exactly an hour later is too late");
    assert!(matches(&[0, 10, 20, 30, 40]).is_empty());
    // Not again while the count stays above five; again when it has fallen.
    assert_eq!(matches(&[0, 10, 20, 30, 40, 50, 51, 52, 53, 200, 201, 202, 203, 204, 205]), [[0, 1, 2, 3, 4, 5], [9, 10, 11, 12, 13, 14]]);
}

/// Where a condition over the events of the last while fires, by the whole input.
fn naive(events: &[Event], letter: i64, over_ms: i64, each: bool, holds: &dyn Fn(&[usize]) -> bool) -> Vec<Vec<i64>> {
    let mut fired = Vec::new();
    let counted: Vec<usize> = (0..events.len()).filter(|at| events[*at].0 == letter).collect();
    let window = |at: usize| -> Vec<usize> {
        let fits = |other: &usize| *other <= at && events[*other].2 == events[at].2 && events[*other].3 > events[at].3 - over_ms;
        counted.iter().copied().filter(fits).collect()
    };
    for at in counted.iter().copied() {
        let own = window(at);
        // The event before, if it is still in the window.
        let before = own.len().checked_sub(2).map(|before| own[before]);
        let held = before.is_some_and(|before| holds(&window(before)));
        if holds(&own) && (each || !held) {
            fired.push(own.iter().map(|at| *at as i64).collect());
        }
    }
    fired.sort();
    fired
}

fn aggregate(function: Arc<AggregateUDF>, distinct: bool, over_ms: i64, above: f64, each: bool) -> Find {
    let value = if function.name() == "avg" { cast(column(1), &schema(), DataType::Float64).unwrap() } else { column(1) };
    let builder = AggregateExprBuilder::new(function, vec![value]).schema(schema()).alias("a");
    let built = if distinct { builder.distinct().build() } else { builder.build() };
    let bindings = vec![Binding::Aggregate { of: None, function: Arc::new(built.unwrap()) }];
    let bound = bindings_schema(&schema(), 4, &bindings).unwrap();
    let value = cast(Arc::new(Column::new("$0", 5)), &bound, DataType::Float64).unwrap();
    let having = Condition { expr: binary(value, Operator::Gt, lit(above), &bound).unwrap(), bindings };
    Find::Aggregate(AggregateRule { when: Some(of_letter(1)), over_micros: over_ms * 1_000, having, each })
}

#[test]
fn counts_and_aggregates_equal_sums_over_the_whole_input() {
    let seed = Random::seed();
    println!("EAGRE_SEED={seed}");
    let random = &mut Random::new(seed);
    for _ in 0..60 {
        let mut time = 0;
        let events: Vec<Event> = (0..random.below(40))
            .map(|_| {
                time += random.below(4) as i64;
                (random.below(2) as i64, random.below(9) as i64, random.below(3) as i64, time)
            })
            .collect();
        let over = 1 + random.below(20) as i64;
        let n = random.below(4);
        let values = |at: &[usize]| -> Vec<f64> { at.iter().map(|at| events[*at].1 as f64).collect() };
        let rules: Vec<(Find, Box<dyn Fn(&[usize]) -> bool>, bool)> = vec![
            (count(1, over, Compare::MoreThan(n), false), Box::new(|w: &[usize]| w.len() as u64 > n), false),
            (count(1, over, Compare::AtLeast(n), true), Box::new(|w: &[usize]| w.len() as u64 >= n), true),
            (count(1, over, Compare::LessThan(n), false), Box::new(|w: &[usize]| (w.len() as u64) < n), false),
            (aggregate(sum_udaf(), false, over, 12.0, false), Box::new(|w: &[usize]| values(w).iter().sum::<f64>() > 12.0), false),
            (aggregate(max_udaf(), false, over, 6.0, true), Box::new(|w: &[usize]| values(w).iter().any(|v| *v > 6.0)), true),
            (
                aggregate(avg_udaf(), false, over, 4.0, false),
                Box::new(|w: &[usize]| values(w).iter().sum::<f64>() / w.len() as f64 > 4.0),
                false,
            ),
            (
                aggregate(count_udaf(), true, over, 2.0, false),
                Box::new(|w: &[usize]| values(w).iter().map(|v| *v as i64).collect::<std::collections::BTreeSet<_>>().len() > 2),
                false,
            ),
        ];
        let cuts: Vec<usize> = (1..events.len()).filter(|_| random.below(3) == 0).collect();
        let all = spec(rules.iter().map(|(find, ..)| find.clone()).collect(), Order::EventTime, Bounds::default());
        for restored in [false, true] {
            let found = found(&all, &events, &cuts, restored);
            for (number, (_, holds, each)) in rules.iter().enumerate() {
                let name = format!("rule {number}");
                let mut of_rule: Vec<Vec<i64>> = found.iter().filter(|(rule, _)| *rule == name).map(|(_, events)| events.clone()).collect();
                of_rule.sort();
                let expected = naive(&events, 1, over, *each, holds);
                assert_eq!(of_rule, expected, "EAGRE_SEED={seed}: {name} over {over}, n {n}, restored {restored}: {events:?}");
            }
        }
    }
}

#[test]
fn nothing_of_it_before_and_nothing_of_it_after() {
    let mut before = Step::event("x", Link::Not, when(3));
    before.absent_for = Some(10_000);
    let start = one(Find::Sequence(Sequence::of(vec![before, Step::event("a", Link::Then, when(1))])));
    let events = [(1, 0, 7, 0), (3, 0, 7, 5), (1, 0, 7, 14), (1, 0, 8, 14), (1, 0, 7, 15), (3, 0, 7, 20), (1, 0, 7, 20)];
    for restored in [false, true] {
        let mut matches: Vec<Vec<i64>> = found(&start, &events, &[2, 4], restored).into_iter().map(|(_, events)| events).collect();
        matches.sort();
        assert_eq!(matches, [[0], [3], [4]], "10 ms after the 3 at 5 it is quiet again");
    }
    let mut after = Step::event("x", Link::Not, when(3));
    after.absent_for = Some(10_000);
    let end = one(Find::Sequence(Sequence::of(vec![Step::event("a", Link::Then, when(1)), after])));
    let events = [(1, 0, 7, 0), (3, 0, 7, 10), (1, 0, 7, 20), (3, 0, 7, 29), (1, 0, 7, 40)];
    for restored in [false, true] {
        let matches: Vec<Vec<i64>> = found(&end, &events, &[1, 3], restored).into_iter().map(|(_, events)| events).collect();
        assert_eq!(matches, [[0], [4]]);
    }
}

/// Runs double with every event: `a+` in all combinations, then what never comes.
fn doubling(overflow: Overflow) -> PatternSpec {
    let mut loops = Step::event("a", Link::Then, when(1));
    (loops.times, loops.inner) = (Times { from: 1, to: None }, Inner::Combinations);
    let sequence = Sequence { within: Some(1_000_000), ..Sequence::of(vec![loops, Step::event("b", Link::Then, when(2))]) };
    let bounds = Bounds { max_runs: 100, max_bytes: None, overflow };
    spec(vec![Find::Sequence(sequence), count(1, 1_000, Compare::MoreThan(19), false)], Order::EventTime, bounds)
}

#[test]
fn a_rule_stays_within_its_bound_and_says_so() {
    let mut events: Vec<Event> = (0..20).map(|time| (1, 0, 7, time)).collect();
    events.push((2, 0, 7, 20));
    for (overflow, expected) in [(Overflow::DropOldest, 2..=101), (Overflow::DropNewest, 2..=101), (Overflow::FailRule, 1..=1)] {
        let spec = doubling(overflow);
        let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
        let mut out = Output::default();
        operator.on_batch(0, rows(&events), &mut out).unwrap();
        operator.on_watermark(Watermark::MAX, &mut out).unwrap();
        let counted = out.take_counted();
        assert!(!counted.is_empty() && counted.iter().all(|one| one.rule == "rule 0" && one.name == "eagre_rule_runs_dropped_total"));
        let rows: usize = out.take_batches().iter().map(RecordBatch::num_rows).sum();
        assert!(expected.contains(&rows), "{overflow:?}: {rows} rows, one of them from the other rule, which goes on");
    }
}

#[test]
fn in_order_of_arrival_a_match_is_told_at_once() {
    let steps = vec![Step::event("a", Link::Then, when(1)), Step::event("b", Link::Then, when(2))];
    let sequence = Sequence { within: Some(10_000), ..Sequence::of(steps) };
    let spec = spec(vec![Find::Sequence(sequence)], Order::Arrival, Bounds::default());
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    operator.on_batch(0, rows(&[(1, 0, 7, 5), (2, 0, 7, 9)]), &mut out).unwrap();
    assert_eq!(out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "no watermark is waited for");
    operator.on_batch(0, rows(&[(1, 0, 7, 20), (2, 0, 7, 30)]), &mut out).unwrap();
    assert!(out.take_batches().is_empty(), "too far apart");
}

#[test]
fn many_rules_at_once_find_what_each_finds_alone() {
    let finds: Vec<Find> = (0..50).map(|letter| count(letter, 30, Compare::MoreThan(1), false)).collect();
    let random = &mut Random::new(5);
    let events: Vec<Event> = (0..400).map(|time| (random.below(60) as i64, 0, random.below(3) as i64, time)).collect();
    let together = found(&spec(finds.clone(), Order::EventTime, Bounds::default()), &events, &[100, 101, 250], false);
    for (number, find) in finds.into_iter().enumerate() {
        let name = format!("rule {number}");
        let of_rule: Vec<Vec<i64>> = together.iter().filter(|(rule, _)| *rule == name).map(|(_, events)| events.clone()).collect();
        let alone: Vec<Vec<i64>> = found(&one(find), &events, &[], false).into_iter().map(|(_, events)| events).collect();
        assert_eq!(of_rule, alone);
    }
    assert!(together.len() > 20, "{}", together.len());
}

/// Of many keys those are written in whose neighbourhood something has happened since; files do not pile up, and what is
/// restored goes on as what was never stopped.
#[test]
fn a_checkpoint_writes_the_keys_in_which_something_has_happened() {
    const KEYS: i64 = 12_000;
    let spec = one(count(1, 3_600_000, Compare::AtLeast(4), false));
    let mut handles = StateHandles::empty(0, 1);
    let mut operator = spec.open(&mut handles).unwrap();
    let mut out = Output::default();
    let three: Vec<Event> = (0..3).flat_map(|time| (0..KEYS).map(move |key| (1, 0, key, time))).collect();
    operator.on_batch(0, rows(&three), &mut out).unwrap();
    operator.on_watermark(Watermark(10_000), &mut out).unwrap();
    let table = |handles: &StateHandles, name: &str| handles.tables().find(|(own, _)| *own == name).unwrap().1.clone();
    // Writes what no file holds, as the coordinator does; returns how many rows that were.
    let write = |operator: &mut Box<dyn eagre::operator::Operator>, number: usize| -> usize {
        operator.on_checkpoint(&mut Output::default()).unwrap();
        let mut rows = 0;
        for name in ["rules", "events"] {
            let table = table(&handles, name);
            for (id, block) in table.blocks() {
                if block.file.is_none() {
                    rows += block.rows.num_rows();
                    table.mark_written(id, format!("{number}"));
                }
            }
        }
        rows
    };
    assert_eq!(write(&mut operator, 0), 4 * KEYS as usize, "a state and three events of every key");
    for number in 1..40 {
        let time = 10 + number as i64;
        // Other neighbours each time.
        operator.on_batch(0, rows(&[(2, 0, 1_024 * (number as i64 % 12), time)]), &mut out).unwrap();
        operator.on_watermark(Watermark((time + 1) * 1_000), &mut out).unwrap();
        let written = write(&mut operator, number);
        assert!(written > 0 && written <= 2 * KEYS as usize, "checkpoint {number} writes {written} rows");
        let blocks = table(&handles, "rules").blocks();
        assert_eq!(blocks.iter().map(|(_, block)| block.rows.num_rows()).sum::<usize>(), KEYS as usize);
        let files: std::collections::BTreeSet<_> = blocks.iter().map(|(_, block)| block.file.clone()).collect();
        assert!(files.len() <= 8, "{files:?}");
    }
    let tables = handles.tables().map(|(name, table)| (name.to_owned(), table.blocks().into_iter().map(|(_, block)| block).collect()));
    let mut restored = spec.open(&mut StateHandles::restoring(0, 1, tables.collect())).unwrap();
    let fourth: Vec<Event> = (0..KEYS).map(|key| (1, 0, key, 1_000)).collect();
    let mut after = |operator: &mut Box<dyn eagre::operator::Operator>| {
        operator.on_batch(0, rows(&fourth), &mut out).unwrap();
        operator.on_watermark(Watermark::MAX, &mut out).unwrap();
        out.take_batches()
    };
    let (plain, restored) = (after(&mut operator), after(&mut restored));
    assert_eq!(plain.iter().map(RecordBatch::num_rows).sum::<usize>(), KEYS as usize);
    assert_eq!(plain, restored);
}
