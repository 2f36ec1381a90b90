//! Options of `log`.

/// `'connector'='log'`, beside `'format'` (`json` by default, `cloudevents`, `csv`, `raw`) and the format's own.
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

    /// Where reading begins when no checkpoint says otherwise.
    #[serde(rename = "scan.startup.mode", default)]
    pub startup: Startup,

    /// With mode `timestamp`: milliseconds since 1970; reading begins at the first record at or after it.
    #[serde(rename = "scan.startup.timestamp-millis", default)]
    pub startup_timestamp_ms: Option<i64>,

    /// With mode `specific-offsets`: `partition:0,offset:42;partition:1,offset:300`. Others are read from their start.
    #[serde(rename = "scan.startup.specific-offsets", default)]
    pub startup_offsets: Option<String>,

    /// Where reading ends.
    #[serde(rename = "scan.bounded.mode", default)]
    pub bounded: Bounded,

    /// As a sink: columns that make the record's key, separated by `;`. Records of one key go to one partition, in order.
    /// The key is the column's text; several columns make a JSON object. The columns are in the value, too.
    #[serde(rename = "key.fields", default)]
    pub key_fields: Option<String>,
}

/// Where reading begins.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Startup {
    /// At the first record still there.
    #[default]
    EarliestOffset,
    /// Behind the last record there is.
    LatestOffset,
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
}
