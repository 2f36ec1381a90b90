//! Operators: plain, synchronous, deterministic state machines over Arrow batches.
//!
//! Comes in: batches, watermarks. Goes out: batches and the watermark to pass on. Always holds: same input in the same
//! order, same output; no I/O, no clock, no SQL; all state behind [`StateHandles`]. Windows close in `on_watermark`
//! and nowhere else. A spec describes an operator (planned, shown, fingerprinted), `open` makes the running thing.
//! Read `project.rs` first, then `window_aggregate.rs`.

use std::any::Any;
use std::fmt::Debug;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::metrics::Reason;
use crate::operator::catch_up::{CatchUp, StateTables};
use crate::operator::expressions::OnExpressionError;
use crate::state::StateHandles;
use crate::time::Watermark;

/// Number of rows that an operator puts into one batch where it can choose.
pub(crate) const OUTPUT_ROWS: usize = 8192;

/// Number of an operator's input, from 0.
pub type Input = usize;

/// Rows that an operator refuses.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The rows as they came in (with the input's schema).
    pub rows: RecordBatch,
    /// How many (row, window) pairs that is; equals the number of rows where windows play no part.
    pub pairs: u64,
    /// What happened, in a sentence.
    pub error: String,
}

/// Something that a rule did to itself and that must be seen in the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Name of the counter.
    pub name: &'static str,
    /// The rule, its label.
    pub rule: String,
    /// How often.
    pub count: u64,
}

/// What an operator hands on while it works on one input message.
#[derive(Debug, Default)]
pub struct Output {
    batches: Vec<RecordBatch>,
    refused: Vec<Refused>,
    counted: Vec<Counted>,
    /// What becomes of rows on which an expression fails.
    on_expression_error: OnExpressionError,
}

impl Output {
    /// An output that deals with failing expressions as told.
    pub fn tolerant(on_expression_error: OnExpressionError) -> Self {
        Output { on_expression_error, ..Output::default() }
    }

    /// Hands on rows; empty batches are swallowed.
    pub fn emit(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
    }

    /// Hands on rows in batches of some thousands at most (a window may close with millions).
    pub fn emit_many(&mut self, batch: &RecordBatch) {
        for first in (0..batch.num_rows()).step_by(OUTPUT_ROWS) {
            self.emit(batch.slice(first, OUTPUT_ROWS.min(batch.num_rows() - first)));
        }
    }

    /// Hands on batches one after the other, small neighbours put together: a watermark that closes a hundred small
    /// windows leaves as a few batches.
    pub fn emit_together(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
        const ROWS: usize = 4096;
        let mut rest = batches;
        while let Some(first) = rest.first() {
            let (mut rows, mut count) = (first.num_rows(), 1);
            while let Some(next) = rest.get(count).filter(|next| rows + next.num_rows() <= ROWS) {
                rows += next.num_rows();
                count += 1;
            }
            let (together, others) = rest.split_at(count);
            match together {
                [one] => self.emit_many(one),
                several => self.emit(arrow::compute::concat_batches(schema, several)?),
            }
            rest = others;
        }
        Ok(())
    }

    /// Refuses rows: they are counted by reason and dead-lettered.
    pub fn refuse(&mut self, refused: Refused) {
        self.refused.push(refused);
    }

    /// Counts something under a rule's name.
    pub fn count(&mut self, counted: Counted) {
        self.counted.push(counted);
    }

    /// Takes what was counted so far (the runtime's side).
    pub fn take_counted(&mut self) -> Vec<Counted> {
        std::mem::take(&mut self.counted)
    }

    /// Takes what was emitted so far (the runtime's side).
    pub fn take_batches(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.batches)
    }

    /// Takes what was refused so far (the runtime's side).
    pub fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }
}

/// A running operator: one instance per task.
pub trait Operator: Send {
    /// Rows of one input; may emit.
    fn on_batch(&mut self, input: Input, batch: RecordBatch, out: &mut Output) -> Result<()>;

    /// Event time has reached `mark` on all inputs: windows close here and nowhere else. Emits first; returns the
    /// watermark to pass on (at most `mark`; `Watermark::MAX` must be passed on as such).
    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark>;

    /// All inputs have gone idle: from here on they hold nobody back, so an operator that keeps rows back although no
    /// window asks for it (a pre-aggregation) hands them on now, or others' watermarks would make them late.
    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        _ = out;
        Ok(())
    }

    /// A checkpoint: puts what lives outside the state tables into them. May emit (a pre-aggregation hands on its partials).
    fn on_checkpoint(&mut self, out: &mut Output) -> Result<()> {
        _ = out;
        Ok(())
    }

    /// Memory of what lives outside the state tables (hash tables, open builders), in bytes, about: read at barriers, so
    /// that it must be cheap.
    fn state_bytes(&self) -> usize {
        0
    }
}

/// How rows reach the instances of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distribution {
    /// Wherever the rows are: stateless, runs in the task of its input.
    Anywhere,
    /// Rows with equal values in these columns (of that input) meet in one instance.
    ByKey(Vec<usize>),
    /// All rows meet in a single instance.
    Single,
}

/// Describes an operator.
pub trait OperatorSpec: Any + Send + Sync + Debug {
    /// The operator's name in the words of the field (`window aggregation`).
    fn name(&self) -> &'static str;

    /// Keys, windows and expressions in one line, for `eagre explain`.
    fn describe(&self) -> String;

    /// What it computes, for the fingerprint: everything that gives its state a meaning, no table names or aliases.
    fn identity(&self) -> String;

    /// Schema of the rows it emits.
    fn schema(&self) -> &SchemaRef;

    /// How each input must reach it.
    fn distribution(&self, input: Input) -> Distribution;

    /// Does it keep state that a checkpoint must carry?
    fn stateful(&self) -> bool;

    /// Do its rows make state grow, here or behind it? It refuses them when state is at its limit and rows may be dropped
    /// for that.
    fn grows_state(&self) -> bool {
        self.stateful()
    }

    /// Do the rows of its inputs belong to what its state means? Not where the operator finds its state by names itself.
    fn bound_to_inputs(&self) -> bool {
        true
    }

    /// What of it is new, where a checkpoint holds `state` of it, and is to begin with the past.
    fn catch_up(&self, state: &StateTables) -> Option<Box<dyn CatchUp>> {
        _ = state;
        None
    }

    /// Makes the running operator; state tables are opened (and, on a restore, already filled) here.
    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>>;
}

mod aggregates;
mod attached_window;
pub mod catch_up;
mod count_distinct;
pub mod event_time;
pub mod expressions;
pub mod frame;
mod group_table;
mod identity;
pub mod interval_join;
mod joined;
mod kept_mark;
mod keys;
pub mod over;
pub mod pattern;
mod pending;
pub mod project;
mod row_store;
pub mod session;
mod session_store;
mod slice_runs;
mod spoken;
pub mod suppress;
#[cfg(test)]
pub(crate) mod testing;
pub mod top_n;
pub mod union;
pub mod unnest;
pub mod window_aggregate;
pub mod window_assign;
pub mod window_join;
mod window_partial;
mod window_slices;
pub mod windowing;
