//! Dead letters: every row that reaches no result, kept with its origin, its reason and its bytes.
//!
//! They are written like any other result, under the same barriers and checkpoints: into the live table `dead_letters`, or
//! into the topic that the table names which the row came from (`'dead-letter'='topic'`), where that table's broker is.
//! Behind an operator that unites tables with different topics it is the live table again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder, UInt32Builder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::future::BoxFuture;

use crate::connector::{Prepared, Writer};
use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::dataflow::message::Barrier;
use crate::dataflow::replayed;
use crate::error::{Error, Result};
use crate::format::{Beside, headers_text};
use crate::metrics::Reason;
use crate::operator::Refused;
use crate::state::{Block, StateHandles};
use crate::time::now_micros;

/// Name of the live table, and its name and fingerprint in a manifest: it is no node of the graph.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Letters kept back before they are written as one batch.
const BATCH: usize = 1024;

/// A row that reached no result.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The table (or operator) it was lost at.
    pub source: String,
    /// What it was read from, as people know it: `orders[3]`, the name of a queue or a file.
    pub origin: Option<String>,
    /// The number of its partition, where known.
    pub partition: Option<u32>,
    /// Its offset, where known.
    pub offset: Option<i64>,
    /// What refused it.
    pub operator: String,
    /// Why.
    pub reason: Reason,
    /// What was wrong, in a sentence.
    pub error: String,
    /// The record's bytes as they came, or the row as JSON where the bytes are gone; `None` = it had none (a tombstone).
    pub record: Option<Vec<u8>>,
    /// What came with the record.
    pub beside: Beside,
}

/// Columns of the dead letters: what refused a record, the record, and what came with it (`headers` as
/// [`headers_text`] writes them; `attempts`: how often it has been tried; `properties`: what only its connector knows of it, a JSON object).
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), true);
    Arc::new(Schema::new(vec![
        time("time").with_nullable(false),
        text("source"),
        text("origin").with_nullable(true),
        Field::new("partition", DataType::UInt32, true),
        Field::new("offset", DataType::Int64, true),
        text("operator"),
        text("reason"),
        text("error"),
        Field::new("attempts", DataType::UInt32, true),
        Field::new("key", DataType::Binary, true),
        text("headers").with_nullable(true),
        time("record_time"),
        text("properties").with_nullable(true),
        Field::new("record", DataType::Binary, true),
    ]))
}

/// Blocks of a checkpoint in the columns of today: what an earlier version did not keep is NULL.
pub fn in_todays_columns(blocks: Vec<Block>) -> Result<Vec<Block>> {
    let schema = schema();
    let widened = |block: Block| -> Result<Block> {
        if block.rows.schema_ref().fields() == schema.fields() {
            return Ok(block);
        }
        let column = |field: &Arc<Field>| match block.rows.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), block.rows.num_rows()),
        };
        let rows = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())?;
        Ok(Block { rows, file: None, ..block })
    };
    blocks.into_iter().map(widened).collect()
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
                origin: None,
                partition: None,
                offset: None,
                operator: node.to_owned(),
                reason: refused.reason,
                error: refused.error.clone(),
                record: Some(record),
                beside: Beside::default(),
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

    /// What to wait for before more is written.
    pub fn room(&self) -> Option<BoxFuture<'static, Result<()>>> {
        self.writer.room()
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
    let times = || TimestampMicrosecondBuilder::new().with_timezone("+00:00");
    let (mut time, mut record_time) = (times(), times());
    let mut text: [StringViewBuilder; 7] = Default::default();
    let (mut partition, mut offset, mut attempts) = (UInt32Builder::new(), Int64Builder::new(), UInt32Builder::new());
    let (mut record, mut key) = (BinaryBuilder::new(), BinaryBuilder::new());
    let now = now_micros();
    for letter in letters {
        let beside = &letter.beside;
        time.append_value(now);
        text[0].append_value(&letter.source);
        text[1].append_option(letter.origin.as_ref());
        partition.append_option(letter.partition);
        offset.append_option(letter.offset);
        text[2].append_value(&letter.operator);
        text[3].append_value(letter.reason.as_str());
        text[4].append_value(&letter.error);
        attempts.append_value(replayed::attempts(&beside.headers));
        key.append_option(beside.key.as_ref());
        text[5].append_option((!beside.headers.is_empty()).then(|| headers_text(&beside.headers)));
        record_time.append_option(beside.timestamp_micros);
        text[6].append_option(beside.properties.as_ref());
        record.append_option(letter.record.as_ref());
    }
    let [source, origin, operator, reason, error, headers, properties] = &mut text;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(time.finish()),
        Arc::new(source.finish()),
        Arc::new(origin.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(operator.finish()),
        Arc::new(reason.finish()),
        Arc::new(error.finish()),
        Arc::new(attempts.finish()),
        Arc::new(key.finish()),
        Arc::new(headers.finish()),
        Arc::new(record_time.finish()),
        Arc::new(properties.finish()),
        Arc::new(record.finish()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array as _;

    #[test]
    fn letters_of_an_earlier_version_are_taken_up_without_what_it_did_not_keep() {
        let letter = |error: &str| DeadLetter {
            source: "t".into(),
            origin: Some("t[3]".into()),
            partition: Some(3),
            offset: Some(9),
            operator: "decode".into(),
            reason: Reason::Undecodable,
            error: error.into(),
            record: None,
            beside: Beside { key: Some("k".into()), ..Beside::default() },
        };
        let now = batch_of(&[letter("a"), letter("b")]).unwrap();
        let kept: Vec<usize> =
            (0..now.num_columns()).filter(|at| !["origin", "key"].contains(&now.schema().field(*at).name().as_str())).collect();
        let old = Block { slice: 1, rows: now.project(&kept).unwrap(), file: Some("f".into()) };
        let new = Block { slice: 2, rows: now.clone(), file: Some("g".into()) };
        let blocks = in_todays_columns(vec![old, new]).unwrap();
        assert_eq!((blocks[0].rows.schema(), blocks[0].rows.num_rows()), (schema(), 2));
        assert_eq!(blocks[0].rows.column_by_name("key").unwrap().null_count(), 2);
        assert_eq!(blocks[0].rows.column_by_name("error"), now.column_by_name("error"));
        assert_eq!((blocks[0].file.as_deref(), blocks[1].file.as_deref()), (None, Some("g")), "it is written anew");
    }
}
