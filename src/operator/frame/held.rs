//! Values that columns hold for later rows: kept in the arrays they came in, copied together now and then.

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;

use crate::error::Result;

/// Arrays that are held before the values still needed are put together.
const MOST_ARRAYS: usize = 32;

/// Where a held value is: array and row.
pub(crate) type Place = (u32, u32);

/// Held values of one column.
pub(crate) struct Held {
    /// One value: what there is in place of none.
    default: ArrayRef,
    /// The default, then the values.
    arrays: Vec<ArrayRef>,
}

impl Held {
    /// The place of the default.
    pub(crate) const DEFAULT: Place = (0, 0);

    /// Nothing but the only value of `default`.
    pub(crate) fn new(default: ArrayRef) -> Self {
        Held { arrays: vec![default.clone()], default }
    }

    /// Holds an array; returns its number in places.
    pub(crate) fn push(&mut self, values: ArrayRef) -> u32 {
        self.arrays.push(values);
        self.arrays.len() as u32 - 1
    }

    /// The values at `places`.
    pub(crate) fn values(&self, places: &[Place]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> = places.iter().map(|(array, row)| (*array as usize, *row as usize)).collect();
        Ok(interleave(&arrays, &places)?)
    }

    /// Are there so many arrays that those places which are needed should be given to `compact`?
    pub(crate) fn is_scattered(&self) -> bool {
        self.arrays.len() >= MOST_ARRAYS
    }

    /// Puts the values at `places`, the only ones that are still needed, into one array, and changes the places.
    pub(crate) fn compact<'p>(&mut self, places: impl Iterator<Item = &'p mut Place>) -> Result<()> {
        let mut places: Vec<&mut Place> = places.filter(|place| **place != Held::DEFAULT).collect();
        let values = self.values(&places.iter().map(|place| **place).collect::<Vec<_>>())?;
        places.iter_mut().zip(0..).for_each(|(place, row)| **place = (1, row));
        self.arrays = vec![self.default.clone(), values];
        Ok(())
    }
}
