use super::*;
use crate::operator::testing::{Seen, Step, Way, aggregate, batch, check, rows_of, run, same_every_way, schema, steps, windowed};
use crate::time::MICROS_PER_SECOND as SECOND;
use arrow::datatypes::TimeUnit;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Rows of (ts, k, v).
fn input() -> SchemaRef {
    schema(&[("ts", DataType::Timestamp(TimeUnit::Millisecond, None)), ("k", DataType::Utf8View), ("v", DataType::Int64)])
}

fn aggregation(keys: &[usize], functions: Vec<Arc<AggregateFunctionExpr>>) -> SessionAggregateSpec {
    let input = input();
    let mut fields: Vec<Field> = keys.iter().map(|key| input.field(*key).clone()).collect();
    fields.extend(functions.iter().map(|f| f.field().as_ref().clone().with_nullable(true)));
    SessionAggregateSpec {
        time: 0,
        gap_micros: 5 * SECOND,
        keys: keys.to_vec(),
        filters: vec![None; functions.len()],
        aggregates: functions,
        seq: None,
        schema: windowed(&Schema::new(fields)),
        input,
    }
}

/// COUNT(*), SUM(v) by k, gap 5 s.
fn count_sum() -> SessionAggregateSpec {
    let build = |udaf, argument| Arc::new(aggregate(udaf, &[argument], &input()).build().unwrap());
    aggregation(&[1], vec![build(count_udaf(), "1"), build(sum_udaf(), "v")])
}

fn assignment() -> SessionAssignSpec {
    SessionAssignSpec { time: 0, gap_micros: 5 * SECOND, keys: vec![1], seq: None, schema: windowed(&input()) }
}

#[test]
fn rows_up_to_a_gap_apart_are_one_session() {
    check(
        &count_sum(),
        &[input()],
        "
        < 0 below 1
        < 4.999 below 2
        < 0 at 1
        < 5 at 2
        < 0 above 1
        < 5.001 above 2
        < 0 NULL 1
        mark 5
        > above 1 1 0 5 4.999
        > NULL 1 1 0 5 4.999
        mark 9.998
        nothing
        mark 9.999
        > below 2 3 0 9.999 9.998
        mark end
        > at 2 3 0 10 9.999
        > above 1 2 5.001 10.001 10
        ",
    );
}

#[test]
fn an_out_of_order_row_bridges_two_sessions() {
    check(
        &count_sum(),
        &[input()],
        "
        < 0 a 1
        < 9 a 2
        < -20 a 8
        mark -15
        > a 1 8 -20 -15 -15.001
        mark 4
        < 4.5 a 4
        mark 13.999
        nothing
        mark 14
        > a 3 7 0 14 13.999
        ",
    );
}

#[test]
fn a_late_row_counts_if_it_falls_into_an_open_session() {
    check(
        &count_sum(),
        &[input()],
        "
        < 10 a 1
        < 10 b 1
        mark 12
        < 4.999 a 100
        < 5 a 2
        < 4 a 4
        < 5 b 100
        < 3 c 100
        ! late 2
        mark 15
        > a 3 7 4 15 14.999
        > b 2 101 5 15 14.999
        ",
    );
}

#[test]
fn a_session_may_begin_where_a_closed_one_ended() {
    check(
        &count_sum(),
        &[input()],
        "
        < 0 a 1
        mark 5
        > a 1 1 0 5 4.999
        < 4 a 2
        < -2 a 100
        ! late 1
        mark 9
        > a 1 2 4 9 8.999
        ",
    );
}

#[test]
fn without_keys_there_is_one_chain_and_order_sensitive_aggregates_see_event_time() {
    let build = |udaf, argument| Arc::new(aggregate(udaf, &[argument], &input()).build().unwrap());
    check(
        &aggregation(&[], vec![build(last_value_udaf(), "k"), build(max_udaf(), "k")]),
        &[input()],
        "
        < 3 c 1
        < 1 z-longer-than-a-view 1
        < 2 b 1
        < 20 d 1
        < NULL x 1
        ! null_event_time 1
        mark end
        > c z-longer-than-a-view 1 8 7.999
        > d d 20 25 24.999
        ",
    );
}

#[test]
fn assignment_hands_on_the_rows_of_a_session_when_it_closes() {
    check(
        &assignment(),
        &[input()],
        "
        < 0 a 1
        < 7 a 2
        < 0 b 3
        mark 4
        < 3 a 4
        mark 5
        > 0 b 3 0 5 4.999
        < -5 a 9
        < -10.5 a 9
        ! late 1
        mark 12
        > -5 a 9 -5 12 11.999
        > 0 a 1 -5 12 11.999
        > 3 a 4 -5 12 11.999
        > 7 a 2 -5 12 11.999
        ",
    );
}

