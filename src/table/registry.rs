//! The tables of an engine: made once, written by tasks, published together at a cut.
//!
//! ```text
//!  task 0 ── write … cut(7) ──▶ staged view ┐
//!  task 1 ── write … cut(7) ──▶ staged view ┤ publish(7): one Arc<Snapshot> of all tables ──▶ queries
//!  task 0 of another table ─── cut(7) ──▶ … ┘            and what is new ──▶ change feeds
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::error::{Error, Result, did_you_mean};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::state::{BlockTable, StateHandles};
use crate::table::changes::{Changes, Feed};
use crate::table::chunk::{ChunkView, KeyCodec};
use crate::table::part::Part;
use crate::table::snapshot::{Snapshot, TableSnapshot};

/// Name of the state table that carries a live table's rows over a restart.
pub(crate) const ROWS: &str = "rows";

/// What a table is declared to be.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name, case-sensitive.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Positions of the primary key's columns; none: an append table.
    pub primary_key: Vec<usize>,
    /// Rows older than the newest event time less this many microseconds may go; `None`: kept for ever.
    pub retention_micros: Option<i64>,
    /// Position of the event-time column (TIMESTAMP in milliseconds or microseconds).
    pub time_column: Option<usize>,
    /// Oldest rows go when what one writer task holds is larger than this many bytes; `None`: no cap.
    pub max_bytes: Option<usize>,
}

impl TableSpec {
    /// An append table that keeps everything.
    pub fn append(name: impl Into<String>, schema: SchemaRef) -> Self {
        TableSpec { name: name.into(), schema, primary_key: Vec::new(), retention_micros: None, time_column: None, max_bytes: None }
    }

    fn check(&self) -> Result<()> {
        let columns = self.schema.fields().len();
        if let Some(out) = self.primary_key.iter().chain(&self.time_column).find(|c| **c >= columns) {
            return Err(Error::bug(format!("table {}: column {out} of {columns}", self.name)));
        }
        if self.retention_micros.is_some() && self.time_column.is_none() {
            return Err(Error::input(format!(
                "table {}: 'retention' is counted in event time, but the table has no event-time column",
                self.name
            )));
        }
        if let Some(column) = self.time_column {
            let field = self.schema.field(column);
            if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _)) {
                return Err(Error::input(format!(
                    "table {}: event-time column '{}' is {}; expected TIMESTAMP(3) or TIMESTAMP(6)",
                    self.name,
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(())
    }
}

/// The live tables of an engine; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Every table by name. Held while publishing, so that publishes do not cross.
    tables: Mutex<BTreeMap<String, Arc<LiveTable>>>,
    /// What queries see: swapped whole, never changed in place. The lock is held for a pointer copy only.
    current: RwLock<Arc<Snapshot>>,
    /// The last published cut, for those who wait for news.
    published: watch::Sender<u64>,
    metrics: Metrics,
}

impl Tables {
    /// No tables yet; figures about them go to `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Tables { inner: Arc::new(Inner { metrics, ..Inner::default() }) }
    }

    /// Makes a table; it is visible, empty, at once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Input`]: the name is taken, retention without event time, or an event-time column that is no timestamp.
    pub fn create(&self, spec: TableSpec) -> Result<Arc<LiveTable>> {
        spec.check()?;
        let mut tables = self.inner.tables.lock();
        if tables.contains_key(&spec.name) {
            return Err(Error::input(format!("table {} exists already", spec.name)));
        }
        let table = Arc::new(LiveTable::new(spec, &self.inner.metrics)?);
        tables.insert(table.spec.name.clone(), table.clone());
        let mut current = self.inner.current.write();
        let mut shown = current.tables.clone();
        shown.insert(table.spec.name.clone(), Arc::new(table.empty_snapshot()));
        *current = Arc::new(Snapshot { epoch: current.epoch, tables: shown });
        Ok(table)
    }

    /// The table of this name.
    ///
    /// # Errors
    /// [`crate::error::Kind::Input`]: there is none; names the nearest.
    pub fn get(&self, name: &str) -> Result<Arc<LiveTable>> {
        let tables = self.inner.tables.lock();
        tables
            .get(name)
            .cloned()
            .ok_or_else(|| Error::input(format!("no live table '{name}'{}", did_you_mean(name, tables.keys().map(String::as_str)))))
    }

    /// Everything as of the last published cut.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.current.read().clone()
    }

