//! One side of an interval join: its rows by time slice, its chains by key, and which rows have found a match.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use hashbrown::HashSet;

use super::chains::Chains;
use crate::error::Result;
use crate::operator::event_time::micros;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::operator::row_store::{CHUNK_ROWS, RowStore, chunk_and_row};
use crate::state::{BlockTable, StateHandles};

/// Hidden column that names a row among those of its key, so that a match found later can be stored apart from the row.
const ROW_COLUMN: &str = "$row";

/// The rows of one side.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) keys: Vec<usize>,
    pub(super) time: usize,
    /// Rows before this can match nothing any more.
    pub(super) limit: i64,
    pub(super) rows: RowStore,
    pub(super) chains: Chains,
    pub(super) matches: Option<Matches>,
}

/// Who has found a match, or was emitted without one: kept where an outer, semi or anti join asks for it.
#[derive(Debug)]
pub(super) struct Matches {
    /// Per chunk one bit a row.
    bits: Vec<Box<[u64]>>,
    /// Keys and `$row` of those rows, by slice.
    table: BlockTable,
    /// Their addresses, of those that came since the last checkpoint.
    fresh: Vec<u32>,
    /// The `$row` of the next row.
    next: i64,
    /// Schema of stored rows: the input's, then `$row`.
    schema: SchemaRef,
    /// Rows without a match in slices that have begun to expire: (time, address), latest first if `sorted`.
    due: Vec<(i64, u32)>,
    sorted: bool,
    /// Slices that start before this have begun to expire.
    opened_before: i64,
}

