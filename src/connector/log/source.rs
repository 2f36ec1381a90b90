//! Describes a topic as a source, and finds where reading begins and ends.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::options::{Bounded, TableOptions};
use super::reader::{LogReader, Stand};
use super::{NAME, topic};
use crate::connector::environment::{Environment, LogHandle};
use crate::connector::reading::{Startup, parse_offsets};
use crate::connector::{History, Partition, Position, Reader, Source};
use crate::error::{Error, Place, Result};
use crate::log::{Log, Topic};

/// A topic to read.
#[derive(Debug)]
pub struct LogSource {
    topic: String,
    options: TableOptions,
    /// Offsets to begin and to end at, by partition, with mode `specific-offsets`.
    starts: BTreeMap<u32, i64>,
    ends: BTreeMap<u32, i64>,
    log: LogHandle,
    bounded: bool,
}

impl LogSource {
    /// The source of `table`.
    pub fn new(table: &str, options: TableOptions, env: &Environment) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': {text}"));
        options.beginning.check(options.beginning.mode.takes()).map_err(fault)?;
        options.ending.check(options.ending.mode.takes()).map_err(fault)?;
        let offsets = |option: &str, text: &Option<String>| match text {
            Some(text) => parse_offsets(option, text).map_err(fault),
            None => Ok(BTreeMap::new()),
        };
        let starts = offsets("scan.startup.specific-offsets", &options.beginning.offsets)?;
        let ends = offsets("scan.bounded.specific-offsets", &options.ending.offsets)?;
        let topic = options.own.topic.clone().unwrap_or_else(|| table.to_owned());
        let bounded = options.ending.mode != Bounded::Unbounded || !env.run.unbounded;
        Ok(LogSource { topic, options, starts, ends, log: env.log.clone(), bounded })
    }

    /// A query over what is stored does not make topics; a pipeline does.
    fn topic(&self) -> Result<(Log, Topic)> {
        let log = self.log.open()?;
        let topic = if self.bounded { log.topic(&self.topic)? } else { topic(&log, &self.topic, &self.options.own)? };
        Ok((log, topic))
    }

    /// Where the options say that reading of a partition begins.
    fn startup(&self, log: &Log, topic: &Topic, partition: u32) -> Result<i64> {
        let (start, end) = (topic.start_offset(partition)?, topic.end_offset(partition)?);
        match (self.options.beginning.mode, self.options.beginning.timestamp_ms) {
            (Startup::LatestOffset, _) => Ok(end),
            (Startup::Timestamp, Some(ms)) => log.offset_at_time(topic, partition, ms.saturating_mul(1_000)),
            (Startup::SpecificOffsets, _) => match self.starts.get(&partition) {
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

impl LogSource {
    /// Where a bounded reading of a partition ends: where it ends now at the latest.
    fn ending(&self, log: &Log, topic: &Topic, partition: u32) -> Result<i64> {
        let end = topic.end_offset(partition)?;
        Ok(match (self.options.ending.mode, self.options.ending.timestamp_ms) {
            (Bounded::Timestamp, Some(ms)) => log.offset_at_time(topic, partition, ms.saturating_mul(1_000))?.min(end),
            (Bounded::SpecificOffsets, _) => self.ends.get(&partition).copied().unwrap_or(end).min(end),
            _ => end,
        })
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
        if let Some((partition, _)) = self.starts.last_key_value().filter(|(p, _)| **p >= topic.partitions()) {
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
                let end = if self.bounded { Some(self.ending(&log, &topic, partition.index)?) } else { None };
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
