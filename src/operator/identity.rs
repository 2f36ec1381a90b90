//! What expressions and aggregates compute, as text for fingerprints: columns by position, no names that a user may change.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;

/// `amount@3 > 10` as `@3 > 10`.
pub fn expr_identity(expr: &Arc<dyn PhysicalExpr>) -> String {
    let unnamed = Arc::clone(expr).transform_up(|node| {
        Ok(match node.downcast_ref::<Column>() {
            Some(column) => Transformed::yes(Arc::new(Column::new("", column.index())) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    });
    unnamed.map_or_else(|_| expr.to_string(), |unnamed| unnamed.data.to_string())
}

/// The column types of a schema, by position.
pub fn types_identity(schema: &Schema) -> String {
    let types: Vec<String> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
    format!("({})", types.join(", "))
}

/// The function, its arguments, DISTINCT, ORDER BY, NULL treatment and FILTER, and the type of its result.
pub fn aggregate_identity(aggregate: &AggregateFunctionExpr, filter: Option<&Arc<dyn PhysicalExpr>>) -> String {
    let arguments: Vec<String> = aggregate.expressions().iter().map(expr_identity).collect();
    let order: Vec<String> = aggregate.order_bys().iter().map(|sort| format!("{} {:?}", expr_identity(&sort.expr), sort.options)).collect();
    format!(
        "{}({}{}{}{}){}: {}",
        aggregate.fun().name(),
        if aggregate.is_distinct() { "DISTINCT " } else { "" },
        arguments.join(", "),
        if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) },
        if aggregate.ignore_nulls() { " IGNORE NULLS" } else { "" },
        filter.map(|f| format!(" FILTER {}", expr_identity(f))).unwrap_or_default(),
        aggregate.field().data_type(),
    )
}
