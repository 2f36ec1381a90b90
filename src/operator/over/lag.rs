//! LAG: the value some rows back, by row, in event-time order.

use std::collections::VecDeque;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use crate::error::{Error, Result};
use crate::operator::frame::column::{Column, SortedRows};
use crate::operator::frame::held::{Held, Place};

/// One LAG.
pub(super) struct Lag {
    /// How many rows back.
    offset: usize,
    held: Held,
    /// By key slot: where the values of its last rows are, oldest first, `offset` at most.
    last: Vec<VecDeque<Place>>,
}

impl Lag {
    /// The value `offset` rows back, or else the only one of `default`.
    pub(super) fn new(offset: u64, default: ArrayRef) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Lag { offset, held: Held::new(default), last: Vec::new() }
    }
}

impl Column for Lag {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        self.last.resize_with(rows.slot_count, VecDeque::new);
        if self.held.is_scattered() {
            self.held.compact(self.last.iter_mut().flatten())?;
        }
        let array = self.held.push(args[0].clone());
        let value_of = |(row, slot): (usize, &u32)| {
            let last = &mut self.last[*slot as usize];
            last.push_back((array, row as u32));
            let place = if last.len() > self.offset { last.pop_front() } else { None };
            place.unwrap_or(Held::DEFAULT)
        };
        let places: Vec<Place> = rows.slots.iter().enumerate().map(value_of).collect();
        self.held.values(&places)
    }

    fn forget_before(&mut self, _slot: u32, _limit: i64) -> bool {
        false
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        Ok(Vec::new())
    }

    fn state(&mut self, _slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Err(Error::bug("LAG is restored from rows"))
    }

    fn restore(&mut self, _slots: &[u32], _state: &[ArrayRef]) -> Result<()> {
        Err(Error::bug("LAG is restored from rows"))
    }
}