    /// Shows what was cut up to `epoch`, in all tables at once. To be called when every table writer has passed the cut.
    pub fn publish(&self, epoch: u64) {
        let tables = self.inner.tables.lock();
        let mut shown = self.snapshot().tables.clone();
        let mut news: Vec<(Arc<LiveTable>, Arc<TableSnapshot>, Vec<RecordBatch>)> = Vec::new();
        for (name, table) in tables.iter() {
            if let Some((snapshot, fresh)) = table.advance(epoch) {
                let snapshot = Arc::new(snapshot);
                shown.insert(name.clone(), snapshot.clone());
                news.push((table.clone(), snapshot, fresh));
            }
        }
        *self.inner.current.write() = Arc::new(Snapshot { epoch, tables: shown });
        // Feeds hear of rows only after queries can see them.
        for (table, snapshot, fresh) in news {
            table.feed.send(epoch, snapshot.version, fresh);
        }
        self.inner.published.send_replace(epoch);
    }

    /// Rings whenever a cut was published; holds its epoch.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.inner.published.subscribe()
    }
}

/// What a writer has cut and nobody sees yet.
#[derive(Debug)]
struct Staged {
    epoch: u64,
    /// The task's chunks; `None` = unchanged.
    chunks: Option<Vec<ChunkView>>,
    fresh: Vec<RecordBatch>,
}

/// Rows of one writer task: shown, and staged for coming cuts.
#[derive(Debug, Default)]
struct Share {
    shown: Vec<ChunkView>,
    staged: VecDeque<Staged>,
}

#[derive(Debug, Default)]
struct Shares {
    by_task: BTreeMap<usize, Share>,
    version: u64,
}

/// One live table.
#[derive(Debug)]
pub struct LiveTable {
    spec: Arc<TableSpec>,
    codec: Option<Arc<KeyCodec>>,
    shares: Mutex<Shares>,
    /// Greatest event time written by any task, microseconds: what retention counts from.
    now: AtomicI64,
    feed: Feed,
    rows_written: Counter,
    rows: Gauge,
    bytes: Gauge,
}

impl LiveTable {
    fn new(spec: TableSpec, metrics: &Metrics) -> Result<Self> {
        let labels = [("table", spec.name.as_str())];
        Ok(LiveTable {
            codec: KeyCodec::of(&spec)?.map(Arc::new),
            shares: Mutex::default(),
            now: AtomicI64::new(i64::MIN),
            feed: Feed::default(),
            rows_written: metrics.counter("eagre_table_rows_written_total", &labels),
            rows: metrics.gauge("eagre_table_rows", &labels),
            bytes: metrics.gauge("eagre_table_bytes", &labels),
            spec: Arc::new(spec),
        })
    }

    /// What was declared.
    pub fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    /// Opens the writer of `task`, with the rows that `state` restores: they show at the next publish.
    ///
    /// Rows of one primary key must always reach the same task, the one that `state` deals them to.
    pub fn writer(self: &Arc<Self>, task: usize, state: &mut StateHandles) -> Result<TableWriter> {
        let blocks = state.table(ROWS, self.spec.schema.clone(), self.spec.primary_key.clone())?;
        let mut part = Part::new(self.spec.clone(), self.codec.clone());
        part.restore(&blocks)?;
        self.see_time(part.greatest_time());
        let staged = Staged { epoch: 0, chunks: Some(part.view().unwrap_or_default()), fresh: Vec::new() };
        self.shares.lock().by_task.entry(task).or_default().staged = VecDeque::from([staged]);
        Ok(TableWriter { table: self.clone(), task, part, blocks })
    }

