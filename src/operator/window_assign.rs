//! Window assignment: gives each row its window(s) as columns. Stateless (TUMBLE, HOP, CUMULATE).
//!
//! Used where windows are not aggregated away at once: window join, Top-N, a filter on `window_start`. A row of an
//! overlapping window leaves once per window. Which windows have closed is judged by the operator that collects the rows.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::operator::event_time::{refuse_null_times, window_columns};
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::{Watermark, Window, WindowKind};

/// Describes the assignment, over one input.
#[derive(Debug)]
pub struct WindowAssignSpec {
    /// Event-time column of the input (a timestamp of any unit; rows with NULL are refused with `Reason::NullTime`).
    pub time: usize,
    /// Which windows; never a session.
    pub kind: WindowKind,
    /// Input columns, then `window_start`, `window_end` (Timestamp(ms), no zone), `window_time` (type of the time column).
    pub schema: SchemaRef,
}

impl OperatorSpec for WindowAssignSpec {
    fn name(&self) -> &'static str {
        "window assignment"
    }

    fn describe(&self) -> String {
        format!("{} on {}", self.kind, self.schema.field(self.time).name())
    }

    fn identity(&self) -> String {
        format!("window assignment {:?} on @{}", self.kind, self.time)
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Anywhere
    }

    fn stateful(&self) -> bool {
        false
    }

    fn open(&self, _: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WindowAssign { time: self.time, kind: self.kind.check()?, schema: self.schema.clone() }))
    }
}

struct WindowAssign {
    time: usize,
    kind: WindowKind,
    schema: SchemaRef,
}

impl Operator for WindowAssign {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, times) = refuse_null_times(batch, self.time, out)?;
        let (mut columns, windows) = if let WindowKind::Tumble { size, .. } = self.kind {
            let start = |ts: &i64| self.kind.slice_start(*ts);
            let windows: Vec<Window> = times.values().iter().map(start).map(|start| Window { start, end: start + size }).collect();
            (batch.columns().to_vec(), windows)
        } else {
            let mut rows: Vec<u32> = Vec::with_capacity(batch.num_rows() * 4);
            let mut windows: Vec<Window> = Vec::with_capacity(batch.num_rows() * 4);
            // Neighbours mostly share their slice, and with it their windows.
            let mut slice = None;
            let mut of_slice = Vec::new();
            for (row, ts) in times.values().iter().enumerate() {
                let start = self.kind.slice_start(*ts);
                if slice != Some(start) {
                    slice = Some(start);
                    of_slice = self.kind.windows_of_slice(start);
                }
                rows.extend(std::iter::repeat_n(row as u32, of_slice.len()));
                windows.extend_from_slice(&of_slice);
            }
            (take_arrays(batch.columns(), &UInt32Array::from(rows), None)?, windows)
        };
        columns.extend(window_columns(&windows, &self.schema)?);
        out.emit(RecordBatch::try_new(self.schema.clone(), columns)?);
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::testing::{check, schema, windowed};
    use arrow::datatypes::{DataType, TimeUnit};

    const SECOND: i64 = 1_000_000;

    fn assign(kind: WindowKind) -> (WindowAssignSpec, SchemaRef) {
        let input = schema(&[("ts", DataType::Timestamp(TimeUnit::Millisecond, None)), ("v", DataType::Int64)]);
        (WindowAssignSpec { time: 0, kind, schema: windowed(&input) }, input)
    }

    #[test]
    fn a_row_leaves_once_per_window_and_never_without_a_time() {
        let (spec, input) = assign(WindowKind::Hop { size: 10 * SECOND, slide: 4 * SECOND, offset: 0 });
        check(
            &spec,
            &[input],
            "
            < 9 1
            < 10 2
            < NULL 3
            mark 11
            > 9 1 0 10 9.999
            > 9 1 4 14 13.999
            > 9 1 8 18 17.999
            > 10 2 4 14 13.999
            > 10 2 8 18 17.999
            ! null_event_time 1
            ",
        );
    }

    #[test]
    fn tumbling_floors_below_1970() {
        let (spec, input) = assign(WindowKind::Tumble { size: 5 * SECOND, offset: 0 });
        check(
            &spec,
            &[input],
            "
            < -0.001 1
            mark 0
            > -0.001 1 -5 0 -0.001
            ",
        );
    }
}
