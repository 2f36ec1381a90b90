//! Rows of bindings: for many (tried event, taken events) at once, the columns that conditions and emitted rows read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use crate::error::{Error, Result};
use crate::operator::aggregates::{Aggregates, Arguments};
use crate::operator::event_time::timestamps;
use crate::operator::expressions::Failures;
use crate::operator::pattern::binding::{Binding, Condition, Emission, End, Expr, Labels, bindings_schema, matched_fields};
use crate::operator::pattern::kept_rows::{Handle, KeptRows, NO_ROW};

/// Taken events in order, with their labels.
pub(super) type Taken = Vec<(u16, Handle)>;

/// Bindings ready to be computed.
#[derive(Debug)]
pub(super) struct Binder {
    schema: SchemaRef,
    bound: Vec<Bound>,
    names: Vec<String>,
    time_type: DataType,
}

#[derive(Debug)]
enum Bound {
    Row { of: Labels, end: End, skip: usize, value: Expr, columns: Vec<usize> },
    Aggregate { of: Labels, function: Aggregates, columns: Vec<usize> },
    EmitTime,
    Matched { columns: Vec<usize> },
}

fn is_of(labels: &Labels, label: u16) -> bool {
    labels.as_ref().is_none_or(|labels| labels.contains(&(label as usize)))
}

/// The columns that expressions read, each once.
pub(super) fn columns_of<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Vec<usize> {
    let mut columns: Vec<usize> = exprs.into_iter().flat_map(collect_columns).map(|column| column.index()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

impl Binder {
    /// Bindings over `input`; `names` are those of the labels.
    pub(super) fn new(bindings: &[Binding], input: &SchemaRef, time: usize, names: &[&str]) -> Result<Self> {
        let bound = bindings.iter().map(|binding| {
            Ok(match binding {
                Binding::Row { of, end, skip, value } => {
                    Bound::Row { of: of.clone(), end: *end, skip: *skip, value: value.clone(), columns: columns_of([value]) }
                }
                Binding::Aggregate { of, function } => Bound::Aggregate {
                    of: of.clone(),
                    columns: columns_of(
                        &function
                            .expressions()
                            .into_iter()
                            .chain(function.order_bys().iter().map(|sort| sort.expr.clone()))
                            .collect::<Vec<_>>(),
                    ),
                    function: Aggregates::new(std::slice::from_ref(function), &[], input, &[])?,
                },
                Binding::EmitTime => Bound::EmitTime,
                Binding::Matched(columns) => Bound::Matched { columns: columns.clone() },
                Binding::Navigate(_) | Binding::AggregateRows { .. } | Binding::MatchNumber => {
                    return Err(Error::bug(format!("{binding:?} is for the rows of MATCH_RECOGNIZE only")));
                }
            })
        });
        Ok(Binder {
            schema: bindings_schema(input, time, bindings)?,
            bound: bound.collect::<Result<_>>()?,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            time_type: input.field(time).data_type().clone(),
        })
    }

    /// One row per tried event (columns of the input) and what was taken before it.
    pub(super) fn bind(&self, events: &[ArrayRef], taken: &[&[(u16, Handle)]], emit_times: &[i64], rows: &KeptRows) -> Result<RecordBatch> {
        let mut columns = events.to_vec();
        for bound in &self.bound {
            columns.push(self.column(bound, taken, emit_times, rows)?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(taken.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn column(&self, bound: &Bound, taken: &[&[(u16, Handle)]], emit_times: &[i64], rows: &KeptRows) -> Result<ArrayRef> {
        match bound {
            Bound::Row { of, end, skip, value, columns } => {
                let mut found: Vec<Handle> = Vec::with_capacity(taken.len());
                for taken in taken {
                    let fit = |(label, handle): &(u16, Handle)| is_of(of, *label).then_some(*handle);
                    found.push(
                        match end {
                            End::First => taken.iter().filter_map(fit).nth(*skip),
                            End::Last => taken.iter().rev().filter_map(fit).nth(*skip),
                        }
                        .unwrap_or(NO_ROW),
                    );
                }
                let batch = rows.gather_columns(&found, columns)?;
                let values = value.evaluate(&batch)?.into_array(found.len())?;
                if found.contains(&NO_ROW) {
                    // A value that needs no column (a literal) must still be NULL where there is no event.
                    let missing = BooleanArray::from(found.iter().map(|handle| *handle == NO_ROW).collect::<Vec<_>>());
                    return Ok(arrow::compute::nullif(&values, &missing)?);
                }
                Ok(values)
            }
            Bound::Aggregate { of, function, columns } => {
                let mut accumulators = function.accumulators()?;
                let mut handles: Vec<Handle> = Vec::new();
                let mut groups: Vec<usize> = Vec::new();
                for (group, taken) in taken.iter().enumerate() {
                    for (_, handle) in taken.iter().filter(|(label, _)| is_of(of, *label)) {
                        handles.push(*handle);
                        groups.push(group);
                    }
                }
                let batch = rows.gather_columns(&handles, columns)?;
                accumulators.update(&arguments(function, &batch)?.of_any_groups(), &groups, taken.len())?;
                accumulators.take_results()?.into_iter().next().ok_or_else(|| Error::bug("an aggregate without a result"))
            }
            Bound::EmitTime => timestamps(emit_times, &self.time_type),
            Bound::Matched { columns } => {
                let handles: Vec<Handle> = taken.iter().flat_map(|taken| taken.iter().map(|(_, handle)| *handle)).collect();
                let labels = taken.iter().flat_map(|taken| taken.iter().map(|(label, _)| self.names[*label as usize].as_str()));
                let batch = rows.gather_columns(&handles, columns)?;
                let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter_values(labels))];
                arrays.extend(columns.iter().map(|column| batch.column(*column).clone()));
                let fields = matched_fields(batch.schema_ref(), columns);
                let structs = StructArray::try_new(fields.clone(), arrays, None)?;
                let offsets = OffsetBuffer::from_lengths(taken.iter().map(|taken| taken.len()));
                let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
                Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), None)?))
            }
        }
    }
}

