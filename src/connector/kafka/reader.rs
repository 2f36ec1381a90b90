//! Reads one partition: takes what its queue holds as one chunk, waits to be woken, never polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int32Array, StringViewArray};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::client::{ANSWER, Cluster, off_thread};
use super::fetch::{Fetch, Mark, Taken};
use super::source::lost;
use crate::connector::{Position, Read, Reader};
use crate::error::{Error, Kind, Place, Result};
use crate::format::{Chunk, Records};
use crate::metrics::Counter;
use crate::time::now_micros;

/// How long a read waits for new records.
const PATIENCE: Duration = Duration::from_millis(10);
/// How often brokers that are away are asked whether they are back.
const ASK_AGAIN: Duration = Duration::from_secs(1);

const TOPIC: &str = "topic";
const PARTITION: &str = "partition";
/// Metadata that only this connector knows: keys, and the types of their columns.
pub const METADATA: [(&str, DataType); 2] = [(TOPIC, DataType::Utf8View), (PARTITION, DataType::Int32)];

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

/// What happens when the records to be read next are no longer there.
#[derive(Debug)]
pub struct Gap {
    /// Records that were passed over.
    pub skipped: Counter,
    /// Stop instead.
    pub fails: bool,
    /// The partition.
    pub name: String,
}

impl Gap {
    /// Where to go on when reading stands at `offset` of a partition that holds `low..high`.
    pub fn pass(&self, offset: i64, low: i64, high: i64) -> Result<i64> {
        let fault = if offset < low {
            format!("its records {offset} to {} were removed (by retention) before they were read", low - 1)
        } else if offset > high {
            format!("reading stands at offset {offset}, but it ends at {high}: it was made anew, or has lost records")
        } else {
            return Ok(offset);
        };
        if self.fails {
            let hint = format!(
                "set 'scan.on-retention-gap' = 'earliest' on the table to go on at offset {low} and have them counted, or start afresh \
                 with --restore none"
            );
            return Err(Error::failed(format!("{fault}; {hint}")).at(Place::thing(&self.name)));
        }
        tracing::warn!("{}: {fault}; going on at offset {low}", self.name);
        self.skipped.add((low - offset).max(0) as u64);
        Ok(low)
    }
}

/// Reads one partition.
pub struct KafkaReader {
    fetch: Fetch,
    cluster: Cluster,
    topic: Arc<str>,
    number: i32,
    stand: Stand,
    gap: Gap,
    /// The group is told where we stand.
    commits: bool,
    /// What stood behind the records handed over last.
    fault: Option<RDKafkaErrorCode>,
    asked: Instant,
}

impl KafkaReader {
    /// Reads on from `stand`; the partition is assigned there.
    pub fn new(fetch: Fetch, cluster: Cluster, topic: &str, number: i32, stand: Stand, gap: Gap, commits: bool) -> Self {
        KafkaReader { fetch, cluster, topic: topic.into(), number, stand, gap, commits, fault: None, asked: Instant::now() }
    }

    /// Waits until there is something, or patience ends.
    async fn taken(&mut self) -> Taken {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let filled = self.fetch.filled();
        loop {
            let taken = self.fetch.take(self.stand.end);
            if !taken.records.offsets.is_empty() || taken.mark.is_some() {
                return taken;
            }
            if tokio::time::timeout_at(deadline, filled.notified()).await.is_err() {
                return taken;
            }
        }
    }

    fn is_read(&self) -> bool {
        self.stand.end.is_some_and(|end| self.stand.offset >= end)
    }

    /// Nothing came: are the brokers still there, and do they still let us in?
    async fn on_silence(&mut self) -> Result<()> {
        if let Some(refusal) = self.cluster.refusal() {
            return Err(refusal);
        }
        if self.cluster.is_away() && self.asked.elapsed() > ASK_AGAIN {
            self.asked = Instant::now();
            let (consumer, cluster, topic) = (self.fetch.consumer().clone(), self.cluster.clone(), self.topic.clone());
            // Not waited for: barriers go on through a source whose brokers are away.
            tokio::task::spawn_blocking(move || {
                if consumer.fetch_metadata(Some(&topic), ASK_AGAIN).is_ok() {
                    cluster.answered();
                }
            });
        }
        Ok(())
    }

