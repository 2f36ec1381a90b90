//! Joins that end: in equal windows, or in an interval of event time.
//!
//! ```text
//!  ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k     ─▶ window join
//!  ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '5' MINUTE AND a.ts                    ─▶ interval join, b.ts - a.ts in [-300 s, 0]
//!  ON a.k = b.k                                                                         ─▶ refused: a regular join
//! ```
//! Conditions that are neither keys nor bounds become the join's filter.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join};
use datafusion::physical_expr::PhysicalExpr;

use super::stream::{Edge, Role, Stream, StreamColumn, column, never_read, plain_column, replace_columns};
use super::time_columns::{Bound, bound_of};
use super::window::Named;
use super::{Lowering, all_of, columns_read, refuse, share};
use crate::error::{Error, Result};
use crate::operator::OperatorSpec;
use crate::operator::interval_join::IntervalJoinSpec;
use crate::operator::window_join::WindowJoinSpec;

/// What bounds a join in time. Column numbers are those of the plan's sides.
enum InTime {
    /// Equal windows: start and end of the left side, of the right side.
    Windows { left: (usize, usize), right: (usize, usize) },
    /// `right - left` lies between the bounds, microseconds, both inclusive.
    Interval { left: usize, right: usize, lower: i64, upper: i64 },
}

/// The conditions of a join, sorted.
struct Conditions<'p> {
    in_time: InTime,
    /// Equal keys, over the left and the right plan's columns.
    keys: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    /// What else must hold.
    rest: Vec<&'p Expr>,
}

