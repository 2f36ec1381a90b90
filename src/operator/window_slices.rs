//! The state of a window aggregation: slices of groups, and the windows over them that have not fired yet.
//!
//! ```text
//!  slice 0 s   [block][block] + delta ─┐
//!  slice 2 s   [block]        + delta ─┼─ merged when a window that spans them fires
//!  slice 4 s                    delta ─┘
//! ```
//! A slice holds what rows made of it since the last checkpoint (the delta, a hash table) and what earlier ones made of it
//! (blocks of states, which a checkpoint writes once). Where windows are given by the rows, each window is a slice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};

use crate::error::{Error, Result};
use crate::operator::event_time::timestamps;
use crate::operator::group_table::{GroupLayout, GroupTable};
use crate::operator::kept_mark::KeptMark;
use crate::operator::slice_runs::SliceRuns;
use crate::operator::windowing::Windowing;
use crate::state::{BlockId, BlockTable, StateHandles};
use crate::time::{Watermark, Window};

/// A slice with more blocks than this is compacted into one.
const MAX_BLOCKS: usize = 8;

/// A window's number of groups, their keys and results.
pub(crate) type Results = (usize, Vec<ArrayRef>);

/// All slices of one operator instance.
pub(crate) struct WindowSlices {
    layout: Arc<GroupLayout>,
    windowing: Windowing,
    slices: BTreeMap<Window, Slice>,
    /// The next window of each slice, at least, that has not fired, as (end, start): the order they fire in. A window that
    /// fires is followed by the next one over its slices.
    pending: BTreeSet<(i64, i64)>,
    /// Slices with a delta.
    dirty: BTreeSet<Window>,
    mark: KeptMark,
    /// The blocks of all slices. Where windows come with the rows, a last column says when the window ends.
    table: BlockTable,
    runs: SliceRuns,
}

#[derive(Default)]
struct Slice {
    /// What came in since the last checkpoint.
    delta: Option<GroupTable>,
    /// What came in before.
    blocks: Vec<(BlockId, RecordBatch)>,
}

impl WindowSlices {
    /// Opens the tables; `exchange` are the columns of a state block by which rows are dealt to instances.
    pub(crate) fn open(state: &mut StateHandles, layout: Arc<GroupLayout>, windowing: Windowing, exchange: Vec<usize>) -> Result<Self> {
        let mark = KeptMark::open(state)?;
        let mut fields = layout.state_schema().fields().to_vec();
        let attached = matches!(windowing, Windowing::Attached { .. });
        if attached {
            fields.push(Arc::new(Field::new("window_end", DataType::Timestamp(TimeUnit::Microsecond, None), false)));
        }
        let table = state.table("slices", Arc::new(Schema::new(fields)), exchange)?;
        let runs = SliceRuns::new(&windowing);
        let mut slices = WindowSlices {
            layout,
            windowing,
            slices: BTreeMap::new(),
            pending: BTreeSet::new(),
            dirty: BTreeSet::new(),
            mark,
            table,
            runs,
        };
        for (id, block) in slices.table.blocks() {
            let width = slices.layout.state_schema().fields().len();
            let end = match &slices.windowing {
                Windowing::Time { kind, .. } => block.slice + kind.slice_size(),
                Windowing::Attached { .. } => {
                    let ends = block.rows.column(width).as_primitive_opt::<TimestampMicrosecondType>();
                    let end = ends.filter(|ends| !ends.is_empty()).map(|ends| ends.value(0));
                    end.ok_or_else(|| Error::corrupt("a state block of a window aggregation does not name the end of its window"))?
                }
            };
            let columns: Vec<usize> = (0..width).collect();
            let rows = block.rows.project(&columns)?;
            slices.slice(Window { start: block.slice, end }).blocks.push((id, rows));
        }
        Ok(slices)
    }

    /// The watermark reached.
    pub(crate) fn mark(&self) -> Watermark {
        self.mark.get()
    }

    fn slice(&mut self, window: Window) -> &mut Slice {
        self.slices.entry(window).or_insert_with(|| {
            let open = self.windowing.first_open(window, self.mark.get());
            self.pending.extend(open.map(|w| (w.end, w.start)));
            Slice::default()
        })
    }

    /// The table into which what belongs to `slice` goes.
    pub(crate) fn delta(&mut self, slice: Window) -> Result<&mut GroupTable> {
        if self.slice(slice).delta.is_none() {
            let table = self.layout.table()?;
            self.runs.forget_with(slice.start);
            self.dirty.insert(slice);
            self.slice(slice).delta = Some(table);
        }
        self.slice(slice).delta.as_mut().ok_or_else(|| Error::bug("a slice lost its table"))
    }

