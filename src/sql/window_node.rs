//! The logical node behind TUMBLE, HOP, CUMULATE and SESSION.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, ExprSchema as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::time::WindowKind;

/// Appends `window_start`, `window_end`, `window_time` to each row of its input, once per window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowNode {
    /// The rows.
    pub input: Arc<LogicalPlan>,
    /// DESCRIPTOR: the event-time column of the input.
    pub time: Column,
    /// The windows.
    pub kind: WindowKind,
    /// PARTITION BY of SESSION.
    pub partition_by: Vec<Column>,
    /// The input's columns, then the three of the window.
    pub schema: DFSchemaRef,
}

impl Hash for WindowNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.time.hash(state);
        self.kind.hash(state);
        self.partition_by.hash(state);
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        // The schema follows from the rest.
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(&self.time).chain(&self.partition_by).cloned().map(Expr::Column).collect()
    }

    /// A filter on a column of the rows may go below the windows; below sessions only where it drops a session as a whole.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let own = self.schema.fields().len() - 3;
        let may_sink = |at: usize| match self.kind {
            WindowKind::Session { .. } => {
                let (qualifier, field) = self.schema.qualified_field(at);
                at < own
                    && self
                        .partition_by
                        .iter()
                        .any(|c| c.name == *field.name() && (c.relation.is_none() || c.relation.as_ref() == qualifier))
            }
            _ => at < own,
        };
        self.schema.fields().iter().enumerate().filter(|(at, _)| !may_sink(*at)).map(|(_, f)| f.name().clone()).collect()
    }

    /// Needs the columns that are asked for, its time and its partition keys.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let mut needed: BTreeSet<usize> = output_columns.iter().copied().filter(|at| *at < input.fields().len()).collect();
        for column in std::iter::once(&self.time).chain(&self.partition_by) {
            needed.insert(input.maybe_index_of_column(column)?);
        }
        Some(vec![needed.into_iter().collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window: {:?} on {}", self.kind, self.time)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut columns = exprs.into_iter().map(|e| match e {
            Expr::Column(column) => Ok(column),
            other => Err(DataFusionError::Plan(format!("a window is over a column, not over {other}"))),
        });
        let time = columns.next().unwrap_or_else(|| Ok(self.time.clone()))?;
        let partition_by = columns.collect::<Result<_>>()?;
        let input = inputs.into_iter().next().map_or_else(|| self.input.clone(), Arc::new);
        Self::new(input, time, self.kind, partition_by)
    }
}

impl WindowNode {
    /// Builds the node and its schema.
    pub fn new(input: Arc<LogicalPlan>, time: Column, kind: WindowKind, partition_by: Vec<Column>) -> Result<Self> {
        use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
        let time_type = input.schema().field_from_column(&time)?.data_type().clone();
        let zone = match &time_type {
            DataType::Timestamp(_, zone) => zone.clone(),
            other => {
                return Err(DataFusionError::Plan(format!(
                    "DESCRIPTOR({}) is {other}; a window needs a TIMESTAMP or TIMESTAMP_LTZ column",
                    time.name
                )));
            }
        };
        let plain = DataType::Timestamp(TimeUnit::Millisecond, None);
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        fields.push((None, Arc::new(Field::new("window_start", plain.clone(), false))));
        fields.push((None, Arc::new(Field::new("window_end", plain, false))));
        fields.push((None, Arc::new(Field::new("window_time", DataType::Timestamp(TimeUnit::Millisecond, zone), false))));
        let schema = Arc::new(datafusion::common::DFSchema::new_with_metadata(fields, input.schema().as_ref().metadata().clone())?);
        Ok(WindowNode { input, time, kind, partition_by, schema })
    }
}
