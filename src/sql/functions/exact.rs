//! Sums and averages of integers and decimals, kept as 128-bit integers with the digits behind the point that the
//! argument has, so that nothing is rounded before the end.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// Digits of the widest DECIMAL.
pub(super) const WIDEST: u8 = 38;

/// Digits behind the point of an exact number; `None` for others.
pub(super) fn scale_of(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal128(_, scale) => Some(*scale),
        t if t.is_integer() => Some(0),
        _ => None,
    }
}

/// Type of the sums.
fn sum_type(scale: i8) -> DataType {
    DataType::Decimal128(WIDEST, scale)
}

/// What becomes of a sum and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// Their exact: of integers cut toward zero, of decimals rounded half up.
    Average,
    /// The sum; one that does not fit its integer type wraps around, as in Java.
    Sum,
}

/// What is made of sums and counts, and of which type.
#[derive(Debug, Clone)]
pub(super) struct Exact {
    pub(super) finish: Finish,
    /// Digits behind the point in the sums.
    pub(super) scale: i8,
    pub(super) returns: DataType,
}

impl Exact {
    /// The result of rows that come one after the other, and can leave again.
    pub(super) fn accumulator(self) -> Box<dyn Accumulator> {
        Box::new(Running { exact: self, sum: 0, count: 0 })
    }

    /// The result of distinct values.
    pub(super) fn distinct(self) -> Box<dyn Accumulator> {
        Box::new(Distinct { exact: self, values: HashSet::new() })
    }

    /// A result per group.
    pub(super) fn groups(self) -> Box<dyn GroupsAccumulator> {
        Box::new(Groups { exact: self, sums: Vec::new(), counts: Vec::new() })
    }

    /// The fields of the state of an aggregate called `name`.
    pub(super) fn state_fields(name: &str, scale: i8, distinct: bool) -> Vec<FieldRef> {
        let field = |part: &str, data_type| Arc::new(Field::new(format_state_name(name, part), data_type, true));
        if distinct {
            vec![field("values", DataType::List(Arc::new(Field::new_list_field(sum_type(scale), true))))]
        } else {
            vec![field("sum", sum_type(scale)), field("count", DataType::Int64)]
        }
    }

    /// The argument's values as integers of `scale`.
    fn units(&self, values: &ArrayRef) -> DfResult<Decimal128Array> {
        Ok(cast(values, &sum_type(self.scale))?.as_primitive::<Decimal128Type>().clone())
    }

    fn of(&self, sum: i128, count: i64) -> DfResult<Option<i128>> {
        if count == 0 {
            return Ok(None);
        }
        let count = i128::from(count);
        if self.finish == Finish::Sum {
            return Ok(Some(match self.returns {
                DataType::Int8 => i128::from(sum as i8),
                DataType::Int16 => i128::from(sum as i16),
                DataType::Int32 => i128::from(sum as i32),
                _ => sum,
            }));
        }
        let DataType::Decimal128(_, scale) = self.returns else { return Ok(Some(sum / count)) };
        let more = 10_i128.pow(u32::try_from(scale - self.scale).unwrap_or(0));
        let sum = sum.checked_mul(more).ok_or_else(beyond)?;
        // Half up, away from zero.
        let half = count / 2;
        Ok(Some(if sum < 0 { (sum - half) / count } else { (sum + half) / count }))
    }

    /// Results as a column of their type.
    fn column(&self, results: Vec<Option<i128>>) -> DfResult<ArrayRef> {
        let results = Decimal128Array::from(results);
        Ok(match &self.returns {
            DataType::Decimal128(..) => Arc::new(results.with_data_type(self.returns.clone())),
            integer => cast(&results.with_data_type(DataType::Decimal128(WIDEST, 0)), integer)?,
        })
    }

    fn value(&self, result: Option<i128>) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&self.column(vec![result])?, 0)
    }

    fn sum(&self, sum: i128) -> ScalarValue {
        ScalarValue::Decimal128(Some(sum), WIDEST, self.scale)
    }
}

fn beyond() -> DataFusionError {
    DataFusionError::Execution("the sum is beyond 38 digits".to_owned())
}

