//! Expressions as people read them in `eagre explain`: columns by name alone, and names that the planner made as they were
//! written.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

/// `amount@3 > 10` as `amount > 10`; columns of one name keep their numbers, which tell them apart.
pub fn expression(expr: &Arc<dyn PhysicalExpr>) -> String {
    let mut columns: Vec<(String, String)> = Vec::new();
    let seen = expr.apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>() {
            columns.push((column.to_string(), name(column.name())));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    columns.sort();
    columns.dedup();
    let alike = |name: &str| columns.iter().filter(|(_, other)| other == name).count() > 1;
    let mut columns: Vec<_> = columns.iter().filter(|(_, name)| !alike(name)).collect();
    // Longer ones first: `a@1` is the beginning of `a@10`.
    columns.sort_by_key(|(written, _)| std::cmp::Reverse(written.len()));
    let text = expr.to_string();
    if seen.is_err() { text } else { columns.into_iter().fold(text, |text, (written, name)| text.replace(written, name)) }
}

/// `count(Int64(1)) PARTITION BY [k] ORDER BY [ts] RANGE BETWEEN …` as `count(*) over its frame`.
pub fn name(name: &str) -> String {
    let call = call(name);
    let whole = name.replace("count(Int64(1))", "count(*)");
    if call == whole { call } else { format!("{call} over its frame") }
}

/// The same without the frame.
pub fn call(name: &str) -> String {
    let name = name.replace("count(Int64(1))", "count(*)");
    let framed = name.contains(" RANGE BETWEEN ") || name.contains(" ROWS BETWEEN ");
    let parts = [" PARTITION BY [", " ORDER BY [", " RANGE BETWEEN ", " ROWS BETWEEN "];
    match parts.iter().filter_map(|part| name.find(part)).min().filter(|_| framed) {
        Some(end) => name[..end].to_owned(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, lit};

    use super::*;

    #[test]
    fn columns_are_their_names() {
        let call = "count(Int64(1)) PARTITION BY [k] ORDER BY [ts ASC NULLS LAST] RANGE BETWEEN 1 MINUTE PRECEDING AND CURRENT ROW";
        let fields: Vec<Field> = ["a", call].iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let column = |at: usize| Arc::new(Column::new(fields[at].name(), at)) as Arc<dyn PhysicalExpr>;
        let schema = Schema::new(fields.clone());
        let sum = binary(column(0), Operator::Plus, column(1), &schema).unwrap();
        let above = binary(sum, Operator::Gt, lit(5_i64), &schema).unwrap();
        assert_eq!(expression(&above), "a + count(*) over its frame > 5");
        let twice = binary(Arc::new(Column::new("a", 0)), Operator::Lt, Arc::new(Column::new("a", 1)), &schema).unwrap();
        assert_eq!(expression(&twice), "a@0 < a@1");
        assert_eq!(name("sum(orders.amount)"), "sum(orders.amount)");
    }
}
