//! Pre-aggregation before the exchange: rows become one state per key and slice, so that far less has to travel.
//!
//! A slice is handed on when the watermark passes its end, when all slices together hold too much memory, when the source
//! goes idle, and at every checkpoint: nothing is kept over one. Where nearly every row is a group of its own, gathering
//! only costs: then rows are handed on as they come, as states, until it is tried again.
//!
//! Lateness is judged by the watermark here, that of the source's partition: a row whose every window has closed is
//! refused. Pairs of a row and some closed windows are counted where windows fire.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::operator::event_time::timestamps;
use crate::operator::expressions::Failures;
use crate::operator::group_table::{Evaluated, GroupLayout, GroupTable};
use crate::operator::windowing::{SliceRows, Windowing, without_failed};
use crate::operator::{Input, Operator, Output};
use crate::time::{Watermark, Window};

/// Memory of all slices above which they are handed on early.
const MAX_BYTES: usize = 64 << 20;

/// Rows after which it is judged whether gathering them was worth it.
const JUDGED_ROWS: u64 = 1 << 15;
/// It was if they became at most this share of groups.
const WORTH_SHARE: f64 = 0.8;
/// Rows that are handed on as they come before gathering is tried again.
const PASSED_ROWS: u64 = 1 << 20;

/// The running `Partial` phase.
pub(crate) struct WindowPartial {
    layout: Arc<GroupLayout>,
    windowing: Windowing,
    schema: SchemaRef,
    worth: Worth,
    slices: BTreeMap<Window, Slice>,
    mark: Watermark,
}

struct Slice {
    groups: GroupTable,
    /// Its memory when it was last touched.
    bytes: usize,
}

/// Is gathering worth it?
#[derive(Default)]
struct Worth {
    /// Rows handed on since the last judgement, and the groups they had become.
    rows: u64,
    groups: u64,
    /// Rows still to be handed on as they come.
    passing: u64,
}

impl Worth {
    /// Notes that `rows` rows have become `groups` groups.
    fn gathered(&mut self, rows: u64, groups: u64) {
        self.rows += rows;
        self.groups += groups;
        if self.rows >= JUDGED_ROWS {
            if self.groups as f64 > self.rows as f64 * WORTH_SHARE {
                self.passing = PASSED_ROWS;
            }
            (self.rows, self.groups) = (0, 0);
        }
    }
}

impl WindowPartial {
    pub(crate) fn new(layout: Arc<GroupLayout>, windowing: Windowing, schema: SchemaRef) -> Self {
        WindowPartial { layout, windowing, schema, worth: Worth::default(), slices: BTreeMap::new(), mark: Watermark::MIN }
    }

    /// The groups of a slice as rows.
    fn rows(&mut self, window: Window, slice: Slice) -> Result<RecordBatch> {
        let rows = slice.groups.rows().to_vec();
        let states = slice.groups.into_states(&self.layout)?;
        self.worth.gathered(rows.iter().sum::<i64>().unsigned_abs(), states.num_rows() as u64);
        self.handed_on(window, rows, states.columns())
    }

    /// Keys and states of a slice as they go to the final phase; `rows` are those behind each.
    fn handed_on(&self, window: Window, rows: Vec<i64>, states: &[ArrayRef]) -> Result<RecordBatch> {
        let count = rows.len();
        let (keys, states) = states.split_at(self.layout.key_width());
        let mut columns = keys.to_vec();
        let time = self.schema.field(columns.len()).data_type();
        columns.push(timestamps(&vec![window.start; count], time)?);
        if let Windowing::Attached { .. } = self.windowing {
            columns.push(timestamps(&vec![window.end; count], time)?);
        }
        columns.push(Arc::new(Int64Array::from(rows)));
        columns.extend_from_slice(states);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Hands rows on as they are.
    fn pass(&mut self, input: &Evaluated, open: Vec<SliceRows>, out: &mut Output) -> Result<()> {
        let mut passed = Vec::with_capacity(open.len());
        for (window, rows) in open {
            let part = rows.map(|rows| input.take(&rows)).transpose()?;
            let part = part.as_ref().unwrap_or(input);
            self.worth.passing = self.worth.passing.saturating_sub(part.rows() as u64);
            passed.push(self.handed_on(window, vec![1; part.rows()], &self.layout.states_of_rows(part)?)?);
        }
        out.emit_together(&self.schema, &passed)
    }

    fn emit_all(&mut self, out: &mut Output) -> Result<()> {
        let slices = std::mem::take(&mut self.slices);
        let rows = slices.into_iter().map(|(window, slice)| self.rows(window, slice)).collect::<Result<Vec<_>>>()?;
        out.emit_together(&self.schema, &rows)
    }
}

impl Operator for WindowPartial {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, parts) = self.windowing.split(batch, out)?;
        let (late, open) = parts.into_iter().partition(|(slice, _)| {
            let (closed, windows) = self.windowing.closed(*slice, self.mark);
            closed == windows
        });
        self.windowing.refuse_late(&batch, late, self.mark, None, out)?;
        let open: Vec<_> = open;
        if open.is_empty() {
            return Ok(());
        }
        let mut failures = Failures::default();
        let input = self.layout.evaluate(&batch, &mut failures)?;
        let open = without_failed(&batch, open, failures, out)?;
        if self.worth.passing > 0 && self.layout.passes_rows() {
            return self.pass(&input, open, out);
        }
        for (window, rows) in open {
            let slice = match self.slices.entry(window) {
                std::collections::btree_map::Entry::Occupied(slice) => slice.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Slice { groups: self.layout.table()?.counting_rows(), bytes: 0 })
                }
            };
            match rows {
                None => slice.groups.update(&self.layout, &input)?,
                Some(rows) => slice.groups.update(&self.layout, &input.take(&rows)?)?,
            }
            slice.bytes = slice.groups.bytes();
        }
        if self.slices.values().map(|slice| slice.bytes).sum::<usize>() > MAX_BYTES {
            self.emit_all(out)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark = self.mark.max(mark);
        let mut rows = Vec::new();
        while let Some(first) = self.slices.first_entry().filter(|slice| mark.passed(slice.key().end)) {
            let (window, slice) = first.remove_entry();
            rows.push(self.rows(window, slice)?);
        }
        out.emit_together(&self.schema, &rows)?;
        Ok(mark)
    }

    fn on_idle(&mut self, out: &mut Output) -> Result<()> {
        self.emit_all(out)
    }

    fn on_checkpoint(&mut self, out: &mut Output) -> Result<()> {
        self.emit_all(out)
    }

    fn state_bytes(&self) -> usize {
        self.slices.values().map(|slice| slice.bytes).sum()
    }
}
