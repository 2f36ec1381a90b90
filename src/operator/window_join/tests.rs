use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::JoinType;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::WindowJoinSpec;
use crate::operator::testing::{Step, batch, check, same_every_way, schema};
use crate::time::{MICROS_PER_SECOND, Watermark};

fn input(prefix: &str, unit: TimeUnit) -> SchemaRef {
    let time = DataType::Timestamp(unit, None);
    let name = |n: &str| format!("{prefix}{n}");
    let (k, v, s, e) = (name("k"), name("v"), name("s"), name("e"));
    schema(&[(&k, DataType::Utf8View), (&v, DataType::Int64), (&s, time.clone()), (&e, time)])
}

fn spec(join_type: JoinType, filtered: bool) -> WindowJoinSpec {
    // The two sides need not agree in the unit of their windows.
    let (left, right) = (input("l", TimeUnit::Millisecond), input("r", TimeUnit::Microsecond));
    let filter: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(Arc::new(Column::new("lv", 1)), Op::Lt, Arc::new(Column::new("rv", 5))));
    let fields = match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.fields().to_vec(),
        JoinType::RightSemi | JoinType::RightAnti => right.fields().to_vec(),
        _ => left.fields().iter().chain(right.fields()).cloned().collect(),
    };
    WindowJoinSpec {
        left,
        right,
        join_type,
        left_keys: vec![0],
        right_keys: vec![0],
        left_window: (2, 3),
        right_window: (2, 3),
        filter: filtered.then_some(filter),
        projection: None,
        schema: Arc::new(Schema::new(fields)),
    }
}

fn run(join_type: JoinType, filtered: bool, text: &str) {
    let spec = spec(join_type, filtered);
    check(&spec, &[spec.left.clone(), spec.right.clone()], text);
}

#[test]
fn a_window_fires_when_the_watermark_reaches_its_end() {
    run(
        JoinType::Inner,
        false,
        "
        < a 1 0 10
        << a 2 0 10
        << a 3 0 20
        << a 4 0 10
        << b 5 0 10
        mark 9.999
        nothing
        mark 10
        > a 1 0 10 a 2 0 10
        > a 1 0 10 a 4 0 10
        < a 6 10 20
        mark end
        nothing
        ",
    );
}

#[test]
fn outer_rows_are_padded_when_the_window_closes_also_with_a_null_key() {
    run(
        JoinType::Full,
        false,
        "
        < NULL 1 0 10
        << NULL 2 0 10
        < a 3 0 10
        << a 4 10 20
        mark 10
        > NULL 1 0 10 NULL NULL NULL NULL
        > NULL NULL NULL NULL NULL 2 0 10
        > a 3 0 10 NULL NULL NULL NULL
        mark 20
        > NULL NULL NULL NULL a 4 10 20
        ",
    );
}

#[test]
fn a_row_of_a_closed_window_is_refused() {
    run(JoinType::Left, false, "mark 10\n< a 1 0 10\n! late 1\n< a 2 0 11\nmark 11\n> a 2 0 11 NULL NULL NULL NULL");
}

#[test]
fn a_condition_decides_what_a_match_is() {
    run(JoinType::LeftSemi, true, "< a 1 0 10\n< a 2 0 10\n<< a 2 0 10\n<< a 2 0 10\nmark 10\n> a 1 0 10");
    run(JoinType::RightAnti, true, "< a 1 0 10\n<< a 2 0 10\n<< a 1 0 10\nmark 10\n> a 1 0 10");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Windows of different length that end together or not, any order, any cut: the pairs are those of every two rows.
    #[test]
    fn the_pairs_are_those_of_every_two_rows(
        events in prop::collection::vec((0..2usize, prop::option::weighted(0.9, 0..3u8), 0..9i64, 0..4i64, 1..4i64), 1..50),
        marks in prop::collection::vec(0..50usize, 0..6),
    ) {
        let spec = spec(JoinType::Left, false);
        let mut rows: [Vec<(Option<u8>, String, i64, i64)>; 2] = [Vec::new(), Vec::new()];
        let mut steps = Vec::new();
        for (number, (side, key, value, jitter, length)) in events.into_iter().enumerate() {
            if marks.contains(&number) {
                steps.push(Step::Mark(Watermark(number as i64 * MICROS_PER_SECOND)));
            }
            let (start, end) = (number as i64 + jitter - length + 1, number as i64 + jitter + 1);
            let text = format!("{} {value} {start} {end}", key.map_or("NULL".to_owned(), |k| k.to_string()));
            steps.push(Step::Rows(side, batch(&[spec.left.clone(), spec.right.clone()][side], &[&text])));
            rows[side].push((key, text, start, end));
        }
        steps.push(Step::Mark(Watermark::MAX));
        let mut expected = Vec::new();
        for l in &rows[0] {
            let found = rows[1].iter().filter(|r| l.0.is_some() && (l.0, l.2, l.3) == (r.0, r.2, r.3));
            let found: Vec<String> = found.map(|r| format!("{} {}", l.1, r.1)).collect();
            expected.extend(if found.is_empty() { vec![format!("{} NULL NULL NULL NULL", l.1)] } else { found });
        }
        expected.sort();
        let seen = same_every_way(&spec, &steps);
        prop_assert_eq!(seen.rows, expected);
        prop_assert!(seen.refused.is_empty());
    }
}
