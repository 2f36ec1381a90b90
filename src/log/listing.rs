//! What the log holds, topic by topic: `eagre topics list`.

use serde::{Deserialize, Serialize};

use super::Log;
use crate::error::Result;

/// A topic in figures. Plain data: an engine hands it through its socket to the command that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFigures {
    /// Name.
    pub topic: String,
    /// Partitions.
    pub partitions: u32,
    /// Records still there, over all partitions.
    pub records: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Smallest timestamp of the oldest block, microseconds since 1970; `None` = no records.
    pub earliest_micros: Option<i64>,
    /// Largest timestamp of the newest block, microseconds since 1970.
    pub latest_micros: Option<i64>,
    /// How long records are kept, microseconds; `None` = for ever.
    pub retention_micros: Option<i64>,
}

impl Log {
    /// Figures of all topics, by name.
    pub fn figures(&self) -> Result<Vec<TopicFigures>> {
        self.topics()
            .into_iter()
            .map(|topic| {
                let mut figures = TopicFigures {
                    topic: topic.name().to_owned(),
                    partitions: topic.partitions(),
                    records: 0,
                    bytes: 0,
                    earliest_micros: None,
                    latest_micros: None,
                    retention_micros: topic.retention_micros(),
                };
                for partition in 0..topic.partitions() {
                    figures.records += (topic.end_offset(partition)? - topic.start_offset(partition)?) as u64;
                    figures.bytes += topic.size_bytes(partition)?;
                    if let Some((earliest, latest)) = self.time_span(&topic, partition)? {
                        figures.earliest_micros = Some(figures.earliest_micros.map_or(earliest, |e| e.min(earliest)));
                        figures.latest_micros = Some(figures.latest_micros.map_or(latest, |l| l.max(latest)));
                    }
                }
                Ok(figures)
            })
            .collect()
    }
}
