//! Declared tables as `eagre sql` reads them: what their connectors hold now, from the first record to the last.
//!
//! The same reading and decoding as in a pipeline, without watermarks: no row is late here. Of a table whose records change
//! rows (upserts, a changelog) a query sees the rows that hold after the last record.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

use super::live::Registering;
use super::standing::Standing;
use crate::change;
use crate::connector::environment::Environment;
use crate::connector::{Partition, Read, Reader};
use crate::dataflow::graph::{NodeKind, OnError, SourceNode};
use crate::dataflow::scan::scan;
use crate::error::{Error, Kind, Place, Result};
use crate::metrics::Reason;
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::declared::DeclaredTable;
use crate::sql::lower::{self, Connected, Pipeline, Target};
use crate::table::Tables;

/// Live tables, and beside them the tables that a project declares.
#[derive(Debug)]
pub struct StoredSchema {
    live: Arc<dyn SchemaProvider>,
    catalog: Arc<Catalog>,
    environment: Environment,
}

impl StoredSchema {
    /// Shows the tables of `catalog` beside `live`; `environment` is that of the engine.
    pub fn new(live: Arc<dyn SchemaProvider>, catalog: Arc<Catalog>, mut environment: Environment) -> Self {
        environment.run.unbounded = false;
        StoredSchema { live, catalog, environment }
    }

    fn declared(&self, name: &str) -> Option<&Arc<DeclaredTable>> {
        match self.catalog.get(name) {
            Some(Entry::Table(table)) => Some(table),
            _ => None,
        }
    }
}

#[async_trait]
impl SchemaProvider for StoredSchema {
    fn table_names(&self) -> Vec<String> {
        let declared = self.catalog.entries().filter(|(name, entry)| matches!(entry, Entry::Table(_)) && !self.live.table_exist(name));
        declared.map(|(name, _)| name.to_owned()).chain(self.live.table_names()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.declared(name) {
            Some(table) if !self.live.table_exist(name) => {
                Ok(Some(Arc::new(StoredTable { table: table.clone(), environment: self.environment.clone() })))
            }
            _ => self.live.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.live.table_exist(name) || self.declared(name).is_some()
    }
}

/// One declared table.
#[derive(Debug)]
struct StoredTable {
    table: Arc<DeclaredTable>,
    environment: Environment,
}

impl StoredTable {
    /// The source that reads at least these columns.
    fn source(&self, columns: &[usize]) -> Result<SourceNode> {
        let def = &self.table.def;
        let plan = LogicalPlanBuilder::scan(def.name.as_str(), self.table.clone(), Some(columns.to_vec()))?.build()?;
        // Nothing is written: this target takes whatever the table does.
        let target = Target::Printed { name: format!("query of {}", def.name) };
        let nowhere = Tables::default();
        let outside = Connected { environment: &self.environment, live: &Registering { tables: &nowhere } };
        let graph = lower::lower(&[Pipeline { target, plan, place: def.place.clone() }], &outside, lower::Options { single_task: true })?;
        let sources = graph.nodes.into_iter().filter_map(|node| match node.kind {
            NodeKind::Source(source) => Some(source),
            _ => None,
        });
        let source = sources.last().ok_or_else(|| Error::bug(format!("table '{}' was lowered to no source", def.name)))?;
        if !source.source.bounded() {
            return Err(Error::input(format!(
                "table '{}' ({}) never ends: a query reads what is stored, not what is still to come",
                def.name,
                def.options.get("connector").map_or("without a connector", |connector| connector.value.as_str())
            )));
        }
        Ok(source)
    }

    /// The columns that tell rows apart where records change them: the key, or all that records hold.
    fn compared(&self) -> Result<Vec<usize>> {
        let (key, schema) = (&self.table.def.primary_key, &self.table.schema);
        if key.is_empty() {
            return Ok(lower::physical_columns(&self.table).iter().map(|field| schema.index_of(field.name())).collect::<Result<_, _>>()?);
        }
        Ok(key.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?)
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.table.schema.fields().len()).collect());
        let schema = Arc::new(self.table.schema.project(&columns)?);
        // A count reads no column; records are told apart by any of them.
        let read = if columns.is_empty() { vec![0] } else { columns.clone() };
        let mut source = Arc::new(self.source(&read)?);
        let changes = change::column_of(&source.scan.schema).is_some();
        let compared = if changes { self.compared()? } else { Vec::new() };
        if compared.iter().any(|at| !read.contains(at)) {
            source =
                Arc::new(self.source(&read.iter().chain(&compared).copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>())?);
        }
        let of_table = |error: Error| error.at(Place::thing(&self.table.def.name));
        let place = |name: &str| Ok::<_, Error>(source.scan.schema.index_of(name)?);
        let partitions = source.source.partitions().await.map_err(of_table)?;
        if partitions.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        // What is read of a record, and which of it is shown.
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (rows, places) = match changes {
            false => (schema.clone(), names.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?),
            true => (source.scan.schema.clone(), (0..source.scan.schema.fields().len()).collect()),
        };
        let streams = partitions.into_iter().map(|partition| {
            let table = self.table.def.name.clone();
            StoredPartition { table, source: source.clone(), partition, places: places.clone(), schema: rows.clone() }
        });
        let streams: Vec<Arc<dyn PartitionStream>> = match changes {
            false => streams.map(|stream| Arc::new(stream) as Arc<dyn PartitionStream>).collect(),
            true => {
                let key = compared.iter().map(|at| place(self.table.schema.field(*at).name())).collect::<Result<Vec<_>>>()?;
                let shown = names.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?;
                let by_key = !self.table.def.primary_key.is_empty();
                vec![Arc::new(StandingRows { partitions: streams.collect(), key: by_key.then_some(key), shown, schema: schema.clone() })]
            }
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, None, false, limit)?))
    }
}

