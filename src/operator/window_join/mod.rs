//! Window join: pairs rows of two inputs with equal keys in the same window; fires when the watermark passes its end.
//!
//! ```text
//!  left rows  ──▶ pending until their window ends ┐  the watermark closes windows: both sides' rows of those windows are
//!  right rows ──▶ pending until their window ends ┘  joined by key and window, what found no match is padded
//! ```
//! A row whose window has closed is refused as late: the window's answer has been given.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::filter;
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::Result;
use crate::operator::attached_window::{AttachedWindow, by_windows};
use crate::operator::identity::{expr_identity, types_identity};
use crate::operator::joined::{Joined, take_columns};
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NO_SLOT, NullKeys};
use crate::operator::pending::Pending;
use crate::operator::spoken;
use crate::operator::{Distribution, Input, OUTPUT_ROWS, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Describes a window join of input 0 (left) and input 1 (right). Both carry their window as columns.
#[derive(Debug)]
pub struct WindowJoinSpec {
    /// Schema of the left rows.
    pub left: SchemaRef,
    /// Schema of the right rows.
    pub right: SchemaRef,
    /// INNER, LEFT, RIGHT, FULL, LEFT SEMI, LEFT ANTI (and their right forms).
    pub join_type: JoinType,
    /// Key columns besides the window: `left[i] = right[i]`; NULL never matches. May be empty.
    pub left_keys: Vec<usize>,
    /// See `left_keys`.
    pub right_keys: Vec<usize>,
    /// `window_start` and `window_end` columns of the left rows (any timestamp type).
    pub left_window: (usize, usize),
    /// The same of the right rows.
    pub right_window: (usize, usize),
    /// What else must hold, over left columns then right columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Which of the joined columns leave, and in which order: positions in left columns then right columns (SEMI/ANTI:
    /// in those of the kept side). `None` = all. Columns that nobody reads are never gathered.
    pub projection: Option<Vec<usize>>,
    /// Schema of the output: the joined columns after `projection`.
    pub schema: SchemaRef,
}

impl WindowJoinSpec {
    fn windows(&self) -> [AttachedWindow; 2] {
        [self.left_window, self.right_window].map(|(start, end)| AttachedWindow { start, end })
    }
}

impl OperatorSpec for WindowJoinSpec {
    fn name(&self) -> &'static str {
        "window join"
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self
            .left_keys
            .iter()
            .zip(&self.right_keys)
            .map(|(l, r)| format!("{} = {}", self.left.field(*l).name(), self.right.field(*r).name()))
            .collect();
        let filter = self.filter.as_ref().map(|filter| format!(" and {}", spoken::expression(filter))).unwrap_or_default();
        format!("{} in one window on [{}]{filter}", self.join_type, keys.join(", "))
    }

    fn identity(&self) -> String {
        format!(
            "window join {} left {} keys {:?} window {:?} right {} keys {:?} window {:?} filter {}",
            self.join_type,
            types_identity(&self.left),
            self.left_keys,
            self.left_window,
            types_identity(&self.right),
            self.right_keys,
            self.right_window,
            self.filter.as_ref().map(expr_identity).unwrap_or_default(),
        )
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, input: Input) -> Distribution {
        let keys = if input == 0 { &self.left_keys } else { &self.right_keys };
        if keys.is_empty() { Distribution::Single } else { Distribution::ByKey(keys.clone()) }
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let projection = self.projection.as_deref();
        let joined = Joined::new(self.join_type, &self.left, &self.right, projection, self.filter.as_ref(), self.schema.clone())?;
        let windows = self.windows();
        let mut side = |side: usize, name: &str, schema: &SchemaRef, keys: &[usize]| -> Result<Side> {
            let table = state.table(name, schema.clone(), keys.to_vec())?;
            let window = windows[side];
            Ok(Side { keys: keys.to_vec(), window, rows: Pending::open(table, None, |rows| window.due(rows))? })
        };
        let sides = [side(0, "left", &self.left, &self.left_keys)?, side(1, "right", &self.right, &self.right_keys)?];
        Ok(Box::new(WindowJoin { joined, sides, mark: KeptMark::open(state)? }))
    }
}

/// One input.
struct Side {
    keys: Vec<usize>,
    window: AttachedWindow,
    /// Rows of open windows.
    rows: Pending,
}

/// The running join.
struct WindowJoin {
    joined: Joined,
    sides: [Side; 2],
    /// Windows that end at or before this have been answered.
    mark: KeptMark,
}

impl Operator for WindowJoin {
    fn on_batch(&mut self, input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, due) = self.sides[input].window.admit(batch, self.mark.get(), out)?;
        self.sides[input].rows.add(batch, due)
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark.advance(mark);
        let [left, right] = &mut self.sides;
        let (left, right) = (left.rows.take_before(mark.0)?, right.rows.take_before(mark.0)?);
        for [l, r] in by_windows([&left, &right]) {
            self.join([left.rows(l)?, right.rows(r)?], out)?;
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        self.mark.keep()?;
        self.sides.iter_mut().try_for_each(|side| side.rows.checkpoint())
    }

