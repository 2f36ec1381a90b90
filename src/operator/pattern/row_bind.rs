//! Bindings of MATCH_RECOGNIZE: navigation and aggregates over the rows of a match, for many rows at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use crate::error::{Error, Result};
use crate::operator::aggregates::{Aggregates, Arguments};
use crate::operator::pattern::bind::arguments;
use crate::operator::pattern::binding::{Binding, End, Expr, Labels, Navigation, bindings_schema, rows_schema};
use crate::operator::pattern::kept_rows::{Handle, KeptRows, NO_ROW};
use crate::operator::pattern::row_search::{Path, Running};

/// A row of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionRow {
    pub(super) event: Handle,
    pub(super) time: i64,
    /// Which variables it may be, as far as that does not depend on the match: bits, valid where `known`.
    pub(super) fits: u64,
    pub(super) known: u64,
}

/// The row that bindings are computed for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The rows of the partition that are still there.
    pub(super) rows: &'a VecDeque<PartitionRow>,
    /// Where the match begins among them.
    pub(super) start: usize,
    /// Its rows from there; the tried row included.
    pub(super) path: &'a Path,
    /// The current row among `rows`; none: an unmatched row or an empty match.
    pub(super) current: Option<usize>,
    /// Number of the match.
    pub(super) number: Option<i64>,
}

impl Context<'_> {
    /// Are both about rows of one match?
    fn same_match(&self, other: &Context<'_>) -> bool {
        std::ptr::eq(self.path, other.path) && std::ptr::eq(self.rows, other.rows) && self.start == other.start
    }

    /// Position of a row of `of` within the match.
    fn find(&self, of: &Labels, end: End, skip: usize, running: bool) -> Option<usize> {
        let current = self.current?.checked_sub(self.start)?;
        self.path.find(of, end, skip, if running { current + 1 } else { self.path.len() })
    }

    /// Those of some rows of the match that are of `of`.
    fn places(&self, of: &Labels, rows: Range<usize>) -> impl Iterator<Item = usize> {
        rows.filter(|at| of.as_ref().is_none_or(|of| of.contains(&(self.path.labels()[*at] as usize))))
    }

    /// The event of a row of the match.
    fn event(&self, at: usize) -> Handle {
        self.rows[self.start + at].event
    }

    /// How many rows of the match there are up to the current one.
    fn up_to_current(&self) -> usize {
        self.current.map_or(self.path.len(), |current| (current + 1).saturating_sub(self.start).min(self.path.len()))
    }
}

/// Bindings ready to be computed.
#[derive(Debug)]
pub(super) struct RowBinder {
    schema: SchemaRef,
    bound: Vec<Bound>,
    seen: Seen,
}

/// The rows of matches as aggregates and CLASSIFIER see them.
#[derive(Debug)]
struct Seen {
    /// The input's columns, then what only the match knows.
    schema: SchemaRef,
    /// Names of the labels.
    names: Vec<String>,
}

