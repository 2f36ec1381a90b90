//! Rows kept for a while: append-only, addressed by a small number, grouped by time slice and forgotten a slice at a time.
//!
//! ```text
//!  slice 10:00 ─▶ chunk 0 [8192 rows]  chunk 3 [8192 rows]                   an address = chunk << 13 | row
//!  slice 10:05 ─▶ chunk 1 [8192 rows]  chunk 2 [piece 2900][piece 40]  ◀── open: takes the next rows
//! ```
//!
//! A full chunk is one immutable block of the state table, written once by the next checkpoint. The pieces of an open
//! chunk are merged as they grow (each row is copied a few times at most), and strings are copied out of the large
//! buffers they came in, so that a few rows kept never pin a megabyte read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::state::{BlockId, BlockTable};
use crate::time::floor_to;

/// Rows per chunk, a power of two.
pub(crate) const CHUNK_ROWS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 13;
/// A view column is copied when the buffers it holds are this many times larger than what it uses.
const SLACK: usize = 2;

/// Rows in the order they came, and where they are in the state table.
#[derive(Debug)]
struct Piece {
    /// Number of the first row within the chunk.
    start: u32,
    rows: RecordBatch,
    block: Option<BlockId>,
}

#[derive(Debug, Default)]
struct Chunk {
    slice: i64,
    pieces: Vec<Piece>,
    rows: usize,
}

/// A slice that was forgotten: no address of these chunks may be used any more.
#[derive(Debug)]
pub(crate) struct Forgotten {
    /// Start of the slice.
    pub(crate) slice: i64,
    /// Its chunks.
    pub(crate) chunks: Vec<u32>,
}

/// The chunk of an address, and the row within it.
pub(crate) fn chunk_and_row(address: u32) -> (usize, usize) {
    ((address >> CHUNK_BITS) as usize, address as usize & (CHUNK_ROWS - 1))
}

#[derive(Debug, Default)]
struct Slice {
    chunks: Vec<u32>,
    /// The chunk that takes the next rows.
    open: Option<u32>,
}

/// Rows by slice.
#[derive(Debug)]
pub(crate) struct RowStore {
    table: BlockTable,
    /// Width of a slice, microseconds.
    width: i64,
    /// By chunk number; a forgotten chunk is empty and its number free.
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    slices: BTreeMap<i64, Slice>,
    /// For `gather`: per chunk the position of its first piece among the sources, valid if stamped with the current run.
    sources: Vec<(u64, u32)>,
    run: u64,
}

impl RowStore {
    /// The rows of a state table, as restored.
    pub(crate) fn open(table: BlockTable, width_micros: i64) -> Result<Self> {
        let mut store = RowStore {
            table,
            width: width_micros,
            chunks: Vec::new(),
            free: Vec::new(),
            slices: BTreeMap::new(),
            sources: Vec::new(),
            run: 0,
        };
        for (id, block) in store.table.blocks() {
            let rows = block.rows.num_rows();
            if rows > CHUNK_ROWS / 2 && rows <= CHUNK_ROWS {
                // Of several tasks that wrote the checkpoint, one may have left an open chunk already.
                let open = store.slices.get(&block.slice).and_then(|slice| slice.open);
                let chunk = store.new_chunk(block.slice)?;
                store.chunks[chunk as usize] =
                    Chunk { slice: block.slice, pieces: vec![Piece { start: 0, rows: block.rows, block: Some(id) }], rows };
                store.slices.entry(block.slice).or_default().open = open;
            } else {
                store.table.remove(id);
                store.append(block.slice, block.rows, &mut Vec::new())?;
            }
        }
        Ok(store)
    }

    /// Start of the slice that `ts` falls into.
    pub(crate) fn slice_of(&self, ts: i64) -> i64 {
        floor_to(ts, self.width, 0)
    }