impl Side {
    /// Opens the tables `{name}_rows` and, if `tracked`, `{name}_matched`, and links what they hold.
    pub(super) fn open(
        name: &str,
        schema: &SchemaRef,
        (keys, time): (&[usize], usize),
        width_micros: i64,
        tracked: bool,
        index: &mut KeyIndex,
        state: &mut StateHandles,
    ) -> Result<Self> {
        let mut stored = schema.clone();
        let mut matches = None;
        // Rows are told apart by key and number; here a NULL key is a key like any other, as it is to the exchange.
        let types: Vec<_> = keys.iter().map(|key| schema.field(*key).data_type().clone()).collect();
        let mut groups = KeyIndex::new(&types, NullKeys::AreAGroup)?;
        let mut matched = HashSet::new();
        if tracked {
            let id = Field::new(ROW_COLUMN, DataType::Int64, false);
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(id.clone()));
            stored = Arc::new(Schema::new(fields));
            let mut fields: Vec<_> = keys.iter().map(|key| schema.fields()[*key].clone()).collect();
            fields.push(Arc::new(id));
            let table = state.table(&format!("{name}_matched"), Arc::new(Schema::new(fields)), (0..keys.len()).collect())?;
            let mut slots = Vec::new();
            for (_, block) in table.blocks() {
                let (ids, keys) = block.rows.columns().split_last().map(|(ids, keys)| (ids.clone(), keys)).unzip();
                let (Some(ids), Some(keys)) = (ids, keys) else { continue };
                groups.intern(keys, block.rows.num_rows(), &mut slots)?;
                matched.extend(slots.iter().zip(ids.as_primitive::<Int64Type>().values()).map(|(slot, id)| (*slot, *id)));
            }
            matches = Some(Matches {
                bits: Vec::new(),
                table,
                fresh: Vec::new(),
                next: 0,
                schema: stored.clone(),
                due: Vec::new(),
                sorted: true,
                opened_before: i64::MIN,
            });
        }
        let table = state.table(&format!("{name}_rows"), stored, keys.to_vec())?;
        let rows = RowStore::open(table, width_micros)?;
        let (keys, chains) = (keys.to_vec(), Chains::new());
        let mut side = Side { keys, time, limit: i64::MIN, rows, chains, matches };
        side.link_restored(index, &mut groups, &matched)?;
        Ok(side)
    }

    fn link_restored(&mut self, index: &mut KeyIndex, groups: &mut KeyIndex, matched: &HashSet<(u32, i64)>) -> Result<()> {
        let mut slots = Vec::new();
        for slice in self.rows.slices().collect::<Vec<_>>() {
            for (first, rows) in self.rows.batches(slice) {
                index.intern(&key_columns(rows, &self.keys), rows.num_rows(), &mut slots)?;
                self.chains.reserve(index.len());
                let times = micros(rows.column(self.time))?;
                for (row, (slot, ts)) in slots.iter().zip(times.values()).enumerate() {
                    self.chains.push(*slot, *ts, first + row as u32);
                }
                let Some(matches) = &mut self.matches else { continue };
                groups.intern(&key_columns(rows, &self.keys), rows.num_rows(), &mut slots)?;
                let ids = rows.column(rows.num_columns() - 1).as_primitive::<Int64Type>();
                for (row, (slot, id)) in slots.iter().zip(ids.values()).enumerate() {
                    matches.make_room(first + row as u32);
                    matches.next = matches.next.max(id + 1);
                    if matched.contains(&(*slot, *id)) {
                        matches.set(first + row as u32);
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps rows of a batch: those at `kept`, with the slot of their key, their time and whether they have matched.
    pub(super) fn keep(&mut self, batch: &RecordBatch, kept: Vec<u32>, slots: &[u32], times: &[i64], matched: &[bool]) -> Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        let mut rows =
            if kept.len() == batch.num_rows() { batch.clone() } else { take_record_batch(batch, &UInt32Array::from(kept.clone()))? };
        if let Some(matches) = &mut self.matches {
            let ids = Int64Array::from_iter_values(matches.next..matches.next + kept.len() as i64);
            matches.next += kept.len() as i64;
            let mut columns = rows.columns().to_vec();
            columns.push(Arc::new(ids));
            rows = RecordBatch::try_new(matches.schema.clone(), columns)?;
        }
        let kept_times: Vec<i64> = kept.iter().map(|row| times[*row as usize]).collect();
        let mut addresses = Vec::with_capacity(kept.len());
        for (slice, part) in self.rows.split(&kept_times) {
            addresses.clear();
            let part_rows = match &part {
                None => rows.clone(),
                Some(part) => take_record_batch(&rows, part)?,
            };
            self.rows.append(slice, part_rows, &mut addresses)?;
            for (position, address) in addresses.iter().enumerate() {
                let row = kept[part.as_ref().map_or(position, |part| part.value(position) as usize)] as usize;
                self.chains.push(slots[row], times[row], *address);
                let Some(matches) = &mut self.matches else { continue };
                matches.make_room(*address);
                if matched.get(row) == Some(&true) {
                    matches.mark(*address);
                } else if slice < matches.opened_before {
                    matches.due.push((times[row], *address));
                    matches.sorted = false;
                }
            }
        }
        Ok(())
    }

    /// Moves `limit` on. Returns the addresses of rows that expire without a match, in time order; the caller reads them
    /// before it calls [`Side::forget`].
    pub(super) fn expire(&mut self, limit: i64, wanted: bool) -> Result<Vec<u32>> {
        self.limit = self.limit.max(limit);
        let limit = self.limit;
        let Some(matches) = self.matches.as_mut().filter(|_| wanted) else { return Ok(Vec::new()) };
        let opened_before = matches.opened_before;
        for slice in self.rows.slices().filter(|start| *start >= opened_before && *start < limit) {
            for (first, rows) in self.rows.batches(slice) {
                let times = micros(rows.column(self.time))?;
                let all = times.values().iter().zip(first..).map(|(ts, address)| (*ts, address));
                let unmatched: Vec<(i64, u32)> = all.filter(|(_, address)| !matches.has(*address)).collect();
                matches.due.extend(unmatched);
            }
            matches.opened_before = slice.saturating_add(1);
            matches.sorted = false;
        }
        if !std::mem::replace(&mut matches.sorted, true) {
            matches.due.sort_unstable_by(|a, b| b.cmp(a));
        }
        let mut expired = Vec::new();
        while let Some((_, address)) = matches.due.pop_if(|(ts, _)| *ts < limit) {
            // Settled from now on, also for a restore that finds its slice still there.
            if matches.mark(address) {
                expired.push(address);
            }
        }
        Ok(expired)
    }

    /// Forgets the slices that lie before `limit` as a whole.
    pub(super) fn forget(&mut self) {
        let gone = self.rows.forget_before(self.limit);
        let Some(matches) = self.matches.as_mut().filter(|_| !gone.is_empty()) else { return };
        let chunks: HashSet<u32> = gone.iter().flat_map(|gone| gone.chunks.iter().copied()).collect();
        matches.fresh.retain(|address| !chunks.contains(&(chunk_and_row(*address).0 as u32)));
        for gone in gone {
            matches.table.remove_slice(gone.slice);
        }
    }

    /// Memory of what is in no state table, in bytes.
    pub(super) fn bytes_outside(&self) -> usize {
        let bits = self.matches.as_ref().map_or(0, |matches| matches.bits.len() * CHUNK_ROWS / 8);
        self.rows.bytes_outside() + self.chains.bytes() + bits
    }

    /// Puts what is not in the state tables yet into them.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.rows.checkpoint()?;
        let Some(matches) = &mut self.matches else { return Ok(()) };
        let mut fresh = std::mem::take(&mut matches.fresh);
        fresh.sort_unstable_by_key(|address| (self.rows.slice_at(*address), *address));
        let mut columns = self.keys.clone();
        columns.push(matches.schema.fields().len() - 1);
        for part in fresh.chunk_by(|a, b| self.rows.slice_at(*a) == self.rows.slice_at(*b)).map(<[u32]>::to_vec).collect::<Vec<_>>() {
            let slice = self.rows.slice_at(part[0]);
            let rows = RecordBatch::try_new(matches.table.schema().clone(), self.rows.gather(&part, &columns)?)?;
            matches.table.push(slice, rows);
        }
        Ok(())
    }
}

impl Matches {
    /// Has the row at `address` found a match (or been emitted without one)?
    pub(super) fn has(&self, address: u32) -> bool {
        let (chunk, row) = chunk_and_row(address);
        self.bits[chunk][row / 64] >> (row % 64) & 1 == 1
    }

    /// Notes that the row at `address` has found a match (or is emitted without one). Is it news?
    pub(super) fn mark(&mut self, address: u32) -> bool {
        let first = !self.has(address);
        if first {
            self.set(address);
            self.fresh.push(address);
        }
        first
    }

    fn set(&mut self, address: u32) {
        let (chunk, row) = chunk_and_row(address);
        self.bits[chunk][row / 64] |= 1 << (row % 64);
    }

    /// Makes room for the bit of a row just stored; the first row of a chunk clears what the number meant before.
    fn make_room(&mut self, address: u32) {
        let (chunk, row) = chunk_and_row(address);
        if self.bits.len() <= chunk {
            self.bits.resize_with(chunk + 1, Box::default);
        }
        if row == 0 {
            self.bits[chunk] = vec![0; CHUNK_ROWS / 64].into();
        }
    }
}

/// The columns at `keys`.
pub(super) fn key_columns(rows: &RecordBatch, keys: &[usize]) -> Vec<ArrayRef> {
    keys.iter().map(|key| rows.column(*key).clone()).collect()
}
