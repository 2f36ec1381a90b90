//! What a query reads: all tables at one cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::table::chunk::{ChunkView, KeyCodec};
use crate::table::spec::TableSpec;

/// All live tables as of one cut. Holding it keeps its rows in memory; it never changes.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The cut.
    pub epoch: u64,
    /// Tables by name.
    pub tables: BTreeMap<String, Arc<TableSnapshot>>,
}

impl Snapshot {
    /// The table of this name, if there is one.
    pub fn table(&self, name: &str) -> Option<&Arc<TableSnapshot>> {
        self.tables.get(name)
    }
}

/// One table as of one cut.
#[derive(Debug)]
pub struct TableSnapshot {
    /// What was declared.
    pub spec: Arc<TableSpec>,
    /// Rises with every publish that changed the table.
    pub version: u64,
    /// The rows in pieces, those of each writer task oldest first.
    pub chunks: Vec<ChunkView>,
    /// Number of live rows.
    pub rows: usize,
    /// Memory that the chunks hold, in bytes.
    pub bytes: usize,
    /// Least and greatest event time in microseconds, where the table has a time column and rows (deleted rows may widen it).
    pub times: Option<(i64, i64)>,
    codec: Option<Arc<KeyCodec>>,
}

impl TableSnapshot {
    /// A snapshot of these chunks.
    pub fn new(spec: Arc<TableSpec>, codec: Option<Arc<KeyCodec>>, version: u64, chunks: Vec<ChunkView>) -> Self {
        let rows = chunks.iter().map(|view| view.live).sum();
        let bytes = chunks.iter().map(|view| view.chunk.bytes).sum();
        let times = chunks.iter().filter_map(|view| view.chunk.times).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        TableSnapshot { spec, version, chunks, rows, bytes, times, codec }
    }

    /// The table's schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.spec.schema
    }

    /// The live rows, chunk by chunk.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().filter(|view| view.live > 0).map(live_rows).collect()
    }

    /// The rows whose primary key is one of `keys` (one array per key column, in key order and of its type), without a
    /// scan: one probe per chunk and key. Empty for a table without primary key.
    pub fn lookup(&self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let mut found = Vec::new();
        if let Some(codec) = &self.codec {
            let encoded = codec.encode(keys)?;
            for row in 0..encoded.num_rows() {
                let key = encoded.row(row);
                let hash = codec.hash(key.data());
                // The newest chunk first: most look-ups ask for what has just changed.
                let spot = self
                    .chunks
                    .iter()
                    .rev()
                    .find_map(|view| Some((view, view.chunk.find(codec, hash, key.data(), view.deleted.as_ref())?)));
                if let Some((view, row)) = spot {
                    found.push(view.chunk.rows.slice(row, 1));
                }
            }
        }
        Ok(arrow::compute::concat_batches(self.schema(), &found)?)
    }

    /// Empty arrays of the key columns' types, as a template for [`TableSnapshot::lookup`].
    pub fn key_types(&self) -> Vec<ArrayRef> {
        self.spec.primary_key.iter().map(|c| new_empty_array(self.schema().field(*c).data_type())).collect()
    }
}

/// The rows of a chunk that are not deleted.
pub fn live_rows(view: &ChunkView) -> Result<RecordBatch> {
    match &view.deleted {
        None => Ok(view.chunk.rows.clone()),
        Some(deleted) => Ok(filter_record_batch(&view.chunk.rows, &BooleanArray::new(!deleted, None))?),
    }
}
