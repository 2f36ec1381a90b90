//! From chunk to rows: decode, event time, pushed-down filter, projection. Pure work on one chunk, so that chunks of one
//! partition can be scanned in parallel and put back in order.
//!
//! ```text
//!  chunk ─▶ `first` columns of every record ─▶ event time, filter ─▶ `rest` of the rows that pass ─▶ output columns
//!                                          └▶ times of *all* rows: they drive the watermark, kept or not
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;

use crate::dataflow::graph::{ScanSpec, TimeSpec, WatermarkExpr};
use crate::error::{Error, Result};
use crate::format::{Chunk, Rejected};
use crate::time::MICROS_PER_MILLI;

/// What a chunk became.
#[derive(Debug)]
pub struct Scanned {
    /// Rows in the scan's output schema.
    pub rows: RecordBatch,
    /// Event time of the chunk; `None` where the table declares none or the chunk has no well-formed record.
    pub times: Option<Times>,
    /// Records refused by the decoder.
    pub rejected: Vec<Rejected>,
    /// Kept rows without an event time (the `first` columns): they go no further.
    pub timeless: Option<RecordBatch>,
    /// Kept rows too far ahead of the clock (the `first` columns): they go no further and drive no watermark.
    pub future: Option<RecordBatch>,
    /// Records in the chunk, refused ones included.
    pub records: u64,
    /// When its bytes arrived, microseconds since 1970; 0 = unknown.
    pub arrived_micros: i64,
}

/// Event times of a chunk, in microseconds.
#[derive(Debug)]
pub struct Times {
    /// Per well-formed record: the exclusive watermark that it justifies by itself; `i64::MIN` = none.
    pub marks: Vec<i64>,
    /// Per row of `rows`: its event time.
    pub kept: Vec<i64>,
    /// Per row of `rows`: its place among the well-formed records; `None` = all were kept.
    pub places: Option<Vec<u32>>,
}