/// A condition that reads taken events.
#[derive(Debug)]
pub(super) struct BoundCondition {
    binder: Binder,
    expr: Expr,
    /// Columns of the input that it reads of the tried event.
    columns: Vec<usize>,
}

impl BoundCondition {
    /// A condition over `input`.
    pub(super) fn new(condition: &Condition, input: &SchemaRef, time: usize, names: &[&str]) -> Result<Self> {
        let mut columns = columns_of([&condition.expr]);
        columns.retain(|column| *column < input.fields().len());
        Ok(BoundCondition { binder: Binder::new(&condition.bindings, input, time, names)?, expr: condition.expr.clone(), columns })
    }

    /// Its value for each (row of `batch`, taken events).
    pub(super) fn evaluate(&self, batch: &RecordBatch, tried: &[u32], taken: &[&[(u16, Handle)]], rows: &KeptRows) -> Result<BooleanArray> {
        let tried = UInt32Array::from(tried.to_vec());
        let events = batch.columns().iter().enumerate().map(|(at, column)| {
            if self.columns.contains(&at) {
                Ok(arrow::compute::take(column, &tried, None)?)
            } else {
                Ok(arrow::array::new_null_array(column.data_type(), tried.len()))
            }
        });
        let bound = self.binder.bind(&events.collect::<Result<Vec<_>>>()?, taken, &[], rows)?;
        truth(&self.expr, &bound)
    }
}

/// The value of a boolean expression, NULL being false.
pub(super) fn truth(expr: &Expr, batch: &RecordBatch) -> Result<BooleanArray> {
    boolean(expr.evaluate(batch)?.into_array(batch.num_rows())?)
}

/// Values as booleans, NULL being false.
pub(super) fn boolean(value: ArrayRef) -> Result<BooleanArray> {
    let value = if *value.data_type() == DataType::Boolean { value } else { cast(&value, &DataType::Boolean)? };
    let value = value.as_boolean();
    Ok(if value.null_count() > 0 { prep_null_mask_filter(value) } else { value.clone() })
}

/// The arguments of aggregates over events taken before: one that fails now was not seen to fail when the event came, so
/// there is no row to refuse.
pub(super) fn arguments(function: &Aggregates, batch: &RecordBatch) -> Result<Arguments> {
    let mut failures = Failures::default();
    let arguments = function.evaluate(batch, &mut failures)?;
    match failures.iter().next() {
        Some((_, error)) => Err(Error::failed(format!("an aggregate of a rule fails on a matched event: {error}"))),
        None => Ok(arguments),
    }
}

/// An emission at work.
#[derive(Debug)]
pub(super) struct Emitter {
    binder: Binder,
    columns: Vec<Expr>,
    /// Columns of the input that they read of the last event.
    needed: Vec<usize>,
}

impl Emitter {
    /// An emission over `input`.
    pub(super) fn new(emission: &Emission, input: &SchemaRef, time: usize, names: &[&str]) -> Result<Self> {
        let mut needed = columns_of(&emission.columns);
        needed.retain(|column| *column < input.fields().len());
        Ok(Emitter { binder: Binder::new(&emission.bindings, input, time, names)?, columns: emission.columns.clone(), needed })
    }

    /// One row of `schema` per match: its events, and when it is emitted.
    pub(super) fn rows(&self, taken: &[&[(u16, Handle)]], emit_times: &[i64], rows: &KeptRows, schema: &SchemaRef) -> Result<RecordBatch> {
        let last: Vec<Handle> = taken.iter().map(|taken| taken.last().map_or(NO_ROW, |(_, handle)| *handle)).collect();
        let events = rows.gather_columns(&last, &self.needed)?;
        let bound = self.binder.bind(events.columns(), taken, emit_times, rows)?;
        emitted(&self.columns, &bound, schema)
    }
}

/// The columns of `schema` from their expressions.
pub(super) fn emitted(columns: &[Expr], bound: &RecordBatch, schema: &Schema) -> Result<RecordBatch> {
    let values = columns.iter().zip(schema.fields()).map(|(expr, field)| {
        let value = expr.evaluate(bound)?.into_array(bound.num_rows())?;
        Ok(if value.data_type() == field.data_type() { value } else { cast(&value, field.data_type())? })
    });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(bound.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema.clone()), values.collect::<Result<_>>()?, &options)?)
}

/// Times as a plain column of a state table.
pub(super) fn int64s(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}
