use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::JoinType;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::IntervalJoinSpec;
use crate::operator::testing::{Step, batch, check, same_every_way, schema};
use crate::time::{MICROS_PER_SECOND, Watermark};

const KINDS: [JoinType; 8] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::LeftAnti,
    JoinType::RightSemi,
    JoinType::RightAnti,
];

fn input(prefix: &str) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let name = |n: &str| format!("{prefix}{n}");
    schema(&[(&name("k"), DataType::Utf8View), (&name("t"), time), (&name("v"), DataType::Int64)])
}

/// `right.t - left.t` within `[lower, upper]` seconds, and `left.v < right.v` if `filtered`.
fn spec(join_type: JoinType, lower: i64, upper: i64, filtered: bool) -> IntervalJoinSpec {
    let (left, right) = (input("l"), input("r"));
    let filter: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(Arc::new(Column::new("lv", 2)), Op::Lt, Arc::new(Column::new("rv", 5))));
    let both: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
    let fields = match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.fields().to_vec(),
        JoinType::RightSemi | JoinType::RightAnti => right.fields().to_vec(),
        _ => both,
    };
    IntervalJoinSpec {
        left,
        right,
        join_type,
        left_keys: vec![0],
        right_keys: vec![0],
        left_time: 1,
        right_time: 1,
        lower_micros: lower * MICROS_PER_SECOND,
        upper_micros: upper * MICROS_PER_SECOND,
        filter: filtered.then_some(filter),
        projection: None,
        schema: Arc::new(arrow::datatypes::Schema::new(fields)),
    }
}

fn run(spec: &IntervalJoinSpec, text: &str) {
    check(spec, &[spec.left.clone(), spec.right.clone()], text);
}

#[test]
fn both_ends_of_the_interval_are_inclusive() {
    run(
        &spec(JoinType::Inner, -5, 3, false),
        "
        < a 10 1
        << a 4.999 1
        << a 5 2
        << a 13 3
        << a 13.001 4
        << b 10 5
        > a 10 1 a 5 2
        > a 10 1 a 13 3
        ",
    );
}

#[test]
fn equal_rows_are_a_bag() {
    run(
        &spec(JoinType::Inner, 0, 0, false),
        "
        < a 1 1
        < a 1 1
        << a 1 2
        << a 1 2
        > a 1 1 a 1 2
        > a 1 1 a 1 2
        > a 1 1 a 1 2
        > a 1 1 a 1 2
        ",
    );
}

#[test]
fn an_outer_row_is_padded_once_and_not_before_its_interval_has_passed() {
    run(
        &spec(JoinType::Full, -2, 3, false),
        "
        < a 10 1
        < b 10 2
        << c 10 3
        mark 12
        nothing
        << a 12.5 4
        > a 10 1 a 12.5 4
        mark 12.001
        > NULL NULL NULL c 10 3
        mark 13
        nothing
        mark 13.001
        > b 10 2 NULL NULL NULL
        mark end
        nothing
        ",
    );
}

#[test]
fn a_null_key_matches_nothing_and_its_outer_row_is_padded() {
    run(
        &spec(JoinType::Left, 0, 0, false),
        "
        < NULL 1 1
        << NULL 1 2
        nothing
        mark 1
        nothing
        mark 1.001
        > NULL 1 1 NULL NULL NULL
        ",
    );
    run(&spec(JoinType::Inner, 0, 0, false), "< NULL 1 1\n<< NULL 1 2\nmark end\nnothing");
}

#[test]
fn an_interval_may_lie_on_one_side() {
    run(
        &spec(JoinType::LeftAnti, -9, -5, false),
        "
        < a 10 1
        < a 20 2
        << a 5 3
        nothing
        mark 15
        nothing
        mark 15.001
        > a 20 2
        ",
    );
}

#[test]
fn a_late_row_meets_what_is_still_there_and_is_settled_at_once_when_nothing_can_come() {
    run(
        &spec(JoinType::Left, 0, 5, false),
        "
        << a 12 1
        mark 12
        < a 8 2
        > a 8 2 a 12 1
        < a 6 3
        > a 6 3 NULL NULL NULL
        mark 12.001
        < a 10 4
        nothing
        mark end
        > a 10 4 NULL NULL NULL
        ",
    );
}

#[test]
fn semi_and_anti_emit_a_row_once_on_the_first_match_or_at_the_end() {
    run(&spec(JoinType::LeftSemi, -5, 5, false), "< a 10 1\n<< a 9 2\n> a 10 1\n<< a 11 3\nmark end\nnothing");
    run(&spec(JoinType::RightSemi, -5, 5, true), "< a 10 3\n<< a 9 2\n<< a 9 5\n<< a 8 5\n> a 9 5\n> a 8 5\nmark end\nnothing");
    run(&spec(JoinType::LeftAnti, -5, 5, true), "< a 10 1\n< a 10 7\n<< a 9 2\nnothing\nmark end\n> a 10 7");
}

#[test]
fn a_condition_decides_what_a_match_is() {
    run(
        &spec(JoinType::Left, -5, 5, true),
        "
        < a 10 1
        << a 10 1
        << a 10 NULL
        mark end
        > a 10 1 NULL NULL NULL
        ",
    );
}

