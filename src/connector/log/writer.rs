//! Writes rows of one task: encodes them, gathers records by partition, stages what has gathered.

use arrow::array::RecordBatch;

use super::sink::Staged;
use crate::connector::{Prepared, Writer};
use crate::error::Result;
use crate::format::{EncodedRecords, RecordEncoder};
use crate::log::{Batch, Log, Record, Stage, Topic};
use crate::time::now_micros;

/// Gathered bytes that are staged before the checkpoint comes.
const STAGE_BYTES: usize = 4 << 20;

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
    encoder: RecordEncoder,
    /// What the encoder made of the last batch.
    records: EncodedRecords,
}

impl LogWriter {
    /// A writer of `topic` for the sink of id `sink`.
    pub fn new(log: Log, topic: Topic, sink: String, encoder: RecordEncoder) -> Self {
        LogWriter { topic, gathering: Gathering::new(log, sink), encoder, records: EncodedRecords::default() }
    }
}

impl Writer for LogWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.encoder.encode(batch, &mut self.records)?;
        let now = now_micros();
        let keyless = self.topic.next_partition();
        for record in self.records.iter() {
            let partition = record.key.map_or(keyless, |key| self.topic.partition_of(key));
            let timestamp = record.timestamp_micros.unwrap_or(now);
            let record = Record { value: record.value, key: record.key, timestamp, headers: record.headers };
            self.gathering.push(&self.topic, partition, &record)?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.gathering.prepare(epoch)
    }
}
