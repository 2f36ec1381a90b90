//! GROUP BY over windows.
//!
//! ```text
//!  rows with a pending window, grouped by its edges   ─▶ window aggregation on event time (partial ─▶ final), or session aggregation
//!  rows that carry their window already               ─▶ window aggregation on attached windows
//!  result: keys, aggregates, window_start, window_end, window_time; a condition on the window alone is applied to it
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{CaseExpr, CastExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;

use super::share::depends_on_order;
use super::stream::{Edge, PendingWindow, Role, Stream, StreamColumn, WindowId, column, plain_column, window_fields};
use super::window::Named;
use super::{Lowering, columns_read, refuse, renumber};
use crate::dataflow::graph::NodeId;
use crate::error::{Error, Result};
use crate::operator::session::SessionAggregateSpec;
use crate::operator::window_aggregate::{Phase, WindowAggregateSpec};
use crate::operator::windowing::Windowing;
use crate::time::WindowKind;

const EDGES: [Edge; 3] = [Edge::Start, Edge::End, Edge::Time];

/// GROUP BY taken apart.
struct Grouping<'p> {
    /// Every grouping expression once, in the order of the aggregate's output.
    exprs: Vec<&'p Expr>,
    /// Per expression: which edge of the aggregation's window it is.
    edges: Vec<Option<Edge>>,
    /// Per grouping set and expression: is it left out (NULL)? `None` = one set with all.
    sets: Option<Vec<Vec<bool>>>,
}

impl Grouping<'_> {
    /// Expressions that are no edges, with their place in `exprs`.
    fn keys(&self) -> impl Iterator<Item = (usize, &Expr)> + Clone {
        self.exprs.iter().copied().enumerate().filter(|(at, _)| self.edges[*at].is_none())
    }

    /// The grouping sets over the keys.
    fn key_sets(&self) -> Option<Vec<Vec<bool>>> {
        let sets = self.sets.as_ref()?;
        Some(sets.iter().map(|set| self.keys().map(|(at, _)| set[at]).collect()).collect())
    }
}

/// Every grouping expression once, and the sets made of them.
fn grouping_sets(group_by: &[Expr]) -> (Vec<&Expr>, Option<Vec<Vec<bool>>>) {
    let [Expr::GroupingSet(set)] = group_by else { return (group_by.iter().collect(), None) };
    let exprs = set.distinct_expr();
    let sets = match set {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| exprs.iter().map(|e| !set.contains(e)).collect()).collect(),
        GroupingSet::Rollup(all) => (0..=all.len()).rev().map(|kept| (0..all.len()).map(|at| at >= kept).collect()).collect(),
        GroupingSet::Cube(all) => (0..1_usize << all.len())
            .map(|left_out| (0..all.len()).map(|at| (left_out >> (all.len() - 1 - at)) & 1 == 1).collect())
            .collect(),
    };
    (exprs, Some(sets))
}

/// The rows, keys and aggregates of an aggregation, over real columns.
struct Work {
    stream: Stream,
    keys: Vec<Named>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Places of the extra columns that were asked for.
    extras: Vec<usize>,
}

