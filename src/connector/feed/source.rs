//! Reading a feed.

use std::time::Duration;

use async_trait::async_trait;

use super::NAME;
use super::lanes::{Fed, Feed};
use crate::connector::{History, Partition, Position, Read, Reader, Source};
use crate::error::Result;
use crate::format::Chunk;

/// How long a reader waits for rows before it says that it is idle.
const WAIT: Duration = Duration::from_millis(5);

/// A feed as a source.
#[derive(Debug)]
pub struct FeedSource {
    table: String,
    feed: Feed,
    partitions: u32,
}

impl FeedSource {
    /// The feed of `table`.
    pub fn new(table: &str, feed: Feed, partitions: u32) -> Self {
        FeedSource { table: table.to_owned(), feed, partitions }
    }
}

#[async_trait]
impl Source for FeedSource {
    fn describe(&self) -> String {
        format!("{NAME} {}", self.table)
    }

    fn identity(&self) -> String {
        self.describe()
    }

    /// It ends when the program says so, which is not known beforehand.
    fn bounded(&self) -> bool {
        false
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok((0..self.partitions).map(|index| Partition { index, name: format!("{}[{index}]", self.table) }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let next = position.and_then(|p| p.0.as_u64()).unwrap_or(0) as usize;
        let mut inner = self.feed.inner.lock();
        let lane = inner.lane(partition.index as usize);
        // What is no longer here was read by an earlier run.
        lane.read = next.clamp(lane.first, lane.first + lane.chunks.len());
        let next = lane.read;
        drop(inner);
        Ok(Box::new(FeedReader { feed: self.feed.clone(), partition: partition.index as usize, next }))
    }

    fn replays(&self) -> bool {
        self.feed.inner.lock().keeping
    }

    fn history(&self, _: &Partition, until: &Position) -> Result<History> {
        Ok(History { first: None, end: offset_of(until.0.as_i64().unwrap_or(0)) })
    }
}

/// A chunk counts as one record's worth of offsets apart from the next, whatever it holds.
fn offset_of(chunk: i64) -> i64 {
    chunk << 24
}

struct FeedReader {
    feed: Feed,
    partition: usize,
    next: usize,
}

impl FeedReader {
    /// The next chunk, or whether the feed has ended.
    fn take(&mut self) -> Option<Read> {
        let mut inner = self.feed.inner.lock();
        let (keeping, ended) = (inner.keeping, inner.ended);
        let lane = inner.lane(self.partition);
        let Some(fed) = lane.chunks.get(self.next - lane.first).cloned() else { return ended.then_some(Read::End) };
        if !keeping {
            lane.chunks.pop_front();
            lane.first += 1;
        }
        self.next += 1;
        lane.read = self.next;
        drop(inner);
        self.feed.changed.notify_waiters();
        let records = match fed {
            Fed::Records(records) => records,
            Fed::Watermark(micros) => return Some(Read::Watermark(micros)),
        };
        let arrived_micros = chrono::Utc::now().timestamp_micros();
        let base_offset = offset_of(self.next as i64 - 1);
        Some(Read::Chunk(Chunk { records, base_offset, arrived_micros }))
    }
}

#[async_trait]
impl Reader for FeedReader {
    async fn read(&mut self) -> Result<Read> {
        let feed = self.feed.clone();
        let changed = feed.changed.notified();
        if let Some(read) = self.take() {
            return Ok(read);
        }
        // Whether it was woken or the time is up: the look below decides.
        _ = tokio::time::timeout(WAIT, changed).await;
        Ok(self.take().unwrap_or(Read::Idle))
    }

    fn position(&self) -> Position {
        Position(self.next.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Records;

    fn text(read: Read) -> Option<String> {
        match read {
            Read::Chunk(Chunk { records: Records::Lines(lines), .. }) => Some(String::from_utf8(lines.to_vec()).unwrap()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_keeping_feed_is_read_again_from_any_position() {
        let feed = Feed::default();
        feed.keep();
        for line in ["a\n", "b\n", "c\n"] {
            feed.send_lines(0, line).await.unwrap();
        }
        feed.end();
        assert!(feed.send_lines(0, "d\n").await.is_err());
        let source = FeedSource::new("t", feed, 1);
        let partition = source.partitions().await.unwrap().remove(0);
        let mut reader = source.open(&partition, None).await.unwrap();
        assert_eq!(text(reader.read().await.unwrap()).unwrap(), "a\n");
        let position = reader.position();
        let mut again = source.open(&partition, Some(&position)).await.unwrap();
        assert_eq!(text(again.read().await.unwrap()).unwrap(), "b\n");
        assert_eq!(text(again.read().await.unwrap()).unwrap(), "c\n");
        assert!(matches!(again.read().await.unwrap(), Read::End));
    }

    #[tokio::test]
    async fn a_full_backlog_makes_the_sender_wait() {
        let feed = Feed::default();
        for _ in 0..super::super::lanes::BACKLOG {
            feed.send_lines(0, "x\n").await.unwrap();
        }
        let one_more = tokio::time::timeout(Duration::from_millis(20), feed.send_lines(0, "y\n")).await;
        assert!(one_more.is_err(), "it should wait");
    }
}
