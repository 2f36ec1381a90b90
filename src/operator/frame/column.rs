//! What computes one aggregate over a frame of the rows of each key, whatever the aggregate.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::Frame;
use crate::error::Result;

/// Do rows of one time see each other where the frame goes by time?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ties {
    /// They enter their frames together, before any of them is looked at (SQL's RANGE).
    Together,
    /// Each sees those before it only (a rule is judged event by event).
    InTurn,
}

/// Rows in event-time order, with the slot of their key.
pub(crate) struct SortedRows<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) slots: &'a [u32],
    /// One more than the largest slot there is.
    pub(crate) slot_count: usize,
    pub(crate) ties: Ties,
}

impl SortedRows<'_> {
    /// Rows that enter their frames together: rows of one time where the frame goes by time and ties do, else single rows.
    pub(crate) fn steps(&self, frame: Frame) -> impl Iterator<Item = Range<usize>> {
        let by_row = self.ties == Ties::InTurn || matches!(frame, Frame::Rows(_) | Frame::RowsUnbounded);
        let mut start = 0;
        std::iter::from_fn(move || {
            let first = *self.times.get(start)?;
            let mut end = start + 1;
            while !by_row && self.times.get(end) == Some(&first) {
                end += 1;
            }
            let step = start..end;
            start = end;
            Some(step)
        })
    }
}

/// A computed column. What it keeps per key it can build again from rows fed to `compute` (sliding frames) or from its
/// own state (frames that only grow).
pub(crate) trait Column: Send {
    /// The results for rows that follow all rows given before.
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef>;

    /// Forgets rows of a key before `limit` (sliding RANGE frames). Is nothing left of the key?
    fn forget_before(&mut self, slot: u32, limit: i64) -> bool;

    /// Fields of `state`.
    fn state_fields(&self) -> Result<Vec<FieldRef>>;

    /// The state of keys whose frames only grow.
    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Puts states back; a key that occurs twice has the later one.
    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()>;
}
