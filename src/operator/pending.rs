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
use arrow::compute::{SortOptions, concat, interleave, take};
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
    /// Row numbers in due order; none: as they lie.
    order: Option<Vec<u32>>,
    /// How many were handed out.
    done: usize,
    block: Option<BlockId>,
}

impl Run {
    /// Number of the row at a place of the due order.
    fn row(&self, place: usize) -> u32 {
        self.order.as_ref().map_or(place as u32, |order| order[place])
    }

    /// How many of the rows fall due before `mark`.
    fn before(&self, mark: i64) -> usize {
        match &self.order {
            None => self.due.partition_point(|due| *due < mark),
            Some(order) => order.partition_point(|row| self.due[*row as usize] < mark),
        }
    }

    /// When the next row falls due.
    fn head(&self) -> Option<i64> {
        (self.done < self.due.len()).then(|| self.due[self.row(self.done) as usize])
    }
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
    places: Places,
}

/// Where rows are.
#[derive(Debug)]
enum Places {
    /// In stretches of the sources, one after the other, as they came: source, first row, and how many rows there are up
    /// to the end of the stretch. No row is looked at alone.
    Stretches(Vec<(usize, usize, usize)>),
    /// Each somewhere: source, row.
    Rows(Vec<(usize, usize)>),
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
        let rows_in_order = (0..rows.num_rows() as u32).is_sorted_by_key(|row| key(&row));
        let order = (!rows_in_order).then(|| {
            let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
            order.sort_unstable_by_key(key);
            order
        });
        let run = Run { rows, due, order, done: 0, block };
        self.heads.extend(run.head().map(|head| Reverse((head, self.next))));
        self.runs.insert(self.next, run);
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
        let mut due = Due { schema: self.table.schema().clone(), sources: Vec::new(), times: Vec::new(), places: Places::Rows(Vec::new()) };
        let mut taken: Vec<(Run, Range<usize>)> = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let Some(mut run) = self.runs.remove(number) else { continue };
            let places = run.done..run.before(mark);
            run.done = places.end;
            due.sources.push(run.rows.clone());
            taken.push((run, places));
        }
        due.places = match self.stretches(&taken) {
            Some(stretches) => {
                taken.iter().for_each(|(run, places)| due.times.extend_from_slice(&run.due[places.clone()]));
                Places::Stretches(stretches)
            }
            None => {
                let mut rows: Vec<(i64, i64, u32, u32)> = Vec::new();
                for (source, (run, places)) in taken.iter().enumerate() {
                    let seq = self.seq_of(&run.rows)?;
                    rows.extend(places.clone().map(|place| {
                        let row = run.row(place);
                        (run.due[row as usize], seq.as_ref().map_or(0, |seq| seq.value(row as usize)), source as u32, row)
                    }));
                }
                // The stable sort merges runs that are sorted already.
                rows.sort();
                due.times = rows.iter().map(|row| row.0).collect();
                Places::Rows(rows.iter().map(|row| (row.2 as usize, row.3 as usize)).collect())
            }
        };
        for (number, (run, _)) in numbers.into_iter().zip(taken) {
            match run.head() {
                Some(head) => {
                    self.heads.push(Reverse((head, number)));
                    self.runs.insert(number, run);
                }
                None => run.block.iter().for_each(|id| self.table.remove(*id)),
            }
        }
        Ok(due)
    }

    /// The rows as stretches, where each run lies in order and begins when the one before is over.
    fn stretches(&self, taken: &[(Run, Range<usize>)]) -> Option<Vec<(usize, usize, usize)>> {
        let mut stretches = Vec::with_capacity(taken.len());
        let (mut last, mut total) = ((i64::MIN, i64::MIN), 0);
        for (source, (run, places)) in taken.iter().enumerate() {
            let seq = self.seq_of(&run.rows).ok()?;
            let key = |row: usize| (run.due[row], seq.as_ref().map_or(0, |seq| seq.value(row)));
            if run.order.is_some() || (!places.is_empty() && key(places.start) < last) {
                return None;
            }
            last = if places.is_empty() { last } else { key(places.end - 1) };
            total += places.len();
            stretches.push((source, places.start, total));
        }
        Some(stretches)
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
            self.rebuild_heads();
            return Ok(());
        }
        let mut places = Vec::new();
        let mut due = Vec::new();
        for (source, run) in rest.iter().enumerate() {
            // Arrival order is kept, being the last tie-breaker.
            let mut left: Vec<u32> = (run.done..run.due.len()).map(|place| run.row(place)).collect();
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
        self.rebuild_heads();
        Ok(())
    }

    /// Memory of what is in no block of the state table, in bytes.
    pub(crate) fn bytes_outside(&self) -> usize {
        let of = |run: &Run| {
            let rows = if run.block.is_none() { run.rows.get_array_memory_size() } else { 0 };
            rows + run.due.len() * size_of::<i64>() + run.order.as_ref().map_or(0, |order| order.len() * size_of::<u32>())
        };
        self.runs.values().map(of).sum()
    }

    /// Number of rows that wait.
    pub(crate) fn len(&self) -> usize {
        self.runs.values().map(|run| run.due.len() - run.done).sum()
    }

    fn rebuild_heads(&mut self) {
        let head = |(number, run): (&u32, &Run)| Some(Reverse((run.head()?, *number)));
        self.heads = self.runs.iter().filter_map(head).collect();
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
        let places = self.spelled_out();
        let columns = by.iter().map(|(at, _)| self.column(*at, &places)).collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().zip(by).map(|(column, (_, options))| SortField::new_with_options(column.data_type().clone(), *options));
        let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by(|a, b| (self.times[*a], keys.row(*a)).cmp(&(self.times[*b], keys.row(*b))));
        self.places = Places::Rows(order.into_iter().map(|at| places[at]).collect());
        Ok(())
    }

    fn column(&self, at: usize, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.sources.iter().map(|rows| rows.column(at).as_ref()).collect();
        Ok(interleave(&arrays, places)?)
    }

    /// Where each row is.
    fn spelled_out(&self) -> Vec<(usize, usize)> {
        match &self.places {
            Places::Rows(places) => places.clone(),
            Places::Stretches(stretches) => {
                let begins = std::iter::once(0).chain(stretches.iter().map(|(_, _, end)| *end));
                let of_one = |((source, first, end), begin): (&(usize, usize, usize), usize)| {
                    let (source, first) = (*source, *first);
                    (0..end - begin).map(move |at| (source, first + at))
                };
                stretches.iter().zip(begins).flat_map(of_one).collect()
            }
        }
    }

    /// The rows at `range` of the order.
    pub(crate) fn rows(&self, range: Range<usize>) -> Result<RecordBatch> {
        let stretches = match &self.places {
            Places::Rows(places) => return gather(&self.schema, &self.sources, &places[range]),
            Places::Stretches(stretches) => stretches,
        };
        let mut pieces = Vec::new();
        let mut at = range.start;
        for number in stretches.partition_point(|(_, _, end)| *end <= at)..stretches.len() {
            let begin = number.checked_sub(1).map_or(0, |before| stretches[before].2);
            let (source, first, end) = stretches[number];
            let to = end.min(range.end);
            if at >= to {
                break;
            }
            pieces.push((source, first + at - begin, to - at));
            at = to;
        }
        match pieces[..] {
            // Most of a batch is handed on as it lies; a few rows must not hold on to all of it.
            [(source, first, rows)] if 2 * rows >= self.sources[source].num_rows() => {
                let columns = self.sources[source].columns().iter().map(|column| column.slice(first, rows)).collect();
                Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &row_count(rows))?)
            }
            [(source, first, rows)] => {
                gather(&self.schema, &self.sources, &(first..first + rows).map(|row| (source, row)).collect::<Vec<_>>())
            }
            _ => {
                let column = |at: usize| -> Result<ArrayRef> {
                    let pieces: Vec<ArrayRef> =
                        pieces.iter().map(|(source, first, rows)| self.sources[*source].column(at).slice(*first, *rows)).collect();
                    match &pieces[..] {
                        [] => Ok(new_empty_array(self.schema.field(at).data_type())),
                        _ => Ok(concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
                    }
                };
                let columns = (0..self.schema.fields().len()).map(column).collect::<Result<_>>()?;
                Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &row_count(range.len()))?)
            }
        }
    }
}

