//! Retention: whole blocks go, oldest first, once all their records are older than the topic keeps them.

use std::time::{Duration, Instant};

use super::append::{Commit, Writer};
use super::index::Lies;
use super::{Log, Topic, read};
use crate::error::Result;

/// Time between two looks at retention.
const EVERY: Duration = Duration::from_secs(10);
/// Most blocks removed in one write: the rest goes with the next.
const BLOCKS_AT_ONCE: usize = 4096;

impl Log {
    /// Removes what is older than its topic's retention at `now` (microseconds since 1970). Appending does it by
    /// itself every few seconds.
    pub fn expire(&self, now: i64) -> Result<()> {
        self.expire_holding(&mut self.shared.writer.lock(), now)
    }

    pub(super) fn expire_holding(&self, writer: &mut Writer, now: i64) -> Result<()> {
        writer.expire_next = Instant::now() + EVERY;
        let mut left = BLOCKS_AT_ONCE;
        for topic in self.topics() {
            let Some(retention) = topic.retention_micros() else { continue };
            for partition in 0..topic.partitions() {
                self.expire_partition(writer, &topic, partition, now.saturating_sub(retention), &mut left)?;
            }
        }
        Ok(())
    }

    fn expire_partition(&self, writer: &mut Writer, topic: &Topic, partition: u32, before: i64, left: &mut usize) -> Result<()> {
        let bounds = topic.bounds(partition)?;
        let mut commit = Commit::new(self, writer);
        for guard in self.entries(topic, partition, bounds.start, bounds.end)?.take(*left) {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("remove old records", e))?;
            let (base, entry) = read::parse(topic, partition, bounds.start, &key, &value)?;
            if entry.max_time >= before {
                break;
            }
            if let Lies::Apart(id) = entry.lies {
                commit.remove_block(id);
            }
            commit.remove(&key);
            let (_, bounds) = commit.bounds_of(topic, partition)?;
            bounds.start = base + i64::from(entry.count);
            bounds.bytes = bounds.bytes.saturating_sub(u64::from(entry.bytes));
            *left -= 1;
        }
        commit.finish().map(|_| ())
    }
}
