//! Session windows: bursts of rows of a key, separated by at least a gap. Rows exactly `gap` apart still merge.
//!
//! ```text
//!  gap 30 min   09:00  09:20          10:02  10:30     a row at 09:41 would bridge the two
//!               └─ [09:00, 09:50) ─┘  └─ [10:02, 11:00) ─┘
//! ```
//! A session closes when the watermark reaches its end, a gap after its last row. A row that comes late still counts if
//! it falls into a session that is open.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, filter, filter_record_batch, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::error::{Error, Result};
use crate::operator::aggregates::{Accumulators, Aggregates};
use crate::operator::event_time::{micros, refuse_late, refuse_null_times, window_columns};
use crate::operator::expressions::Failures;
use crate::operator::identity::aggregate_identity;
use crate::operator::row_store::unpin;
use crate::operator::session_store::{Pieces, Sessions};
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::{Watermark, Window, WindowKind};

/// Describes an aggregation over session windows whose partition key is the group key, over one input.
#[derive(Debug)]
pub struct SessionAggregateSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// Event-time column.
    pub time: usize,
    /// The gap, microseconds.
    pub gap_micros: i64,
    /// Columns of `input` that are PARTITION BY and GROUP BY at once (may be none: one global chain of sessions).
    pub keys: Vec<usize>,
    /// The aggregates (their arguments are over `input`).
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Per aggregate: its FILTER clause.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// Keys, aggregates, `window_start`, `window_end`, `window_time`, typed as in `WindowAggregateSpec`.
    pub schema: SchemaRef,
}

/// Describes session assignment without aggregation, over one input: keeps the rows of open sessions and, when a
/// session closes, hands them on with its window as columns. The general case behind GROUP BY on other keys, joins, Top-N.
#[derive(Debug)]
pub struct SessionAssignSpec {
    /// Event-time column.
    pub time: usize,
    /// The gap, microseconds.
    pub gap_micros: i64,
    /// PARTITION BY columns of the input.
    pub keys: Vec<usize>,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// Input columns, then `window_start`, `window_end`, `window_time`, typed as in `WindowAssignSpec`.
    pub schema: SchemaRef,
}

fn by_keys(keys: &[usize]) -> Distribution {
    if keys.is_empty() { Distribution::Single } else { Distribution::ByKey(keys.to_vec()) }
}

impl OperatorSpec for SessionAggregateSpec {
    fn name(&self) -> &'static str {
        "session aggregation"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| self.input.field(*key).name().as_str()).collect();
        let aggregates: Vec<&str> = self.aggregates.iter().map(|aggregate| aggregate.name()).collect();
        let time = self.input.field(self.time).name();
        let kind = WindowKind::Session { gap: self.gap_micros };
        format!("[{}] by [{}] over {kind} on {time}", aggregates.join(", "), keys.join(", "))
    }

    fn identity(&self) -> String {
        let filters = self.filters.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let aggregates: Vec<String> = self.aggregates.iter().zip(filters).map(|(a, filter)| aggregate_identity(a, filter)).collect();
        let (time, gap, keys, seq) = (self.time, self.gap_micros, &self.keys, self.seq);
        format!("session aggregation on @{time} gap {gap} keys {keys:?} aggregates [{}] seq {seq:?}", aggregates.join(", "))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        by_keys(&self.keys)
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        WindowKind::Session { gap: self.gap_micros }.check()?;
        let order: Vec<usize> = std::iter::once(self.time).chain(self.seq).collect();
        let aggregates = Aggregates::new(&self.aggregates, &self.filters, &self.input, &order)?;
        let mut fields: Vec<FieldRef> = self.keys.iter().map(|key| Arc::new(self.input.field(*key).clone().with_nullable(true))).collect();
        fields.push(Arc::new(Field::new("first", DataType::Int64, false)));
        fields.push(Arc::new(Field::new("last", DataType::Int64, false)));
        fields.extend(aggregates.state_fields().cloned());
        let schema = Arc::new(Schema::new(fields));
        let groups = Groups {
            key_schema: Arc::new(schema.project(&(0..self.keys.len()).collect::<Vec<_>>())?),
            keys: Vec::new(),
            accumulators: aggregates.accumulators()?,
            aggregates,
            schema: schema.clone(),
        };
        let sessions = Sessions::open(state, schema, (0..self.keys.len()).collect(), self.gap_micros, false, &groups)?;
        Ok(Box::new(SessionAggregate { time: self.time, keys: self.keys.clone(), sessions, groups, schema: self.schema.clone() }))
    }
}

