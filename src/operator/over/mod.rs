//! OVER: aggregates over a sliding frame of each key's rows in event-time order; a row leaves when the watermark passes it.
//!
//! ```text
//!  rows ──▶ pending ──watermark: in event-time order──▶ slot of the key ──▶ frames by slot ──▶ row + results
//!                                                                              │ key, time, arguments
//!                                                                              ▼
//!                                                                           history: what a restore feeds to the frames again
//! ```
//! Rows of one time see one result where the frame goes by RANGE. Read `frame/column.rs`, then `frame/fold.rs`.

mod history;
mod lag;
mod rank;
mod row_number;
mod running;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use self::history::{Parts, RangeHistory, RowsHistory, history_schema, parts};
use self::lag::Lag;
use self::rank::Rank;
use self::row_number::RowNumber;
use self::running::{Running, running_schema};
use crate::error::Result;
use crate::operator::event_time::{micros, refuse_late, refuse_null_times};
use crate::operator::expressions::{Failures, evaluate};
use crate::operator::frame::choose::{column_of, filter_as_null, is_slow, needs_no_argument};
use crate::operator::frame::column::{Column, SortedRows, Ties};
use crate::operator::frame::nth::Nth;
use crate::operator::frame::{Frame, WhichRow};
use crate::operator::identity::{aggregate_identity, expr_identity, types_identity};
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::operator::pending::Pending;
use crate::operator::spoken;
use crate::operator::{Distribution, Input, OUTPUT_ROWS, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// One `agg(…) OVER (…)`.
#[derive(Debug, Clone)]
pub struct OverColumn {
    /// The function.
    pub function: OverFunction,
    /// Its frame.
    pub frame: Frame,
    /// FILTER of an aggregate: rows of the frame that do not pass are not counted in.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// What is computed over a frame.
#[derive(Debug, Clone)]
pub enum OverFunction {
    /// An aggregate, its arguments over the input.
    Aggregate(Arc<AggregateFunctionExpr>),
    /// ROW_NUMBER() in event-time order (the frame plays no part).
    RowNumber,
    /// RANK() or DENSE_RANK() in event-time order (the frame plays no part).
    Rank {
        /// Without the gaps that ties leave.
        dense: bool,
    },
    /// FIRST_VALUE, LAST_VALUE, NTH_VALUE.
    Nth {
        /// The value, over the input.
        value: Arc<dyn PhysicalExpr>,
        /// Of which row of the frame.
        which: WhichRow,
        /// Do rows without a value not count?
        ignore_nulls: bool,
    },
    /// LAG(value, offset, default) in event-time order (the frame plays no part).
    Lag {
        /// The value, over the input.
        value: Arc<dyn PhysicalExpr>,
        /// How many rows back.
        offset: u64,
        /// What there is where no row is that far back; of the value's type.
        default: ScalarValue,
    },
}

/// Describes OVER columns that share PARTITION BY and ORDER BY, over one input.
#[derive(Debug)]
pub struct OverSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// PARTITION BY columns; may be none.
    pub keys: Vec<usize>,
    /// Event-time column: the ORDER BY.
    pub time: usize,
    /// Hidden column that orders rows of equal event time.
    pub seq: Option<usize>,
    /// The computed columns.
    pub columns: Vec<OverColumn>,
    /// Input columns, then one per computed column.
    pub schema: SchemaRef,
}

/// How the rows that a column needs again are kept over a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// By time slice: see `history::RangeHistory`.
    Range,
    /// By key: see `history::RowsHistory`.
    Rows,
    /// Not at all, only the column's state is: see `running.rs`.
    Running,
}

impl OverColumn {
    /// How far back it looks.
    fn reach(&self) -> Frame {
        match &self.function {
            OverFunction::Aggregate(_) | OverFunction::Nth { .. } => self.frame,
            OverFunction::RowNumber | OverFunction::Rank { .. } => Frame::RowsUnbounded,
            OverFunction::Lag { offset, .. } => Frame::Rows(*offset),
        }
    }

    fn kept(&self) -> Kept {
        match self.reach() {
            Frame::RangeUnbounded | Frame::RowsUnbounded => Kept::Running,
            Frame::Range(_) => Kept::Range,
            Frame::Rows(_) => Kept::Rows,
        }
    }

    /// The expressions whose values the function takes.
    fn args(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        match &self.function {
            OverFunction::RowNumber | OverFunction::Rank { .. } => Vec::new(),
            OverFunction::Lag { value, .. } | OverFunction::Nth { value, .. } => vec![value.clone()],
            OverFunction::Aggregate(aggregate) if self.filter.is_none() && needs_no_argument(aggregate, self.frame) => Vec::new(),
            OverFunction::Aggregate(aggregate) => {
                if let Some(filter) = &self.filter
                    && let Some(arg) = filter_as_null(aggregate, filter)
                {
                    return vec![arg];
                }
                let order = aggregate.order_bys().iter().map(|sort| sort.expr.clone());
                aggregate.expressions().into_iter().chain(order).chain(self.filter.clone()).collect()
            }
        }
    }

