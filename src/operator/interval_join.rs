//! Interval join: pairs rows of two inputs with equal keys whose event times are within an interval of each other.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

/// Describes an interval join of input 0 (left) and input 1 (right).
#[derive(Debug)]
pub struct IntervalJoinSpec {
    /// Schema of the left rows.
    pub left: SchemaRef,
    /// Schema of the right rows.
    pub right: SchemaRef,
    /// INNER, LEFT, RIGHT, FULL, LEFT SEMI, LEFT ANTI (and their right forms).
    pub join_type: JoinType,
    /// Key columns: left[i] = right[i]; NULL never matches. May be empty.
    pub left_keys: Vec<usize>,
    /// See `left_keys`.
    pub right_keys: Vec<usize>,
    /// Event-time column of the left rows.
    pub left_time: usize,
    /// Event-time column of the right rows.
    pub right_time: usize,
    /// `right.time - left.time >= lower`, microseconds, inclusive.
    pub lower_micros: i64,
    /// `right.time - left.time <= upper`, microseconds, inclusive.
    pub upper_micros: i64,
    /// What else must hold, over left columns then right columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Which of the joined columns leave, and in which order: positions in left columns then right columns (SEMI/ANTI:
    /// in those of the kept side). `None` = all. Columns that nobody reads are never gathered.
    pub projection: Option<Vec<usize>>,
    /// Schema of the output: the joined columns after `projection`.
    pub schema: SchemaRef,
}
