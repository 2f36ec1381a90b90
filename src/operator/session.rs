//! Session windows: bursts of rows of a key, separated by at least a gap. Rows exactly `gap` apart still merge.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

/// Describes an aggregation over session windows whose partition key is the group key, over one input.
#[derive(Debug)]
pub struct SessionAggregateSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// Event-time column.
    pub time: usize,
    /// The gap, microseconds.
    pub gap_micros: i64,
    /// Columns of `input` that are PARTITION BY and GROUP BY at once (may be none: one global chain of sessions).
    pub keys: Vec<usize>,
    /// The aggregates (their arguments are over `input`).
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Per aggregate: its FILTER clause.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// Keys, aggregates, `window_start`, `window_end`, `window_time`, typed as in `WindowAggregateSpec`.
    pub schema: SchemaRef,
}

/// Describes session assignment without aggregation, over one input: keeps the rows of open sessions and, when a
/// session closes, hands them on with its window as columns. The general case behind GROUP BY on other keys, joins, Top-N.
#[derive(Debug)]
pub struct SessionAssignSpec {
    /// Event-time column.
    pub time: usize,
    /// The gap, microseconds.
    pub gap_micros: i64,
    /// PARTITION BY columns of the input.
    pub keys: Vec<usize>,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// Input columns, then `window_start`, `window_end`, `window_time`, typed as in `WindowAssignSpec`.
    pub schema: SchemaRef,
}
