//! Keeps long joins interruptible: without it a join of tables that are all in memory works on without ever giving way,
//! and neither its time limit nor a cancel is looked at before it is done.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Wraps every node of several inputs, so that its output counts against the task's turn.
#[derive(Debug)]
pub struct Interruptible;

impl PhysicalOptimizerRule for Interruptible {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|node| {
            Ok(match node.children().len() {
                0 | 1 => Transformed::no(node),
                _ => Transformed::yes(Arc::new(CooperativeExec::new(node))),
            })
        })?;
        Ok(wrapped.data)
    }

    fn name(&self) -> &str {
        "Interruptible"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
