//! Flink's types and values where DataFusion's analysis would give others.
//!
//! | | DataFusion | Flink, and here |
//! |---|---|---|
//! | `SELECT x + 1` | an integer literal is a BIGINT | an INT where it fits |
//! | `'text'` | `Utf8` | `Utf8View` |
//! | `CAST(t AS STRING)` of a timestamp | `2020-01-01T00:00:00` | `2020-01-01 00:00:00.000` |
//! | … of a boolean, a double | `true`, `10000000.0` | `TRUE`, `1.0E7` |
//! | `CAST(t AS BIGINT)`, `CAST(n AS TIMESTAMP)` | counts units of the type's precision | refused |
//! | `DECIMAL / DECIMAL` | scale `s1 + 4`, cut off | scale `max(6, s1 + p2 + 1)`, rounded half up |
//!
//! AVG and SUM are in `functions/`. Left as DataFusion has them: SUM of a FLOAT is a DOUBLE, integer literals inside
//! aggregates and GROUP BY are BIGINT, `*`, `%` and `+` of decimals (the same as Flink's but for BIGINT, which counts as
//! `DECIMAL(20, 0)`, in Flink 19).

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use chrono::DateTime;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Cast, Expr, ExprSchemable as _, LogicalPlan, Operator, TryCast, WindowFunctionDefinition, cast,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::LazyLock;

use super::functions::{decimal_divide, to_text};
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
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Join(_) => {
                with_each_expression(plan, |expr, _| narrowed(expr))
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
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump)),
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) => Ok(match i32::try_from(n) {
            Ok(n) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(n)), metadata)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(n)), metadata)),
        }),
        Expr::Literal(ScalarValue::Utf8(text), metadata) => Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8View(text), metadata))),
        other => Ok(Transformed::no(other)),
    })
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
fn with_each_expression(
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
    let changed = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(change(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    // Also where only the nodes below have changed.
    changed.map_data(LogicalPlan::recompute_schema)
}

fn flink_cast(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    match &expr {
        Expr::Cast(Cast { expr: of, field }) => {
            let wanted = field.data_type();
            let Ok(given) = of.get_type(schema) else { return Ok(Transformed::no(expr)) };
            forbid(&given, wanted)?;
            if is_text(wanted) && reads_otherwise(&given) {
                let text = ScalarFunction::new_udf(TO_TEXT.clone(), vec![of.as_ref().clone()]);
                return Ok(Transformed::yes(Expr::ScalarFunction(text)));
            }
        }
        Expr::TryCast(TryCast { expr: of, field }) => {
            let Ok(given) = of.get_type(schema) else { return Ok(Transformed::no(expr)) };
            forbid(&given, field.data_type())?;
            if is_text(field.data_type()) && reads_otherwise(&given) {
                let text = ScalarFunction::new_udf(TO_TEXT.clone(), vec![of.as_ref().clone()]);
                return Ok(Transformed::yes(Expr::ScalarFunction(text)));
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

/// Is it our SUM where DataFusion's gives the same, only faster?
fn is_plain_sum(function: &Arc<AggregateUDF>, args: &[Expr], schema: &DFSchema) -> bool {
    let arg = args.first().and_then(|arg| arg.get_type(schema).ok());
    function.name() == "sum" && **function != *sum_udaf() && matches!(arg, Some(DataType::Int64 | DataType::Float64))
}

static DECIMAL_DIVIDE: LazyLock<Arc<datafusion::logical_expr::ScalarUDF>> = LazyLock::new(|| Arc::new(decimal_divide()));
static TO_TEXT: LazyLock<Arc<datafusion::logical_expr::ScalarUDF>> = LazyLock::new(|| Arc::new(to_text()));

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
}

fn reads_otherwise(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Boolean | DataType::Float32 | DataType::Float64)
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

/// The texts of values as Flink writes them.
pub(super) fn texts(values: &ArrayRef) -> DfResult<Vec<Option<String>>> {
    let each = |f: &dyn Fn(usize) -> String| (0..values.len()).map(|at| values.is_valid(at).then(|| f(at))).collect();
    Ok(match values.data_type() {
        DataType::Boolean => {
            let values = values.as_boolean();
            each(&|at| if values.value(at) { "TRUE".to_owned() } else { "FALSE".to_owned() })
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            each(&|at| java_double(values.value(at), format!("{:e}", values.value(at))))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            each(&|at| java_double(f64::from(values.value(at)), format!("{:e}", values.value(at))))
        }
        DataType::Timestamp(unit, _) => {
            let digits = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => 3,
                _ => 6,
            };
            let micros = arrow::compute::cast(values, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let micros = micros.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
            each(&|at| match DateTime::from_timestamp_micros(micros.value(at)) {
                Some(time) => {
                    let mut text = time.format("%Y-%m-%d %H:%M:%S.").to_string();
                    let fraction = format!("{:06}", time.timestamp_subsec_micros());
                    text.push_str(&fraction[..digits]);
                    text
                }
                None => micros.value(at).to_string(),
            })
        }
        _ => {
            let texts = arrow::compute::cast(values, &DataType::Utf8View)?;
            let texts = texts.as_string_view();
            each(&|at| texts.value(at).to_owned())
        }
    })
}

/// Java's `Double.toString`: plain from 0.001 to below ten million, else `d.dddE±n`. `exponential`: Rust's `{:e}`.
fn java_double(value: f64, exponential: String) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let mut text = sign.to_owned();
    if value == 0.0 {
        text.push_str("0.0");
    } else if (-3..7).contains(&exponent) {
        if exponent < 0 {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
            text.push_str(&digits);
        } else {
            let whole = exponent as usize + 1;
            text.extend(digits.chars().chain(std::iter::repeat('0')).take(whole));
            text.push('.');
            text.push_str(digits.get(whole..).filter(|d| !d.is_empty()).unwrap_or("0"));
        }
    } else {
        let rest = digits.get(1..).filter(|d| !d.is_empty()).unwrap_or("0");
        // Writing to a text cannot fail.
        _ = write!(text, "{}.{rest}E{exponent}", &digits[..1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_in_java() {
        let text = |v: f64| java_double(v, format!("{v:e}"));
        for (value, wanted) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (1234567.0, "1234567.0"),
            (1.0e7, "1.0E7"),
            (123456789.125, "1.23456789125E8"),
            (0.001, "0.001"),
            (0.00012, "1.2E-4"),
            (0.0, "0.0"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(text(value), wanted);
        }
    }

    #[test]
    fn decimal_types_beyond_38_digits_give_up_scale() {
        assert_eq!(bounded(30, 10), (30, 10));
        assert_eq!(bounded(45, 10), (38, 6));
        assert_eq!(bounded(40, 10), (38, 8));
    }
}
