//! From chunk to rows: decode, event time, pushed-down filter, projection. Pure work on one chunk, so that chunks of one
//! partition can be scanned in parallel and put back in order.
//!
//! ```text
//!  chunk ─▶ `first` columns of every record ─▶ event time, filter ─▶ `rest` of the rows that pass ─▶ output columns
//!                                          └▶ times of *all* rows: they drive the watermark, kept or not
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute;
use bytes::Bytes;

use crate::change::{self, Kind};
use crate::dataflow::dead_letter::json_lines;
use crate::dataflow::graph::{ScanSpec, TimeSpec, WatermarkExpr};
use crate::error::Result;
use crate::format::{Beside, Chunk};
use crate::metrics::Reason;
use crate::operator::event_time::micros;
use crate::operator::expressions::{Failures, evaluate, holds};
use crate::time::MICROS_PER_MILLI;

/// What a chunk became.
#[derive(Debug)]
pub struct Scanned {
    /// Rows in the scan's output schema.
    pub rows: RecordBatch,
    /// Event time of the chunk; `None` where the table declares none or the chunk has no well-formed record.
    pub times: Option<Times>,
    /// Records that go no further.
    pub refused: Vec<RefusedRecord>,
    /// The records that `rows` are, where the table's dead letters are ordered.
    pub kept: Option<KeptRecords>,
    /// Records in the chunk, refused ones included.
    pub records: u64,
    /// When its bytes arrived, microseconds since 1970; 0 = unknown.
    pub arrived_micros: i64,
}

impl Scanned {
    /// No rows, but the word of the outside that nothing older than `mark` (where the table has event time) comes any more.
    pub fn watermark(spec: &ScanSpec, mark: Option<i64>) -> Scanned {
        let times = mark.map(|mark| Times { marks: vec![mark], kept: Vec::new(), places: Some(Vec::new()) });
        let rows = RecordBatch::new_empty(spec.schema.clone());
        Scanned { rows, times, refused: Vec::new(), kept: None, records: 0, arrived_micros: 0 }
    }
}

/// The records that rows were made of.
#[derive(Debug)]
pub struct KeptRecords {
    /// Holds them.
    pub chunk: Chunk,
    /// Per row: the offset of its record.
    pub offsets: Vec<i64>,
}

