//! Aggregates that combine piece by piece (COUNT, SUM, AVG, MIN, MAX over numbers), over every kind of frame.
//!
//! A sliding frame never subtracts, so a sum of doubles does not drift. It is a queue made of two stacks in one ring:
//!
//! ```text
//!  oldest                                   newest
//!  [ sum of all from here to | ]  [ value ] [ value ]      frame = first of the front part + running total of the back
//!  └──────── front part ───────┘  └─ back part ─────┘      front used up: the back becomes it, summed from its end
//! ```

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowNativeTypeOp, DataType, Field, FieldRef, Float64Type};

use super::Frame;
use super::column::{Column, SortedRows};
use crate::error::Result;

/// The aggregate of some rows: how many of them have a value, and what those make together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Part<T> {
    value: T,
    count: i64,
}

/// How values combine, and what becomes of them. `T` is the type of the argument.
pub(crate) trait Fold: Send + 'static {
    /// Type of the argument.
    type Arg: ArrowPrimitiveType;
    /// Both values together.
    fn combine(a: Native<Self>, b: Native<Self>) -> Native<Self>;
    /// The results; `data_type` is the type the column has to be of.
    fn finish(parts: &[Part<Native<Self>>], data_type: &DataType) -> ArrayRef {
        let values = parts.iter().map(|part| part.value).collect::<Vec<_>>();
        Arc::new(PrimitiveArray::<Self::Arg>::new(values.into(), nulls(parts)).with_data_type(data_type.clone()))
    }
}

type Native<F> = <<F as Fold>::Arg as ArrowPrimitiveType>::Native;

fn nulls<T>(parts: &[Part<T>]) -> Option<NullBuffer> {
    parts.iter().any(|part| part.count == 0).then(|| parts.iter().map(|part| part.count > 0).collect())
}

/// SUM; integers wrap around as DataFusion's do.
pub(crate) struct Sum<A>(PhantomData<A>);
/// AVG of doubles.
pub(crate) struct Average;
/// COUNT of values that are not NULL.
pub(crate) struct Count<A>(PhantomData<A>);
/// MIN; NaN is larger than every number.
pub(crate) struct Least<A>(PhantomData<A>);
/// MAX.
pub(crate) struct Greatest<A>(PhantomData<A>);

impl<A: ArrowPrimitiveType + Send> Fold for Sum<A> {
    type Arg = A;
    fn combine(a: A::Native, b: A::Native) -> A::Native {
        a.add_wrapping(b)
    }
}

impl Fold for Average {
    type Arg = Float64Type;
    fn combine(a: f64, b: f64) -> f64 {
        a + b
    }
    fn finish(parts: &[Part<f64>], _: &DataType) -> ArrayRef {
        let values = parts.iter().map(|part| part.value / part.count as f64).collect::<Vec<_>>();
        Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls(parts)))
    }
}

impl<A: ArrowPrimitiveType + Send> Fold for Count<A> {
    type Arg = A;
    fn combine(a: A::Native, _: A::Native) -> A::Native {
        a
    }
    fn finish(parts: &[Part<A::Native>], _: &DataType) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(parts.iter().map(|part| part.count)))
    }
}

impl<A: ArrowPrimitiveType + Send> Fold for Least<A> {
    type Arg = A;
    fn combine(a: A::Native, b: A::Native) -> A::Native {
        if b.is_lt(a) { b } else { a }
    }
}

impl<A: ArrowPrimitiveType + Send> Fold for Greatest<A> {
    type Arg = A;
    fn combine(a: A::Native, b: A::Native) -> A::Native {
        if b.is_gt(a) { b } else { a }
    }
}

fn combine<F: Fold + ?Sized>(a: Part<Native<F>>, b: Part<Native<F>>) -> Part<Native<F>> {
    match (a.count, b.count) {
        (_, 0) => a,
        (0, _) => b,
        _ => Part { value: F::combine(a.value, b.value), count: a.count + b.count },
    }
}

/// The frame of one key.
#[derive(Debug)]
struct Sliding<T> {
    /// Time and, in the front part, everything from here to its end; in the back part the value itself.
    ring: VecDeque<(i64, Part<T>)>,
    front: usize,
    /// All of the back part.
    back: Part<T>,
}

impl<T: Default> Default for Sliding<T> {
    fn default() -> Self {
        Sliding { ring: VecDeque::new(), front: 0, back: Part::default() }
    }
}

impl<T: Copy + Default> Sliding<T> {
    fn push<F: Fold<Arg: ArrowPrimitiveType<Native = T>>>(&mut self, ts: i64, part: Part<T>) {
        self.ring.push_back((ts, part));
        self.back = combine::<F>(self.back, part);
    }

