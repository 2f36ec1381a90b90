//! AVG as in Flink: of integers an integer of their type (cut toward zero), of `DECIMAL(p, s)` a `DECIMAL(38, max(6, s))`
//! rounded half up. AVG of floating-point numbers is DataFusion's.
//!
//! Sums are kept as 128-bit integers, with the digits behind the point that the argument has.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use crate::sql::types;

const WIDEST: u8 = 38;

/// The function.
pub(super) fn avg() -> AggregateUDF {
    AggregateUDF::from(Avg { signature: Signature::user_defined(Volatility::Immutable), aliases: vec!["mean".to_owned()] })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Avg {
    signature: Signature,
    aliases: Vec<String>,
}

/// Digits behind the point of an exact number; `None` for others.
fn scale_of(data_type: &DataType) -> Option<i8> {
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

impl AggregateUDFImpl for Avg {
    fn name(&self) -> &str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        match given {
            [t @ DataType::Decimal128(..)] => Ok(vec![t.clone()]),
            [t] if t.is_integer() => Ok(vec![t.clone()]),
            [t @ DataType::Duration(_)] => Ok(vec![t.clone()]),
            [t] if t.is_numeric() || t.is_null() => Ok(vec![DataType::Float64]),
            _ => {
                let given: Vec<_> = given.iter().map(types::name).collect();
                Err(DataFusionError::Plan(format!("AVG takes a number, not ({})", given.join(", "))))
            }
        }
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args {
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(WIDEST, (*scale).max(6))),
            [t] if t.is_integer() => Ok(t.clone()),
            _ => avg_udaf().return_type(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let Some(scale) = args.input_fields.first().and_then(|f| scale_of(f.data_type())) else {
            return avg_udaf().inner().state_fields(args);
        };
        let field = |name: &str, data_type| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        Ok(if args.is_distinct {
            vec![field("values", DataType::List(Arc::new(Field::new_list_field(sum_type(scale), true))))]
        } else {
            vec![field("sum", sum_type(scale)), field("count", DataType::Int64)]
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let Some(scale) = args.expr_fields.first().and_then(|f| scale_of(f.data_type())) else {
            return avg_udaf().inner().accumulator(args);
        };
        let quotient = Quotient { scale, returns: args.return_field.data_type().clone() };
        Ok(if args.is_distinct {
            Box::new(Distinct { quotient, values: HashSet::new() })
        } else {
            Box::new(Running { quotient, sum: 0, count: 0 })
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match args.expr_fields.first().and_then(|f| scale_of(f.data_type())) {
            Some(_) => !args.is_distinct,
            None => avg_udaf().inner().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let Some(scale) = args.expr_fields.first().and_then(|f| scale_of(f.data_type())) else {
            return avg_udaf().inner().create_groups_accumulator(args);
        };
        let quotient = Quotient { scale, returns: args.return_field.data_type().clone() };
        Ok(Box::new(Groups { quotient, sums: Vec::new(), counts: Vec::new() }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match args.expr_fields.first().and_then(|f| scale_of(f.data_type())) {
            Some(_) => self.accumulator(args),
            None => avg_udaf().inner().create_sliding_accumulator(args),
        }
    }
}

/// Makes averages of sums and counts.
#[derive(Debug, Clone)]
struct Quotient {
    /// Digits behind the point in the sums.
    scale: i8,
    returns: DataType,
}

impl Quotient {
    /// The argument's values as integers of `scale`.
    fn units(&self, values: &ArrayRef) -> DfResult<Decimal128Array> {
        Ok(cast(values, &sum_type(self.scale))?.as_primitive::<Decimal128Type>().clone())
    }

    fn of(&self, sum: i128, count: i64) -> DfResult<Option<i128>> {
        if count == 0 {
            return Ok(None);
        }
        let count = i128::from(count);
        let DataType::Decimal128(_, scale) = self.returns else { return Ok(Some(sum / count)) };
        let more = 10_i128.pow(u32::try_from(scale - self.scale).unwrap_or(0));
        let sum = sum.checked_mul(more).ok_or_else(|| DataFusionError::Execution("AVG: the sum is beyond 38 digits".to_owned()))?;
        // Half up, away from zero.
        let half = count / 2;
        Ok(Some(if sum < 0 { (sum - half) / count } else { (sum + half) / count }))
    }

    /// Averages as a column of the result's type.
    fn column(&self, averages: Vec<Option<i128>>) -> DfResult<ArrayRef> {
        let averages = Decimal128Array::from(averages);
        Ok(match &self.returns {
            DataType::Decimal128(..) => Arc::new(averages.with_data_type(self.returns.clone())),
            integer => cast(&averages.with_data_type(DataType::Decimal128(WIDEST, 0)), integer)?,
        })
    }

    fn value(&self, average: Option<i128>) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&self.column(vec![average])?, 0)
    }

    fn sum(&self, sum: i128) -> ScalarValue {
        ScalarValue::Decimal128(Some(sum), WIDEST, self.scale)
    }
}

fn beyond() -> DataFusionError {
    DataFusionError::Execution("AVG: the sum is beyond 38 digits".to_owned())
}

/// One average; rows can leave again (OVER).
#[derive(Debug)]
struct Running {
    quotient: Quotient,
    sum: i128,
    count: i64,
}

impl Running {
    fn add(&mut self, values: &[ArrayRef], sign: i64) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let units = self.quotient.units(values)?;
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
        self.quotient.value(self.quotient.of(self.sum, self.count)?)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.quotient.sum(self.sum), ScalarValue::Int64(Some(self.count))])
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
            _ => Err(DataFusionError::Internal(format!("AVG: a state of {} and {}", sums.data_type(), counts.data_type()))),
        },
        _ => Err(DataFusionError::Internal(format!("AVG: a state of {} columns", states.len()))),
    }
}

/// The average of distinct values.
#[derive(Debug)]
struct Distinct {
    quotient: Quotient,
    values: HashSet<i128>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.values.extend(self.quotient.units(values)?.iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sum = self.values.iter().try_fold(0_i128, |sum, v| sum.checked_add(*v)).ok_or_else(beyond)?;
        self.quotient.value(self.quotient.of(sum, self.values.len() as i64)?)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<i128>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values = Decimal128Array::from_iter_values(self.values.iter().copied()).with_data_type(sum_type(self.quotient.scale));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let list = ListArray::new(field, OffsetBuffer::from_lengths([values.len()]), Arc::new(values), None);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let Some(lists) = states.first().and_then(|s| s.as_list_opt::<i32>()) else {
            return Err(DataFusionError::Internal("AVG(DISTINCT): a state that is no list".to_owned()));
        };
        for values in lists.iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }
}

/// One average per group.
#[derive(Debug)]
struct Groups {
    quotient: Quotient,
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
        let units = self.quotient.units(values)?;
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
        let averages = sums.into_iter().zip(counts).map(|(sum, count)| self.quotient.of(sum, count)).collect::<DfResult<_>>()?;
        self.quotient.column(averages)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let sums = Decimal128Array::from_iter_values(sums).with_data_type(sum_type(self.quotient.scale));
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
        let Some(values) = values.first() else { return Err(DataFusionError::Internal("AVG takes one argument".to_owned())) };
        let units = self.quotient.units(values)?;
        let counted = |row: usize| units.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let sums = Decimal128Array::from_iter_values((0..units.len()).map(|row| if counted(row) { units.value(row) } else { 0 }));
        let counts: Int64Array = (0..units.len()).map(|row| Some(i64::from(counted(row)))).collect();
        Ok(vec![Arc::new(sums.with_data_type(sum_type(self.quotient.scale))), Arc::new(counts)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}
