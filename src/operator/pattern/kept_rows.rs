//! The events that runs and windows hold on to: each once, as a place in a kept Arrow batch.
//!
//! ```text
//!  handle ──▶ (batch, row), holders          batches: [ ▒▒█▒▒▒ ] [ █▒ ] …   █ held
//! ```
//! A batch goes with its last held row; when few rows of the batches are held, the held ones are gathered into a new one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::Result;
use crate::operator::row_store::unpin;

/// Names a kept event.
pub(super) type Handle = u32;
/// No event.
pub(super) const NO_ROW: Handle = Handle::MAX;

/// Rows are gathered anew when the batches hold this many times as many as are held, and some more.
const SPARSE: usize = 4;
const SLACK_ROWS: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Kept {
    batch: u32,
    row: u32,
    holders: u32,
}

#[derive(Debug)]
struct Piece {
    rows: RecordBatch,
    held: usize,
    bytes: usize,
}

impl Piece {
    fn new(rows: RecordBatch, held: usize) -> Self {
        let bytes = rows.get_array_memory_size();
        Piece { rows, held, bytes }
    }
}

/// Kept events.
#[derive(Debug)]
pub(super) struct KeptRows {
    /// The input's schema, all nullable.
    schema: SchemaRef,
    batches: Vec<Option<Piece>>,
    free_batches: Vec<u32>,
    kept: Vec<Kept>,
    free: Vec<Handle>,
    /// The batch at hand: its number once a row of it was kept, and the handle of each row.
    current: Option<(RecordBatch, Option<u32>)>,
    handles: Vec<Handle>,
    held: usize,
    total: usize,
}

impl KeptRows {
    /// Keeps nothing yet.
    pub(super) fn new(input: &Schema) -> Self {
        let fields: Vec<_> = input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        KeptRows {
            schema: Arc::new(Schema::new(fields)),
            batches: Vec::new(),
            free_batches: Vec::new(),
            kept: Vec::new(),
            free: Vec::new(),
            current: None,
            handles: Vec::new(),
            held: 0,
            total: 0,
        }
    }

    /// Schema of the events: the input's, all nullable.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of `batch` may be kept from here on.
    pub(super) fn begin(&mut self, batch: &RecordBatch) {
        self.handles.clear();
        self.handles.resize(batch.num_rows(), NO_ROW);
        self.current = Some((batch.clone(), None));
    }

    /// Keeps a row of the batch at hand, once however often it is asked for; the caller holds it.
    pub(super) fn keep(&mut self, row: u32) -> Handle {
        let known = self.handles[row as usize];
        if known != NO_ROW {
            self.hold(known);
            return known;
        }
        let batch = self.current_number();
        if let Some(piece) = &mut self.batches[batch as usize] {
            piece.held += 1;
        }
        self.held += 1;
        let kept = Kept { batch, row, holders: 1 };
        let handle = match self.free.pop() {
            Some(handle) => {
                self.kept[handle as usize] = kept;
                handle
            }
            None => {
                self.kept.push(kept);
                self.kept.len() as Handle - 1
            }
        };
        self.handles[row as usize] = handle;
        handle
    }

    fn current_number(&mut self) -> u32 {
        let Some((rows, number)) = &mut self.current else { return 0 };
        *number.get_or_insert_with(|| {
            self.total += rows.num_rows();
            let piece = Some(Piece::new(rows.clone(), 0));
            match self.free_batches.pop() {
                Some(free) => {
                    self.batches[free as usize] = piece;
                    free
                }
                None => {
                    self.batches.push(piece);
                    self.batches.len() as u32 - 1
                }
            }
        })
    }

    /// One more holder.
    pub(super) fn hold(&mut self, handle: Handle) {
        self.kept[handle as usize].holders += 1;
    }

    /// One holder less; with the last the event goes.
    pub(super) fn release(&mut self, handle: Handle) {
        let kept = &mut self.kept[handle as usize];
        kept.holders -= 1;
        if kept.holders > 0 {
            return;
        }
        let (batch, row) = (kept.batch, kept.row);
        self.free.push(handle);
        self.held -= 1;
        let at_hand = matches!(&self.current, Some((_, Some(number))) if *number == batch);
        if at_hand {
            self.handles[row as usize] = NO_ROW;
        }
        let Some(piece) = &mut self.batches[batch as usize] else { return };
        piece.held -= 1;
        if piece.held == 0 && !at_hand {
            self.forget(batch);
        }
    }

    fn forget(&mut self, batch: u32) {
        if let Some(piece) = self.batches[batch as usize].take() {
            self.total -= piece.rows.num_rows();
            self.free_batches.push(batch);
        }
    }

