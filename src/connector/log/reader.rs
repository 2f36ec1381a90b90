//! Reads one partition of a topic.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::connector::{Position, Read, Reader};
use crate::error::Result;
use crate::format::{Chunk, Framed, Records};
use crate::log::{Follower, Log, Topic};
use crate::time::now_micros;

/// Bytes of a chunk, about.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a read waits for new records.
const PATIENCE: Duration = Duration::from_millis(10);

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stand {
    /// Offset of the next record.
    pub offset: i64,
    /// Where a bounded read ends: as found when it began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<i64>,
}

/// Reads one partition.
#[derive(Debug)]
pub struct LogReader {
    log: Log,
    topic: Topic,
    partition: u32,
    stand: Stand,
    /// Wakes when records come.
    follower: Follower,
}

impl LogReader {
    /// Reads on from `stand`.
    pub fn new(log: Log, topic: Topic, partition: u32, stand: Stand) -> Result<Self> {
        let follower = topic.follow(partition)?;
        Ok(LogReader { log, topic, partition, stand, follower })
    }
}

#[async_trait]
impl Reader for LogReader {
    async fn read(&mut self) -> Result<Read> {
        if self.stand.end.is_some_and(|end| self.stand.offset >= end) {
            return Ok(Read::End);
        }
        if !self.follower.wait_for(self.stand.offset, PATIENCE).await {
            return Ok(Read::Idle);
        }
        let records = self.log.read(&self.topic, self.partition, self.stand.offset, CHUNK_BYTES)?;
        let mut framed = Framed {
            data: records.data,
            values: records.values,
            offsets: records.offsets,
            timestamps: records.timestamps,
            keys: records.keys,
            headers: records.headers,
            beside: Vec::new(),
        };
        if let Some(end) = self.stand.end {
            framed.keep_before(end);
        }
        let Some(last) = framed.offsets.last() else { return Ok(Read::Idle) };
        let base_offset = std::mem::replace(&mut self.stand.offset, last + 1);
        Ok(Read::Chunk(Chunk { records: Records::Framed(framed), base_offset, arrived_micros: now_micros() }))
    }

    fn lag(&mut self) -> Option<u64> {
        // It has such a partition: it is read.
        let end = self.topic.end_offset(self.partition).ok()?;
        Some(u64::try_from(end - self.stand.offset).unwrap_or(0))
    }

    fn position(&self) -> Position {
        Position(serde_json::json!(self.stand))
    }
}
