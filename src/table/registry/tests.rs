//! Tables against a model, cuts, change feeds, restarts.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;

use super::*;
use crate::state::{Block, Sharder};
use crate::table::Heard;

const SECOND: i64 = 1_000_000;

fn spec(name: &str, primary_key: Vec<usize>) -> TableSpec {
    let schema = Schema::new(vec![
        Field::new("k", DataType::Utf8View, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    TableSpec { primary_key, time_column: Some(2), ..TableSpec::append(name, Arc::new(schema)) }
}

/// Rows of (key, value, event time in seconds).
fn rows(spec: &TableSpec, rows: &[(&str, i64, i64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| format!("{}-with-a-long-tail", r.0)))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.2 * 1000))),
    ];
    RecordBatch::try_new(spec.schema.clone(), columns).unwrap()
}

/// What a snapshot shows, sorted.
fn shown(snapshot: &TableSnapshot) -> Vec<(String, i64, i64)> {
    let mut all = Vec::new();
    for batch in snapshot.batches().unwrap() {
        let (k, v, t) = (
            batch.column(0).as_string_view(),
            batch.column(1).as_primitive::<Int64Type>(),
            batch.column(2).as_primitive::<TimestampMillisecondType>(),
        );
        for i in 0..batch.num_rows() {
            all.push((k.value(i).trim_end_matches("-with-a-long-tail").to_owned(), v.value(i), t.value(i) / 1000));
        }
    }
    assert_eq!(all.len(), snapshot.rows);
    all.sort();
    all
}

fn own(rows: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|r| (r.0.to_owned(), r.1, r.2)).collect()
}

/// What a checkpoint keeps of these handles, as the runtime hands it to the next start.
fn carried(states: &[StateHandles]) -> BTreeMap<String, Vec<Block>> {
    let mut kept: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for state in states {
        for (name, table) in state.tables() {
            kept.entry(name.to_owned()).or_default().extend(table.blocks().into_iter().map(|(_, block)| block));
        }
    }
    kept
}

#[test]
fn rows_show_at_the_publish_of_their_cut_and_not_before() {
    let tables = Tables::default();
    let table = tables.create(spec("t", vec![])).unwrap();
    let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
    writer.write(&rows(&table.spec, &[("a", 1, 0)])).unwrap();
    writer.cut(1).unwrap();
    writer.write(&rows(&table.spec, &[("b", 2, 0)])).unwrap();
    writer.cut(2).unwrap();
    assert_eq!(tables.snapshot().table("t").unwrap().rows, 0);
    tables.publish(1);
    let held = tables.snapshot();
    assert_eq!(shown(held.table("t").unwrap()), own(&[("a", 1, 0)]));
    tables.publish(2);
    assert_eq!(shown(tables.snapshot().table("t").unwrap()), own(&[("a", 1, 0), ("b", 2, 0)]));
    assert_eq!(shown(held.table("t").unwrap()), own(&[("a", 1, 0)]), "a held snapshot does not change");
}

#[test]
fn the_later_row_of_a_key_stands_within_and_across_cuts() {
    let tables = Tables::default();
    let table = tables.create(spec("t", vec![0])).unwrap();
    let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
    writer.write(&rows(&table.spec, &[("a", 1, 0), ("b", 1, 0), ("a", 2, 0)])).unwrap();
    writer.cut(1).unwrap();
    tables.publish(1);
    let first = tables.snapshot();
    writer.write(&rows(&table.spec, &[("b", 9, 1)])).unwrap();
    writer.cut(2).unwrap();
    tables.publish(2);
    assert_eq!(shown(first.table("t").unwrap()), own(&[("a", 2, 0), ("b", 1, 0)]));
    assert_eq!(shown(tables.snapshot().table("t").unwrap()), own(&[("a", 2, 0), ("b", 9, 1)]));
}

#[test]
fn retention_drops_old_rows_by_event_time() {
    for key in [vec![], vec![0]] {
        let tables = Tables::default();
        let table = tables.create(TableSpec { retention_micros: Some(160 * SECOND), ..spec("t", key) }).unwrap();
        let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
        for second in 0..400 {
            writer.write(&rows(&table.spec, &[(&format!("k{second}"), 0, second)])).unwrap();
            writer.cut(second as u64 + 1).unwrap();
        }
        tables.publish(400);
        let left = shown(tables.snapshot().table("t").unwrap());
        assert!(left.iter().any(|row| row.2 == 399));
        let oldest = left.iter().map(|row| row.2).min().unwrap();
        // Kept for the retention, gone at the latest two steps (an eighth of it) after.
        assert!((399 - 180..=399 - 160).contains(&oldest), "{oldest}");
    }
}

#[test]
fn a_size_cap_drops_the_oldest() {
    let tables = Tables::default();
    let table = tables.create(TableSpec { max_bytes: Some(40_000), ..spec("t", vec![]) }).unwrap();
    let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
    for i in 0..5_000 {
        writer.write(&rows(&table.spec, &[("k", i, 0)])).unwrap();
        writer.cut(i as u64 + 1).unwrap();
    }
    tables.publish(5_000);
    let snapshot = tables.snapshot();
    let table = snapshot.table("t").unwrap();
    assert!(table.bytes <= 40_000 && table.rows > 0, "{} bytes, {} rows", table.bytes, table.rows);
    assert_eq!(shown(table).last().unwrap().1, 4_999);
}

