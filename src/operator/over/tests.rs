use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as agg;
use datafusion::logical_expr::{AggregateUDF, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, binary, lit};
use proptest::prelude::*;

use super::{OverColumn, OverFunction, OverSpec};
use crate::operator::OperatorSpec as _;
use crate::operator::frame::{Frame, WhichRow};
use crate::operator::testing::{Step, WAYS, batch, check, rows_of, run as run_steps, schema};
use crate::time::{MICROS_PER_SECOND, Watermark};

const SECOND: i64 = MICROS_PER_SECOND;

fn input() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    schema(&[
        ("k", DataType::Utf8View),
        ("t", time),
        ("n", DataType::Int64),
        ("x", DataType::Float64),
        ("s", DataType::Utf8View),
        ("$seq", DataType::Int64),
    ])
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &input()).unwrap())
}

/// `n > 0`.
fn above_zero() -> Arc<dyn PhysicalExpr> {
    binary(column("n"), Operator::Gt, lit(0i64), &input()).unwrap()
}

fn aggregate(function: Arc<AggregateUDF>, arg: Arc<dyn PhysicalExpr>) -> OverFunction {
    let name = function.name().to_owned();
    OverFunction::Aggregate(Arc::new(AggregateExprBuilder::new(function, vec![arg]).schema(input()).alias(name).build().unwrap()))
}

fn spec(functions: Vec<(OverFunction, Frame)>) -> OverSpec {
    let mut fields: Vec<Arc<Field>> = input().fields().to_vec();
    for (at, (function, _)) in functions.iter().enumerate() {
        let data_type = match function {
            OverFunction::Aggregate(aggregate) => aggregate.field().data_type().clone(),
            OverFunction::RowNumber | OverFunction::Rank { .. } => DataType::Int64,
            OverFunction::Nth { value, .. } => value.data_type(&input()).unwrap(),
            OverFunction::Lag { default, .. } => default.data_type(),
        };
        fields.push(Arc::new(Field::new(format!("r{at}"), data_type, true)));
    }
    let columns = functions.into_iter().map(|(function, frame)| OverColumn { function, frame, filter: None }).collect();
    OverSpec { input: input(), keys: vec![0], time: 1, seq: Some(5), columns, schema: Arc::new(Schema::new(fields)) }
}

fn run(functions: Vec<(OverFunction, Frame)>, text: &str) {
    check(&spec(functions), &[input()], text);
}

fn count() -> OverFunction {
    aggregate(agg::count::count_udaf(), lit(1i64))
}

#[test]
fn a_range_reaches_back_exactly_its_length_and_rows_of_one_time_see_one_result() {
    run(
        vec![(count(), Frame::Range(10 * SECOND))],
        "
        < a 0 1 1 x 1
        < a 10 1 1 x 2
        < a 10 1 1 x 3
        < a 20.001 1 1 x 4
        mark 10
        > a 0 1 1.0 x 1 1
        mark 10.001
        > a 10 1 1.0 x 2 3
        > a 10 1 1.0 x 3 3
        < b 20.001 1 1 x 5
        mark end
        > a 20.001 1 1.0 x 4 1
        > b 20.001 1 1.0 x 5 1
        ",
    );
}

#[test]
fn rows_frames_go_row_by_row_and_ties_by_sequence() {
    run(
        vec![(aggregate(agg::sum::sum_udaf(), column("n")), Frame::Rows(1)), (OverFunction::RowNumber, Frame::RowsUnbounded)],
        "
        < a 5 4 1 x 12
        < a 5 2 1 x 11
        < a 1 1 1 x 10
        mark 5.001
        > a 1 1 1.0 x 10 1 1
        > a 5 2 1.0 x 11 3 2
        > a 5 4 1.0 x 12 6 3
        ",
    );
}

