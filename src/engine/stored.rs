//! Declared tables as `eagre sql` reads them: what their connectors hold now, from the first record to the last.
//!
//! The same reading and decoding as in a pipeline, without watermarks: no row is late here.

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
        let target = Target::View { name: format!("query of {}", def.name), primary_key: Vec::new(), retention_micros: None };
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
        let read = if columns.is_empty() { vec![0] } else { columns };
        let source = Arc::new(self.source(&read)?);
        let places = schema.fields().iter().map(|field| source.scan.schema.index_of(field.name())).collect::<Result<Vec<_>, _>>()?;
        let of_table = |error: Error| error.at(Place::thing(&self.table.def.name));
        let partitions = source.source.partitions().await.map_err(of_table)?;
        if partitions.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let streams = partitions.into_iter().map(|partition| {
            let table = self.table.def.name.clone();
            Arc::new(StoredPartition { table, source: source.clone(), partition, places: places.clone(), schema: schema.clone() })
                as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), streams.collect(), None, None, false, limit)?))
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
