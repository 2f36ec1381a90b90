//! Windows materialised over bounded rows.
//!
//! TUMBLE, HOP and CUMULATE give each row its windows by themselves, with the operator that pipelines use. For SESSION
//! the rows come sorted by key and time, so a session is a run of them:
//!
//! ```text
//! key  a  a  a  a  b        gap 5
//! time 1  3  9  30 2
//!      [1 ...  14)[30 35)[2 7)      a run ends where the key changes or the gap is longer
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, InputDistributionRequirements, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt as _;

use crate::operator::event_time::{micros, window_columns};
use crate::operator::window_assign::WindowAssignSpec;
use crate::operator::{Operator, OperatorSpec as _, Output};
use crate::sql::window_node::WindowNode;
use crate::state::StateHandles;
use crate::time::{Window, WindowKind};

/// Plans [`WindowNode`]s as [`WindowExec`]s.
pub(super) struct WindowPlanner;

#[async_trait]
impl ExtensionPlanner for WindowPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<WindowNode>(), inputs) else { return Ok(None) };
        let columns = node.input.schema();
        let time = columns.index_of_column(&node.time)?;
        let keys = node.partition_by.iter().map(|key| columns.index_of_column(key)).collect::<DfResult<_>>()?;
        let schema = Arc::new(node.schema.as_arrow().clone());
        Ok(Some(Arc::new(WindowExec::new(input.clone(), time, keys, node.kind, schema))))
    }
}

/// Appends `window_start`, `window_end`, `window_time` to each row, once per window. Rows without a time have no window.
#[derive(Debug, Clone)]
pub(super) struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    time: usize,
    keys: Vec<usize>,
    kind: WindowKind,
    properties: Arc<PlanProperties>,
}

impl WindowExec {
    fn new(input: Arc<dyn ExecutionPlan>, time: usize, keys: Vec<usize>, kind: WindowKind, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_expr::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        WindowExec { input, time, keys, kind, properties: Arc::new(properties) }
    }

    fn column(&self, at: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.input.schema().field(at).name(), at))
    }

    fn gap(&self) -> Option<i64> {
        match self.kind {
            WindowKind::Session { gap } => Some(gap),
            _ => None,
        }
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowExec: {:?} on {}", self.kind, self.column(self.time))
    }
}