    fn state_bytes(&self) -> usize {
        self.sides.iter().map(|side| side.rows.bytes_outside()).sum()
    }
}

impl WindowJoin {
    /// Joins all rows of some closed windows.
    fn join(&self, rows: [RecordBatch; 2], out: &mut Output) -> Result<()> {
        let mut matched = [0, 1].map(|side| vec![false; if self.joined.tracks(side) { rows[side].num_rows() } else { 0 }]);
        if rows.iter().all(|rows| rows.num_rows() > 0) {
            let [left, right] = self.slots(&rows)?;
            let right = BySlot::new(&right);
            let mut pairs = Pairs::default();
            for (row, slot) in left.iter().enumerate() {
                for other in right.rows_of(*slot) {
                    pairs.left.push(row as u32);
                    pairs.right.push(*other);
                    if pairs.left.len() == OUTPUT_ROWS {
                        self.emit_pairs(&rows, std::mem::take(&mut pairs), &mut matched, out)?;
                    }
                }
            }
            self.emit_pairs(&rows, pairs, &mut matched, out)?;
        }
        for side in [0, 1] {
            let wanted = self.joined.emits_matched(side);
            if wanted || self.joined.emits_unmatched(side) {
                let alone: Vec<u32> = (0..rows[side].num_rows() as u32).filter(|row| matched[side][*row as usize] == wanted).collect();
                for alone in alone.chunks(OUTPUT_ROWS) {
                    let columns = take_columns(&rows[side], self.joined.columns(side), &alone.to_vec().into())?;
                    out.emit(self.joined.emit_one_side(side, columns, alone.len())?);
                }
            }
        }
        Ok(())
    }

    /// Slots of key and window, the same for equal ones on both sides.
    fn slots(&self, rows: &[RecordBatch; 2]) -> Result<[Vec<u32>; 2]> {
        let [left, right] = [0, 1].map(|side| self.sides[side].window.single(&rows[side]));
        let (left, right) = (left?, right?);
        let single = left.is_some() && left == right;
        let mut index = None;
        let mut slots = [Vec::new(), Vec::new()];
        for side in [0, 1] {
            let columns = self.sides[side].window.group_columns(&rows[side], &self.sides[side].keys, single)?;
            let index = match &mut index {
                Some(index) => index,
                None => {
                    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
                    index.insert(KeyIndex::new(&types, NullKeys::MatchNothing)?)
                }
            };
            index.intern(&columns, rows[side].num_rows(), &mut slots[side])?;
        }
        Ok(slots)
    }

    /// Emits the candidate pairs that meet the condition, and notes who has found a match.
    fn emit_pairs(&self, rows: &[RecordBatch; 2], pairs: Pairs, matched: &mut [Vec<bool>; 2], out: &mut Output) -> Result<()> {
        let mut pairs = [UInt32Array::from(pairs.left), UInt32Array::from(pairs.right)];
        if pairs[0].is_empty() {
            return Ok(());
        }
        if self.joined.has_filter() {
            let columns = |side: usize| take_columns(&rows[side], self.joined.filter_columns(side), &pairs[side]);
            if let Some(mask) = self.joined.passing([columns(0)?, columns(1)?], pairs[0].len(), out)? {
                for pairs in &mut pairs {
                    *pairs = filter(pairs, &mask)?.as_primitive::<UInt32Type>().clone();
                }
            }
        }
        for (matched, pairs) in matched.iter_mut().zip(&pairs).filter(|(matched, _)| !matched.is_empty()) {
            pairs.values().iter().for_each(|row| matched[*row as usize] = true);
        }
        if self.joined.emits_pairs() {
            let columns = |side: usize| take_columns(&rows[side], self.joined.columns(side), &pairs[side]);
            out.emit(self.joined.emit([Some(columns(0)?), Some(columns(1)?)], pairs[0].len())?);
        }
        Ok(())
    }
}

/// Candidate pairs: rows of the left batch and of the right batch.
#[derive(Default)]
struct Pairs {
    left: Vec<u32>,
    right: Vec<u32>,
}

/// Rows sorted by slot.
struct BySlot {
    rows: Vec<u32>,
    /// Per slot where its rows begin; one more at the end.
    starts: Vec<u32>,
}

impl BySlot {
    fn new(slots: &[u32]) -> Self {
        let with_slot = || slots.iter().enumerate().filter(|(_, slot)| **slot != NO_SLOT);
        let count = with_slot().map(|(_, slot)| *slot as usize + 1).max().unwrap_or(0);
        let mut starts = vec![0; count + 1];
        with_slot().for_each(|(_, slot)| starts[*slot as usize + 1] += 1);
        for slot in 0..count {
            starts[slot + 1] += starts[slot];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; starts[count] as usize];
        for (row, slot) in with_slot() {
            let at = &mut next[*slot as usize];
            rows[*at as usize] = row as u32;
            *at += 1;
        }
        BySlot { rows, starts }
    }

    fn rows_of(&self, slot: u32) -> &[u32] {
        let slot = slot as usize;
        match self.starts.get(slot..).and_then(|starts| starts.get(..2)) {
            Some(range) => &self.rows[range[0] as usize..range[1] as usize],
            None => &[],
        }
    }
}
