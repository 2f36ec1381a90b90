//! Any aggregate over any frame, by DataFusion's accumulators: one evaluation per row, so slower than `fold.rs`.
//!
//! Rows leave a sliding frame by `retract_batch` where the accumulator can do that; else it is computed anew over the
//! frame of every row, which is always right.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, UInt32Array, new_empty_array};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::Frame;
use super::column::{Column, SortedRows, Ties};
use crate::error::{Error, Result};

/// One such aggregate.
pub(crate) struct General {
    aggregate: Arc<AggregateFunctionExpr>,
    frame: Frame,
    /// Is the last argument the condition for counting a row in?
    masked: bool,
    /// Can rows be taken out of an accumulator?
    retracts: bool,
    /// By key slot.
    keys: Vec<Option<Key>>,
}

/// What is kept of a key.
struct Key {
    /// The rows of the last frame, oldest first (sliding frames only): times and arguments.
    times: Vec<i64>,
    args: Vec<ArrayRef>,
    /// Holds exactly these rows; with a frame that only grows, all rows. `None`: computed anew each time.
    accumulator: Option<Box<dyn Accumulator>>,
}

impl General {
    /// `aggregate` over `frame`. `masked`: of the rows that pass the last argument.
    pub(crate) fn new(aggregate: Arc<AggregateFunctionExpr>, frame: Frame, masked: bool) -> Self {
        let retracts = aggregate.create_sliding_accumulator().is_ok();
        General { aggregate, frame, masked, retracts, keys: Vec::new() }
    }

    /// Is it computed anew over the whole frame of every row?
    pub(crate) fn recomputes(&self) -> bool {
        self.slides() && !self.retracts
    }

    fn slides(&self) -> bool {
        matches!(self.frame, Frame::Range(_) | Frame::Rows(_))
    }

    fn accumulator(&self) -> Result<Option<Box<dyn Accumulator>>> {
        Ok(match (self.slides(), self.retracts) {
            (false, _) => Some(self.aggregate.create_accumulator()?),
            (true, true) => Some(self.aggregate.create_sliding_accumulator()?),
            (true, false) => None,
        })
    }

    /// The results for further rows of one key, given in order.
    fn compute_key(&mut self, slot: usize, times: Vec<i64>, args: Vec<ArrayRef>, ties: Ties) -> Result<Vec<ScalarValue>> {
        let mut key = match self.keys[slot].take() {
            Some(key) => key,
            None => Key { times: Vec::new(), args: Vec::new(), accumulator: self.accumulator()? },
        };
        let old = key.times.len();
        key.times.extend(times);
        key.args = match old {
            0 => args,
            _ => key.args.iter().zip(&args).map(|(old, new)| Ok(concat(&[old.as_ref(), new.as_ref()])?)).collect::<Result<_>>()?,
        };
        let masked = self.masked;
        let part = |args: &[ArrayRef], from: usize, to: usize| rows_of(args, from, to, masked);

        let new = SortedRows { times: &key.times[old..], slots: &[], slot_count: 0, ties };
        let mut results = Vec::with_capacity(key.times.len() - old);
        let (mut from, mut to) = (0, old);
        for step in new.steps(self.frame) {
            let end = old + step.end;
            let start = match self.frame {
                Frame::Range(range) => {
                    let first = key.times[end - 1].saturating_sub(range);
                    from + key.times[from..end].iter().take_while(|ts| **ts < first).count()
                }
                Frame::Rows(before) => from.max(end.saturating_sub(usize::try_from(before).unwrap_or(usize::MAX).saturating_add(1))),
                Frame::RangeUnbounded | Frame::RowsUnbounded => from,
            };
            let result = match &mut key.accumulator {
                Some(accumulator) => {
                    accumulator.update_batch(&part(&key.args, to, end)?)?;
                    if from < start {
                        accumulator.retract_batch(&part(&key.args, from, start)?)?;
                    }
                    accumulator.evaluate()?
                }
                None => {
                    let mut accumulator = self.aggregate.create_accumulator()?;
                    accumulator.update_batch(&part(&key.args, start, end)?)?;
                    accumulator.evaluate()?
                }
            };
            results.extend(std::iter::repeat_n(result, step.len()));
            (from, to) = (start, end);
        }
        let keep_from = if self.slides() { from } else { key.times.len() };
        key.times.drain(..keep_from);
        // Copied, so that the arrays of all rows so far are not kept alive by the frame.
        let last = UInt32Array::from_iter_values(keep_from as u32..to as u32);
        key.args = key.args.iter().map(|arg| Ok(take(arg, &last, None)?)).collect::<Result<_>>()?;
        self.keys[slot] = Some(key);
        Ok(results)
    }
}