#[test]
fn sessions_fire_in_the_order_of_their_ends() {
    let spec = count_sum();
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    operator.on_batch(0, batch(&input(), &["9 a 1", "2 b 1", "0 a 1", "2 c 1", "1 c 1"]), &mut out).unwrap();
    operator.on_watermark(Watermark::MAX, &mut out).unwrap();
    let rows: Vec<String> = out.take_batches().iter().flat_map(rows_of).collect();
    assert_eq!(rows, ["a 1 1 0 5 4.999", "c 2 2 1 7 6.999", "b 1 1 2 7 6.999", "a 1 1 9 14 13.999"]);
}

#[test]
fn state_follows_the_open_sessions_not_the_rows() {
    for spec in [&count_sum() as &dyn OperatorSpec, &assignment()] {
        let mut handles = StateHandles::empty(0, 1);
        let mut operator = spec.open(&mut handles).unwrap();
        let mut out = Output::default();
        for second in 0..2_000 {
            // One session that never ends, and a new key every second.
            let rows = [format!("{second} k{second} 1"), format!("{second} forever 1")];
            operator.on_batch(0, batch(&input(), &[&rows[0], &rows[1]]), &mut out).unwrap();
            operator.on_watermark(Watermark((second - 1) * SECOND), &mut out).unwrap();
            operator.on_checkpoint(&mut out).unwrap();
        }
        let table = handles.tables().find(|(name, _)| *name == "sessions").unwrap().1;
        assert!(table.blocks().len() < 40, "{}: {} blocks", spec.name(), table.blocks().len());
        operator.on_watermark(Watermark::MAX, &mut out).unwrap();
        assert_eq!(table.blocks().len(), 0);
    }
}

/// The plainest answer: row by row over a list of sessions per key.
fn brute_force(turns: &[(Vec<(i64, u8, i64)>, i64)]) -> Seen {
    let gap = 5 * SECOND;
    let mut open: BTreeMap<u8, Vec<(i64, i64, u64, i64)>> = BTreeMap::new();
    let (mut fired, mut late, mut mark) = (Vec::new(), 0, i64::MIN);
    let mut close = |open: &mut BTreeMap<u8, Vec<(i64, i64, u64, i64)>>, mark: i64| {
        for (key, sessions) in open {
            for (start, end, count, sum) in sessions.extract_if(.., |session| session.1 <= mark) {
                let seconds = |micros: i64| (micros as f64 / 1e6).to_string();
                fired.push(format!("k{key} {count} {sum} {} {} {}", seconds(start), seconds(end), seconds(end - 1_000)));
            }
        }
    };
    for (rows, next) in turns {
        for (second, key, value) in rows {
            let ts = second * SECOND;
            let sessions = open.entry(*key).or_default();
            let mut merged = (ts, ts + gap, 1, *value);
            let touches = |s: &(i64, i64, u64, i64)| s.0 <= ts + gap && ts <= s.1;
            if merged.1 <= mark && !sessions.iter().any(touches) {
                late += 1;
                continue;
            }
            for s in sessions.extract_if(.., |s| touches(s)) {
                merged = (merged.0.min(s.0), merged.1.max(s.1), merged.2 + s.2, merged.3 + s.3);
            }
            sessions.push(merged);
        }
        mark = mark.max(next * SECOND);
        close(&mut open, mark);
    }
    close(&mut open, i64::MAX);
    fired.sort();
    let refused = if late > 0 { BTreeMap::from([("late".to_owned(), late)]) } else { BTreeMap::new() };
    Seen { rows: fired, refused }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sessions_give_the_plainest_answer_in_any_order_and_any_cut(
        turns in prop::collection::vec((prop::collection::vec((-30..60_i64, 0..3_u8, -9..9_i64), 0..10), -30..70_i64), 1..10),
    ) {
        let (mut text, mut highest) = (String::new(), i64::MIN);
        for (rows, mark) in &turns {
            for (second, key, value) in rows {
                text += &format!("< {second} k{key} {value}\n");
            }
            highest = highest.max(*mark);
            text += &format!("mark {highest}\n");
        }
        text += "mark end";
        let steps: Vec<Step> = steps(&[input()], &text);
        let expected = brute_force(&turns);
        prop_assert_eq!(&same_every_way(&count_sum(), &steps), &expected);
        // Assignment and aggregation agree on the sessions.
        let assigned = same_every_way(&assignment(), &steps);
        prop_assert_eq!(&assigned.refused, &expected.refused);
        let rows: u64 = run(&count_sum(), &steps, Way::Whole).1.rows.iter().map(|row| row.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum();
        prop_assert_eq!(assigned.rows.len() as u64, rows);
    }
}
