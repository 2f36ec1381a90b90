//! Pipelines without SQL text: a fluent form over DataFusion's `Expr`, lowered to the same plan as the text would be.
//!
//! ```text
//!  builder.stream("orders")?.filter(…)?.window(Tumble::of(size).on("ts"))?.group_by([…]).aggregate([…])?
//!  builder.stream("a")?.join(builder.stream("b")?, [("k", "k")]).within(("ts", "ts"), lower, upper)?
//! ```
//! Columns are named with [`column()`], which keeps the case of letters; after a join, of either side by `table.column`.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};

use crate::error::{Error, Result, did_you_mean};
use crate::sql::window_node::WindowNode;
use crate::time::WindowKind;

/// The column of this name, as written: `amount`, or `orders.amount`.
pub fn column(name: &str) -> Expr {
    Expr::Column(reference(name))
}

fn reference(name: &str) -> Column {
    match name.split_once('.') {
        Some((table, name)) => Column::new(Some(table), name),
        None => Column::new_unqualified(name),
    }
}

/// Rows on their way.
#[derive(Debug, Clone)]
pub struct Stream {
    pub(super) plan: LogicalPlan,
}

/// A windowing still without its event-time column: `Tumble::of(…)`, `Hop::of(…)`, ….
#[derive(Debug, Clone, Copy)]
pub struct Windows(WindowKind);

/// Windows over an event-time column.
#[derive(Debug, Clone)]
pub struct WindowsOn {
    kind: WindowKind,
    time: String,
    partition_by: Vec<String>,
}

impl Windows {
    /// Over this event-time column.
    pub fn on(self, time: &str) -> WindowsOn {
        WindowsOn { kind: self.0, time: time.to_owned(), partition_by: Vec::new() }
    }
}

impl WindowsOn {
    /// Sessions of each value of these columns.
    pub fn partition_by<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.partition_by = columns.into_iter().map(str::to_owned).collect();
        self
    }
}

/// Adjacent windows.
pub struct Tumble;

impl Tumble {
    /// Of this size.
    pub fn of(size: Duration) -> Windows {
        Windows(WindowKind::Tumble { size: micros(size), offset: 0 })
    }
}

/// Overlapping windows.
pub struct Hop;

impl Hop {
    /// One beginning every `slide`, each of `size`.
    pub fn of(slide: Duration, size: Duration) -> Windows {
        Windows(WindowKind::Hop { size: micros(size), slide: micros(slide), offset: 0 })
    }
}

/// Growing windows.
pub struct Cumulate;

impl Cumulate {
    /// Growing by `step` up to `size`.
    pub fn of(step: Duration, size: Duration) -> Windows {
        Windows(WindowKind::Cumulate { size: micros(size), step: micros(step), offset: 0 })
    }
}

/// Bursts.
pub struct Session;

impl Session {
    /// Separated by more than `gap`.
    pub fn with_gap(gap: Duration) -> Windows {
        Windows(WindowKind::Session { gap: micros(gap) })
    }
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().min(i64::MAX as u128) as i64
}