impl ExecutionPlan for WindowExec {
    fn name(&self) -> &str {
        "WindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let wanted = match self.gap() {
            None => Distribution::UnspecifiedDistribution,
            Some(_) if self.keys.is_empty() => Distribution::SinglePartition,
            Some(_) => Distribution::KeyPartitioned(self.keys.iter().map(|at| self.column(*at)).collect()),
        };
        InputDistributionRequirements::new(vec![wanted])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let sorted = |at: &usize| PhysicalSortExpr::new(self.column(*at), SortOptions::default());
        let ordering = self.gap().and_then(|_| LexOrdering::new(self.keys.iter().chain([&self.time]).map(sorted)));
        vec![ordering.map(OrderingRequirements::from)]
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>) -> DfResult<TreeNodeRecursion> {
        for at in self.keys.iter().chain([&self.time]) {
            if f(&self.column(*at))? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| DataFusionError::Internal("WindowExec has one input".to_owned()))?;
        Ok(Arc::new(WindowExec::new(input, self.time, self.keys.clone(), self.kind, self.schema())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let mut windows = match self.gap() {
            Some(gap) => Windows::Session(Sessions::new(gap, self, schema.clone())?),
            None => {
                let spec = WindowAssignSpec { time: self.time, kind: self.kind, schema: schema.clone() };
                Windows::Assign(spec.open(&mut StateHandles::empty(0, 1))?)
            }
        };
        let ended = futures::stream::once(async { None });
        let rows = input.map(Some).chain(ended).flat_map(move |rows| {
            let windowed = match rows {
                Some(Ok(batch)) => windows.on_rows(batch),
                Some(Err(error)) => Err(error),
                None => windows.on_end(),
            };
            futures::stream::iter(match windowed {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The windows of one partition in the making.
enum Windows {
    Assign(Box<dyn Operator>),
    Session(Sessions),
}

impl Windows {
    fn on_rows(&mut self, rows: RecordBatch) -> DfResult<Vec<RecordBatch>> {
        match self {
            Windows::Assign(operator) => {
                let mut out = Output::default();
                operator.on_batch(0, rows, &mut out)?;
                Ok(out.take_batches())
            }
            Windows::Session(sessions) => sessions.on_rows(rows),
        }
    }

    fn on_end(&mut self) -> DfResult<Vec<RecordBatch>> {
        match self {
            Windows::Assign(_) => Ok(Vec::new()),
            Windows::Session(sessions) => sessions.close(),
        }
    }
}

/// Runs of rows that come sorted by key and time.
struct Sessions {
    gap: i64,
    time: usize,
    keys: Vec<usize>,
    /// Makes keys comparable across batches.
    converter: RowConverter,
    schema: SchemaRef,
    /// The run that may go on: its key (none without PARTITION BY) and its window so far.
    open: Option<(Option<OwnedRow>, Window)>,
    /// Its rows of earlier batches.
    held: Vec<RecordBatch>,
}

impl Sessions {
    fn new(gap: i64, exec: &WindowExec, schema: SchemaRef) -> DfResult<Self> {
        let fields = exec.keys.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        Ok(Sessions {
            gap,
            time: exec.time,
            keys: exec.keys.clone(),
            converter: RowConverter::new(fields)?,
            schema,
            open: None,
            held: Vec::new(),
        })
    }

    fn on_rows(&mut self, rows: RecordBatch) -> DfResult<Vec<RecordBatch>> {
        let times = micros(rows.column(self.time))?;
        let (rows, times) = without_null_times(rows, times)?;
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = self.keys.iter().map(|at| rows.column(*at).clone()).collect();
        let keys = if keys.is_empty() { None } else { Some(self.converter.convert_columns(&keys)?) };
        let key_at = |at: usize| keys.as_ref().map(|keys| keys.row(at));
        let mut done = Vec::new();
        // Rows before `begin` have their final window, one per row in `windows`.
        let (mut begin, mut windows) = (0, Vec::with_capacity(rows.num_rows()));
        for (at, ts) in times.values().iter().copied().enumerate() {
            let goes_on = self.open.as_ref().is_some_and(|(key, window)| key_at(at) == key.as_ref().map(OwnedRow::row) && ts <= window.end);
            if goes_on {
                if let Some((_, window)) = &mut self.open {
                    window.end = window.end.max(ts.saturating_add(self.gap));
                }
                continue;
            }
            if let Some((_, window)) = &self.open {
                for held in self.held.drain(..) {
                    done.push(with_windows(&held, &vec![*window; held.num_rows()], &self.schema)?);
                }
                windows.resize(at, *window);
            }
            begin = at;
            self.open = Some((key_at(at).map(|key| key.owned()), Window { start: ts, end: ts.saturating_add(self.gap) }));
        }
        if begin > 0 {
            done.push(with_windows(&rows.slice(0, begin), &windows[..begin], &self.schema)?);
        }
        self.held.push(rows.slice(begin, rows.num_rows() - begin));
        Ok(done)
    }

    fn close(&mut self) -> DfResult<Vec<RecordBatch>> {
        let Some((_, window)) = self.open.take() else { return Ok(Vec::new()) };
        let schema = self.schema.clone();
        self.held.drain(..).map(|held| with_windows(&held, &vec![window; held.num_rows()], &schema)).collect()
    }
}

fn without_null_times(rows: RecordBatch, times: Int64Array) -> DfResult<(RecordBatch, Int64Array)> {
    if times.null_count() == 0 {
        return Ok((rows, times));
    }
    let present = arrow::compute::is_not_null(&times)?;
    let rows = arrow::compute::filter_record_batch(&rows, &present)?;
    Ok((rows, times.iter().flatten().collect()))
}

fn with_windows(rows: &RecordBatch, windows: &[Window], schema: &SchemaRef) -> DfResult<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    columns.extend(window_columns(windows, schema)?);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
