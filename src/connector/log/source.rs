//! Describes a topic as a source, and finds where reading begins and ends.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::options::{Bounded, LogOptions, Startup};
use super::reader::{LogReader, Stand};
use super::{NAME, topic};
use crate::connector::registry::{Environment, LogHandle};
use crate::connector::{History, Partition, Position, Reader, Source};
use crate::error::{Error, Place, Result};
use crate::log::{Log, Topic};

/// A topic to read.
#[derive(Debug)]
pub struct LogSource {
    topic: String,
    options: LogOptions,
    /// Offsets to begin at, by partition, with mode `specific-offsets`.
    offsets: BTreeMap<u32, i64>,
    log: LogHandle,
    bounded: bool,
}

impl LogSource {
    /// The source of `table`.
    pub fn new(table: &str, options: LogOptions, env: &Environment) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': {text}"));
        let offsets = match (&options.startup, &options.startup_offsets) {
            (Startup::SpecificOffsets, Some(text)) => parse_offsets(text).map_err(fault)?,
            (Startup::SpecificOffsets, None) => {
                return Err(fault("'scan.startup.mode'='specific-offsets' needs 'scan.startup.specific-offsets'".into()));
            }
            (_, Some(_)) => {
                return Err(fault("'scan.startup.specific-offsets' needs 'scan.startup.mode'='specific-offsets'".into()));
            }
            (_, None) => BTreeMap::new(),
        };
        match (options.startup, options.startup_timestamp_ms) {
            (Startup::Timestamp, None) => {
                return Err(fault("'scan.startup.mode'='timestamp' needs 'scan.startup.timestamp-millis'".into()));
            }
            (Startup::EarliestOffset | Startup::LatestOffset | Startup::SpecificOffsets, Some(_)) => {
                return Err(fault("'scan.startup.timestamp-millis' needs 'scan.startup.mode'='timestamp'".into()));
            }
            _ => {}
        }
        let topic = options.topic.clone().unwrap_or_else(|| table.to_owned());
        let bounded = options.bounded == Bounded::LatestOffset || !env.run.unbounded;
        Ok(LogSource { topic, options, offsets, log: env.log.clone(), bounded })
    }

    /// A query over what is stored does not make topics; a pipeline does.
    fn topic(&self) -> Result<(Log, Topic)> {
        let log = self.log.open()?;
        let topic = if self.bounded { log.topic(&self.topic)? } else { topic(&log, &self.topic, &self.options)? };
        Ok((log, topic))
    }

    /// Where the options say that reading of a partition begins.
    fn startup(&self, log: &Log, topic: &Topic, partition: u32) -> Result<i64> {
        let (start, end) = (topic.start_offset(partition)?, topic.end_offset(partition)?);
        match (self.options.startup, self.options.startup_timestamp_ms) {
            (Startup::LatestOffset, _) => Ok(end),
            (Startup::Timestamp, Some(ms)) => log.offset_at_time(topic, partition, ms.saturating_mul(1_000)),
            (Startup::SpecificOffsets, _) => match self.offsets.get(&partition) {
                Some(wanted) if (start..=end).contains(wanted) => Ok(*wanted),
                Some(wanted) => Err(Error::input(format!(
                    "topic '{}', partition {partition}: 'scan.startup.specific-offsets' names offset {wanted}, but there are {start} to {end}",
                    self.topic
                ))),
                None => Ok(start),
            },
            _ => Ok(start),
        }
    }
}

#[async_trait]
impl Source for LogSource {
    fn describe(&self) -> String {
        format!("{NAME} {}", self.topic)
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.topic)
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let (_, topic) = self.topic()?;
        if let Some((partition, _)) = self.offsets.last_key_value().filter(|(p, _)| **p >= topic.partitions()) {
            topic.start_offset(*partition)?;
        }
        Ok((0..topic.partitions()).map(|index| Partition { index, name: format!("{}[{index}]", self.topic) }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let (log, topic) = self.topic()?;
        let stand = match position {
            Some(position) => {
                let stand = stand(position).map_err(|e| e.at(Place::thing(&partition.name)))?;
                log.verify_end(topic.name(), partition.index, stand.offset.max(stand.end.unwrap_or(0)))?;
                stand
            }
            None => {
                let end = if self.bounded { Some(topic.end_offset(partition.index)?) } else { None };
                Stand { offset: self.startup(&log, &topic, partition.index)?, end }
            }
        };
        Ok(Box::new(LogReader::new(log, topic, partition.index, stand)?))
    }

    fn gathers(&self) -> bool {
        true
    }

    fn replays(&self) -> bool {
        true
    }

    fn history(&self, partition: &Partition, until: &Position) -> Result<History> {
        let end = stand(until)?.offset;
        let (_, topic) = self.topic()?;
        let first = Stand { offset: topic.start_offset(partition.index)?.min(end), end: Some(end) };
        Ok(History { first: Some(Position(serde_json::json!(first))), end })
    }

    fn size_bytes(&self) -> Option<u64> {
        let (_, topic) = self.bounded.then(|| self.topic().ok()).flatten()?;
        (0..topic.partitions()).map(|p| topic.size_bytes(p).ok()).sum()
    }
}

/// What a checkpoint has kept of a reader.
fn stand(position: &Position) -> Result<Stand> {
    serde_json::from_value(position.0.clone())
        .map_err(|e| Error::corrupt(format!("{} is no position of a log reader", position.0)).because(e))
}

/// Reads `partition:0,offset:42;partition:1,offset:300`.
fn parse_offsets(text: &str) -> std::result::Result<BTreeMap<u32, i64>, String> {
    let one = |part: &str| -> Option<(u32, i64)> {
        let (partition, offset) = part.trim().split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
        Some((partition, offset.trim().strip_prefix("offset:")?.trim().parse().ok()?))
    };
    let parts = text.split(';').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            one(part).ok_or_else(|| {
                format!("'scan.startup.specific-offsets': '{part}' does not read; expected 'partition:0,offset:42;partition:1,offset:300'")
            })
        })
        .collect()
}
