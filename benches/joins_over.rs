//! Throughput of the interval join and of OVER, one task: `cargo bench --bench joins_over`.
//!
//! The rows are those of the workloads w2 and w3 of the benchmark (100 events a second of event time, 10,000 customers
//! of very different weight, a quarter of the rows up to five seconds late), already decoded.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::common::JoinType;
use datafusion::functions_aggregate::{count::count_udaf, sum::sum_udaf};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column, lit};
use eagre::operator::frame::Frame;
use eagre::operator::interval_join::IntervalJoinSpec;
use eagre::operator::over::{OverColumn, OverFunction, OverSpec};
use eagre::operator::{Input, OperatorSpec, Output};
use eagre::state::StateHandles;
use eagre::time::Watermark;

/// Rows of a chunk of input before any filter.
const CHUNK: usize = 4096;
const EVENTS: usize = 1_000_000;
const DELAY_MS: i64 = 5_000;

enum Step {
    Rows(Input, RecordBatch),
    Mark(Watermark),
}

fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Event number -> customer, by weight 1 / rank^0.7.
struct Customers(Vec<u64>);

impl Customers {
    fn new() -> Self {
        let mut sum = 0;
        Customers((0..10_000).map(|rank| (sum += (1e9 / f64::from(rank + 1).powf(0.7)) as u64, sum).1).collect())
    }

    fn of(&self, event: usize) -> usize {
        let at = mix(event as u64 ^ 0xABCD) % self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum <= at)
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("eventId", DataType::Utf8View, true),
        Field::new("customerId", DataType::Utf8View, true),
        Field::new("ts", DataType::Int64, true),
        Field::new("rt", time, true),
    ]))
}

/// The events of a chunk whose type (0 to 99) is in `types`, and the largest time of all.
fn rows(customers: &Customers, chunk: usize, types: std::ops::Range<u64>) -> (RecordBatch, i64) {
    let all = chunk * CHUNK..((chunk + 1) * CHUNK).min(EVENTS);
    let time = |event: usize| {
        let jitter = mix(event as u64 ^ 0x1234);
        1_700_000_040_000 + event as i64 * 10 - if jitter.is_multiple_of(4) { (jitter >> 8) as i64 % DELAY_MS } else { 0 }
    };
    let most = all.clone().map(time).max().unwrap();
    let events: Vec<usize> = all.filter(|event| types.contains(&(mix(*event as u64 ^ 0x77) % 100))).collect();
    let ids = StringViewArray::from_iter_values(events.iter().map(|event| format!("{:016x}-{event:08}", mix(*event as u64))));
    let customers = StringViewArray::from_iter_values(events.iter().map(|event| format!("c-{:05}", customers.of(*event))));
    let times: Vec<i64> = events.iter().map(|event| time(*event)).collect();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(customers),
        Arc::new(Int64Array::from(times.clone())),
        Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")),
    ];
    (RecordBatch::try_new(schema(), columns).unwrap(), most)
}

/// The rows of each input chunk by chunk, the watermark after each.
fn steps(inputs: &[std::ops::Range<u64>]) -> (Vec<Step>, u64) {
    let customers = Customers::new();
    let (mut steps, mut count) = (Vec::new(), 0);
    for chunk in 0..EVENTS.div_ceil(CHUNK) {
        let mut mark = i64::MAX;
        for (input, types) in inputs.iter().enumerate() {
            let (rows, most) = rows(&customers, chunk, types.clone());
            count += rows.num_rows() as u64;
            mark = mark.min((most - DELAY_MS + 1) * 1_000);
            steps.push(Step::Rows(input, rows));
        }
        steps.push(Step::Mark(Watermark(mark)));
    }
    steps.push(Step::Mark(Watermark::MAX));
    (steps, count)
}

/// Number of rows that come out.
fn run(spec: &dyn OperatorSpec, steps: &[Step]) -> usize {
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    let mut rows = 0;
    for step in steps {
        match step {
            Step::Rows(input, rows) => operator.on_batch(*input, rows.clone(), &mut out).unwrap(),
            Step::Mark(mark) => _ = operator.on_watermark(*mark, &mut out).unwrap(),
        }
        rows += out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>();
        assert!(out.take_refused().is_empty());
    }
    rows
}

fn interval_join(c: &mut Criterion) {
    let five_minutes = 300_000_000;
    let schema_out = Schema::new(vec![
        Field::new("customerId", DataType::Utf8View, true),
        Field::new("ce", DataType::Utf8View, true),
        Field::new("oe", DataType::Utf8View, true),
    ]);
    let spec = IntervalJoinSpec {
        left: schema(),
        right: schema(),
        join_type: JoinType::Inner,
        left_keys: vec![1],
        right_keys: vec![1],
        left_time: 3,
        right_time: 3,
        lower_micros: -five_minutes,
        upper_micros: five_minutes,
        filter: None,
        projection: Some(vec![1, 0, 4]),
        schema: Arc::new(schema_out),
    };
    let (steps, count) = steps(&[0..10, 10..40]);
    let mut group = c.benchmark_group("interval join");
    group.sample_size(10).throughput(Throughput::Elements(count));
    group.bench_function(format!("w2: {count} rows in, {} out", run(&spec, &steps)), |b| b.iter(|| run(&spec, &steps)));
}

fn over(c: &mut Criterion) {
    let hour = Frame::Range(3_600_000_000);
    let aggregate = |function, arg, name: &str| {
        let built = AggregateExprBuilder::new(function, vec![arg]).schema(schema()).alias(name).build();
        OverFunction::Aggregate(Arc::new(built.unwrap()))
    };
    let ts = || Arc::new(Column::new("ts", 2));
    let count = || aggregate(count_udaf(), lit(1i64), "count");
    let sum = || aggregate(sum_udaf(), ts(), "sum");
    let (steps, rows) = steps(std::slice::from_ref(&(40..65)));
    let mut group = c.benchmark_group("over");
    group.sample_size(10).throughput(Throughput::Elements(rows));
    for (name, function, frame) in [
        ("w3: count, range 1 h", count(), hour),
        ("sum, range 1 h", sum(), hour),
        ("sum, rows 100", sum(), Frame::Rows(100)),
        ("sum, range unbounded", sum(), Frame::RangeUnbounded),
    ] {
        let mut fields = schema().fields().to_vec();
        fields.push(Arc::new(Field::new("r", DataType::Int64, true)));
        let columns = vec![OverColumn { function, frame, filter: None }];
        let spec = OverSpec { input: schema(), keys: vec![1], time: 3, seq: None, columns, schema: Arc::new(Schema::new(fields)) };
        group.bench_function(name, |b| b.iter(|| run(&spec, &steps)));
    }
}

criterion_group!(benches, interval_join, over);
criterion_main!(benches);
