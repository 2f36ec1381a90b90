//! What the state tables hold for sliding frames: the rows that frames still reach back to, with only the columns that are
//! needed to feed them to the computed columns again (key, time, arguments).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::error::Result;
use crate::operator::row_store::{RowStore, unpin};
use crate::state::{BlockId, BlockTable};
use crate::time::MICROS_PER_SECOND;

/// Rows are forgotten in slices of the frame's length divided by this.
const SLICES: i64 = 8;
/// Rows beyond those needed that are kept before they are sorted out.
const SLACK_ROWS: usize = 8192;

/// Schema of a history: keys, time in microseconds, arguments.
pub(super) fn history_schema(input: &Schema, keys: &[usize], args: &[DataType]) -> SchemaRef {
    let mut fields: Vec<_> = keys.iter().map(|key| input.fields()[*key].clone()).collect();
    fields.push(Arc::new(Field::new("$time", DataType::Int64, false)));
    fields.extend(args.iter().enumerate().map(|(at, data_type)| Arc::new(Field::new(format!("$arg{at}"), data_type.clone(), true))));
    Arc::new(Schema::new(fields))
}

/// A history row by row: its parts.
pub(super) struct Parts<'a> {
    pub(super) keys: &'a [ArrayRef],
    pub(super) times: &'a [i64],
    pub(super) args: &'a [ArrayRef],
}

/// Cuts a batch of a history of `keys` key columns into its parts.
pub(super) fn parts(rows: &RecordBatch, keys: usize) -> Parts<'_> {
    let columns = rows.columns();
    Parts { keys: &columns[..keys], times: columns[keys].as_primitive::<Int64Type>().values(), args: &columns[keys + 1..] }
}

fn batch(schema: &SchemaRef, keys: &[ArrayRef], times: &[i64], args: &[ArrayRef]) -> Result<RecordBatch> {
    let mut columns = keys.to_vec();
    columns.push(Arc::new(Int64Array::from(times.to_vec())));
    columns.extend_from_slice(args);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Rows that RANGE frames reach back to, by time slice.
pub(super) struct RangeHistory {
    schema: SchemaRef,
    rows: RowStore,
    range: i64,
}

impl RangeHistory {
    /// The rows of a state table; the longest frame reaches back `range` microseconds.
    pub(super) fn open(table: BlockTable, range: i64) -> Result<Self> {
        let schema = table.schema().clone();
        Ok(RangeHistory { schema, rows: RowStore::open(table, (range / SLICES).max(MICROS_PER_SECOND))?, range })
    }

    /// Adds rows, in time order.
    pub(super) fn add(&mut self, keys: &[ArrayRef], times: &[i64], args: &[ArrayRef]) -> Result<()> {
        let rows = batch(&self.schema, keys, times, args)?;
        let mut from = 0;
        while from < times.len() {
            let slice = self.rows.slice_of(times[from]);
            let to = from + times[from..].partition_point(|ts| self.rows.slice_of(*ts) <= slice);
            self.rows.append(slice, rows.slice(from, to - from), &mut Vec::new())?;
            from = to;
        }
        Ok(())
    }

    /// Forgets what no frame of a row at or after `mark` reaches; returns the first time that such a frame reaches.
    pub(super) fn forget(&mut self, mark: i64) -> i64 {
        let limit = mark.saturating_sub(self.range);
        self.rows.forget_before(limit);
        limit
    }

    /// All rows in time order, a slice at a time.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Result<RecordBatch>> {
        let time = self.schema.fields().iter().position(|field| field.name() == "$time").unwrap_or_default();
        self.rows.slices().map(move |slice| {
            let rows = concat_batches(&self.schema, self.rows.batches(slice).map(|(_, rows)| rows))?;
            let times = rows.column(time).as_primitive::<Int64Type>().values();
            let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
            order.sort_by_key(|row| times[*row as usize]);
            Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
        })
    }

    /// Puts what is not in the state table yet into it.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.rows.checkpoint()
    }

    /// Memory of what is in no state table, in bytes.
    pub(super) fn bytes_outside(&self) -> usize {
        self.rows.bytes_outside()
    }
}

/// Some rows of a [`RowsHistory`].
struct Logged {
    rows: RecordBatch,
    /// Slot of each row's key.
    slots: Vec<u32>,
    block: Option<BlockId>,
}

