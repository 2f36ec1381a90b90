//! Window Top-N and deduplication: the first `n` rows of each (window, partition) in some order, kept in bounded heaps.

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalSortExpr;

/// Describes a Top-N, over one input whose rows carry their window as columns.
#[derive(Debug)]
pub struct TopNSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// PARTITION BY columns besides the window; may be none.
    pub keys: Vec<usize>,
    /// `window_start` and `window_end` columns (any timestamp type).
    pub window: (usize, usize),
    /// ORDER BY over the input; ties by `seq`, then by arrival.
    pub order: Vec<PhysicalSortExpr>,
    /// First rank kept, from 1.
    pub first: u64,
    /// Last rank kept.
    pub last: u64,
    /// Append the rank (ROW_NUMBER, UInt64) as a last column.
    pub rank: bool,
    /// Hidden column that orders rows of equal sort keys.
    pub seq: Option<usize>,
    /// Input columns, then the rank if asked for.
    pub schema: SchemaRef,
}
