//! Window join: pairs rows of two inputs with equal keys in the same window; fires when the watermark passes its end.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

/// Describes a window join of input 0 (left) and input 1 (right). Both carry their window as columns.
#[derive(Debug)]
pub struct WindowJoinSpec {
    /// Schema of the left rows.
    pub left: SchemaRef,
    /// Schema of the right rows.
    pub right: SchemaRef,
    /// INNER, LEFT, RIGHT, FULL, LEFT SEMI, LEFT ANTI (and their right forms).
    pub join_type: JoinType,
    /// Key columns besides the window: left[i] = right[i]; NULL never matches. May be empty.
    pub left_keys: Vec<usize>,
    /// See `left_keys`.
    pub right_keys: Vec<usize>,
    /// `window_start` and `window_end` columns of the left rows (any timestamp type).
    pub left_window: (usize, usize),
    /// The same of the right rows.
    pub right_window: (usize, usize),
    /// What else must hold, over left columns then right columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Which of the joined columns leave, and in which order: positions in left columns then right columns (SEMI/ANTI:
    /// in those of the kept side). `None` = all. Columns that nobody reads are never gathered.
    pub projection: Option<Vec<usize>>,
    /// Schema of the output: the joined columns after `projection`.
    pub schema: SchemaRef,
}
