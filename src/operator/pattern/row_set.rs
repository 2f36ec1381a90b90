//! Which rows of a batch a condition holds for: all, a bitmap, or (when few) their numbers.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::BooleanBuffer;

/// Some rows of a batch.
#[derive(Debug, Clone)]
pub(super) enum RowSet {
    All,
    Bits(BooleanBuffer),
    Few(Few),
}

/// A few rows, ascending: a part of a list that others have parts of, too.
#[derive(Debug, Clone)]
pub(super) struct Few {
    list: Arc<[u32]>,
    part: Range<usize>,
}

impl Default for Few {
    fn default() -> Self {
        Few::all(Vec::new())
    }
}

impl Few {
    /// All of a list.
    pub(super) fn all(rows: Vec<u32>) -> Self {
        Few { part: 0..rows.len(), list: rows.into() }
    }

    /// A part of a list.
    pub(super) fn part(list: &Arc<[u32]>, part: Range<usize>) -> Self {
        Few { list: list.clone(), part }
    }

    /// The rows.
    pub(super) fn get(&self) -> &[u32] {
        &self.list[self.part.clone()]
    }
}

impl RowSet {
    /// Is the row among them?
    pub(super) fn contains(&self, row: u32) -> bool {
        match self {
            RowSet::All => true,
            RowSet::Bits(bits) => bits.value(row as usize),
            RowSet::Few(rows) => rows.get().binary_search(&row).is_ok(),
        }
    }

    /// Calls `each` with every row, ascending; `total` rows there are.
    pub(super) fn for_each(&self, total: usize, each: impl FnMut(u32)) {
        match self {
            RowSet::All => (0..total as u32).for_each(each),
            RowSet::Bits(bits) => bits.set_indices_u32().for_each(each),
            RowSet::Few(rows) => rows.get().iter().copied().for_each(each),
        }
    }
}

/// The rows that are in any of `sets`, ascending.
pub(super) fn any_of<'a>(sets: impl Iterator<Item = &'a RowSet>, total: usize, rows: &mut Vec<u32>) {
    rows.clear();
    let mut count = 0;
    for set in sets {
        if matches!(set, RowSet::All) {
            rows.clear();
            rows.extend(0..total as u32);
            return;
        }
        let before = rows.len();
        set.for_each(total, |row| rows.push(row));
        count += usize::from(rows.len() > before);
    }
    if count > 1 {
        rows.sort_unstable();
        rows.dedup();
    }
}