#[test]
fn frames_that_only_grow_see_ties_by_range_and_not_by_rows() {
    run(
        vec![
            (aggregate(agg::sum::sum_udaf(), column("n")), Frame::RangeUnbounded),
            (aggregate(agg::sum::sum_udaf(), column("n")), Frame::RowsUnbounded),
            (aggregate(agg::array_agg::array_agg_udaf(), column("n")), Frame::RangeUnbounded),
        ],
        "
        < a 1 1 1 x 1
        mark 2
        > a 1 1 1.0 x 1 1 1 [1]
        < a 5 2 1 x 2
        < a 5 4 1 x 3
        mark 6
        > a 5 2 1.0 x 2 7 3 [1,2,4]
        > a 5 4 1.0 x 3 7 7 [1,2,4]
        ",
    );
}

#[test]
fn lag_looks_back_by_row_within_the_key_and_over_any_number_of_batches() {
    let lag = |offset| OverFunction::Lag { value: column("n"), offset, default: ScalarValue::Int64(Some(-1)) };
    let mut text = "
        < a 1 1 1 x 1
        < b 1 2 1 x 2
        < a 1 NULL 1 x 3
        mark 2
        > a 1 1 1.0 x 1 -1 1
        > b 1 2 1.0 x 2 -1 2
        > a 1 NULL 1.0 x 3 -1 NULL
        "
    .to_owned();
    let mut last = ["1".to_owned(), "NULL".to_owned()];
    for n in 2..80 {
        text.push_str(&format!("< a {n} {n} 1 x 0\nmark {}\n> a {n} {n} 1.0 x 0 {} {n}\n", n + 1, last[0]));
        last = [last[1].clone(), n.to_string()];
    }
    run(vec![(lag(2), Frame::RowsUnbounded), (lag(0), Frame::RowsUnbounded)], &text);
}

#[test]
fn first_last_and_nth_are_of_the_frame() {
    let nth = |which, ignore_nulls| OverFunction::Nth { value: column("n"), which, ignore_nulls };
    run(
        vec![
            (nth(WhichRow::FromFirst(1), true), Frame::Rows(1)),
            (nth(WhichRow::FromFirst(1), false), Frame::Rows(1)),
            (nth(WhichRow::Last, true), Frame::Range(SECOND)),
            (nth(WhichRow::FromFirst(2), true), Frame::RowsUnbounded),
            (nth(WhichRow::Last, false), Frame::RangeUnbounded),
        ],
        "
        < a 1 1 1 x 1
        < a 2 NULL 1 x 2
        < a 3 NULL 1 x 3
        < a 4 4 1 x 4
        < a 4 5 1 x 5
        mark 4
        > a 1 1 1.0 x 1 1 1 1 NULL 1
        > a 2 NULL 1.0 x 2 1 1 1 NULL NULL
        > a 3 NULL 1.0 x 3 NULL NULL NULL NULL NULL
        mark 5
        > a 4 4 1.0 x 4 4 NULL 5 4 5
        > a 4 5 1.0 x 5 4 4 5 4 5
        < a 5 NULL 1 x 6
        mark end
        > a 5 NULL 1.0 x 6 5 5 5 4 NULL
        ",
    );
}

#[test]
fn rows_of_one_time_share_a_rank() {
    run(
        vec![(OverFunction::Rank { dense: false }, Frame::RowsUnbounded), (OverFunction::Rank { dense: true }, Frame::RowsUnbounded)],
        "
        < a 1 1 1 x 1
        < a 2 1 1 x 2
        < a 2 1 1 x 3
        < b 2 1 1 x 4
        mark 3
        > a 1 1 1.0 x 1 1 1
        > a 2 1 1.0 x 2 2 2
        > a 2 1 1.0 x 3 2 2
        > b 2 1 1.0 x 4 1 1
        < a 3 1 1 x 5
        mark end
        > a 3 1 1.0 x 5 4 3
        ",
    );
}

#[test]
fn late_rows_and_rows_without_time_are_refused() {
    run(
        vec![(count(), Frame::Range(SECOND))],
        "
        < a 4 1 1 x 1
        mark 4
        < a 3.999 1 1 x 2
        < a 4 1 1 x 3
        < a NULL 1 1 x 4
        ! late 1
        ! null_event_time 1
        mark 5
        > a 4 1 1.0 x 1 2
        > a 4 1 1.0 x 3 2
        ",
    );
}