impl Lowering<'_> {
    /// A window join or an interval join.
    pub(super) fn join(&mut self, join: &Join, needed: Option<&BTreeSet<usize>>) -> Result<Stream> {
        if join.null_equality == NullEquality::NullEqualsNull {
            return Err(refuse::null_equal_join());
        }
        if join.null_aware {
            return Err(refuse::not_in());
        }
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let both = left_schema.join(right_schema)?;
        let lefts = left_schema.fields().len();

        let mut read = columns_read(join.filter.iter(), &both)?;
        read.extend(columns_read(join.on.iter().map(|(l, _)| l), left_schema)?);
        read.extend(columns_read(join.on.iter().map(|(_, r)| r), right_schema)?.iter().map(|at| at + lefts));
        let out = kept_columns(join.join_type, lefts, both.fields().len())?;
        read.extend(out.clone().enumerate().filter(|(at, _)| needed.is_none_or(|needed| needed.contains(at))).map(|(_, at)| at));
        let left_read = read.iter().copied().filter(|at| *at < lefts).collect();
        let right_read = read.iter().copied().filter(|at| *at >= lefts).map(|at| at - lefts).collect();
        let left = self.lower(&join.left, Some(&left_read))?;
        let right = self.lower(&join.right, Some(&right_read))?;
        for side in [&left, &right] {
            self.inserts_only(side, "a join", join.on.iter().flat_map(|(left, right)| [left, right]))?;
        }

        let conditions = self.conditions(join, &both, &left, &right)?;
        let mut left_keys = Vec::new();
        let mut right_keys = Vec::new();
        for (l, r) in &conditions.keys {
            left_keys.push(l.clone());
            right_keys.push(r.clone());
        }
        let (left, left_keys) = self.side(left, left_read, &left_keys)?;
        let (right, right_keys) = self.side(right, right_read, &right_keys)?;
        let sides = Sides { left, right, lefts };
        let mut filter = Vec::new();
        for condition in &conditions.rest {
            filter.push(replace_columns(self.physical(condition, &both)?, |at| Some(sides.column(at)))?);
        }
        let waits = matches!(conditions.in_time, InTime::Windows { .. });
        let Joined { projection, schema, columns } = sides.joined(join, out, waits, needed)?;

        let Sides { left, right, .. } = sides;
        let inputs = vec![left.stream.node, right.stream.node];
        let unbounded = left.stream.unbounded || right.stream.unbounded;
        let (left_schema, right_schema) = (left.stream.schema.clone(), right.stream.schema.clone());
        let (filter, projection) = (all_of(&filter), Some(projection));
        let spec: Arc<dyn OperatorSpec> = match conditions.in_time {
            InTime::Windows { left: (start, end), right: (right_start, right_end) } => Arc::new(WindowJoinSpec {
                left: left_schema,
                right: right_schema,
                join_type: join.join_type,
                left_keys,
                right_keys,
                left_window: (left.place(start), left.place(end)),
                right_window: (right.place(right_start), right.place(right_end)),
                filter,
                projection,
                schema: schema.clone(),
            }),
            InTime::Interval { left: left_time, right: right_time, lower, upper } => Arc::new(IntervalJoinSpec {
                left: left_schema,
                right: right_schema,
                join_type: join.join_type,
                left_keys,
                right_keys,
                left_time: left.place(left_time),
                right_time: right.place(right_time),
                lower_micros: lower,
                upper_micros: upper,
                filter,
                projection,
                schema: schema.clone(),
            }),
        };
        let node = self.add(spec, inputs);
        Ok(Stream { columns, ..Stream::of_node(node, schema, unbounded) })
    }

    /// Sorts the conditions into bounds in time, keys and the rest.
    fn conditions<'p>(&mut self, join: &'p Join, both: &DFSchema, left: &Stream, right: &Stream) -> Result<Conditions<'p>> {
        let lefts = left.columns.len();
        let (mut keys, mut windows, mut times, mut bounds, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let time_bound = |condition: &Expr| {
            let bound = bound_of(condition, both).filter(|b| b.from < lefts && b.to >= lefts);
            bound.filter(|b| left.columns[b.from].role.time && right.columns[b.to - lefts].role.time)
        };
        for (l, r) in &join.on {
            let pair = (self.physical(l, join.left.schema())?, self.physical(r, join.right.schema())?);
            let roles = (role_of(&pair.0, left), role_of(&pair.1, right));
            match roles {
                (Some((l, Role { window: Some((left_id, edge)), .. })), Some((r, Role { window: Some((right_id, other)), .. })))
                    if edge == other =>
                {
                    windows.push((left_id, right_id, edge, l, r));
                }
                _ => match time_bound(&l.clone().eq(r.clone())) {
                    Some(bound) => times.push((bound, pair)),
                    None => keys.push(pair),
                },
            }
        }
        for condition in join.filter.iter().flat_map(split_conjunction) {
            match time_bound(condition) {
                Some(bound) => bounds.push((bound, condition)),
                None => rest.push(condition),
            }
        }

        let whole = windows.iter().find_map(|(left_id, right_id, edge, l, r)| {
            let end = windows.iter().find(|w| (w.0, w.1, w.2) == (*left_id, *right_id, Edge::End))?;
            (*edge == Edge::Start).then_some(InTime::Windows { left: (*l, end.3), right: (*r, end.4) })
        });
        if let Some(in_time) = whole {
            let InTime::Windows { left: own, right: others } = &in_time else { return Err(Error::bug("a window join without windows")) };
            // Equality of another window, or of times, is a key like any other; that of this window's time follows.
            for (_, _, edge, l, r) in &windows {
                let same = [(own.0, others.0), (own.1, others.1)].contains(&(*l, *r)) || *edge == Edge::Time;
                if !same {
                    keys.push((key_column(left, *l), key_column(right, *r)));
                }
            }
            keys.extend(times.into_iter().map(|(_, pair)| pair));
            rest.extend(bounds.into_iter().map(|(_, condition)| condition));
            return Ok(Conditions { in_time, keys, rest });
        }

        // Equal times are an interval of no length; so are equal window times.
        let window_times = windows.iter().filter(|w| w.2 == Edge::Time);
        times.extend(window_times.map(|w| {
            let bound = Bound { from: w.3, to: lefts + w.4, lower: Some(0), upper: Some(0) };
            (bound, (key_column(left, w.3), key_column(right, w.4)))
        }));
        windows.retain(|w| w.2 != Edge::Time);
        let mut joined: Vec<Bound> = Vec::new();
        for bound in times.iter().map(|(b, _)| b).chain(bounds.iter().map(|(b, _)| b)) {
            match joined.iter_mut().find_map(|b| b.and(*bound).map(|both| (b, both))) {
                Some((slot, both)) => *slot = both,
                None => joined.push(*bound),
            }
        }
        if let Some((bound, lower, upper)) = joined.iter().find_map(|b| Some((*b, b.lower?, b.upper?))) {
            let other = |b: &Bound| (b.from, b.to) != (bound.from, bound.to);
            rest.extend(bounds.iter().filter(|(b, _)| other(b)).map(|(_, condition)| *condition));
            keys.extend(times.into_iter().filter(|(b, _)| other(b)).map(|(_, pair)| pair));
            keys.extend(windows.iter().map(|w| (key_column(left, w.3), key_column(right, w.4))));
            return Ok(Conditions { in_time: InTime::Interval { left: bound.from, right: bound.to - lefts, lower, upper }, keys, rest });
        }

        let fault = match (windows.first(), joined.first()) {
            (Some(w), _) if w.2 == Edge::Start => refuse::half_window_join("window_end"),
            (Some(_), _) => refuse::half_window_join("window_start"),
            (None, Some(bound)) => refuse::half_open_interval(if bound.lower.is_none() { "lower" } else { "upper" }),
            (None, None) => {
                let kind = kind_name(join.join_type);
                let untimed = [("left", &join.left), ("right", &join.right)];
                match untimed.into_iter().find(|(_, side)| share::event_times(side).is_empty()) {
                    Some((side, _)) => refuse::join_without_time(kind, side),
                    None => refuse::regular_join(kind),
                }
            }
        };
        let expr = join.on.first().map(|(l, _)| l).or(join.filter.as_ref());
        Err(match expr {
            Some(expr) => self.locate(fault, expr),
            None => fault,
        })
    }

    /// Makes the columns of a side real that the join reads, and its keys.
    fn side(&mut self, mut stream: Stream, read: BTreeSet<usize>, keys: &[Arc<dyn PhysicalExpr>]) -> Result<(Side, Vec<usize>)> {
        stream.seq = None;
        let mut extras: Vec<Named> = Vec::new();
        let mut places = Vec::new();
        for key in keys {
            match plain_column(key) {
                Some(at) => places.push(read.range(..at).count()),
                None => {
                    places.push(read.len() + extras.len());
                    let types: SchemaRef = Arc::new(Schema::new(stream.columns.iter().map(|c| c.field.clone()).collect::<Vec<_>>()));
                    let field = Arc::new(Field::new(format!("$key{}", extras.len()), key.data_type(&types)?, true));
                    extras.push((stream.over_physical(key.clone())?, field));
                }
            }
        }
        stream.columns = read.iter().map(|at| stream.columns[*at].clone()).collect();
        let stream = self.settle(stream, &extras)?;
        Ok((Side { stream, read }, places))
    }
}