    /// Is the last of `args` the condition for counting a row in?
    fn is_masked(&self) -> bool {
        match (&self.function, &self.filter) {
            (OverFunction::Aggregate(aggregate), Some(filter)) => filter_as_null(aggregate, filter).is_none(),
            _ => false,
        }
    }

    fn arg_types(&self, input: &SchemaRef) -> Result<Vec<DataType>> {
        self.args().iter().map(|arg| Ok(arg.data_type(input)?)).collect()
    }

    /// For people, or (without `input`) for the fingerprint.
    fn text(&self, input: Option<&SchemaRef>) -> String {
        match &self.function {
            OverFunction::RowNumber => "row_number()".to_owned(),
            OverFunction::Rank { dense } => if *dense { "dense_rank()" } else { "rank()" }.to_owned(),
            OverFunction::Nth { value, which, ignore_nulls } => {
                let value = if input.is_some() { spoken::expression(value) } else { expr_identity(value) };
                let nulls = if *ignore_nulls { " ignore nulls" } else { "" };
                let call = match which {
                    WhichRow::FromFirst(1) => format!("first_value({value}){nulls}"),
                    WhichRow::FromFirst(n) => format!("nth_value({value}, {n}){nulls}"),
                    WhichRow::Last => format!("last_value({value}){nulls}"),
                };
                self.frame.text(&call)
            }
            OverFunction::Lag { value, offset, default } => {
                let value = if input.is_some() { spoken::expression(value) } else { expr_identity(value) };
                format!("lag({value}, {offset}, {default})")
            }
            OverFunction::Aggregate(aggregate) => {
                let types = input.and_then(|input| self.arg_types(input).ok());
                let slow = types.is_some_and(|types| is_slow(aggregate, self.frame, &types));
                let slow = if slow { " (slow: computed anew for each row)" } else { "" };
                let call = match &self.filter {
                    _ if input.is_none() => aggregate_identity(aggregate, self.filter.as_ref()),
                    Some(filter) => format!("{} filter {}", spoken::call(aggregate.name()), spoken::expression(filter)),
                    None => spoken::call(aggregate.name()),
                };
                format!("{}{slow}", self.frame.text(&call))
            }
        }
    }
}

impl OverSpec {
    fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|at| self.input.field(*at).name().as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl OperatorSpec for OverSpec {
    fn name(&self) -> &'static str {
        "over"
    }

    fn describe(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| column.text(Some(&self.input))).collect();
        format!("{} by [{}] order {}", columns.join(", "), self.names(&self.keys), self.input.field(self.time).name())
    }

    fn identity(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| column.text(None)).collect();
        let (input, keys) = (types_identity(&self.input), &self.keys);
        format!("over {input} keys {keys:?} time {} seq {:?} columns {}", self.time, self.seq, columns.join(", "))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _input: Input) -> Distribution {
        if self.keys.is_empty() { Distribution::Single } else { Distribution::ByKey(self.keys.clone()) }
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let key_fields: Vec<_> = self.keys.iter().map(|key| self.input.fields()[*key].clone()).collect();
        let key_types: Vec<_> = key_fields.iter().map(|field| field.data_type().clone()).collect();
        let key_positions = || (0..self.keys.len()).collect::<Vec<_>>();
        let mut index = KeyIndex::new(&key_types, NullKeys::AreAGroup)?;
        let types = self.schema.fields()[self.input.fields().len()..].iter().map(|field| field.data_type());
        let columns = self.columns.iter().zip(types).map(|(column, data_type)| Computed::new(column, &self.input, data_type));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let longest = |kept: Kept| self.columns.iter().filter(move |column| column.kept() == kept).map(OverColumn::reach);
        let schema_of = |columns: &[Computed], kept: Kept| {
            let args: Vec<_> = columns.iter().filter(|c| c.kept == kept).flat_map(|c| c.arg_types.iter().cloned()).collect();
            history_schema(&self.input, &self.keys, &args)
        };

        let time = self.time;
        let due = |rows: &RecordBatch| Ok(micros(rows.column(time))?.values().to_vec());
        let pending = Pending::open(state.table("pending", self.input.clone(), self.keys.clone())?, self.seq, due)?;

        let mut running = None;
        if columns.iter().any(|column| column.kept == Kept::Running) {
            let fields = columns.iter().filter(|c| c.kept == Kept::Running).map(|c| c.column.state_fields()).collect::<Result<Vec<_>>>()?;
            let table = state.table("running", running_schema(&key_fields, &fields), key_positions())?;
            running = Some(Running::open(table, self.keys.len(), &mut of_kind(&mut columns, Kept::Running), &mut index)?);
        }
        let mut range = None;
        if let Some(reach) =
            longest(Kept::Range).filter_map(|frame| if let Frame::Range(micros) = frame { Some(micros) } else { None }).max()
        {
            let history = RangeHistory::open(state.table("range", schema_of(&columns, Kept::Range), key_positions())?, reach)?;
            for rows in history.in_order() {
                replay(&rows?, self.keys.len(), Kept::Range, &mut columns, &mut index)?;
            }
            range = Some(history);
        }
        let mut rows = None;
        if let Some(before) =
            longest(Kept::Rows).filter_map(|frame| if let Frame::Rows(before) = frame { Some(before) } else { None }).max()
        {
            let mut history = RowsHistory::new(state.table("rows", schema_of(&columns, Kept::Rows), key_positions())?, before);
            for (block, rows) in history.restored() {
                let slots = replay(&rows, self.keys.len(), Kept::Rows, &mut columns, &mut index)?;
                history.keep(block, rows, &slots);
            }
            rows = Some(history);
        }
        let keys_go = columns.iter().all(|column| column.kept == Kept::Range);
        Ok(Box::new(Over {
            schema: self.schema.clone(),
            keys: self.keys.clone(),
            time: self.time,
            mark: KeptMark::open(state)?,
            pending,
            index,
            columns,
            running,
            range,
            rows,
            keys_go,
            swept: 0,
        }))
    }
}

