//! Options of reading that connectors share: where it begins, where it ends, and what is made of what is read. A connector
//! whose modes are others says so with an enum of its own.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `scan.startup.*`: where reading begins when no checkpoint says otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "M: Deserialize<'de> + Default"))]
pub struct Beginning<M> {
    /// Where reading begins.
    #[serde(rename = "scan.startup.mode", default)]
    pub mode: M,

    /// With mode `specific-offsets`: `partition:0,offset:42;partition:1,offset:300`. Others are read from their start. Of a
    /// stream of RabbitMQ: the offset alone.
    #[serde(rename = "scan.startup.specific-offsets", default)]
    pub offsets: Option<String>,

    /// With mode `timestamp`: milliseconds since 1970; reading begins at the first record at or after it. Of a stream of
    /// RabbitMQ whole seconds count, and whole chunks are handed out: earlier messages of the first chunk come along.
    #[serde(rename = "scan.startup.timestamp-millis", default)]
    pub timestamp_ms: Option<i64>,
}

/// `scan.bounded.*`: where reading ends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "M: Deserialize<'de> + Default"))]
pub struct Ending<M> {
    /// Where reading ends.
    #[serde(rename = "scan.bounded.mode", default)]
    pub mode: M,

    /// With mode `specific-offsets`: the offsets before which reading ends, written as those of the start.
    #[serde(rename = "scan.bounded.specific-offsets", default)]
    pub offsets: Option<String>,

    /// With mode `timestamp`: milliseconds since 1970; reading ends before the first record at or after it.
    #[serde(rename = "scan.bounded.timestamp-millis", default)]
    pub timestamp_ms: Option<i64>,
}

/// What is made of what is read: the planner's part of a table's options, which connectors never see.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scanning {
    /// Declare a partition idle after this long without records (`'10 s'`); not set: never.
    #[serde(rename = "scan.watermark.idle-timeout", default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub idle_timeout_micros: Option<i64>,

    /// Judge lateness by row (`on-event`, the default) or by batch (`on-periodic`: results then depend on timing).
    #[serde(rename = "scan.watermark.emit.strategy", default)]
    pub emit: Emit,

    /// Keep the partitions of all inputs within this much event time of each other.
    #[serde(rename = "scan.watermark.alignment.max-drift", default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub max_drift_micros: Option<i64>,

    /// `wall-clock`: event time goes on with the clock while there is no traffic. Default `none`.
    #[serde(rename = "scan.watermark.advance", default)]
    pub advance: Advance,

    /// A row further ahead of the clock than this never drives the watermark: it is refused.
    #[serde(rename = "scan.watermark.max-future-skew", default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub max_future_skew_micros: Option<i64>,

    /// What happens to records that cannot be decoded: `dead-letter` (default, but `skip` where the format's
    /// `ignore-parse-errors` is true), `skip`, `fail`.
    #[serde(rename = "format.on-error", default)]
    pub on_error: Option<OnUndecodable>,

    /// Where dead letters go: `table` (the default) is the live table `dead_letters`, anything else a topic where the table
    /// itself is: of its Kafka cluster (made when it is missing), a queue of its RabbitMQ broker (`exchange:NAME` is an
    /// exchange), else of the embedded log. `log:NAME` is a topic of the embedded log in any case, `shop:NAME` one of the
    /// broker that `eagre.yaml` calls `shop`.
    #[serde(rename = "dead-letter", default)]
    pub dead_letter: Option<String>,

    /// `true`: behind a record that is refused, later records of its key wait in the dead letters (reason `parked`), until
    /// `eagre replay dead-letters` has sent them again in their order. Default `false`.
    #[serde(rename = "dead-letter.ordered", default)]
    pub ordered: bool,
}

impl Scanning {
    /// The names of these options.
    pub fn names() -> &'static [&'static str] {
        crate::options::names::<Scanning>()
    }
}

