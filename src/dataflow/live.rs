//! Live tables as sinks: rows are staged at every cut and shown when all tasks have passed it; what they hold is state.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::change::Changes;
use crate::connector::{Prepared, Sink, Writer};
use crate::dataflow::coordinator::OnCut;
use crate::dataflow::dead_letter::DEAD_LETTERS;
use crate::error::Result;
use crate::state::StateHandles;
use crate::table::{LiveTable, TableSpec, TableWriter, Tables};
use crate::time::MICROS_PER_SECOND;

/// Dead letters are kept this long …
const DEAD_LETTERS_KEPT_MICROS: i64 = 7 * 24 * 3600 * MICROS_PER_SECOND;
/// … and at most this much of them per task.
const DEAD_LETTERS_MAX_BYTES: usize = 64 << 20;

/// A live table as a sink.
#[derive(Debug)]
pub struct LiveSink {
    table: Arc<LiveTable>,
}

impl LiveSink {
    /// The sink of a new live table.
    pub fn create(tables: &Tables, spec: TableSpec) -> Result<LiveSink> {
        Ok(LiveSink { table: tables.create(spec)? })
    }

    /// The built-in table `dead_letters`.
    pub fn dead_letters(tables: &Tables, schema: SchemaRef) -> Result<LiveSink> {
        Self::create(
            tables,
            TableSpec {
                retention_micros: Some(DEAD_LETTERS_KEPT_MICROS),
                time_column: Some(0),
                max_bytes: Some(DEAD_LETTERS_MAX_BYTES),
                ..TableSpec::append(DEAD_LETTERS, schema)
            },
        )
    }
}

/// What publishes the tables at a cut.
pub fn publisher(tables: &Tables) -> OnCut {
    let tables = tables.clone();
    Arc::new(move |epoch| {
        tables.publish(epoch);
        Ok(())
    })
}

impl Sink for LiveSink {
    fn describe(&self) -> String {
        let spec = self.table.spec();
        let key: Vec<&str> = spec.primary_key.iter().map(|k| spec.schema.field(*k).name().as_str()).collect();
        match key.is_empty() {
            true => format!("live table {}, appended", spec.name),
            false => format!("live table {}, upserted by {}", spec.name, key.join(", ")),
        }
    }

    fn identity(&self) -> String {
        let spec = self.table.spec();
        // Rows of other columns are another table's.
        let columns: Vec<String> = spec.schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        format!("table {} key {:?} columns [{}]", spec.name, spec.primary_key, columns.join(", "))
    }

    fn takes(&self) -> Changes {
        if self.table.spec().primary_key.is_empty() { Changes::Inserts } else { Changes::Upserts }
    }

    fn key_columns(&self) -> Option<Vec<usize>> {
        let key = &self.table.spec().primary_key;
        (!key.is_empty()).then(|| key.clone())
    }

    /// What is restored comes with the writers' state; what an earlier run in this process left goes either way.
    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        self.table.reset();
        Ok(())
    }

    fn open(&self, task: usize, state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(LiveWriter(self.table.writer(task, state)?)))
    }

    /// Nothing to do: a table is shown at cuts and kept as state.
    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }
}

struct LiveWriter(TableWriter);

impl Writer for LiveWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.write(batch)
    }

    fn cut(&mut self, cut: u64) -> Result<()> {
        self.0.cut(cut)
    }

    fn shows_at_cuts(&self) -> bool {
        true
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        self.0.checkpoint()?;
        Ok(None)
    }
}