#[test]
fn null_is_a_partition_and_no_value() {
    run(
        vec![
            (aggregate(agg::count::count_udaf(), column("n")), Frame::Range(SECOND)),
            (aggregate(agg::sum::sum_udaf(), column("n")), Frame::Range(SECOND)),
            (aggregate(agg::min_max::max_udaf(), column("s")), Frame::Range(SECOND)),
        ],
        "
        < NULL 1 NULL 1 NULL 1
        mark 1.5
        > NULL 1 NULL 1.0 NULL 1 0 NULL NULL
        < NULL 2 5 1 b 2
        mark end
        > NULL 2 5 1.0 b 2 1 5 b
        ",
    );
}

#[test]
fn a_sum_of_doubles_does_not_drift() {
    let mut text = String::new();
    for (at, x) in [1e16, 1.0, 1.0, 3.0].iter().enumerate() {
        text.push_str(&format!("< a {at} 0 {x} x {at}\n"));
    }
    text.push_str("mark 2.5\n> a 0 0 1e16 x 0 1e16\n> a 1 0 1.0 x 1 1e16\n> a 2 0 1.0 x 2 2.0\nmark end\n> a 3 0 3.0 x 3 4.0\n");
    run(vec![(aggregate(agg::sum::sum_udaf(), column("x")), Frame::Range(SECOND))], &text);
}

#[test]
fn what_is_slow_says_so() {
    let text = |function, frame| spec(vec![(function, frame)]).describe();
    let slow = text(aggregate(agg::first_last::first_value_udaf(), column("n")), Frame::Range(SECOND));
    assert_eq!(slow, "first_value over the last 1 s (slow: computed anew for each row) by [k] order t");
    for function in [count(), aggregate(agg::average::avg_udaf(), column("x")), aggregate(agg::median::median_udaf(), column("x"))] {
        let description = text(function, Frame::Rows(3));
        assert!(!description.contains("slow"), "{description}");
    }
}

/// Every function that the property below compares.
fn functions() -> Vec<OverFunction> {
    let nth = |name: &str, which, ignore_nulls| OverFunction::Nth { value: column(name), which, ignore_nulls };
    let distinct = |function: Arc<AggregateUDF>, name: &str| {
        let built = AggregateExprBuilder::new(function, vec![column(name)]).schema(input()).alias(name).with_distinct(true).build();
        OverFunction::Aggregate(Arc::new(built.unwrap()))
    };
    vec![
        OverFunction::RowNumber,
        OverFunction::Rank { dense: false },
        OverFunction::Rank { dense: true },
        OverFunction::Lag { value: column("s"), offset: 2, default: ScalarValue::Utf8View(Some("none".into())) },
        nth("n", WhichRow::FromFirst(1), true),
        nth("s", WhichRow::FromFirst(1), false),
        nth("s", WhichRow::FromFirst(2), true),
        nth("n", WhichRow::FromFirst(3), false),
        nth("s", WhichRow::Last, true),
        nth("n", WhichRow::Last, false),
        distinct(agg::count::count_udaf(), "s"),
        distinct(agg::sum::sum_udaf(), "n"),
        count(),
        aggregate(agg::count::count_udaf(), column("n")),
        aggregate(agg::sum::sum_udaf(), column("n")),
        aggregate(agg::sum::sum_udaf(), column("x")),
        aggregate(agg::average::avg_udaf(), column("x")),
        aggregate(agg::min_max::min_udaf(), column("n")),
        aggregate(agg::min_max::max_udaf(), column("x")),
        aggregate(agg::min_max::min_udaf(), column("s")),
        aggregate(agg::first_last::first_value_udaf(), column("n")),
        aggregate(agg::first_last::last_value_udaf(), column("n")),
        aggregate(agg::median::median_udaf(), column("x")),
        aggregate(agg::array_agg::array_agg_udaf(), column("n")),
    ]
}

