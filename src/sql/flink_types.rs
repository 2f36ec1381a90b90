//! Flink's types and values where DataFusion's analysis would give others.
//!
//! | | DataFusion | Flink, and here |
//! |---|---|---|
//! | `SELECT x + 1` | an integer literal is a BIGINT | an INT where it fits |
//! | `'text'` | `Utf8` | `Utf8View` |
//! | `ROW_NUMBER() … + 1` | a DECIMAL, for the number has no sign | a BIGINT |
//! | `CAST(t AS STRING)` of a timestamp | `2020-01-01T00:00:00` | `2020-01-01 00:00:00.000` |
//! | … of a boolean, a double | `true`, `10000000.0` | `TRUE`, `1.0E7` |
//! | … of a row, a map | refused | `(1, x)`, `{a=1}` (`functions/to_text.rs`) |
//! | `CAST('1.9' AS INT)` | refused | `1` |
//! | `CAST(r AS ROW<…>)` | fields by name | by position |
//! | `CAST(t AS BIGINT)`, `CAST(n AS TIMESTAMP)` | counts units of the type's precision | refused |
//! | `DECIMAL / DECIMAL` | scale `s1 + 4`, cut off | scale `max(6, s1 + p2 + 1)`, rounded half up |
//!
//! AVG and SUM are in `functions/`. Left as DataFusion has them: SUM of a FLOAT is a DOUBLE, `*`, `%` and `+` of decimals (the
//! same as Flink's but for BIGINT, which counts as `DECIMAL(20, 0)`, in Flink 19).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Cast, Expr, ExprSchemable as _, LogicalPlan, Operator, ScalarUDF, TryCast, WindowFunctionDefinition, cast,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::LazyLock;

use super::functions::{by_position, decimal_divide, reads_otherwise, to_text, whole_part};
use super::types;

/// Integer literals become INT where they fit, texts `Utf8View`; runs before types are coerced.
#[derive(Debug)]
pub(super) struct FlinkLiterals;

impl AnalyzerRule for FlinkLiterals {
    fn name(&self) -> &str {
        "flink_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_) => {
                with_each_expression(plan, |expr, schema| narrowed(expr)?.transform_data(|expr| signed(expr, schema)))
            }
            LogicalPlan::Values(values) => {
                let one = |expr| narrowed(untyped_null(expr)).map(|t| t.data);
                let rows = values.values.into_iter().map(|row| row.into_iter().map(one).collect());
                let rows = rows.collect::<DfResult<Vec<Vec<Expr>>>>()?;
                Ok(Transformed::yes(datafusion::logical_expr::LogicalPlanBuilder::values(rows)?.build()?))
            }
            other => other.recompute_schema().map(Transformed::yes),
        })
        .map(|t| t.data)
    }
}

/// A NULL among VALUES was given the type that the others had before.
fn untyped_null(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, metadata) if value.is_null() => Expr::Literal(ScalarValue::Null, metadata),
        other => other,
    }
}

/// [`FlinkLiterals`] on one expression.
pub(super) fn with_flink_literals(expr: Expr) -> DfResult<Expr> {
    narrowed(expr).map(|t| t.data)
}

fn narrowed(expr: Expr) -> DfResult<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        Expr::AggregateFunction(ref call) if reads_literals(&call.func, &call.params.args) => {
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
        }
        Expr::WindowFunction(ref call) => Ok(match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) if !reads_literals(function, &call.params.args) => Transformed::no(expr),
            _ => Transformed::new(expr, false, TreeNodeRecursion::Jump),
        }),
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => Ok(match i32::try_from(n) {
            Ok(n) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(n)), metadata)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(n)), metadata)),
        }),
        Expr::Literal(ScalarValue::Utf8(text), metadata) => Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8View(text), metadata))),
        other => Ok(Transformed::no(other)),
    })
}