    /// Forgets all writers and rows: before writers are opened anew with another number of tasks.
    pub fn reset(&self) {
        let mut shares = self.shares.lock();
        for share in shares.by_task.values_mut() {
            share.staged = VecDeque::from([Staged { epoch: 0, chunks: Some(Vec::new()), fresh: Vec::new() }]);
        }
        self.now.store(i64::MIN, Ordering::Relaxed);
    }

    /// What is appended or upserted from now on, publish by publish.
    pub fn changes(&self) -> Changes {
        self.feed.subscribe()
    }

    fn empty_snapshot(&self) -> TableSnapshot {
        TableSnapshot::new(self.spec.clone(), self.codec.clone(), 0, Vec::new())
    }

    fn see_time(&self, micros: Option<i64>) -> i64 {
        let micros = micros.unwrap_or(i64::MIN);
        self.now.fetch_max(micros, Ordering::Relaxed).max(micros)
    }

    /// Moves every task's share to its newest cut up to `epoch`; `None` when nothing changed.
    fn advance(&self, epoch: u64) -> Option<(TableSnapshot, Vec<RecordBatch>)> {
        let mut shares = self.shares.lock();
        let mut changed = false;
        let mut fresh = Vec::new();
        for share in shares.by_task.values_mut() {
            while let Some(staged) = share.staged.pop_front_if(|staged| staged.epoch <= epoch) {
                if let Some(chunks) = staged.chunks {
                    share.shown = chunks;
                    changed = true;
                }
                fresh.extend(staged.fresh);
            }
        }
        if !changed {
            return None;
        }
        shares.version += 1;
        let chunks = shares.by_task.values().flat_map(|share| share.shown.iter().cloned()).collect();
        let snapshot = TableSnapshot::new(self.spec.clone(), self.codec.clone(), shares.version, chunks);
        self.rows.set(snapshot.rows as i64);
        self.bytes.set(snapshot.bytes as i64);
        Some((snapshot, fresh))
    }
}

/// Writes one task's share of a table. Rows are seen by nobody before their cut is published.
#[derive(Debug)]
pub struct TableWriter {
    table: Arc<LiveTable>,
    task: usize,
    part: Part,
    /// Carries the rows over a restart.
    blocks: BlockTable,
}

impl TableWriter {
    /// Schema of the rows it takes.
    pub fn schema(&self) -> &SchemaRef {
        &self.table.spec.schema
    }

    /// Takes rows in the table's schema: appended, or upserted where the table has a primary key (the later row stands).
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.table.spec.schema.fields().len() {
            return Err(Error::bug(format!(
                "table {}: a batch of {} columns; expected {}",
                self.table.spec.name,
                batch.num_columns(),
                self.table.spec.schema.fields().len()
            )));
        }
        self.table.rows_written.add(batch.num_rows() as u64);
        self.part.write(batch)
    }

    /// Everything written so far belongs to cut `epoch`: it shows when that, or a later cut, is published.
    pub fn cut(&mut self, epoch: u64) -> Result<()> {
        self.settle()?;
        let mut fresh = self.part.take_fresh();
        if !self.table.feed.heard() {
            fresh.clear();
        }
        let chunks = self.part.view();
        if chunks.is_some() || !fresh.is_empty() {
            self.table.shares.lock().by_task.entry(self.task).or_default().staged.push_back(Staged { epoch, chunks, fresh });
        }
        Ok(())
    }

    /// A checkpoint: everything written so far is in the state handles when this returns. Only chunks that are new since
    /// the last checkpoint are new blocks.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.settle()?;
        self.part.checkpoint(&self.blocks);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.part.absorb()?;
        let now = self.table.see_time(self.part.greatest_time());
        self.part.tidy(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Int64Type, Schema, TimestampMillisecondType};
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

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = prop::collection::vec((0..40_u8, 0..1_000_i64), 1..60).prop_map(Step::Write);
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
                        let parts = Sharder::new(writers.len()).split(&[batch.column(0).clone()], batch.num_rows()).unwrap();
                        for (writer, part) in writers.iter_mut().zip(parts) {
                            writer.write(&arrow::compute::take_record_batch(&batch, &part).unwrap()).unwrap();
                        }
                        for (k, v) in named {
                            map.insert(k.clone(), v);
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
}
