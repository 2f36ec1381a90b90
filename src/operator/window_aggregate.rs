//! Window aggregation: COUNT, SUM, … per key and window, over slices that overlapping windows share.
//!
//! ```text
//!  rows ──▶ slice (gcd of size and slide): one hash table of groups ──┐  merged when the watermark
//!  rows ──▶ slice …                                                   ├─▶ passes the end of a window
//!  rows ──▶ slice …                                                 ──┘
//! ```
//! In two phases, each source's task aggregates its rows by slice first (`window_partial.rs`) and hands on states:
//!
//! ```text
//!  rows ─▶ Partial ─ keys, $slice, $rows, states ─▶ exchange by key ─▶ Final ─ keys, results, window ─▶
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;

use crate::error::Result;
use crate::operator::event_time::{micros, window_columns};
use crate::operator::expressions::Failures;
use crate::operator::group_table::GroupLayout;
use crate::operator::identity::{aggregate_identity, expr_identity};
use crate::operator::spoken;
use crate::operator::window_partial::WindowPartial;
use crate::operator::window_slices::WindowSlices;
use crate::operator::windowing::{Windowing, split_by_time, split_by_window, without_failed};
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Which part of a two-phase aggregation this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Rows in, results out.
    Single,
    /// Rows in, partial states out (before the exchange; in the task of the source, sees its partition's watermark,
    /// judges lateness by it; keeps nothing over a checkpoint).
    Partial,
    /// Partial states in, results out.
    Final,
}

/// Describes a window aggregation, over one input.
#[derive(Debug)]
pub struct WindowAggregateSpec {
    /// Schema of the rows (also for `Final`: the input of the `Partial` before it).
    pub input: SchemaRef,
    /// The windows.
    pub windowing: Windowing,
    /// Group keys besides the window, over `input`.
    pub keys: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// GROUPING SETS: per set, per key, whether the key is NULL there. `None` = one set with all keys.
    /// With sets, a column `__grouping_id` follows the keys (DataFusion's encoding and type).
    pub grouping_sets: Option<Vec<Vec<bool>>>,
    /// The aggregates (their arguments are over `input`).
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Per aggregate: its FILTER clause over `input`.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Hidden column that orders rows of equal event time, for order-sensitive aggregates.
    pub seq: Option<usize>,
    /// The phase.
    pub phase: Phase,
    /// Schema of results: keys (then `__grouping_id`), aggregates, `window_start`, `window_end` (Timestamp(ms), no zone),
    /// `window_time` (Timestamp(ms), zone of the event-time column). For `Partial`: see `WindowAggregateSpec::partial_schema`.
    pub schema: SchemaRef,
}

impl WindowAggregateSpec {
    /// Schema of the rows between `Partial` and `Final`: keys (then `__grouping_id`), `$slice` (start of the slice), with
    /// attached windows `$end` (their end), `$rows` (rows behind this one, Int64), states.
    pub fn partial_schema(&self) -> Result<SchemaRef> {
        Ok(self.layout()?.partial_schema(&self.windowing))
    }

    /// Positions of the group keys (then `__grouping_id`) in `partial_schema`: the key of the exchange.
    fn key_width(&self) -> usize {
        self.keys.len() + usize::from(self.grouping_sets.is_some())
    }

    fn layout(&self) -> Result<GroupLayout> {
        let time = match self.windowing {
            Windowing::Time { time, .. } => Some(time),
            Windowing::Attached { .. } => None,
        };
        let order: Vec<usize> = time.into_iter().chain(self.seq).collect();
        GroupLayout::new(&self.input, &self.keys, self.grouping_sets.as_deref(), &self.aggregates, &self.filters, &order)
    }

    /// Keys that are plain columns and NULL in no grouping set, as (key, input column): rows of one group agree in them.
    fn exchange(&self) -> Vec<(usize, usize)> {
        let always = |key: usize| self.grouping_sets.iter().flatten().all(|set| !set[key]);
        let column = |(key, (expr, _)): (usize, &(Arc<dyn PhysicalExpr>, FieldRef))| {
            expr.downcast_ref::<Column>().filter(|_| always(key)).map(|column| (key, column.index()))
        };
        self.keys.iter().enumerate().filter_map(column).collect()
    }
}