/// Arithmetic with DataFusion's counts and ranks, whose types have no sign, is that of a BIGINT.
fn signed(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    let side = |side: Box<Expr>| match side.get_type(schema) {
        Ok(DataType::UInt64) => Box::new(cast(*side, DataType::Int64)),
        _ => side,
    };
    expr.transform_up(|expr| {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Plus | Minus | Multiply | Divide | Modulo), right }) => {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: side(left), op, right: side(right) }))
            }
            other => Transformed::no(other),
        })
    })
}

/// Does DataFusion look at literals among the arguments? `COUNT(*)` is a count of one, `string_agg` takes its separator.
fn reads_literals(function: &AggregateUDF, args: &[Expr]) -> bool {
    match function.name() {
        "count" => matches!(args, [Expr::Literal(..)]),
        name => name == "string_agg",
    }
}

/// Casts and decimals as in Flink; runs after types are coerced.
#[derive(Debug)]
pub(super) struct FlinkCasts;

impl AnalyzerRule for FlinkCasts {
    fn name(&self) -> &str {
        "flink_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| with_each_expression(plan, |expr, schema| expr.transform_up(|e| flink_cast(e, schema))))
            .map(|t| t.data)
    }
}

/// [`FlinkCasts`] on one expression.
pub(super) fn with_flink_casts(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    expr.transform_up(|e| flink_cast(e, schema)).map(|t| t.data)
}

/// Changes the expressions of a node, keeping the names that nodes above use.
pub(super) fn with_each_expression(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> DfResult<Transformed<Expr>>,
) -> DfResult<Transformed<LogicalPlan>> {
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::TableScan(_) = plan {
        schema.merge(plan.schema());
    }
    let names = NamePreserver::new(&plan);
    let one = |expr: Expr| {
        let name = names.save(&expr);
        Ok(change(expr, &schema)?.update_data(|expr| name.restore(expr)))
    };
    let changed = plan.map_expressions(|expr| match expr {
        // The names are those of what it groups by.
        Expr::GroupingSet(_) => expr.map_children(one),
        expr => one(expr),
    })?;
    // Also where only the nodes below have changed.
    changed.map_data(LogicalPlan::recompute_schema)
}

fn flink_cast(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    match &expr {
        Expr::Cast(Cast { expr: of, field }) | Expr::TryCast(TryCast { expr: of, field }) => {
            let wanted = field.data_type();
            let Ok(given) = of.get_type(schema) else { return Ok(Transformed::no(expr)) };
            forbid(&given, wanted)?;
            let safe = matches!(expr, Expr::TryCast(_));
            if let Some(cast) = other_cast(of, &given, wanted, safe) {
                return Ok(Transformed::yes(cast));
            }
            if is_text(&given) && wanted.is_integer() && !is_call(of, &WHOLE_PART) {
                let whole = Box::new(Expr::ScalarFunction(ScalarFunction::new_udf(WHOLE_PART.clone(), vec![of.as_ref().clone()])));
                let field = field.clone();
                let cut = if safe { Expr::TryCast(TryCast { expr: whole, field }) } else { Expr::Cast(Cast { expr: whole, field }) };
                return Ok(Transformed::yes(cut));
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Multiply | Operator::Divide), right }) => {
            if let (Ok(DataType::Decimal128(p1, s1)), Ok(DataType::Decimal128(p2, s2))) = (left.get_type(schema), right.get_type(schema)) {
                let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
                return Ok(Transformed::yes(decimal_result(
                    left,
                    *op,
                    right,
                    (i16::from(p1), i16::from(s1)),
                    (i16::from(p2), i16::from(s2)),
                )));
            }
        }
        Expr::AggregateFunction(call) if is_plain_sum(&call.func, &call.params.args, schema) => {
            let mut call = call.clone();
            call.func = sum_udaf();
            return Ok(Transformed::yes(Expr::AggregateFunction(call)));
        }
        Expr::WindowFunction(call) => {
            if let WindowFunctionDefinition::AggregateUDF(function) = &call.fun
                && is_plain_sum(function, &call.params.args, schema)
            {
                let mut call = call.clone();
                call.fun = WindowFunctionDefinition::AggregateUDF(sum_udaf());
                return Ok(Transformed::yes(Expr::WindowFunction(call)));
            }
        }
        _ => {}
    }
    Ok(Transformed::no(expr))
}

