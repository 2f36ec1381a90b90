//! Rows that wait for event time to reach them, handed out in the order in which they fall due.
//!
//! ```text
//!  batch ──sort by (due, seq)──▶ run ┐
//!  batch ──────────────────────▶ run ├─ the watermark takes the front of each run, merged: rows in event-time order
//!  batch ──────────────────────▶ run ┘
//! ```
//! Ties go by the sequence column if there is one, then by arrival. A run is a block of the state table from the next
//! checkpoint on; rows handed out are in no block that a later checkpoint names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};
use crate::operator::row_store::unpin;
use crate::state::{BlockId, BlockTable};

/// Runs shorter than this are merged at a checkpoint, so that thin traffic does not make a file a row.
const SMALL_RUN: usize = 1024;
/// Runs made by merging are not longer than this.
const MERGED_RUN: usize = 8192;

/// A batch in due order.
#[derive(Debug)]
struct Run {
    rows: RecordBatch,
    /// Per row: when it falls due.
    due: Vec<i64>,
    /// Row numbers in due order.
    order: Vec<u32>,
    /// How many of `order` were handed out.
    done: usize,
    block: Option<BlockId>,
}

/// Waiting rows.
#[derive(Debug)]
pub(crate) struct Pending {
    table: BlockTable,
    seq: Option<usize>,
    /// By order of arrival.
    runs: BTreeMap<u32, Run>,
    next: u32,
    /// When the next row of each run falls due, earliest first.
    heads: BinaryHeap<Reverse<(i64, u32)>>,
}

/// Rows that have fallen due, in order.
#[derive(Debug)]
pub(crate) struct Due {
    schema: SchemaRef,
    sources: Vec<RecordBatch>,
    /// When each row fell due.
    pub(crate) times: Vec<i64>,
    /// Where it is: source, row.
    places: Vec<(usize, usize)>,
}

impl Pending {
    /// The rows of a state table, as restored; `due` tells when rows fall due.
    pub(crate) fn open(table: BlockTable, seq: Option<usize>, due: impl Fn(&RecordBatch) -> Result<Vec<i64>>) -> Result<Self> {
        let mut pending = Pending { table, seq, runs: BTreeMap::new(), next: 0, heads: BinaryHeap::new() };
        for (id, block) in pending.table.blocks() {
            let due = due(&block.rows)?;
            pending.insert(block.rows, due, Some(id))?;
        }
        Ok(pending)
    }

    /// Adds rows; `due[row]` is when the row falls due.
    pub(crate) fn add(&mut self, rows: RecordBatch, due: Vec<i64>) -> Result<()> {
        self.insert(unpin(rows)?, due, None)
    }

