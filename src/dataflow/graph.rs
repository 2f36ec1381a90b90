//! The dataflow graph: what the planner hands to the runtime. Plain data, no threads.
//!
//! ```text
//!  Source(scan) ──▶ Operator ──▶ … ──▶ Sink       an edge names its producer; several consumers may share one
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::connector::{Sink, Source};
use crate::format::DecoderRef;
use crate::operator::OperatorSpec;

/// Index of a node in [`Graph::nodes`]; inputs always have smaller indices than their consumers.
pub type NodeId = usize;

/// Name of the hidden column that orders rows of equal event time: partition in the upper 16 bits, record in the lower 48 (Int64).
pub const SEQ_COLUMN: &str = "$seq";

/// A whole pipeline.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// As they describe themselves: the topics that take dead letters.
    pub dead_letters: BTreeMap<String, Arc<dyn Sink>>,
    /// What was planned as it was written and is probably not meant, with its place.
    pub advice: Vec<String>,
}

/// A node and where its rows come from.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique, for people: the table's name for sources and sinks, `window aggregation 3` for operators.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Producers, in input order. Empty for sources.
    pub inputs: Vec<NodeId>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Reads and decodes a table.
    Source(SourceNode),
    /// Works on rows.
    Operator(Arc<dyn OperatorSpec>),
    /// Writes rows; has exactly one input.
    Sink(Arc<dyn Sink>),
}

/// A source with everything that happens before rows leave its task.
#[derive(Debug, Clone)]
pub struct SourceNode {
    /// The connector.
    pub source: Arc<dyn Source>,
    /// Decoding, filter, event time, projection.
    pub scan: Arc<ScanSpec>,
    /// Watermark strategy; `None` = the table declares no event time.
    pub time: Option<TimeSpec>,
    /// What happens to records that cannot be decoded.
    pub on_error: OnError,
    /// The topic of [`Graph::dead_letters`] that takes its dead letters; `None` = the live table `dead_letters`.
    pub dead_letters: Option<String>,
}

/// From chunk to rows, once per source however many queries read it.
#[derive(Debug)]
pub struct ScanSpec {
    /// Decodes `first` columns for every record and `rest` for those that pass.
    pub decoder: DecoderRef,
    /// Number of `first` columns in the decoder's schema.
    pub first: usize,
    /// Event time over the `first` columns (any timestamp type).
    pub event_time: Option<Arc<dyn PhysicalExpr>>,
    /// Filter over the `first` columns; rows must pass it to be decoded further.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns that leave the scan, over the decoder's schema (`first` then `rest`).
    pub output: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// Append [`SEQ_COLUMN`].
    pub seq: bool,
    /// Say which records the rows are, so that those of a parked key can be put aside; the decoder gives offsets then.
    pub ordered: bool,
    /// Schema of what leaves: `output`, then `$seq` if asked for.
    pub schema: SchemaRef,
}

/// Event time and watermarks of a source (semantics.md 1).
#[derive(Debug, Clone)]
pub struct TimeSpec {
    /// How the watermark follows from rows.
    pub watermark: WatermarkExpr,
    /// Declare a partition idle after this much wall-clock time without records; `None` = never.
    pub idle_timeout_micros: Option<i64>,
    /// Let event time follow the wall clock while there is no traffic.
    pub advance_by_wall_clock: bool,
    /// Refuse rows further ahead of the wall clock than this.
    pub max_future_skew_micros: Option<i64>,
    /// Keep partitions of this (and the other) inputs within this much event time of each other.
    pub max_drift_micros: Option<i64>,
    /// Judge lateness by row (`on-event`, the default) or by batch (`on-periodic`).
    pub per_row: bool,
}

/// How the watermark follows from rows. Both forms give Flink's inclusive value; the scan adds 1 ms (semantics.md 1).
#[derive(Debug, Clone)]
pub enum WatermarkExpr {
    /// The largest event time seen, less this many microseconds.
    Delay(i64),
    /// The largest value seen of any expression over the `first` columns.
    Expr(Arc<dyn PhysicalExpr>),
}

/// `'format.on-error'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Stop the pipeline.
    Fail,
    /// Count and go on.
    Skip,
    /// Count, keep the record in the dead letters and go on.
    DeadLetter,
}

impl Graph {
    /// Adds a node and returns its id.
    pub fn add(&mut self, name: impl Into<String>, kind: NodeKind, inputs: Vec<NodeId>) -> NodeId {
        self.nodes.push(Node { name: name.into(), kind, inputs });
        self.nodes.len() - 1
    }

    /// All sinks with number and name. The topics of dead letters are numbered behind all nodes: so they are told in checkpoints.
    pub fn sinks(&self) -> impl Iterator<Item = (NodeId, &str, &Arc<dyn Sink>)> {
        let of_nodes = self.nodes.iter().enumerate().filter_map(|(id, node)| match &node.kind {
            NodeKind::Sink(sink) => Some((id, node.name.as_str(), sink)),
            _ => None,
        });
        let letters = (self.nodes.len()..).zip(&self.dead_letters);
        of_nodes.chain(letters.map(|(id, (topic, sink))| (id, topic.as_str(), sink)))
    }
}

impl Node {
    /// Schema of the rows the node hands on; sinks hand on none.
    pub fn schema(&self) -> Option<SchemaRef> {
        match &self.kind {
            NodeKind::Source(source) => Some(source.scan.schema.clone()),
            NodeKind::Operator(spec) => Some(spec.schema().clone()),
            NodeKind::Sink(_) => None,
        }
    }
}
