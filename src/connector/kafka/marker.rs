//! The marker: which epoch of a pipeline was committed last, written in the epoch's own transaction.
//!
//! A compacted topic of one partition, key = transactional id. Group offsets would do as well, but expire.

use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use super::client::{Cluster, Properties, is_passing};
use super::producer::Sender;
use crate::error::{Error, Result};

/// The topic.
pub const TOPIC: &str = "__eagre_epochs";

/// Its records.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    epoch: u64,
}

/// Makes the topic when it is not there.
pub fn make_topic(properties: &Properties, cluster: &Cluster, patience: Duration) -> Result<()> {
    // As many replicas as brokers are set up for.
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("segment.bytes", "1048576")
        .set("min.cleanable.dirty.ratio", "0.1");
    Admin::new(properties, cluster, patience)?.make_missing(&topic).map(|_| ())
}

/// Puts the marker of `epoch` into the open transaction.
pub fn write(sender: &Sender, id: &str, epoch: u64) -> Result<()> {
    let value = serde_json::json!(Marker { epoch }).to_string();
    let record = BaseRecord::to(TOPIC).partition(0).key(id).payload(&value);
    sender.producer().send(record).map_err(|(error, _)| sender.failure(&error, "the epoch's marker"))
}

/// The newest committed epoch of `id`.
pub fn newest(properties: &Properties, cluster: &Cluster, id: &str, patience: Duration) -> Result<Option<u64>> {
    let mut config = properties.config(&[]);
    config.set("group.id", format!("{id}-marker")).set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Cluster> = config.create_with_context(cluster.clone()).map_err(|e| super::client::fault(e.to_string()))?;
    // A topic just made is known to the brokers a moment later.
    cluster.ask(patience, "find the marker", |wait| consumer.fetch_watermarks(TOPIC, 0, wait))?;
    let assigned = (|| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
        consumer.assign(&list)
    })();
    assigned.map_err(|e| Error::failed("cannot read the marker").because(e))?;
    let (started, mut newest) = (Instant::now(), None);
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.key() == Some(id.as_bytes()) => {
                let text = message.payload().unwrap_or_default();
                let marker: Marker = serde_json::from_slice(text).map_err(|e| {
                    Error::corrupt(format!("topic '{TOPIC}', offset {}: no marker of an epoch", message.offset())).because(e)
                })?;
                newest = Some(marker.epoch);
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
            Some(Err(error)) if !is_passing(&error) => {
                return Err(Error::failed(format!("cannot read the marker in Kafka at {}", cluster.brokers())).because(error));
            }
            Some(Err(_)) | None => {}
        }
        if let Some(refusal) = cluster.refusal() {
            return Err(refusal);
        }
        if started.elapsed() > patience.max(Duration::from_secs(60)) {
            return Err(Error::unreachable(format!("the marker in Kafka at {} could not be read in time", cluster.brokers())));
        }
    }
}
