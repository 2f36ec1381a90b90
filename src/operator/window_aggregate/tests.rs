use super::*;
use crate::metrics::Reason;
use crate::operator::testing::{Seen, Step, WAYS, Way, aggregate, batch, check, run, same_every_way, schema, steps, windowed};
use crate::time::{MICROS_PER_SECOND as SECOND, Window, WindowKind};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::nth_value::nth_value_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Rows of (ts, k, v).
fn input() -> SchemaRef {
    schema(&[("ts", TIME), ("k", DataType::Utf8View), ("v", DataType::Int64)])
}

fn tumble(seconds: i64) -> WindowKind {
    WindowKind::Tumble { size: seconds * SECOND, offset: 0 }
}

fn hop(size: i64, slide: i64) -> WindowKind {
    WindowKind::Hop { size: size * SECOND, slide: slide * SECOND, offset: 0 }
}

/// The result schema follows from keys and aggregates.
fn finish(mut spec: WindowAggregateSpec) -> WindowAggregateSpec {
    let keys = spec.layout().unwrap().state_schema().fields()[..spec.key_width()].to_vec();
    let results = spec.aggregates.iter().map(|a| Arc::new(a.field().as_ref().clone().with_nullable(true)));
    spec.schema = windowed(&Schema::new(keys.into_iter().chain(results).collect::<Vec<_>>()));
    spec
}

fn spec(input: &SchemaRef, kind: WindowKind, keys: &[&str], aggregates: Vec<Arc<AggregateFunctionExpr>>) -> WindowAggregateSpec {
    let key = |name: &&str| (col(name, input).unwrap(), Arc::new(input.field_with_name(name).unwrap().clone()));
    finish(WindowAggregateSpec {
        input: input.clone(),
        windowing: Windowing::Time { time: 0, kind },
        keys: keys.iter().map(key).collect(),
        grouping_sets: None,
        filters: vec![None; aggregates.len()],
        aggregates,
        seq: None,
        phase: Phase::Single,
        schema: input.clone(),
    })
}

/// COUNT(*), SUM(v) by k.
fn count_sum(kind: WindowKind) -> WindowAggregateSpec {
    let input = input();
    let aggregates = vec![
        Arc::new(aggregate(count_udaf(), &["1"], &input).build().unwrap()),
        Arc::new(aggregate(sum_udaf(), &["v"], &input).build().unwrap()),
    ];
    spec(&input, kind, &["k"], aggregates)
}

fn with_phase(spec: &WindowAggregateSpec, phase: Phase) -> WindowAggregateSpec {
    let mut other = WindowAggregateSpec {
        input: spec.input.clone(),
        windowing: spec.windowing.clone(),
        keys: spec.keys.clone(),
        grouping_sets: spec.grouping_sets.clone(),
        aggregates: spec.aggregates.clone(),
        filters: spec.filters.clone(),
        seq: spec.seq,
        phase,
        schema: spec.schema.clone(),
    };
    if phase == Phase::Partial {
        other.schema = spec.partial_schema().unwrap();
    }
    other
}

/// Partial and Final as one operator.
#[derive(Debug)]
struct TwoPhases(WindowAggregateSpec, WindowAggregateSpec);

struct Chain(Box<dyn Operator>, Box<dyn Operator>);

impl TwoPhases {
    fn of(spec: &WindowAggregateSpec) -> Self {
        TwoPhases(with_phase(spec, Phase::Partial), with_phase(spec, Phase::Final))
    }
}

impl OperatorSpec for TwoPhases {
    fn name(&self) -> &'static str {
        "both phases"
    }
    fn describe(&self) -> String {
        self.1.describe()
    }
    fn identity(&self) -> String {
        self.1.identity()
    }
    fn schema(&self) -> &SchemaRef {
        &self.1.schema
    }
    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Anywhere
    }
    fn stateful(&self) -> bool {
        true
    }
    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Chain(self.0.open(state)?, self.1.open(state)?)))
    }
}

