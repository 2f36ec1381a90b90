//! Throughput of rules, one task, from Arrow batches, by CPU time: `cargo bench --bench patterns`. Making
//! the batches is not counted.
//!
//! `count`: more than five payments of a customer within an hour, ten million payments of 100,000 customers. `thousand`:
//! a thousand such rules with different constants over one stream. `doubling`: a pattern whose runs double with every
//! event, which must stay within its bound. `chain`: three steps, one after the other.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{Column, binary, lit};
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::{Binding, Condition, Emission, Expr, bindings_schema};
use eagre::operator::pattern::sequence::{Inner, Link, Sequence, Skip, Step, Times};
use eagre::operator::pattern::spec::{Bounds, Compare, CountRule, Find, Order, Rule};
use eagre::operator::{OperatorSpec, Output};
use eagre::state::StateHandles;
use eagre::time::{MICROS_PER_SECOND, Watermark};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 8192;
const HOUR: i64 = 3_600 * MICROS_PER_SECOND;

fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("customer", DataType::Int64, true),
        Field::new("type", DataType::Utf8View, true),
        Field::new("amount", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

/// Chunk `number` of the payments: 150 a second of event time, in order.
fn rows(number: usize, customers: u64, types: &[String]) -> RecordBatch {
    let events = number * CHUNK..(number + 1) * CHUNK;
    let each = |f: &dyn Fn(u64) -> i64| Arc::new(Int64Array::from_iter_values(events.clone().map(|event| f(event as u64))));
    let texts = events.clone().map(|event| types[mix(event as u64 ^ 0x55) as usize % types.len()].as_str());
    let times = events.clone().map(|event| 1_700_000_000_000 + event as i64 * 1_000 / 150);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        each(&|event| event as i64),
        each(&|event| (mix(event ^ 0xABCD) % customers) as i64),
        Arc::new(StringViewArray::from_iter_values(texts)),
        each(&|event| (mix(event ^ 0x77) % 1_000) as i64),
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn of_type(text: &str) -> Expr {
    let constant = lit(ScalarValue::Utf8View(Some(text.to_owned())));
    binary(Arc::new(Column::new("type", 2)), Operator::Eq, constant, &schema()).unwrap()
}

/// Customer, and the numbers of the events.
fn emission() -> Emission {
    let bindings = vec![Binding::Matched(vec![0])];
    let bound = bindings_schema(&schema(), 4, &bindings).unwrap();
    Emission { columns: vec![Arc::new(Column::new("customer", 1)), Arc::new(Column::new(bound.field(5).name(), 5))], bindings }
}

fn spec(finds: Vec<Find>) -> PatternSpec {
    let emit = emission();
    let matched = emit.bindings[0].data_type(&schema(), 4).unwrap();
    let out = Schema::new(vec![Field::new("customer", DataType::Int64, true), Field::new("events", matched, true)]);
    let rule = |(number, find)| Rule {
        name: format!("rule-{number}"),
        find,
        emit: emit.clone(),
        on_timeout: None,
        bounds: Bounds::default(),
        warm_up: false,
    };
    PatternSpec {
        group: None,
        input: schema(),
        keys: vec![1],
        time: 4,
        then_by: Vec::new(),
        seq: None,
        order: Order::EventTime,
        rules: finds.into_iter().enumerate().map(rule).collect(),
        schema: Arc::new(out),
    }
}

fn count(text: &str) -> Find {
    Find::Count(CountRule { when: Some(of_type(text)), over_micros: HOUR, compare: Compare::MoreThan(5), each: false })
}

/// How long this thread has been at work: others may be, too.
fn on_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// Number of rows that come out, what was counted, and how long the operator took.
fn run(spec: &PatternSpec, chunks: usize, customers: u64, types: &[String]) -> (usize, u64, Duration) {
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    let (mut found, mut counted, mut took) = (0, 0, Duration::ZERO);
    for chunk in 0..chunks {
        let rows = rows(chunk, customers, types);
        let last = 1_700_000_000_000 + ((chunk + 1) * CHUNK - 1) as i64 * 1_000 / 150;
        let begun = on_cpu();
        operator.on_batch(0, rows, &mut out).unwrap();
        operator.on_watermark(Watermark((last - 1_000) * 1_000), &mut out).unwrap();
        found += out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>();
        counted += out.take_counted().iter().map(|counted| counted.count).sum::<u64>();
        took += on_cpu().saturating_sub(begun);
    }
    (found, counted, took)
}

/// How long so many runs took.
fn timed(runs: u64, mut run: impl FnMut() -> (usize, u64, Duration)) -> Duration {
    (0..runs).map(|_| run().2).sum()
}

fn rules(c: &mut Criterion) {
    let one = vec!["payment".to_owned()];
    let thousand: Vec<String> = (0..1_000).map(|number| format!("payment of kind {number}")).collect();
    let mut group = c.benchmark_group("rules");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(1));

    let chunks = 10_000_000 / CHUNK;
    group.throughput(Throughput::Elements((chunks * CHUNK) as u64));
    let fraud = spec(vec![count("payment")]);
    group.bench_function("count", |b| b.iter_custom(|runs| timed(runs, || run(&fraud, chunks, 100_000, &one))));

    let chunks = 1_000_000 / CHUNK;
    group.throughput(Throughput::Elements((chunks * CHUNK) as u64));
    let many = spec(thousand.iter().map(|text| count(text)).collect());
    let first = spec(vec![count(&thousand[0])]);
    group.bench_function("one_of_a_thousand", |b| b.iter_custom(|runs| timed(runs, || run(&first, chunks, 1_000, &thousand))));
    group.bench_function("thousand", |b| b.iter_custom(|runs| timed(runs, || run(&many, chunks, 1_000, &thousand))));

    let kinds: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    let step = |(name, link)| Step::event(name, link, Some(Condition::of_event(of_type(name))));
    let steps = [("a", Link::Then), ("b", Link::Then), ("c", Link::Then)].map(step).to_vec();
    let sequence = Sequence { within: Some(HOUR), skip: Skip::PastLast, ..Sequence::of(steps) };
    let chain = spec(vec![Find::Sequence(sequence)]);
    group.bench_function("chain", |b| b.iter_custom(|runs| timed(runs, || run(&chain, chunks, 20_000, &kinds))));

    let chunks = 2;
    group.throughput(Throughput::Elements((chunks * CHUNK) as u64));
    let mut loops = Step::event("a", Link::Then, Some(Condition::of_event(of_type("payment"))));
    (loops.times, loops.inner) = (Times { from: 1, to: None }, Inner::Combinations);
    let end = Step::event("b", Link::Then, Some(Condition::of_event(of_type("never"))));
    let doubling = spec(vec![Find::Sequence(Sequence { within: Some(HOUR), ..Sequence::of(vec![loops, end]) })]);
    group.bench_function("doubling", |b| {
        b.iter(|| {
            let (found, dropped, _) = run(&doubling, chunks, 10, &one);
            assert!(found == 0 && dropped > 0, "the bound is met, and told");
        })
    });
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);