/// A computed column at work.
struct Computed {
    column: Box<dyn Column>,
    kept: Kept,
    args: Vec<Arc<dyn PhysicalExpr>>,
    arg_types: Vec<DataType>,
    /// The type of the result, as promised.
    data_type: DataType,
}

impl Computed {
    fn new(spec: &OverColumn, input: &SchemaRef, data_type: &DataType) -> Result<Self> {
        let arg_types = spec.arg_types(input)?;
        let column = match &spec.function {
            OverFunction::RowNumber => Box::new(RowNumber::default()) as Box<dyn Column>,
            OverFunction::Lag { offset, default, .. } => Box::new(Lag::new(*offset, default.to_array()?)),
            OverFunction::Rank { dense } => Box::new(Rank::new(*dense)),
            OverFunction::Nth { which, ignore_nulls, .. } => Box::new(Nth::new(*which, *ignore_nulls, spec.frame, &arg_types[0])),
            OverFunction::Aggregate(aggregate) => column_of(aggregate, spec.frame, &arg_types, spec.is_masked()),
        };
        Ok(Computed { column, kept: spec.kept(), args: spec.args(), arg_types, data_type: data_type.clone() })
    }
}

fn of_kind(columns: &mut [Computed], kept: Kept) -> Vec<&mut Box<dyn Column>> {
    columns.iter_mut().filter(|column| column.kept == kept).map(|column| &mut column.column).collect()
}

/// Feeds rows of a history to the columns that it is kept for; returns the slots of their keys.
fn replay(rows: &RecordBatch, keys: usize, kept: Kept, columns: &mut [Computed], index: &mut KeyIndex) -> Result<Vec<u32>> {
    let Parts { keys, times, mut args } = parts(rows, keys);
    let mut slots = Vec::new();
    index.intern(keys, rows.num_rows(), &mut slots)?;
    let sorted = SortedRows { times, slots: &slots, slot_count: index.len(), ties: Ties::Together };
    for column in columns.iter_mut().filter(|column| column.kept == kept) {
        let (own, rest) = args.split_at(column.args.len());
        column.column.compute(&sorted, own)?;
        args = rest;
    }
    Ok(slots)
}

/// The running operator.
struct Over {
    schema: SchemaRef,
    keys: Vec<usize>,
    time: usize,
    /// Rows before this were handed on.
    mark: KeptMark,
    pending: Pending,
    index: KeyIndex,
    columns: Vec<Computed>,
    running: Option<Running>,
    range: Option<RangeHistory>,
    rows: Option<RowsHistory>,
    /// Can a key without rows in any frame be forgotten? Only if all frames are RANGE frames of some length.
    keys_go: bool,
    /// The slot that was last looked at for that.
    swept: usize,
}

