//! Aggregates over a frame of each key's rows that ends at the row at hand: for OVER, and for rules over aggregates.
//!
//! ```text
//!  rows in order ──▶ slot of the key ──▶ frame: [ oldest … row at hand ] ──▶ one result a row
//! ```
//! What computes one: `column.rs`. Which way it is computed: `choose.rs`; the fast ones are `fold.rs` and `count.rs`.

pub(crate) mod choose;
pub(crate) mod column;
mod count;
mod fold;
mod general;
pub(crate) mod held;
pub(crate) mod nth;

use crate::time::Length;

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

impl Frame {
    /// A function over it, in words.
    pub(crate) fn text(self, call: &str) -> String {
        match self {
            Frame::RangeUnbounded => format!("{call} over all so far"),
            Frame::Range(micros) => format!("{call} over the last {}", Length(micros)),
            Frame::RowsUnbounded => format!("{call} over all rows so far"),
            Frame::Rows(before) => format!("{call} over the row and {before} before"),
        }
    }
}

/// A row of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichRow {
    /// Counted from the first, which is 1.
    FromFirst(u64),
    /// The last.
    Last,
}
