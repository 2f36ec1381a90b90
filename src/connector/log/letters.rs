//! A topic of dead letters: a record as it came, with its key and its headers; what is known of it are further headers.
//!
//! ```text
//!  record key headers, time source partition offset operator reason error attempts ─▶ value, key, headers, dead-letter.source = …, …
//! ```
//! Whoever reads the topic with the format of the table finds the records that were refused, to try them again.

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::NAME;
use super::sink::{begin, commit};
use super::writer::Gathering;
use crate::connector::environment::{Environment, LogHandle};
use crate::connector::letters::Letter;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::Result;
use crate::log::{Record, Topic};
use crate::state::StateHandles;
use crate::time::now_micros;

/// Partitions of a topic that is made for dead letters: one keeps them in the order of their refusal.
const PARTITIONS: u32 = 1;

/// A topic that takes dead letters.
#[derive(Debug)]
pub struct LettersSink {
    topic: String,
    /// Under which the log knows this sink.
    id: String,
    log: LogHandle,
}

impl LettersSink {
    /// The sink into `topic`.
    pub fn new(topic: &str, env: &Environment) -> Self {
        LettersSink { topic: topic.to_owned(), id: format!("{}/dead letters/{topic}", env.run.pipeline), log: env.log.clone() }
    }
}

impl Sink for LettersSink {
    fn describe(&self) -> String {
        format!("dead letters to {NAME} {}", self.topic)
    }

    fn identity(&self) -> String {
        format!("dead letters {NAME} {}", self.topic)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        let log = self.log.open()?;
        if log.topic(&self.topic).is_err() {
            log.topic_or_create(&self.topic, Some(PARTITIONS), None)?;
        }
        begin(&log, &self.id, restored)
    }

    fn open(&self, _task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let log = self.log.open()?;
        let topic = log.topic(&self.topic)?;
        Ok(Box::new(LettersWriter { topic, gathering: Gathering::new(log, self.id.clone()) }))
    }

    fn commit(&self, epoch: u64, prepared: &[Prepared]) -> Result<()> {
        commit(&self.log.open()?, &self.id, epoch, prepared)
    }
}

/// Writes for one task.
struct LettersWriter {
    topic: Topic,
    gathering: Gathering,
}

impl Writer for LettersWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let (now, keyless) = (now_micros(), self.topic.next_partition());
        for letter in Letter::all(batch)? {
            let partition = letter.key.as_ref().map_or(keyless, |key| self.topic.partition_of(key));
            let headers: Vec<(String, Bytes)> = letter.headers.iter().cloned().chain(letter.told()).collect();
            let timestamp = letter.timestamp_micros.unwrap_or(now);
            let record = Record { value: letter.record.as_deref(), key: letter.key.as_deref(), timestamp, headers: &headers };
            self.gathering.push(&self.topic, partition, &record)?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.gathering.prepare(epoch)
    }
}