impl OperatorSpec for WindowAggregateSpec {
    fn name(&self) -> &'static str {
        match self.phase {
            Phase::Single => "window aggregation",
            Phase::Partial => "window pre-aggregation",
            Phase::Final => "window aggregation (final)",
        }
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|(_, field)| field.name().clone()).collect();
        let aggregates: Vec<String> = self.aggregates.iter().map(|aggregate| spoken::name(aggregate.name())).collect();
        let sets = self.grouping_sets.as_ref().map(|sets| format!(" in {} grouping sets", sets.len())).unwrap_or_default();
        let windows = match &self.windowing {
            Windowing::Time { time, kind } => format!("{kind} on {}", self.input.field(*time).name()),
            Windowing::Attached { .. } => "the windows of the rows".to_owned(),
        };
        format!("[{}] by [{}]{sets} over {windows}", aggregates.join(", "), keys.join(", "))
    }

    fn identity(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|(expr, field)| format!("{}: {}", expr_identity(expr), field.data_type())).collect();
        let filters = self.filters.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let aggregates: Vec<String> = self.aggregates.iter().zip(filters).map(|(a, filter)| aggregate_identity(a, filter)).collect();
        format!(
            "window aggregation {:?} {:?} keys [{}] sets {:?} aggregates [{}] seq {:?}",
            self.phase,
            self.windowing,
            keys.join(", "),
            self.grouping_sets,
            aggregates.join(", "),
            self.seq
        )
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        let columns: Vec<usize> = match self.phase {
            Phase::Partial => return Distribution::Anywhere,
            Phase::Single => self.exchange().into_iter().map(|(_, column)| column).collect(),
            Phase::Final => (0..self.key_width()).collect(),
        };
        if columns.is_empty() { Distribution::Single } else { Distribution::ByKey(columns) }
    }

    fn stateful(&self) -> bool {
        self.phase != Phase::Partial
    }

    /// What comes into the final phase are states: rows are refused before.
    fn grows_state(&self) -> bool {
        self.phase != Phase::Final
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let layout = Arc::new(self.layout()?);
        let windowing = self.windowing.checked()?;
        let exchange = match self.phase {
            Phase::Partial => {
                let schema = layout.partial_schema(&windowing);
                return Ok(Box::new(WindowPartial::new(layout, windowing, schema)));
            }
            Phase::Single => self.exchange().into_iter().map(|(key, _)| key).collect(),
            Phase::Final => (0..self.key_width()).collect(),
        };
        let slices = WindowSlices::open(state, layout.clone(), windowing.clone(), exchange)?;
        Ok(Box::new(WindowAggregate { merges: self.phase == Phase::Final, layout, windowing, slices, schema: self.schema.clone() }))
    }
}

impl GroupLayout {
    fn partial_schema(&self, windowing: &Windowing) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let (keys, states) = self.state_schema().fields().split_at(self.key_width());
        let mut fields = keys.to_vec();
        fields.push(Arc::new(Field::new("$slice", time.clone(), false)));
        if let Windowing::Attached { .. } = windowing {
            fields.push(Arc::new(Field::new("$end", time, false)));
        }
        fields.push(Arc::new(Field::new("$rows", DataType::Int64, false)));
        fields.extend(states.iter().cloned());
        Arc::new(Schema::new(fields))
    }
}

/// The running `Single` and `Final` phases.
struct WindowAggregate {
    /// What comes in are states.
    merges: bool,
    layout: Arc<GroupLayout>,
    windowing: Windowing,
    slices: WindowSlices,
    schema: SchemaRef,
}

impl WindowAggregate {
    fn add_rows(&mut self, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, parts) = self.windowing.split(batch, out)?;
        let parts = self.windowing.refuse_late(&batch, parts, self.slices.mark(), None, out)?;
        if parts.is_empty() {
            return Ok(());
        }
        let mut failures = Failures::default();
        let input = self.layout.evaluate(&batch, &mut failures)?;
        let parts = without_failed(&batch, parts, failures, out)?;
        for (slice, rows) in parts {
            let delta = self.slices.delta(slice)?;
            match rows {
                None => delta.update(&self.layout, &input)?,
                Some(rows) => delta.update(&self.layout, &input.take(&rows)?)?,
            }
        }
        Ok(())
    }

    fn add_states(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let keys = self.layout.key_width();
        let starts = micros(batch.column(keys))?;
        let (parts, after) = match &self.windowing {
            Windowing::Time { kind, .. } => (split_by_time(*kind, &starts), keys + 1),
            Windowing::Attached { .. } => (split_by_window(&starts, &micros(batch.column(keys + 1))?), keys + 2),
        };
        let weights = batch.column(after).as_primitive::<Int64Type>().clone();
        let parts = self.windowing.refuse_late(batch, parts, self.slices.mark(), Some(&weights), out)?;
        let columns: Vec<ArrayRef> = batch.columns()[..keys].iter().chain(&batch.columns()[after + 1..]).cloned().collect();
        for (slice, rows) in parts {
            let delta = self.slices.delta(slice)?;
            match rows {
                None => delta.merge(&self.layout, &columns, batch.num_rows())?,
                Some(rows) => delta.merge(&self.layout, &arrow::compute::take_arrays(&columns, &rows, None)?, rows.len())?,
            }
        }
        Ok(())
    }
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        if self.merges { self.add_states(&batch, out) } else { self.add_rows(batch, out) }
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        let mut fired = Vec::new();
        let schema = &self.schema;
        self.slices.advance(mark, |window, (groups, mut columns)| {
            columns.extend(window_columns(&vec![window; groups], schema)?);
            fired.push(RecordBatch::try_new(schema.clone(), columns)?);
            Ok(())
        })?;
        out.emit_together(schema, &fired)?;
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _: &mut Output) -> Result<()> {
        self.slices.keep()
    }

    fn state_bytes(&self) -> usize {
        self.slices.bytes()
    }
}

#[cfg(test)]
mod tests;