#[test]
fn a_checkpoint_pushes_only_new_chunks() {
    let tables = Tables::default();
    let table = tables.create(spec("t", vec![])).unwrap();
    let mut state = StateHandles::empty(0, 1);
    let mut writer = table.writer(0, &mut state).unwrap();
    let many: Vec<(&str, i64, i64)> = (0..10_000).map(|i| ("k", i, 0)).collect();
    writer.write(&rows(&table.spec, &many)).unwrap();
    writer.checkpoint().unwrap();
    let blocks = writer.blocks.clone();
    for (id, _) in blocks.blocks() {
        blocks.mark_written(id, "first".to_owned());
    }
    writer.write(&rows(&table.spec, &many[..10])).unwrap();
    writer.checkpoint().unwrap();
    let files: Vec<_> = blocks.blocks().into_iter().map(|(_, block)| (block.file, block.rows.num_rows())).collect();
    assert_eq!(files, vec![(Some("first".to_owned()), 10_000), (None, 10)]);
}

#[test]
fn a_listener_hears_what_each_publish_adds() {
    let tables = Tables::default();
    let table = tables.create(spec("t", vec![0])).unwrap();
    let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
    let mut changes = table.changes();
    for epoch in 1..=300 {
        writer.write(&rows(&table.spec, &[("a", 1, 0), ("a", epoch, 0)])).unwrap();
        writer.cut(epoch as u64).unwrap();
        tables.publish(epoch as u64);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let heard = runtime.block_on(changes.next()).unwrap();
    assert!(matches!(heard, Heard::Lost(44)), "{heard:?}");
    let Some(Heard::Change(change)) = runtime.block_on(changes.next()) else { panic!("nothing") };
    assert_eq!(change.epoch, 45);
    let values: Vec<i64> = change.rows.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(values, [45], "the superseded row is not told");
}

/// One step of a random run.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, i64)>),
    Cut,
    /// Stop after a checkpoint and go on with so many tasks.
    Restart(usize),
}