/// The arguments of rows `from..to`; of those that pass the last argument where `masked`.
fn rows_of(args: &[ArrayRef], from: usize, to: usize, masked: bool) -> Result<Vec<ArrayRef>> {
    let slice = |arg: &ArrayRef| arg.slice(from, to - from);
    match args.split_last() {
        Some((mask, args)) if masked => {
            let mask = slice(mask);
            args.iter().map(|arg| Ok(filter(&slice(arg), mask.as_boolean())?)).collect()
        }
        _ => Ok(args.iter().map(slice).collect()),
    }
}

impl Column for General {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        if self.keys.len() < rows.slot_count {
            self.keys.resize_with(rows.slot_count, || None);
        }
        // Rows of one key together, each key's rows still in order.
        let mut order: Vec<u32> = (0..rows.slots.len() as u32).collect();
        order.sort_by_key(|row| rows.slots[*row as usize]);
        let mut results = vec![ScalarValue::Null; rows.slots.len()];
        for key in order.chunk_by(|a, b| rows.slots[*a as usize] == rows.slots[*b as usize]) {
            let times = key.iter().map(|row| rows.times[*row as usize]).collect();
            let indices = UInt32Array::from(key.to_vec());
            let args = args.iter().map(|arg| Ok(take(arg, &indices, None)?)).collect::<Result<_>>()?;
            let values = self.compute_key(rows.slots[key[0] as usize] as usize, times, args, rows.ties)?;
            key.iter().zip(values).for_each(|(row, value)| results[*row as usize] = value);
        }
        if results.is_empty() {
            return Ok(new_empty_array(self.aggregate.field().data_type()));
        }
        Ok(ScalarValue::iter_to_array(results)?)
    }

    fn forget_before(&mut self, slot: u32, limit: i64) -> bool {
        let Some(entry) = self.keys.get_mut(slot as usize) else { return true };
        if entry.as_ref().is_some_and(|key| key.times.last().is_none_or(|last| *last < limit)) {
            *entry = None;
        }
        entry.is_none()
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        Ok(self.aggregate.state_fields()?)
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let fields = self.aggregate.state_fields()?;
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(slots.len()); fields.len()];
        for slot in slots {
            let key = self.keys.get_mut(*slot as usize).and_then(Option::as_mut);
            let accumulator = key.and_then(|key| key.accumulator.as_mut());
            let accumulator = accumulator.ok_or_else(|| Error::bug("a growing frame has no accumulator"))?;
            let state = accumulator.state()?;
            // Giving its state away may empty an accumulator: go on with one that was given the state.
            let arrays = state.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>, _>>()?;
            let mut again = self.aggregate.create_accumulator()?;
            again.merge_batch(&arrays)?;
            *accumulator = again;
            columns.iter_mut().zip(state).for_each(|(column, value)| column.push(value));
        }
        columns.into_iter().map(|column| Ok(ScalarValue::iter_to_array(column)?)).collect()
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let slot = *slot as usize;
            if self.keys.len() <= slot {
                self.keys.resize_with(slot + 1, || None);
            }
            let mut accumulator = self.aggregate.create_accumulator()?;
            let state: Vec<ArrayRef> = state.iter().map(|column| column.slice(row, 1)).collect();
            accumulator.merge_batch(&state)?;
            self.keys[slot] = Some(Key { times: Vec::new(), args: Vec::new(), accumulator: Some(accumulator) });
        }
        Ok(())
    }
}
