//! MATCH_RECOGNIZE over bounded rows: they come sorted by time, the pattern operator of pipelines looks at them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use arrow::compute::SortOptions;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, InputDistributionRequirements, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt as _;

use crate::error::Result;
use crate::operator::event_time::micros;
use crate::operator::pattern::PatternSpec;
use crate::operator::{Operator, OperatorSpec as _, Output};
use crate::sql::recognize::{RecognizeNode, compile};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Plans [`RecognizeNode`]s as [`RecognizeExec`]s.
pub(super) struct RecognizePlanner;

#[async_trait]
impl ExtensionPlanner for RecognizePlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<RecognizeNode>(), inputs) else { return Ok(None) };
        let spec = compile::spec(node, input.schema(), None)?;
        Ok(Some(Arc::new(RecognizeExec::new(input.clone(), Arc::new(spec)))))
    }
}

/// The rows that matches emit. Rows without a time are in none.
#[derive(Debug, Clone)]
pub(super) struct RecognizeExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<PatternSpec>,
    properties: Arc<PlanProperties>,
}

impl RecognizeExec {
    fn new(input: Arc<dyn ExecutionPlan>, spec: Arc<PatternSpec>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.schema.clone()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        RecognizeExec { input, spec, properties: Arc::new(properties) }
    }

    fn column(&self, at: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.spec.input.field(at).name(), at))
    }
}

impl DisplayAs for RecognizeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RecognizeExec: {}", self.spec.describe())
    }
}

impl ExecutionPlan for RecognizeExec {
    fn name(&self) -> &str {
        "RecognizeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys = &self.spec.keys;
        InputDistributionRequirements::new(vec![if keys.is_empty() {
            Distribution::SinglePartition
        } else {
            Distribution::KeyPartitioned(keys.iter().map(|at| self.column(*at)).collect())
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let time = PhysicalSortExpr::new(self.column(self.spec.time), SortOptions::default());
        let then_by = self.spec.then_by.iter().map(|tie| PhysicalSortExpr::new(self.column(tie.column), tie.options));
        vec![LexOrdering::new(std::iter::once(time).chain(then_by)).map(OrderingRequirements::from)]
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>) -> DfResult<TreeNodeRecursion> {
        for at in self.spec.keys.iter().chain([&self.spec.time]) {
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
        let input = children.pop().ok_or_else(|| DataFusionError::Internal("RecognizeExec has one input".to_owned()))?;
        Ok(Arc::new(RecognizeExec::new(input, self.spec.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let mut matching = Matching { operator: self.spec.open(&mut StateHandles::empty(0, 1))?, time: self.spec.time };
        let ended = futures::stream::once(async { None });
        let rows = input.map(Some).chain(ended).flat_map(move |rows| {
            let matched = rows.transpose().and_then(|rows| Ok(matching.on_rows(rows)?));
            futures::stream::iter(match matched {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.spec.schema.clone(), rows)))
    }
}

/// The matches of one partition in the making.
struct Matching {
    operator: Box<dyn Operator>,
    time: usize,
}

impl Matching {
    /// Rows in the order of their time; `None`: all are there.
    fn on_rows(&mut self, rows: Option<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let mut out = Output::default();
        match rows {
            None => {
                self.operator.on_watermark(Watermark::MAX, &mut out)?;
            }
            Some(rows) => {
                let times = micros(rows.column(self.time))?;
                // Others of the last time may be in the next batch.
                let reached = times.len().checked_sub(1).filter(|last| times.is_valid(*last)).map(|last| times.value(last));
                self.operator.on_batch(0, rows, &mut out)?;
                if let Some(reached) = reached {
                    self.operator.on_watermark(Watermark(reached), &mut out)?;
                }
            }
        }
        Ok(out.take_batches())
    }
}
