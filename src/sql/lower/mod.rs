//! Lowering: logical plans to one dataflow graph.
//!
//! ```text
//!  plans of all pipelines ─ share.rs: what they ask of each table ─ scan.rs ─▶ sources
//!  each plan ─ walk (here), bottom up, one Stream per node: window.rs aggregate.rs join.rs over.rs top_n.rs … ─▶ operators
//!  streams by target ─ sink.rs ─▶ sinks
//! ```
//! Comes in: a [`Pipeline`] per INSERT or live view, planned by `plan.rs`. Goes out: one [`Graph`]. Always holds:
//! every plan node is either lowered with Flink's meaning or refused by name with its place; a table is read and decoded
//! once however many pipelines read it; equal work on equal inputs is one node. Read `stream.rs` first.

mod aggregate;
mod changes;
mod join;
mod outside;
mod over;
mod pattern;
mod recognize;
mod refuse;
mod scan;
mod set;
mod share;
mod sink;
mod stream;
mod time_columns;
mod top_n;
mod unnest;
mod values;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, Filter, LogicalPlan, Projection};
use datafusion::physical_expr::utils::{collect_columns, conjunction};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use self::changes::Changed;
use self::scan::SourceStream;
use self::stream::{Stream, StreamColumn, WindowId, column, plain_column, replace_columns};
use crate::change;
use crate::dataflow::graph::{Graph, NodeId, NodeKind, SEQ_COLUMN};
use crate::error::{Error, Place, Result};
use crate::operator::OperatorSpec;
use crate::operator::project::{ProjectSpec, Upserts};
use crate::sql::pattern_node::PatternNode;
use crate::sql::recognize::RecognizeNode;
use crate::sql::window_node::WindowNode;

pub use self::outside::{Connected, LiveTable, LiveTables, Outside};
pub use self::scan::{connector_options, physical_columns};
pub use self::sink::{Pipeline, Target, written, written_table};

/// What the caller knows and a plan does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// One task reads one partition and nothing is exchanged: pre-aggregation would be work for nothing.
    pub single_task: bool,
}

/// Lowers all pipelines into one graph. Every pipeline is tried, so that all faults are told in one go.
pub fn lower(pipelines: &[Pipeline], outside: &dyn Outside, options: Options) -> Result<Graph> {
    let mut faults = Vec::new();
    let mut lowering = Lowering::new(outside, options);
    let demands = share::demands(pipelines.iter().map(|pipeline| &pipeline.plan));
    let mut ready = Vec::new();
    match demands {
        Err(fault) => faults.push(fault),
        Ok(demands) => {
            for demand in demands {
                if let Err(fault) = lowering.open_source(&demand) {
                    faults.push(fault.at(demand.table.def.place.clone()));
                }
            }
            // A source that failed has told its own fault.
            let complete: Vec<&Pipeline> = pipelines.iter().filter(|pipeline| !lowering.misses_source(&pipeline.plan)).collect();
            for pipeline in complete {
                lowering.place = pipeline.place.clone();
                match lowering.lower(&pipeline.plan, None) {
                    Ok(stream) => ready.push((pipeline, stream)),
                    Err(fault) => faults.push(fault.at(pipeline.place.clone())),
                }
            }
        }
    }
    if let Err(fault) = lowering.add_sinks(ready) {
        faults.push(fault);
    }
    Error::all(faults).map_or(Ok(lowering.graph), Err)
}

/// The work in progress.
struct Lowering<'a> {
    outside: &'a dyn Outside,
    options: Options,
    graph: Graph,
    /// Per table: its source.
    sources: BTreeMap<String, SourceStream>,
    /// Equal work on equal inputs, to the node that does it.
    done: HashMap<(String, SchemaRef, Vec<NodeId>), NodeId>,
    /// How many operators of each name there are: they are numbered.
    numbers: HashMap<&'static str, usize>,
    /// The statement at work.
    place: Place,
    windows: WindowId,
    props: ExecutionProps,
    context: PhysicalPlanningContext,
}

impl<'a> Lowering<'a> {
    fn new(outside: &'a dyn Outside, options: Options) -> Self {
        Lowering {
            outside,
            options,
            graph: Graph::default(),
            sources: BTreeMap::new(),
            done: HashMap::new(),
            numbers: HashMap::new(),
            place: Place::default(),
            windows: 0,
            props: ExecutionProps::new(),
            context: PhysicalPlanningContext::default(),
        }
    }