/// A side of a join with only the columns that are read.
struct Side {
    stream: Stream,
    /// Their numbers in the plan.
    read: BTreeSet<usize>,
}

impl Side {
    /// Where the plan's column is.
    fn place(&self, at: usize) -> usize {
        self.read.range(..at).count()
    }
}

/// Both sides.
struct Sides {
    left: Side,
    right: Side,
    /// How many columns the left plan has: those of the right one are numbered behind them.
    lefts: usize,
}

/// What a join hands on.
struct Joined {
    /// Places in the rows of both sides, or of the only one that is handed on.
    projection: Vec<usize>,
    schema: SchemaRef,
    columns: Vec<StreamColumn>,
}

impl Sides {
    /// The side of a column of the plans, and its place there.
    fn find(&self, at: usize) -> (&Side, usize) {
        if at < self.lefts { (&self.left, self.left.place(at)) } else { (&self.right, self.right.place(at - self.lefts)) }
    }

    /// A column of the plans in the rows of both sides.
    fn column(&self, at: usize) -> Arc<dyn PhysicalExpr> {
        let (side, place) = self.find(at);
        let before = if at < self.lefts { 0 } else { self.left.stream.schema.fields().len() };
        column(before + place, side.stream.schema.field(place))
    }

    /// The columns `out` of the plans as those that the join hands on; `waits`: it does so when both sides have closed.
    fn joined(&self, join: &Join, out: Range<usize>, waits: bool, needed: Option<&BTreeSet<usize>>) -> Result<Joined> {
        let pads_left = matches!(join.join_type, JoinType::Right | JoinType::Full);
        let pads_right = matches!(join.join_type, JoinType::Left | JoinType::Full);
        let one_sided = out.len() < self.lefts + join.right.schema().fields().len();
        let base = self.left.stream.schema.fields().len();
        let (mut projection, mut columns) = (Vec::new(), Vec::new());
        let mut fields: Vec<FieldRef> = Vec::new();
        for (at, joined) in out.enumerate() {
            let field = join.schema.fields()[at].clone();
            if needed.is_some_and(|needed| !needed.contains(&at)) {
                columns.push(StreamColumn { expr: never_read(&field)?, field, role: Role::VALUE });
                continue;
            }
            let ((side, place), is_left) = (self.find(joined), joined < self.lefts);
            let padded = if is_left { pads_left } else { pads_right };
            let from = &side.stream.columns[place];
            let role = match (padded, waits) {
                (true, _) => Role::VALUE,
                (false, true) => from.role.after_window(),
                // Pairs leave when both rows are there, which may be after a window that one of them carries has closed.
                (false, false) => Role { window: None, ..from.role },
            };
            let emitted: &Field = side.stream.schema.field(place);
            let emitted = Arc::new(Field::new(field.name(), emitted.data_type().clone(), emitted.is_nullable() || padded));
            columns.push(StreamColumn { expr: column(projection.len(), &emitted), field, role });
            projection.push(if is_left || one_sided { place } else { base + place });
            fields.push(emitted);
        }
        Ok(Joined { projection, schema: Arc::new(Schema::new(fields)), columns })
    }
}