/// The rows with what they do: negative values are deletions, of which only the key is sure.
fn changed(rows: &RecordBatch, values: &[i64]) -> RecordBatch {
    let kinds = values.iter().map(|v| if *v < 0 { change::Kind::Delete } else { change::Kind::UpdateAfter } as i8);
    let known = values.iter().map(|v| (*v >= 0).then_some(*v));
    let fields: Vec<_> = rows.schema().fields().iter().cloned().chain([change::field()]).collect();
    let columns: Vec<ArrayRef> = vec![
        rows.column(0).clone(),
        Arc::new(known.collect::<Int64Array>()),
        rows.column(2).clone(),
        Arc::new(kinds.collect::<arrow::array::Int8Array>()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn a_listener_hears_what_was_deleted_as_it_was() {
    let tables = Tables::default();
    let table = tables.create(spec("t", vec![0])).unwrap();
    let mut writer = table.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
    let mut changes = table.changes();
    writer.write(&rows(&table.spec, &[("a", 1, 0), ("b", 2, 0)])).unwrap();
    writer.cut(1).unwrap();
    // `c` comes and goes between two cuts: nobody hears of it. Of a key that is not there nothing is told either.
    let batch = rows(&table.spec, &[("a", 0, 0), ("c", 5, 0), ("c", 0, 0), ("d", 0, 0), ("b", 7, 0)]);
    writer.write(&changed(&batch, &[-1, 5, -1, -1, 7])).unwrap();
    writer.cut(2).unwrap();
    tables.publish(1);
    tables.publish(2);
    assert_eq!(shown(tables.snapshot().table("t").unwrap()), own(&[("b", 7, 0)]));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut heard = || {
        let Some(Heard::Change(change)) = runtime.block_on(changes.next()) else { panic!("nothing") };
        let values = |batches: &[RecordBatch]| -> Vec<i64> {
            batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect()
        };
        (values(&change.rows), values(&change.deleted))
    };
    assert_eq!((heard(), heard()), ((vec![1, 2], vec![]), (vec![7], vec![1])));
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // In a table by key a negative value stands for a deletion.
    let write = prop::collection::vec((0..40_u8, -400..1_000_i64), 1..60).prop_map(Step::Write);
    prop::collection::vec(prop_oneof![6 => write, 3 => Just(Step::Cut), 1 => (1..4_usize).prop_map(Step::Restart)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the batches, cuts, compactions, stops and numbers of tasks: the table is the map of last values (or the bag of all).
    #[test]
    fn a_table_is_the_sum_of_its_writes(steps in steps(), upsert in any::<bool>()) {
        let spec = spec("t", if upsert { vec![0] } else { vec![] });
        let mut map: BTreeMap<String, i64> = BTreeMap::new();
        let mut bag: Vec<(String, i64, i64)> = Vec::new();
        let open = |tasks: usize, kept: BTreeMap<String, Vec<Block>>| {
            let tables = Tables::default();
            let table = tables.create(spec.clone()).unwrap();
            let mut states: Vec<_> = (0..tasks).map(|t| StateHandles::restoring(t, tasks, kept.clone())).collect();
            let writers: Vec<_> = states.iter_mut().enumerate().map(|(t, s)| table.writer(t, s).unwrap()).collect();
            (tables, states, writers)
        };
        let (mut tables, mut states, mut writers) = open(2, BTreeMap::new());
        let mut epoch = 0;
        for step in steps.iter().chain([&Step::Cut]) {
            match step {
                Step::Write(written) => {
                    let named: Vec<(String, i64)> = written.iter().map(|(k, v)| (format!("k{k}"), *v)).collect();
                    let batch = rows(&spec, &named.iter().map(|(k, v)| (k.as_str(), *v, 0)).collect::<Vec<_>>());
                    let batch = if upsert { changed(&batch, &named.iter().map(|(_, v)| *v).collect::<Vec<_>>()) } else { batch };
                    let parts = Sharder::new(writers.len()).split(&[batch.column(0).clone()], batch.num_rows()).unwrap();
                    for (writer, part) in writers.iter_mut().zip(parts) {
                        writer.write(&arrow::compute::take_record_batch(&batch, &part).unwrap()).unwrap();
                    }
                    for (k, v) in named {
                        if v < 0 {
                            map.remove(&k);
                        } else {
                            map.insert(k.clone(), v);
                        }
                        bag.push((k, v, 0));
                    }
                }
                Step::Cut => {
                    epoch += 1;
                    for writer in &mut writers {
                        writer.cut(epoch).unwrap();
                    }
                    tables.publish(epoch);
                    let snapshot = tables.snapshot();
                    let mut want: Vec<_> = if upsert { map.iter().map(|(k, v)| (k.clone(), *v, 0)).collect() } else { bag.clone() };
                    want.sort();
                    prop_assert_eq!(shown(snapshot.table("t").unwrap()), want);
                    if upsert {
                        for (k, v) in &map {
                            let key: ArrayRef = Arc::new(StringViewArray::from_iter_values([format!("{k}-with-a-long-tail")]));
                            let found = snapshot.table("t").unwrap().lookup(&[key]).unwrap();
                            prop_assert_eq!(found.column(1).as_primitive::<Int64Type>().values().to_vec(), vec![*v]);
                        }
                        let gone: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..40).map(|k| format!("k{k}")).filter(|k| !map.contains_key(k)).map(|k| format!("{k}-with-a-long-tail"))));
                        prop_assert_eq!(snapshot.table("t").unwrap().lookup(&[gone]).unwrap().num_rows(), 0);
                    }
                }
                Step::Restart(tasks) => {
                    for writer in &mut writers {
                        writer.checkpoint().unwrap();
                    }
                    (tables, states, writers) = open(*tasks, carried(&states));
                }
            }
        }
    }
}

#[test]
fn readers_see_all_tables_at_the_same_cut_while_writers_write() {
    let tables = Tables::default();
    let (a, b) = (tables.create(spec("a", vec![0])).unwrap(), tables.create(spec("b", vec![])).unwrap());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (reader_tables, reader_done) = (tables.clone(), done.clone());
        let reader = scope.spawn(move || {
            let mut seen = 0;
            while !reader_done.load(Ordering::Relaxed) {
                let snapshot = reader_tables.snapshot();
                // Each cut sets the one row of `a` to the number of rows in `b`.
                let count = shown(snapshot.table("a").unwrap()).first().map_or(0, |row| row.1);
                assert_eq!(count, snapshot.table("b").unwrap().rows as i64);
                seen = seen.max(count);
            }
            seen
        });
        let mut to_a = a.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
        let mut to_b = b.writer(0, &mut StateHandles::empty(0, 1)).unwrap();
        for epoch in 1..=400_i64 {
            to_b.write(&rows(&b.spec, &[("x", epoch, 0)])).unwrap();
            to_b.cut(epoch as u64).unwrap();
            to_a.write(&rows(&a.spec, &[("count", epoch, 0)])).unwrap();
            to_a.cut(epoch as u64).unwrap();
            tables.publish(epoch as u64);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(tables.snapshot().table("b").unwrap().rows, 400);
}

#[test]
fn a_wrong_declaration_is_refused_by_name() {
    let tables = Tables::default();
    let refused = |spec: TableSpec| tables.create(spec).unwrap_err().to_string();
    assert!(refused(TableSpec { time_column: None, retention_micros: Some(1), ..spec("t", vec![]) }).contains("no event-time column"));
    assert!(refused(TableSpec { time_column: Some(1), ..spec("t", vec![]) }).contains("column 'v' is Int64"));
    tables.create(spec("orders", vec![])).unwrap();
    assert!(refused(spec("orders", vec![])).contains("exists already"));
    assert!(tables.get("order").unwrap_err().to_string().contains("did you mean 'orders'"));
}
