//! Window Top-N and deduplication: the first `n` rows of each (window, partition) in some order.
//!
//! ```text
//!  rows ──▶ pending until their window ends ──▶ rank by key ──▶ rows of rank first..=last
//!             ▲                │ whenever they have doubled: those that cannot be among the first any more
//!             └── the others ──┘ are sorted out, so that memory follows the answer, not the input
//! ```

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use crate::error::{Error, Result};
use crate::operator::attached_window::{AttachedWindow, by_windows};
use crate::operator::expressions::{Failures, evaluate};
use crate::operator::identity::{expr_identity, types_identity};
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::operator::pending::Pending;
use crate::operator::spoken;
use crate::operator::{Distribution, Input, OUTPUT_ROWS, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Rows that are always kept before any are sorted out.
const PRUNE_ROWS: usize = 65_536;

/// Describes a Top-N, over one input whose rows carry their window as columns.
#[derive(Debug)]
pub struct TopNSpec {
    /// Schema of the rows.
    pub input: SchemaRef,
    /// PARTITION BY columns besides the window; may be none.
    pub keys: Vec<usize>,
    /// `window_start` and `window_end` columns (any timestamp type).
    pub window: (usize, usize),
    /// ORDER BY over the input; ties by `seq`, then by arrival.
    pub order: Vec<PhysicalSortExpr>,
    /// First rank kept, from 1.
    pub first: u64,
    /// Last rank kept.
    pub last: u64,
    /// Append the rank (ROW_NUMBER, UInt64) as a last column.
    pub rank: bool,
    /// Hidden column that orders rows of equal sort keys.
    pub seq: Option<usize>,
    /// Input columns, then the rank if asked for.
    pub schema: SchemaRef,
}

impl OperatorSpec for TopNSpec {
    fn name(&self) -> &'static str {
        "window top-n"
    }

    fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| self.input.field(*key).name().as_str()).collect();
        let order: Vec<String> = self.order.iter().map(|sort| format!("{} {}", spoken::expression(&sort.expr), sort.options)).collect();
        format!("rank {} to {} by [{}] order {}", self.first, self.last, keys.join(", "), order.join(", "))
    }

    fn identity(&self) -> String {
        let order: Vec<String> = self.order.iter().map(|sort| format!("{} {:?}", expr_identity(&sort.expr), sort.options)).collect();
        format!(
            "window top-n {} keys {:?} window {:?} order {} to {} seq {:?}",
            types_identity(&self.input),
            self.keys,
            self.window,
            order.join(", "),
            self.last,
            self.seq
        )
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
        let window = AttachedWindow { start: self.window.0, end: self.window.1 };
        let table = state.table("rows", self.input.clone(), self.keys.clone())?;
        let rows = Pending::open(table, self.seq, |rows| window.due(rows))?;
        if self.order.is_empty() {
            return Err(Error::bug("a Top-N without an order was planned"));
        }
        let sort = |sort: &PhysicalSortExpr| Ok(SortField::new_with_options(sort.expr.data_type(&self.input)?, sort.options));
        Ok(Box::new(TopN {
            schema: self.schema.clone(),
            keys: self.keys.clone(),
            window,
            order: self.order.iter().map(|sort| sort.expr.clone()).collect(),
            converter: RowConverter::new(self.order.iter().map(sort).collect::<Result<_>>()?)?,
            first: self.first,
            last: usize::try_from(self.last).unwrap_or(usize::MAX),
            rank: self.rank,
            mark: KeptMark::open(state)?,
            held: rows.len(),
            rows,
            prune_at: PRUNE_ROWS,
        }))
    }
}

/// The running operator.
struct TopN {
    schema: SchemaRef,
    keys: Vec<usize>,
    window: AttachedWindow,
    order: Vec<Arc<dyn PhysicalExpr>>,
    /// Encodes the values of `order` so that their bytes compare as they do.
    converter: RowConverter,
    first: u64,
    last: usize,
    rank: bool,
    /// Windows that end at or before this have been answered.
    mark: KeptMark,
    /// Rows of open windows, those that cannot be among the first any more not all sorted out yet.
    rows: Pending,
    /// How many those are.
    held: usize,
    /// How many there may be before they are sorted out again.
    prune_at: usize,
}

