//! Runs a group's rules over events at hand, outside of a pipeline: for the tests of rules, and to try a rule on history.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, take_record_batch};

use crate::error::Result;
use crate::operator::pattern::PatternSpec;
use crate::operator::suppress::SuppressSpec;
use crate::operator::{Operator, OperatorSpec as _, Output};
use crate::rules::form::RuleText;
use crate::rules::group::Group;
use crate::rules::input::{Input, STREAM};
use crate::state::StateHandles;
use crate::time::Watermark;

/// The operators of a group.
pub struct Runner {
    patterns: Box<dyn Operator>,
    suppress: Box<dyn Operator>,
    alerts: Vec<RecordBatch>,
}

impl Runner {
    /// With nothing seen yet. `texts`: the rules of the group as written.
    pub fn new(group: &Group, texts: &[&RuleText]) -> Result<Runner> {
        let spec = PatternSpec {
            input: group.input.schema().clone(),
            group: Some(group.name.clone()),
            keys: group.input.key_positions(),
            time: group.input.time(),
            then_by: Vec::new(),
            seq: None,
            order: group.order,
            rules: group.rules.clone(),
            schema: group.emitted.clone(),
        };
        let periods = texts.iter().filter_map(|rule| Some((rule.name.text.clone(), rule.suppress_micros?))).collect();
        Ok(Runner {
            patterns: spec.open(&mut StateHandles::empty(0, 1))?,
            suppress: SuppressSpec::new(group.emitted.clone(), periods)?.open(&mut StateHandles::empty(0, 1))?,
            alerts: Vec::new(),
        })
    }

    /// Events of the group's input, in the order of their times.
    pub fn rows(&mut self, rows: RecordBatch) -> Result<()> {
        let mut out = Output::default();
        self.patterns.on_batch(0, rows, &mut out)?;
        self.found(&mut out)
    }

    /// Nothing comes after this: what waits for its time is decided. Returns the alerts, in the order in which they were raised.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>> {
        let mut out = Output::default();
        self.patterns.on_watermark(Watermark::MAX, &mut out)?;
        self.found(&mut out)?;
        Ok(self.alerts)
    }

    fn found(&mut self, out: &mut Output) -> Result<()> {
        let mut passed = Output::default();
        for batch in out.take_batches() {
            self.suppress.on_batch(0, batch, &mut passed)?;
        }
        self.alerts.extend(passed.take_batches());
        Ok(())
    }
}

/// Rows of a stream (all that the rules read of it, by name) as events of the group's input.
pub fn events(input: &Input, stream: usize, rows: &RecordBatch) -> Result<RecordBatch> {
    let of = &input.streams[stream];
    let count = rows.num_rows();
    let named = |at: usize| rows.column_by_name(of.schema.field(at).name());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(input.schema().fields().len());
    let mut from: Vec<Option<usize>> = Vec::new();
    if input.several() {
        columns.push(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(of.alias.as_str(), count))));
    }
    from.push(Some(of.time));
    from.extend(of.keys.iter().map(|at| Some(*at)));
    from.extend([of.id, of.correlation]);
    for other in 0..input.streams.len() {
        from.extend(input.columns(other).map(|at| (other == stream).then_some(at)));
    }
    for from in from {
        let wanted = input.schema().field(columns.len()).data_type();
        columns.push(match from.and_then(named) {
            Some(column) if column.data_type() == wanted => column.clone(),
            Some(column) => cast(column, wanted)?,
            None => new_null_array(wanted, count),
        });
    }
    debug_assert!(!input.several() || input.schema().field(0).name() == STREAM, "the stream's name comes first");
    Ok(RecordBatch::try_new_with_options(input.schema().clone(), columns, &RecordBatchOptions::new().with_row_count(Some(count)))?)
}

/// The columns of a stream that [`events`] wants to find.
pub fn columns_wanted(input: &Input, stream: usize) -> Vec<&str> {
    let of = &input.streams[stream];
    let mut wanted: Vec<usize> = vec![of.time];
    wanted.extend(of.keys.iter().copied().chain(of.id).chain(of.correlation).chain(input.columns(stream)));
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into_iter().map(|at| of.schema.field(at).name().as_str()).collect()
}

/// Events in the order of their times; those of one time stay as they came.
pub fn in_order(input: &Input, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let all = concat_batches(input.schema(), batches)?;
    let times = all.column(input.time());
    let micros = crate::operator::event_time::micros(times)?;
    let mut order: Vec<u32> = (0..all.num_rows() as u32).filter(|row| micros.is_valid(*row as usize)).collect();
    order.sort_by_key(|row| micros.value(*row as usize));
    Ok(take_record_batch(&all, &UInt32Array::from(order))?)
}