impl Chain {
    fn pass(&mut self, out: &mut Output) -> Result<()> {
        out.take_batches().into_iter().try_for_each(|batch| self.1.on_batch(0, batch, out))
    }
}

impl Operator for Chain {
    fn on_batch(&mut self, input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        self.0.on_batch(input, batch, out)?;
        self.pass(out)
    }
    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        let mark = self.0.on_watermark(mark, out)?;
        self.pass(out)?;
        self.1.on_watermark(mark, out)
    }
    fn on_checkpoint(&mut self, out: &mut Output) -> Result<()> {
        self.0.on_checkpoint(out)?;
        self.pass(out)?;
        self.1.on_checkpoint(out)
    }
}

/// Runs a case in one phase and in two.
fn check_both(spec: &WindowAggregateSpec, text: &str) {
    check(spec, std::slice::from_ref(&spec.input), text);
    check(&TwoPhases::of(spec), std::slice::from_ref(&spec.input), text);
}

#[test]
fn a_window_fires_when_the_watermark_reaches_its_end() {
    check_both(
        &count_sum(tumble(5)),
        "
        < 1 a 1
        < 4.999 a 2
        < 5 a 4
        < 2 NULL 8
        mark 4.999
        nothing
        < 3 b NULL
        mark 5
        > a 2 3 0 5 4.999
        > NULL 1 8 0 5 4.999
        > b 1 NULL 0 5 4.999
        mark end
        > a 1 4 5 10 9.999
        ",
    );
}

#[test]
fn a_late_row_is_dropped_from_closed_windows_and_kept_in_open_ones() {
    // Flink's window aggregate fixture: a row at 4 s after watermark 7 s.
    let text = "
        < 1 a 1
        < 6 a 2
        mark 7
        > a 1 1 0 5 4.999
        < 4 a 100
        ! late 1
        mark end
        > a 1 2 5 10 9.999
        ";
    check_both(&count_sum(tumble(5)), text);
    let text = "
        < 1 a 1
        < 6 a 2
        mark 7
        > a 1 1 -5 5 4.999
        < 4 a 100
        mark end
        ! late 1
        > a 3 103 0 10 9.999
        > a 1 2 5 15 14.999
        ";
    check_both(&count_sum(hop(10, 5)), text);
}

#[test]
fn hops_may_have_a_size_that_is_no_multiple_of_the_slide_and_floor_below_1970() {
    check_both(
        &count_sum(hop(5, 2)),
        "
        < -0.001 a 1
        < 4 a 2
        mark 1
        > a 1 1 -4 1 0.999
        mark 4
        > a 1 1 -2 3 2.999
        mark end
        > a 1 2 0 5 4.999
        > a 1 2 2 7 6.999
        > a 1 2 4 9 8.999
        ",
    );
}

#[test]
fn cumulating_windows_emit_keys_again_that_got_no_new_rows() {
    check_both(
        &count_sum(WindowKind::Cumulate { size: 6 * SECOND, step: 2 * SECOND, offset: 0 }),
        "
        < 1 a 1
        < 5 b 2
        mark 2
        > a 1 1 0 2 1.999
        mark 4
        > a 1 1 0 4 3.999
        < 3 c 1
        < 1 a 1
        mark end
        ! late 3
        > a 2 2 0 6 5.999
        > b 1 2 0 6 5.999
        > c 1 1 0 6 5.999
        ",
    );
}

#[test]
fn windows_fire_in_the_order_of_their_ends_and_rows_without_time_are_refused() {
    let spec = count_sum(hop(4, 2));
    let steps = steps(std::slice::from_ref(&spec.input), "< 5 a 1\n< 1 a 1\n< NULL a 7\nmark end");
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    for step in steps {
        match step {
            Step::Rows(input, rows) => operator.on_batch(input, rows, &mut out).unwrap(),
            Step::Mark(mark) => _ = operator.on_watermark(mark, &mut out).unwrap(),
            Step::Expect(_) => {}
        }
    }
    let rows: Vec<String> = out.take_batches().iter().flat_map(crate::operator::testing::rows_of).collect();
    assert_eq!(rows, ["a 1 1 -2 2 1.999", "a 1 1 0 4 3.999", "a 1 1 2 6 5.999", "a 1 1 4 8 7.999"]);
    let refused = out.take_refused();
    assert_eq!((refused.len(), refused[0].reason, refused[0].pairs), (1, Reason::NullTime, 1));
}