    /// Closes windows up to `mark`, in the order of (end, start); `fired` gets keys and results of each.
    pub(crate) fn advance(&mut self, mark: Watermark, mut fired: impl FnMut(Window, Results) -> Result<()>) -> Result<()> {
        self.mark.advance(mark);
        while let Some(&(end, start)) = self.pending.first().filter(|(end, _)| mark.passed(*end)) {
            self.pending.pop_first();
            let window = Window { start, end };
            self.follow(window);
            let results = if self.windowing.shared() { self.results_of_shared(window)? } else { self.results_of_own(window)? };
            if let Some(results) = results {
                fired(window, results)?;
            }
        }
        self.free();
        Ok(())
    }

    /// Puts the window after `window` among those that are to fire, if it has slices.
    fn follow(&mut self, window: Window) {
        let Windowing::Time { kind, .. } = self.windowing else { return };
        let Some(next) = kind.next_window(window) else { return };
        let of_next = Window { start: next.start, end: i64::MIN }..Window { start: next.end, end: i64::MIN };
        if self.slices.range(of_next).next().is_some() {
            self.pending.insert((next.end, next.start));
        }
    }

    /// Results of a window that is a slice of its own: it is consumed.
    fn results_of_own(&mut self, window: Window) -> Result<Option<Results>> {
        self.dirty.remove(&window);
        let Some(slice) = self.slices.remove(&window) else { return Ok(None) };
        for (id, _) in &slice.blocks {
            self.table.remove(*id);
        }
        if slice.blocks.is_empty() {
            return slice.delta.map(GroupTable::into_results).transpose();
        }
        let mut table = self.layout.table()?;
        for (_, block) in &slice.blocks {
            table.merge(&self.layout, block.columns(), block.num_rows())?;
        }
        if let Some(delta) = slice.delta {
            let states = delta.into_states(&self.layout)?;
            table.merge(&self.layout, states.columns(), states.num_rows())?;
        }
        table.into_results().map(Some)
    }

    /// Results of a window whose slices other windows need, too.
    fn results_of_shared(&mut self, window: Window) -> Result<Option<Results>> {
        let range = Window { start: window.start, end: i64::MIN }..Window { start: window.end, end: i64::MIN };
        let dirty: Vec<Window> = self.dirty.range(range).copied().collect();
        for slice in dirty {
            self.settle(slice)?;
        }
        let (slices, layout) = (&self.slices, &self.layout);
        let size = self.runs.slice_size();
        let blocks_of = |start: i64| {
            let blocks = slices.get(&Window { start, end: start + size }).map_or(&[][..], |slice| &slice.blocks);
            blocks.iter().map(|(_, block)| block.clone()).collect()
        };
        let parts = self.runs.parts(window, layout, &blocks_of)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let mut table = layout.table()?;
        for part in parts {
            table.merge(layout, part.columns(), part.num_rows())?;
        }
        table.into_results().map(Some)
    }

    /// Turns the delta of a slice into a block.
    fn settle(&mut self, window: Window) -> Result<()> {
        self.dirty.remove(&window);
        let Some(slice) = self.slices.get_mut(&window) else { return Ok(()) };
        let Some(delta) = slice.delta.take() else { return Ok(()) };
        let mut states = delta.into_states(&self.layout)?;
        if slice.blocks.len() >= MAX_BLOCKS {
            let all: Vec<RecordBatch> = slice.blocks.drain(..).map(|(id, block)| (self.table.remove(id), block).1).collect();
            states = self.layout.merge_states(all.iter().chain(std::iter::once(&states)))?;
        }
        let mut columns = states.columns().to_vec();
        if let Windowing::Attached { .. } = self.windowing {
            columns.push(timestamps(&vec![window.end; states.num_rows()], &DataType::Timestamp(TimeUnit::Microsecond, None))?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(states.num_rows()));
        let id = self.table.push(window.start, RecordBatch::try_new_with_options(self.table.schema().clone(), columns, &options)?);
        slice.blocks.push((id, states));
        Ok(())
    }

    /// Drops the slices whose every window has fired.
    fn free(&mut self) {
        let mark = self.mark.get();
        while let Some(entry) = self.slices.first_entry() {
            let window = *entry.key();
            if !mark.passed(self.windowing.last_end(window)) {
                break;
            }
            for (id, _) in entry.remove().blocks {
                self.table.remove(id);
            }
            self.dirty.remove(&window);
            self.runs.forget_until(window.start);
        }
    }

    /// Memory of the deltas and of the runs: blocks are in the state table.
    pub(crate) fn bytes(&self) -> usize {
        let deltas = self.slices.values().filter_map(|slice| slice.delta.as_ref());
        deltas.map(GroupTable::bytes).sum::<usize>() + self.runs.bytes()
    }

    /// A checkpoint: all deltas become blocks.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.mark.keep()?;
        let dirty: Vec<Window> = self.dirty.iter().copied().collect();
        dirty.into_iter().try_for_each(|window| self.settle(window))
    }
}
