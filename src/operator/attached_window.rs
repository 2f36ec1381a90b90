//! Rows that carry their window as columns: they wait in `pending.rs` until the watermark closes it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::error::Result;
use crate::operator::event_time::{micros, refuse_late, refuse_null_times};
use crate::operator::pending::Due;
use crate::operator::{OUTPUT_ROWS, Output};
use crate::time::Watermark;

/// The columns of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttachedWindow {
    /// `window_start`.
    pub(crate) start: usize,
    /// `window_end`.
    pub(crate) end: usize,
}

impl AttachedWindow {
    /// When rows fall due: their window closes at a watermark of its end, which is past the last instant inside.
    pub(crate) fn due(self, rows: &RecordBatch) -> Result<Vec<i64>> {
        Ok(micros(rows.column(self.end))?.values().iter().map(|end| end.saturating_sub(1)).collect())
    }

    /// The rows whose window is open at `mark`, and when they fall due; the others are refused.
    pub(crate) fn admit(self, batch: RecordBatch, mark: Watermark, out: &mut Output) -> Result<(RecordBatch, Vec<i64>)> {
        let (batch, _) = refuse_null_times(batch, self.end, out)?;
        let due = self.due(&batch)?;
        if due.iter().all(|due| *due >= mark.0) {
            return Ok((batch, due));
        }
        let (late, open): (Vec<u32>, Vec<u32>) = (0..due.len() as u32).partition(|row| due[*row as usize] < mark.0);
        let pairs = late.len() as u64;
        refuse_late(&batch, late, pairs, || format!("the window has closed: the watermark is {mark}"), out)?;
        let due = open.iter().map(|row| due[*row as usize]).collect();
        Ok((take_record_batch(&batch, &UInt32Array::from(open))?, due))
    }

    /// What tells groups of `keys` apart among these rows: the keys and, unless `single`, the window.
    pub(crate) fn group_columns(self, rows: &RecordBatch, keys: &[usize], single: bool) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = keys.iter().map(|key| rows.column(*key).clone()).collect();
        if !single {
            for column in [self.start, self.end] {
                columns.push(Arc::new(micros(rows.column(column))?) as ArrayRef);
            }
        }
        Ok(columns)
    }

    /// The only window of these rows, if they have no more than one.
    pub(crate) fn single(self, rows: &RecordBatch) -> Result<Option<(i64, i64)>> {
        let (starts, ends): (Int64Array, Int64Array) = (micros(rows.column(self.start))?, micros(rows.column(self.end))?);
        let mut windows = starts.values().iter().copied().zip(ends.values().iter().copied());
        let first = windows.next();
        Ok(first.filter(|first| windows.all(|window| window == *first)))
    }
}

/// Cuts rows that have fallen due, of one or two inputs, where a window ends: a large window alone, small ones together.
pub(crate) fn by_windows<const N: usize>(due: [&Due; N]) -> Vec<[Range<usize>; N]> {
    let mut parts = Vec::new();
    let mut from = [0; N];
    loop {
        let mut to = from;
        let taken = |to: &[usize; N]| to.iter().zip(from).map(|(to, from)| to - from).sum::<usize>();
        while taken(&to) < OUTPUT_ROWS {
            let Some(next) = due.iter().zip(to).filter_map(|(due, at)| due.times.get(at)).min().copied() else { break };
            for (due, to) in due.iter().zip(&mut to) {
                *to += due.times[*to..].partition_point(|time| *time <= next);
            }
        }
        if to == from {
            return parts;
        }
        let mut ranges = from.into_iter().zip(to).map(|(from, to)| from..to);
        parts.push(std::array::from_fn(|_| ranges.next().unwrap_or_default()));
        from = to;
    }
}
