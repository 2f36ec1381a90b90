//! Which implementation computes an aggregate: by folding where its values combine, else by DataFusion's accumulators.

use std::sync::Arc;

use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count as CountFunction;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum as SumFunction;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Literal, case};

use super::Frame;
use super::column::Column;
use super::count::RangeCount;
use super::fold::{Average, Count, Folded, Greatest, Least, Sum};
use super::general::General;

/// Is it the function of this type, without DISTINCT and ORDER BY? Functions of the same name that others bring are not.
fn is_plain<F: datafusion::logical_expr::AggregateUDFImpl>(aggregate: &AggregateFunctionExpr) -> bool {
    aggregate.fun().inner().downcast_ref::<F>().is_some() && !aggregate.is_distinct() && aggregate.order_bys().is_empty()
}

/// Is it COUNT(*), that is COUNT of a constant, over a sliding RANGE frame? Then it needs no argument.
pub(crate) fn needs_no_argument(aggregate: &AggregateFunctionExpr, frame: Frame) -> bool {
    let is_constant = |arg: &Arc<dyn PhysicalExpr>| arg.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null());
    matches!(frame, Frame::Range(_)) && is_plain::<CountFunction>(aggregate) && aggregate.expressions().iter().all(is_constant)
}

/// The argument with NULL for rows that do not pass `filter`, for aggregates that pass over NULLs; `None` for others.
pub(crate) fn filter_as_null(aggregate: &AggregateFunctionExpr, filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let skips_nulls = is_plain::<CountFunction>(aggregate)
        || is_plain::<Min>(aggregate)
        || is_plain::<Max>(aggregate)
        || is_plain::<Avg>(aggregate)
        || is_plain::<SumFunction>(aggregate);
    match &aggregate.expressions()[..] {
        [arg] if skips_nulls => case(None, vec![(filter.clone(), arg.clone())], None).ok(),
        _ => None,
    }
}

/// What computes `aggregate` over `frame` of arguments of these types (none where it needs none). `masked`: the last of
/// them says which rows are counted in.
pub(crate) fn column_of(aggregate: &Arc<AggregateFunctionExpr>, frame: Frame, args: &[DataType], masked: bool) -> Box<dyn Column> {
    if masked {
        return Box::new(General::new(aggregate.clone(), frame, true));
    }
    if let (Frame::Range(range), true, [] | [_]) = (frame, is_plain::<CountFunction>(aggregate), args) {
        return Box::new(RangeCount::new(range));
    }
    fold_of(aggregate, frame, args).unwrap_or_else(|| Box::new(General::new(aggregate.clone(), frame, false)))
}

/// Is it computed anew over the frame of every row?
pub(crate) fn is_slow(aggregate: &Arc<AggregateFunctionExpr>, frame: Frame, args: &[DataType]) -> bool {
    let fast = matches!(frame, Frame::Range(_)) && is_plain::<CountFunction>(aggregate) && args.len() <= 1;
    !fast && fold_of(aggregate, frame, args).is_none() && General::new(aggregate.clone(), frame, false).recomputes()
}

fn fold_of(aggregate: &AggregateFunctionExpr, frame: Frame, args: &[DataType]) -> Option<Box<dyn Column>> {
    use DataType as T;
    let [arg] = args else { return None };
    let result = aggregate.field().data_type().clone();
    macro_rules! folded {
        ($fold:ty) => {
            Some(Box::new(Folded::<$fold>::new(frame, result)) as Box<dyn Column>)
        };
    }
    macro_rules! of_any_number {
        ($fold:ident) => {
            match arg {
                T::Int8 => folded!($fold<Int8Type>),
                T::Int16 => folded!($fold<Int16Type>),
                T::Int32 => folded!($fold<Int32Type>),
                T::Int64 => folded!($fold<Int64Type>),
                T::UInt8 => folded!($fold<UInt8Type>),
                T::UInt16 => folded!($fold<UInt16Type>),
                T::UInt32 => folded!($fold<UInt32Type>),
                T::UInt64 => folded!($fold<UInt64Type>),
                T::Float32 => folded!($fold<Float32Type>),
                T::Float64 => folded!($fold<Float64Type>),
                T::Decimal128(_, _) => folded!($fold<Decimal128Type>),
                T::Timestamp(TimeUnit::Microsecond, _) => folded!($fold<TimestampMicrosecondType>),
                T::Timestamp(TimeUnit::Millisecond, _) => folded!($fold<TimestampMillisecondType>),
                _ => None,
            }
        };
    }
    if is_plain::<CountFunction>(aggregate) {
        return of_any_number!(Count);
    }
    if is_plain::<Min>(aggregate) && result == *arg {
        return of_any_number!(Least);
    }
    if is_plain::<Max>(aggregate) && result == *arg {
        return of_any_number!(Greatest);
    }
    if is_plain::<Avg>(aggregate) && *arg == T::Float64 && result == T::Float64 {
        return folded!(Average);
    }
    if is_plain::<SumFunction>(aggregate) {
        return match (arg, &result) {
            (T::Int64, T::Int64) => folded!(Sum<Int64Type>),
            (T::UInt64, T::UInt64) => folded!(Sum<UInt64Type>),
            (T::Float64, T::Float64) => folded!(Sum<Float64Type>),
            (T::Decimal128(_, a), T::Decimal128(_, b)) if a == b => folded!(Sum<Decimal128Type>),
            _ => None,
        };
    }
    None
}
