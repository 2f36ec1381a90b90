//! The change feed of a live table: what every publish added and deleted, to as many listeners as there are.
//!
//! A listener that is too slow loses the oldest changes and is told how many publishes it missed: the dataflow never
//! waits for a listener.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::table::part::Fresh;

/// Publishes that a listener may lag behind before it loses some.
const LAG: usize = 256;

/// What one publish changed in a table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The published cut.
    pub epoch: u64,
    /// The table's version after it.
    pub version: u64,
    /// Rows appended, or the new rows of upserted keys.
    pub rows: Vec<RecordBatch>,
    /// Rows deleted, as they were.
    pub deleted: Vec<RecordBatch>,
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A publish changed the table.
    Change(Arc<Change>),
    /// So many publishes were missed.
    Lost(u64),
}

/// The sending side, one per table.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Arc<Change>>,
}

impl Default for Feed {
    fn default() -> Self {
        Feed { sender: broadcast::Sender::new(LAG) }
    }
}

impl Feed {
    /// Does anybody listen?
    pub(crate) fn heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(crate) fn send(&self, epoch: u64, version: u64, fresh: Fresh) {
        let Fresh { rows, deleted } = fresh;
        if rows.iter().chain(&deleted).any(|batch| batch.num_rows() > 0) {
            // Fails only when nobody listens.
            _ = self.sender.send(Arc::new(Change { epoch, version, rows, deleted }));
        }
    }

    pub(crate) fn subscribe(&self) -> Changes {
        Changes { receiver: self.sender.subscribe() }
    }
}

/// The listening side.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Arc<Change>>,
}

impl Changes {
    /// The next change, waiting for it; `None` when the table is gone.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(change) => Some(Heard::Change(change)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Lost(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
