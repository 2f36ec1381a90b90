//! `FROM t CROSS JOIN UNNEST(t.xs) AS u(x)` (and LEFT JOIN … ON TRUE) to an unnest of `t` itself.
//!
//! ```text
//!  Cross Join                                     Projection: t.*, x AS u.x
//!    t                                              Unnest: x
//!    SubqueryAlias u                        ──▶        Projection: t.*, t.xs AS x
//!      Projection: x                                     t
//!        Unnest: x
//!          Projection: outer(t.xs) AS x
//!            EmptyRelation
//! ```
//! DataFusion plans the left form and has nothing that runs it; its projection push-down does not even see that `t.xs`
//! is read, so this comes before all other rewrites.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType, ScalarValue, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable as _, Join, LogicalPlan, LogicalPlanBuilder, Projection, Unnest};

use super::functions::ELEMENTS;

/// Rewrites every lateral unnest in `plan`.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) => match lateral(join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(done.data)
}

/// The right side of a lateral unnest, taken apart.
struct Right<'p> {
    alias: Option<&'p TableReference>,
    /// What is made of the unnested columns, from the top down.
    projections: Vec<&'p Projection>,
    unnest: &'p Unnest,
    /// What is unnested, over columns of the left side, or constant.
    lists: &'p [Expr],
}

fn lateral(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some(right) = right_side(&join.right) else { return Ok(None) };
    let always = join.filter.as_ref().is_none_or(|f| matches!(f, Expr::Literal(ScalarValue::Boolean(Some(true)), _)));
    let preserve_nulls = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        _ => return Ok(None),
    };
    if !join.on.is_empty() || (!always && preserve_nulls) {
        let text = "LEFT JOIN UNNEST takes ON TRUE; put other conditions into WHERE";
        return Err(DataFusionError::Plan(text.to_owned()));
    }
    let left = join.left.schema();
    let mut below: Vec<Expr> = left.columns().into_iter().map(Expr::Column).collect();
    below.extend(right.lists.iter().map(|list| of_left(list.clone(), left)).collect::<Result<Vec<_>>>()?);
    let lists: Vec<Column> = right.unnest.exec_columns.clone();
    let options = right.unnest.options.clone().with_preserve_nulls(preserve_nulls);
    let unnested =
        LogicalPlanBuilder::from(join.left.as_ref().clone()).project(below)?.unnest_columns_with_options(lists, options)?.build()?;

    // The columns of the unnest stand behind those of the left side, in the order of the right side.
    let mut above: Vec<Expr> = left.columns().into_iter().map(Expr::Column).collect();
    for (at, (_, field)) in join.right.schema().iter().enumerate() {
        above.push(right.output(at)?.alias_qualified(right.alias.cloned(), field.name()));
    }
    let mut plan = LogicalPlanBuilder::from(unnested).project(above)?;
    if let Some(filter) = join.filter.as_ref().filter(|_| !always) {
        plan = plan.filter(filter.clone())?;
    }
    Ok(Some(plan.build()?))
}

impl Right<'_> {
    /// Column `at` of the right side over the columns of the unnest.
    fn output(&self, at: usize) -> Result<Expr> {
        let Some((top, below)) = self.projections.split_first() else { return Ok(Expr::Column(self.unnest.schema.columns()[at].clone())) };
        below.iter().try_fold(top.expr[at].clone().unalias(), |expr, projection| {
            let done = expr.transform(|e| {
                Ok(match &e {
                    Expr::Column(column) => Transformed::yes(projection.expr[projection.schema.index_of_column(column)?].clone().unalias()),
                    _ => Transformed::no(e),
                })
            })?;
            Ok(done.data)
        })
    }
}

fn right_side(plan: &LogicalPlan) -> Option<Right<'_>> {
    let (alias, inner) = match plan {
        LogicalPlan::SubqueryAlias(alias) => (Some(&alias.alias), alias.input.as_ref()),
        other => (None, other),
    };
    let inner = match inner {
        LogicalPlan::Subquery(subquery) => subquery.subquery.as_ref(),
        other => other,
    };
    let mut projections = Vec::new();
    let mut inner = inner;
    while let LogicalPlan::Projection(projection) = inner {
        projections.push(projection);
        inner = projection.input.as_ref();
    }
    let LogicalPlan::Unnest(unnest) = inner else { return None };
    let LogicalPlan::Projection(lists) = unnest.input.as_ref() else { return None };
    // What is unnested needs no column of the left side: it may be constant.
    matches!(lists.input.as_ref(), LogicalPlan::EmptyRelation(_)).then_some(Right { alias, projections, unnest, lists: &lists.expr })
}

/// Columns of the outer query are columns of the left side. What is an array of plain values already needs no call that
/// makes one.
fn of_left(expr: Expr, left: &DFSchema) -> Result<Expr> {
    let done = expr.transform_up(|e| {
        Ok(match e {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            Expr::ScalarFunction(call) if call.name() == ELEMENTS && call.args.iter().all(|arg| is_plain_array(arg, left)) => {
                Transformed::yes(call.args.into_iter().next().unwrap_or(Expr::Literal(ScalarValue::Null, None)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(done.data)
}

fn is_plain_array(expr: &Expr, left: &DFSchema) -> bool {
    matches!(expr.get_type(left), Ok(DataType::List(element)) if !matches!(element.data_type(), DataType::Struct(_)))
}
