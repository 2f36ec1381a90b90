//! A project cut off from the world: every source is a feed, every sink keeps its rows in memory. For fixtures, and for
//! programs that test what they embed.
//!
//! ```text
//!  Feed ─▶ real decoder ─▶ real pipelines and rules ─▶ live tables, rows kept per table, dead letters
//! ```
//! Always holds: no connector touches anything outside; formats, keys and changes are those that the tables declare.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use parking_lot::Mutex;

use super::standing::Standing;
use crate::change::Changes;
use crate::connector::table::{ConfiguredSource, TableRequest};
use crate::connector::{Prepared, Sink, Writer, feed};
use crate::dataflow::graph::{Graph, NodeKind, SourceNode};
use crate::error::{Error, Result};
use crate::format::{FormatConfig, KeyRead};
use crate::sql::lower::{Connected, LiveTable, Outside};
use crate::state::StateHandles;

/// What stands in for the world. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Isolated(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By table: how what is fed is read.
    sources: BTreeMap<String, Fed>,
    /// By table that is fed with records as its connector reads them: how many partitions it has.
    partitions: BTreeMap<String, u32>,
    /// By table: what was written to it.
    sinks: BTreeMap<String, Kept>,
    /// Dead letters that went to topics.
    letters: Vec<RecordBatch>,
}

/// How the records of a fed table are read.
#[derive(Debug, Clone)]
pub struct Fed {
    /// What the values are.
    pub format: FormatConfig,
    /// What the keys tell, where they are read.
    pub key: Option<KeyRead>,
    /// Metadata that only the table's connector knows: a record brings all of it.
    pub metadata: &'static [(&'static str, DataType)],
}

/// What was written to a table.
#[derive(Debug)]
struct Kept {
    schema: SchemaRef,
    /// Columns by which later rows replace earlier ones.
    key: Option<Vec<usize>>,
    /// As they came, with what they change.
    batches: Vec<RecordBatch>,
}

impl Isolated {
    /// How a table of the pipelines is read; `None`: none of them reads it.
    pub fn source(&self, table: &str) -> Option<Fed> {
        self.0.lock().sources.get(table).cloned()
    }

    /// Lets a table be fed with records as its connector reads them, of so many partitions. To be said before the project
    /// is built.
    pub fn set_partitions(&self, table: &str, count: u32) {
        self.0.lock().partitions.insert(table.to_owned(), count);
    }

    /// The tables that pipelines read.
    pub fn sources(&self) -> Vec<String> {
        self.0.lock().sources.keys().cloned().collect()
    }

    /// The columns of a table that pipelines write; `None`: none of them does.
    pub fn written(&self, table: &str) -> Option<SchemaRef> {
        self.0.lock().sinks.get(table).map(|kept| kept.schema.clone())
    }

    /// What was written to a table so far, batch by batch as it came; changes are in a last column.
    pub fn arrived(&self, table: &str) -> Vec<RecordBatch> {
        self.0.lock().sinks.get(table).map_or_else(Vec::new, |kept| kept.batches.clone())
    }

    /// The rows of a written table that hold now: what was deleted or replaced is gone.
    pub fn rows(&self, table: &str) -> Result<Option<RecordBatch>> {
        match self.0.lock().sinks.get(table) {
            Some(kept) => kept.standing().map(Some),
            None => Ok(None),
        }
    }

    /// Dead letters that went to topics, in the columns of the table `dead_letters`.
    pub fn letters(&self) -> Vec<RecordBatch> {
        self.0.lock().letters.clone()
    }
}

impl Kept {
    fn standing(&self) -> Result<RecordBatch> {
        let mut standing = Standing::new(self.schema.clone(), self.key.clone())?;
        self.batches.iter().try_for_each(|batch| standing.take(batch))?;
        standing.rows()
    }
}

/// The world as isolated pipelines find it.
pub(super) struct Inside<'a> {
    /// What the tables would be connected to: described, never touched.
    pub connected: Connected<'a>,
    /// What stands in for it.
    pub isolated: &'a Isolated,
}