/// How lateness is judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emit {
    /// By row: against the watermark of the rows before it.
    #[default]
    OnEvent,
    /// By batch.
    OnPeriodic,
}

/// What event time does while there is no traffic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advance {
    /// It stands.
    #[default]
    None,
    /// It goes on with the clock.
    WallClock,
}

/// What happens to records that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUndecodable {
    /// The pipeline stops.
    Fail,
    /// They are counted.
    Skip,
    /// They are counted and kept.
    DeadLetter,
}

/// Where reading begins, of logs that keep no place for their readers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
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

impl Startup {
    /// What the mode takes from the options beside it.
    pub fn takes(self) -> Takes {
        match self {
            Startup::Timestamp => Takes::Timestamp,
            Startup::SpecificOffsets => Takes::Offsets,
            Startup::EarliestOffset | Startup::LatestOffset => Takes::Nothing,
        }
    }
}

/// What a mode takes from the options beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// The time.
    Timestamp,
    /// The offsets.
    Offsets,
}

impl<M> Beginning<M> {
    /// Refuses a mode without what it takes, and what its mode does not take.
    pub fn check(&self, takes: Takes) -> Result<(), String> {
        check("startup", takes, self.timestamp_ms.is_some(), self.offsets.is_some())
    }
}

impl<M> Ending<M> {
    /// Refuses a mode without what it takes, and what its mode does not take.
    pub fn check(&self, takes: Takes) -> Result<(), String> {
        check("bounded", takes, self.timestamp_ms.is_some(), self.offsets.is_some())
    }
}

fn check(which: &str, takes: Takes, has_timestamp: bool, has_offsets: bool) -> Result<(), String> {
    for (mode, option, wanted, given) in [
        ("timestamp", "timestamp-millis", takes == Takes::Timestamp, has_timestamp),
        ("specific-offsets", "specific-offsets", takes == Takes::Offsets, has_offsets),
    ] {
        let (mode, option) = (format!("'scan.{which}.mode'='{mode}'"), format!("'scan.{which}.{option}'"));
        match (wanted, given) {
            (true, false) => return Err(format!("{mode} needs {option}")),
            (false, true) => return Err(format!("{option} needs {mode}")),
            _ => {}
        }
    }
    Ok(())
}

/// Reads `partition:0,offset:42;partition:1,offset:300`.
pub fn parse_offsets(option: &str, text: &str) -> Result<BTreeMap<u32, i64>, String> {
    let one = |part: &str| -> Option<(u32, i64)> {
        let (partition, offset) = part.trim().split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
        Some((partition, offset.trim().strip_prefix("offset:")?.trim().parse().ok()?))
    };
    let parts = text.split(';').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            one(part).ok_or_else(|| format!("'{option}': '{part}' does not read; expected 'partition:0,offset:42;partition:1,offset:300'"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_and_what_it_takes_go_together() {
        let beginning = |timestamp_ms, offsets: Option<&str>| Beginning { mode: (), offsets: offsets.map(str::to_owned), timestamp_ms };
        assert_eq!(beginning(Some(1), None).check(Takes::Timestamp), Ok(()));
        let told = |takes, timestamp_ms, offsets| beginning(timestamp_ms, offsets).check(takes).unwrap_err();
        assert_eq!(told(Takes::Timestamp, None, None), "'scan.startup.mode'='timestamp' needs 'scan.startup.timestamp-millis'");
        assert_eq!(
            told(Takes::Nothing, None, Some("partition:0,offset:1")),
            "'scan.startup.specific-offsets' needs 'scan.startup.mode'='specific-offsets'"
        );
    }

    #[test]
    fn offsets_are_read_as_flink_writes_them() {
        assert_eq!(parse_offsets("o", "partition:0,offset:42;partition:1,offset:300").unwrap(), [(0, 42), (1, 300)].into());
        assert!(parse_offsets("o", "0:42").unwrap_err().contains("expected 'partition:0,offset:42"));
    }
}