    /// Splits rows by slice, earliest first; a slice that all rows fall into comes without row numbers.
    pub(crate) fn split(&self, times: &[i64]) -> Vec<(i64, Option<UInt32Array>)> {
        let Some(first) = times.first().map(|ts| self.slice_of(*ts)) else { return Vec::new() };
        let slice = first..first.saturating_add(self.width);
        if times.iter().all(|ts| slice.contains(ts)) {
            return vec![(first, None)];
        }
        let mut parts: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, ts) in times.iter().enumerate() {
            parts.entry(self.slice_of(*ts)).or_default().push(row as u32);
        }
        parts.into_iter().map(|(slice, rows)| (slice, Some(rows.into()))).collect()
    }

    /// Appends rows to a slice and pushes their addresses, in order.
    pub(crate) fn append(&mut self, slice: i64, rows: RecordBatch, addresses: &mut Vec<u32>) -> Result<()> {
        let mut done = 0;
        while done < rows.num_rows() {
            let open = self.slices.get(&slice).and_then(|slice| slice.open);
            let number = match open {
                Some(number) => number,
                None => self.new_chunk(slice)?,
            };
            let chunk = &mut self.chunks[number as usize];
            let take = (CHUNK_ROWS - chunk.rows).min(rows.num_rows() - done);
            let start = chunk.rows as u32;
            addresses.extend((start..start + take as u32).map(|row| number << CHUNK_BITS | row));
            chunk.rows += take;
            chunk.pieces.push(Piece { start, rows: unpin(rows.slice(done, take))?, block: None });
            done += take;
            if chunk.rows == CHUNK_ROWS {
                merge(&self.table, chunk, 0)?;
                for piece in &mut chunk.pieces {
                    piece.block.get_or_insert_with(|| self.table.push(slice, piece.rows.clone()));
                }
                self.slices.entry(slice).or_default().open = None;
            } else {
                // Pieces at least double in size from last to first, so a chunk has 13 of them at most.
                let mut from = chunk.pieces.len() - 1;
                let mut size = take;
                while from > 0 && chunk.pieces[from - 1].rows.num_rows() <= size {
                    from -= 1;
                    size += chunk.pieces[from].rows.num_rows();
                }
                merge(&self.table, chunk, from)?;
            }
        }
        Ok(())
    }

    /// Forgets every slice that ends at or before `limit`.
    pub(crate) fn forget_before(&mut self, limit: i64) -> Vec<Forgotten> {
        let mut gone = Vec::new();
        while let Some(entry) = self.slices.first_entry() {
            if entry.key().saturating_add(self.width) > limit {
                break;
            }
            let (slice, Slice { chunks, .. }) = entry.remove_entry();
            for number in &chunks {
                for piece in std::mem::take(&mut self.chunks[*number as usize]).pieces {
                    if let Some(id) = piece.block {
                        self.table.remove(id);
                    }
                }
                self.free.push(*number);
            }
            gone.push(Forgotten { slice, chunks });
        }
        gone
    }

    /// Puts what is not in the state table yet into it.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        for (start, slice) in &self.slices {
            let Some(open) = slice.open else { continue };
            let chunk = &mut self.chunks[open as usize];
            let written = chunk.pieces.iter().take_while(|piece| piece.block.is_some()).count();
            if written < chunk.pieces.len() {
                merge(&self.table, chunk, written)?;
                let piece = &mut chunk.pieces[written];
                piece.block = Some(self.table.push(*start, piece.rows.clone()));
            }
        }
        Ok(())
    }

    /// Memory of the rows that are in no block of the state table yet.
    pub(crate) fn bytes_outside(&self) -> usize {
        let open = self.slices.values().filter_map(|slice| slice.open);
        let pieces = open.flat_map(|number| &self.chunks[number as usize].pieces);
        pieces.filter(|piece| piece.block.is_none()).map(|piece| piece.rows.get_array_memory_size()).sum()
    }

    /// Does it hold no row?
    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Starts of the slices, earliest first.
    pub(crate) fn slices(&self) -> impl Iterator<Item = i64> {
        self.slices.keys().copied()
    }

    /// Start of the slice that an address lies in.
    pub(crate) fn slice_at(&self, address: u32) -> i64 {
        self.chunks[chunk_and_row(address).0].slice
    }

    /// All rows of a slice with the address of the first of each batch, in the order they came.
    pub(crate) fn batches(&self, slice: i64) -> impl Iterator<Item = (u32, &RecordBatch)> {
        let chunks = self.slices.get(&slice).map(|slice| slice.chunks.as_slice()).unwrap_or_default();
        chunks.iter().flat_map(|number| {
            self.chunks[*number as usize].pieces.iter().map(move |piece| (*number << CHUNK_BITS | piece.start, &piece.rows))
        })
    }

    /// The values of `columns` at `addresses`.
    pub(crate) fn gather(&mut self, addresses: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        self.run += 1;
        self.sources.resize(self.chunks.len(), (0, 0));
        let mut pieces: Vec<&RecordBatch> = Vec::new();
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let (number, row) = chunk_and_row(*address);
            let chunk = &self.chunks[number];
            let source = &mut self.sources[number];
            if source.0 != self.run {
                *source = (self.run, pieces.len() as u32);
                pieces.extend(chunk.pieces.iter().map(|piece| &piece.rows));
            }
            let within = match chunk.pieces.as_slice() {
                [_] => 0,
                pieces => pieces.partition_point(|piece| piece.start as usize <= row).saturating_sub(1),
            };
            places.push((source.1 as usize + within, row - chunk.pieces[within].start as usize));
        }
        columns
            .iter()
            .map(|column| {
                let arrays: Vec<&dyn Array> = pieces.iter().map(|rows| rows.column(*column).as_ref()).collect();
                if arrays.is_empty() {
                    return Ok(arrow::array::new_empty_array(self.table.schema().field(*column).data_type()));
                }
                Ok(interleave(&arrays, &places)?)
            })
            .collect()
    }

    fn new_chunk(&mut self, slice: i64) -> Result<u32> {
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.chunks.len() >> (u32::BITS - CHUNK_BITS) == 0 => {
                self.chunks.push(Chunk::default());
                self.chunks.len() as u32 - 1
            }
            None => {
                let limit = 1u64 << (u32::BITS - CHUNK_BITS);
                return Err(Error::failed(format!(
                    "one task keeps {limit} chunks of rows, the most it can; use a shorter interval or more tasks"
                )));
            }
        };
        self.chunks[number as usize].slice = slice;
        let slice = self.slices.entry(slice).or_default();
        slice.chunks.push(number);
        slice.open = Some(number);
        Ok(number)
    }
}

