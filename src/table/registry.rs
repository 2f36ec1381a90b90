//! The tables of an engine: made once, written by tasks, published together at a cut.
//!
//! ```text
//!  task 0 ── write … cut(7) ──▶ staged view ┐
//!  task 1 ── write … cut(7) ──▶ staged view ┤ publish(7): one Arc<Snapshot> of all tables ──▶ queries
//!  task 0 of another table ─── cut(7) ──▶ … ┘            and what is new ──▶ change feeds
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::change;
use crate::error::{Error, Result, did_you_mean};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::state::{BlockTable, StateHandles};
use crate::table::changes::{Changes, Feed};
use crate::table::chunk::{ChunkView, KeyCodec};
use crate::table::part::{Fresh, Part};
use crate::table::snapshot::{Snapshot, TableSnapshot};
use crate::table::spec::TableSpec;

/// Name of the state table that carries a live table's rows over a restart.
pub(crate) const ROWS: &str = "rows";
/// Name of the state table of the keys that were deleted after the blocks which hold their rows.
const DELETED: &str = "deleted";

/// The live tables of an engine; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Every table by name. Held while publishing, so that publishes do not cross.
    tables: Mutex<BTreeMap<String, Arc<LiveTable>>>,
    /// Names that may be made again.
    handed_over: Mutex<BTreeSet<String>>,
    /// What queries see: swapped whole, never changed in place. The lock is held for a pointer copy only.
    current: RwLock<Arc<Snapshot>>,
    /// The last published cut, for those who wait for news.
    published: watch::Sender<u64>,
    metrics: Metrics,
}

impl Tables {
    /// What each table is declared to be.
    pub fn specs(&self) -> Vec<Arc<TableSpec>> {
        self.snapshot().tables.values().map(|table| table.spec.clone()).collect()
    }

    /// No tables yet; figures about them go to `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Tables { inner: Arc::new(Inner { metrics, ..Inner::default() }) }
    }

    /// Makes a table; it is visible, empty, at once. One that was handed over ([`Tables::hand_over`]) and is declared as
    /// before is taken on: its rows stay visible until the pipeline that writes it starts.
    ///
    /// # Errors
    /// [`crate::error::Kind::Input`]: the name is taken, retention without event time, or an event-time column that is no timestamp.
    pub fn create(&self, spec: TableSpec) -> Result<Arc<LiveTable>> {
        spec.check()?;
        let mut tables = self.inner.tables.lock();
        let handed_over = self.inner.handed_over.lock().remove(&spec.name);
        match tables.get(&spec.name) {
            Some(table) if handed_over && *table.spec == spec => return Ok(table.clone()),
            Some(_) if !handed_over => return Err(Error::input(format!("table {} exists already", spec.name))),
            _ => {}
        }
        let table = Arc::new(LiveTable::new(spec, &self.inner.metrics)?);
        tables.insert(table.spec.name.clone(), table.clone());
        let mut current = self.inner.current.write();
        let mut shown = current.tables.clone();
        shown.insert(table.spec.name.clone(), Arc::new(table.empty_snapshot()));
        *current = Arc::new(Snapshot { epoch: current.epoch, tables: shown });
        Ok(table)
    }

    /// Another engine takes the place of the one that made the tables, and may make them again.
    pub fn hand_over(&self) {
        let names = self.inner.tables.lock().keys().cloned().collect();
        *self.inner.handed_over.lock() = names;
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
        let mut news: Vec<(Arc<LiveTable>, Arc<TableSnapshot>, Fresh)> = Vec::new();
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
    fresh: Fresh,
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
        let deleted = match self.spec.primary_key.is_empty() {
            true => None,
            false => {
                let keys = Arc::new(self.spec.schema.project(&self.spec.primary_key)?);
                Some(state.table(DELETED, keys, (0..self.spec.primary_key.len()).collect())?)
            }
        };
        part.restore(&blocks, deleted.as_ref())?;
        self.see_time(part.greatest_time());
        let staged = Staged { epoch: 0, chunks: Some(part.view().unwrap_or_default()), fresh: Fresh::default() };
        self.shares.lock().by_task.entry(task).or_default().staged = VecDeque::from([staged]);
        Ok(TableWriter { table: self.clone(), task, part, blocks, deleted })
    }

    /// Forgets all writers and rows: before writers are opened anew with another number of tasks.
    pub fn reset(&self) {
        let mut shares = self.shares.lock();
        for share in shares.by_task.values_mut() {
            share.staged = VecDeque::from([Staged { epoch: 0, chunks: Some(Vec::new()), fresh: Fresh::default() }]);
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
    fn advance(&self, epoch: u64) -> Option<(TableSnapshot, Fresh)> {
        let mut shares = self.shares.lock();
        let mut changed = false;
        let mut fresh = Fresh::default();
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
    /// Carries the keys of deleted rows over a restart; `None` in an append table.
    deleted: Option<BlockTable>,
}

impl TableWriter {
    /// Schema of the rows it takes.
    pub fn schema(&self) -> &SchemaRef {
        &self.table.spec.schema
    }

    /// Takes rows in the table's schema: appended, or upserted where the table has a primary key (the later row stands).
    /// There a column of changes may follow: `-U` and `-D` delete the row of the key, whatever else they say.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let (name, columns) = (&self.table.spec.name, self.table.spec.schema.fields().len());
        let kinds = change::of(batch)?;
        if batch.num_columns() != columns + usize::from(kinds.is_some()) {
            return Err(Error::bug(format!("table {name}: a batch of {} columns; expected {columns}", batch.num_columns())));
        }
        self.table.rows_written.add(batch.num_rows() as u64);
        match kinds {
            None => self.part.write(batch, None),
            Some(_) if self.deleted.is_none() => Err(Error::bug(format!("table {name} has no key, but is given changes"))),
            Some(kinds) => {
                let kinds = kinds.clone();
                self.part.write(&batch.project(&(0..columns).collect::<Vec<_>>())?, Some(&kinds))
            }
        }
    }

    /// Everything written so far belongs to cut `epoch`: it shows when that, or a later cut, is published.
    pub fn cut(&mut self, epoch: u64) -> Result<()> {
        self.settle()?;
        let mut fresh = self.part.take_fresh();
        if !self.table.feed.heard() {
            fresh = Fresh::default();
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
        self.part.checkpoint(&self.blocks, self.deleted.as_ref())
    }

    fn settle(&mut self) -> Result<()> {
        self.part.absorb()?;
        let now = self.table.see_time(self.part.greatest_time());
        self.part.tidy(now)
    }
}

#[cfg(test)]
mod tests;
