//! Where the windows of rows come from, which slice a row falls into, and which of its windows have closed.
//!
//! With HOP 10 s every 5 s a row at 7 s lies in [0, 10) and [5, 15): when the watermark is at 10 s it is late for the first
//! and still taken for the second.

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use hashbrown::HashMap;

use crate::error::Result;
use crate::metrics::Reason;
use crate::operator::event_time::{micros, refuse_null_times};
use crate::operator::expressions::Failures;
use crate::operator::{Output, Refused};
use crate::time::{Watermark, Window, WindowKind};

/// Where the windows of a row come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windowing {
    /// From its event time.
    Time {
        /// Event-time column of the input.
        time: usize,
        /// TUMBLE, HOP or CUMULATE.
        kind: WindowKind,
    },
    /// The row carries its window already (output of a window join, of another window aggregation, of an assignment).
    Attached {
        /// Column with `window_start` (any timestamp type).
        start: usize,
        /// Column with `window_end`.
        end: usize,
    },
}

/// The rows of a batch that fall into one slice; `None` = all of them.
pub(crate) type SliceRows = (Window, Option<UInt32Array>);

impl Windowing {
    /// The same, if its sizes make windows.
    pub(crate) fn checked(&self) -> Result<Self> {
        if let Windowing::Time { kind, .. } = self {
            kind.check()?;
        }
        Ok(self.clone())
    }

    /// Refuses rows without a time or window, and deals the others to slices.
    pub(crate) fn split(&self, batch: RecordBatch, out: &mut Output) -> Result<(RecordBatch, Vec<SliceRows>)> {
        match *self {
            Windowing::Time { time, kind } => {
                let (batch, times) = refuse_null_times(batch, time, out)?;
                Ok((batch, split_by_time(kind, &times)))
            }
            Windowing::Attached { start, end } => {
                let (batch, _) = refuse_null_times(batch, start, out)?;
                let (batch, ends) = refuse_null_times(batch, end, out)?;
                let starts = micros(batch.column(start))?;
                Ok((batch, split_by_window(&starts, &ends)))
            }
        }
    }

    /// Refuses what is late at `mark`: rows whose every window has closed, and, of those that are late for some windows
    /// only, the number of pairs. Returns the slices that still take their rows. `weights` are rows behind each row.
    pub(crate) fn refuse_late(
        &self,
        batch: &RecordBatch,
        parts: Vec<SliceRows>,
        mark: Watermark,
        weights: Option<&Int64Array>,
        out: &mut Output,
    ) -> Result<Vec<SliceRows>> {
        if parts.iter().all(|(slice, _)| !mark.passed(slice.end)) {
            return Ok(parts);
        }
        let mut open = Vec::with_capacity(parts.len());
        for (slice, rows) in parts {
            let (closed, windows) = self.closed(slice, mark);
            if closed > 0 {
                let late = match &rows {
                    None => batch.clone(),
                    Some(rows) => arrow::compute::take_record_batch(batch, rows)?,
                };
                let count = match (weights, &rows) {
                    (None, _) => late.num_rows() as u64,
                    (Some(weights), None) => weights.values().iter().sum::<i64>() as u64,
                    (Some(weights), Some(rows)) => rows.values().iter().map(|row| weights.value(*row as usize)).sum::<i64>() as u64,
                };
                let (late, error) = if closed == windows {
                    (late, format!("all windows of the row had closed: the watermark was {mark}"))
                } else {
                    (late.slice(0, 0), format!("{closed} of {windows} windows of the row had closed: the watermark was {mark}"))
                };
                out.refuse(Refused { reason: Reason::Late, rows: late, pairs: count * closed, error });
            }
            if closed < windows {
                open.push((slice, rows));
            }
        }
        Ok(open)
    }

    /// Does a slice belong to several windows?
    pub(crate) fn shared(&self) -> bool {
        matches!(self, Windowing::Time { kind: WindowKind::Hop { .. } | WindowKind::Cumulate { .. }, .. })
    }

    /// The first window of `slice` that has not closed at `mark`.
    pub(crate) fn first_open(&self, slice: Window, mark: Watermark) -> Option<Window> {
        match self {
            Windowing::Time { kind, .. } => {
                let run = kind.run_of_slice(slice.start);
                let ended = run.ended(mark.0);
                (ended < run.count).then(|| run.nth(ended))
            }
            Windowing::Attached { .. } => Some(slice).filter(|window| !mark.passed(window.end)),
        }
    }