#[test]
fn without_keys_the_window_is_the_only_group() {
    let input = input();
    let sum = Arc::new(aggregate(sum_udaf(), &["v"], &input).build().unwrap());
    check_both(&spec(&input, tumble(5), &[], vec![sum]), "< 1 a 1\n< 2 b 2\n< 11 c 4\nmark end\n> 3 0 5 4.999\n> 4 10 15 14.999");
    check_both(&spec(&input, tumble(5), &[], vec![]), "< 1 a 1\n< 2 b 2\n< 11 c 4\nmark end\n> 0 5 4.999\n> 10 15 14.999");
}

#[test]
fn rows_may_bring_their_windows() {
    let input = schema(&[("k", DataType::Utf8View), ("v", DataType::Int64), ("s", TIME), ("e", TIME)]);
    let sum = Arc::new(aggregate(sum_udaf(), &["v"], &input).build().unwrap());
    let mut spec = spec(&input, tumble(1), &["k"], vec![sum]);
    spec.windowing = Windowing::Attached { start: 2, end: 3 };
    check_both(
        &spec,
        "
        < a 1 0 5
        < a 2 0 10
        < a 3 0 5
        < b 4 5 10
        < b 4 NULL 10
        ! null_event_time 1
        mark 5
        > a 4 0 5 4.999
        < b 5 0 5
        ! late 1
        < a 6 0 10
        mark 10
        > a 8 0 10 9.999
        > b 4 5 10 9.999
        ",
    );
}

