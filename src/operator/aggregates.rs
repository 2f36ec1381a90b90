//! The aggregates of an operator: their arguments and filters over a batch, their accumulators, their states.
//!
//! Aggregates whose result depends on the order of rows (FIRST_VALUE, LAST_VALUE, ARRAY_AGG, …) get event time, then the
//! hidden sequence column, as (further) ORDER BY, so that neither disorder nor the way state is merged changes a result.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{self, SortOptions, take};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator, utils::AggregateOrderSensitivity};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, PhysicalSortExpr};

use crate::error::{Error, Result};
use crate::operator::count_distinct::CountDistinct;
use crate::operator::expressions::{self, Failures};

/// Aggregates whose result follows the order of rows even without an ORDER BY.
const ORDERED: [&str; 5] = ["first_value", "last_value", "nth_value", "array_agg", "string_agg"];

/// The aggregates of an operator.
#[derive(Debug)]
pub struct Aggregates {
    each: Vec<Aggregate>,
}

#[derive(Debug)]
struct Aggregate {
    function: Arc<AggregateFunctionExpr>,
    arguments: Vec<Argument>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Columns of its state.
    states: Vec<FieldRef>,
}

/// What an aggregate is applied to.
#[derive(Debug)]
enum Argument {
    Expr(Arc<dyn PhysicalExpr>),
    /// The same for every row (`COUNT(*)` counts a literal): a column of [`CONSTANT_ROWS`], to be sliced.
    Constant(ArrayRef),
}

/// Rows for which constant arguments are at hand: as many as a batch has at most, mostly.
const CONSTANT_ROWS: usize = 8192;

impl Argument {
    fn new(expr: Arc<dyn PhysicalExpr>) -> Result<Self> {
        Ok(match expr.downcast_ref::<Literal>() {
            Some(literal) => Argument::Constant(literal.value().to_array_of_size(CONSTANT_ROWS)?),
            None => Argument::Expr(expr),
        })
    }

    fn evaluate(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        match self {
            Argument::Expr(expr) => expressions::evaluate(expr, batch, failures),
            Argument::Constant(column) if rows <= CONSTANT_ROWS => Ok(column.slice(0, rows)),
            Argument::Constant(column) => Ok(ScalarValue::try_from_array(column, 0)?.to_array_of_size(rows)?),
        }
    }
}

/// One accumulator per aggregate, each for all groups; groups are numbered from 0 by the caller.
pub struct Accumulators {
    each: Vec<(Box<dyn GroupsAccumulator>, Vec<FieldRef>)>,
}

impl Accumulators {
    /// Adds rows: `groups` has the group of each, of `total` groups so far.
    pub fn update(&mut self, arguments: &Arguments, groups: &[usize], total: usize) -> Result<()> {
        for ((accumulator, _), (arguments, filter)) in self.each.iter_mut().zip(&arguments.each) {
            accumulator.update_batch(arguments, groups, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Adds states (columns as in [`Aggregates::state_fields`]): `groups` has the group of each row.
    pub fn merge(&mut self, mut states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        for (accumulator, fields) in &mut self.each {
            let (own, rest) = states.split_at(fields.len());
            accumulator.merge_batch(own, groups, total)?;
            states = rest;
        }
        Ok(())
    }

    /// The states of rows, each a group of its own; nothing is added.
    pub fn states_of_rows(&self, arguments: &Arguments) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for ((accumulator, fields), (arguments, filter)) in self.each.iter().zip(&arguments.each) {
            columns.extend(as_declared(accumulator.convert_to_state(arguments, filter.as_ref())?, fields)?);
        }
        Ok(columns)
    }

    /// The states of all groups; the accumulators are empty then.
    pub fn take_states(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for (accumulator, fields) in &mut self.each {
            columns.extend(as_declared(accumulator.state(EmitTo::All)?, fields)?);
        }
        Ok(columns)
    }

    /// The results of all groups; the accumulators are empty then.
    pub fn take_results(&mut self) -> Result<Vec<ArrayRef>> {
        self.each.iter_mut().map(|(accumulator, _)| Ok(accumulator.evaluate(EmitTo::All)?)).collect()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.each.iter().map(|(accumulator, _)| accumulator.size()).sum()
    }
}

/// An accumulator may give a state another type than it declares (a list's element name, an offset's width).
fn as_declared(state: Vec<ArrayRef>, fields: &[FieldRef]) -> Result<Vec<ArrayRef>> {
    let declared = state.into_iter().zip(fields).map(|(column, field)| {
        let fits = column.data_type() == field.data_type();
        if fits { Ok(column) } else { Ok(arrow::compute::cast(&column, field.data_type())?) }
    });
    declared.collect()
}

/// Arguments and filters of all aggregates over some rows.
#[derive(Debug, Clone)]
pub struct Arguments {
    each: Vec<(Vec<ArrayRef>, Option<BooleanArray>)>,
}

impl Aggregates {
    /// Aggregates over rows of schema `input`; `time` and `seq` are the columns that order rows.
    pub fn new(
        functions: &[Arc<AggregateFunctionExpr>],
        filters: &[Option<Arc<dyn PhysicalExpr>>],
        input: &SchemaRef,
        order: &[usize],
    ) -> Result<Self> {
        let aggregate = |(function, filter): (&Arc<AggregateFunctionExpr>, &Option<Arc<dyn PhysicalExpr>>)| -> Result<Aggregate> {
            let function = in_row_order(function, input, order)?;
            let arguments = function.expressions().into_iter().chain(function.order_bys().iter().map(|sort| sort.expr.clone()));
            let arguments = arguments.map(Argument::new).collect::<Result<_>>()?;
            let states = function.state_fields()?.iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
            Ok(Aggregate { function, arguments, filter: filter.clone(), states })
        };
        let none = std::iter::repeat(&None);
        Ok(Aggregates { each: functions.iter().zip(filters.iter().chain(none)).map(aggregate).collect::<Result<_>>()? })
    }

    /// Fields of all states, in order: what a state block holds after its keys.
    pub fn state_fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.each.iter().flat_map(|aggregate| &aggregate.states)
    }

    /// Has every aggregate an accumulator for all groups at once? Only those turn rows into states cheaply.
    pub fn are_vectorised(&self) -> bool {
        self.each.iter().all(|aggregate| is_vectorised(&aggregate.function))
    }

    /// Accumulators without groups.
    pub fn accumulators(&self) -> Result<Accumulators> {
        let each = self.each.iter().map(|aggregate| Ok((accumulator(&aggregate.function)?, aggregate.states.clone())));
        Ok(Accumulators { each: each.collect::<Result<_>>()? })
    }

    /// The first aggregate for a single group, whose value may be asked for while rows are added.
    pub fn row_by_row(&self) -> Result<RowByRow> {
        let first = self.each.first().ok_or_else(|| Error::bug("no aggregate to add rows to"))?;
        Ok(RowByRow(first.function.create_accumulator()?))
    }

    /// Evaluates arguments and filters over the rows of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<Arguments> {
        let each = self.each.iter().map(|aggregate| {
            let arguments = aggregate.arguments.iter().map(|argument| argument.evaluate(batch, failures)).collect::<Result<Vec<_>>>()?;
            let filter = aggregate.filter.as_ref().map(|filter| expressions::holds(filter, batch, failures)).transpose()?;
            Ok((arguments, filter))
        });
        Ok(Arguments { each: each.collect::<Result<_>>()? })
    }
}