/// A record that goes no further.
#[derive(Debug)]
pub struct RefusedRecord {
    /// Its offset in the partition, where known.
    pub offset: Option<i64>,
    /// Its bytes as they came; where records are columns: what was read of it, as JSON.
    pub record: Bytes,
    /// What came with it.
    pub beside: Beside,
    /// Why.
    pub reason: Reason,
    /// What is wrong, in a sentence.
    pub error: String,
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
    let mut refused: Vec<RefusedRecord> = Vec::new();
    for rejected in decoded.rejected {
        let (reason, beside) = (Reason::Undecodable, chunk.beside(rejected.offset)?);
        refused.push(RefusedRecord { offset: Some(rejected.offset), record: rejected.record, beside, reason, error: rejected.error });
    }
    for lost in judged.lost {
        let (offset, record) = decoded.origins.of_judged(chunk, lost.row as usize).map_or((None, lost.seen), |(o, r)| (Some(o), r));
        refused.push(RefusedRecord { offset, record, beside: beside(chunk, offset)?, reason: lost.reason, error: lost.error });
    }
    let count = decoded.rows.num_rows();
    let mut offsets = if spec.ordered { decoded.offsets.clone() } else { Vec::new() };
    let mut failures = Failures::default();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(spec.schema.fields().len());
    for (expr, _) in &spec.output {
        columns.push(evaluate(expr, &decoded.rows, &mut failures)?);
    }
    if spec.seq {
        let high = i64::from(partition) << 48;
        columns.push(Arc::new(Int64Array::from_iter_values(decoded.offsets.iter().map(|offset| high | (offset & 0xFFFF_FFFF_FFFF)))));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let mut rows = RecordBatch::try_new_with_options(nullable_where(spec, &failures), columns, &options)?;
    let mut times = judged.times;
    if let Some(times) = times.as_mut().filter(|times| times.kept.len() > count) {
        // Some were refused for a value that only rows are asked for which are kept.
        times.keep_places(&decoded.origins.kept_places());
    }
    if !failures.is_empty() {
        for (row, error) in failures.iter() {
            let (offset, record) = match decoded.origins.of_kept(chunk, row as usize) {
                Some((offset, record)) => (Some(offset), record),
                None => (None, as_json(&decoded.rows, row)?),
            };
            let (reason, beside) = (Reason::Expression, beside(chunk, offset)?);
            refused.push(RefusedRecord { offset, record, beside, reason, error: error.to_owned() });
        }
        let others = failures.others(count);
        let left = compute::filter_record_batch(&rows, &others)?;
        let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
        rows = RecordBatch::try_new_with_options(spec.schema.clone(), left.columns().to_vec(), &options)?;
        if let Some(times) = &mut times {
            times.keep(&others);
        }
        offsets = others.values().set_indices().filter_map(|row| offsets.get(row).copied()).collect();
    }
    refused.sort_by_key(|refused| refused.offset);
    let kept = spec.ordered.then(|| KeptRecords { chunk: chunk.clone(), offsets });
    Ok(Scanned { rows, times, refused, kept, records: decoded.records, arrived_micros: chunk.arrived_micros })
}

fn beside(chunk: &Chunk, offset: Option<i64>) -> Result<Beside> {
    offset.map_or_else(|| Ok(Beside::default()), |offset| chunk.beside(offset))
}

/// The schema of what leaves, as long as rows that failed are in it as NULL.
fn nullable_where(spec: &ScanSpec, failures: &Failures) -> arrow::datatypes::SchemaRef {
    if failures.is_empty() {
        return spec.schema.clone();
    }
    let fields = spec.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

impl Times {
    /// Leaves out the rows whose place is not among `places` (ascending).
    fn keep_places(&mut self, places: &[u32]) {
        let mut left = places.iter().peekable();
        let own = self.places.take().unwrap_or_else(|| (0..self.kept.len() as u32).collect());
        let stays: BooleanArray = own.iter().map(|place| Some(left.next_if_eq(&place).is_some())).collect();
        self.places = Some(own);
        self.keep(&stays);
    }

    /// Leaves out the rows that go no further after all; what they say of the watermark stays.
    pub(super) fn keep(&mut self, rows: &BooleanArray) {
        let places = self.places.take().unwrap_or_else(|| (0..self.kept.len() as u32).collect());
        self.places = Some(rows.values().set_indices().map(|row| places[row]).collect());
        self.kept = rows.values().set_indices().map(|row| self.kept[row]).collect();
    }
}

/// What the judge learns about a chunk while it decides which rows to keep.
#[derive(Default)]
struct Judged {
    times: Option<Times>,
    lost: Vec<Lost>,
}

/// A judged row that goes no further.
struct Lost {
    row: u32,
    reason: Reason,
    error: String,
    /// What was read of it, where its bytes are not at hand.
    seen: Bytes,
}

impl Judged {
    fn judge(&mut self, spec: &ScanSpec, time: Option<&TimeSpec>, first: &RecordBatch, now_micros: i64) -> Result<Option<BooleanArray>> {
        let mut failures = Failures::default();
        let passing = spec.filter.as_ref().map(|filter| holds(filter, first, &mut failures)).transpose()?;
        let (Some(event_time), Some(time)) = (&spec.event_time, time) else {
            self.lose_failed(first, &failures)?;
            // A row on which the filter failed does not hold.
            return Ok(passing);
        };
        let times = micros(&evaluate(event_time, first, &mut failures)?)?;
        let mut driving = times.nulls().cloned();
        let mut future = None;
        if let Some(skew) = time.max_future_skew_micros {
            let limit = now_micros.saturating_add(skew);
            if times.iter().flatten().any(|ts| ts > limit) {
                let sane: BooleanArray = times.iter().map(|ts| Some(ts.is_none_or(|ts| ts <= limit))).collect();
                driving = NullBuffer::union(driving.as_ref(), Some(&NullBuffer::new(sane.values().clone())));
                future = Some(sane);
            }
        }
        let marks = marks(&time.watermark, &times, driving.as_ref(), first, &mut failures)?;

        let mut keep = passing;
        if !failures.is_empty() {
            self.lose_failed(first, &failures)?;
            keep = Some(and(keep, failures.others(first.num_rows()))?);
        }
        if times.null_count() > 0 {
            let mut present = compute::is_not_null(&times)?;
            if let Some(kinds) = change::of(first)? {
                // Of a deleted row the time need not be known: it drives no watermark, and nothing waits for it.
                let gone: BooleanArray = kinds.values().iter().map(|kind| Some(*kind == Kind::Delete as i8)).collect();
                present = compute::or(&present, &gone)?;
            }
            self.lose(first, keep.as_ref(), &present, Reason::NullTime, "the event time is NULL or out of range")?;
            keep = Some(and(keep, present)?);
        }
        if let Some(sane) = future {
            let error = "the event time is further ahead of the clock than 'scan.watermark.max-future-skew' allows";
            self.lose(first, keep.as_ref(), &sane, Reason::Future, error)?;
            keep = Some(and(keep, sane)?);
        }
        // A row without a time is not late.
        let time = |row: usize| if times.is_null(row) { i64::MAX } else { times.value(row) };
        let (kept, places) = match &keep {
            None if times.null_count() == 0 => (times.values().to_vec(), None),
            None => ((0..times.len()).map(time).collect(), None),
            Some(mask) => {
                let places: Vec<u32> = mask.values().set_indices().map(|row| row as u32).collect();
                (places.iter().map(|row| time(*row as usize)).collect(), Some(places))
            }
        };
        self.times = Some(Times { marks, kept, places });
        Ok(keep)
    }

    /// Notes the rows that pass `keep` but not `good`.
    fn lose(&mut self, first: &RecordBatch, keep: Option<&BooleanArray>, good: &BooleanArray, reason: Reason, error: &str) -> Result<()> {
        let bad = (0..first.num_rows()).filter(|row| !good.value(*row) && keep.is_none_or(|keep| keep.value(*row)));
        for row in bad {
            let row = row as u32;
            self.lost.push(Lost { row, reason, error: error.to_owned(), seen: as_json(first, row)? });
        }
        Ok(())
    }

    fn lose_failed(&mut self, first: &RecordBatch, failures: &Failures) -> Result<()> {
        for (row, error) in failures.iter() {
            self.lost.push(Lost { row, reason: Reason::Expression, error: error.to_owned(), seen: as_json(first, row)? });
        }
        Ok(())
    }
}

fn as_json(rows: &RecordBatch, row: u32) -> Result<Bytes> {
    Ok(json_lines(&rows.slice(row as usize, 1))?.pop().map(Bytes::from).unwrap_or_default())
}

fn and(keep: Option<BooleanArray>, good: BooleanArray) -> Result<BooleanArray> {
    Ok(match keep {
        Some(keep) => compute::and(&keep, &good)?,
        None => good,
    })
}

/// Per record the exclusive watermark that it justifies: Flink's inclusive value plus one millisecond (semantics.md 1).
fn marks(
    expr: &WatermarkExpr,
    times: &Int64Array,
    driving: Option<&NullBuffer>,
    first: &RecordBatch,
    failures: &mut Failures,
) -> Result<Vec<i64>> {
    let of_values = |values: &[i64], nulls: Option<&NullBuffer>, shift: i64| -> Vec<i64> {
        match nulls {
            None => values.iter().map(|ts| ts.saturating_add(shift)).collect(),
            Some(nulls) => values.iter().zip(nulls).map(|(ts, valid)| if valid { ts.saturating_add(shift) } else { i64::MIN }).collect(),
        }
    };
    Ok(match expr {
        WatermarkExpr::Delay(delay) => of_values(times.values(), driving, MICROS_PER_MILLI - delay),
        WatermarkExpr::Expr(expr) => {
            let values = micros(&evaluate(expr, first, failures)?)?;
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