impl Stream {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        Stream { plan }
    }

    /// Keeps the rows for which `condition` is true.
    pub fn filter(self, condition: Expr) -> Result<Stream> {
        self.then(|plan| plan.filter(condition))
    }

    /// Computes new columns.
    pub fn select(self, columns: impl IntoIterator<Item = Expr>) -> Result<Stream> {
        self.then(|plan| plan.project(columns))
    }

    /// The rows of both streams, which must have the same columns.
    pub fn union(self, other: Stream) -> Result<Stream> {
        self.then(|plan| plan.union(other.plan))
    }

    /// Gives the stream a name, so that its columns can be told apart after a join.
    pub fn named(self, name: &str) -> Result<Stream> {
        self.then(|plan| plan.alias(name))
    }

    /// Adds `window_start`, `window_end` and `window_time` to each row, once per window.
    pub fn window(self, windows: WindowsOn) -> Result<Windowed> {
        let find = |name: &str| {
            let wanted = reference(name);
            let columns = self.plan.schema().columns();
            let found = columns.iter().find(|c| c.name == wanted.name && (wanted.relation.is_none() || c.relation == wanted.relation));
            found.cloned().ok_or_else(|| {
                let near = did_you_mean(name, columns.iter().map(|c| c.name.as_str()));
                Error::input(format!("no column '{name}' to window by{near}"))
            })
        };
        let time = find(&windows.time)?;
        let partition_by = windows.partition_by.iter().map(|name| find(name)).collect::<Result<_>>()?;
        let node = WindowNode::new(Arc::new(self.plan), time, windows.kind.check()?, partition_by)?;
        Ok(Windowed { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), keys: Vec::new() })
    }

    /// Pairs rows with those of `right` that have equal values in the named columns (left, right); see [`Joining`].
    pub fn join<'a>(self, right: Stream, on: impl IntoIterator<Item = (&'a str, &'a str)>) -> Joining {
        let on = on.into_iter().map(|(l, r)| (reference(l), reference(r))).collect();
        Joining { left: self, right, on, kind: JoinType::Inner }
    }

    fn then<E: Into<Error>>(self, step: impl FnOnce(LogicalPlanBuilder) -> std::result::Result<LogicalPlanBuilder, E>) -> Result<Stream> {
        let plan = step(LogicalPlanBuilder::from(self.plan)).map_err(Into::into)?.build()?;
        Ok(Stream { plan })
    }
}

/// Rows with their windows, to be aggregated.
#[derive(Debug, Clone)]
pub struct Windowed {
    plan: LogicalPlan,
    keys: Vec<Expr>,
}

impl Windowed {
    /// Aggregates per window and these keys, not per window alone.
    pub fn group_by(mut self, keys: impl IntoIterator<Item = Expr>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// Per window and key one row: `window_start`, `window_end`, `window_time`, the keys, the aggregates.
    pub fn aggregate(self, aggregates: impl IntoIterator<Item = Expr>) -> Result<Stream> {
        let window = ["window_start", "window_end", "window_time"].map(column);
        let keys = window.into_iter().chain(self.keys);
        Stream::new(self.plan).then(|plan| plan.aggregate(keys, aggregates))
    }

    /// The rows as they are, with their windows as columns: for window joins and ranks.
    pub fn rows(self) -> Stream {
        Stream::new(self.plan)
    }
}

/// A join still without its bounds in time.
#[derive(Debug, Clone)]
pub struct Joining {
    left: Stream,
    right: Stream,
    on: Vec<(Column, Column)>,
    kind: JoinType,
}

impl Joining {
    /// Another kind than INNER: LEFT, RIGHT, FULL, LEFT SEMI, ….
    pub fn kind(mut self, kind: JoinType) -> Self {
        self.kind = kind;
        self
    }

    /// Pairs whose event times (columns of left and right) differ by `before` to `after`:
    /// `left - before <= right <= left + after`, both ends inclusive.
    pub fn within(self, times: (&str, &str), before: Duration, after: Duration) -> Result<Stream> {
        let shift = |duration: Duration| {
            let nanos = i64::try_from(duration.as_nanos()).map_err(|_| Error::input("a join over more than 292 years is not supported"))?;
            Ok::<_, Error>(Expr::Literal(ScalarValue::new_interval_mdn(0, 0, nanos), None))
        };
        let (left, right) = (column(times.0), column(times.1));
        let bounds = right.clone().gt_eq(left.clone() - shift(before)?).and(right.lt_eq(left + shift(after)?));
        self.with(Some(bounds))
    }

    /// Pairs in the same window: both streams carry windows (see [`Windowed::rows`]) and the columns joined on include
    /// `window_start` and `window_end`.
    pub fn in_same_window(self) -> Result<Stream> {
        self.with(None)
    }

    fn with(self, filter: Option<Expr>) -> Result<Stream> {
        let (left_keys, right_keys): (Vec<Column>, Vec<Column>) = self.on.into_iter().unzip();
        let (right, kind) = (self.right.plan, self.kind);
        self.left.then(|plan| plan.join(right, kind, (left_keys, right_keys), filter))
    }
}
