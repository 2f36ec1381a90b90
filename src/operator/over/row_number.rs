//! ROW_NUMBER(): the position of a row among all rows of its key, in event-time order, from 1.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use crate::error::Result;
use crate::operator::frame::column::{Column, SortedRows};

/// The numbers dealt so far, by key slot.
#[derive(Default)]
pub(super) struct RowNumber {
    numbers: Vec<u64>,
}

impl Column for RowNumber {
    fn compute(&mut self, rows: &SortedRows<'_>, _args: &[ArrayRef]) -> Result<ArrayRef> {
        self.numbers.resize(rows.slot_count, 0);
        let next = |slot: &u32| {
            let number = &mut self.numbers[*slot as usize];
            *number += 1;
            *number
        };
        Ok(Arc::new(UInt64Array::from_iter_values(rows.slots.iter().map(next))))
    }

    fn forget_before(&mut self, _slot: u32, _limit: i64) -> bool {
        false
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("number", DataType::Int64, false))])
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let number = |slot: &u32| self.numbers.get(*slot as usize).map_or(0, |number| *number as i64);
        Ok(vec![Arc::new(Int64Array::from_iter_values(slots.iter().map(number)))])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (slot, number) in slots.iter().zip(state[0].as_primitive::<Int64Type>().values()) {
            if self.numbers.len() <= *slot as usize {
                self.numbers.resize(*slot as usize + 1, 0);
            }
            self.numbers[*slot as usize] = *number as u64;
        }
        Ok(())
    }
}