/// An aggregate of a single group.
pub struct RowByRow(Box<dyn Accumulator>);

impl RowByRow {
    /// Adds rows.
    pub fn update(&mut self, arguments: &Arguments) -> Result<()> {
        match arguments.each.first() {
            Some((arguments, None)) => Ok(self.0.update_batch(arguments)?),
            Some((arguments, Some(filter))) => {
                let kept = arguments.iter().map(|argument| compute::filter(argument, filter)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.0.update_batch(&kept)?)
            }
            None => Ok(()),
        }
    }

    /// Its value so far.
    pub fn value(&mut self) -> Result<ScalarValue> {
        Ok(self.0.evaluate()?)
    }
}

impl Arguments {
    /// For groups of which some may have no row: without a filter DataFusion's accumulators take it that each has one, and
    /// the sum of none would be 0.
    pub fn of_any_groups(mut self) -> Self {
        for (arguments, filter) in &mut self.each {
            if let (Some(rows), None) = (arguments.first().map(|argument| argument.len()), &filter) {
                *filter = Some(BooleanArray::from(vec![true; rows]));
            }
        }
        self
    }

    /// Those of some rows that follow each other.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let cut = |(arguments, filter): &(Vec<ArrayRef>, Option<BooleanArray>)| {
            let arguments = arguments.iter().map(|argument| argument.slice(rows.start, rows.len())).collect();
            (arguments, filter.as_ref().map(|filter| filter.slice(rows.start, rows.len())))
        };
        Arguments { each: self.each.iter().map(cut).collect() }
    }

    /// Those of the given rows.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self> {
        // SUM(x) and AVG(x) share their argument: take it once.
        let mut taken: Vec<(&ArrayRef, ArrayRef)> = Vec::new();
        let mut each = Vec::with_capacity(self.each.len());
        for (arguments, filter) in &self.each {
            let mut columns = Vec::with_capacity(arguments.len());
            for argument in arguments {
                let known = taken.iter().find(|(from, _)| Arc::ptr_eq(from, argument)).map(|(_, to)| to.clone());
                columns.push(match known {
                    Some(column) => column,
                    None => {
                        let column = take(argument, rows, None)?;
                        taken.push((argument, column.clone()));
                        column
                    }
                });
            }
            let filter = filter.as_ref().map(|filter| take(filter, rows, None)).transpose()?;
            each.push((columns, filter.map(|filter| filter.as_boolean().clone())));
        }
        Ok(Arguments { each })
    }
}