/// The value of an aggregate over the rows of a frame, all given anew.
fn over_frame(aggregate: &AggregateFunctionExpr, rows: &RecordBatch, frame: &[usize]) -> ArrayRef {
    let indices = UInt32Array::from_iter_values(frame.iter().map(|row| *row as u32));
    let args: Vec<ArrayRef> = aggregate
        .expressions()
        .iter()
        .map(|arg| take(&arg.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap(), &indices, None).unwrap())
        .collect();
    let mut accumulator = aggregate.create_accumulator().unwrap();
    accumulator.update_batch(&args).unwrap();
    accumulator.evaluate().unwrap().to_array().unwrap()
}

fn expected(spec: &OverSpec, rows: &RecordBatch, times: &[i64]) -> Vec<String> {
    let keys = rows.column(0).as_string_view();
    let key = |row: usize| keys.is_valid(row).then(|| keys.value(row));
    let mut texts = rows_of(rows);
    for column in &spec.columns {
        let passes = column.filter.as_ref().map(|filter| filter.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap());
        for row in 0..rows.num_rows() {
            // In event-time order; the sequence is the row number.
            let mut order: Vec<usize> = (0..rows.num_rows()).filter(|other| key(*other) == key(row)).collect();
            order.sort_by_key(|other| (times[*other], *other));
            let at = order.iter().position(|other| *other == row).unwrap();
            let until_ties = order.iter().filter(|other| times[**other] <= times[row]).count();
            let frame: Vec<usize> = match column.frame {
                Frame::RangeUnbounded => order[..until_ties].to_vec(),
                Frame::Range(range) => {
                    order[..until_ties].iter().copied().filter(|other| times[*other] >= times[row] - range / SECOND).collect()
                }
                Frame::RowsUnbounded => order[..=at].to_vec(),
                Frame::Rows(before) => order[at.saturating_sub(before as usize)..=at].to_vec(),
            };
            let value =
                |of: &Arc<dyn PhysicalExpr>, row: usize| of.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap().slice(row, 1);
            let text = match &column.function {
                OverFunction::Aggregate(aggregate) => {
                    let passing = |row: &usize| passes.as_ref().is_none_or(|p| p.as_boolean().is_valid(*row) && p.as_boolean().value(*row));
                    let frame: Vec<usize> = frame.into_iter().filter(passing).collect();
                    rounded(&over_frame(aggregate, rows, &frame))
                }
                OverFunction::RowNumber => (at + 1).to_string(),
                OverFunction::Rank { dense } => {
                    let mut before: Vec<i64> = order.iter().map(|other| times[*other]).filter(|ts| *ts < times[row]).collect();
                    if *dense {
                        before.dedup();
                    }
                    (before.len() + 1).to_string()
                }
                OverFunction::Lag { value: of, offset, default } => match at.checked_sub(*offset as usize) {
                    Some(earlier) => rounded(&value(of, order[earlier])),
                    None => default.to_string(),
                },
                OverFunction::Nth { value: of, which, ignore_nulls } => {
                    let counted: Vec<usize> = frame.iter().copied().filter(|row| !ignore_nulls || value(of, *row).is_valid(0)).collect();
                    let found = match which {
                        WhichRow::Last => counted.last(),
                        WhichRow::FromFirst(n) => counted.get(*n as usize - 1),
                    };
                    found.map_or("NULL".to_owned(), |row| rounded(&value(of, *row)))
                }
            };
            texts[row].push_str(&format!(" {text}"));
        }
    }
    texts.sort();
    texts
}

/// A single value as text, doubles rounded to nine digits.
fn rounded(value: &ArrayRef) -> String {
    if let Some(doubles) = value.as_primitive_opt::<Float64Type>().filter(|doubles| doubles.is_valid(0)) {
        return format!("{:.8e}", doubles.value(0));
    }
    let schema = schema(&[("v", value.data_type().clone())]);
    rows_of(&RecordBatch::try_new(schema, vec![value.clone()]).unwrap()).remove(0)
}