/// Pieces that are partial aggregates: keys, first and last event time, states.
struct Groups {
    aggregates: Aggregates,
    key_schema: SchemaRef,
    /// Keys of the delta's pieces, one batch after the other.
    keys: Vec<RecordBatch>,
    /// Aggregates of the delta's pieces.
    accumulators: Accumulators,
    schema: SchemaRef,
}

impl Groups {
    /// Index of the first state column.
    fn states(&self) -> usize {
        self.key_schema.fields().len() + 2
    }

    /// Notes the keys of new pieces of the delta; copies them, so that the chunk they were read from is not held.
    fn add_keys(&mut self, keys: Vec<ArrayRef>, rows: usize) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        self.keys.push(unpin(RecordBatch::try_new_with_options(self.key_schema.clone(), keys, &options)?)?);
        Ok(())
    }

    /// Accumulators in which each session's pieces have been merged.
    fn merged(&self, pieces: &RecordBatch, sessions: &[usize], total: usize) -> Result<Accumulators> {
        let mut accumulators = self.aggregates.accumulators()?;
        accumulators.merge(&pieces.columns()[self.states()..], sessions, total)?;
        Ok(accumulators)
    }
}

/// The first row of each session in `sessions`, which is ascending.
fn first_rows(sessions: &[usize]) -> UInt32Array {
    let begins = |row: &usize| *row == 0 || sessions[row - 1] != sessions[*row];
    UInt32Array::from_iter_values((0..sessions.len()).filter(begins).map(|row| row as u32))
}

impl Pieces for Groups {
    fn seal(&mut self, spans: &[(i64, i64)]) -> Result<RecordBatch> {
        let mut columns = concat_batches(&self.key_schema, &std::mem::take(&mut self.keys))?.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.0))));
        columns.push(Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.1))));
        columns.extend(self.accumulators.take_states()?);
        unpin(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn merge(&self, pieces: RecordBatch, sessions: Vec<usize>) -> Result<(RecordBatch, Vec<usize>)> {
        let first_rows = first_rows(&sessions);
        let total = first_rows.len();
        let mut columns = take_arrays(&pieces.columns()[..self.key_schema.fields().len()], &first_rows, None)?;
        let (starts, lasts) = self.spans(&pieces)?;
        let mut spans = vec![(i64::MAX, i64::MIN); total];
        for (row, session) in sessions.iter().enumerate() {
            let span = &mut spans[*session];
            *span = (span.0.min(starts.value(row)), span.1.max(lasts.value(row)));
        }
        columns.push(Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.0))));
        columns.push(Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.1))));
        columns.extend(self.merged(&pieces, &sessions, total)?.take_states()?);
        Ok((unpin(RecordBatch::try_new(self.schema.clone(), columns)?)?, (0..total).collect()))
    }

    fn spans(&self, pieces: &RecordBatch) -> Result<(Int64Array, Int64Array)> {
        let column = |index: usize| {
            let times = pieces.column(index).as_primitive_opt::<Int64Type>().cloned();
            times.ok_or_else(|| Error::corrupt("a state block of a session aggregation has no times"))
        };
        let keys = self.key_schema.fields().len();
        Ok((column(keys)?, column(keys + 1)?))
    }
}

struct SessionAggregate {
    time: usize,
    keys: Vec<usize>,
    sessions: Sessions,
    groups: Groups,
    schema: SchemaRef,
}

impl Operator for SessionAggregate {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (mut batch, mut times) = refuse_null_times(batch, self.time, out)?;
        let mut failures = Failures::default();
        let mut arguments = self.groups.aggregates.evaluate(&batch, &mut failures)?;
        if let Some(others) = out.refuse_failed(&batch, &failures)? {
            batch = filter_record_batch(&batch, &others)?;
            times = filter(&times, &others)?.as_primitive::<Int64Type>().clone();
            arguments = self.groups.aggregates.evaluate(&batch, &mut Failures::default())?;
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).clone()).collect();
        let placed = self.sessions.place(&keys, times.values())?;
        let began = UInt32Array::from(placed.began);
        if !began.values().is_empty() {
            self.groups.add_keys(take_arrays(&keys, &began, None)?, began.len())?;
        }
        if placed.late.is_empty() {
            self.groups.accumulators.update(&arguments, &placed.pieces, placed.total)?;
        } else if !placed.rows.is_empty() {
            self.groups.accumulators.update(&arguments.take(&placed.rows.into())?, &placed.pieces, placed.total)?;
        }
        refuse_late_rows(&batch, placed.late, self.sessions.mark(), out)?;
        self.sessions.relieve(&mut self.groups)
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        let closed = self.sessions.advance(mark, &mut self.groups)?;
        if !closed.is_empty() {
            let (pieces, of) = self.sessions.gather(&closed)?;
            let mut columns = take_arrays(&pieces.columns()[..self.keys.len()], &first_rows(&of), None)?;
            columns.extend(self.groups.merged(&pieces, &of, closed.len())?.take_results()?);
            let windows: Vec<Window> = closed.iter().map(|session| session.window).collect();
            columns.extend(window_columns(&windows, &self.schema)?);
            out.emit_many(&RecordBatch::try_new(self.schema.clone(), columns)?);
            self.sessions.release(&closed);
            self.sessions.tidy(&mut self.groups)?;
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _: &mut Output) -> Result<()> {
        self.sessions.keep(&mut self.groups)
    }

    fn state_bytes(&self) -> usize {
        let keys: usize = self.groups.keys.iter().map(RecordBatch::get_array_memory_size).sum();
        self.sessions.bytes() + self.groups.accumulators.bytes() + keys
    }
}