    /// The batch at hand is done with.
    pub(super) fn end(&mut self) -> Result<()> {
        if let Some((_, Some(number))) = self.current.take() {
            match self.batches[number as usize].as_mut() {
                Some(piece) if piece.held == 0 => self.forget(number),
                Some(piece) => *piece = Piece::new(unpin(piece.rows.clone())?, piece.held),
                None => {}
            }
        }
        if self.total > SPARSE * self.held + SLACK_ROWS { self.compact() } else { Ok(()) }
    }

    fn compact(&mut self) -> Result<()> {
        let mut held: Vec<Handle> = (0..self.kept.len() as Handle).filter(|handle| self.kept[*handle as usize].holders > 0).collect();
        held.sort_by_key(|handle| (self.kept[*handle as usize].batch, self.kept[*handle as usize].row));
        const ROWS: usize = 8192;
        let mut pieces = Vec::new();
        for chunk in held.chunks(ROWS) {
            pieces.push(Some(Piece::new(unpin(self.gather(chunk)?)?, chunk.len())));
        }
        for (at, handle) in held.iter().enumerate() {
            let kept = &mut self.kept[*handle as usize];
            (kept.batch, kept.row) = ((at / ROWS) as u32, (at % ROWS) as u32);
        }
        self.batches = pieces;
        self.free_batches.clear();
        self.total = held.len();
        Ok(())
    }

    /// Memory of the kept batches and of what is known of each event, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        let batches: usize = self.batches.iter().flatten().map(|piece| piece.bytes).sum();
        batches + self.kept.len() * size_of::<Kept>()
    }

    /// Some number from what is known of an event: to be read ahead of its use.
    pub(super) fn touch(&self, handle: Handle) -> u32 {
        self.kept.get(handle as usize).map_or(0, |kept| kept.holders)
    }

    /// The events' rows; [`NO_ROW`] gives NULLs.
    pub(super) fn gather(&self, handles: &[Handle]) -> Result<RecordBatch> {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.gather_columns(handles, &columns)
    }

    /// The events' rows with only `columns` filled in, the others NULL.
    pub(super) fn gather_columns(&self, handles: &[Handle], columns: &[usize]) -> Result<RecordBatch> {
        let mut sources: Vec<u32> = Vec::new();
        let mut numbers = vec![usize::MAX; self.batches.len()];
        let mut places = Vec::with_capacity(handles.len());
        for handle in handles {
            if *handle == NO_ROW {
                places.push((0, 0));
                continue;
            }
            let kept = &self.kept[*handle as usize];
            let number = &mut numbers[kept.batch as usize];
            if *number == usize::MAX {
                sources.push(kept.batch);
                *number = sources.len();
            }
            places.push((*number, kept.row as usize));
        }
        let column = |(at, field): (usize, &arrow::datatypes::FieldRef)| -> Result<ArrayRef> {
            if !columns.contains(&at) || handles.is_empty() {
                return Ok(new_null_array(field.data_type(), handles.len()));
            }
            let null = new_null_array(field.data_type(), 1);
            let mut arrays: Vec<&dyn Array> = vec![null.as_ref()];
            arrays.extend(
                sources.iter().filter_map(|batch| self.batches[*batch as usize].as_ref()).map(|piece| piece.rows.column(at).as_ref()),
            );
            Ok(interleave(&arrays, &places)?)
        };
        let columns = self.schema.fields().iter().enumerate().map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(handles.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type};

    use super::*;

    #[test]
    fn handles_stay_true_while_rows_go_and_batches_are_gathered() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut kept = KeptRows::new(&schema);
        let mut held: Vec<(Handle, i64)> = Vec::new();
        for batch in 0..50 {
            let rows = Int64Array::from_iter_values(batch * 2_000..(batch + 1) * 2_000);
            kept.begin(&RecordBatch::try_new(schema.clone(), vec![Arc::new(rows)]).unwrap());
            for row in (0..2_000).step_by(97) {
                let handle = kept.keep(row);
                assert_eq!(kept.keep(row), handle, "kept once");
                kept.release(handle);
                held.push((handle, batch * 2_000 + i64::from(row)));
            }
            kept.end().unwrap();
            if batch % 3 == 0 {
                held.drain(..10).for_each(|(handle, _)| kept.release(handle));
            }
            let handles: Vec<Handle> = held.iter().map(|(handle, _)| *handle).chain([NO_ROW]).collect();
            let rows = kept.gather(&handles).unwrap();
            let values = rows.column(0).as_primitive::<Int64Type>();
            assert_eq!(values.values()[..held.len()], held.iter().map(|(_, n)| *n).collect::<Vec<_>>());
            assert!(values.is_null(held.len()));
            assert_eq!(kept.held, held.len());
        }
        assert!(kept.total <= SPARSE * kept.held + SLACK_ROWS + 2_000);
        held.into_iter().for_each(|(handle, _)| kept.release(handle));
        assert_eq!((kept.held, kept.total), (0, 0));
    }
}
