//! What travels between tasks.

use arrow::array::RecordBatch;

use crate::time::Watermark;

/// A barrier: everything before it belongs to the cut, nothing after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// Number of the cut, rising by one; a checkpoint's epoch is the number of its cut.
    pub epoch: u64,
    /// A checkpoint (persist and commit), or only a cut (live tables publish).
    pub checkpoint: bool,
}

/// When the bytes behind a message reached this process, microseconds since 1970 (0 = unknown): for latency figures only.
pub type ArrivedMicros = i64;

/// A message on a channel.
#[derive(Debug, Clone)]
pub enum Message {
    /// Rows.
    Batch(RecordBatch, ArrivedMicros),
    /// Event time moved on.
    Watermark(Watermark, ArrivedMicros),
    /// A cut or a checkpoint passes.
    Barrier(Barrier),
    /// The sender has nothing to say for now and holds nobody back.
    Idle,
    /// The sender has ended (after a final `Watermark::MAX`).
    End,
}