    /// Lowers a plan. `needed`: the columns that its consumer reads, where the consumer knows (others may come as NULL).
    fn lower(&mut self, plan: &LogicalPlan, needed: Option<&BTreeSet<usize>>) -> Result<Stream> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter, needed),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input, needed),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join, needed),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(window) = node.downcast_ref::<WindowNode>() {
                    self.window(window)
                } else if let Some(patterns) = node.downcast_ref::<PatternNode>() {
                    self.patterns(patterns)
                } else if let Some(recognition) = node.downcast_ref::<RecognizeNode>() {
                    self.recognize(recognition)
                } else {
                    Err(refuse::node(extension.node.name()))
                }
            }
            LogicalPlan::Sort(_) => Err(refuse::order_by()),
            LogicalPlan::Limit(_) => Err(refuse::limit()),
            LogicalPlan::Distinct(Distinct::On(_)) => Err(refuse::node("DISTINCT ON")),
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => Err(refuse::never_true()),
            LogicalPlan::EmptyRelation(_) => self.values(&[Vec::new()], &DFSchema::empty()),
            LogicalPlan::Values(values) => self.values(&values.values, &values.schema),
            LogicalPlan::Subquery(_) => Err(refuse::node("LATERAL")),
            LogicalPlan::RecursiveQuery(_) => Err(refuse::node("WITH RECURSIVE")),
            other => Err(refuse::node(&other.display().to_string())),
        }
    }

    fn projection(&mut self, projection: &Projection) -> Result<Stream> {
        let schema = projection.input.schema();
        let needed = columns_read(projection.expr.iter(), schema)?;
        let mut stream = self.lower(&projection.input, Some(&needed))?;
        let exprs = projection.expr.iter().map(|e| self.physical(e, schema)).collect::<Result<Vec<_>>>()?;
        if computed_twice(&stream, &exprs) {
            stream = self.settle(stream, &[])?;
        }
        let mut columns = Vec::with_capacity(exprs.len());
        for (expr, field) in exprs.into_iter().zip(projection.schema.fields()) {
            let role = plain_column(&expr).map(|at| stream.columns[at].role).unwrap_or_default();
            columns.push(StreamColumn { expr: stream.over_physical(expr)?, field: field.clone(), role });
        }
        stream.columns = columns;
        Ok(stream)
    }

    fn filter(&mut self, filter: &Filter, needed: Option<&BTreeSet<usize>>) -> Result<Stream> {
        let schema = filter.input.schema();
        let conditions = split_conjunction(&filter.predicate);
        if let LogicalPlan::Window(window) = filter.input.as_ref()
            && let Some(stream) = self.top_n(window, &conditions, needed)?
        {
            return Ok(stream);
        }
        if let LogicalPlan::Projection(projection) = filter.input.as_ref()
            && let LogicalPlan::Window(_) = projection.input.as_ref()
            && let Some(predicate) = renamed(&filter.predicate, projection)?
        {
            // A Top-N is seen with its filter right above the numbering.
            let filter = Filter::try_new(predicate, projection.input.clone())?;
            let input = Arc::new(LogicalPlan::Filter(filter));
            return self.projection(&Projection::try_new_with_schema(projection.expr.clone(), input, projection.schema.clone())?);
        }
        let mut read = columns_read([&filter.predicate], schema)?;
        let needed = needed.map(|needed| {
            read.extend(needed);
            &read
        });
        let stream = self.lower(&filter.input, needed)?;
        self.keep_where(stream, &conditions, schema)
    }

    /// Adds conditions (over the plan's columns, named as in `schema`) to what must still hold.
    fn keep_where(&mut self, mut stream: Stream, conditions: &[&Expr], schema: &DFSchema) -> Result<Stream> {
        for condition in conditions {
            if matches!(condition, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
                continue;
            }
            let expr = self.physical(condition, schema)?;
            if collect_columns(&expr).iter().any(|c| stream.is_computed(c.index())) {
                // What is computed is computed once, and a random number once for the filter and for the output.
                stream = self.settle(stream, &[])?;
            }
            let expr = stream.over_physical(expr)?;
            let waits = stream.reads_window(&expr);
            match &mut stream.window {
                // A session is made of all its rows: a condition on a row must not remove it before.
                Some(window) if waits || matches!(window.kind, crate::time::WindowKind::Session { .. }) => window.filter.push(expr),
                _ => stream.filter.push(expr),
            }
        }
        Ok(stream)
    }

    /// The expression over the columns of `schema`, by number.
    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let nested = |e: &Expr| {
            matches!(
                e,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::OuterReferenceColumn(..)
            )
        };
        let result = if expr.exists(|e| Ok(nested(e)))? {
            Err(refuse::subquery())
        } else {
            create_physical_expr(expr, schema, &self.props, &self.context).map_err(Error::from)
        };
        result.map_err(|fault| self.locate(fault, expr))
    }

    /// Adds the place of `expr`, where its columns know theirs.
    fn locate(&self, fault: Error, expr: &Expr) -> Error {
        match refuse::place_of(expr, &self.place) {
            Some(place) => fault.at(place),
            None => fault,
        }
    }

    /// Adds an operator, or finds the one that does the same already.
    fn add(&mut self, spec: Arc<dyn OperatorSpec>, inputs: Vec<NodeId>) -> NodeId {
        let key = (format!("{} {}", spec.name(), spec.identity()), spec.schema().clone(), inputs);
        if let Some(node) = self.done.get(&key) {
            return *node;
        }
        let number = self.numbers.entry(spec.name()).or_default();
        *number += 1;
        let node = self.graph.add(format!("{} {number}", spec.name()), NodeKind::Operator(spec), key.2.clone());
        self.done.insert(key, node);
        node
    }

    /// Makes the plan's columns real: afterwards the node's columns are the plan's in order, then `extras` (over the
    /// physical columns of `stream` before), then `$change` and `$seq` if the stream has them; nothing is pending any more.
    fn settle(&mut self, stream: Stream, extras: &[(Arc<dyn PhysicalExpr>, FieldRef)]) -> Result<Stream> {
        let fields: Vec<FieldRef> = stream.columns.iter().map(|c| c.field.clone()).collect();
        let stream = self.attach_window(stream, extras)?;
        let (stream, extras) = stream;
        let hidden = usize::from(stream.changes.is_some()) + usize::from(stream.seq.is_some());
        let real = stream.filter.is_empty()
            && stream.schema.fields().len() == stream.columns.len() + extras.len() + hidden
            && stream
                .columns
                .iter()
                .map(|c| &c.expr)
                .chain(extras.iter().map(|(e, _)| e))
                .enumerate()
                .all(|(at, e)| plain_column(e) == Some(at))
            && stream.changes.as_ref().is_none_or(|c| plain_column(&c.kind) == Some(stream.schema.fields().len() - hidden))
            && stream.seq.is_none_or(|at| at + 1 == stream.schema.fields().len());
        if real {
            return Ok(stream);
        }
        self.project(stream, &fields, &extras)
    }

    /// Writes the plan's columns out under the names and types of `fields`, then `extras`, then `$change`, then `$seq`.
    fn project(&mut self, stream: Stream, fields: &[FieldRef], extras: &[(Arc<dyn PhysicalExpr>, FieldRef)]) -> Result<Stream> {
        let mut columns: Vec<(Arc<dyn PhysicalExpr>, FieldRef)> = Vec::new();
        let key = stream.upserts().and_then(|changed| changed.key.clone()).unwrap_or_default();
        let in_key = |expr: &Arc<dyn PhysicalExpr>| plain_column(expr).is_some_and(|at| key.contains(&at));
        for (from, field) in stream.columns.iter().zip(fields) {
            // The expression knows better than the plan whether it can be NULL. Of a deleted row only the key is known.
            let nullable = from.expr.nullable(&stream.schema)? || (stream.upserts().is_some() && !in_key(&from.expr));
            columns.push((from.expr.clone(), Arc::new(field.as_ref().clone().with_nullable(nullable || field.is_nullable()))));
        }
        columns.extend(extras.iter().cloned());
        let kind = stream.changes.as_ref().map(|changed| {
            columns.push((changed.kind.clone(), change::field()));
            columns.len() - 1
        });
        if let Some(seq) = stream.seq {
            let field = &stream.schema.fields()[seq];
            columns.push((column(seq, field), field.clone()));
        }
        let schema: SchemaRef = Arc::new(Schema::new(columns.iter().map(|(_, field)| field.clone()).collect::<Vec<_>>()));
        let (filter, upserts) = match (stream.upserts(), kind) {
            (Some(changed), Some(kind)) => {
                let (by_key, others) = stream.split_by_key();
                let known = columns.iter().enumerate().filter(|(_, (expr, _))| in_key(expr)).map(|(at, _)| at);
                let known = known.chain(stream.seq.map(|_| columns.len() - 1)).collect();
                let from = plain_column(&changed.kind).ok_or_else(|| Error::bug("upserts without their column of changes"))?;
                (by_key, Some(Upserts { from, kind, known, holds: all_of(&others) }))
            }
            _ => (stream.filter.clone(), None),
        };
        let spec = ProjectSpec { filter: all_of(&filter), columns, upserts, schema: schema.clone() };
        let node = self.add(Arc::new(spec), vec![stream.node]);
        let changes = stream.changes.clone().zip(kind).map(|(changed, kind)| {
            let place = |at: &usize| stream.columns.iter().position(|c| plain_column(&c.expr) == Some(*at));
            let key = changed.key.as_ref().and_then(|key| key.iter().map(place).collect());
            Changed { kind: column(kind, schema.field(kind)), key, ..changed }
        });
        let seq = stream.seq.map(|_| schema.fields().len() - 1);
        let columns =
            stream.columns.into_iter().enumerate().map(|(at, c)| StreamColumn { expr: column(at, schema.field(at)), ..c }).collect();
        Ok(Stream { node, schema, filter: Vec::new(), window: None, columns, seq, changes, unbounded: stream.unbounded })
    }

    fn new_window(&mut self) -> WindowId {
        self.windows += 1;
        self.windows
    }
}

