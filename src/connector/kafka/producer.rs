//! Hands records to the client library: partitions, back-pressure, and what became of deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::client::{Cluster, fault, is_passing};
use super::options::Partitioning;
use crate::error::{Error, Kind, Result};
use crate::format::{EncodedRecord, EncodedRecords};

/// Records waiting in the library before writers are held.
const MOST_WAITING: i32 = 100_000;
/// How long a full queue is left alone before it is tried again.
const FULL_WAIT: Duration = Duration::from_millis(2);

/// A topic to be written, and how records find their partition.
#[derive(Debug)]
pub struct Target {
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Which one a record goes to.
    pub partitioning: Partitioning,
    /// The next one in turn.
    pub turn: AtomicU32,
}

impl Target {
    /// The topic of this name with so many partitions.
    pub fn new(topic: &str, partitions: usize, partitioning: Partitioning) -> Self {
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        Target { topic: topic.to_owned(), partitions, partitioning, turn: AtomicU32::new(0) }
    }

    /// The partition of a record; `None` = the library decides by its key.
    fn partition(&self, record: &EncodedRecord<'_>, writer: usize) -> Option<i32> {
        let in_turn = || (self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions) as i32;
        match self.partitioning {
            Partitioning::Default if record.key.is_some() => None,
            Partitioning::Default | Partitioning::RoundRobin => Some(in_turn()),
            Partitioning::Fixed => Some((writer as u32 % self.partitions) as i32),
        }
    }
}

/// Watches a producer.
#[derive(Debug, Clone)]
pub struct Deliveries {
    cluster: Cluster,
    /// The first delivery that failed.
    failed: Arc<Mutex<Option<(KafkaError, String)>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.cluster.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.cluster.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.cluster.answered(),
            Err((error, message)) => {
                let mut failed = self.failed.lock();
                if failed.is_none() {
                    let size = message.payload_len() + message.key_len();
                    *failed = Some((error.clone(), format!("a record of {size} bytes for topic '{}'", message.topic())));
                }
            }
        }
    }
}

/// A client that writes.
pub struct Sender {
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({})", self.deliveries.cluster.brokers())
    }
}

impl Sender {
    /// A client of this configuration.
    pub fn new(config: &ClientConfig, cluster: Cluster) -> Result<Self> {
        let deliveries = Deliveries { cluster, failed: Arc::default() };
        let producer = config.create_with_context(deliveries.clone()).map_err(|e| fault(e.to_string()))?;
        Ok(Sender { producer, deliveries })
    }

    /// The library's client.
    pub fn producer(&self) -> &ThreadedProducer<Deliveries> {
        &self.producer
    }

    /// What the cluster has said.
    pub fn cluster(&self) -> &Cluster {
        &self.deliveries.cluster
    }

    /// Do so many records wait that writers had better wait, too?
    pub fn is_full(&self) -> bool {
        self.producer.in_flight_count() > MOST_WAITING
    }

    /// Waits until there is room for more; `None` = there is.
    pub fn room(self: Arc<Self>) -> Option<BoxFuture<'static, Result<()>>> {
        if !self.is_full() {
            return None;
        }
        Some(Box::pin(async move {
            while self.is_full() {
                tokio::time::sleep(FULL_WAIT).await;
                self.check()?;
            }
            Ok(())
        }))
    }

    /// Hands over all records; waits where the library's queue is full.
    pub fn send(&self, target: &Target, writer: usize, records: &EncodedRecords) -> Result<()> {
        for record in records.iter() {
            self.send_one(target, writer, &record)?;
        }
        Ok(())
    }

    fn send_one(&self, target: &Target, writer: usize, record: &EncodedRecord<'_>) -> Result<()> {
        let mut out = BaseRecord::<[u8], [u8]>::to(&target.topic);
        out.partition = target.partition(record, writer);
        out.key = record.key;
        out.payload = record.value;
        out.timestamp = record.timestamp_micros.map(|micros| micros.div_euclid(1_000));
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |headers: OwnedHeaders, (key, value): &(String, bytes::Bytes)| {
                headers.insert(Header { key: key.as_str(), value: Some(&value[..]) })
            };
            out.headers = Some(record.headers.iter().fold(headers, add));
        }
        loop {
            match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.check()?;
                    out = back;
                    std::thread::sleep(FULL_WAIT);
                }
                Err((error, back)) => {
                    let size = back.payload.map_or(0, <[u8]>::len) + back.key.map_or(0, <[u8]>::len);
                    return Err(self.failure(&error, &format!("a record of {size} bytes for topic '{}'", target.topic)));
                }
            }
        }
    }

    /// What the client cannot go on after: it says so before it gives up what was under way, which then looks like any
    /// failed delivery.
    fn fatal(&self) -> Option<Error> {
        let (code, reason) = self.producer.client().fatal_error()?;
        let brokers = self.cluster().brokers();
        Some(if is_fenced(code) {
            fenced(brokers)
        } else {
            Error::new(Kind::Restart, format!("the client of Kafka at {brokers} has given up: {reason}"))
        })
    }

    /// The first delivery that failed, as an error.
    pub fn check(&self) -> Result<()> {
        if let Some(refusal) = self.cluster().refusal().or_else(|| self.fatal()) {
            return Err(refusal);
        }
        match &*self.deliveries.failed.lock() {
            Some((error, what)) => Err(self.failure(error, what)),
            None => Ok(()),
        }
    }

    /// Waits until everything handed over is delivered.
    pub fn flush(&self, patience: Duration) -> Result<()> {
        let flushed = self.producer.flush(patience);
        self.check()?;
        if flushed.is_ok() {
            self.cluster().answered();
        }
        flushed.map_err(|error| self.failure(&error, "what was written"))
    }

    /// What an error means. `what` was not taken.
    pub fn failure(&self, error: &KafkaError, what: &str) -> Error {
        use RDKafkaErrorCode as E;
        if let Some(fatal) = self.fatal() {
            return fatal;
        }
        let (code, brokers) = (error.rdkafka_error_code(), self.cluster().brokers());
        match code {
            Some(E::MessageSizeTooLarge) => Error::failed(format!(
                "Kafka at {brokers} does not take {what}: it is larger than the limit; raise 'properties.message.max.bytes' here and \
                 'max.message.bytes' of the topic"
            )),
            Some(code) if is_fenced(code) => fenced(brokers),
            Some(E::UnknownTopicOrPartition | E::UnknownTopic | E::UnknownPartition) => {
                Error::failed(format!("Kafka at {brokers} does not take {what}: the topic was deleted"))
            }
            Some(E::TopicAuthorizationFailed | E::TransactionalIdAuthorizationFailed | E::ClusterAuthorizationFailed) => {
                Error::input(format!("Kafka at {brokers} does not take {what}: {error}"))
            }
            _ if is_passing(error) => Error::new(Kind::Restart, format!("Kafka at {brokers} did not take {what} in time: {error}")),
            _ => match error {
                KafkaError::Transaction(inner) if inner.is_retriable() || inner.txn_requires_abort() => {
                    Error::new(Kind::Restart, format!("Kafka at {brokers} did not take {what}: {error}"))
                }
                _ => Error::failed(format!("Kafka at {brokers} does not take {what}: {error}")),
            },
        }
    }
}

fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::ProducerFenced | E::Fenced | E::InvalidProducerEpoch | E::FencedInstanceId)
}

fn fenced(brokers: &str) -> Error {
    let text = format!("another instance of this pipeline has taken over in Kafka at {brokers}; this one stops, and leaves it all to it");
    Error::new(Kind::Fenced, text)
}
