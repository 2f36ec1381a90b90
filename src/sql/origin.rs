//! Where a column of a plan comes from, as long as it is only handed on.

use std::borrow::Cow;

use datafusion::logical_expr::{Expr, LogicalPlan};

use super::catalog::{ColumnKind, TableDef};
use super::declared::DeclaredTable;
use super::recognize::RecognizeNode;
use super::recognize::node::Bound;
use super::window_node::WindowNode;
use crate::operator::pattern::row_pattern::RowsPerMatch;

/// Positions of the columns of `plan` that carry event time.
pub fn time_columns(plan: &LogicalPlan) -> Vec<usize> {
    (0..plan.schema().fields().len()).filter(|at| is_time(plan, *at)).collect()
}

/// Position of the column of `plan` that is `METADATA FROM 'key'` of its table.
pub fn metadata_column(plan: &LogicalPlan, key: &str) -> Option<usize> {
    (0..plan.schema().fields().len()).find(|at| {
        let found = declared(plan, *at);
        found.is_some_and(|(table, column)| {
            let kind = table.columns.iter().find(|own| own.name == column).map(|own| &own.kind);
            matches!(kind, Some(ColumnKind::Metadata { key: own, .. }) if own == key)
        })
    })
}

fn is_time(plan: &LogicalPlan, at: usize) -> bool {
    match below(plan, at) {
        Below::Table(table, column) => table.watermark.as_ref().is_some_and(|watermark| watermark.column == column),
        Below::Time => true,
        Below::Inputs(inputs) => !inputs.is_empty() && inputs.iter().all(|(input, at)| is_time(input, *at)),
    }
}

fn declared(plan: &LogicalPlan, at: usize) -> Option<(&TableDef, &str)> {
    match below(plan, at) {
        Below::Table(table, column) => Some((table, column)),
        Below::Time => None,
        Below::Inputs(inputs) => inputs.first().and_then(|(input, at)| declared(input, *at)),
    }
}

/// What a column is, one node further down.
enum Below<'p> {
    Table(&'p TableDef, &'p str),
    /// Event time that is made here.
    Time,
    /// Handed on from these columns of inputs; none: made here.
    Inputs(Vec<(&'p LogicalPlan, usize)>),
}

fn below(plan: &LogicalPlan, at: usize) -> Below<'_> {
    let through = |input, expr: &Expr| match expr.clone().unalias() {
        Expr::Column(column) => {
            let input: &LogicalPlan = input;
            Below::Inputs(input.schema().maybe_index_of_column(&column).map(|at| (input, at)).into_iter().collect())
        }
        _ => Below::Inputs(Vec::new()),
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let column = scan.projection.as_ref().map_or(Some(at), |kept| kept.get(at).copied());
            let Some(table) = scan.source.downcast_ref::<DeclaredTable>() else {
                // A view: its plan stands behind it.
                let view = scan.source.get_logical_plan();
                return Below::Inputs(match (view, column) {
                    (Some(Cow::Borrowed(plan)), Some(at)) => vec![(plan, at)],
                    _ => Vec::new(),
                });
            };
            match column.and_then(|column| table.def.columns.get(column)) {
                Some(column) => Below::Table(&table.def, &column.name),
                None => Below::Inputs(Vec::new()),
            }
        }
        LogicalPlan::Projection(projection) => match projection.expr.get(at) {
            Some(expr) => through(projection.input.as_ref(), expr),
            None => Below::Inputs(Vec::new()),
        },
        LogicalPlan::Filter(filter) => Below::Inputs(vec![(filter.input.as_ref(), at)]),
        LogicalPlan::SubqueryAlias(alias) => Below::Inputs(vec![(alias.input.as_ref(), at)]),
        LogicalPlan::Union(union) => Below::Inputs(union.inputs.iter().map(|input| (input.as_ref(), at)).collect()),
        LogicalPlan::Window(window) if at < window.input.schema().fields().len() => Below::Inputs(vec![(window.input.as_ref(), at)]),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(at) {
            Some(expr) => through(aggregate.input.as_ref(), expr),
            None => Below::Inputs(Vec::new()),
        },
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            Below::Inputs(vec![if at < left { (join.left.as_ref(), at) } else { (join.right.as_ref(), at - left) }])
        }
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<RecognizeNode>() => {
            extension.node.as_any().downcast_ref().map_or(Below::Inputs(Vec::new()), |node| below_matches(node, at))
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowNode>() {
            Some(window) if at < window.input.schema().fields().len() => Below::Inputs(vec![(window.input.as_ref(), at)]),
            Some(window) if at + 1 == window.schema.fields().len() => Below::Time,
            _ => Below::Inputs(Vec::new()),
        },
        _ => Below::Inputs(Vec::new()),
    }
}

/// The columns of partitions are handed on; those of the rows of a match come when it is complete, which is too late for
/// their event time.
fn below_matches(node: &RecognizeNode, at: usize) -> Below<'_> {
    let own = node.own_columns();
    match (node.pattern.rows, at.checked_sub(own)) {
        (_, Some(measured)) if matches!(node.measured.get(measured), Some(Bound::Time { .. })) => Below::Time,
        (RowsPerMatch::One, None) => {
            let key = node.partition_by.get(at).and_then(|key| node.input.schema().maybe_index_of_column(key));
            Below::Inputs(key.map(|key| (node.input.as_ref(), key)).into_iter().collect())
        }
        _ => Below::Inputs(Vec::new()),
    }
}
