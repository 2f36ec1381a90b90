//! Runs of slices merged ahead, so that a long overlapping window does not merge all of its slices each time it fires.
//!
//! ```text
//!  slices     0 1 2 3 4 5 6 7 8
//!  runs       └1┘ └1┘ └1┘ └1┘         a run of level L spans 2^L slices, aligned, made of two of level L - 1
//!             └──2──┘ └──2──┘
//!  [1, 8)       1 └1┘ └──2──┘         a window is the few largest runs that fit
//! ```
//! Runs are made when first asked for and never stored: they follow from the blocks of the slices. Short windows (up to
//! [`FEW_SLICES`]) merge their slices directly, which costs less than making runs.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use crate::error::Result;
use crate::operator::group_table::GroupLayout;
use crate::operator::windowing::Windowing;
use crate::time::{Window, WindowKind};

/// Windows of at most this many slices are not worth runs.
const FEW_SLICES: i64 = 8;

/// The merged runs of one operator instance.
#[derive(Debug)]
pub(crate) struct SliceRuns {
    /// Length of a slice, microseconds.
    size: i64,
    /// The slice whose start is `origin` modulo `period` has index 0 (for HOP: of all slices there are).
    period: Option<i64>,
    offset: i64,
    /// The highest level that more than one window can use; 0 = no runs.
    top: u32,
    /// By first slice and level.
    runs: BTreeMap<(i64, u32), RecordBatch>,
}

impl SliceRuns {
    pub(crate) fn new(windowing: &Windowing) -> Self {
        // A run is worth its making if two windows hold it: it must fit into a window twice, one slide apart.
        let (size, period, offset, longest) = match *windowing {
            Windowing::Time { kind: kind @ WindowKind::Hop { size, slide, offset }, .. } => {
                let slice = kind.slice_size();
                (slice, None, offset, if size / slice > FEW_SLICES { (size - slide) / slice } else { 1 })
            }
            Windowing::Time { kind: WindowKind::Cumulate { size, step, offset }, .. } => {
                (step, Some(size), offset, if size / step > FEW_SLICES { size / step - 1 } else { 1 })
            }
            Windowing::Time { kind, .. } => (kind.slice_size(), None, 0, 1),
            Windowing::Attached { .. } => (0, None, 0, 1),
        };
        SliceRuns { size, period, offset, top: longest.max(1).ilog2(), runs: BTreeMap::new() }
    }

    /// Length of a slice, microseconds.
    pub(crate) fn slice_size(&self) -> i64 {
        self.size
    }

    fn index(&self, slice: i64) -> i64 {
        let distance = slice - self.offset;
        self.period.map_or(distance, |period| distance.rem_euclid(period)).div_euclid(self.size)
    }

    /// States that together make up `window`, oldest first; `blocks_of` gives those of a slice.
    pub(crate) fn parts(
        &mut self,
        window: Window,
        layout: &GroupLayout,
        blocks_of: &impl Fn(i64) -> Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        let mut parts = Vec::new();
        let mut slice = window.start;
        while slice < window.end {
            let fits = ((window.end - slice) / self.size).max(1).ilog2();
            let level = self.index(slice).trailing_zeros().min(fits).min(self.top);
            parts.extend(self.run(slice, level, layout, blocks_of)?);
            slice += self.size << level;
        }
        Ok(parts)
    }

    fn run(
        &mut self,
        slice: i64,
        level: u32,
        layout: &GroupLayout,
        blocks_of: &impl Fn(i64) -> Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        if level == 0 {
            return Ok(blocks_of(slice));
        }
        if let Some(run) = self.runs.get(&(slice, level)) {
            return Ok(vec![run.clone()]);
        }
        let mut halves = self.run(slice, level - 1, layout, blocks_of)?;
        halves.extend(self.run(slice + (self.size << (level - 1)), level - 1, layout, blocks_of)?);
        let run = match halves.as_slice() {
            [] => return Ok(Vec::new()),
            [only] => only.clone(),
            several => layout.merge_states(several)?,
        };
        self.runs.insert((slice, level), run.clone());
        Ok(vec![run])
    }

    /// Rows are about to be added to `slice`: the runs that hold it no longer hold.
    pub(crate) fn forget_with(&mut self, slice: i64) {
        let index = self.index_or_zero(slice);
        for level in 1..=self.top {
            let first = slice - (index & ((1 << level) - 1)) * self.size;
            self.runs.remove(&(first, level));
        }
    }

    /// Memory of the runs.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.values().map(RecordBatch::get_array_memory_size).sum()
    }

    fn index_or_zero(&self, slice: i64) -> i64 {
        if self.top == 0 { 0 } else { self.index(slice) }
    }

    /// The slices up to the one that begins at `slice` have gone.
    pub(crate) fn forget_until(&mut self, slice: i64) {
        if self.top > 0 {
            self.runs = self.runs.split_off(&(slice, u32::MAX));
        }
    }
}
