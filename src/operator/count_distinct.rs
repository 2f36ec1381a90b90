//! COUNT(DISTINCT x) for all groups at once: one hash table of (group, value) pairs.
//!
//! DataFusion has this for integers only; for other types it keeps one hash table per group, each with room for 512
//! values from the start, which is more than a window of many keys can afford.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt32Type};
use datafusion::common::not_impl_err;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

/// The accumulator. Its state is one list per group: the distinct values.
pub(crate) struct CountDistinct {
    pairs: Box<dyn GroupValues>,
    /// Distinct values of each group.
    counts: Vec<i64>,
    /// Field of the elements of the state's lists.
    element: FieldRef,
    /// Number of each pair of the batch at hand; kept for its memory.
    numbers: Vec<usize>,
}

impl CountDistinct {
    /// Counts distinct values of this type.
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        let fields = vec![Field::new("group", DataType::UInt32, false), Field::new("value", data_type.clone(), false)];
        let pairs = new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?;
        let element = Arc::new(Field::new_list_field(data_type.clone(), true));
        Ok(CountDistinct { pairs, counts: Vec::new(), element, numbers: Vec::new() })
    }

    /// Adds values (no NULLs), each to its group.
    fn add(&mut self, groups: UInt32Array, values: ArrayRef) -> Result<()> {
        let known = self.pairs.len();
        let pairs: [ArrayRef; 2] = [Arc::new(groups), values];
        self.pairs.intern(&pairs, &mut self.numbers)?;
        let mut counted = vec![false; self.pairs.len() - known];
        for (number, group) in self.numbers.iter().zip(pairs[0].as_primitive::<UInt32Type>().values()) {
            if *number >= known && !std::mem::replace(&mut counted[number - known], true) {
                self.counts[*group as usize] += 1;
            }
        }
        Ok(())
    }
}

fn all_of(emit_to: EmitTo) -> Result<()> {
    match emit_to {
        EmitTo::All => Ok(()),
        EmitTo::First(_) => not_impl_err!("COUNT(DISTINCT) gives up all of its groups or none"),
    }
}

impl GroupsAccumulator for CountDistinct {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.counts.resize(total, 0);
        let nulls = values[0].logical_nulls();
        if filter.is_none() && nulls.as_ref().is_none_or(|nulls| nulls.null_count() == 0) {
            return self.add(groups.iter().map(|group| *group as u32).collect(), values[0].clone());
        }
        let counts = |row: &usize| {
            nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)) && filter.is_none_or(|f| f.is_valid(*row) && f.value(*row))
        };
        let rows: UInt32Array = (0..groups.len()).filter(counts).map(|row| row as u32).collect();
        let groups = rows.values().iter().map(|row| groups[*row as usize] as u32).collect();
        self.add(groups, take(&values[0], &rows, None)?)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.counts.resize(total, 0);
        let lists = values[0].as_list::<i32>();
        let offsets = lists.value_offsets();
        let elements = |row: usize| if lists.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        let rows: UInt32Array = (0..lists.len()).flat_map(elements).map(|element| element as u32).collect();
        let groups = (0..lists.len()).flat_map(|row| elements(row).map(move |_| groups[row] as u32)).collect();
        self.add(groups, take(lists.values(), &rows, None)?)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        all_of(emit_to)?;
        self.pairs.clear_shrink(0);
        Ok(Arc::new(Int64Array::from(std::mem::take(&mut self.counts))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        all_of(emit_to)?;
        let counts = std::mem::take(&mut self.counts);
        let offsets = OffsetBuffer::<i32>::from_lengths(counts.iter().map(|count| *count as usize));
        let pairs = self.pairs.emit(EmitTo::All)?;
        // Each value goes to the next free place of its group's list.
        let mut next: Vec<i32> = offsets.to_vec();
        let mut order = vec![0_u32; pairs[1].len()];
        for (pair, group) in pairs[0].as_primitive::<UInt32Type>().values().iter().enumerate() {
            let place = &mut next[*group as usize];
            order[*place as usize] = pair as u32;
            *place += 1;
        }
        let values = take(&pairs[1], &UInt32Array::from(order), None)?;
        Ok(vec![Arc::new(ListArray::try_new(self.element.clone(), offsets, values, None)?)])
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("COUNT(DISTINCT) has no state per row")
    }

    fn size(&self) -> usize {
        self.pairs.size() + self.counts.capacity() * size_of::<i64>() + self.numbers.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;

    #[test]
    fn values_are_counted_once_per_group_also_when_states_are_merged() {
        let long = "longer than a view can hold";
        let values: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), Some(long), Some("a"), None, Some("b"), Some("a")]));
        let filter = BooleanArray::from(vec![true, true, true, true, false, true]);
        let mut first = CountDistinct::new(&DataType::Utf8View).unwrap();
        first.update_batch(std::slice::from_ref(&values), &[0, 0, 0, 1, 0, 2], Some(&filter), 4).unwrap();
        let state = first.state(EmitTo::All).unwrap();
        assert_eq!(state[0].as_list::<i32>().value_offsets(), [0, 2, 2, 3, 3]);
        let mut second = CountDistinct::new(&DataType::Utf8View).unwrap();
        second.update_batch(&[values], &[0, 1, 0, 1, 0, 0], None, 2).unwrap();
        // Groups 0 and 1 of the first are group 0 here, 2 and 3 are group 1.
        second.merge_batch(&state, &[0, 0, 1, 1], 2).unwrap();
        assert_eq!(second.evaluate(EmitTo::All).unwrap().as_ref(), &Int64Array::from(vec![3, 2]));
    }
}