/// The rows of all partitions that hold after their last records.
#[derive(Debug, Clone)]
struct StandingRows {
    partitions: Vec<StoredPartition>,
    /// Columns of the key; none: rows are told apart by all that they hold.
    key: Option<Vec<usize>>,
    /// The columns that are asked for.
    shown: Vec<usize>,
    schema: SchemaRef,
}

impl StandingRows {
    async fn rows(self) -> Result<RecordBatch> {
        let Some(StoredPartition { schema, .. }) = self.partitions.first() else { return Ok(RecordBatch::new_empty(self.schema)) };
        let plain = (0..schema.fields().len()).filter(|at| Some(*at) != change::column_of(schema)).collect::<Vec<_>>();
        let (changes, plain) = (schema.clone(), Arc::new(schema.project(&plain)?));
        let mut standing = Standing::new(plain, self.key)?;
        for partition in &self.partitions {
            let mut reader = None;
            while let Some(batch) = partition.next(&mut reader).await.map_err(|error| error.at(Place::thing(&partition.table)))? {
                standing.take(&batch)?;
            }
        }
        let rows = standing.rows()?;
        let columns = self.shown.iter().map(|at| rows.column_by_name(changes.field(*at).name()).cloned());
        let columns = columns.collect::<Option<Vec<_>>>().ok_or_else(|| Error::bug("a column that was read is gone"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema, columns, &options)?)
    }
}

impl PartitionStream for StandingRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.clone().rows();
        let rows = stream::once(async move { Ok(rows.await?) });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

/// One partition of a stored table.
#[derive(Debug, Clone)]
struct StoredPartition {
    table: String,
    source: Arc<SourceNode>,
    partition: Partition,
    /// Where the wanted columns stand in what the scan makes.
    places: Vec<usize>,
    schema: SchemaRef,
}

impl StoredPartition {
    /// The next rows; `None` at the end. The first call opens the reader.
    async fn next(&self, reader: &mut Option<Box<dyn Reader>>) -> Result<Option<RecordBatch>> {
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(self.source.source.open(&self.partition, None).await?),
        };
        loop {
            match reader.read().await? {
                Read::End => return Ok(None),
                Read::Idle | Read::Away | Read::Watermark(_) => {}
                Read::Chunk(chunk) => {
                    // Neither is any row too far in the future: that is judged when it arrives.
                    let scanned = scan(&self.source.scan, None, self.partition.index, &chunk, 0)?;
                    // A query answers who asks it: what its expressions fail on is told, not left out.
                    let fails = |reason| reason == Reason::Expression || self.source.on_error == OnError::Fail;
                    if let Some(refused) = scanned.refused.iter().find(|refused| fails(refused.reason)) {
                        let place = |offset| Place::record(&self.table, self.partition.index, offset);
                        let place = refused.offset.map_or_else(|| Place::thing(&self.table), place);
                        return Err(Error::new(Kind::Row, refused.error.clone()).at(place));
                    }
                    if let Some(refused) = scanned.refused.first() {
                        tracing::debug!("{}: {} records left out; the first: {}", self.table, scanned.refused.len(), refused.error);
                    }
                    let columns = self.places.iter().map(|place| scanned.rows.column(*place).clone()).collect();
                    let options = RecordBatchOptions::new().with_row_count(Some(scanned.rows.num_rows()));
                    return Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?));
                }
            }
        }
    }
}

impl PartitionStream for StoredPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = stream::try_unfold((self.clone(), None), |(partition, mut reader)| async move {
            let batch = partition.next(&mut reader).await.map_err(|error| error.at(Place::thing(&partition.table)))?;
            Ok(batch.map(|batch| (batch, (partition, reader))))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