/// Scans one chunk. `now_micros`: the wall clock, for the future skew only.
pub fn scan(spec: &ScanSpec, time: Option<&TimeSpec>, partition: u32, chunk: &Chunk, now_micros: i64) -> Result<Scanned> {
    let mut judged = Judged::default();
    let decoded = spec.decoder.decode(chunk, &mut |first| judged.judge(spec, time, first, now_micros))?;
    let count = decoded.rows.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(spec.schema.fields().len());
    for (expr, _) in &spec.output {
        columns.push(expr.evaluate(&decoded.rows)?.into_array(count)?);
    }
    if spec.seq {
        let high = i64::from(partition) << 48;
        columns.push(Arc::new(Int64Array::from_iter_values(decoded.offsets.iter().map(|offset| high | (offset & 0xFFFF_FFFF_FFFF)))));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(spec.schema.clone(), columns, &options)?;
    Ok(Scanned {
        rows,
        times: judged.times,
        rejected: decoded.rejected,
        timeless: judged.timeless,
        future: judged.future,
        records: decoded.records,
        arrived_micros: chunk.arrived_micros,
    })
}

/// What the judge learns about a chunk while it decides which rows to keep.
#[derive(Default)]
struct Judged {
    times: Option<Times>,
    timeless: Option<RecordBatch>,
    future: Option<RecordBatch>,
}

impl Judged {
    fn judge(&mut self, spec: &ScanSpec, time: Option<&TimeSpec>, first: &RecordBatch, now_micros: i64) -> Result<Option<BooleanArray>> {
        let passing = spec.filter.as_ref().map(|filter| passing_rows(filter, first)).transpose()?;
        let (Some(event_time), Some(time)) = (&spec.event_time, time) else { return Ok(passing) };
        let times = micros(event_time, first)?;
        let mut driving = times.nulls().cloned();
        let mut keep = passing;

        if times.null_count() > 0 {
            let present = compute::is_not_null(&times)?;
            self.timeless = lost_rows(first, keep.as_ref(), &present)?;
            keep = Some(and(keep, present)?);
        }
        if let Some(skew) = time.max_future_skew_micros {
            let limit = now_micros.saturating_add(skew);
            if times.iter().flatten().any(|ts| ts > limit) {
                let sane: BooleanArray = times.iter().map(|ts| Some(ts.is_none_or(|ts| ts <= limit))).collect();
                self.future = lost_rows(first, keep.as_ref(), &sane)?;
                driving = NullBuffer::union(driving.as_ref(), Some(&NullBuffer::new(sane.values().clone())));
                keep = Some(and(keep, sane)?);
            }
        }

        let marks = marks(&time.watermark, &times, driving.as_ref(), first)?;
        let (kept, places) = match &keep {
            None => (times.values().to_vec(), None),
            Some(mask) => {
                let places: Vec<u32> = mask.values().set_indices().map(|row| row as u32).collect();
                (places.iter().map(|row| times.value(*row as usize)).collect(), Some(places))
            }
        };
        self.times = Some(Times { marks, kept, places });
        Ok(keep)
    }
}

/// The filter's verdict without NULLs: unknown is not true.
fn passing_rows(filter: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let verdict = filter.evaluate(rows)?.into_array(rows.num_rows())?;
    let verdict =
        verdict.as_boolean_opt().ok_or_else(|| Error::bug(format!("the filter {filter} gives {}, not a boolean", verdict.data_type())))?;
    Ok(if verdict.null_count() > 0 { compute::prep_null_mask_filter(verdict) } else { verdict.clone() })
}

/// The rows that pass `keep` but not `good`.
fn lost_rows(first: &RecordBatch, keep: Option<&BooleanArray>, good: &BooleanArray) -> Result<Option<RecordBatch>> {
    let bad = compute::not(good)?;
    let bad = match keep {
        Some(keep) => compute::and(keep, &bad)?,
        None => bad,
    };
    Ok((bad.true_count() > 0).then(|| compute::filter_record_batch(first, &bad)).transpose()?)
}

fn and(keep: Option<BooleanArray>, good: BooleanArray) -> Result<BooleanArray> {
    Ok(match keep {
        Some(keep) => compute::and(&keep, &good)?,
        None => good,
    })
}

/// The expression's value as microseconds since 1970.
fn micros(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<Int64Array> {
    let value = expr.evaluate(rows)?.into_array(rows.num_rows())?;
    match value.data_type() {
        DataType::Timestamp(_, zone) => {
            let unit = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let value = compute::cast(&value, &unit)?;
            Ok(value.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
        }
        other => Err(Error::bug(format!("event time {expr} is {other}, not a timestamp"))),
    }
}

/// Per record the exclusive watermark that it justifies: Flink's inclusive value plus one millisecond (semantics.md 1).
fn marks(expr: &WatermarkExpr, times: &Int64Array, driving: Option<&NullBuffer>, first: &RecordBatch) -> Result<Vec<i64>> {
    let of_values = |values: &[i64], nulls: Option<&NullBuffer>, shift: i64| -> Vec<i64> {
        match nulls {
            None => values.iter().map(|ts| ts.saturating_add(shift)).collect(),
            Some(nulls) => values.iter().zip(nulls).map(|(ts, valid)| if valid { ts.saturating_add(shift) } else { i64::MIN }).collect(),
        }
    };
    Ok(match expr {
        WatermarkExpr::Delay(delay) => of_values(times.values(), driving, MICROS_PER_MILLI - delay),
        WatermarkExpr::Expr(expr) => {
            let values = micros(expr, first)?;
            let nulls = NullBuffer::union(values.nulls(), driving);
            of_values(values.values(), nulls.as_ref(), MICROS_PER_MILLI)
        }
    })
}

/// Where to cut a chunk's rows so that each row meets the watermark of the rows before it.
///
/// Returns pieces `(from, to, mark after the piece)`, in row order. A cut is made only in front of a row that is behind
/// the watermark of its predecessors; everywhere else an early watermark would change nothing.
pub fn pieces(times: &Times, start: i64, per_row: bool) -> Vec<(usize, usize, i64)> {
    let end = times.marks.iter().copied().fold(start, i64::max);
    let rows = times.kept.len();
    let least = times.kept.iter().copied().min().unwrap_or(i64::MAX);
    if !per_row || least >= end {
        return vec![(0, rows, end)];
    }
    let mut pieces = Vec::new();
    let (mut from, mut told, mut mark, mut record) = (0, start, start, 0);
    for (row, ts) in times.kept.iter().enumerate() {
        let place = times.places.as_ref().map_or(row, |places| places[row] as usize);
        for passed in &times.marks[record..place] {
            mark = mark.max(*passed);
        }
        record = place;
        if *ts < mark && mark > told {
            pieces.push((from, row, mark));
            (from, told) = (row, mark);
        }
    }
    pieces.push((from, rows, end));
    pieces
}

/// `Duration`-free clock reading in microseconds since 1970.
pub fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(all: &[i64], kept: &[usize], delay: i64) -> Times {
        Times {
            marks: all.iter().map(|t| t - delay).collect(),
            kept: kept.iter().map(|i| all[*i]).collect(),
            places: Some(kept.iter().map(|i| *i as u32).collect()),
        }
    }

    #[test]
    fn a_chunk_in_order_stays_whole() {
        assert_eq!(pieces(&times(&[1, 5, 9], &[0, 1, 2], 0), i64::MIN, true), [(0, 3, 9)][..].to_vec());
    }

    #[test]
    fn a_row_behind_its_predecessors_meets_their_watermark() {
        // 3 comes after 9: the watermark 9 (set by a row that the filter drops) must be told before it.
        assert_eq!(pieces(&times(&[1, 9, 3, 4, 20], &[0, 2, 3, 4], 0), i64::MIN, true), vec![(0, 1, 9), (1, 4, 20)]);
        assert_eq!(pieces(&times(&[1, 9, 3, 4, 20], &[0, 2, 3, 4], 0), i64::MIN, false), vec![(0, 4, 20)]);
    }

    #[test]
    fn rows_behind_an_earlier_chunk_need_no_cut() {
        assert_eq!(pieces(&times(&[3, 4], &[0, 1], 0), 10, true), vec![(0, 2, 10)]);
    }
}
