//! Window aggregation: COUNT, SUM, … per key and window, over slices that overlapping windows share.
//!
//! ```text
//!  rows ──▶ slice (gcd of size and slide): one hash table of groups ──┐  merged when the watermark
//!  rows ──▶ slice …                                                   ├─▶ passes the end of a window
//!  rows ──▶ slice …                                                 ──┘
//! ```

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::time::WindowKind;

/// Where the windows of a row come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windowing {
    /// From its event time.
    Time {
        /// Event-time column of the input.
        time: usize,
        /// TUMBLE, HOP or CUMULATE.
        kind: WindowKind,
    },
    /// The row carries its window already (output of a window join, of another window aggregation, of an assignment).
    Attached {
        /// Column with `window_start` (any timestamp type).
        start: usize,
        /// Column with `window_end`.
        end: usize,
    },
}

/// Which part of a two-phase aggregation this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Rows in, results out.
    Single,
    /// Rows in, partial states out (before the exchange; in the task of the source, sees its partition's watermark,
    /// judges lateness by it; keeps nothing over a checkpoint).
    Partial,
    /// Partial states in, results out.
    Final,
}

/// Describes a window aggregation, over one input.
#[derive(Debug)]
pub struct WindowAggregateSpec {
    /// Schema of the rows (also for `Final`: the input of the `Partial` before it).
    pub input: SchemaRef,
    /// The windows.
    pub windowing: Windowing,
    /// Group keys besides the window, over `input`.
    pub keys: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// GROUPING SETS: per set, per key, whether the key is NULL there. `None` = one set with all keys.
    /// With sets, a column `__grouping_id` follows the keys (DataFusion's encoding and type).
    pub grouping_sets: Option<Vec<Vec<bool>>>,
    /// The aggregates (their arguments are over `input`).
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Per aggregate: its FILTER clause over `input`.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Hidden column that orders rows of equal event time, for order-sensitive aggregates.
    pub seq: Option<usize>,
    /// The phase.
    pub phase: Phase,
    /// Schema of results: keys (then `__grouping_id`), aggregates, `window_start`, `window_end` (Timestamp(ms), no zone),
    /// `window_time` (Timestamp(ms), zone of the event-time column). For `Partial`: see `WindowAggregateSpec::partial_schema`.
    pub schema: SchemaRef,
}
