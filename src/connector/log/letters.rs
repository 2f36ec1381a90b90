//! A topic of dead letters: a record as it came is the value, what is known of it are headers.
//!
//! ```text
//!  time source partition offset operator reason error record ─▶ value = record, headers dead-letter.source = …, …
//! ```
//! Whoever reads the topic with the format of the table finds the records that were refused, to try them again.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;

use super::NAME;
use super::sink::{begin, commit};
use super::writer::Gathering;
use crate::connector::registry::{Environment, LogHandle};
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result};
use crate::log::{Record, Topic, now_micros};
use crate::state::StateHandles;

/// Partitions of a topic that is made for dead letters: one keeps them in the order of their refusal.
const PARTITIONS: u32 = 1;
/// The column that becomes the value.
const RECORD: &str = "record";
/// What the names of headers begin with.
const PREFIX: &str = "dead-letter.";

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
        let records = batch.column_by_name(RECORD).ok_or_else(|| Error::bug(format!("dead letters without a column '{RECORD}'")))?;
        let records: ArrayRef = cast(records, &DataType::BinaryView)?;
        let mut known: Vec<(String, StringViewArray)> = Vec::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != RECORD) {
            known.push((format!("{PREFIX}{}", field.name()), cast(column, &DataType::Utf8View)?.as_string_view().clone()));
        }
        let (timestamp, partition) = (now_micros(), self.topic.next_partition());
        for row in 0..batch.num_rows() {
            let given = known.iter().filter(|(_, column)| column.is_valid(row));
            let headers: Vec<(String, Bytes)> =
                given.map(|(name, column)| (name.clone(), Bytes::copy_from_slice(column.value(row).as_bytes()))).collect();
            let record = Record { value: Some(records.as_binary_view().value(row)), key: None, timestamp, headers: &headers };
            self.gathering.push(&self.topic, partition, &record)?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.gathering.prepare(epoch)
    }
}
