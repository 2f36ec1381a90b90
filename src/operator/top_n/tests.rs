use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use proptest::prelude::*;

use super::{PRUNE_ROWS, TopNSpec};
use crate::operator::testing::{Step, batch, check, same_every_way, schema};
use crate::operator::{OperatorSpec as _, Output};
use crate::state::StateHandles;
use crate::time::{MICROS_PER_SECOND, Watermark};

fn input() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    schema(&[("k", DataType::Utf8View), ("v", DataType::Int64), ("s", time.clone()), ("e", time), ("$seq", DataType::Int64)])
}

fn spec(first: u64, last: u64, descending: bool) -> TopNSpec {
    let mut fields = input().fields().to_vec();
    fields.push(Arc::new(Field::new("rank", DataType::Int64, false)));
    TopNSpec {
        input: input(),
        keys: vec![0],
        window: (2, 3),
        order: vec![PhysicalSortExpr::new(Arc::new(Column::new("v", 1)), SortOptions { descending, nulls_first: false })],
        first,
        last,
        rank: true,
        seq: Some(4),
        schema: Arc::new(Schema::new(fields)),
    }
}

#[test]
fn the_first_rows_of_each_window_and_key_leave_with_their_rank_when_it_closes() {
    check(
        &spec(1, 2, true),
        &[input()],
        "
        < a 1 0 10 1
        < a 5 0 10 2
        < a 3 0 10 3
        < b 1 0 10 4
        < a 9 0 20 5
        < NULL 2 0 10 6
        mark 9
        nothing
        mark 10
        > a 5 0 10 2 1
        > a 3 0 10 3 2
        > b 1 0 10 4 1
        > NULL 2 0 10 6 1
        < a 7 0 10 7
        ! late 1
        mark end
        > a 9 0 20 5 1
        ",
    );
}

#[test]
fn ties_go_by_sequence_and_a_rank_range_may_begin_later() {
    check(
        &spec(2, 3, false),
        &[input()],
        "
        < a 1 0 10 3
        < a 1 0 10 1
        < a 1 0 10 2
        < a NULL 0 10 0
        mark 10
        > a 1 0 10 2 2
        > a 1 0 10 3 3
        ",
    );
}

#[test]
fn memory_follows_the_answer_and_not_the_input() {
    let mut state = StateHandles::empty(0, 1);
    let mut operator = spec(1, 1, true).open(&mut state).unwrap();
    let lines: Vec<String> = (0..1_000).map(|n| format!("a {n} 0 10 {n}")).collect();
    let rows = batch(&input(), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..2 * PRUNE_ROWS / 1_000 {
        operator.on_batch(0, rows.clone(), &mut Output::default()).unwrap();
    }
    operator.on_checkpoint(&mut Output::default()).unwrap();
    let held: usize = state.tables().flat_map(|(_, table)| table.blocks()).map(|(_, block)| block.rows.num_rows()).sum();
    assert!(held <= PRUNE_ROWS, "{held} rows are kept for one wanted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any order and any cut give what sorting each window gives.
    #[test]
    fn any_cut_gives_what_sorting_each_window_gives(
        events in prop::collection::vec((0..2u8, prop::option::weighted(0.9, 0..4i64), 0..3i64), 1..60),
        (first, count) in (1..3u64, 0..3u64),
        descending in any::<bool>(),
        cuts in prop::collection::vec(1..9usize, 1..6),
    ) {
        let spec = spec(first, first + count, descending);
        let mut rows = Vec::new();
        for (number, (key, value, jitter)) in events.iter().enumerate() {
            let end = (number as i64 / 10 + jitter) * 10 + 10;
            rows.push((*key, *value, end, number));
        }
        let text = |(key, value, end, number): &(u8, Option<i64>, i64, usize)| {
            format!("{key} {} {} {end} {number}", value.map_or("NULL".to_owned(), |v| v.to_string()), end - 10)
        };
        let mut steps = Vec::new();
        let (mut from, mut cuts) = (0, cuts.into_iter().cycle());
        while from < rows.len() {
            let to = rows.len().min(from + cuts.next().unwrap());
            let lines: Vec<String> = rows[from..to].iter().map(text).collect();
            steps.push(Step::Rows(0, batch(&input(), &lines.iter().map(String::as_str).collect::<Vec<_>>())));
            steps.push(Step::Mark(Watermark(to as i64 / 10 * 10 * MICROS_PER_SECOND)));
            from = to;
        }
        steps.push(Step::Mark(Watermark::MAX));
        let mut sorted = rows.clone();
        // NULLs last, ties by sequence.
        sorted.sort_by_key(|(key, value, end, number)| (*end, *key, value.is_none(), value.map(|v| if descending { -v } else { v }), *number));
        let mut expected = Vec::new();
        for group in sorted.chunk_by(|a, b| (a.2, a.0) == (b.2, b.0)) {
            for (rank, row) in (1..).zip(group).filter(|(rank, _)| (first..=first + count).contains(rank)) {
                expected.push(format!("{} {rank}", text(row)));
            }
        }
        expected.sort();
        let seen = same_every_way(&spec, &steps);
        prop_assert_eq!(seen.rows, expected);
        prop_assert!(seen.refused.is_empty());
    }
}
