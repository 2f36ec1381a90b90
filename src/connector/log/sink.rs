//! Describes a topic as a sink: exactly once, with the epochs of the checkpoints.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::options::LogOptions;
use super::writer::LogWriter;
use super::{NAME, UPSERT_NAME, topic};
use crate::change::Changes;
use crate::connector::environment::{Environment, LogHandle};
use crate::connector::options::parts;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result, did_you_mean};
use crate::format::{Binding, FormatConfig, KeyForm, KeySpec, RecordSpec};
use crate::log::Log;
use crate::state::StateHandles;

/// What a writer has prepared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    /// The epoch they belong to.
    pub epoch: u64,
    /// Id of the stage that holds the rows.
    pub stage: u64,
    /// How many.
    pub rows: u64,
}

/// A topic to write.
#[derive(Debug)]
pub struct LogSink {
    topic: String,
    /// Under which the log knows this sink: its stages, its epochs.
    id: String,
    options: LogOptions,
    format: FormatConfig,
    schema: SchemaRef,
    /// Columns of the key.
    key: Vec<usize>,
    /// How the key is written, where each record is what its key is from then on.
    upserts: Option<FormatConfig>,
    log: LogHandle,
}

impl LogSink {
    /// The sink of `table`.
    pub fn new(table: &str, options: LogOptions, format: FormatConfig, schema: SchemaRef, env: &Environment) -> Result<Self> {
        let key = options.key_fields.iter().flat_map(|names| parts(names)).map(|name| {
            schema.index_of(name).map_err(|_| {
                let near = did_you_mean(name, schema.fields().iter().map(|f| f.name().as_str()));
                Error::input(format!("connector '{NAME}': option 'key.fields': no column '{name}' in {table}{near}"))
            })
        });
        let key = key.collect::<Result<Vec<usize>>>()?;
        let topic = options.topic.clone().unwrap_or_else(|| table.to_owned());
        let id = format!("{}/{table}", env.run.pipeline);
        let sink = LogSink { topic, id, options, format, schema, key, upserts: None, log: env.log.clone() };
        // What cannot be written is told before anything runs.
        sink.format.record_encoder(&sink.records())?;
        Ok(sink)
    }

    /// The same, each record being what its key, of the columns `key`, is from then on.
    pub fn upserting(self, key: Vec<usize>, form: FormatConfig) -> Result<Self> {
        let sink = LogSink { key, upserts: Some(form), ..self };
        sink.format.record_encoder(&sink.records())?;
        Ok(sink)
    }

    /// What becomes of a row.
    fn records(&self) -> RecordSpec {
        RecordSpec {
            columns: (0..self.schema.fields().len()).collect(),
            schema: self.schema.clone(),
            key: (!self.key.is_empty()).then(|| KeySpec {
                columns: self.key.clone(),
                names: None,
                form: self.upserts.clone().map_or(KeyForm::Text, KeyForm::Format),
            }),
            binding: Binding::Kafka,
            upserts: self.upserts.is_some(),
        }
    }
}

impl Sink for LogSink {
    fn describe(&self) -> String {
        format!("{} {}", if self.upserts.is_some() { UPSERT_NAME } else { NAME }, self.topic)
    }

    fn takes(&self) -> Changes {
        if self.upserts.is_some() { Changes::Upserts } else { Changes::Inserts }
    }

    fn key_columns(&self) -> Option<Vec<usize>> {
        self.upserts.is_some().then(|| self.key.clone())
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.topic)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        let log = self.log.open()?;
        topic(&log, &self.topic, &self.options)?;
        begin(&log, &self.id, restored)
    }

    fn open(&self, _task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let log = self.log.open()?;
        let topic = log.topic(&self.topic)?;
        Ok(Box::new(LogWriter::new(log, topic, self.id.clone(), self.format.record_encoder(&self.records())?)))
    }

    fn commit(&self, epoch: u64, prepared: &[Prepared]) -> Result<()> {
        commit(&self.log.open()?, &self.id, epoch, prepared)
    }
}

/// A run begins: what the restored checkpoint names becomes visible, what was staged after it is thrown away.
pub(super) fn begin(log: &Log, sink: &str, restored: Option<&[Prepared]>) -> Result<()> {
    let staged = restored.unwrap_or_default().iter().map(read).collect::<Result<Vec<_>>>()?;
    log.begin_sink(sink, &ids(&staged))?;
    // The process may have died between the manifest and the commit.
    let epoch = staged.iter().map(|s| s.epoch).max().unwrap_or(0);
    log.commit_stages(sink, epoch, &ids(&staged)).map(|_| ())
}

/// What was prepared for an epoch becomes visible.
pub(super) fn commit(log: &Log, sink: &str, epoch: u64, prepared: &[Prepared]) -> Result<()> {
    let staged = prepared.iter().map(read).collect::<Result<Vec<_>>>()?;
    log.commit_stages(sink, epoch, &ids(&staged)).map(|_| ())
}

fn read(prepared: &Prepared) -> Result<Staged> {
    let staged = serde_json::from_value(prepared.0.clone());
    staged.map_err(|e| Error::corrupt(format!("{} is nothing that a log sink prepared", prepared.0)).because(e))
}

fn ids(staged: &[Staged]) -> Vec<u64> {
    staged.iter().map(|s| s.stage).collect()
}
