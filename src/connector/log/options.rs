//! Options of `log`.

use std::collections::BTreeMap;

use crate::connector::options::Given;
use crate::connector::reading::{Beginning, Ending, Startup, Takes};
use crate::error::Result;

/// Everything that a table says of its topic.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// Where reading begins.
    pub beginning: Beginning<Startup>,
    /// Where reading ends.
    pub ending: Ending<Bounded>,
    /// The rest.
    pub own: LogOptions,
}

impl TableOptions {
    /// Reads them.
    pub fn read(connector: &'static str, options: BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(connector, options);
        Ok(TableOptions { beginning: given.take()?, ending: given.take()?, own: given.rest()? })
    }
}

/// `'connector'='log'`, beside `'format'` (`json` by default, `cloudevents`, `csv`, `raw`) and the format's own, and the
/// options of reading (`scan.startup.*`, `scan.bounded.*`).
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    /// The topic; the table's name when missing.
    #[serde(default)]
    pub topic: Option<String>,

    /// Partitions that the topic gets when it is first used: 4 when missing. A topic that exists must have as many.
    #[serde(default)]
    pub partitions: Option<u32>,

    /// How long a topic that is first used here keeps its records (`'7 d'`); for ever when missing.
    #[serde(default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub retention: Option<i64>,

    /// As a sink: columns that make the record's key, separated by `;`. Records of one key go to one partition, in order.
    /// The key is the column's text; several columns make a JSON object. The columns are in the value, too.
    #[serde(rename = "key.fields", default)]
    pub key_fields: Option<String>,
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
    /// At a time.
    Timestamp,
    /// At offsets, each partition its own.
    SpecificOffsets,
}

impl Bounded {
    /// What the mode takes from the options beside it.
    pub fn takes(self) -> Takes {
        match self {
            Bounded::Timestamp => Takes::Timestamp,
            Bounded::SpecificOffsets => Takes::Offsets,
            Bounded::Unbounded | Bounded::LatestOffset => Takes::Nothing,
        }
    }
}
