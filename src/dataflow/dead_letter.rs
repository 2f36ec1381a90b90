//! Dead letters: every row that reaches no result, kept with its origin, its reason and its bytes.
//!
//! They are written like any other result, under the same barriers and checkpoints: into the live table `dead_letters`, or
//! into the topic that the table names which the row came from (`'dead-letter'='topic'`). Behind an operator that unites
//! tables with different topics it is the live table again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::connector::{Prepared, Writer};
use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::dataflow::message::Barrier;
use crate::dataflow::scan::now_micros;
use crate::error::{Error, Result};
use crate::metrics::Reason;
use crate::operator::Refused;
use crate::state::StateHandles;

/// Letters kept back before they are written as one batch.
const BATCH: usize = 1024;

/// A row that reached no result.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The table (or operator) it was lost at.
    pub source: String,
    /// Its partition, where known.
    pub partition: Option<u32>,
    /// Its offset, where known.
    pub offset: Option<i64>,
    /// What refused it.
    pub operator: String,
    /// Why.
    pub reason: Reason,
    /// What was wrong, in a sentence.
    pub error: String,
    /// The record's bytes as they came, or the row as JSON where the bytes are gone.
    pub record: Vec<u8>,
}

/// Columns of the dead letters: `time`, `source`, `partition`, `offset`, `operator`, `reason`, `error`, `record`.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false),
        text("source"),
        Field::new("partition", DataType::UInt32, true),
        Field::new("offset", DataType::Int64, true),
        text("operator"),
        text("reason"),
        text("error"),
        Field::new("record", DataType::Binary, false),
    ]))
}

/// Per node of the graph: the topic of its dead letters; `None` = the live table.
pub fn topics(graph: &Graph) -> Vec<Option<String>> {
    let mut topics: Vec<Option<String>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let topic = match &node.kind {
            NodeKind::Source(source) => source.dead_letters.clone(),
            _ => {
                let mut inputs = node.inputs.iter().map(|input| &topics[*input]);
                let first = inputs.next().cloned().flatten();
                first.filter(|first| inputs.all(|other| other.as_ref() == Some(first)))
            }
        };
        topics.push(topic);
    }
    topics
}

/// Collects the dead letters of one task that go to one place.
pub struct DeadLetterWriter {
    /// What stands for the place in checkpoints: behind all nodes of the graph.
    node: NodeId,
    writer: Box<dyn Writer>,
    state: StateHandles,
    pending: Vec<DeadLetter>,
}

impl DeadLetterWriter {
    /// Writes to `writer`, whose state (if it has any) is in `state`; `node` stands for it in checkpoints.
    pub fn new(node: NodeId, writer: Box<dyn Writer>, state: StateHandles) -> Self {
        DeadLetterWriter { node, writer, state, pending: Vec::new() }
    }

    /// Keeps a letter.
    pub fn add(&mut self, letter: DeadLetter) -> Result<()> {
        self.pending.push(letter);
        if self.pending.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Keeps the rows that operator `node` refused, each as JSON.
    pub fn add_rows(&mut self, node: &str, refused: &Refused) -> Result<()> {
        for record in json_lines(&refused.rows)? {
            self.add(DeadLetter {
                source: node.to_owned(),
                partition: None,
                offset: None,
                operator: node.to_owned(),
                reason: refused.reason,
                error: refused.error.clone(),
                record,
            })?;
        }
        Ok(())
    }

    /// Hands what is kept back to the writer.
    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let batch = batch_of(&std::mem::take(&mut self.pending))?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    /// A barrier passes: what is kept back is written before it. Returns what was prepared, at a checkpoint.
    pub fn barrier(&mut self, barrier: Barrier) -> Result<Option<Prepared>> {
        self.flush()?;
        self.writer.cut(barrier.epoch)?;
        if barrier.checkpoint { self.writer.prepare(barrier.epoch) } else { Ok(None) }
    }

    /// What stands for the place in checkpoints.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The writer's state tables.
    pub fn state(&self) -> &StateHandles {
        &self.state
    }
}

/// Each row as a JSON object without line end.
pub(super) fn json_lines(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut text = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    let lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    if lines.len() != rows.num_rows() {
        return Err(Error::bug(format!("{} refused rows became {} lines of JSON", rows.num_rows(), lines.len())));
    }
    Ok(lines)
}

fn batch_of(letters: &[DeadLetter]) -> Result<RecordBatch> {
    let mut time = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    let mut text: [StringViewBuilder; 4] = Default::default();
    let (mut partition, mut offset, mut record) = (UInt32Builder::new(), Int64Builder::new(), BinaryBuilder::new());
    let now = now_micros();
    for letter in letters {
        time.append_value(now);
        text[0].append_value(&letter.source);
        partition.append_option(letter.partition);
        offset.append_option(letter.offset);
        text[1].append_value(&letter.operator);
        text[2].append_value(letter.reason.as_str());
        text[3].append_value(&letter.error);
        record.append_value(&letter.record);
    }
    let [source, operator, reason, error] = &mut text;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(time.finish()),
        Arc::new(source.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(operator.finish()),
        Arc::new(reason.finish()),
        Arc::new(error.finish()),
        Arc::new(record.finish()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}
