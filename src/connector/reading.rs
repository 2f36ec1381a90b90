//! Options of reading that connectors share: where it begins, and where it ends. A connector whose modes are others says
//! so with an enum of its own.

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
