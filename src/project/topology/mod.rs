//! `topics.yaml`: the wanted state of topics, exchanges, queues and bindings.
//!
//! ```yaml
//! topics: { orders: { partitions: 12, replication_factor: 3, config: { retention.ms: 604800000 } } }      # Kafka
//! producer: { acks: all }                                                # what producers and consumers are told to set
//! exchanges: [ { name: order.events, type: topic, durable: true } ]      # RabbitMQ
//! queues: [ { name: order.processing, durable: true } ]
//! bindings: [ { exchange: order.events, queue: order.processing, routing_key: order.created } ]
//! ---
//! broker: log                                                            # the embedded log
//! topics: { metrics: { partitions: 4, retention: 30 d } }
//! ```
//! Documents divided by `---` belong to one broker each kind; `broker:` names one of `eagre.yaml`, where it has several,
//! or `log`. Comes in: a text. Goes out: a topology whose every part knows its place. Read `read.rs`, then `lint.rs`.

mod lint;
mod read;

use serde_json::{Map, Value};

use crate::error::Place;

pub use lint::lint;
pub use read::read;

/// The file in a project folder.
pub const TOPICS_FILE: &str = "topics.yaml";

/// A document of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its broker, where it names one.
    pub broker: Option<At<String>>,
    /// Topics.
    pub topics: Vec<Topic>,
    /// What producers are told to set.
    pub producer: Vec<At<(String, String)>>,
    /// What consumers are told to set.
    pub consumer: Vec<At<(String, String)>>,
    /// Exchanges.
    pub exchanges: Vec<Exchange>,
    /// Queues.
    pub queues: Vec<Queue>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

impl Document {
    /// Does it belong to the embedded log?
    pub fn is_log(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.value == LOG)
    }

    /// Does it name anything of RabbitMQ's?
    pub fn is_rabbitmq(&self) -> bool {
        !(self.exchanges.is_empty() && self.queues.is_empty() && self.bindings.is_empty())
    }

    /// Does it name anything of Kafka's?
    pub fn is_kafka(&self) -> bool {
        let named = !self.topics.is_empty() || !self.producer.is_empty() || !self.consumer.is_empty();
        named && !self.is_log()
    }
}

/// The name of the embedded log among brokers.
pub const LOG: &str = "log";

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// A topic of Kafka or of the embedded log.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Its name, and where it stands.
    pub name: At<String>,
    /// Partitions.
    pub partitions: Option<At<u32>>,
    /// Replicas of each partition (Kafka).
    pub replication_factor: Option<At<u16>>,
    /// Settings (Kafka).
    pub config: Vec<At<(String, String)>>,
    /// How long records are kept, in microseconds (the embedded log; Kafka has `retention.ms`).
    pub retention_micros: Option<At<i64>>,
}

impl Topic {
    /// A setting of it.
    pub fn setting(&self, name: &str) -> Option<&At<(String, String)>> {
        self.config.iter().find(|setting| setting.value.0 == name)
    }
}

/// An exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Its name.
    pub name: At<String>,
    /// `direct`, `fanout`, `topic`, `headers`, or a plugin's.
    pub kind: String,
    /// It outlives the broker's restart.
    pub durable: bool,
    /// It goes with its last binding.
    pub auto_delete: bool,
    /// Only exchanges publish to it.
    pub internal: bool,
    /// Arguments.
    pub properties: Properties,
}

/// A queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: At<String>,
    /// It outlives the broker's restart.
    pub durable: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// Arguments.
    pub properties: Properties,
}

/// A binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Where messages come from.
    pub exchange: At<String>,
    /// The queue they go to, or the exchange.
    pub to: At<String>,
    /// It is an exchange.
    pub to_exchange: bool,
    /// Which.
    pub routing_key: String,
    /// Arguments.
    pub arguments: Map<String, Value>,
    /// Where it stands.
    pub place: Place,
}

/// Arguments of a queue or an exchange with their places.
pub type Properties = Vec<At<(String, Value)>>;

/// The argument of this name.
pub fn property<'a>(properties: &'a Properties, name: &str) -> Option<&'a At<(String, Value)>> {
    properties.iter().find(|property| property.value.0 == name)
}