/// Makes one piece of the pieces of `chunk` from number `from` on; blocks they had are forgotten.
fn merge(table: &BlockTable, chunk: &mut Chunk, from: usize) -> Result<()> {
    if chunk.pieces.len() < from + 2 {
        return Ok(());
    }
    let parts = chunk.pieces.split_off(from);
    let rows = unpin(concat_batches(table.schema(), parts.iter().map(|piece| &piece.rows))?)?;
    for id in parts.iter().filter_map(|piece| piece.block) {
        table.remove(id);
    }
    chunk.pieces.push(Piece { start: parts[0].start, rows, block: None });
    Ok(())
}

/// Copies strings out of buffers that are much larger than what the rows use of them.
pub(crate) fn unpin(rows: RecordBatch) -> Result<RecordBatch> {
    let pinned = |column: &ArrayRef| {
        let (held, used) = match column.data_type() {
            DataType::Utf8View => {
                let views = column.as_string_view();
                (views.data_buffers().iter().map(|b| b.capacity()).sum::<usize>(), views.total_buffer_bytes_used())
            }
            DataType::BinaryView => {
                let views = column.as_binary_view();
                (views.data_buffers().iter().map(|b| b.capacity()).sum::<usize>(), views.total_buffer_bytes_used())
            }
            _ => return false,
        };
        held > SLACK * used + 1024
    };
    if !rows.columns().iter().any(pinned) {
        return Ok(rows);
    }
    let count = rows.num_rows();
    let (schema, columns, _) = rows.into_parts();
    let columns = columns
        .into_iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View if pinned(&column) => Arc::new(column.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView if pinned(&column) => Arc::new(column.as_binary_view().gc()),
            _ => column,
        })
        .collect();
    Ok(RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(count)))?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8View, true)]))
    }

    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        let texts = StringViewArray::from_iter_values(numbers.clone().map(|n| format!("a text too long for a view, number {n}")));
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(numbers)), Arc::new(texts)]).unwrap()
    }

    fn numbers(store: &mut RowStore, addresses: &[u32]) -> Vec<i64> {
        store.gather(addresses, &[0]).unwrap()[0].as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn an_address_finds_its_row_however_the_rows_came() {
        for step in [1, 7, 100, 5_000, 20_000] {
            let mut store = RowStore::open(BlockTable::new(schema(), vec![]), 10).unwrap();
            let mut addresses = Vec::new();
            for start in (0..20_000).step_by(step) {
                store.append(0, rows(start as i64..(start + step).min(20_000) as i64), &mut addresses).unwrap();
                if start % 5 == 0 {
                    store.checkpoint().unwrap();
                }
            }
            let back: Vec<u32> = addresses.iter().rev().copied().collect();
            assert_eq!(numbers(&mut store, &back), (0..20_000).rev().collect::<Vec<i64>>(), "{step} at a time");
        }
    }

    #[test]
    fn the_table_holds_every_row_once_after_a_checkpoint_and_none_of_a_forgotten_slice() {
        let table = BlockTable::new(schema(), vec![]);
        let mut store = RowStore::open(table.clone(), 10).unwrap();
        let mut addresses = Vec::new();
        for start in 0..30 {
            store.append(start % 2 * 10, rows(start * 1_000..(start + 1) * 1_000), &mut addresses).unwrap();
            store.checkpoint().unwrap();
            let held: usize = table.blocks().iter().map(|(_, block)| block.rows.num_rows()).sum();
            assert_eq!(held as i64, (start + 1) * 1_000);
        }
        let gone: Vec<i64> = store.forget_before(19).iter().map(|gone| gone.slice).collect();
        assert_eq!(gone, [0]);
        assert!(table.blocks().iter().all(|(_, block)| block.slice == 10));
        let restored = RowStore::open(table, 10).unwrap();
        let count: usize = restored.batches(10).map(|(_, rows)| rows.num_rows()).sum();
        assert_eq!(count, 15_000);
    }

    /// As when several tasks become one: a chunk that is not full, then a full one of the same slice.
    #[test]
    fn what_one_task_restores_of_several_is_whole_after_its_next_checkpoint() {
        let table = BlockTable::new(schema(), vec![]);
        [0..100, 100..8_000, 8_000..8_050].into_iter().for_each(|numbers| _ = table.push(0, rows(numbers)));
        let mut store = RowStore::open(table.clone(), 10).unwrap();
        store.append(0, rows(8_050..8_100), &mut Vec::new()).unwrap();
        store.checkpoint().unwrap();
        let mut held: Vec<i64> =
            table.blocks().iter().flat_map(|(_, block)| block.rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        held.sort_unstable();
        assert!(held.iter().copied().eq(0..8_100), "{} rows of 8100", held.len());
    }

    #[test]
    fn a_row_kept_does_not_pin_the_buffer_it_came_in() {
        let mut store = RowStore::open(BlockTable::new(schema(), vec![]), 10).unwrap();
        store.append(0, rows(0..8_000).slice(17, 1), &mut Vec::new()).unwrap();
        let (_, kept) = store.batches(0).next().unwrap();
        let held: usize = kept.column(1).as_string_view().data_buffers().iter().map(|b| b.len()).sum();
        assert!(held < 100, "{held}");
    }
}