impl Outside for Inside<'_> {
    fn source(&self, request: TableRequest<'_>) -> Result<ConfiguredSource> {
        let table = request.table.to_owned();
        let given = self.isolated.0.lock().partitions.get(&table).copied();
        let mut configured = feed::in_place_of(self.connected.source(request)?, &table, given.unwrap_or(1), self.connected.environment);
        match &mut configured.format {
            // What is fed are records as they were read.
            _ if given.is_some() => {}
            // Records have no line of names before them.
            FormatConfig::Csv(csv) => csv.header = false,
            // Its schemas are in a registry, which is outside.
            format @ FormatConfig::AvroConfluent(_) => *format = FormatConfig::Rows,
            _ => {}
        }
        let fed = Fed { format: configured.format.clone(), key: configured.key.clone(), metadata: configured.metadata };
        self.isolated.0.lock().sources.insert(table, fed);
        Ok(configured)
    }

    fn sink(&self, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        let table = request.table.to_owned();
        let schema: SchemaRef = Arc::new(Schema::new(request.columns.to_vec()));
        let real = self.connected.sink(request)?;
        let kept = Kept { schema, key: real.key_columns(), batches: Vec::new() };
        self.isolated.0.lock().sinks.insert(table.clone(), kept);
        Ok(Arc::new(KeptSink { place: Place::Table(table), real, isolated: self.isolated.clone() }))
    }

    fn dead_letters(&self, name: &str, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        let real = self.connected.dead_letters(name, request)?;
        Ok(Arc::new(KeptSink { place: Place::Letters, real, isolated: self.isolated.clone() }))
    }

    /// Rows are kept however old they are: what a test expects does not depend on when they are cleared away.
    fn live_table(&self, table: &LiveTable) -> Result<Arc<dyn Sink>> {
        self.connected.live_table(&LiveTable { retention_micros: None, ..table.clone() })
    }
}

/// The graph with sources that neither fall idle nor follow the clock: what a run shows depends on what is fed alone.
pub(super) fn without_clock(mut graph: Graph) -> Graph {
    for node in &mut graph.nodes {
        if let NodeKind::Source(SourceNode { time: Some(time), .. }) = &mut node.kind {
            time.idle_timeout_micros = None;
            time.advance_by_wall_clock = false;
            time.max_future_skew_micros = None;
        }
    }
    graph
}

/// Keeps rows in memory, and is otherwise as the sink in whose place it stands.
#[derive(Debug)]
struct KeptSink {
    place: Place,
    real: Arc<dyn Sink>,
    isolated: Isolated,
}

#[derive(Debug, Clone)]
enum Place {
    Table(String),
    Letters,
}

impl Sink for KeptSink {
    fn describe(&self) -> String {
        self.real.describe()
    }

    fn identity(&self) -> String {
        self.real.identity()
    }

    fn start(&self, _: Option<&[Prepared]>) -> Result<()> {
        Ok(())
    }

    fn open(&self, _: usize, _: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(KeptWriter { place: self.place.clone(), isolated: self.isolated.clone() }))
    }

    fn commit(&self, _: u64, _: &[Prepared]) -> Result<()> {
        Ok(())
    }

    fn key_columns(&self) -> Option<Vec<usize>> {
        self.real.key_columns()
    }

    fn takes(&self) -> Changes {
        self.real.takes()
    }
}

struct KeptWriter {
    place: Place,
    isolated: Isolated,
}

impl Writer for KeptWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut inner = self.isolated.0.lock();
        let batches = match &self.place {
            Place::Letters => &mut inner.letters,
            Place::Table(table) => match inner.sinks.get_mut(table) {
                Some(kept) => &mut kept.batches,
                None => return Err(Error::bug(format!("nobody keeps the rows of '{table}'"))),
            },
        };
        batches.push(batch.clone());
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<Option<Prepared>> {
        Ok(None)
    }
}
