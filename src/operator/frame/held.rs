//! Values that columns hold for later rows: kept in the arrays they came in, copied together now and then.

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;

use crate::error::Result;

/// Fewer arrays than this are left as they are …
const FEW_ARRAYS: usize = 32;
/// … and more than this never.
const MOST_ARRAYS: usize = 1024;

/// Where a held value is: array and row.
pub(crate) type Place = (u32, u32);

/// Held values of one column.
pub(crate) struct Held {
    /// One value: what there is in place of none.
    default: ArrayRef,
    /// The default, then the values.
    arrays: Vec<ArrayRef>,
    /// How many values were put together last, and how many have come since.
    together: usize,
    since: usize,
}

impl Held {
    /// The place of the default.
    pub(crate) const DEFAULT: Place = (0, 0);

    /// Nothing but the only value of `default`.
    pub(crate) fn new(default: ArrayRef) -> Self {
        Held { arrays: vec![default.clone()], default, together: 0, since: 0 }
    }

    /// Holds an array; returns its number in places.
    pub(crate) fn push(&mut self, values: ArrayRef) -> u32 {
        self.since += values.len();
        self.arrays.push(values);
        self.arrays.len() as u32 - 1
    }

    /// The values at `places`.
    pub(crate) fn values(&self, places: &[Place]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> = places.iter().map(|(array, row)| (*array as usize, *row as usize)).collect();
        Ok(interleave(&arrays, &places)?)
    }

    /// Should those places which are needed be given to `compact`? When as many values have come as there were, so that
    /// each is copied once or twice however small the arrays are that they come in.
    pub(crate) fn is_scattered(&self) -> bool {
        let arrays = self.arrays.len();
        arrays > MOST_ARRAYS || (arrays > FEW_ARRAYS && self.since >= self.together)
    }

    /// Puts the values at `places`, the only ones that are still needed, into one array, and changes the places.
    pub(crate) fn compact<'p>(&mut self, places: impl Iterator<Item = &'p mut Place>) -> Result<()> {
        let mut places: Vec<&mut Place> = places.filter(|place| **place != Held::DEFAULT).collect();
        let values = self.values(&places.iter().map(|place| **place).collect::<Vec<_>>())?;
        places.iter_mut().zip(0..).for_each(|(place, row)| **place = (1, row));
        (self.together, self.since) = (values.len(), 0);
        self.arrays = vec![self.default.clone(), values];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn values_are_copied_a_few_times_however_few_come_at_once() {
        let mut held = Held::new(Arc::new(Int64Array::from(vec![None::<i64>])));
        let mut live: VecDeque<(i64, Place)> = VecDeque::new();
        let mut copied = 0;
        for number in 0..20_000 {
            if held.is_scattered() {
                copied += live.len();
                held.compact(live.iter_mut().map(|(_, place)| place)).unwrap();
            }
            let array = held.push(Arc::new(Int64Array::from(vec![number])));
            live.push_back((number, (array, 0)));
            if live.len() > 3_000 {
                live.pop_front();
            }
            assert!(held.arrays.len() <= MOST_ARRAYS + 1);
        }
        let values = held.values(&live.iter().map(|(_, place)| *place).collect::<Vec<_>>()).unwrap();
        assert!(values.as_primitive::<Int64Type>().values().iter().eq(live.iter().map(|(number, _)| number)));
        assert!(copied < 4 * 20_000, "{copied} copies of 20,000 values");
    }
}
