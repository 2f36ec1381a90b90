//! Window assignment: gives each row its window(s) as columns. Stateless (TUMBLE, HOP, CUMULATE).
//!
//! Used where windows are not aggregated away at once: window join, Top-N, a filter on `window_start`. A row of an
//! overlapping window leaves once per window.

use arrow::datatypes::SchemaRef;

use crate::time::WindowKind;

/// Describes the assignment, over one input.
#[derive(Debug)]
pub struct WindowAssignSpec {
    /// Event-time column of the input (a timestamp of any unit; rows with NULL are refused with `Reason::NullTime`).
    pub time: usize,
    /// Which windows; never a session.
    pub kind: WindowKind,
    /// Input columns, then `window_start`, `window_end` (Timestamp(ms), no zone), `window_time` (type of the time column).
    pub schema: SchemaRef,
}
