//! OVER: aggregates over a sliding frame of each key's rows in event-time order; a row leaves when the watermark passes it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

/// How far a frame reaches back from the current row; it always ends at the current row (Flink's rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frame {
    /// All earlier rows of the key, and ties of the current one.
    RangeUnbounded,
    /// Rows whose event time is at most this many microseconds earlier (inclusive), and ties.
    Range(i64),
    /// All earlier rows of the key, by row.
    RowsUnbounded,
    /// This many earlier rows and the current one.
    Rows(u64),
}

/// One `agg(…) OVER (…)`.
#[derive(Debug, Clone)]
pub struct OverColumn {
    /// The function.
    pub function: OverFunction,
    /// Its frame.
    pub frame: Frame,
}

/// What is computed over a frame.
#[derive(Debug, Clone)]
pub enum OverFunction {
    /// An aggregate, its arguments over the input.
    Aggregate(Arc<AggregateFunctionExpr>),
    /// ROW_NUMBER() in event-time order (the frame plays no part).
    RowNumber,
}

/// Describes OVER columns that share PARTITION BY and ORDER BY, over one input.
#[derive(Debug)]
pub struct OverSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// PARTITION BY columns; may be none.
    pub keys: Vec<usize>,
    /// Event-time column: the ORDER BY.
    pub time: usize,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// The computed columns.
    pub columns: Vec<OverColumn>,
    /// Input columns, then one per computed column.
    pub schema: SchemaRef,
}