fn refuse_late_rows(batch: &RecordBatch, rows: Vec<u32>, mark: Watermark, out: &mut Output) -> Result<()> {
    let pairs = rows.len() as u64;
    refuse_late(batch, rows, pairs, || format!("the session of the row had closed: the watermark was {mark}"), out)
}

impl OperatorSpec for SessionAssignSpec {
    fn name(&self) -> &'static str {
        "session assignment"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| self.schema.field(*key).name().as_str()).collect();
        let kind = WindowKind::Session { gap: self.gap_micros };
        format!("{kind} on {} by [{}]", self.schema.field(self.time).name(), keys.join(", "))
    }

    fn identity(&self) -> String {
        format!("session assignment on @{} gap {} keys {:?}", self.time, self.gap_micros, self.keys)
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        by_keys(&self.keys)
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        WindowKind::Session { gap: self.gap_micros }.check()?;
        let width = self.schema.fields().len().saturating_sub(3);
        let fields: Vec<FieldRef> = self.schema.fields()[..width].to_vec();
        let schema = Arc::new(Schema::new(fields));
        let rows = Rows { time: self.time, delta: Vec::new(), schema: schema.clone() };
        let sessions = Sessions::open(state, schema, self.keys.clone(), self.gap_micros, true, &rows)?;
        Ok(Box::new(SessionAssign { time: self.time, keys: self.keys.clone(), sessions, rows, schema: self.schema.clone() }))
    }
}

/// Pieces that are rows as they came.
struct Rows {
    time: usize,
    delta: Vec<RecordBatch>,
    schema: SchemaRef,
}

impl Pieces for Rows {
    fn seal(&mut self, _: &[(i64, i64)]) -> Result<RecordBatch> {
        unpin(concat_batches(&self.schema, &std::mem::take(&mut self.delta))?)
    }

    fn merge(&self, pieces: RecordBatch, sessions: Vec<usize>) -> Result<(RecordBatch, Vec<usize>)> {
        Ok((unpin(pieces)?, sessions))
    }

    fn spans(&self, pieces: &RecordBatch) -> Result<(Int64Array, Int64Array)> {
        let times = micros(pieces.column(self.time))?;
        Ok((times.clone(), times))
    }
}

struct SessionAssign {
    time: usize,
    keys: Vec<usize>,
    sessions: Sessions,
    rows: Rows,
    schema: SchemaRef,
}

impl Operator for SessionAssign {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, times) = refuse_null_times(batch, self.time, out)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).clone()).collect();
        let placed = self.sessions.place(&keys, times.values())?;
        if !placed.began.is_empty() {
            let rows = take_record_batch(&batch, &UInt32Array::from(placed.began))?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(self.rows.schema.clone(), rows.columns().to_vec(), &options)?;
            // Only what is kept may hold memory, not the chunk it was read from.
            self.rows.delta.push(unpin(rows)?);
        }
        refuse_late_rows(&batch, placed.late, self.sessions.mark(), out)?;
        self.sessions.relieve(&mut self.rows)
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        let closed = self.sessions.advance(mark, &mut self.rows)?;
        if !closed.is_empty() {
            let (rows, of) = self.sessions.gather(&closed)?;
            let windows: Vec<Window> = of.iter().map(|session| closed[*session].window).collect();
            let mut columns = rows.columns().to_vec();
            columns.extend(window_columns(&windows, &self.schema)?);
            out.emit_many(&RecordBatch::try_new(self.schema.clone(), columns)?);
            self.sessions.release(&closed);
            self.sessions.tidy(&mut self.rows)?;
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _: &mut Output) -> Result<()> {
        self.sessions.keep(&mut self.rows)
    }

    fn state_bytes(&self) -> usize {
        self.sessions.bytes() + self.rows.delta.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
