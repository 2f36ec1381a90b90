//! FIRST_VALUE, LAST_VALUE, NTH_VALUE: the value of one row of the frame.
//!
//! Of a sliding frame all rows are held that can still become that one (of LAST_VALUE the newest is enough); of a frame
//! that only grows, the value and how many rows there were.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use super::column::{Column, SortedRows};
use super::held::{Held, Place};
use super::{Frame, WhichRow};
use crate::error::Result;

/// A row of a sliding frame.
struct Row {
    /// Its number among all rows of the key.
    number: u64,
    ts: i64,
    place: Place,
}

/// What is kept of a key with a sliding frame.
#[derive(Default)]
struct Sliding {
    /// Rows of the key so far.
    seen: u64,
    /// Rows of the frame, oldest first.
    rows: VecDeque<Row>,
}

/// What is kept of a key whose frame only grows.
#[derive(Clone, Copy)]
struct Growing {
    /// Rows that count so far.
    counted: i64,
    place: Place,
}

impl Growing {
    const NOTHING: Growing = Growing { counted: 0, place: Held::DEFAULT };
}

/// One such function.
pub(crate) struct Nth {
    which: WhichRow,
    /// Do rows without a value not count?
    ignore_nulls: bool,
    frame: Frame,
    data_type: DataType,
    held: Held,
    /// By key slot.
    sliding: Vec<Sliding>,
    /// By key slot.
    growing: Vec<Growing>,
}

impl Nth {
    /// `data_type` is the type of the value.
    pub(crate) fn new(which: WhichRow, ignore_nulls: bool, frame: Frame, data_type: &DataType) -> Self {
        let held = Held::new(new_null_array(data_type, 1));
        Nth { which, ignore_nulls, frame, data_type: data_type.clone(), held, sliding: Vec::new(), growing: Vec::new() }
    }

    fn enter(&mut self, slot: usize, ts: i64, place: Place, counts: bool) {
        match self.frame {
            Frame::RangeUnbounded | Frame::RowsUnbounded => {
                let key = &mut self.growing[slot];
                if counts {
                    key.counted += 1;
                    let is_it = match self.which {
                        WhichRow::Last => true,
                        WhichRow::FromFirst(n) => i64::try_from(n).is_ok_and(|n| n == key.counted),
                    };
                    if is_it {
                        key.place = place;
                    }
                }
            }
            Frame::Range(_) | Frame::Rows(_) => {
                let key = &mut self.sliding[slot];
                let number = key.seen;
                key.seen += 1;
                if counts {
                    if self.which == WhichRow::Last {
                        key.rows.clear();
                    }
                    key.rows.push_back(Row { number, ts, place });
                }
                let frame = self.frame;
                let outside = |row: &Row| match frame {
                    Frame::Range(range) => row.ts < ts.saturating_sub(range),
                    Frame::Rows(before) => number - row.number > before,
                    Frame::RangeUnbounded | Frame::RowsUnbounded => false,
                };
                while key.rows.front().is_some_and(outside) {
                    key.rows.pop_front();
                }
            }
        }
    }

    fn look(&self, slot: usize) -> Place {
        match self.frame {
            Frame::RangeUnbounded | Frame::RowsUnbounded => self.growing[slot].place,
            Frame::Range(_) | Frame::Rows(_) => {
                let rows = &self.sliding[slot].rows;
                let row = match self.which {
                    WhichRow::Last => rows.back(),
                    WhichRow::FromFirst(n) => usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).and_then(|at| rows.get(at)),
                };
                row.map_or(Held::DEFAULT, |row| row.place)
            }
        }
    }
}

impl Column for Nth {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        match self.frame {
            Frame::RangeUnbounded | Frame::RowsUnbounded => self.growing.resize(rows.slot_count, Growing::NOTHING),
            Frame::Range(_) | Frame::Rows(_) => self.sliding.resize_with(rows.slot_count, Sliding::default),
        }
        if self.held.is_scattered() {
            let sliding = self.sliding.iter_mut().flat_map(|key| key.rows.iter_mut().map(|row| &mut row.place));
            self.held.compact(sliding.chain(self.growing.iter_mut().map(|key| &mut key.place)))?;
        }
        let array = self.held.push(args[0].clone());
        let nulls = args[0].logical_nulls().filter(|_| self.ignore_nulls);
        let mut places = vec![Held::DEFAULT; rows.times.len()];
        for step in rows.steps(self.frame) {
            for row in step.clone() {
                let counts = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                self.enter(rows.slots[row] as usize, rows.times[row], (array, row as u32), counts);
            }
            for row in step {
                places[row] = self.look(rows.slots[row] as usize);
            }
        }
        self.held.values(&places)
    }

    fn forget_before(&mut self, slot: u32, limit: i64) -> bool {
        let Some(key) = self.sliding.get_mut(slot as usize) else { return true };
        while key.rows.front().is_some_and(|row| row.ts < limit) {
            key.rows.pop_front();
        }
        if key.rows.is_empty() {
            *key = Sliding::default();
        }
        key.rows.is_empty()
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        let value = Field::new("value", self.data_type.clone(), true);
        Ok(vec![Arc::new(value), Arc::new(Field::new("counted", DataType::Int64, false))])
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let key = |slot: &u32| self.growing.get(*slot as usize).copied().unwrap_or(Growing::NOTHING);
        let places: Vec<Place> = slots.iter().map(|slot| key(slot).place).collect();
        let counted = Int64Array::from_iter_values(slots.iter().map(|slot| key(slot).counted));
        Ok(vec![self.held.values(&places)?, Arc::new(counted)])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let array = self.held.push(state[0].clone());
        for (row, (slot, counted)) in slots.iter().zip(state[1].as_primitive::<Int64Type>().values()).enumerate() {
            let slot = *slot as usize;
            if self.growing.len() <= slot {
                self.growing.resize(slot + 1, Growing::NOTHING);
            }
            self.growing[slot] = Growing { counted: *counted, place: (array, row as u32) };
        }
        Ok(())
    }
}