    /// Drops the oldest rows for as long as `old(time, rows left)` says so.
    fn drop_while<F: Fold<Arg: ArrowPrimitiveType<Native = T>>>(&mut self, old: impl Fn(i64, usize) -> bool) {
        let mut dropped_back = false;
        while self.ring.front().is_some_and(|(ts, _)| old(*ts, self.ring.len())) {
            self.ring.pop_front();
            match self.front.checked_sub(1) {
                Some(left) => self.front = left,
                None => dropped_back = true,
            }
        }
        if dropped_back {
            let mut all = Part::default();
            for (_, part) in self.ring.iter_mut().rev() {
                all = combine::<F>(*part, all);
                *part = all;
            }
            self.front = self.ring.len();
            self.back = Part::default();
        }
    }

    fn all<F: Fold<Arg: ArrowPrimitiveType<Native = T>>>(&self) -> Part<T> {
        match self.ring.front().filter(|_| self.front > 0) {
            Some((_, front)) => combine::<F>(*front, self.back),
            None => self.back,
        }
    }
}

/// One such aggregate.
pub(crate) struct Folded<F: Fold> {
    frame: Frame,
    data_type: DataType,
    /// By key slot: frames that slide.
    sliding: Vec<Sliding<Native<F>>>,
    /// By key slot: frames that only grow.
    running: Vec<Part<Native<F>>>,
}

impl<F: Fold> Folded<F> {
    /// `data_type` is the type of the result.
    pub(crate) fn new(frame: Frame, data_type: DataType) -> Self {
        Folded { frame, data_type, sliding: Vec::new(), running: Vec::new() }
    }
}

impl<F: Fold> Column for Folded<F> {
    fn compute(&mut self, rows: &SortedRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let values = args[0].as_primitive::<F::Arg>();
        let part = |row: usize| match values.is_valid(row) {
            true => Part { value: values.value(row), count: 1 },
            false => Part::default(),
        };
        let mut results = vec![Part::default(); rows.times.len()];
        match self.frame {
            Frame::RangeUnbounded | Frame::RowsUnbounded => {
                self.running.resize(rows.slot_count, Part::default());
                for step in rows.steps(self.frame) {
                    for row in step.clone() {
                        let all = &mut self.running[rows.slots[row] as usize];
                        *all = combine::<F>(*all, part(row));
                    }
                    for row in step {
                        results[row] = self.running[rows.slots[row] as usize];
                    }
                }
            }
            Frame::Range(_) | Frame::Rows(_) => {
                self.sliding.resize_with(rows.slot_count, Sliding::default);
                for step in rows.steps(self.frame) {
                    for row in step.clone() {
                        let (ts, part) = (rows.times[row], part(row));
                        let sliding = &mut self.sliding[rows.slots[row] as usize];
                        match self.frame {
                            Frame::Range(range) => {
                                sliding.drop_while::<F>(|old, _| old < ts.saturating_sub(range));
                                if part.count > 0 {
                                    sliding.push::<F>(ts, part);
                                }
                            }
                            Frame::Rows(before) => {
                                sliding.push::<F>(ts, part);
                                sliding.drop_while::<F>(|_, len| len as u64 - 1 > before);
                            }
                            Frame::RangeUnbounded | Frame::RowsUnbounded => {}
                        }
                    }
                    for row in step {
                        results[row] = self.sliding[rows.slots[row] as usize].all::<F>();
                    }
                }
            }
        }
        Ok(F::finish(&results, &self.data_type))
    }

    fn forget_before(&mut self, slot: u32, limit: i64) -> bool {
        let Some(sliding) = self.sliding.get_mut(slot as usize) else { return true };
        sliding.drop_while::<F>(|ts, _| ts < limit);
        if sliding.ring.is_empty() {
            *sliding = Sliding::default();
        }
        sliding.ring.is_empty()
    }

    fn state_fields(&self) -> Result<Vec<FieldRef>> {
        let value = Field::new("value", F::Arg::DATA_TYPE, false);
        Ok(vec![Arc::new(value), Arc::new(Field::new("count", DataType::Int64, false))])
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.running.resize(self.running.len().max(slots.iter().map(|s| *s as usize + 1).max().unwrap_or(0)), Part::default());
        let parts = || slots.iter().map(|slot| self.running[*slot as usize]);
        let values = PrimitiveArray::<F::Arg>::from_iter_values(parts().map(|part| part.value));
        Ok(vec![Arc::new(values), Arc::new(Int64Array::from_iter_values(parts().map(|part| part.count)))])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (state[0].as_primitive::<F::Arg>(), state[1].as_primitive::<arrow::datatypes::Int64Type>());
        for (row, slot) in slots.iter().enumerate() {
            let slot = *slot as usize;
            if self.running.len() <= slot {
                self.running.resize(slot + 1, Part::default());
            }
            self.running[slot] = Part { value: values.value(row), count: counts.value(row) };
        }
        Ok(())
    }
}
