//! LAG: the value some rows back, by row, in event-time order.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::datatypes::FieldRef;

use super::column::{Column, SortedRows};
use crate::error::{Error, Result};

/// Arrays of values that are held before those still needed are put together.
const HELD_ARRAYS: usize = 32;

/// One LAG.
pub(super) struct Lag {
    /// How many rows back.
    offset: usize,
    /// One value: what there is where no row is that far back.
    default: ArrayRef,
    /// Values of the rows so far, with the default first.
    arrays: Vec<ArrayRef>,
    /// By key slot: where the values of its last rows are (array, row), oldest first, `offset` at most.
    last: Vec<VecDeque<(u32, u32)>>,
}

impl Lag {
    /// The value `offset` rows back, or else the only one of `default`.
    pub(super) fn new(offset: u64, default: ArrayRef) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Lag { offset, arrays: vec![default.clone()], default, last: Vec::new() }
    }

    fn values(&self, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, places)?)
    }

    /// Puts the values that are still needed into one array.
    fn compact(&mut self) -> Result<()> {
        let places: Vec<(usize, usize)> = self.last.iter().flatten().map(|(array, row)| (*array as usize, *row as usize)).collect();
        let values = self.values(&places)?;
        self.last.iter_mut().flatten().zip(0..).for_each(|(place, row)| *place = (1, row));
        self.arrays = vec![self.default.clone(), values];
        Ok(())
    }
}

impl Column for Lag {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        self.last.resize_with(rows.slot_count, VecDeque::new);
        if self.arrays.len() >= HELD_ARRAYS {
            self.compact()?;
        }
        let array = self.arrays.len() as u32;
        self.arrays.push(args[0].clone());
        let value_of = |(row, slot): (usize, &u32)| {
            let last = &mut self.last[*slot as usize];
            last.push_back((array, row as u32));
            let place = if last.len() > self.offset { last.pop_front() } else { None };
            place.map_or((0, 0), |(array, row)| (array as usize, row as usize))
        };
        let places: Vec<(usize, usize)> = rows.slots.iter().enumerate().map(value_of).collect();
        self.values(&places)
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
