//! A DECIMAL beside a DOUBLE is taken as a DOUBLE, as in Flink: in comparisons, arithmetic, CASE, COALESCE and their kin.
//! DataFusion would make a DECIMAL of the DOUBLE, which loses small numbers and fails on large ones; `0.1` in a text is a
//! DECIMAL.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, InList, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

use super::flink_types::with_each_expression;

/// Functions whose arguments become of one type.
const ALIKE: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "nvl"];

/// See the file's head; runs before types are coerced.
#[derive(Debug)]
pub(super) struct Approximate;

impl AnalyzerRule for Approximate {
    fn name(&self) -> &str {
        "approximate"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| with_each_expression(plan, |expr, schema| expr.transform_up(|e| alike(e, schema))))
            .map(|t| t.data)
    }
}

/// [`Approximate`] on one expression.
pub(super) fn with_approximate(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    expr.transform_up(|e| alike(e, schema)).map(|t| t.data)
}

fn alike(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => made_alike(vec![left, right], schema),
        Expr::Between(Between { expr: of, low, high, .. }) => made_alike(vec![of, low, high], schema),
        Expr::InList(InList { expr: of, list, .. }) => made_alike(std::iter::once(of.as_mut()).chain(list).collect(), schema),
        Expr::Case(Case { expr: of, when_then_expr, else_expr }) => {
            let (mut asked, mut given): (Vec<&mut Expr>, Vec<&mut Expr>) = (Vec::new(), Vec::new());
            for (when, then) in when_then_expr {
                asked.push(when);
                given.push(then);
            }
            given.extend(else_expr.as_deref_mut());
            // Without an operand the conditions are truth values.
            let of = of.as_deref_mut().is_some_and(|of| {
                asked.push(of);
                made_alike(asked, schema)
            });
            made_alike(given, schema) || of
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if ALIKE.contains(&func.name()) => {
            made_alike(args.iter_mut().collect(), schema)
        }
        _ => false,
    };
    Ok(Transformed::new(expr, changed, datafusion::common::tree_node::TreeNodeRecursion::Continue))
}

/// Casts the DECIMALs among `exprs` to DOUBLE if one of the others is approximate.
fn made_alike(exprs: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Vec<Option<DataType>> = exprs.iter().map(|expr| expr.get_type(schema).ok()).collect();
    let is_decimal = |t: &Option<DataType>| matches!(t, Some(DataType::Decimal128(..)));
    if !types.iter().any(|t| matches!(t, Some(DataType::Float32 | DataType::Float64))) || !types.iter().any(is_decimal) {
        return false;
    }
    for (expr, _) in exprs.into_iter().zip(&types).filter(|(_, t)| is_decimal(t)) {
        *expr = cast(std::mem::take(expr), DataType::Float64);
    }
    true
}
