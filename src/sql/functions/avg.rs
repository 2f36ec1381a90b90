//! AVG as in Flink: of integers an integer of their type (cut toward zero), of `DECIMAL(p, s)` a `DECIMAL(38, max(6, s))`
//! rounded half up (`exact.rs`). AVG of floating-point numbers is DataFusion's.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::exact::{Exact, Finish, WIDEST, scale_of};
use crate::sql::types;

/// The function.
pub(super) fn avg() -> AggregateUDF {
    AggregateUDF::from(Avg { signature: Signature::user_defined(Volatility::Immutable), aliases: vec!["mean".to_owned()] })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Avg {
    signature: Signature,
    aliases: Vec<String>,
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
        Ok(Exact::state_fields(args.name, scale, args.is_distinct))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let Some(scale) = args.expr_fields.first().and_then(|f| scale_of(f.data_type())) else {
            return avg_udaf().inner().accumulator(args);
        };
        let exact = Exact { finish: Finish::Average, scale, returns: args.return_field.data_type().clone() };
        Ok(if args.is_distinct { exact.distinct() } else { exact.accumulator() })
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
        Ok(Exact { finish: Finish::Average, scale, returns: args.return_field.data_type().clone() }.groups())
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match args.expr_fields.first().and_then(|f| scale_of(f.data_type())) {
            Some(_) => self.accumulator(args),
            None => avg_udaf().inner().create_sliding_accumulator(args),
        }
    }
}