/// The same aggregate, ordered by `order` (ascending) where the order of rows matters to it.
fn in_row_order(function: &Arc<AggregateFunctionExpr>, input: &SchemaRef, order: &[usize]) -> Result<Arc<AggregateFunctionExpr>> {
    let ordered = ORDERED.contains(&function.fun().name()) || !function.order_bys().is_empty();
    if !ordered || function.is_distinct() || order.is_empty() {
        return Ok(function.clone());
    }
    let mut order_by = function.order_bys().to_vec();
    for column in order {
        let expr = Arc::new(Column::new(input.field(*column).name(), *column));
        order_by.push(PhysicalSortExpr::new(expr, SortOptions { descending: false, nulls_first: true }));
    }
    let rebuilt = AggregateExprBuilder::new(Arc::new(function.fun().clone()), function.expressions())
        .order_by(order_by)
        .schema(input.clone())
        .alias(function.name())
        .with_ignore_nulls(function.ignore_nulls())
        .with_reversed(function.is_reversed())
        .build()?;
    Ok(Arc::new(rebuilt))
}

/// The vectorised accumulator of an aggregate, or an adapter over one accumulator per group where it has none.
fn accumulator(function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if function.order_sensitivity() == AggregateOrderSensitivity::HardRequirement {
        return Ok(Box::new(SortedBatches { inner: one_per_group(function), function: function.clone() }));
    }
    if function.is_distinct()
        && function.fun().name() == "count"
        && !function.groups_accumulator_supported()
        && function.expressions().len() == 1
        && let [state] = function.state_fields()?.as_slice()
        && let DataType::List(element) = state.data_type()
    {
        return Ok(Box::new(CountDistinct::new(element.data_type())?));
    }
    if is_vectorised(function) {
        return Ok(function.create_groups_accumulator()?);
    }
    Ok(one_per_group(function))
}

fn is_vectorised(function: &AggregateFunctionExpr) -> bool {
    function.groups_accumulator_supported() && function.order_sensitivity() != AggregateOrderSensitivity::HardRequirement
}

fn one_per_group(function: &Arc<AggregateFunctionExpr>) -> Box<dyn GroupsAccumulator> {
    let function = function.clone();
    Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator()))
}

/// An aggregate that only works on rows in its order (NTH_VALUE): every batch is sorted, aggregated for itself, and its
/// state, which carries the order, merged.
struct SortedBatches {
    inner: Box<dyn GroupsAccumulator>,
    function: Arc<AggregateFunctionExpr>,
}

impl GroupsAccumulator for SortedBatches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> datafusion::error::Result<()> {
        let first = values.len() - self.function.order_bys().len();
        let columns: Vec<_> = values[first..]
            .iter()
            .zip(self.function.order_bys())
            .map(|(values, sort)| arrow::compute::SortColumn { values: values.clone(), options: Some(sort.options) })
            .collect();
        let order = arrow::compute::lexsort_to_indices(&columns, None)?;
        let values = arrow::compute::take_arrays(values, &order, None)?;
        let filter = opt_filter.map(|filter| take(filter, &order, None)).transpose()?;
        let filter = filter.as_ref().map(|filter| filter.as_boolean());
        // Groups of this batch, numbered densely: the piece costs what the batch costs.
        let mut present: Vec<usize> = group_indices.to_vec();
        present.sort_unstable();
        present.dedup();
        let dense: Vec<usize> = order.values().iter().map(|row| present.partition_point(|g| *g < group_indices[*row as usize])).collect();
        let mut piece = one_per_group(&self.function);
        piece.update_batch(&values, &dense, filter, present.len())?;
        self.inner.merge_batch(&piece.state(EmitTo::All)?, &present, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> datafusion::error::Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> datafusion::error::Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> datafusion::error::Result<()> {
        self.inner.merge_batch(values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> datafusion::error::Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

/// The grouping id of DataFusion: one bit per key (set where it is NULL), repeated sets numbered above those, in the
/// smallest unsigned type that holds all bits.
pub fn grouping_ids(sets: &[Vec<bool>]) -> Result<Vec<ScalarValue>> {
    let keys = sets.first().map_or(0, Vec::len);
    let ordinal = |i: usize| sets[..i].iter().filter(|set| **set == sets[i]).count() as u64;
    let highest = (0..sets.len()).map(ordinal).max().unwrap_or(0);
    let bits = keys + (u64::BITS - highest.leading_zeros()) as usize;
    if bits > 64 {
        return Err(crate::error::Error::input(format!(
            "GROUPING SETS over {keys} columns need {bits} bits of grouping id; at most 64 are supported"
        )));
    }
    let id = |(i, set): (usize, &Vec<bool>)| {
        let id = set.iter().fold(0_u64, |id, null| (id << 1) | u64::from(*null));
        let id = if keys < 64 { id | (ordinal(i) << keys) } else { id };
        match bits {
            0..=8 => ScalarValue::UInt8(Some(id as u8)),
            9..=16 => ScalarValue::UInt16(Some(id as u16)),
            17..=32 => ScalarValue::UInt32(Some(id as u32)),
            _ => ScalarValue::UInt64(Some(id)),
        }
    };
    Ok(sets.iter().enumerate().map(id).collect())
}