fn row_count(rows: usize) -> RecordBatchOptions {
    RecordBatchOptions::new().with_row_count(Some(rows))
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
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &row_count(places.len()))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// Time, number of the row.
    fn batch(rows: &[(i64, i64)]) -> RecordBatch {
        let column = |of: fn(&(i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
        let schema = Schema::new(vec![Field::new("t", DataType::Int64, false), Field::new("$seq", DataType::Int64, false)]);
        RecordBatch::try_new(Arc::new(schema), vec![column(|row| row.0), column(|row| row.1)]).unwrap()
    }

    #[test]
    fn rows_come_in_order_whether_they_lay_in_it_or_not() {
        let mut seed = 3_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % below) as i64
        };
        let mut in_stretches = 0;
        for (disorder, seq) in [(1, None), (1, Some(1)), (6, None), (6, Some(1)), (40, Some(1))] {
            let schema = batch(&[]).schema();
            let due = |rows: &RecordBatch| Ok(rows.column(0).as_primitive::<Int64Type>().values().to_vec());
            let mut pending = Pending::open(BlockTable::new(schema.clone(), Vec::new()), seq, due).unwrap();
            let (mut waiting, mut time, mut number): (Vec<(i64, i64)>, _, _) = (Vec::new(), 0, 0);
            for _ in 0..60 {
                let rows: Vec<(i64, i64)> = (0..random(9))
                    .map(|_| {
                        time += random(4);
                        number += 1;
                        (time + random(disorder as u64), number)
                    })
                    .collect();
                pending.add(batch(&rows), rows.iter().map(|row| row.0).collect()).unwrap();
                waiting.extend(rows);
                if random(3) == 0 {
                    pending.checkpoint().unwrap();
                }
                let mark = time - random(9);
                let mut expected: Vec<(i64, i64)> = waiting.extract_if(.., |row| row.0 < mark).collect();
                // Numbers ascend as rows arrive: ties go either way by them.
                expected.sort();
                let taken = pending.take_before(mark).unwrap();
                in_stretches += usize::from(matches!(taken.places, Places::Stretches(_)) && taken.len() > 1);
                assert_eq!(taken.times, expected.iter().map(|row| row.0).collect::<Vec<_>>());
                let mut pieces = Vec::new();
                let mut from = 0;
                while from < taken.len() {
                    let to = taken.len().min(from + 1 + random(6) as usize);
                    pieces.push(taken.rows(from..to).unwrap());
                    from = to;
                }
                assert_eq!(concat_batches(&schema, &pieces).unwrap(), batch(&expected));
            }
            assert_eq!(pending.len(), waiting.len());
        }
        assert!(in_stretches > 10, "{in_stretches}");
    }
}
