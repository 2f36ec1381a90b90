//! What all plans together ask of each table: so that it is read and decoded once.
//!
//! ```text
//!  plan 1: orders(id, amount) WHERE amount > 5            ┐ one source: id, amount, type
//!  plan 2: orders(id, amount) WHERE type = 'refund'       ┘ WHERE amount > 5 OR type = 'refund', then each its own filter
//! ```

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, WindowFrameUnits, WindowFunctionDefinition};

use super::refuse;
use crate::error::Result;
use crate::sql::declared::DeclaredTable;
use crate::sql::pattern_node::PatternNode;
use crate::sql::recognize::RecognizeNode;

/// What all scans of a table need together.
pub(super) struct Demand<'p> {
    /// The table.
    pub table: &'p DeclaredTable,
    /// Columns that some scan hands on (numbers in the table's schema).
    pub columns: BTreeSet<usize>,
    /// Per scan: its filter over unqualified columns; `None` = takes all rows.
    filters: Vec<Option<Expr>>,
    /// Does somebody need the order of rows of equal event time?
    pub seq: bool,
}

impl Demand<'_> {
    /// What every row must pass to be of use to any scan, and whether that is all that every scan asks.
    pub fn filter(&self) -> (Option<Expr>, bool) {
        let Some(all) = self.filters.iter().cloned().collect::<Option<Vec<Expr>>>() else {
            return (None, self.filters.iter().all(Option::is_none));
        };
        let mut different: Vec<Expr> = Vec::new();
        for filter in all {
            if !different.contains(&filter) {
                different.push(filter);
            }
        }
        let same = different.len() == 1;
        (disjunction(different), same)
    }

    /// Does any scan have a filter?
    pub fn filters(&self) -> bool {
        self.filters.iter().any(Option::is_some)
    }

    /// Columns that the scans' own filters read.
    pub fn filter_columns(&self) -> Result<BTreeSet<usize>> {
        let mut read = BTreeSet::new();
        for column in self.filters.iter().flatten().flat_map(|f| f.column_refs()) {
            read.insert(self.table.schema.index_of(&column.name)?);
        }
        Ok(read)
    }
}

/// The demands of all plans, by table name.
pub(super) fn demands<'p>(plans: impl Iterator<Item = &'p LogicalPlan>) -> Result<Vec<Demand<'p>>> {
    let mut demands = BTreeMap::new();
    for plan in plans {
        collect(plan, false, &mut demands)?;
    }
    Ok(demands.into_values().collect())
}

fn collect<'p>(plan: &'p LogicalPlan, seq: bool, demands: &mut BTreeMap<String, Demand<'p>>) -> Result<()> {
    if let LogicalPlan::TableScan(scan) = plan {
        let table = declared(scan)?;
        let demand = demands.entry(table.def.name.clone()).or_insert_with(|| Demand {
            table,
            columns: BTreeSet::new(),
            filters: Vec::new(),
            seq: false,
        });
        demand.columns.extend(scanned_columns(scan));
        demand.filters.push(scan_filter(scan)?);
        demand.seq |= seq;
    }
    let seq = match plan {
        // What comes out of these are new rows, in an order of their own.
        LogicalPlan::Join(_) => false,
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().any(depends_on_order),
        LogicalPlan::Window(window) => seq || window.window_expr.iter().any(depends_on_order),
        LogicalPlan::Extension(extension) if looks_for_patterns(extension.node.as_any()) => true,
        _ => seq,
    };
    plan.inputs().into_iter().try_for_each(|input| collect(input, seq, demands))
}

fn looks_for_patterns(node: &dyn std::any::Any) -> bool {
    node.is::<PatternNode>() || node.is::<RecognizeNode>()
}

/// Can the order of rows of equal event time change what the function gives?
pub(super) fn depends_on_order(expr: &Expr) -> bool {
    const ORDERED: [&str; 6] = ["first_value", "last_value", "nth_value", "array_agg", "string_agg", "listagg"];
    match expr {
        Expr::Alias(alias) => depends_on_order(&alias.expr),
        Expr::AggregateFunction(function) => !function.params.order_by.is_empty() || ORDERED.contains(&function.func.name()),
        Expr::WindowFunction(function) => {
            let WindowFunction { fun, params } = function.as_ref();
            match fun {
                WindowFunctionDefinition::AggregateUDF(fun) => {
                    params.window_frame.units == WindowFrameUnits::Rows || ORDERED.contains(&fun.name())
                }
                WindowFunctionDefinition::WindowUDF(_) => true,
            }
        }
        _ => false,
    }
}

/// The table behind a scan.
pub(super) fn declared(scan: &TableScan) -> Result<&DeclaredTable> {
    scan.source.downcast_ref::<DeclaredTable>().ok_or_else(|| refuse::not_a_stream(&scan.table_name.to_string()))
}

/// Numbers (in the table's schema) of the columns that a scan hands on, in its order.
pub(super) fn scanned_columns(scan: &TableScan) -> Vec<usize> {
    scan.projection.clone().unwrap_or_else(|| (0..scan.source.schema().fields().len()).collect())
}

/// The filter of a scan over unqualified columns.
pub(super) fn scan_filter(scan: &TableScan) -> Result<Option<Expr>> {
    let filters = scan.filters.iter().map(unqualified).collect::<Result<Vec<_>>>()?;
    Ok(conjunction(filters))
}

fn unqualified(expr: &Expr) -> Result<Expr> {
    let result = expr.clone().transform(|e| {
        Ok(match e {
            Expr::Column(column) if column.relation.is_some() => Transformed::yes(Expr::Column(Column { relation: None, ..column })),
            other => Transformed::no(other),
        })
    })?;
    Ok(result.data)
}

/// The tables that a plan reads.
pub(super) fn tables_of(plan: &LogicalPlan) -> Vec<&DeclaredTable> {
    let mut tables = Vec::new();
    let mut todo = vec![plan];
    while let Some(plan) = todo.pop() {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(table) = scan.source.downcast_ref::<DeclaredTable>()
        {
            tables.push(table);
        }
        todo.extend(plan.inputs());
    }
    tables
}

/// The tables that a plan reads, each with its event-time column; tables without one are left out.
pub(super) fn event_times(plan: &LogicalPlan) -> Vec<(String, String)> {
    let times: BTreeSet<_> = tables_of(plan)
        .into_iter()
        .filter_map(|table| Some((table.def.name.clone(), table.def.watermark.as_ref()?.column.clone())))
        .collect();
    times.into_iter().collect()
}
