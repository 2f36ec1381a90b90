//! RANK() and DENSE_RANK() in event-time order: rows of one time share a rank.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use crate::error::Result;
use crate::operator::frame::column::{Column, SortedRows};

/// What is known of a key.
#[derive(Clone, Copy, Default)]
struct Key {
    /// Rows so far; 0 = nothing is known.
    rows: i64,
    /// The last time, the rank of its rows, and how many times there were.
    time: i64,
    rank: i64,
    times: i64,
}

/// RANK, or DENSE_RANK.
pub(super) struct Rank {
    dense: bool,
    /// By key slot.
    keys: Vec<Key>,
}

impl Rank {
    /// `dense`: without the gaps that ties leave.
    pub(super) fn new(dense: bool) -> Self {
        Rank { dense, keys: Vec::new() }
    }
}

impl Column for Rank {
    fn compute(&mut self, rows: &SortedRows<'_>, _args: &[ArrayRef]) -> Result<ArrayRef> {
        self.keys.resize(rows.slot_count, Key::default());
        let rank = |(slot, time): (&u32, &i64)| {
            let key = &mut self.keys[*slot as usize];
            key.rows += 1;
            if key.rows == 1 || key.time != *time {
                *key = Key { time: *time, rank: key.rows, times: key.times + 1, ..*key };
            }
            if self.dense { key.times as u64 } else { key.rank as u64 }
        };
        Ok(Arc::new(UInt64Array::from_iter_values(rows.slots.iter().zip(rows.times).map(rank))))
    }

    fn forget_before(&mut self, _slot: u32, _limit: i64) -> bool {
        false
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        Ok(["rows", "time", "rank", "times"].map(|name| Arc::new(Field::new(name, DataType::Int64, false))).to_vec())
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |part: fn(&Key) -> i64| -> ArrayRef {
            let of = |slot: &u32| self.keys.get(*slot as usize).map_or(0, part);
            Arc::new(Int64Array::from_iter_values(slots.iter().map(of)))
        };
        Ok(vec![column(|k| k.rows), column(|k| k.time), column(|k| k.rank), column(|k| k.times)])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let [rows, time, rank, times] = [0, 1, 2, 3].map(|at| state[at].as_primitive::<Int64Type>());
        for (row, slot) in slots.iter().enumerate() {
            let slot = *slot as usize;
            if self.keys.len() <= slot {
                self.keys.resize(slot + 1, Key::default());
            }
            self.keys[slot] = Key { rows: rows.value(row), time: time.value(row), rank: rank.value(row), times: times.value(row) };
        }
        Ok(())
    }
}