impl Lowering<'_> {
    /// A window aggregation.
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Stream> {
        let schema = aggregate.input.schema();
        let (exprs, sets) = grouping_sets(&aggregate.group_expr);
        let read = columns_read(exprs.iter().copied().chain(&aggregate.aggr_expr), schema)?;
        let mut stream = self.lower(&aggregate.input, Some(&read))?;
        self.inserts_only(&stream, "GROUP BY (or DISTINCT)", exprs.iter().copied().chain(&aggregate.aggr_expr))?;

        let roles: Vec<Option<(WindowId, Edge)>> = exprs.iter().map(|e| edge_of(e, schema, &stream)).collect();
        let id = whole_window(&roles).map_err(|fault| match exprs.first().copied().or(aggregate.aggr_expr.first()) {
            Some(expr) => self.locate(fault, expr),
            None => fault,
        })?;
        // The edges of another window (of the other side of a join, say) are keys like any other column.
        let edges = roles.iter().map(|role| role.filter(|(of, _)| *of == id).map(|(_, edge)| edge)).collect();
        let grouping = Grouping { exprs, edges, sets };
        if grouping.sets.iter().flatten().any(|set| set.iter().zip(&grouping.edges).any(|(left_out, edge)| *left_out && edge.is_some())) {
            return Err(Error::input("every grouping set of a window aggregation must hold window_start and window_end"));
        }
        let read = columns_read(grouping.keys().map(|(_, e)| e).chain(&aggregate.aggr_expr), schema)?;

        let pending = if self.aggregates_away(&stream, id, &grouping, &read, schema) {
            stream.window.take()
        } else {
            stream = self.attach_window(stream, &[])?.0;
            None
        };
        let ordered = aggregate.aggr_expr.iter().any(depends_on_order);
        if !ordered {
            stream.seq = None;
        }
        let input_columns = stream.schema.fields().len();
        let unbounded = stream.unbounded;
        let (time_type, extras) = match &pending {
            Some(window) => {
                let field = stream.schema.fields()[window.time].clone();
                (field.data_type().clone(), vec![(column(window.time, &field), field)])
            }
            None => {
                let of_edge = |edge| stream.edge(id, edge).map(|at| &stream.columns[at]);
                let time = of_edge(Edge::Time).map_or(DataType::Null, |c| c.field.data_type().clone());
                (time, [Edge::Start, Edge::End].into_iter().filter_map(of_edge).map(|c| (c.expr.clone(), c.field.clone())).collect())
            }
        };
        let work = self.work(stream, aggregate, &grouping, &read, &extras)?;

        let sets = grouping.key_sets();
        let mut fields: Vec<FieldRef> = work.keys.iter().map(|(_, field)| field.clone()).collect();
        if let Some(sets) = &sets {
            let id_type = Aggregate::grouping_id_type(work.keys.len(), most_repeated(sets));
            fields.push(Arc::new(Field::new(Aggregate::INTERNAL_GROUPING_ID, id_type, false)));
        }
        let first_aggregate = fields.len();
        fields.extend(work.aggregates.iter().map(|a| a.field()));
        let first_edge = fields.len();
        fields.extend(window_fields(&time_type));
        let result: SchemaRef = Arc::new(Schema::new(fields));
        let node = self.add_aggregation(work, pending.as_ref(), sets.clone(), &result, ordered)?;

        // Back into the order of the plan: grouping expressions, grouping id, aggregates.
        let id = self.new_window();
        let mut places: Vec<(usize, Role)> = Vec::new();
        let mut key = 0..;
        for edge in &grouping.edges {
            places.push(match edge {
                Some(edge) => (first_edge + EDGES.iter().take_while(|e| *e != edge).count(), Role::of_window(id, *edge)),
                None => (key.next().unwrap_or_default(), Role::VALUE),
            });
        }
        places.extend((first_aggregate - usize::from(sets.is_some())..first_edge).map(|at| (at, Role::VALUE)));
        let mut out = Stream::of_node(node, result.clone(), unbounded);
        out.columns = places
            .into_iter()
            .zip(aggregate.schema.fields())
            .map(|((at, role), field)| StreamColumn { expr: column(at, result.field(at)), field: field.clone(), role })
            .collect();
        if let (Some(sets), Some(whole)) = (&sets, &grouping.sets) {
            let id_column = &mut out.columns[grouping.exprs.len()];
            id_column.expr = grouping_id(&id_column.expr, sets, whole, &result, id_column.field.data_type())?;
        }
        for condition in pending.into_iter().flat_map(|window| window.filter) {
            // Holds for all rows of a window or for none.
            out.filter.push(renumber(condition, &result, |at| first_edge + at - input_columns)?);
        }
        Ok(out)
    }

    /// Can the pending windows be aggregated without ever being written out, that is: does nothing but the grouping read them?
    fn aggregates_away(&self, stream: &Stream, id: WindowId, grouping: &Grouping<'_>, read: &BTreeSet<usize>, schema: &DFSchema) -> bool {
        let Some(window) = stream.window.as_ref().filter(|window| window.id == id) else { return false };
        let base = stream.schema.fields().len();
        let of_edges = |f: &Arc<dyn PhysicalExpr>| collect_columns(f).iter().all(|c| c.index() >= base);
        let session_keys = || {
            let keys: Option<BTreeSet<usize>> =
                grouping.keys().map(|(_, e)| column_of(e, schema).and_then(|at| plain_column(&stream.columns[at].expr))).collect();
            keys.is_some_and(|keys| keys == window.partition_by.iter().copied().collect()) && grouping.sets.is_none()
        };
        !read.iter().any(|at| stream.reads_window(&stream.columns[*at].expr))
            && window.filter.iter().all(of_edges)
            && (!matches!(window.kind, WindowKind::Session { .. }) || session_keys())
    }

    /// Narrows the rows to what keys and aggregates read (and `extras`), and builds both over that.
    fn work(
        &mut self,
        mut stream: Stream,
        aggregate: &Aggregate,
        grouping: &Grouping<'_>,
        read: &BTreeSet<usize>,
        extras: &[Named],
    ) -> Result<Work> {
        let schema = aggregate.input.schema();
        let narrow = read.iter().map(|at| schema.qualified_field(*at)).map(|(q, f)| (q.cloned(), f.clone())).collect();
        let narrow = DFSchema::new_with_metadata(narrow, schema.metadata().clone())?;
        stream.columns = read.iter().map(|at| stream.columns[*at].clone()).collect();

        // An extra that is among the columns anyway is not kept twice.
        let place = |expr: &Arc<dyn PhysicalExpr>, stream: &Stream| stream.columns.iter().position(|c| c.expr.eq(expr));
        let missing: Vec<Named> = extras.iter().filter(|(e, _)| place(e, &stream).is_none()).cloned().collect();
        let mut next = stream.columns.len()..;
        let places = extras.iter().map(|(e, _)| place(e, &stream).unwrap_or_else(|| next.next().unwrap_or_default())).collect();
        let stream = self.settle(stream, &missing)?;

        let mut keys = Vec::new();
        for (at, expr) in grouping.keys() {
            keys.push((self.physical(expr, &narrow)?, aggregate.schema.fields()[at].clone()));
        }
        let (mut aggregates, mut filters) = (Vec::new(), Vec::new());
        let first = grouping.exprs.len() + usize::from(grouping.sets.is_some());
        for (expr, field) in aggregate.aggr_expr.iter().zip(aggregate.schema.fields().iter().skip(first)) {
            let built = LoweredAggregateBuilder::new(expr, &narrow, &stream.schema, &self.props, &self.context)
                .with_name(field.name().clone())
                .build()
                .map_err(|fault| self.locate(fault.into(), expr))?;
            aggregates.push(built.aggregate);
            filters.push(built.filter);
        }
        Ok(Work { stream, keys, aggregates, filters, extras: places })
    }

    fn add_aggregation(
        &mut self,
        work: Work,
        pending: Option<&PendingWindow>,
        grouping_sets: Option<Vec<Vec<bool>>>,
        result: &SchemaRef,
        ordered: bool,
    ) -> Result<NodeId> {
        let Work { stream, keys, aggregates, filters, extras } = work;
        let input = stream.schema.clone();
        let windowing = match (pending, &extras[..]) {
            (Some(PendingWindow { kind: WindowKind::Session { gap }, .. }), [time]) => {
                let spec = SessionAggregateSpec {
                    input,
                    time: *time,
                    gap_micros: *gap,
                    keys: keys.iter().filter_map(|(e, _)| plain_column(e)).collect(),
                    aggregates,
                    filters,
                    seq: stream.seq,
                    schema: result.clone(),
                };
                return Ok(self.add(Arc::new(spec), vec![stream.node]));
            }
            (Some(window), [time]) => Windowing::Time { time: *time, kind: window.kind },
            (None, [start, end]) => Windowing::Attached { start: *start, end: *end },
            _ => return Err(Error::bug("a window aggregation without its window columns")),
        };
        let spec = |phase, schema| WindowAggregateSpec {
            input: input.clone(),
            windowing: windowing.clone(),
            keys: keys.clone(),
            grouping_sets: grouping_sets.clone(),
            aggregates: aggregates.clone(),
            filters: filters.clone(),
            seq: stream.seq,
            phase,
            schema,
        };
        let whole = ordered || aggregates.iter().any(|a| a.is_distinct()) || self.options.single_task;
        if whole {
            return Ok(self.add(Arc::new(spec(Phase::Single, result.clone())), vec![stream.node]));
        }
        let partial = spec(Phase::Partial, result.clone());
        let partial = spec(Phase::Partial, partial.partial_schema()?);
        let partial = self.add(Arc::new(partial), vec![stream.node]);
        Ok(self.add(Arc::new(spec(Phase::Final, result.clone())), vec![partial]))
    }
}

