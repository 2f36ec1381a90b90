//! Options of `kafka` and `upsert-kafka`: names and values as Flink's.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connector::options::Given;
use crate::connector::reading::{Beginning, Ending, Takes};
use crate::error::Result;

/// Everything that a table says of its topics.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// Where reading begins.
    pub beginning: Beginning<Startup>,
    /// Where reading ends.
    pub ending: Ending<Bounded>,
    /// The rest.
    pub own: KafkaOptions,
}

impl TableOptions {
    /// Reads them.
    pub fn read(connector: &'static str, options: BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(connector, options);
        Ok(TableOptions { beginning: given.take()?, ending: given.take()?, own: given.rest()? })
    }
}

/// `'connector'='kafka'` and `'upsert-kafka'`, beside the formats (`'format'` or `'value.format'`, `'key.format'`) with
/// their own options, the options of reading (`scan.startup.*`, `scan.bounded.*`), and `properties.*`, which go to the
/// client library (librdkafka) as they are.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// The topic; as a source also a list, `a;b`.
    #[serde(default)]
    pub topic: Option<String>,

    /// As a source: a regular expression that the whole name of a topic must match. Topics made later are found.
    #[serde(rename = "topic-pattern", default)]
    pub topic_pattern: Option<String>,

    /// How often to look for new partitions and topics while running; `0` = never.
    #[serde(
        rename = "scan.topic-partition-discovery.interval",
        default = "five_minutes",
        deserialize_with = "crate::time::deserialize_micros"
    )]
    pub discovery_micros: i64,

    /// What to do when records were removed (by retention) before they were read.
    #[serde(rename = "scan.on-retention-gap", default)]
    pub on_gap: OnGap,

    /// How long to try to reach the brokers at the start.
    #[serde(rename = "connect.timeout", default = "thirty_seconds", deserialize_with = "crate::time::deserialize_micros")]
    pub connect_timeout_micros: i64,

    /// Columns that make the key, separated by `;`.
    #[serde(rename = "key.fields", default)]
    pub key_fields: Option<String>,

    /// What the names of the key's columns begin with in the table and not in the key.
    #[serde(rename = "key.fields-prefix", default)]
    pub key_fields_prefix: Option<String>,

    /// Are the key's columns in the value, too?
    #[serde(rename = "value.fields-include", default)]
    pub value_fields: ValueFields,

    /// As a sink: to which partition a record goes.
    #[serde(rename = "sink.partitioner", default)]
    pub partitioner: Partitioning,

    /// As a sink: what is promised.
    #[serde(rename = "sink.delivery-guarantee", default)]
    pub guarantee: Guarantee,

    /// With `exactly-once`: the transactional id is this and the pipeline's name. Default: `eagre`.
    #[serde(rename = "sink.transactional-id-prefix", default)]
    pub transactional_id_prefix: Option<String>,
}

impl KafkaOptions {
    /// How long to try to reach the brokers at the start.
    pub fn patience(&self) -> Duration {
        Duration::from_micros(self.connect_timeout_micros.max(0) as u64)
    }
}

/// Where reading begins.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Startup {
    /// At the first record still there.
    EarliestOffset,
    /// Behind the last record there is.
    LatestOffset,
    /// Where the group of `properties.group.id` stands; where it stands nowhere, `properties.auto.offset.reset` decides.
    #[default]
    GroupOffsets,
    /// At a time.
    Timestamp,
    /// At offsets, each partition its own.
    SpecificOffsets,
}

/// Where reading ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bounded {
    /// Never.
    #[default]
    Unbounded,
    /// At the last record there is when reading begins.
    LatestOffset,
    /// Where the group stands when reading begins.
    GroupOffsets,
    /// At a time.
    Timestamp,
    /// At offsets, each partition its own.
    SpecificOffsets,
}

impl Startup {
    /// What the mode takes from the options beside it.
    pub fn takes(self) -> Takes {
        match self {
            Startup::Timestamp => Takes::Timestamp,
            Startup::SpecificOffsets => Takes::Offsets,
            Startup::EarliestOffset | Startup::LatestOffset | Startup::GroupOffsets => Takes::Nothing,
        }
    }
}

impl Bounded {
    /// What the mode takes from the options beside it.
    pub fn takes(self) -> Takes {
        match self {
            Bounded::Timestamp => Takes::Timestamp,
            Bounded::SpecificOffsets => Takes::Offsets,
            Bounded::Unbounded | Bounded::LatestOffset | Bounded::GroupOffsets => Takes::Nothing,
        }
    }
}

/// What to do when records were removed before they were read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnGap {
    /// Stop.
    #[default]
    Fail,
    /// Go on at the first record still there; the missing ones are counted in `eagre_source_gap_records_total`.
    Earliest,
}

/// Are the key's columns in the value?
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueFields {
    /// Yes.
    #[default]
    All,
    /// No.
    ExceptKey,
}

/// To which partition a record goes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// By the hash of its key, as Java clients do it (murmur2); without a key in turns.
    #[default]
    Default,
    /// Each writer to one partition.
    Fixed,
    /// In turns, key or not.
    RoundRobin,
}

/// What a sink promises.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Each row once, visible to readers of committed records with its checkpoint.
    ExactlyOnce,
    /// Each row; after a restart some may come again.
    #[default]
    AtLeastOnce,
    /// Rows may be lost.
    None,
}

fn five_minutes() -> i64 {
    300_000_000
}

fn thirty_seconds() -> i64 {
    30_000_000
}
