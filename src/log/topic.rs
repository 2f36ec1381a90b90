//! Topics: definition, partitions, and the bounds that readers follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::index::Bounds;
use crate::error::{Error, Place, Result};

/// Most partitions of a topic.
pub const MAX_PARTITIONS: u32 = 4096;

/// What a topic was created with; kept in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    /// Version of this form.
    pub(super) version: u32,
    pub(super) partitions: u32,
    /// Microseconds that records are kept; `None` = for ever.
    pub(super) retention_micros: Option<i64>,
}

/// A topic of an open log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Topic(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    name: String,
    /// As it was made; its retention may be another by now.
    definition: Definition,
    /// Microseconds that records are kept; [`FOR_EVER`] = for ever.
    retention_micros: AtomicI64,
    /// Per partition: its bounds as readers may see them.
    bounds: Vec<watch::Sender<Bounds>>,
    /// Where the next record without a key goes.
    next: AtomicU32,
}

/// A retention without end.
const FOR_EVER: i64 = i64::MAX;

impl Topic {
    pub(super) fn new(name: &str, definition: Definition, bounds: Vec<Bounds>) -> Self {
        let bounds = bounds.into_iter().map(watch::Sender::new).collect();
        let retention_micros = AtomicI64::new(definition.retention_micros.unwrap_or(FOR_EVER));
        Topic(Arc::new(Shared { name: name.to_owned(), definition, retention_micros, bounds, next: AtomicU32::new(0) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.0.definition.partitions
    }

    /// Microseconds that records are kept; `None` = for ever.
    pub fn retention_micros(&self) -> Option<i64> {
        Some(self.0.retention_micros.load(Ordering::Relaxed)).filter(|micros| *micros != FOR_EVER)
    }

    /// Its definition with another retention.
    pub(super) fn definition_with(&self, retention_micros: Option<i64>) -> Definition {
        Definition { retention_micros, ..self.0.definition.clone() }
    }

    pub(super) fn set_retention(&self, retention_micros: Option<i64>) {
        self.0.retention_micros.store(retention_micros.unwrap_or(FOR_EVER), Ordering::Relaxed);
    }

    /// The partition of a key: Kafka's murmur2, so that a key lies in the partition of the same number there.
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        (murmur2(key) & 0x7fff_ffff) % self.partitions()
    }

    /// The partition for records without a key: one after the other.
    pub fn next_partition(&self) -> u32 {
        self.0.next.fetch_add(1, Ordering::Relaxed) % self.partitions()
    }

    /// The partition that is asked for, or all of them.
    pub(super) fn asked(&self, partition: Option<u32>) -> Vec<u32> {
        partition.map_or_else(|| (0..self.partitions()).collect(), |one| vec![one])
    }

    /// Offset of the first record still there. A partition that does not exist is [`crate::error::Kind::Input`].
    pub fn start_offset(&self, partition: u32) -> Result<i64> {
        Ok(self.bounds(partition)?.start)
    }

    /// Offset that the next record will get.
    pub fn end_offset(&self, partition: u32) -> Result<i64> {
        Ok(self.bounds(partition)?.end)
    }

    /// Bytes that the partition's records take.
    pub fn size_bytes(&self, partition: u32) -> Result<u64> {
        Ok(self.bounds(partition)?.bytes)
    }

    /// Tells of records as they come into a partition.
    pub fn follow(&self, partition: u32) -> Result<Follower> {
        Ok(Follower(self.sender(partition)?.subscribe()))
    }

    pub(super) fn bounds(&self, partition: u32) -> Result<Bounds> {
        Ok(*self.sender(partition)?.borrow())
    }

    /// Shows new bounds to readers and wakes those who wait.
    pub(super) fn publish(&self, partition: u32, bounds: Bounds) {
        if let Some(sender) = self.0.bounds.get(partition as usize) {
            sender.send_replace(bounds);
        }
    }

    pub(super) fn check_partition(&self, partition: u32) -> Result<()> {
        self.sender(partition).map(|_| ())
    }

    fn sender(&self, partition: u32) -> Result<&watch::Sender<Bounds>> {
        self.0.bounds.get(partition as usize).ok_or_else(|| {
            Error::input(format!("topic '{}' has no partition {partition}; it has 0 to {}", self.name(), self.partitions() - 1))
        })
    }

    pub(super) fn place(&self, partition: u32, offset: i64) -> Place {
        Place::record(self.name(), partition, offset)
    }
}

/// Waits for records of one partition, without polling.
#[derive(Debug, Clone)]
pub struct Follower(watch::Receiver<Bounds>);

impl Follower {
    /// Waits until there is a record at or after `offset`, at most `patience`. `false` = there is none yet.
    pub async fn wait_for(&mut self, offset: i64, patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.0.wait_for(|bounds| bounds.end > offset)).await, Ok(Ok(_)))
    }
}

/// MurmurHash2, 32 bit, with Kafka's seed.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * n);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafka() {
        for (key, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_missing_partition_is_told() {
        let topic = Topic::new("t", Definition { version: 1, partitions: 2, retention_micros: None }, vec![Bounds::default(); 2]);
        assert_eq!(topic.end_offset(2).unwrap_err().to_string(), "topic 't' has no partition 2; it has 0 to 1");
        assert_eq!((topic.next_partition(), topic.next_partition(), topic.next_partition()), (0, 1, 0));
    }
}
