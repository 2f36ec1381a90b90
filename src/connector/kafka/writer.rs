//! Writes rows of one task: encodes them and hands the records on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;

use super::producer::{Sender, Target};
use super::transactions::Transactions;
use crate::change;
use crate::connector::{Prepared, Writer};
use crate::error::Result;
use crate::format::{EncodedRecords, FormatConfig, RecordEncoder, RecordSpec};

/// Where records go.
#[derive(Debug, Clone)]
pub enum Out {
    /// Into the pipeline's transaction.
    Group(Arc<Transactions>),
    /// To a client of the sink's own.
    Alone(Arc<Sender>),
}

impl Out {
    /// The client behind it.
    pub fn sender(&self) -> Result<Arc<Sender>> {
        match self {
            Out::Group(group) => group.sender(),
            Out::Alone(sender) => Ok(sender.clone()),
        }
    }
}

/// Writes for one task.
pub struct KafkaWriter {
    out: Out,
    target: Arc<Target>,
    task: usize,
    format: FormatConfig,
    spec: RecordSpec,
    /// Encodes batches with a column of changes, and those without.
    encoders: [Option<RecordEncoder>; 2],
    /// What the encoder made of the last batch.
    records: EncodedRecords,
    /// How often it has prepared: see `transactions.rs`.
    generation: u64,
}

impl KafkaWriter {
    /// The writer of `task`.
    pub fn new(out: Out, target: Arc<Target>, task: usize, format: FormatConfig, spec: RecordSpec) -> Self {
        KafkaWriter { out, target, task, format, spec, encoders: [None, None], records: EncodedRecords::default(), generation: 0 }
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let changes = change::column_of(&batch.schema()).is_some();
        let encoder = match &mut self.encoders[usize::from(changes)] {
            Some(encoder) => encoder,
            none => {
                let schema = if changes { batch.schema() } else { self.spec.schema.clone() };
                none.insert(self.format.record_encoder(&RecordSpec { schema, ..self.spec.clone() })?)
            }
        };
        encoder.encode(batch, &mut self.records)
    }
}

impl Writer for KafkaWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.encode(batch)?;
        match &self.out {
            Out::Group(group) => group.write(self.generation, &self.target, self.task, &mut self.records),
            Out::Alone(sender) => sender.send(&self.target, self.task, &self.records),
        }
    }

    fn room(&self) -> Option<BoxFuture<'static, Result<()>>> {
        match &self.out {
            Out::Group(group) => group.room(self.generation),
            Out::Alone(sender) => sender.clone().room(),
        }
    }

    /// What was written is made durable for all writers together (`settle`, `TransactionGroup::prepare`).
    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        self.generation += 1;
        Ok(None)
    }
}
