//! A topic of dead letters: records as they came, with their keys and headers, and headers that say what became of them,
//! under the names that Kafka Connect gives them.
//!
//! ```text
//!  record key headers ─▶ value, key, headers, __connect.errors.topic, …, dead-letter.reason, …   in the pipeline's transaction
//! ```

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::admin::{NewTopic, TopicReplication};

use super::NAME;
use super::admin::Admin;
use super::client::{Cluster, Properties};
use super::options::{KafkaOptions, Partitioning};
use super::producer::Target;
use super::topics;
use super::transactions::Transactions;
use crate::connector::environment::Environment;
use crate::connector::letters::Letter;
use crate::connector::transaction::TransactionGroup;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result};
use crate::format::{EncodedRecord, EncodedRecords};
use crate::state::StateHandles;

/// What the names of Kafka Connect's headers begin with.
const CONNECT: &str = "__connect.errors.";
/// The operator that decodes, which is a stage of its own in Kafka Connect.
const DECODES: &str = "decode";

/// A topic that takes dead letters.
#[derive(Debug)]
pub struct LettersSink {
    topic: String,
    properties: Properties,
    cluster: Cluster,
    options: KafkaOptions,
    /// Exactly once: with the Kafka sinks of the pipeline.
    group: Arc<Transactions>,
    pipeline: Arc<str>,
    /// Made at each start.
    started: Mutex<Option<Arc<Target>>>,
}

impl LettersSink {
    /// The sink into `topic` of the cluster that a table with these options reads.
    pub fn new(topic: &str, table: &str, options: KafkaOptions, properties: &Properties, env: &Environment) -> Result<Self> {
        let properties = properties.for_writing();
        let group = env
            .kafka
            .beside(&properties, options.transactional_id_prefix.as_deref(), options.patience(), (&env.run.pipeline, &env.troubles))
            .map_err(|fault| {
                let text = format!(
                    "the dead letters of table '{table}' go to topic '{topic}' with the transaction of the pipeline; 'dead-letter' = \
                 'log:{topic}' keeps them in the embedded log instead"
                );
                Error::input(text).because(fault)
            })?;
        let cluster = Cluster::new(&properties, env.troubles.clone());
        let pipeline = env.run.pipeline.as_str().into();
        Ok(LettersSink { topic: topic.to_owned(), properties, cluster, options, group, pipeline, started: Mutex::default() })
    }
}

impl Sink for LettersSink {
    fn describe(&self) -> String {
        format!("dead letters to {NAME} {} at {}", self.topic, self.properties.brokers())
    }

    fn identity(&self) -> String {
        format!("dead letters {NAME} {}", self.topic)
    }

    fn group(&self) -> Option<Arc<dyn TransactionGroup>> {
        Some(self.group.clone())
    }

    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        let admin = Admin::new(&self.properties, &self.cluster, self.options.patience())?;
        // One partition keeps them in the order of their refusal; as many replicas as the brokers are set up for.
        if admin.make_missing(&NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1)))? {
            tracing::info!("topic '{}' is made in Kafka at {}, for dead letters", self.topic, self.properties.brokers());
        }
        let partitions = topics::count_in(&admin.metadata()?, &self.cluster, &self.topic)?;
        *self.started.lock() = Some(Arc::new(Target::new(&self.topic, partitions, Partitioning::Default)));
        Ok(())
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let target = self.started.lock().clone();
        let target = target.ok_or_else(|| Error::bug(format!("{} is written before its start", self.topic)))?;
        let (group, pipeline) = (self.group.clone(), self.pipeline.clone());
        Ok(Box::new(LettersWriter { group, target, task, pipeline, generation: 0 }))
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }
}

/// Writes for one task.
struct LettersWriter {
    group: Arc<Transactions>,
    target: Arc<Target>,
    task: usize,
    pipeline: Arc<str>,
    /// How often it has prepared: see `transactions.rs`.
    generation: u64,
}

impl Writer for LettersWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut records = EncodedRecords::default();
        for letter in Letter::all(batch)? {
            let headers = headers_of(&letter, &self.pipeline);
            records.push(&EncodedRecord {
                row: 0,
                key: letter.key.as_deref(),
                value: letter.record.as_deref(),
                headers: &headers,
                timestamp_micros: letter.timestamp_micros,
            });
        }
        self.group.write(self.generation, &self.target, self.task, &mut records)
    }

    fn room(&self) -> Option<BoxFuture<'static, Result<()>>> {
        self.group.room(self.generation)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        self.generation += 1;
        Ok(None)
    }
}

/// The headers that a record came with, then those that say what became of it. Where Kafka Connect would name a class of
/// Java, the operator and the reason stand.
fn headers_of(letter: &Letter, pipeline: &str) -> Vec<(String, Bytes)> {
    let text = |value: &str| Some(value.to_owned());
    let property = |key: &str| letter.properties.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let known = |column: &str| letter.known(column).map(str::to_owned);
    let stage = if letter.known("operator") == Some(DECODES) { "VALUE_CONVERTER" } else { "TRANSFORMATION" };
    let connect = [
        ("topic", property("topic")),
        ("partition", property("partition")),
        ("offset", known("offset")),
        ("connector.name", text(pipeline)),
        ("task.id", known("partition")),
        ("stage", text(stage)),
        ("class.name", known("operator")),
        ("exception.class.name", known("reason")),
        ("exception.message", known("error")),
    ];
    let connect = connect.into_iter().filter_map(|(name, value)| Some((format!("{CONNECT}{name}"), Bytes::from(value?))));
    letter.headers.iter().cloned().chain(connect).chain(letter.told()).collect()
}
