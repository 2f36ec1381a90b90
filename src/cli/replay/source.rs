//! What the tables of a project have read, from the beginning: topics of the log (also while an engine holds it), and
//! whatever else can be read again by its connector.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::cli::topics::log::Topics;
use crate::connector::registry;
use crate::connector::table::TableRequest;
use crate::connector::{Partition, Read, Reader, Source, kafka, log};
use crate::engine::Engine;
use crate::engine::shadow::History;
use crate::error::{Error, Place, Result};
use crate::format::{Framed, Records};
use crate::log::{Reading, TopicFigures, Whole, WholePage};
use crate::sql::declared::DeclaredTable;
use crate::sql::lower;

/// What a table reads.
pub enum Origin {
    /// A topic of the log.
    Log(String),
    /// What its connector reads, from the beginning to where it ends now.
    Source(Arc<dyn Source>),
}

impl Origin {
    /// What `table` of the project reads.
    pub fn of(engine: &Engine, table: &DeclaredTable) -> Result<Origin> {
        let name = &table.def.name;
        let mut options = lower::connector_options(&table.def);
        let mut environment = engine.environment().clone();
        let connector = registry::take_connector(name, &mut options, &environment)?;
        if [log::NAME, log::UPSERT_NAME].contains(&connector.as_str()) {
            return Ok(Origin::Log(options.remove("topic").unwrap_or_else(|| name.clone())));
        }
        options.retain(|key, _| !key.starts_with("scan.startup.") && !key.starts_with("scan.bounded."));
        if [kafka::NAME, kafka::UPSERT].contains(&connector.as_str()) {
            options.insert("scan.startup.mode".into(), "earliest-offset".into());
        }
        options.insert("connector".into(), connector.clone());
        environment.run.unbounded = false;
        let columns = lower::physical_columns(table);
        let request = TableRequest { table: name, options, columns: &columns, primary_key: &table.def.primary_key };
        let source = registry::source(request, &environment)?.source;
        match source.bounded() {
            true => Ok(Origin::Source(source)),
            false => Err(Error::input(format!("table '{name}': what '{connector}' has handed out once cannot be read again"))),
        }
    }

    /// The history of each partition, from `offset` on where one is given.
    pub async fn histories(&self, topics: Option<&Arc<Topics>>, offset: Option<i64>) -> Result<Vec<Box<dyn History>>> {
        let mut histories: Vec<Box<dyn History>> = Vec::new();
        match self {
            Origin::Log(topic) => {
                let topics =
                    topics.ok_or_else(|| Error::unreachable(format!("topic '{topic}': there is no log in the data directory yet")))?;
                let figures: Vec<TopicFigures> = topics.call("topics.list", &()).await?;
                let Some(found) = figures.iter().find(|figures| figures.topic == *topic) else {
                    // The message with the nearest name is the log's.
                    topics.call::<WholePage>("topics.read", &Reading::all(topic)).await?;
                    return Err(Error::failed(format!("topic '{topic}' has just been made; try again")));
                };
                for partition in 0..found.partitions {
                    let reading = Reading { partition: Some(partition), ..Reading::all(topic) };
                    histories.push(Box::new(OfLog { topics: topics.clone(), next: Some(reading), offset }));
                }
            }
            Origin::Source(source) => {
                for partition in source.partitions().await? {
                    histories.push(Box::new(OfSource { source: source.clone(), partition, reader: None, offset }));
                }
            }
        }
        Ok(histories)
    }
}

/// A partition of a topic of the log.
struct OfLog {
    topics: Arc<Topics>,
    next: Option<Reading>,
    offset: Option<i64>,
}

#[async_trait]
impl History for OfLog {
    async fn next(&mut self) -> Result<Option<Records>> {
        while let Some(reading) = self.next.take() {
            let mut page: WholePage = self.topics.call("topics.read", &reading).await?;
            self.next = page.next;
            page.records.retain(|record| self.offset.is_none_or(|offset| record.offset >= offset));
            if !page.records.is_empty() {
                return Ok(Some(Records::Framed(framed(&page.records))));
            }
        }
        Ok(None)
    }
}

fn framed(records: &[Whole]) -> Framed {
    let mut data = BytesMut::new();
    let mut framed = Framed::default();
    for record in records {
        framed.values.push(record.value.as_ref().map(|value| {
            let start = data.len() as u32;
            data.extend_from_slice(&value.0);
            (start, data.len() as u32)
        }));
        framed.offsets.push(record.offset);
        framed.timestamps.push(record.timestamp_micros.unwrap_or(i64::MIN));
        framed.keys.push(record.key.clone().map(|key| key.0));
        framed.headers.push(record.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect::<Vec<(String, Bytes)>>());
    }
    framed.data = data.freeze();
    framed
}

/// A partition of something else.
struct OfSource {
    source: Arc<dyn Source>,
    partition: Partition,
    /// Opened with the first read.
    reader: Option<Box<dyn Reader>>,
    offset: Option<i64>,
}

#[async_trait]
impl History for OfSource {
    async fn next(&mut self) -> Result<Option<Records>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.source.open(&self.partition, None).await?),
        };
        loop {
            match reader.read().await? {
                Read::End => return Ok(None),
                Read::Idle | Read::Away | Read::Watermark(_) => {}
                Read::Chunk(chunk) => match (chunk.records, self.offset) {
                    (records, None) => return Ok(Some(records)),
                    (Records::Framed(framed), Some(offset)) => {
                        let framed = since(framed, offset);
                        if !framed.offsets.is_empty() {
                            return Ok(Some(Records::Framed(framed)));
                        }
                    }
                    _ => {
                        let text = format!("{} has no offsets to begin at; --since takes a time there", self.source.describe());
                        return Err(Error::input(text).at(Place::thing("--since")));
                    }
                },
            }
        }
    }
}

/// The records from `offset` on.
fn since(mut framed: Framed, offset: i64) -> Framed {
    let first = framed.offsets.partition_point(|other| *other < offset);
    let count = framed.offsets.len() - first;
    framed.values.drain(..first);
    framed.offsets.drain(..first);
    framed.timestamps.drain(..first);
    framed.keys.drain(..first.min(framed.keys.len()));
    framed.headers.drain(..first.min(framed.headers.len()));
    framed.beside.iter_mut().for_each(|(_, column)| *column = column.slice(first, count));
    framed
}
