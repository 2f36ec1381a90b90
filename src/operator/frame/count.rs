//! COUNT over a sliding RANGE frame: a queue of times per key is all it takes.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::FieldRef;

use super::Frame;
use super::column::{Column, SortedRows};
use crate::error::{Error, Result};

/// COUNT(*), or COUNT of one argument of any type.
pub(crate) struct RangeCount {
    range: i64,
    /// By key slot: the times of the rows in the frame, oldest first.
    times: Vec<VecDeque<i64>>,
}

impl RangeCount {
    /// Frames that reach back `range` microseconds.
    pub(crate) fn new(range: i64) -> Self {
        RangeCount { range, times: Vec::new() }
    }
}

impl Column for RangeCount {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let nulls = args.first().and_then(|arg| arg.logical_nulls());
        self.times.resize_with(rows.slot_count, VecDeque::new);
        let mut counts = vec![0; rows.times.len()];
        for step in rows.steps(Frame::Range(self.range)) {
            for row in step.clone() {
                let ts = rows.times[row];
                let times = &mut self.times[rows.slots[row] as usize];
                while times.front().is_some_and(|old| *old < ts.saturating_sub(self.range)) {
                    times.pop_front();
                }
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    times.push_back(ts);
                }
            }
            for row in step {
                counts[row] = self.times[rows.slots[row] as usize].len() as i64;
            }
        }
        Ok(Arc::new(Int64Array::from(counts)))
    }

    fn forget_before(&mut self, slot: u32, limit: i64) -> bool {
        let Some(times) = self.times.get_mut(slot as usize) else { return true };
        while times.front().is_some_and(|ts| *ts < limit) {
            times.pop_front();
        }
        if times.is_empty() {
            *times = VecDeque::new();
        }
        times.is_empty()
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        Ok(Vec::new())
    }

    fn state(&mut self, _slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Err(Error::bug("a sliding count is restored from rows"))
    }

    fn restore(&mut self, _slots: &[u32], _state: &[ArrayRef]) -> Result<()> {
        Err(Error::bug("a sliding count is restored from rows"))
    }
}