/// Rounds the doubles among the results, so that they compare.
fn with_rounded_results(spec: &OverSpec, row: &str) -> String {
    let first_result = input().fields().len();
    let cells = row.split(' ').enumerate().map(|(at, cell)| match spec.schema.field(at).data_type() {
        DataType::Float64 if at >= first_result && cell != "NULL" => format!("{:.8e}", cell.parse::<f64>().unwrap()),
        _ => cell.to_owned(),
    });
    cells.collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Rows out of order by less than the watermark's delay, cut into batches anyhow, restored anywhere: every result is
    /// what the aggregate gives over the rows of the frame alone. (Doubles are quarters: their sums are exact in any order.)
    #[test]
    fn any_order_and_any_cut_give_what_each_frame_gives_alone(
        events in prop::collection::vec(
            (prop::option::weighted(0.9, 0..3u8), 0..6i64, prop::option::weighted(0.8, -9..9i64), prop::option::weighted(0.8, (-999..999i32).prop_map(|quarters| f64::from(quarters) / 4.0)), prop::option::weighted(0.8, 0..5u8)),
            1..40,
        ),
        frames in prop::collection::vec((0..functions().len(), 0..4usize, 0..6i64, prop::bool::ANY), 1..5),
        cuts in prop::collection::vec(1..9usize, 1..6),
    ) {
        let filters: Vec<bool> = frames.iter().map(|(.., filtered)| *filtered).collect();
        let columns = frames.into_iter().map(|(function, kind, size, _)| {
            let frame = [Frame::Range(size * SECOND), Frame::Rows(size as u64), Frame::RangeUnbounded, Frame::RowsUnbounded][kind];
            (functions().swap_remove(function), frame)
        });
        let mut spec = spec(columns.collect());
        for (column, filtered) in spec.columns.iter_mut().zip(filters) {
            if filtered && let OverFunction::Aggregate(_) = column.function {
                column.filter = Some(above_zero());
            }
        }
        let text = |v: Option<String>| v.unwrap_or("NULL".into());
        let mut lines = Vec::new();
        let mut times = Vec::new();
        for (number, (key, jitter, n, x, s)) in events.iter().enumerate() {
            times.push((number as i64 + jitter) / 2);
            let (key, n, x, s) = (key.map(|v| v.to_string()), n.map(|v| v.to_string()), x.map(|v| v.to_string()), s.map(|v| format!("a-text-{v}-longer-than-a-view")));
            lines.push(format!("{} {} {} {} {} {number}", text(key), times[number], text(n), text(x), text(s)));
        }
        let mut steps = Vec::new();
        let (mut from, mut cuts) = (0, cuts.into_iter().cycle());
        while from < lines.len() {
            let to = lines.len().min(from + cuts.next().unwrap());
            let part: Vec<&str> = lines[from..to].iter().map(String::as_str).collect();
            steps.push(Step::Rows(0, batch(&spec.input, &part)));
            // No later row is before half its own number.
            steps.push(Step::Mark(Watermark(to as i64 / 2 * SECOND)));
            from = to;
        }
        steps.push(Step::Mark(Watermark::MAX));
        let seen = same_rounded_every_way(&spec, &steps);
        let all: Vec<&str> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(seen, expected(&spec, &batch(&spec.input, &all), &times));
    }
}

fn same_rounded_every_way(spec: &OverSpec, steps: &[Step]) -> Vec<String> {
    let mut all = WAYS.map(|way| {
        let (_, seen) = run_steps(spec, steps, way);
        assert!(seen.refused.is_empty(), "{way:?}");
        let mut rows: Vec<String> = seen.rows.iter().map(|row| with_rounded_results(spec, row)).collect();
        rows.sort();
        (way, rows)
    });
    for (way, rows) in &all[1..] {
        assert_eq!(rows, &all[0].1, "{way:?} against whole");
    }
    std::mem::take(&mut all[0].1)
}