    /// How many windows of `slice` have closed at `mark`, and how many there are.
    pub(crate) fn closed(&self, slice: Window, mark: Watermark) -> (u64, u64) {
        if !mark.passed(slice.end) {
            // No window ends before its slices do.
            return (0, 1);
        }
        match self {
            Windowing::Time { kind, .. } => {
                let run = kind.run_of_slice(slice.start);
                (run.ended(mark.0).unsigned_abs(), run.count.unsigned_abs())
            }
            Windowing::Attached { .. } => (1, 1),
        }
    }

    /// When the last window of `slice` ends.
    pub(crate) fn last_end(&self, slice: Window) -> i64 {
        match self {
            Windowing::Time { kind, .. } => kind.last_end_of_slice(slice.start),
            Windowing::Attached { .. } => slice.end,
        }
    }
}

/// Refuses rows on which an expression failed, of those that go into slices; returns what is left for each slice.
pub(crate) fn without_failed(
    batch: &RecordBatch,
    parts: Vec<SliceRows>,
    mut failures: Failures,
    out: &mut Output,
) -> Result<Vec<SliceRows>> {
    if failures.is_empty() {
        return Ok(parts);
    }
    let mut taken = vec![false; batch.num_rows()];
    for (_, rows) in &parts {
        match rows {
            None => taken.fill(true),
            Some(rows) => rows.values().iter().for_each(|row| taken[*row as usize] = true),
        }
    }
    failures.retain(|row| taken[row as usize]);
    let Some(others) = out.refuse_failed(batch, &failures)? else { return Ok(parts) };
    let left = parts.into_iter().map(|(slice, rows)| {
        let rows: Vec<u32> = match rows {
            None => (0..batch.num_rows() as u32).filter(|row| others.value(*row as usize)).collect(),
            Some(rows) => rows.values().iter().copied().filter(|row| others.value(*row as usize)).collect(),
        };
        (slice, Some(UInt32Array::from(rows)))
    });
    Ok(left.filter(|(_, rows)| rows.as_ref().is_some_and(|rows| !rows.is_empty())).collect())
}

/// Deals rows to slices by their event times (no NULLs). Most batches lie in one slice: then no row is looked at twice.
pub(crate) fn split_by_time(kind: WindowKind, times: &Int64Array) -> Vec<SliceRows> {
    let size = kind.slice_size();
    let slice = |ts: i64| {
        let start = kind.slice_start(ts);
        Window { start, end: start + size }
    };
    let (Some(least), Some(most)) = (arrow::compute::min(times), arrow::compute::max(times)) else { return Vec::new() };
    let first = slice(least);
    if most < first.end {
        return vec![(first, None)];
    }
    deal(times.values().iter().copied(), |ts, of: Window| (of.start..of.end).contains(&ts), slice)
}

/// Deals rows to the windows they carry (no NULLs).
pub(crate) fn split_by_window(starts: &Int64Array, ends: &Int64Array) -> Vec<SliceRows> {
    let windows = starts.values().iter().zip(ends.values()).map(|(start, end)| Window { start: *start, end: *end });
    deal(windows, |window, of| window == of, |window| window)
}

fn deal<T: Copy>(rows: impl Iterator<Item = T>, inside: impl Fn(T, Window) -> bool, slice: impl Fn(T) -> Window) -> Vec<SliceRows> {
    let mut parts: Vec<(Window, Vec<u32>)> = Vec::new();
    let mut known: HashMap<Window, usize, ahash::RandomState> = HashMap::default();
    let mut current = 0;
    for (row, value) in rows.enumerate() {
        // Neighbours mostly share their slice.
        if parts.get(current).is_none_or(|(window, _)| !inside(value, *window)) {
            let window = slice(value);
            current = *known.entry(window).or_insert_with(|| {
                parts.push((window, Vec::new()));
                parts.len() - 1
            });
        }
        parts[current].1.push(row as u32);
    }
    if parts.len() == 1 {
        return vec![(parts[0].0, None)];
    }
    parts.into_iter().map(|(window, rows)| (window, Some(rows.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dealt_to_slices_and_a_batch_within_one_is_not_split() {
        let kind = WindowKind::Tumble { size: 10, offset: 0 };
        assert_eq!(split_by_time(kind, &vec![3, 9, 0].into()), [(Window { start: 0, end: 10 }, None)]);
        let parts = split_by_time(kind, &vec![3, 11, -1, 4].into());
        let rows = |r: Vec<u32>| Some(UInt32Array::from(r));
        assert_eq!(
            parts,
            [
                (Window { start: 0, end: 10 }, rows(vec![0, 3])),
                (Window { start: 10, end: 20 }, rows(vec![1])),
                (Window { start: -10, end: 0 }, rows(vec![2]))
            ]
        );
    }
}