/// The last rows of each key, for ROWS frames: a log, from which rows that were followed by enough others are sorted out
/// when it has become twice as long as needed.
pub(super) struct RowsHistory {
    table: BlockTable,
    /// How many rows of a key are needed.
    wanted: usize,
    log: Vec<Logged>,
    len: usize,
    /// Rows of each key, up to `wanted`.
    counts: Vec<usize>,
    /// Their sum.
    needed: usize,
}

impl RowsHistory {
    /// An empty history whose longest frame has `before` rows before the current one.
    pub(super) fn new(table: BlockTable, before: u64) -> Self {
        let wanted = usize::try_from(before).unwrap_or(usize::MAX);
        RowsHistory { table, wanted, log: Vec::new(), len: 0, counts: Vec::new(), needed: 0 }
    }

    /// The rows of the state table as restored, in order; to be given back by `keep`.
    pub(super) fn restored(&self) -> Vec<(BlockId, RecordBatch)> {
        self.table.blocks().into_iter().map(|(id, block)| (id, block.rows)).collect()
    }

    /// Keeps rows that the table holds already.
    pub(super) fn keep(&mut self, block: BlockId, rows: RecordBatch, slots: &[u32]) {
        self.log(rows, slots, Some(block));
    }

    /// Adds rows, in order.
    pub(super) fn add(&mut self, keys: &[ArrayRef], times: &[i64], args: &[ArrayRef], slots: &[u32]) -> Result<()> {
        let rows = unpin(batch(self.table.schema(), keys, times, args)?)?;
        self.log(rows, slots, None);
        if self.len > 2 * self.needed + SLACK_ROWS { self.compact() } else { Ok(()) }
    }

    fn log(&mut self, rows: RecordBatch, slots: &[u32], block: Option<BlockId>) {
        for slot in slots {
            let slot = *slot as usize;
            if self.counts.len() <= slot {
                self.counts.resize(slot + 1, 0);
            }
            if self.counts[slot] < self.wanted {
                self.counts[slot] += 1;
                self.needed += 1;
            }
        }
        self.len += slots.len();
        self.log.push(Logged { rows, slots: slots.to_vec(), block });
    }

    /// Memory of what is in no state table, in bytes.
    pub(super) fn bytes_outside(&self) -> usize {
        let fresh = self.log.iter().filter(|logged| logged.block.is_none());
        fresh.map(|logged| logged.rows.get_array_memory_size()).sum::<usize>() + self.len * size_of::<u32>()
    }

    fn compact(&mut self) -> Result<()> {
        let mut seen = vec![0; self.counts.len()];
        let mut kept = Vec::new();
        for logged in std::mem::take(&mut self.log).into_iter().rev() {
            let mut rows: Vec<u32> = Vec::new();
            for (row, slot) in logged.slots.iter().enumerate().rev() {
                seen[*slot as usize] += 1;
                if seen[*slot as usize] <= self.wanted {
                    rows.push(row as u32);
                }
            }
            rows.reverse();
            if rows.len() == logged.slots.len() {
                kept.push(logged);
                continue;
            }
            if let Some(id) = logged.block {
                self.table.remove(id);
            }
            if !rows.is_empty() {
                let slots = rows.iter().map(|row| logged.slots[*row as usize]).collect();
                kept.push(Logged { rows: take_record_batch(&logged.rows, &UInt32Array::from(rows))?, slots, block: None });
            }
        }
        kept.reverse();
        self.len = kept.iter().map(|logged| logged.slots.len()).sum();
        self.log = kept;
        Ok(())
    }

    /// Puts what is not in the state table yet into it.
    ///
    /// Blocks keep their order in the table: from the first piece that is not in it, all are put in again as one.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let Some(first) = self.log.iter().position(|logged| logged.block.is_none()) else { return Ok(()) };
        let rest = self.log.split_off(first);
        let rows = unpin(concat_batches(self.table.schema(), rest.iter().map(|logged| &logged.rows))?)?;
        rest.iter().filter_map(|logged| logged.block).for_each(|id| self.table.remove(id));
        let slots = rest.into_iter().flat_map(|logged| logged.slots).collect();
        let block = Some(self.table.push(0, rows.clone()));
        self.log.push(Logged { rows, slots, block });
        Ok(())
    }
}