impl Operator for Over {
    fn on_batch(&mut self, _input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, times) = refuse_null_times(batch, self.time, out)?;
        let mark = self.mark.get();
        if times.values().iter().all(|ts| mark <= Watermark(*ts)) {
            return self.pending.add(batch, times.values().to_vec());
        }
        let (late, kept): (Vec<u32>, Vec<u32>) = (0..batch.num_rows() as u32).partition(|row| Watermark(times.value(*row as usize)) < mark);
        let pairs = late.len() as u64;
        refuse_late(&batch, late, pairs, || format!("rows of this time were handed on: the watermark is {mark}"), out)?;
        let due = kept.iter().map(|row| times.value(*row as usize)).collect();
        self.pending.add(take_record_batch(&batch, &UInt32Array::from(kept))?, due)
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark.advance(mark);
        let due = self.pending.take_before(mark.0)?;
        let mut from = 0;
        while from < due.len() {
            // Rows of one time must be looked at together.
            let at_least = due.len().min(from + OUTPUT_ROWS);
            let last = due.times[at_least - 1];
            let to = at_least + due.times[at_least..].partition_point(|ts| *ts == last);
            let rows = due.rows(from..to)?;
            self.compute(rows, &due.times[from..to], out)?;
            from = to;
        }
        if let Some(range) = &mut self.range {
            let limit = range.forget(mark.0);
            if self.keys_go {
                self.forget_keys(due.len() / 4 + 16, limit);
            }
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        self.mark.keep()?;
        self.pending.checkpoint()?;
        if let Some(running) = &mut self.running {
            running.checkpoint(&mut of_kind(&mut self.columns, Kept::Running), &self.index)?;
        }
        self.range.as_mut().map_or(Ok(()), RangeHistory::checkpoint)?;
        self.rows.as_mut().map_or(Ok(()), RowsHistory::checkpoint)
    }

    fn state_bytes(&self) -> usize {
        let range = self.range.as_ref().map_or(0, RangeHistory::bytes_outside);
        let rows = self.rows.as_ref().map_or(0, RowsHistory::bytes_outside);
        self.index.bytes() + self.pending.bytes_outside() + range + rows
    }
}

impl Over {
    /// Computes and emits rows in event-time order, and keeps of them what later frames need.
    fn compute(&mut self, rows: RecordBatch, times: &[i64], out: &mut Output) -> Result<()> {
        let mut failures = Failures::default();
        let args = self.arguments(&rows, &mut failures)?;
        if let Some(others) = out.refuse_failed(&rows, &failures)? {
            let rows = filter_record_batch(&rows, &others)?;
            let times: Vec<i64> = times.iter().zip(others.values()).filter(|(_, kept)| *kept).map(|(ts, _)| *ts).collect();
            let args = self.arguments(&rows, &mut Failures::default())?;
            return self.compute_over(rows, &times, args, out);
        }
        self.compute_over(rows, times, args, out)
    }

    /// The arguments of each column.
    fn arguments(&self, rows: &RecordBatch, failures: &mut Failures) -> Result<Vec<Vec<ArrayRef>>> {
        let of_column = |column: &Computed, failures: &mut Failures| column.args.iter().map(|arg| evaluate(arg, rows, failures)).collect();
        self.columns.iter().map(|column| of_column(column, failures)).collect()
    }

    fn compute_over(&mut self, rows: RecordBatch, times: &[i64], args: Vec<Vec<ArrayRef>>, out: &mut Output) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| rows.column(*key).clone()).collect();
        let mut slots = Vec::new();
        self.index.intern(&keys, rows.num_rows(), &mut slots)?;
        let sorted = SortedRows { times, slots: &slots, slot_count: self.index.len(), ties: Ties::Together };
        let mut results = rows.columns().to_vec();
        let mut range_args = Vec::new();
        let mut rows_args = Vec::new();
        for (column, args) in self.columns.iter_mut().zip(args) {
            let result = column.column.compute(&sorted, &args)?;
            results.push(if *result.data_type() == column.data_type { result } else { cast(&result, &column.data_type)? });
            match column.kept {
                Kept::Range => range_args.extend(args),
                Kept::Rows => rows_args.extend(args),
                Kept::Running => {}
            }
        }
        out.emit(RecordBatch::try_new(self.schema.clone(), results)?);
        if let Some(running) = &mut self.running {
            running.touch(&slots, self.index.len());
        }
        if let Some(range) = &mut self.range {
            range.add(&keys, times, &range_args)?;
        }
        if let Some(history) = &mut self.rows {
            history.add(&keys, times, &rows_args, &slots)?;
        }
        Ok(())
    }

    /// Looks at the next `count` keys, round and round, and forgets those without rows at or after `limit`. Spread over
    /// the watermarks so that many keys never make one of them slow.
    fn forget_keys(&mut self, count: usize, limit: i64) {
        let slots = self.index.len();
        for _ in 0..count.min(slots) {
            self.swept = if self.swept + 1 < slots { self.swept + 1 } else { 0 };
            let slot = self.swept as u32;
            let mut gone = true;
            for column in &mut self.columns {
                gone &= column.column.forget_before(slot, limit);
            }
            if gone {
                self.index.release(slot);
            }
        }
    }
}