impl Operator for TopN {
    fn on_batch(&mut self, _input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, due) = self.window.admit(batch, self.mark.get(), out)?;
        let (batch, due) = self.without_failed(batch, due, out)?;
        self.held += batch.num_rows();
        self.rows.add(batch, due)?;
        if self.held > self.prune_at { self.prune() } else { Ok(()) }
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark.advance(mark);
        let due = self.rows.take_before(mark.0)?;
        self.held = self.held.saturating_sub(due.len());
        for [part] in by_windows([&due]) {
            let rows = due.rows(part)?;
            let ranked = self.ranked(&rows)?;
            let wanted: Vec<(u32, u64)> = ranked.into_iter().filter(|(_, rank)| *rank >= self.first).collect();
            for wanted in wanted.chunks(OUTPUT_ROWS) {
                let indices = UInt32Array::from_iter_values(wanted.iter().map(|(row, _)| *row));
                let mut columns = take_record_batch(&rows, &indices)?.columns().to_vec();
                if self.rank {
                    let ranks = UInt64Array::from_iter_values(wanted.iter().map(|(_, rank)| *rank));
                    let data_type = self.schema.field(columns.len()).data_type();
                    columns.push(cast(&ranks, data_type)?);
                }
                out.emit(RecordBatch::try_new(self.schema.clone(), columns)?);
            }
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        self.mark.keep()?;
        self.rows.checkpoint()
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes_outside()
    }
}

impl TopN {
    /// Refuses the rows that cannot be ranked because an expression fails on them.
    fn without_failed(&self, batch: RecordBatch, due: Vec<i64>, out: &mut Output) -> Result<(RecordBatch, Vec<i64>)> {
        let mut failures = Failures::default();
        for expr in self.order.iter().filter(|expr| expr.downcast_ref::<Column>().is_none()) {
            evaluate(expr, &batch, &mut failures)?;
        }
        let Some(others) = out.refuse_failed(&batch, &failures)? else { return Ok((batch, due)) };
        let due = due.into_iter().zip(others.values()).filter(|(_, kept)| *kept).map(|(due, _)| due).collect();
        Ok((filter_record_batch(&batch, &others)?, due))
    }

    /// Sorts out the rows that cannot be among the first of their window any more.
    fn prune(&mut self) -> Result<()> {
        let all = self.rows.take_before(i64::MAX)?;
        self.held = 0;
        for [part] in by_windows([&all]) {
            let rows = all.rows(part)?;
            let mut kept: Vec<u32> = self.ranked(&rows)?.into_iter().map(|(row, _)| row).collect();
            // In the order in which they came: it breaks ties.
            kept.sort_unstable();
            let rows = if kept.len() == rows.num_rows() { rows } else { take_record_batch(&rows, &UInt32Array::from(kept))? };
            self.held += rows.num_rows();
            let due = self.window.due(&rows)?;
            self.rows.add(rows, due)?;
        }
        self.prune_at = PRUNE_ROWS.max(2 * self.held);
        Ok(())
    }

    /// The rows that are among the first `last` of their window and key, with their rank, in rank order by group.
    fn ranked(&self, rows: &RecordBatch) -> Result<Vec<(u32, u64)>> {
        let single = self.window.single(rows)?.is_some();
        let groups = self.window.group_columns(rows, &self.keys, single)?;
        let types: Vec<_> = groups.iter().map(|column| column.data_type().clone()).collect();
        let mut index = KeyIndex::new(&types, NullKeys::AreAGroup)?;
        let mut slots = Vec::new();
        index.intern(&groups, rows.num_rows(), &mut slots)?;

        // Rows on which an expression fails were refused when they came.
        let mut failures = Failures::default();
        let order = self.order.iter().map(|expr| evaluate(expr, rows, &mut failures)).collect::<Result<Vec<_>>>()?;
        let order = self.converter.convert_columns(&order)?;
        let compare = |a: &u32, b: &u32| order.row(*a as usize).cmp(&order.row(*b as usize)).then(a.cmp(b));

        let mut best: Vec<Vec<u32>> = vec![Vec::new(); index.len()];
        if self.last > 0 {
            for (row, slot) in slots.iter().enumerate() {
                let best = &mut best[*slot as usize];
                best.push(row as u32);
                // Twice as many as wanted: the worse half goes, a few comparisons a row.
                if best.len() >= self.last.saturating_mul(2) {
                    best.select_nth_unstable_by(self.last - 1, compare);
                    best.truncate(self.last);
                }
            }
        }
        let mut ranked = Vec::new();
        for mut best in best {
            best.sort_unstable_by(compare);
            best.truncate(self.last);
            ranked.extend(best.into_iter().zip(1..));
        }
        Ok(ranked)
    }
}