fn role_of(expr: &Arc<dyn PhysicalExpr>, stream: &Stream) -> Option<(usize, Role)> {
    let at = plain_column(expr)?;
    Some((at, stream.columns[at].role))
}

fn key_column(stream: &Stream, at: usize) -> Arc<dyn PhysicalExpr> {
    column(at, &stream.columns[at].field)
}

/// Numbers (left columns, then right ones) of the columns that a join hands on.
fn kept_columns(kind: JoinType, lefts: usize, all: usize) -> Result<Range<usize>> {
    match kind {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => Ok(0..all),
        JoinType::LeftSemi | JoinType::LeftAnti => Ok(0..lefts),
        JoinType::RightSemi | JoinType::RightAnti => Ok(lefts..all),
        JoinType::LeftMark | JoinType::RightMark => Err(refuse::node("EXISTS or IN inside OR, or in the SELECT list,")),
    }
}

/// The join in SQL's words.
fn kind_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => "INNER",
        JoinType::Left => "LEFT",
        JoinType::Right => "RIGHT",
        JoinType::Full => "FULL",
        JoinType::LeftSemi | JoinType::RightSemi => "SEMI (IN or EXISTS)",
        JoinType::LeftAnti | JoinType::RightAnti => "ANTI (NOT EXISTS)",
        JoinType::LeftMark | JoinType::RightMark => "MARK",
    }
}
