//! The plan node that reads a table snapshot: filter before projection, chunks left out by event time, deletions masked.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions};

/// Rows that one partition of a scan reads before a second partition is worth its while.
const ROWS_PER_PARTITION: usize = 4 * crate::table::CHUNK_ROWS;

/// Rows and which of them are deleted.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The rows, in the table's schema.
    pub rows: RecordBatch,
    /// Set bit = deleted.
    pub deleted: Option<BooleanBuffer>,
}

/// How the pieces were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All chunks that may hold rows of the asked-for event times.
    Scan,
    /// By primary key.
    Lookup,
}

/// Reads pieces of a table.
#[derive(Debug)]
pub struct ScanExec {
    table: String,
    access: Access,
    /// Pieces per partition.
    partitions: Vec<Vec<Piece>>,
    /// Columns of the table that leave.
    projection: Vec<usize>,
    /// Over the whole schema of the table.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Stop after this many rows.
    fetch: Option<usize>,
    /// Of the projected columns; exact figures only where nothing is filtered.
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What a [`ScanExec`] is made of.
#[derive(Debug)]
pub struct ScanParts {
    /// The table's name.
    pub table: String,
    /// The table's schema.
    pub schema: SchemaRef,
    /// How the pieces were found.
    pub access: Access,
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
    /// Columns that leave.
    pub projection: Vec<usize>,
    /// Condition over the table's schema.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Most rows wanted.
    pub fetch: Option<usize>,
    /// Most partitions wanted.
    pub partitions: usize,
    /// Known figures per column of the table.
    pub columns: Vec<ColumnStatistics>,
}

impl ScanExec {
    /// The node; pieces are dealt to partitions in order.
    pub fn new(parts: ScanParts) -> Result<Self> {
        let schema = Arc::new(parts.schema.project(&parts.projection)?);
        let rows: usize = parts.pieces.iter().map(live).sum();
        let wanted = rows.div_ceil(ROWS_PER_PARTITION).clamp(1, parts.partitions.max(1));
        let mut partitions: Vec<Vec<Piece>> = vec![Vec::new(); wanted];
        let mut before = 0;
        for piece in parts.pieces {
            let slot = (before * wanted / rows.max(1)).min(wanted - 1);
            before += live(&piece);
            partitions[slot].push(piece);
        }
        let exact = parts.filter.is_none() && parts.fetch.is_none();
        let mut statistics = Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: parts.projection.iter().map(|c| parts.columns.get(*c).cloned().unwrap_or_default()).collect(),
        };
        if !exact {
            statistics = statistics.to_inexact();
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(wanted),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(ScanExec {
            table: parts.table,
            access: parts.access,
            partitions,
            projection: parts.projection,
            filter: parts.filter,
            fetch: parts.fetch,
            statistics: Arc::new(statistics),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

fn live(piece: &Piece) -> usize {
    piece.rows.num_rows() - piece.deleted.as_ref().map_or(0, BooleanBuffer::count_set_bits)
}

/// The wanted rows and columns of a slice of a piece.
fn pick(piece: &Piece, from: usize, rows: usize, projection: &[usize], filter: Option<&Arc<dyn PhysicalExpr>>) -> Result<RecordBatch> {
    let batch = piece.rows.slice(from, rows);
    let alive = piece.deleted.as_ref().map(|deleted| BooleanArray::new(!&deleted.slice(from, rows), None));
    let wanted = match filter {
        None => alive,
        Some(filter) => {
            let mask = filter.evaluate(&batch)?.into_array(rows)?;
            let mask = mask.as_boolean();
            let mask = if mask.nulls().is_some() { prep_null_mask_filter(mask) } else { mask.clone() };
            Some(match alive {
                None => mask,
                Some(alive) => and(&mask, &alive)?,
            })
        }
    };
    let batch = batch.project(projection)?;
    Ok(match wanted {
        None => batch,
        Some(wanted) => filter_record_batch(&batch, &wanted)?,
    })
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.properties.eq_properties.schema().fields().iter().map(|f| f.name().as_str()).collect();
        let access = match self.access {
            Access::Scan => "scan",
            Access::Lookup => "look-up",
        };
        let pieces: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "LiveTable: {} {access}, chunks={pieces}, columns=[{}]", self.table, columns.join(", "))?;
        if let Some(filter) = &self.filter {
            write!(f, ", filter={filter}")?;
        }
        self.fetch.map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "LiveTable"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.filter.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
    }

    fn replace_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>, _: ReplaceChildrenOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let step = context.session_config().batch_size().max(1);
        let pieces = self.partitions.get(partition).cloned().unwrap_or_default();
        let (projection, filter) = (self.projection.clone(), self.filter.clone());
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let read = MetricBuilder::new(&self.metrics).counter("rows_read", partition);
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let slices = pieces.into_iter().flat_map(move |piece| {
            let rows = piece.rows.num_rows();
            (0..rows).step_by(step).map(move |from| (piece.clone(), from, step.min(rows - from)))
        });
        let batches = slices
            .map(move |(piece, from, rows)| {
                let _timer = baseline.elapsed_compute().timer();
                if left == 0 {
                    return Ok(None);
                }
                read.add(rows);
                let mut batch = pick(&piece, from, rows, &projection, filter.as_ref())?;
                if batch.num_rows() > left {
                    batch = batch.slice(0, left);
                }
                left -= batch.num_rows();
                Ok(Some(batch.record_output(&baseline)))
            })
            .take_while(|batch| !matches!(batch, Ok(None)))
            .filter_map(Result::transpose)
            .filter(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0));
        let schema = self.properties.eq_properties.schema().clone();
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &datafusion::physical_plan::statistics::StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(match args.partition() {
            None => self.statistics.clone(),
            Some(partition) => {
                let rows = self.partitions.get(partition).map_or(0, |pieces| pieces.iter().map(live).sum());
                let mut statistics = self.statistics.as_ref().clone().to_inexact();
                statistics.num_rows = Precision::Inexact(rows);
                Arc::new(statistics)
            }
        })
    }
}