/// The column that a grouping expression is, if it is nothing more.
fn column_of(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        Expr::Alias(alias) => column_of(&alias.expr, schema),
        _ => None,
    }
}

fn edge_of(expr: &Expr, schema: &DFSchema, stream: &Stream) -> Option<(WindowId, Edge)> {
    stream.columns.get(column_of(expr, schema)?)?.role.window
}

/// The window whose start and end are both grouped by.
fn whole_window(edges: &[Option<(WindowId, Edge)>]) -> Result<WindowId> {
    let has = |id, edge| edges.contains(&Some((id, edge)));
    let ids = edges.iter().flatten().map(|(id, _)| *id);
    match ids.clone().find(|id| has(*id, Edge::Start) && has(*id, Edge::End)) {
        Some(id) => Ok(id),
        None => Err(match ids.clone().next() {
            None => refuse::unwindowed_group_by(),
            Some(id) if has(id, Edge::Start) => refuse::half_window_group_by("window_end"),
            Some(id) if has(id, Edge::End) => refuse::half_window_group_by("window_start"),
            Some(_) => refuse::half_window_group_by("either"),
        }),
    }
}

/// How often the most repeated set occurs again: the ordinal that tells the repetitions apart.
fn most_repeated(sets: &[Vec<bool>]) -> usize {
    (0..sets.len()).map(|at| ordinal(sets, at)).max().unwrap_or(0)
}