/// One result; rows can leave again (OVER).
#[derive(Debug)]
struct Running {
    exact: Exact,
    sum: i128,
    count: i64,
}

impl Running {
    fn add(&mut self, values: &[ArrayRef], sign: i64) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let units = self.exact.units(values)?;
        for unit in units.iter().flatten() {
            self.sum = self.sum.checked_add(unit * i128::from(sign)).ok_or_else(beyond)?;
            self.count += sign;
        }
        Ok(())
    }
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.exact.value(self.exact.of(self.sum, self.count)?)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.exact.sum(self.sum), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let (sums, counts) = sums_and_counts(states)?;
        for (sum, count) in sums.iter().flatten().zip(counts.iter().flatten()) {
            self.sum = self.sum.checked_add(sum).ok_or_else(beyond)?;
            self.count += count;
        }
        Ok(())
    }
}

fn sums_and_counts(states: &[ArrayRef]) -> DfResult<(&Decimal128Array, &Int64Array)> {
    match states {
        [sums, counts] => match (sums.as_primitive_opt::<Decimal128Type>(), counts.as_primitive_opt::<Int64Type>()) {
            (Some(sums), Some(counts)) => Ok((sums, counts)),
            _ => Err(DataFusionError::Internal(format!("a sum's state of {} and {}", sums.data_type(), counts.data_type()))),
        },
        _ => Err(DataFusionError::Internal(format!("a sum's state of {} columns", states.len()))),
    }
}

/// The result of distinct values.
#[derive(Debug)]
struct Distinct {
    exact: Exact,
    values: HashSet<i128>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.values.extend(self.exact.units(values)?.iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sum = self.values.iter().try_fold(0_i128, |sum, v| sum.checked_add(*v)).ok_or_else(beyond)?;
        self.exact.value(self.exact.of(sum, self.values.len() as i64)?)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<i128>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values = Decimal128Array::from_iter_values(self.values.iter().copied()).with_data_type(sum_type(self.exact.scale));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let list = ListArray::new(field, OffsetBuffer::from_lengths([values.len()]), Arc::new(values), None);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let Some(lists) = states.first().and_then(|s| s.as_list_opt::<i32>()) else {
            return Err(DataFusionError::Internal("a state of distinct values that is no list".to_owned()));
        };
        for values in lists.iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }
}

/// One result per group.
#[derive(Debug)]
struct Groups {
    exact: Exact,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl Groups {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> DfResult<()> {
        self.grow(total);
        let Some(values) = values.first() else { return Ok(()) };
        let units = self.exact.units(values)?;
        let passes = |row: usize| filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        for (row, group) in groups.iter().copied().enumerate() {
            if units.is_valid(row) && passes(row) {
                self.sums[group] = self.sums[group].checked_add(units.value(row)).ok_or_else(beyond)?;
                self.counts[group] += 1;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let results = sums.into_iter().zip(counts).map(|(sum, count)| self.exact.of(sum, count)).collect::<DfResult<_>>()?;
        self.exact.column(results)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let sums = Decimal128Array::from_iter_values(sums).with_data_type(sum_type(self.exact.scale));
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from(counts))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> DfResult<()> {
        self.grow(total);
        let (sums, counts) = sums_and_counts(states)?;
        for (row, group) in groups.iter().copied().enumerate() {
            if sums.is_valid(row) {
                self.sums[group] = self.sums[group].checked_add(sums.value(row)).ok_or_else(beyond)?;
                self.counts[group] += counts.value(row);
            }
        }
        Ok(())
    }

    /// Each row as a state of its own.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let Some(values) = values.first() else { return Err(DataFusionError::Internal("an aggregate takes one argument".to_owned())) };
        let units = self.exact.units(values)?;
        let counted = |row: usize| units.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let sums = Decimal128Array::from_iter_values((0..units.len()).map(|row| if counted(row) { units.value(row) } else { 0 }));
        let counts: Int64Array = (0..units.len()).map(|row| Some(i64::from(counted(row)))).collect();
        Ok(vec![Arc::new(sums.with_data_type(sum_type(self.exact.scale))), Arc::new(counts)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}
