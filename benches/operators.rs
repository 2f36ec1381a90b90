//! Throughput of the window operators on one core: `cargo bench --bench operators`.
//!
//! Rows of (event time, customer, amount): 10,000 customers (of hours and days by the second, whose results are many, 10)
//! with names longer than a view holds, 2,000 events a second of
//! event time, batches of 8192 rows, a watermark 5 s behind after each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{col, lit};
use eagre::operator::session::SessionAggregateSpec;
use eagre::operator::window_aggregate::{Phase, WindowAggregateSpec};
use eagre::operator::windowing::Windowing;
use eagre::operator::{OperatorSpec, Output};
use eagre::state::StateHandles;
use eagre::time::{Watermark, WindowKind};

const SECOND: i64 = 1_000_000;
const ROWS: usize = 8192;
const BATCHES: usize = 64;
const EVENTS_PER_SECOND: i64 = 2_000;
const CUSTOMERS: u64 = 10_000;

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("customer", DataType::Utf8View, true),
        Field::new("amount", DataType::Float64, true),
    ]))
}

/// The rows, with the watermark after each batch.
fn batches(customers: u64) -> Vec<(RecordBatch, Watermark)> {
    let mut random = 42_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let batch = |number: usize| {
        let time = |row: usize| (number * ROWS + row) as i64 * SECOND / EVENTS_PER_SECOND;
        let times = TimestampMicrosecondArray::from_iter_values((0..ROWS).map(|row| time(row) - (next() % 3_000_000) as i64));
        let customers = StringViewArray::from_iter_values((0..ROWS).map(|_| format!("customer-{:08}", next() % customers)));
        let amounts = Float64Array::from_iter_values((0..ROWS).map(|_| (next() % 10_000) as f64 / 100.0));
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(customers), Arc::new(amounts)];
        (RecordBatch::try_new(input(), columns).unwrap(), Watermark(time(ROWS) - 5 * SECOND))
    };
    (0..BATCHES).map(batch).collect()
}

fn aggregates() -> Vec<Arc<AggregateFunctionExpr>> {
    let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1_i64)]).schema(input()).alias("count");
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("amount", &input()).unwrap()]).schema(input()).alias("sum");
    vec![Arc::new(count.build().unwrap()), Arc::new(sum.build().unwrap())]
}

fn result() -> SchemaRef {
    let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false);
    let fields = vec![Field::new("customer", DataType::Utf8View, true), Field::new("count", DataType::Int64, true)];
    let more = vec![Field::new("sum", DataType::Float64, true), time("window_start"), time("window_end"), time("window_time")];
    Arc::new(Schema::new(fields.into_iter().chain(more).collect::<Vec<_>>()))
}

fn windows(kind: WindowKind, phase: Phase) -> WindowAggregateSpec {
    let key = (col("customer", &input()).unwrap(), Arc::new(input().field(1).clone()));
    WindowAggregateSpec {
        input: input(),
        windowing: Windowing::Time { time: 0, kind },
        keys: vec![key],
        grouping_sets: None,
        aggregates: aggregates(),
        filters: vec![None, None],
        seq: None,
        phase,
        schema: result(),
    }
}

fn run(spec: &dyn OperatorSpec, batches: &[(RecordBatch, Watermark)]) -> usize {
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    let mut rows = 0;
    for (batch, mark) in batches {
        operator.on_batch(0, batch.clone(), &mut out).unwrap();
        operator.on_watermark(*mark, &mut out).unwrap();
        rows += out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    operator.on_watermark(Watermark::MAX, &mut out).unwrap();
    assert!(out.take_refused().is_empty(), "no row of this input is late");
    rows + out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>()
}

fn operators(c: &mut Criterion) {
    let few = batches(10);
    let batches = batches(CUSTOMERS);
    let mut group = c.benchmark_group("count and sum by customer");
    group.throughput(Throughput::Elements((ROWS * BATCHES) as u64)).sample_size(10);
    let minute = WindowKind::Tumble { size: 60 * SECOND, offset: 0 };
    let hop = |size: i64, slide: i64| WindowKind::Hop { size: size * SECOND, slide: slide * SECOND, offset: 0 };
    let cases = [
        ("tumble 1 min", windows(minute, Phase::Single)),
        ("tumble 1 min, pre-aggregation", windows(minute, Phase::Partial)),
        ("hop 10 s every 2 s", windows(hop(10, 2), Phase::Single)),
        ("hop 60 s every 1 s", windows(hop(60, 1), Phase::Single)),
    ];
    for (name, spec) in &cases {
        group.bench_function(*name, |b| b.iter(|| run(spec, &batches)));
    }
    let session = SessionAggregateSpec {
        input: input(),
        time: 0,
        gap_micros: 10 * SECOND,
        keys: vec![1],
        aggregates: aggregates(),
        filters: vec![None, None],
        seq: None,
        schema: result(),
    };
    group.bench_function("session gap 10 s", |b| b.iter(|| run(&session, &batches)));
    group.bench_function("hop 1 h every 1 s", |b| b.iter(|| run(&windows(hop(3_600, 1), Phase::Single), &few)));
    group.bench_function("hop 1 day every 1 s", |b| b.iter(|| run(&windows(hop(86_400, 1), Phase::Single), &few)));
    group.finish();
}

criterion_group!(benches, operators);
criterion_main!(benches);