    /// The partition cannot be read for now, or at all.
    async fn on_fault(&mut self, code: RDKafkaErrorCode) -> Result<()> {
        use RDKafkaErrorCode as E;
        match code {
            E::AutoOffsetReset | E::OffsetOutOfRange => self.go_on_behind_gap().await,
            E::UnknownTopicOrPartition | E::UnknownTopic | E::UnknownPartition => {
                Err(lost(&self.gap.name, Kind::Failed, "the topic was deleted"))
            }
            E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed => {
                Err(lost(&self.gap.name, Kind::Input, &format!("the brokers do not allow it: {code}")))
            }
            // The library tries again by itself.
            other => {
                tracing::debug!("{}: {other}", self.gap.name);
                Ok(())
            }
        }
    }

    async fn go_on_behind_gap(&mut self) -> Result<()> {
        let (consumer, cluster, topic, number) = (self.fetch.consumer().clone(), self.cluster.clone(), self.topic.clone(), self.number);
        let bounds =
            off_thread(move || cluster.ask(ANSWER * 6, "learn the offsets", |wait| consumer.fetch_watermarks(&topic, number, wait)));
        let (low, high) = bounds.await?;
        self.stand.offset = self.gap.pass(self.stand.offset, low, high)?;
        let assign = || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, self.number, Offset::Offset(self.stand.offset))?;
            self.fetch.consumer().incremental_unassign(&list)?;
            self.fetch.consumer().incremental_assign(&list)
        };
        assign().map_err(|e| Error::failed(format!("cannot go on reading {}", self.gap.name)).because(e))
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn read(&mut self) -> Result<Read> {
        if let Some(code) = self.fault.take() {
            self.on_fault(code).await?;
        }
        if self.is_read() {
            return Ok(Read::End);
        }
        let Taken { mut records, mark } = self.taken().await;
        let base_offset = records.offsets.first().copied();
        if let Some(last) = records.offsets.last() {
            self.stand.offset = last + 1;
        }
        match mark {
            // Behind the last record stand others that are not for us: of transactions, or removed by compaction.
            Some(Mark::EndAt(offset)) => self.stand.offset = self.stand.offset.max(offset),
            Some(Mark::Fault(code)) => self.fault = Some(code),
            None => {}
        }
        let Some(base_offset) = base_offset else {
            self.on_silence().await?;
            return Ok(if self.is_read() { Read::End } else { Read::Idle });
        };
        if self.cluster.is_away() {
            self.cluster.answered();
        }
        let count = records.offsets.len();
        records.beside = vec![
            (TOPIC, Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(self.topic.as_ref(), count)))),
            (PARTITION, Arc::new(Int32Array::from_value(self.number, count))),
        ];
        Ok(Read::Chunk(Chunk { records: Records::Framed(records), base_offset, arrived_micros: now_micros() }))
    }

    fn lag(&mut self) -> Option<u64> {
        let end = self.fetch.known_end(&self.topic, self.number)?;
        Some(u64::try_from(end - self.stand.offset).unwrap_or(0))
    }

    fn position(&self) -> Position {
        Position(serde_json::json!(self.stand))
    }

    /// For people who watch the group: where a restart goes on is in the checkpoint.
    async fn confirmed(&mut self, position: &Position) -> Result<()> {
        if self.commits {
            let stand: Stand = serde_json::from_value(position.0.clone())
                .map_err(|e| Error::bug(format!("{} is no place in {}", position.0, self.gap.name)).because(e))?;
            let mut list = TopicPartitionList::new();
            let told = list
                .add_partition_offset(&self.topic, self.number, Offset::Offset(stand.offset))
                .and_then(|()| self.fetch.consumer().commit(&list, CommitMode::Async));
            if let Err(error) = told {
                tracing::debug!("{}: the group is not told where we stand: {error}", self.gap.name);
            }
        }
        Ok(())
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.number);
        if let Err(error) = self.fetch.consumer().incremental_unassign(&list) {
            tracing::debug!("{}: {error}", self.gap.name);
        }
    }
}
