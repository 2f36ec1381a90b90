//! Rows that are made, not read: a source whose row is a pure function of its number, paced by a rate.
//!
//! ```text
//!  row 0 1 2 3 4 5 …      time of row n = start + n / rate
//!      │ │ │ │ │ │
//!  p   0 1 0 1 0 1        row n belongs to partition n mod partitions
//! ```
//! Without a start time rows are due at their time by the wall clock, and a restart goes on with the next number from
//! now on. With one, time is only written into the rows, and they come as fast as they are taken.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use super::{History, Partition, Position, Read, Reader, Source};
use crate::error::{Error, Result};
use crate::format::{Chunk, Records};
use crate::time::{MICROS_PER_SECOND, now_micros};

/// Most rows of a batch.
const BATCH_ROWS: u64 = 8192;

/// Least time between two batches of a paced reader that is not behind.
const LINGER: Duration = Duration::from_millis(5);

/// Silence after which a reader says that it is idle.
const PATIENCE: Duration = Duration::from_millis(10);

/// Makes rows from their numbers.
pub trait Maker: Send + Sync + Debug {
    /// The rows with these numbers, when row 0 happens at `first_micros` (since 1970).
    fn make(&self, numbers: &[u64], first_micros: i64) -> Result<RecordBatch>;
}

/// Which rows there are, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Rows are dealt to this many partitions, at least 1.
    pub partitions: u32,
    /// How many there are; `None` = without end.
    pub total: Option<u64>,
    /// How often they happen.
    pub rate: Rate,
    /// When the first one happens, microseconds since 1970; `None` = now, and paced by the clock.
    pub start_micros: Option<i64>,
}

/// So many rows in so many microseconds; both above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Rows.
    pub rows: u64,
    /// In this time.
    pub micros: u64,
}

impl Rate {
    /// So many rows a second.
    pub fn per_second(rows: u64) -> Self {
        Rate { rows, micros: MICROS_PER_SECOND as u64 }
    }

    /// When row `number` happens, in microseconds after row 0.
    pub fn after(self, number: u64) -> i64 {
        (u128::from(number) * u128::from(self.micros) / u128::from(self.rows)) as i64
    }

    /// How many rows have happened `micros` after row 0.
    fn until(self, micros: i64) -> u64 {
        (micros.max(0) as u128 * u128::from(self.rows) / u128::from(self.micros)) as u64 + 1
    }
}

/// A source of made rows.
#[derive(Debug)]
pub struct GeneratedSource {
    connector: &'static str,
    /// What rows are made, for the fingerprint and for people.
    what: String,
    maker: Arc<dyn Maker>,
    schedule: Schedule,
}

impl GeneratedSource {
    /// A source of `connector` that makes `what`.
    pub fn new(connector: &'static str, what: String, maker: Arc<dyn Maker>, schedule: Schedule) -> Self {
        GeneratedSource { connector, what, maker, schedule }
    }
}

#[async_trait]
impl Source for GeneratedSource {
    fn describe(&self) -> String {
        let Schedule { total, rate, start_micros, .. } = self.schedule;
        let per_second = u128::from(rate.rows) * MICROS_PER_SECOND as u128 / u128::from(rate.micros);
        let total = total.map_or("rows without end".to_owned(), |total| format!("{total} rows"));
        let pace = if start_micros.is_some() { "of event time" } else { "by the clock" };
        format!("{} {}({total}, {per_second} a second {pace})", self.connector, self.what)
    }

    fn identity(&self) -> String {
        format!("{} {} {}", self.connector, self.what, self.schedule.partitions)
    }

