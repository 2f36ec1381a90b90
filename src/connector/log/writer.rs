//! Writes rows of one task: encodes them, gathers records by partition, stages what has gathered.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};

use super::sink::Staged;
use crate::connector::{Prepared, Writer};
use crate::error::{Error, Result};
use crate::format::{Encoder, FormatConfig};
use crate::log::{Batch, Log, Record, Stage, Topic, now_micros};

/// Gathered bytes that are staged before the checkpoint comes.
const STAGE_BYTES: usize = 4 << 20;

/// How the key of a row is made.
#[derive(Debug)]
pub enum KeyPlan {
    /// There is none: batches go to the partitions in turn.
    None,
    /// The text of a column.
    Text(usize),
    /// A JSON object of columns.
    Object(Vec<usize>, Box<dyn Encoder>),
}

impl KeyPlan {
    /// The plan for these columns of `schema`.
    pub fn new(columns: &[usize], schema: &SchemaRef) -> Result<Self> {
        match columns {
            [] => Ok(KeyPlan::None),
            [one] => Ok(KeyPlan::Text(*one)),
            many => {
                let json = FormatConfig::from_options("json", &mut Default::default())?;
                Ok(KeyPlan::Object(many.to_vec(), json.encoder(&std::sync::Arc::new(schema.project(many)?))?))
            }
        }
    }
}

/// Records of one task that are not visible yet: gathered, then staged.
#[derive(Debug)]
pub(super) struct Gathering {
    log: Log,
    /// The sink's id in the log.
    sink: String,
    /// Records not yet staged.
    gathered: Batch,
    /// Where records of the coming epoch are staged, and how many.
    stage: Option<Stage>,
    rows: u64,
}

impl Gathering {
    /// Gathers nothing yet, for the sink of id `sink`.
    pub(super) fn new(log: Log, sink: String) -> Self {
        Gathering { log, sink, gathered: Batch::default(), stage: None, rows: 0 }
    }

    /// Adds a record; what has gathered is staged before the checkpoint comes when it is much.
    pub(super) fn push(&mut self, topic: &Topic, partition: u32, record: &Record<'_>) -> Result<()> {
        self.gathered.push(topic, partition, record)?;
        self.rows += 1;
        if self.gathered.size_bytes() >= STAGE_BYTES { self.stage() } else { Ok(()) }
    }

    fn stage(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => none.insert(self.log.stage(&self.sink)?),
        };
        stage.write(std::mem::take(&mut self.gathered))
    }

    /// All of it is durable when this returns.
    pub(super) fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.stage()?;
        let rows = std::mem::take(&mut self.rows);
        let prepared = self.stage.take().map(|stage| Staged { epoch, stage: stage.id(), rows });
        Ok(prepared.map(|staged| Prepared(serde_json::json!(staged))))
    }
}

/// Writes for one task.
#[derive(Debug)]
pub struct LogWriter {
    topic: Topic,
    gathering: Gathering,
    encoder: Box<dyn Encoder>,
    key: KeyPlan,
    values: Lines,
    keys: Lines,
}

impl LogWriter {
    /// A writer of `topic` for the sink of id `sink`.
    pub fn new(log: Log, topic: Topic, sink: String, encoder: Box<dyn Encoder>, key: KeyPlan) -> Self {
        let (values, keys) = Default::default();
        LogWriter { topic, gathering: Gathering::new(log, sink), encoder, key, values, keys }
    }
}

impl Writer for LogWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.values.encode(self.encoder.as_mut(), batch)?;
        // Where the key is the text of a column.
        let mut text: Option<ArrayRef> = None;
        match &mut self.key {
            KeyPlan::None => {}
            KeyPlan::Text(column) => text = Some(cast(batch.column(*column), &DataType::Utf8View)?),
            KeyPlan::Object(columns, encoder) => self.keys.encode(encoder.as_mut(), &batch.project(columns)?)?,
        }
        let text = text.as_ref().map(|t| t.as_string_view());
        let timestamp = now_micros();
        let keyless = self.topic.next_partition();
        for row in 0..batch.num_rows() {
            let key = match (&self.key, text) {
                (KeyPlan::None, _) => None,
                (KeyPlan::Object(..), _) => Some(self.keys.line(row)),
                (KeyPlan::Text(_), text) => text.filter(|t| t.is_valid(row)).map(|t| t.value(row).as_bytes()),
            };
            let partition = key.map_or(keyless, |key| self.topic.partition_of(key));
            let record = Record { value: Some(self.values.line(row)), key, timestamp, headers: &[] };
            self.gathering.push(&self.topic, partition, &record)?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.gathering.prepare(epoch)
    }
}

/// Rows as encoded, found again by number.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Per row: where it begins; and where the last ends.
    bounds: Vec<usize>,
}

impl Lines {
    fn encode(&mut self, encoder: &mut dyn Encoder, batch: &RecordBatch) -> Result<()> {
        self.bytes.clear();
        self.bounds.clear();
        self.bounds.push(0);
        encoder.encode(batch, &mut self.bytes)?;
        self.bounds.extend(memchr::memchr_iter(b'\n', &self.bytes).map(|end| end + 1));
        if self.bounds.len() == batch.num_rows() + 1 {
            return Ok(());
        }
        // A record holds a line break of its own (csv, raw): only the encoder knows where it ends.
        self.bytes.clear();
        self.bounds.truncate(1);
        for row in 0..batch.num_rows() {
            encoder.encode(&batch.slice(row, 1), &mut self.bytes)?;
            if self.bytes.last() != Some(&b'\n') {
                return Err(Error::bug(format!("{encoder:?} does not end its records")));
            }
            self.bounds.push(self.bytes.len());
        }
        Ok(())
    }

    /// A row without the line break that ends it.
    fn line(&self, row: usize) -> &[u8] {
        &self.bytes[self.bounds[row]..self.bounds[row + 1] - 1]
    }
}
