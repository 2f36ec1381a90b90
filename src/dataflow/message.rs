//! What travels between tasks, and between the coordinator and sources.

use arrow::array::RecordBatch;

use crate::connector::{Partition, Position};
use crate::dataflow::parking::Parking;
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

/// What the coordinator asks of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send this barrier on.
    Barrier(Barrier),
    /// Send this barrier on and read no more: the pipeline stops behind it.
    Stop(Barrier),
    /// The checkpoint of this epoch is confirmed.
    Confirmed(u64),
}

/// Where a partition stands at a barrier.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SourceReport {
    /// The source's node.
    #[serde(skip)]
    pub node: usize,
    /// The partition.
    pub partition: Partition,
    /// Where reading goes on; `None` = nothing was read yet.
    pub position: Option<Position>,
    /// The partition's watermark.
    pub watermark: Watermark,
    /// It has been read to its end.
    pub ended: bool,
    /// Which of its records wait in the dead letters for others of their key.
    #[serde(default, skip_serializing_if = "Parking::is_empty")]
    pub parking: Parking,
}
