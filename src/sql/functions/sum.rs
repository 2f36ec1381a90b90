//! SUM as in Flink: of integers an integer of their type (one that does not fit wraps around), of `DECIMAL(p, s)` a
//! `DECIMAL(38, s)` (`exact.rs`). SUM of other numbers is DataFusion's, which `../flink_types.rs` also puts in the place of
//! this one for BIGINT and DOUBLE: its results are the same there, and operators know it.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::exact::{Exact, Finish, WIDEST, scale_of};
use crate::sql::types;

/// The function.
pub(super) fn sum() -> AggregateUDF {
    AggregateUDF::from(Sum { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    signature: Signature,
}

fn exact(args: &AccumulatorArgs) -> Option<Exact> {
    let scale = args.expr_fields.first().and_then(|f| scale_of(f.data_type()))?;
    Some(Exact { finish: Finish::Sum, scale, returns: args.return_field.data_type().clone() })
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        match given {
            [t @ (DataType::Decimal128(..) | DataType::Duration(_))] => Ok(vec![t.clone()]),
            [t] if t.is_integer() => Ok(vec![t.clone()]),
            [t] if t.is_numeric() || t.is_null() => Ok(vec![DataType::Float64]),
            _ => {
                let given: Vec<_> = given.iter().map(types::name).collect();
                Err(DataFusionError::Plan(format!("SUM takes a number, not ({})", given.join(", "))))
            }
        }
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args {
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(WIDEST, *scale)),
            [t] if t.is_integer() => Ok(t.clone()),
            _ => sum_udaf().return_type(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        match args.input_fields.first().and_then(|f| scale_of(f.data_type())) {
            Some(scale) => Ok(Exact::state_fields(args.name, scale, args.is_distinct)),
            None => sum_udaf().inner().state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match exact(&args) {
            Some(exact) if args.is_distinct => Ok(exact.distinct()),
            Some(exact) => Ok(exact.accumulator()),
            None => sum_udaf().inner().accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match exact(&args) {
            Some(_) => !args.is_distinct,
            None => sum_udaf().inner().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        match exact(&args) {
            Some(exact) => Ok(exact.groups()),
            None => sum_udaf().inner().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match exact(&args) {
            Some(_) => self.accumulator(args),
            None => sum_udaf().inner().create_sliding_accumulator(args),
        }
    }
}