/// A cast that DataFusion would do in another way: to a text, or to a ROW, whose fields Flink takes by position.
/// `safe`: TRY_CAST.
fn other_cast(of: &Expr, given: &DataType, wanted: &DataType, safe: bool) -> Option<Expr> {
    let function = if is_text(wanted) && reads_otherwise(given) {
        TO_TEXT.clone()
    } else if holds_row(wanted) && given != wanted {
        Arc::new(by_position(wanted.clone(), safe))
    } else {
        return None;
    };
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![of.clone()])))
}

/// `CAST(of AS wanted)` of an expression that is analysed already.
pub(super) fn flink_cast_of(of: Expr, given: &DataType, wanted: &DataType) -> Expr {
    other_cast(&of, given, wanted, false).unwrap_or_else(|| cast(of, wanted.clone()))
}

fn holds_row(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) => true,
        DataType::List(element) => holds_row(element.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => entry.iter().any(|field| holds_row(field.data_type())),
            _ => false,
        },
        _ => false,
    }
}

fn is_call(expr: &Expr, function: &ScalarUDF) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.as_ref() == function)
}

/// Is it our SUM where DataFusion's gives the same, only faster?
fn is_plain_sum(function: &Arc<AggregateUDF>, args: &[Expr], schema: &DFSchema) -> bool {
    let arg = args.first().and_then(|arg| arg.get_type(schema).ok());
    function.name() == "sum" && **function != *sum_udaf() && matches!(arg, Some(DataType::Int64 | DataType::Float64))
}

static DECIMAL_DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(decimal_divide()));
static TO_TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(to_text()));
static WHOLE_PART: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(whole_part()));

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
}

/// Flink refuses casts between numbers and timestamps, whose unit nobody can see.
fn forbid(given: &DataType, wanted: &DataType) -> DfResult<()> {
    let hint = match (given, wanted) {
        (DataType::Timestamp(..), wanted) if wanted.is_numeric() => "use EXTRACT, or TIMESTAMPDIFF from TIMESTAMP '1970-01-01 00:00:00'",
        (given, DataType::Timestamp(..)) if given.is_numeric() => "use TO_TIMESTAMP_LTZ(n, 3)",
        _ => return Ok(()),
    };
    Err(DataFusionError::Plan(format!("{} cannot be cast to {}; {hint}", types::name(given), types::name(wanted))))
}

/// A product or a quotient with the precision and scale of Flink's.
fn decimal_result(left: Expr, op: Operator, right: Expr, (p1, s1): (i16, i16), (p2, s2): (i16, i16)) -> Expr {
    if op == Operator::Multiply {
        let (precision, scale) = bounded(p1 + p2 + 1, s1 + s2);
        let product = Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
        return cast(product, DataType::Decimal128(precision, scale));
    }
    let quotient = ScalarFunction::new_udf(DECIMAL_DIVIDE.clone(), vec![left, right]);
    Expr::ScalarFunction(quotient)
}

/// Type of `DECIMAL(p1, s1) / DECIMAL(p2, s2)`.
pub(super) fn quotient_type(p1: u8, s1: i8, p2: u8, s2: i8) -> DataType {
    let (p1, s1, p2, s2) = (i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2));
    let scale = (s1 + p2 + 1).max(6);
    let (precision, scale) = bounded(p1 - s1 + s2 + scale, scale);
    DataType::Decimal128(precision, scale)
}

/// Beyond 38 digits the scale gives way, down to six.
fn bounded(precision: i16, scale: i16) -> (u8, i8) {
    if precision <= 38 {
        return (precision.max(1) as u8, scale as i8);
    }
    let whole = precision - scale;
    (38, (38 - whole).max(scale.min(6)) as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_types_beyond_38_digits_give_up_scale() {
        assert_eq!(bounded(30, 10), (30, 10));
        assert_eq!(bounded(45, 10), (38, 6));
        assert_eq!(bounded(40, 10), (38, 8));
    }
}