    fn insert(&mut self, rows: RecordBatch, due: Vec<i64>, block: Option<BlockId>) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let seq = self.seq_of(&rows)?;
        let key = |row: &u32| (due[*row as usize], seq.as_ref().map_or(0, |seq| seq.value(*row as usize)), *row);
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        if !order.is_sorted_by_key(key) {
            order.sort_unstable_by_key(key);
        }
        self.heads.push(Reverse((due[order[0] as usize], self.next)));
        self.runs.insert(self.next, Run { rows, due, order, done: 0, block });
        self.next += 1;
        Ok(())
    }

    fn seq_of(&self, rows: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some(seq) = self.seq else { return Ok(None) };
        let column = rows.column(seq).as_primitive_opt::<Int64Type>();
        Ok(Some(column.ok_or_else(|| Error::bug("the sequence column is no Int64"))?.clone()))
    }

    /// Takes the rows that fall due before `mark`.
    pub(crate) fn take_before(&mut self, mark: i64) -> Result<Due> {
        let mut numbers = Vec::new();
        while self.heads.peek().is_some_and(|Reverse((due, _))| *due < mark) {
            numbers.extend(self.heads.pop().map(|Reverse((_, number))| number));
        }
        // Sources in order of arrival, so that their numbers break ties.
        numbers.sort_unstable();
        let mut sources = Vec::with_capacity(numbers.len());
        let mut rows: Vec<(i64, i64, u32, u32)> = Vec::new();
        for number in numbers {
            let Some(run) = self.runs.get_mut(&number) else { continue };
            let source = sources.len() as u32;
            let end = run.done + run.order[run.done..].partition_point(|row| run.due[*row as usize] < mark);
            let taken = &run.order[run.done..end];
            match self.seq {
                None => rows.extend(taken.iter().map(|row| (run.due[*row as usize], 0, source, *row))),
                Some(seq) => {
                    let seq = run.rows.column(seq).as_primitive::<Int64Type>();
                    rows.extend(taken.iter().map(|row| (run.due[*row as usize], seq.value(*row as usize), source, *row)));
                }
            }
            sources.push(run.rows.clone());
            run.done = end;
            match run.order.get(end) {
                Some(row) => self.heads.push(Reverse((run.due[*row as usize], number))),
                None => {
                    if let Some(id) = run.block {
                        self.table.remove(id);
                    }
                    self.runs.remove(&number);
                }
            }
        }
        // The stable sort merges runs that are sorted already.
        rows.sort();
        Ok(Due {
            schema: self.table.schema().clone(),
            sources,
            times: rows.iter().map(|row| row.0).collect(),
            places: rows.iter().map(|row| (row.2 as usize, row.3 as usize)).collect(),
        })
    }

    /// Puts what waits into the state table, and nothing else.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let changed = |run: &Run| run.block.is_none() || run.done > 0 || run.rows.num_rows() < SMALL_RUN;
        let numbers: Vec<u32> = self.runs.iter().filter(|(_, run)| changed(run)).map(|(number, _)| *number).collect();
        // Whole new runs are written as they are; what is left of the others is put together.
        let mut rest: Vec<Run> = Vec::new();
        let mut small = 0;
        for number in numbers {
            let Some(run) = self.runs.get_mut(&number) else { continue };
            if run.done == 0 && run.rows.num_rows() >= SMALL_RUN {
                run.block = Some(self.table.push(0, run.rows.clone()));
                continue;
            }
            small += usize::from(run.block.is_none() || run.done > 0);
            rest.extend(self.runs.remove(&number));
        }
        if small == 0 {
            // Nothing has changed in the small runs: they stay as they were written.
            rest.into_iter().try_for_each(|run| self.insert(run.rows, run.due, run.block))?;
            return self.rebuild_heads();
        }
        let mut places = Vec::new();
        let mut due = Vec::new();
        for (source, run) in rest.iter().enumerate() {
            // Arrival order is kept, being the last tie-breaker.
            let mut left = run.order[run.done..].to_vec();
            left.sort_unstable();
            due.extend(left.iter().map(|row| run.due[*row as usize]));
            places.extend(left.iter().map(|row| (source, *row as usize)));
            if let Some(id) = run.block {
                self.table.remove(id);
            }
        }
        let sources: Vec<RecordBatch> = rest.into_iter().map(|run| run.rows).collect();
        let schema = self.table.schema().clone();
        for (places, due) in places.chunks(MERGED_RUN).zip(due.chunks(MERGED_RUN)) {
            let rows = unpin(gather(&schema, &sources, places)?)?;
            let block = self.table.push(0, rows.clone());
            self.insert(rows, due.to_vec(), Some(block))?;
        }
        self.rebuild_heads()
    }

    /// Memory of what is in no block of the state table, in bytes.
    pub(crate) fn bytes_outside(&self) -> usize {
        let of = |run: &Run| {
            let rows = if run.block.is_none() { run.rows.get_array_memory_size() } else { 0 };
            rows + run.due.len() * (size_of::<i64>() + size_of::<u32>())
        };
        self.runs.values().map(of).sum()
    }

    /// Number of rows that wait.
    pub(crate) fn len(&self) -> usize {
        self.runs.values().map(|run| run.order.len() - run.done).sum()
    }

    fn rebuild_heads(&mut self) -> Result<()> {
        let head = |(number, run): (&u32, &Run)| Some(Reverse((run.due[*run.order.get(run.done)? as usize], *number)));
        self.heads = self.runs.iter().filter_map(head).collect();
        Ok(())
    }
}

impl Due {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// Orders rows of one time by these columns before what orders them already.
    pub(crate) fn order_ties(&mut self, by: &[(usize, SortOptions)]) -> Result<()> {
        if by.is_empty() || !self.times.windows(2).any(|times| times[0] == times[1]) {
            return Ok(());
        }
        let columns = by.iter().map(|(at, _)| self.column(*at, &self.places)).collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().zip(by).map(|(column, (_, options))| SortField::new_with_options(column.data_type().clone(), *options));
        let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by(|a, b| (self.times[*a], keys.row(*a)).cmp(&(self.times[*b], keys.row(*b))));
        self.places = order.into_iter().map(|at| self.places[at]).collect();
        Ok(())
    }

    fn column(&self, at: usize, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.sources.iter().map(|rows| rows.column(at).as_ref()).collect();
        Ok(interleave(&arrays, places)?)
    }

    /// The rows at `range` of the order.
    pub(crate) fn rows(&self, range: Range<usize>) -> Result<RecordBatch> {
        gather(&self.schema, &self.sources, &self.places[range])
    }
}

/// The rows at `places` (source, row).
fn gather(schema: &SchemaRef, sources: &[RecordBatch], places: &[(usize, usize)]) -> Result<RecordBatch> {
    let one_source = sources.len() == 1;
    let rows =
        if one_source { UInt32Array::from_iter_values(places.iter().map(|(_, row)| *row as u32)) } else { UInt32Array::from(vec![0; 0]) };
    let column = |at: usize| -> Result<ArrayRef> {
        if places.is_empty() {
            return Ok(new_empty_array(schema.field(at).data_type()));
        }
        if one_source {
            return Ok(take(sources[0].column(at), &rows, None)?);
        }
        let arrays: Vec<&dyn Array> = sources.iter().map(|rows| rows.column(at).as_ref()).collect();
        Ok(interleave(&arrays, places)?)
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