#[test]
fn a_row_without_event_time_is_refused() {
    run(&spec(JoinType::Left, 0, 0, false), "< a NULL 1\n! null_event_time 1");
}

#[test]
fn the_watermark_is_held_back_by_the_longer_reach() {
    use crate::operator::{OperatorSpec as _, Output};
    let mut operator = spec(JoinType::Inner, -7, 3, false).open(&mut crate::state::StateHandles::empty(0, 1)).unwrap();
    let mut pass = |at| operator.on_watermark(Watermark(at), &mut Output::default()).unwrap().0;
    assert_eq!(pass(10 * MICROS_PER_SECOND), 3 * MICROS_PER_SECOND);
    assert_eq!(pass(i64::MAX), i64::MAX);
}

#[test]
fn only_projected_columns_leave_in_their_order() {
    let mut spec = spec(JoinType::Inner, 0, 0, false);
    spec.projection = Some(vec![5, 0, 5]);
    spec.schema = schema(&[("rv", DataType::Int64), ("lk", DataType::Utf8View), ("rv2", DataType::Int64)]);
    run(&spec, "< a 1 1\n<< a 1 2\n> 2 a 2");
}

type Row = (Option<u8>, i64, i64);

fn matches(left: &Row, right: &Row, lower: i64, upper: i64, filtered: bool) -> bool {
    left.0.is_some() && left.0 == right.0 && (lower..=upper).contains(&(right.1 - left.1)) && (!filtered || left.2 < right.2)
}

fn text(row: Option<&Row>) -> String {
    row.map_or("NULL NULL NULL".into(), |(k, t, v)| format!("{} {t} {v}", k.map_or("NULL".to_owned(), |k| k.to_string())))
}

/// Every pair of rows looked at.
fn brute_force(join_type: JoinType, left: &[Row], right: &[Row], is_match: impl Fn(&Row, &Row) -> bool) -> Vec<String> {
    let mut rows = Vec::new();
    let pairs = matches!(join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
    for l in left {
        let found: Vec<&Row> = right.iter().filter(|r| is_match(l, r)).collect();
        if pairs {
            rows.extend(found.iter().map(|r| format!("{} {}", text(Some(l)), text(Some(r)))));
        }
        match join_type {
            JoinType::Left | JoinType::Full if found.is_empty() => rows.push(format!("{} {}", text(Some(l)), text(None))),
            JoinType::LeftSemi if !found.is_empty() => rows.push(text(Some(l))),
            JoinType::LeftAnti if found.is_empty() => rows.push(text(Some(l))),
            _ => {}
        }
    }
    for r in right {
        let found = left.iter().any(|l| is_match(l, r));
        match join_type {
            JoinType::Right | JoinType::Full if !found => rows.push(format!("{} {}", text(None), text(Some(r)))),
            JoinType::RightSemi if found => rows.push(text(Some(r))),
            JoinType::RightAnti if !found => rows.push(text(Some(r))),
            _ => {}
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Rows out of order by less than the watermark's delay, cut into batches anyhow, restored anywhere: every join gives
    /// what looking at every pair gives.
    #[test]
    fn any_order_and_any_cut_give_what_looking_at_every_pair_gives(
        events in prop::collection::vec((0..2usize, prop::option::weighted(0.9, 0..3u8), 0..8i64, 0..4i64), 1..60),
        (lower, length) in (-12..12i64, 0..12i64),
        filtered in any::<bool>(),
        kind in 0..KINDS.len(),
        cuts in prop::collection::vec(1..9usize, 1..8),
    ) {
        let spec = spec(KINDS[kind], lower, lower + length, filtered);
        let mut rows: [Vec<Row>; 2] = [Vec::new(), Vec::new()];
        let mut steps = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut left_in_cut = cuts.next().unwrap();
        for (number, (side, key, jitter, value)) in events.into_iter().enumerate() {
            let row = (key, number as i64 + jitter, value);
            rows[side].push(row);
            let schema = [&spec.left, &spec.right][side].clone();
            let rows = batch(&schema, &[&text(Some(&row))]);
            match steps.last_mut() {
                Some(Step::Rows(input, before)) if *input == side => {
                    *before = arrow::compute::concat_batches(&schema, [&*before, &rows]).unwrap();
                }
                _ => steps.push(Step::Rows(side, rows)),
            }
            left_in_cut -= 1;
            if left_in_cut == 0 {
                // No later row is before its own number.
                steps.push(Step::Mark(Watermark((number as i64 + 1) * MICROS_PER_SECOND)));
                left_in_cut = cuts.next().unwrap();
            }
        }
        steps.push(Step::Mark(Watermark::MAX));
        let seen = same_every_way(&spec, &steps);
        let expected = brute_force(KINDS[kind], &rows[0], &rows[1], |l, r| matches(l, r, lower, lower + length, filtered));
        prop_assert_eq!(seen.rows, expected);
        prop_assert!(seen.refused.is_empty());
    }
}