/// `expr` as it is below a projection; `None` when the projection computes something.
fn renamed(expr: &Expr, projection: &Projection) -> Result<Option<Expr>> {
    let plain: Option<Vec<Expr>> =
        projection.expr.iter().map(|e| Some(e.clone().unalias()).filter(|e| matches!(e, Expr::Column(_)))).collect();
    let Some(plain) = plain else { return Ok(None) };
    let below = expr.clone().transform(|e| {
        Ok(match &e {
            Expr::Column(column) => Transformed::yes(plain[projection.schema.index_of_column(column)?].clone()),
            _ => Transformed::no(e),
        })
    })?;
    Ok(Some(below.data))
}

/// All of the conditions as one; `None` when there are none.
fn all_of(conditions: &[Arc<dyn PhysicalExpr>]) -> Option<Arc<dyn PhysicalExpr>> {
    (!conditions.is_empty()).then(|| conjunction(conditions.iter().cloned()))
}

/// Numbers of the columns of `schema` that the expressions read.
fn columns_read<'e>(exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> Result<BTreeSet<usize>> {
    let mut read = BTreeSet::new();
    for expr in exprs {
        for column in expr.column_refs() {
            read.insert(schema.index_of_column(column)?);
        }
    }
    Ok(read)
}

/// Would a column that was computed below be computed again, having more than one reader?
fn computed_twice(stream: &Stream, exprs: &[Arc<dyn PhysicalExpr>]) -> bool {
    let mut readers = vec![0_usize; stream.columns.len()];
    for expr in exprs {
        count_readers(expr, &mut readers);
    }
    readers.iter().enumerate().any(|(at, readers)| *readers > 1 && stream.is_computed(at))
}

fn count_readers(expr: &Arc<dyn PhysicalExpr>, readers: &mut [usize]) {
    if let Some(count) = plain_column(expr).and_then(|at| readers.get_mut(at)) {
        *count += 1;
    }
    for child in expr.children() {
        count_readers(child, readers);
    }
}

/// `expr` with its columns renumbered.
fn renumber(expr: Arc<dyn PhysicalExpr>, schema: &Schema, to: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    replace_columns(expr, |at| {
        let at = to(at);
        let name = schema.fields().get(at).map_or("", |f| f.name().as_str());
        Some(column(at, &Field::new(name, arrow::datatypes::DataType::Null, true)))
    })
}

/// Is this the hidden column of the order of rows?
fn is_seq(field: &Field) -> bool {
    field.name() == SEQ_COLUMN
}

#[cfg(test)]
mod tests;
