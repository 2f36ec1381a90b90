//! Feeds: what a program hands over, a lane for each partition, until a reader takes it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::format::Records;

/// Chunks of a partition that may wait unread before `send` waits.
pub(super) const BACKLOG: usize = 64;

/// All feeds of an engine, by table name.
#[derive(Debug, Clone, Default)]
pub struct Feeds(Arc<Mutex<HashMap<String, Feed>>>);

impl Feeds {
    /// The feed of a table, made on first use.
    pub fn of(&self, table: &str) -> Feed {
        self.0.lock().entry(table.to_owned()).or_default().clone()
    }
}

/// The way into one table. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) changed: Arc<Notify>,
}

/// What is handed over.
#[derive(Debug, Clone)]
pub(super) enum Fed {
    /// Records.
    Records(Records),
    /// Nothing older than this comes any more (microseconds, exclusive).
    Watermark(i64),
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    partitions: Vec<Lane>,
    /// Nothing more will come.
    pub(super) ended: bool,
    /// Chunks stay after they were read.
    pub(super) keeping: bool,
}

/// One partition of a feed.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Number of the first chunk still here.
    pub(super) first: usize,
    pub(super) chunks: VecDeque<Fed>,
    /// Number of the next chunk to read.
    pub(super) read: usize,
}

impl Feed {
    /// Keeps what was read, so that a restored pipeline can read it again.
    pub fn keep(&self) -> &Self {
        self.inner.lock().keeping = true;
        self
    }

    /// Hands rows to partition 0, in the schema of the table's physical columns. Waits while too many are unread.
    pub async fn send(&self, rows: RecordBatch) -> Result<()> {
        self.send_records(0, Records::Rows(rows)).await
    }

    /// Hands whole lines (of the table's format) to a partition. Waits while too many chunks are unread.
    pub async fn send_lines(&self, partition: usize, lines: impl Into<Bytes>) -> Result<()> {
        self.send_records(partition, Records::Lines(lines.into())).await
    }

    /// Hands records, as a log or a broker has them, to a partition. Waits while too many chunks are unread.
    pub async fn send_records(&self, partition: usize, records: Records) -> Result<()> {
        self.hand_over(partition, Fed::Records(records)).await
    }

    /// Says that no row with an event time before `micros` (since 1970) comes into the partition any more.
    pub async fn watermark(&self, partition: usize, micros: i64) -> Result<()> {
        self.hand_over(partition, Fed::Watermark(micros)).await
    }

    async fn hand_over(&self, partition: usize, fed: Fed) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.inner.lock();
                if inner.ended {
                    return Err(Error::failed("the feed has been ended: it takes no more rows"));
                }
                let lane = inner.lane(partition);
                if lane.first + lane.chunks.len() - lane.read < BACKLOG {
                    lane.chunks.push_back(fed);
                    break;
                }
            }
            changed.await;
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Nothing more will come: a pipeline over feeds alone then finishes.
    pub fn end(&self) {
        self.inner.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Chunks that no reader has taken yet.
    pub fn unread(&self) -> usize {
        self.inner.lock().partitions.iter().map(|lane| lane.first + lane.chunks.len() - lane.read).sum()
    }
}

impl Inner {
    pub(super) fn lane(&mut self, partition: usize) -> &mut Lane {
        if self.partitions.len() <= partition {
            self.partitions.resize_with(partition + 1, Lane::default);
        }
        &mut self.partitions[partition]
    }
}