    fn bounded(&self) -> bool {
        self.schedule.total.is_some()
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok((0..self.schedule.partitions).map(|index| Partition { index, name: index.to_string() }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let next = position.map_or(Ok(0), next_of)?;
        let mut reader = GeneratedReader {
            maker: self.maker.clone(),
            schedule: self.schedule,
            partition: u64::from(partition.index),
            next,
            first_micros: 0,
            last_batch: tokio::time::Instant::now(),
        };
        // By the clock, the next row is due now.
        reader.first_micros = self.schedule.start_micros.unwrap_or_else(|| now_micros() - self.schedule.rate.after(reader.number(next)));
        Ok(Box::new(reader))
    }

    /// Times that were taken from the clock are not made again.
    fn replays(&self) -> bool {
        self.schedule.start_micros.is_some()
    }

    fn history(&self, _: &Partition, until: &Position) -> Result<History> {
        Ok(History { first: None, end: next_of(until)? as i64 })
    }
}

fn next_of(position: &Position) -> Result<u64> {
    position.0["next"].as_u64().ok_or_else(|| Error::corrupt(format!("'{}' is no position among made rows", position.0)))
}

struct GeneratedReader {
    maker: Arc<dyn Maker>,
    schedule: Schedule,
    partition: u64,
    /// Rows of this partition made so far.
    next: u64,
    /// When row 0 happens.
    first_micros: i64,
    /// When the last batch was made.
    last_batch: tokio::time::Instant,
}

impl GeneratedReader {
    /// Number among all rows of the partition's row `local`.
    fn number(&self, local: u64) -> u64 {
        local * u64::from(self.schedule.partitions) + self.partition
    }

    /// How many rows of the partition have numbers below `end`.
    fn below(&self, end: u64) -> u64 {
        end.saturating_sub(self.partition).div_ceil(u64::from(self.schedule.partitions))
    }

    /// How many rows of the partition may have been made by now.
    fn due(&self, now: i64) -> u64 {
        let due = if self.schedule.start_micros.is_some() { u64::MAX } else { self.schedule.rate.until(now - self.first_micros) };
        self.below(due.min(self.schedule.total.unwrap_or(u64::MAX)))
    }

    fn batch(&mut self, until: u64) -> Result<Read> {
        let locals = self.next..until.min(self.next + BATCH_ROWS);
        let numbers: Vec<u64> = locals.clone().map(|local| self.number(local)).collect();
        let rows = self.maker.make(&numbers, self.first_micros)?;
        // A row that comes by the clock has arrived when it was due, not when it had been gathered with others.
        let arrived_micros = match (self.schedule.start_micros, numbers.first()) {
            (None, Some(first)) => self.first_micros + self.schedule.rate.after(*first),
            _ => now_micros(),
        };
        self.next = locals.end;
        self.last_batch = tokio::time::Instant::now();
        Ok(Read::Chunk(Chunk { records: Records::Rows(rows), base_offset: locals.start as i64, arrived_micros }))
    }
}

#[async_trait]
impl Reader for GeneratedReader {
    async fn read(&mut self) -> Result<Read> {
        if self.schedule.total.is_some_and(|total| self.next >= self.below(total)) {
            return Ok(Read::End);
        }
        let due = self.due(now_micros());
        if due >= self.next + BATCH_ROWS || self.schedule.start_micros.is_some() {
            return self.batch(due);
        }
        // Rows are gathered for a moment, so that a high rate does not mean a batch per row.
        let next_due = self.first_micros + self.schedule.rate.after(self.number(self.next)) - now_micros();
        let now = tokio::time::Instant::now();
        let wake = (self.last_batch + LINGER).max(now + Duration::from_micros(next_due.max(0) as u64));
        if wake > now + PATIENCE {
            tokio::time::sleep(PATIENCE).await;
            return Ok(Read::Idle);
        }
        tokio::time::sleep_until(wake).await;
        let due = self.due(now_micros());
        if due > self.next { self.batch(due) } else { Ok(Read::Idle) }
    }

    fn position(&self) -> Position {
        Position(serde_json::json!({ "next": self.next }))
    }
}

/// `'start-time'`: a timestamp as SQL or RFC 3339 writes it, or milliseconds since 1970; in microseconds.
pub fn parse_start_time(text: &str) -> Result<i64> {
    if let Ok(millis) = text.trim().parse::<i64>() {
        return Ok(millis.saturating_mul(1_000));
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_micros());
    }
    let read = |form| chrono::NaiveDateTime::parse_from_str(text, form).ok();
    let day = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let time = read("%Y-%m-%d %H:%M:%S%.f").or_else(|| read("%Y-%m-%dT%H:%M:%S%.f")).or_else(day);
    let time =
        time.ok_or_else(|| Error::input(format!("'start-time'='{text}' is no timestamp; expected one like '2024-01-01 00:00:00'")))?;
    Ok(time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, UInt64Array};

    #[derive(Debug)]
    struct Plain;

    impl Maker for Plain {
        fn make(&self, numbers: &[u64], first_micros: i64) -> Result<RecordBatch> {
            let times: ArrayRef =
                Arc::new(numbers.iter().map(|n| Some(first_micros + Rate::per_second(1_000).after(*n))).collect::<Int64Array>());
            let numbers: ArrayRef = Arc::new(UInt64Array::from(numbers.to_vec()));
            Ok(RecordBatch::try_from_iter([("n", numbers), ("t", times)])?)
        }
    }

    fn source(schedule: Schedule) -> GeneratedSource {
        GeneratedSource::new("made", "plain ".into(), Arc::new(Plain), schedule)
    }

    #[tokio::test]
    async fn rows_are_dealt_to_partitions_and_keep_the_contract() {
        let schedule = Schedule { partitions: 3, total: Some(20_000), rate: Rate::per_second(1_000), start_micros: Some(5_000_000) };
        let parts = crate::connector::contract::check_source(&source(schedule)).await;
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [6667, 6667, 6666]);
        assert_eq!(parts[1][..2], ["1,5001000", "4,5004000"]);
    }

    #[tokio::test]
    async fn without_a_start_time_rows_come_when_they_are_due() {
        let schedule = Schedule { partitions: 1, total: Some(30), rate: Rate::per_second(1_000), start_micros: None };
        let begun = std::time::Instant::now();
        let mut reader = source(schedule).open(&Partition { index: 0, name: "0".into() }, None).await.unwrap();
        while !matches!(reader.read().await.unwrap(), Read::End) {}
        assert_eq!(reader.position(), Position(serde_json::json!({ "next": 30 })));
        assert!(begun.elapsed() >= Duration::from_millis(29), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_start_time_reads_in_the_usual_forms() {
        for text in ["2024-01-01", "2024-01-01 00:00:00", "2024-01-01T00:00:00Z", "1704067200000"] {
            assert_eq!(parse_start_time(text).unwrap(), 1_704_067_200_000_000, "{text}");
        }
        assert!(parse_start_time("yesterday").is_err());
    }
}