/// How many equal sets stand before this one.
fn ordinal(sets: &[Vec<bool>], at: usize) -> usize {
    sets[..at].iter().filter(|set| **set == sets[at]).count()
}

/// DataFusion's number of a grouping set: a bit per expression (the last one lowest) that is set where it is left out, the ordinal above.
fn set_number(sets: &[Vec<bool>], at: usize) -> u64 {
    let width = sets[at].len();
    let bits = sets[at].iter().fold(0_u64, |bits, left_out| bits << 1 | u64::from(*left_out));
    bits | (ordinal(sets, at) as u64) << width
}

/// The operator numbers sets by the keys besides the window, the plan by all grouping expressions.
fn grouping_id(
    id: &Arc<dyn PhysicalExpr>,
    keys: &[Vec<bool>],
    all: &[Vec<bool>],
    schema: &Schema,
    wanted: &DataType,
) -> Result<Arc<dyn PhysicalExpr>> {
    let given = id.data_type(schema)?;
    let numbers: Vec<(u64, u64)> = (0..keys.len()).map(|at| (set_number(keys, at), set_number(all, at))).collect();
    if numbers.iter().all(|(ours, theirs)| ours == theirs) {
        let same = given == *wanted;
        return Ok(if same { id.clone() } else { Arc::new(CastExpr::new(id.clone(), wanted.clone(), None)) });
    }
    let literal =
        |n: u64, to: &DataType| -> Result<Arc<dyn PhysicalExpr>> { Ok(Arc::new(Literal::new(ScalarValue::UInt64(Some(n)).cast_to(to)?))) };
    let cases =
        numbers.iter().map(|(ours, theirs)| Ok((literal(*ours, &given)?, literal(*theirs, wanted)?))).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(CaseExpr::try_new(Some(id.clone()), cases, None)?))
}
