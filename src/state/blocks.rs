//! The handles through which operators keep state: named tables of immutable Arrow blocks.
//!
//! ```text
//!  operator ── push/remove/replace ──▶ BlockTable ◀── at a checkpoint: blocks not yet in a file are written,
//!     ▲                                   │            the manifest names the file of every live block
//!     └────────── blocks() after restore ─┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;

use crate::error::Result;
use crate::state::shard::Sharder;

/// Names a block within its table for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

/// An immutable piece of state.
#[derive(Debug, Clone)]
pub struct Block {
    /// The time slice it belongs to (start, microseconds), or 0 where state is not sliced by time.
    pub slice: i64,
    /// The rows, in the table's schema.
    pub rows: RecordBatch,
    /// Where a checkpoint has already put it; `None` = must be written at the next one.
    pub file: Option<String>,
}

#[derive(Debug)]
struct Inner {
    next: u64,
    blocks: BTreeMap<BlockId, Block>,
    /// Memory of the blocks.
    bytes: usize,
}

impl Block {
    fn bytes(&self) -> usize {
        self.rows.get_array_memory_size()
    }
}

/// A named table of blocks, shared between one operator instance and the runtime that persists it.
#[derive(Debug, Clone)]
pub struct BlockTable {
    schema: SchemaRef,
    /// Columns whose hash decides the shard, so that a restore at another parallelism finds its rows.
    /// Empty: the table belongs to a single task (task 0).
    key_columns: Arc<[usize]>,
    inner: Arc<Mutex<Inner>>,
}

impl BlockTable {
    /// An empty table.
    pub fn new(schema: SchemaRef, key_columns: Vec<usize>) -> Self {
        BlockTable {
            schema,
            key_columns: key_columns.into(),
            inner: Arc::new(Mutex::new(Inner { next: 0, blocks: BTreeMap::new(), bytes: 0 })),
        }
    }

    /// Schema of every block.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that decide the shard of a row.
    pub fn key_columns(&self) -> &[usize] {
        &self.key_columns
    }

    /// Adds a block that the next checkpoint writes.
    pub fn push(&self, slice: i64, rows: RecordBatch) -> BlockId {
        self.insert(Block { slice, rows, file: None })
    }

    /// Adds a block as restored (the runtime's way in).
    pub fn insert(&self, block: Block) -> BlockId {
        let mut inner = self.inner.lock();
        let id = BlockId(inner.next);
        inner.next += 1;
        inner.bytes += block.bytes();
        inner.blocks.insert(id, block);
        id
    }

    /// Forgets a block: the next manifest no longer names it.
    pub fn remove(&self, id: BlockId) {
        let mut inner = self.inner.lock();
        if let Some(gone) = inner.blocks.remove(&id) {
            inner.bytes -= gone.bytes();
        }
    }

    /// Forgets every block of a slice.
    pub fn remove_slice(&self, slice: i64) {
        let Inner { blocks, bytes, .. } = &mut *self.inner.lock();
        blocks.retain(|_, block| {
            let stays = block.slice != slice;
            *bytes -= if stays { 0 } else { block.bytes() };
            stays
        });
    }

    /// Puts `rows` (nothing, if they are none) in the place of all that the table holds: for small state that changes as a whole.
    pub fn replace_all(&self, rows: Option<RecordBatch>) {
        let mut inner = self.inner.lock();
        inner.blocks.clear();
        inner.bytes = 0;
        drop(inner);
        if let Some(rows) = rows {
            self.push(0, rows);
        }
    }

    /// All live blocks in the order they were added.
    pub fn blocks(&self) -> Vec<(BlockId, Block)> {
        self.inner.lock().blocks.iter().map(|(id, block)| (*id, block.clone())).collect()
    }

    /// Notes that a checkpoint has put block `id` into `file`.
    pub fn mark_written(&self, id: BlockId, file: String) {
        if let Some(block) = self.inner.lock().blocks.get_mut(&id) {
            block.file = Some(file);
        }
    }

    /// Memory held by the live blocks, in bytes.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

/// The state tables of one operator instance: opened by the operator when it is built, filled by the runtime before
/// that on a restore, persisted by the runtime at each checkpoint.
#[derive(Debug, Default)]
pub struct StateHandles {
    tables: BTreeMap<String, BlockTable>,
    /// What a restore found: table name -> blocks, not yet cut to this task's shards.
    restored: BTreeMap<String, Vec<Block>>,
    /// This instance and how many there are.
    task: (usize, usize),
}

impl StateHandles {
    /// Handles of instance `task` of `tasks`, with nothing to restore.
    pub fn empty(task: usize, tasks: usize) -> Self {
        StateHandles { task: (task, tasks), ..StateHandles::default() }
    }

    /// Handles with the blocks of a checkpoint, of all instances that wrote it.
    pub fn restoring(task: usize, tasks: usize, restored: BTreeMap<String, Vec<Block>>) -> Self {
        StateHandles { task: (task, tasks), restored, ..StateHandles::default() }
    }

    /// Opens a table; on a restore it already holds those rows of the checkpoint that hash to this instance.
    ///
    /// `key_columns` are positions in `schema` of the exchange's key, in its order; none: only instance 0 restores.
    pub fn table(&mut self, name: &str, schema: SchemaRef, key_columns: Vec<usize>) -> Result<BlockTable> {
        let table = BlockTable::new(schema, key_columns);
        let (task, tasks) = self.task;
        let mut sharder = Sharder::new(tasks);
        for block in self.restored.remove(name).unwrap_or_default() {
            if tasks == 1 || (table.key_columns.is_empty() && task == 0) {
                table.insert(block);
            } else if !table.key_columns.is_empty() {
                let keys: Vec<_> = table.key_columns.iter().map(|c| block.rows.column(*c).clone()).collect();
                let mine = sharder.rows_of_task(&keys, block.rows.num_rows(), task)?;
                if mine.len() == block.rows.num_rows() {
                    table.insert(block);
                } else if !mine.is_empty() {
                    let rows = arrow::compute::take_record_batch(&block.rows, &mine)?;
                    table.insert(Block { slice: block.slice, rows, file: None });
                }
            }
        }
        self.tables.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    /// Does a restore bring rows of this table?
    pub fn restores(&self, name: &str) -> bool {
        self.restored.contains_key(name)
    }

    /// Opens a table that every instance restores whole, rows of all instances that wrote it: for what all agree on,
    /// such as the watermark. Whoever opens it should boil the rows down and put the result in their place.
    pub fn shared_table(&mut self, name: &str, schema: SchemaRef) -> BlockTable {
        let table = BlockTable::new(schema, Vec::new());
        for block in self.restored.remove(name).unwrap_or_default() {
            table.insert(block);
        }
        self.tables.insert(name.to_owned(), table.clone());
        table
    }

    /// The opened tables by name (the runtime's view).
    pub fn tables(&self) -> impl Iterator<Item = (&str, &BlockTable)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), table))
    }

    /// Memory held by all tables, in bytes.
    pub fn bytes(&self) -> usize {
        self.tables.values().map(BlockTable::bytes).sum()
    }
}
