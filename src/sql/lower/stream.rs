//! The value of a lowered sub-plan: a node of the graph, and how the plan's columns follow from what the node emits.
//!
//! ```text
//!  node emits      a  b  rt  $change  $seq   physical columns ($change and $seq where they are needed)
//!  window          + window_start window_end window_time      (pending: follow the node's columns by number)
//!  filter          b > 3                                      (pending)
//!  columns         rt, a + 1 AS x, window_start AS s          what the plan calls its columns
//! ```
//! Filters, projections and windows stay pending until an operator needs real columns ([`super::Lowering::settle`]):
//! so chains of them become one operator, and windows that are aggregated away are never written out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::utils::collect_columns;

use super::changes::Changed;
use crate::dataflow::graph::{NodeId, SEQ_COLUMN};
use crate::error::Result;
use crate::time::WindowKind;

/// Number of columns that a window adds to its rows: `window_start`, `window_end`, `window_time`.
pub(super) const WINDOW_COLUMNS: usize = 3;

/// A lowered sub-plan.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Where the rows come from.
    pub node: NodeId,
    /// What the node emits.
    pub schema: SchemaRef,
    /// What must still hold, over the node's columns.
    pub filter: Vec<Arc<dyn PhysicalExpr>>,
    /// Windows that the rows still have to be given.
    pub window: Option<PendingWindow>,
    /// The plan's columns, over the node's columns and those of the pending window.
    pub columns: Vec<StreamColumn>,
    /// The node's column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// What the rows do to those before them; `None` = all are new.
    pub changes: Option<Changed>,
    /// May it go on for ever?
    pub unbounded: bool,
}

/// A column of the plan.
#[derive(Debug, Clone)]
pub(super) struct StreamColumn {
    /// How it follows from the physical columns.
    pub expr: Arc<dyn PhysicalExpr>,
    /// Its name and type in the plan.
    pub field: FieldRef,
    /// What it means for event time.
    pub role: Role,
}

/// What a column means for event time. Passed on by a plain mention of the column, lost by any computation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// The watermark speaks of this column: it is a time attribute.
    pub time: bool,
    /// The column is an edge of this window.
    pub window: Option<(WindowId, Edge)>,
}

/// Names a window: columns with one id belong together.
pub(super) type WindowId = usize;

/// Which column of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// `window_start`
    Start,
    /// `window_end`
    End,
    /// `window_time`
    Time,
}

/// Windows that the rows still have to be given.
#[derive(Debug, Clone)]
pub(super) struct PendingWindow {
    /// Its name.
    pub id: WindowId,
    /// Event-time column of the node.
    pub time: usize,
    /// Which windows.
    pub kind: WindowKind,
    /// PARTITION BY of a session, columns of the node.
    pub partition_by: Vec<usize>,
    /// What must hold once the windows are there, over the node's columns and the window's.
    pub filter: Vec<Arc<dyn PhysicalExpr>>,
}

impl Role {
    /// No meaning for event time.
    pub const VALUE: Role = Role { time: false, window: None };
    /// A time attribute.
    pub const TIME: Role = Role { time: true, window: None };

    /// A column of window `id`; `window_time` is a time attribute as well.
    pub fn of_window(id: WindowId, edge: Edge) -> Role {
        Role { time: edge == Edge::Time, window: Some((id, edge)) }
    }

    /// What is left of it when rows wait for the end of their window: only the times of windows are still ahead of the watermark.
    pub fn after_window(self) -> Role {
        Role { time: self.time && self.window.is_some(), ..self }
    }
}

impl Stream {
    /// The rows of a node as they are: one column of the plan per column of the node (but `$seq`).
    pub fn of_node(node: NodeId, schema: SchemaRef, unbounded: bool) -> Stream {
        let seq = schema.fields().iter().position(|f| f.name() == SEQ_COLUMN);
        let columns = schema.fields().iter().enumerate().filter(|(at, _)| Some(*at) != seq);
        let columns =
            columns.map(|(at, field)| StreamColumn { expr: column(at, field), field: field.clone(), role: Role::VALUE }).collect();
        Stream { node, schema, filter: Vec::new(), window: None, columns, seq, changes: None, unbounded }
    }

    /// An expression over the plan's columns as one over the physical columns.
    pub fn over_physical(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        replace_columns(expr, |at| self.columns.get(at).map(|c| c.expr.clone()))
    }

    /// Does `expr` (over physical columns) read a column of the pending window?
    pub fn reads_window(&self, expr: &Arc<dyn PhysicalExpr>) -> bool {
        self.window.is_some() && collect_columns(expr).iter().any(|c| c.index() >= self.schema.fields().len())
    }

    /// Does the plan's column stand for something worth computing only once?
    pub fn is_computed(&self, at: usize) -> bool {
        self.columns.get(at).is_some_and(|c| plain_column(&c.expr).is_none() && c.expr.downcast_ref::<Literal>().is_none())
    }

    /// The plan's column that is this edge of this window.
    pub fn edge(&self, id: WindowId, edge: Edge) -> Option<usize> {
        self.columns.iter().position(|c| c.role.window == Some((id, edge)))
    }
}

/// The number of the column if `expr` is nothing but a column.
pub(super) fn plain_column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Column `at` of a schema whose field there is `field`.
pub(super) fn column(at: usize, field: &Field) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(field.name(), at))
}

/// Stands for a column that its consumer said it does not read.
pub(super) fn never_read(field: &Field) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Literal::new(ScalarValue::try_from(field.data_type())?)))
}

/// `expr` with each column replaced by what `by` says of its number (`None` = left as it is).
pub(super) fn replace_columns(
    expr: Arc<dyn PhysicalExpr>,
    by: impl Fn(usize) -> Option<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn PhysicalExpr>> {
    // Top down with a jump: what was put in must not be replaced again.
    let replaced = expr.transform_down(|node| {
        Ok(match node.downcast_ref::<Column>().map(|c| by(c.index())) {
            Some(Some(new)) => Transformed::new(new, true, TreeNodeRecursion::Jump),
            _ => Transformed::no(node),
        })
    })?;
    Ok(replaced.data)
}

/// The three columns that a window over a time column of type `time` adds.
pub(super) fn window_fields(time: &DataType) -> [FieldRef; WINDOW_COLUMNS] {
    let zone = match time {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let plain = DataType::Timestamp(TimeUnit::Millisecond, None);
    [
        Arc::new(Field::new("window_start", plain.clone(), false)),
        Arc::new(Field::new("window_end", plain, false)),
        Arc::new(Field::new("window_time", DataType::Timestamp(TimeUnit::Millisecond, zone), false)),
    ]
}