#[test]
fn rows_that_are_groups_of_their_own_are_handed_on_as_they_come() {
    let input = input();
    let mut spec = count_sum(tumble(5));
    spec.filters[1] = Some(Arc::new(BinaryExpr::new(col("v", &input).unwrap(), Op::NotEq, lit(2_i64))));
    let lines = |rows: Vec<String>| batch(&input, &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let distinct = lines((0..40_000).map(|i| format!("{} key{i} {i}", i % 5)).collect());
    let repeated =
        |from: i64| lines((from..from + 50).map(|i| format!("{} {} {}", 4 + i % 9, ["a", "b", "NULL"][i as usize % 3], i % 4)).collect());
    let end = Step::Mark(Watermark::MAX);
    let steps = [Step::Rows(0, distinct), Step::Mark(Watermark(5 * SECOND)), Step::Rows(0, repeated(0)), Step::Rows(0, repeated(7)), end];
    let (_, single) = run(&spec, &steps, Way::Whole);
    assert_eq!(run(&TwoPhases::of(&spec), &steps, Way::Whole).1, single);

    let mut partial = with_phase(&spec, Phase::Partial).open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    let mut emitted = |step: &Step| {
        match step {
            Step::Rows(input, rows) => partial.on_batch(*input, rows.clone(), &mut out).unwrap(),
            Step::Mark(mark) => _ = partial.on_watermark(*mark, &mut out).unwrap(),
            Step::Expect(_) => {}
        }
        out.take_batches().iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    let late = 50 / 9 + 1;
    assert_eq!(steps.each_ref().map(&mut emitted), [0, 40_000, 50 - late, 50 - late, 0], "gathered once, then each row by itself");
}

#[test]
fn distinct_filter_and_other_types_of_aggregates() {
    let input = schema(&[
        ("ts", TIME),
        ("k", DataType::Utf8View),
        ("v", DataType::Int64),
        ("s", DataType::Utf8View),
        ("d", DataType::Decimal128(10, 2)),
        ("f", DataType::Float64),
    ]);
    let build = |udaf, argument| Arc::new(aggregate(udaf, &[argument], &input).build().unwrap());
    let distinct = |udaf, argument| Arc::new(aggregate(udaf, &[argument], &input).distinct().build().unwrap());
    let aggregates = vec![
        distinct(count_udaf(), "v"),
        distinct(count_udaf(), "s"),
        build(count_udaf(), "1"),
        build(avg_udaf(), "f"),
        build(min_udaf(), "s"),
        build(max_udaf(), "s"),
        build(sum_udaf(), "d"),
    ];
    let mut spec = spec(&input, tumble(5), &["k"], aggregates);
    spec.filters[2] = Some(Arc::new(BinaryExpr::new(col("v", &input).unwrap(), Op::Gt, lit(1_i64))));
    check_both(
        &spec,
        "
        < 1 a 1 a-rather-long-string 1.10 2
        < 2 a 2 b 2.20 4
        < 2 a 2 a-rather-long-string 3.30 NULL
        < 3 b NULL NULL NULL NULL
        mark end
        > a 2 2 2 3.0 a-rather-long-string b 6.60 0 5 4.999
        > b 0 0 0 NULL NULL NULL NULL 0 5 4.999
        ",
    );
}

#[test]
fn order_sensitive_aggregates_see_rows_by_event_time_then_sequence() {
    let input =
        schema(&[("ts", TIME), ("k", DataType::Utf8View), ("v", DataType::Int64), ("$seq", DataType::Int64), ("s", DataType::Utf8View)]);
    let build = |udaf, arguments: &[&str]| Arc::new(aggregate(udaf, arguments, &input).build().unwrap());
    let aggregates = vec![
        build(first_value_udaf(), &["v"]),
        build(last_value_udaf(), &["s"]),
        build(array_agg_udaf(), &["v"]),
        build(nth_value_udaf(), &["v", "2"]),
    ];
    let mut spec = spec(&input, hop(10, 5), &["k"], aggregates);
    spec.seq = Some(3);
    let text = "
        < 6 a 4 4 w
        < 2 a 2 2 y
        < 2 b 7 6 u
        < 2 a 1 1 x
        < 3 a 3 5 z
        mark 5
        > a 1 z [1,2,3] 2 -5 5 4.999
        > b 7 u [7] NULL -5 5 4.999
        mark end
        > a 1 w [1,2,3,4] 2 0 10 9.999
        > b 7 u [7] NULL 0 10 9.999
        > a 4 w [4] NULL 5 15 14.999
        ";
    check_both(&spec, text);
}

#[test]
fn string_agg_concatenates_in_event_time() {
    let input = input();
    let comma: Arc<dyn PhysicalExpr> = lit(",");
    let builder =
        datafusion::physical_expr::aggregate::AggregateExprBuilder::new(string_agg_udaf(), vec![col("k", &input).unwrap(), comma]);
    let concat = Arc::new(builder.schema(input.clone()).alias("s").build().unwrap());
    check_both(&spec(&input, tumble(5), &[], vec![concat]), "< 3 c 1\n< 1 a 1\n< 2 b 1\nmark end\n> a,b,c 0 5 4.999");
}

#[test]
fn grouping_sets_null_out_keys_and_number_the_sets() {
    let input = schema(&[("ts", TIME), ("k", DataType::Utf8View), ("v", DataType::Int64), ("l", DataType::Utf8View)]);
    let sum = Arc::new(aggregate(sum_udaf(), &["v"], &input).build().unwrap());
    let mut spec = spec(&input, tumble(5), &["k", "l"], vec![sum]);
    spec.grouping_sets = Some(vec![vec![false, false], vec![false, true], vec![true, true]]);
    let spec = finish(spec);
    assert_eq!(spec.distribution(0), Distribution::Single, "no key is in all sets");
    check_both(
        &spec,
        "
        < 1 a 1 x
        < 1 a 2 y
        < 1 NULL 4 x
        mark 5
        > a x 0 1 0 5 4.999
        > a y 0 2 0 5 4.999
        > NULL x 0 4 0 5 4.999
        > a NULL 1 3 0 5 4.999
        > NULL NULL 1 4 0 5 4.999
        > NULL NULL 3 7 0 5 4.999
        < 4 a 1 x
        ! late 1
        ",
    );
}

#[test]
fn the_final_phase_restores_at_any_parallelism() {
    let single = count_sum(hop(4, 2));
    let text = "
        < 1 a 1
        < 2 b 2
        < 3 c 3
        mark 2
        < 3 a 4
        < 5 d 5
        < 1 e 1
        mark 4
        < 5 a 6
        mark end
        ";
    let mut partial = with_phase(&single, Phase::Partial).open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut between = Vec::new();
    let mut out = Output::default();
    for step in steps(std::slice::from_ref(&single.input), text) {
        match &step {
            Step::Rows(input, rows) => partial.on_batch(*input, rows.clone(), &mut out).unwrap(),
            Step::Mark(mark) => _ = partial.on_watermark(*mark, &mut out).unwrap(),
            Step::Expect(_) => {}
        }
        between.extend(out.take_batches().into_iter().map(|rows| Step::Rows(0, rows)));
        if let Step::Mark(mark) = step {
            between.push(Step::Mark(mark));
        }
    }
    let expected = run(&single, &steps(std::slice::from_ref(&single.input), text), Way::Whole).1;
    assert_eq!(same_every_way(&with_phase(&single, Phase::Final), &between), expected);
    assert_eq!(expected.refused.get("late"), Some(&1));
}

#[test]
fn a_pre_aggregation_keeps_nothing_back_when_its_source_goes_idle() {
    let spec = with_phase(&count_sum(tumble(5)), Phase::Partial);
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    operator.on_batch(0, batch(&spec.input, &["7 a 1", "1 a 2", "6 b 4", "6 a 8"]), &mut out).unwrap();
    assert!(out.take_batches().is_empty());
    operator.on_watermark(Watermark(5 * SECOND), &mut out).unwrap();
    let rows = |out: &mut Output| -> Vec<String> { out.take_batches().iter().flat_map(crate::operator::testing::rows_of).collect() };
    assert_eq!(rows(&mut out), ["a 0 1 1 2"], "key, slice, rows, count, sum");
    operator.on_idle(&mut out).unwrap();
    assert_eq!(rows(&mut out), ["a 5 2 2 9", "b 5 1 1 4"]);
    operator.on_checkpoint(&mut out).unwrap();
    assert!(rows(&mut out).is_empty());
}

#[test]
fn small_windows_that_fire_together_leave_together() {
    let spec = count_sum(tumble(1));
    let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
    let mut out = Output::default();
    let rows: Vec<String> = (0..6_000).map(|second| format!("{second} k{second} 1")).collect();
    operator.on_batch(0, batch(&spec.input, &rows.iter().map(String::as_str).collect::<Vec<_>>()), &mut out).unwrap();
    operator.on_watermark(Watermark::MAX, &mut out).unwrap();
    assert_eq!(out.take_batches().iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4096, 6_000 - 4096]);
}

#[test]
fn a_fired_window_leaves_nothing_behind() {
    let spec = count_sum(hop(40, 2));
    let mut handles = StateHandles::empty(0, 1);
    let mut operator = spec.open(&mut handles).unwrap();
    let mut out = Output::default();
    for second in 0..200 {
        let row = format!("{second} a 1");
        operator.on_batch(0, batch(&spec.input, &[&row]), &mut out).unwrap();
        operator.on_watermark(Watermark(second * SECOND), &mut out).unwrap();
        operator.on_checkpoint(&mut out).unwrap();
    }
    let blocks = || handles.tables().find(|(name, _)| *name == "slices").unwrap().1.blocks().len();
    assert!((20..=60).contains(&blocks()), "{} blocks for 20 slices of two rows", blocks());
    operator.on_watermark(Watermark::MAX, &mut out).unwrap();
    assert_eq!(blocks(), 0);
}

#[test]
fn many_checkpoints_within_a_slice_are_compacted() {
    let spec = count_sum(tumble(1000));
    let mut handles = StateHandles::empty(0, 1);
    let mut operator = spec.open(&mut handles).unwrap();
    let mut out = Output::default();
    for second in 0..100 {
        operator.on_batch(0, batch(&spec.input, &[&format!("{second} a 1")]), &mut out).unwrap();
        operator.on_checkpoint(&mut out).unwrap();
        assert!(handles.tables().find(|(name, _)| *name == "slices").unwrap().1.blocks().len() <= 9);
    }
    operator.on_watermark(Watermark::MAX, &mut out).unwrap();
    let rows: Vec<String> = out.take_batches().iter().flat_map(crate::operator::testing::rows_of).collect();
    assert_eq!(rows, ["a 100 100 0 1000 999.999"]);
}

/// The plainest answer: every row into every window of it that is open, a map per window.
fn brute_force(kind: WindowKind, steps: &[(Vec<(i64, u8, i64)>, i64)]) -> Seen {
    let mut windows: BTreeMap<(Window, u8), (u64, i64)> = BTreeMap::new();
    let mut late = 0;
    let mut mark = Watermark::MIN;
    for (rows, next) in steps {
        for (second, key, value) in rows {
            for window in kind.windows_of(second * SECOND) {
                if mark.passed(window.end) {
                    late += 1;
                } else {
                    let group = windows.entry((window, *key)).or_default();
                    *group = (group.0 + 1, group.1 + value);
                }
            }
        }
        mark = mark.max(Watermark(next * SECOND));
    }
    let seconds = |micros: i64| (micros as f64 / 1e6).to_string();
    let row = |((w, key), (count, sum)): (&(Window, u8), &(u64, i64))| {
        format!("k{key} {count} {sum} {} {} {}", seconds(w.start), seconds(w.end), seconds(w.end - 1_000))
    };
    let mut rows: Vec<String> = windows.iter().map(row).collect();
    rows.sort();
    let refused = if late > 0 { BTreeMap::from([("late".to_owned(), late)]) } else { BTreeMap::new() };
    Seen { rows, refused }
}

fn kinds() -> impl Strategy<Value = WindowKind> {
    prop_oneof![
        (1..20_i64, -5..5_i64).prop_map(|(size, offset)| WindowKind::Tumble { size: size * SECOND, offset: offset * SECOND }),
        (1..30_i64, 1..30_i64, -5..5_i64).prop_map(|(a, b, offset)| WindowKind::Hop {
            size: a.max(b) * SECOND,
            slide: a.min(b) * SECOND,
            offset: offset * SECOND
        }),
        (1..4_i64, 1..14_i64, -5..5_i64).prop_map(|(step, n, offset)| WindowKind::Cumulate {
            size: step * n * SECOND,
            step: step * SECOND,
            offset: offset * SECOND
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_window_gives_the_plainest_answer_in_any_order_and_any_cut(
        kind in kinds(),
        turns in prop::collection::vec((prop::collection::vec((-40..60_i64, 0..4_u8, -9..9_i64), 0..12), -40..60_i64), 1..8),
    ) {
        let mut text = String::new();
        for (rows, mark) in &turns {
            for (second, key, value) in rows {
                text += &format!("< {second} k{key} {value}\n");
            }
            text += &format!("mark {mark}\n");
        }
        text += "mark end";
        let spec = count_sum(kind);
        let steps = steps(std::slice::from_ref(&spec.input), &text);
        // A watermark of the runtime never goes back.
        let mut highest = Watermark::MIN;
        let steps: Vec<Step> = steps.into_iter().map(|step| match step {
            Step::Mark(mark) => { highest = highest.max(mark); Step::Mark(highest) }
            other => other,
        }).collect();
        let expected = brute_force(kind, &turns);
        prop_assert_eq!(&same_every_way(&spec, &steps), &expected);
        for way in WAYS {
            prop_assert_eq!(&run(&TwoPhases::of(&spec), &steps, way).1, &expected, "two phases, {:?}", way);
        }
    }
}