impl Seen {
    /// Rows of matches, with only `columns` filled in.
    fn gather(&self, rows: &[(Context<'_>, usize)], columns: &[usize], kept: &KeptRows) -> Result<RecordBatch> {
        let handles: Vec<Handle> = rows.iter().map(|(context, at)| context.event(*at)).collect();
        let mut all = kept.gather_columns(&handles, columns)?.columns().to_vec();
        for at in all.len()..self.schema.fields().len() {
            all.push(if !columns.contains(&at) {
                new_null_array(self.schema.field(at).data_type(), rows.len())
            } else if at == self.number() {
                Arc::new(Int64Array::from_iter(rows.iter().map(|(context, _)| context.number)))
            } else {
                Arc::new(StringViewArray::from_iter(rows.iter().map(|(context, at)| self.name(context, *at))))
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), all, &options)?)
    }

    /// The name of the variable of a row of the match.
    fn name(&self, context: &Context<'_>, at: usize) -> Option<&str> {
        context.path.labels().get(at).map(|label| self.names[*label as usize].as_str())
    }

    /// The column of the match's number.
    fn number(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

#[derive(Debug)]
enum Bound {
    Navigate(Navigation, Vec<usize>),
    Aggregate { of: Labels, function: Aggregates, running: bool, columns: Vec<usize> },
    MatchNumber,
}

fn columns_of<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Vec<usize> {
    exprs.into_iter().flat_map(collect_columns).map(|column| column.index()).collect()
}

impl RowBinder {
    /// Bindings over `input`; `names` are those of the labels.
    pub(super) fn new(bindings: &[Binding], input: &SchemaRef, time: usize, names: &[String]) -> Result<Self> {
        let seen = Seen { schema: rows_schema(input), names: names.to_vec() };
        let bound = bindings.iter().map(|binding| {
            Ok(match binding {
                Binding::Navigate(navigation) => Bound::Navigate(navigation.clone(), columns_of(&navigation.value)),
                Binding::AggregateRows { of, function, running } => Bound::Aggregate {
                    of: of.clone(),
                    running: *running,
                    columns: columns_of(&function.expressions()),
                    function: Aggregates::new(std::slice::from_ref(function), &[], &seen.schema, &[])?,
                },
                Binding::MatchNumber => Bound::MatchNumber,
                other => return Err(Error::bug(format!("{other:?} is not for the rows of a match"))),
            })
        });
        let bound = bound.collect::<Result<_>>()?;
        Ok(RowBinder { schema: bindings_schema(input, time, bindings)?, bound, seen })
    }

    /// Does anything depend on how many matches came before?
    pub(super) fn reads_number(&self) -> bool {
        self.bound.iter().any(|bound| match bound {
            Bound::MatchNumber => true,
            Bound::Aggregate { columns, .. } => columns.contains(&self.seen.number()),
            Bound::Navigate(..) => false,
        })
    }

    /// How many rows before the start of a match it may look at, and how many behind its end.
    pub(super) fn reach(&self) -> (usize, usize) {
        let shifts =
            || self.bound.iter().filter_map(|bound| if let Bound::Navigate(navigation, _) = bound { Some(navigation.shift) } else { None });
        let back = shifts().min().unwrap_or(0).min(0).unsigned_abs() as usize;
        (back, shifts().max().unwrap_or(0).max(0) as usize)
    }

    /// Are all bindings about rows at some distance from the current one, whatever the match?
    pub(super) fn is_local(&self, label: usize) -> bool {
        let own = |of: &Labels| of.as_ref().is_none_or(|of| of.contains(&label));
        self.bound.iter().all(|bound| match bound {
            Bound::Navigate(navigation, _) => {
                navigation.end == End::Last && navigation.skip == 0 && own(&navigation.of) && navigation.value.is_some()
            }
            Bound::Aggregate { .. } | Bound::MatchNumber => false,
        })
    }

    /// One row per context: the current row's columns, then the bindings.
    pub(super) fn bind(&self, contexts: &[Context<'_>], unmatched: &[Handle], columns: &[usize], rows: &KeptRows) -> Result<RecordBatch> {
        self.bind_with(contexts, unmatched, columns, rows, |_, bound| self.column(bound, contexts, rows))
    }

    /// The row of one context of a search, whose aggregates go on from where they are.
    pub(super) fn bind_next(&self, context: Context<'_>, columns: &[usize], rows: &KeptRows, running: &mut Running) -> Result<RecordBatch> {
        self.bind_with(&[context], &[NO_ROW], columns, rows, |at, bound| match bound {
            Bound::Aggregate { of, function, running: true, columns } => {
                let sum = Sum { of, function, columns, rows, seen: &self.seen };
                sum.next(at, context, running)
            }
            other => self.column(other, &[context], rows),
        })
    }

    fn bind_with(
        &self,
        contexts: &[Context<'_>],
        unmatched: &[Handle],
        columns: &[usize],
        rows: &KeptRows,
        mut column: impl FnMut(usize, &Bound) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let current: Vec<Handle> =
            contexts.iter().zip(unmatched).map(|(context, other)| context.current.map_or(*other, |at| context.rows[at].event)).collect();
        let mut all = rows.gather_columns(&current, columns)?.columns().to_vec();
        for (at, bound) in self.bound.iter().enumerate() {
            all.push(column(at, bound)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(contexts.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), all, &options)?)
    }

    fn column(&self, bound: &Bound, contexts: &[Context<'_>], rows: &KeptRows) -> Result<ArrayRef> {
        match bound {
            Bound::MatchNumber => Ok(Arc::new(Int64Array::from_iter(contexts.iter().map(|context| context.number)))),
            Bound::Navigate(navigation, columns) => {
                let found = |context: &Context<'_>| -> Option<usize> {
                    let within = context.find(&navigation.of, navigation.end, navigation.skip, navigation.running)?;
                    usize::try_from((context.start + within) as i64 + navigation.shift).ok()
                };
                let Some(value) = &navigation.value else {
                    let name = |context: &Context<'_>| self.seen.name(context, found(context)?.checked_sub(context.start)?);
                    return Ok(Arc::new(StringViewArray::from_iter(contexts.iter().map(name))));
                };
                let handle = |context: &Context<'_>| found(context).and_then(|at| context.rows.get(at)).map_or(NO_ROW, |row| row.event);
                let handles: Vec<Handle> = contexts.iter().map(handle).collect();
                evaluate(value, &handles, columns, rows)
            }
            Bound::Aggregate { of, function, running, columns } => {
                let until = |context: &Context<'_>| if *running { context.up_to_current() } else { context.path.len() };
                if contexts.windows(2).any(|two| two[0].same_match(&two[1])) {
                    let mut values = Vec::with_capacity(contexts.len());
                    for of_match in contexts.chunk_by(Context::same_match) {
                        let ends: Vec<usize> = of_match.iter().map(until).collect();
                        let places: Vec<usize> = of_match[0].places(of, 0..ends.iter().copied().max().unwrap_or(0)).collect();
                        let taken: Vec<_> = places.iter().map(|at| (of_match[0], *at)).collect();
                        let added = arguments(function, &self.seen.gather(&taken, columns, rows)?)?;
                        fold(function, &added, ends.iter().map(|end| places.partition_point(|at| at < end)), &mut values)?;
                    }
                    return Ok(ScalarValue::iter_to_array(values)?);
                }
                let mut accumulators = function.accumulators()?;
                let (mut taken, mut groups) = (Vec::new(), Vec::new());
                for (group, context) in contexts.iter().enumerate() {
                    taken.extend(context.places(of, 0..until(context)).map(|at| (*context, at)));
                    groups.resize(taken.len(), group);
                }
                let batch = self.seen.gather(&taken, columns, rows)?;
                accumulators.update(&arguments(function, &batch)?.of_any_groups(), &groups, contexts.len())?;
                accumulators.take_results()?.into_iter().next().ok_or_else(|| Error::bug("an aggregate without a result"))
            }
        }
    }
}

/// The values of an aggregate over the first rows of a match: so many of `rows` for each. Every row is added once, where
/// the numbers ascend.
fn fold(function: &Aggregates, rows: &Arguments, ends: impl Iterator<Item = usize>, values: &mut Vec<ScalarValue>) -> Result<()> {
    let (mut sum, mut from) = (function.row_by_row()?, 0);
    for end in ends {
        if end < from {
            (sum, from) = (function.row_by_row()?, 0);
        }
        if end > from {
            sum.update(&rows.slice(from..end))?;
            from = end;
        }
        values.push(sum.value()?);
    }
    Ok(())
}

/// An aggregate over the rows of a match up to the tried one.
struct Sum<'a> {
    of: &'a Labels,
    function: &'a Aggregates,
    columns: &'a [usize],
    rows: &'a KeptRows,
    seen: &'a Seen,
}

impl Sum<'_> {
    /// Its value, which goes on from the states that are known; those with and without the tried row are kept.
    fn next(&self, at: usize, context: Context<'_>, running: &mut Running) -> Result<ArrayRef> {
        let rows = context.up_to_current();
        let before = rows.saturating_sub(1);
        for until in [before, rows] {
            let (from, states) = running.best(at, until).map_or((0, None), |(from, states)| (*from, Some(states.as_slice())));
            if states.is_none() || from < until {
                let taken: Vec<_> = context.places(self.of, from..until).map(|at| (context, at)).collect();
                let states = self.add(states, &taken)?;
                running.keep(at, until, states);
            }
        }
        let (_, states) = running.best(at, rows).ok_or_else(|| Error::bug("an aggregate without its states"))?;
        let mut result = self.function.accumulators()?;
        result.merge(states, &[0], 1)?;
        result.take_results()?.into_iter().next().ok_or_else(|| Error::bug("an aggregate without a result"))
    }

    fn add(&self, states: Option<&[ArrayRef]>, taken: &[(Context<'_>, usize)]) -> Result<Vec<ArrayRef>> {
        let mut accumulators = self.function.accumulators()?;
        if let Some(states) = states {
            accumulators.merge(states, &[0], 1)?;
        }
        let batch = self.seen.gather(taken, self.columns, self.rows)?;
        accumulators.update(&arguments(self.function, &batch)?.of_any_groups(), &vec![0; taken.len()], 1)?;
        accumulators.take_states()
    }
}

fn evaluate(value: &Expr, handles: &[Handle], columns: &[usize], rows: &KeptRows) -> Result<ArrayRef> {
    let batch = rows.gather_columns(handles, columns)?;
    let values = value.evaluate(&batch)?.into_array(handles.len())?;
    if !handles.contains(&NO_ROW) {
        return Ok(values);
    }
    let missing = BooleanArray::from(handles.iter().map(|handle| *handle == NO_ROW).collect::<Vec<_>>());
    Ok(arrow::compute::nullif(&values, &missing)?)
}
