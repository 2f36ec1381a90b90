//! What a source has brought before a checkpoint, read once more: another source, which ends in front of the record that
//! the checkpoint goes on with.
//!
//! ```text
//!  record  0 1 2 3 4 5 6 │ 7 8 …       chunks as the connector cuts them: [0 1 2] [3 4 5] [6 7 8]
//!          history       │ the run       handed on:                        [0 1 2] [3 4 5] [6]
//! ```

use std::sync::Arc;

use async_trait::async_trait;

use super::{History, Partition, Position, Read, Reader, Source};
use crate::error::{Error, Result};
use crate::format::{Chunk, Records};

/// The history of some partitions of a source.
#[derive(Debug)]
pub struct HistorySource {
    source: Arc<dyn Source>,
    partitions: Vec<(Partition, History)>,
}

impl HistorySource {
    /// What `source` has brought before these positions.
    pub fn new(source: Arc<dyn Source>, until: Vec<(Partition, Position)>) -> Result<Self> {
        let mut partitions = Vec::new();
        for (partition, position) in until {
            let history = source.history(&partition, &position)?;
            partitions.push((partition, history));
        }
        Ok(HistorySource { source, partitions })
    }
}

#[async_trait]
impl Source for HistorySource {
    fn describe(&self) -> String {
        format!("history of {}", self.source.describe())
    }

    fn identity(&self) -> String {
        self.describe()
    }

    fn bounded(&self) -> bool {
        true
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(self.partitions.iter().map(|(partition, _)| partition.clone()).collect())
    }

    async fn open(&self, partition: &Partition, _: Option<&Position>) -> Result<Box<dyn Reader>> {
        let known = self.partitions.iter().find(|(known, _)| known == partition);
        let (_, history) = known.ok_or_else(|| Error::bug(format!("{} has no history", partition.name)))?;
        let mut reader = HistoryReader { source: self.source.clone(), partition: partition.clone(), reader: None, end: history.end };
        if history.end > 0 {
            reader.reader = Some(self.source.open(partition, history.first.as_ref()).await?);
        }
        Ok(Box::new(reader))
    }

    fn gathers(&self) -> bool {
        self.source.gathers()
    }
}

struct HistoryReader {
    source: Arc<dyn Source>,
    partition: Partition,
    /// None: there is no more.
    reader: Option<Box<dyn Reader>>,
    end: i64,
}

#[async_trait]
impl Reader for HistoryReader {
    async fn read(&mut self) -> Result<Read> {
        let Some(reader) = &mut self.reader else { return Ok(Read::End) };
        // Where the last records are gone no chunk tells that the end was passed.
        if self.source.history(&self.partition, &reader.position())?.end >= self.end {
            self.reader = None;
            return Ok(Read::End);
        }
        match reader.read().await? {
            Read::Chunk(chunk) => Ok(before(chunk, self.end).map_or(Read::End, Read::Chunk)),
            other => Ok(other),
        }
    }

    /// History is read in one go: nobody goes on from within it.
    fn position(&self) -> Position {
        Position(serde_json::Value::Null)
    }
}

/// The records below offset `end`.
fn before(chunk: Chunk, end: i64) -> Option<Chunk> {
    let most = usize::try_from(end - chunk.base_offset).ok().filter(|most| *most > 0)?;
    let records = match chunk.records {
        Records::Lines(lines) => {
            let end = memchr::memchr_iter(b'\n', &lines).nth(most - 1).map_or(lines.len(), |newline| newline + 1);
            Records::Lines(lines.slice(..end))
        }
        Records::Rows(rows) => Records::Rows(rows.slice(0, most.min(rows.num_rows()))),
        Records::Framed(mut framed) => {
            framed.keep_before(end);
            Records::Framed(framed)
        }
    };
    Some(Chunk { records, ..chunk })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::connector::feed::{Feed, FeedSource};

    #[test]
    fn a_chunk_is_cut_in_front_of_the_end() {
        let lines = |text: &'static str| Chunk { records: Records::Lines(text.into()), base_offset: 10, arrived_micros: 0 };
        let text = |chunk: Chunk| match chunk.records {
            Records::Lines(lines) => String::from_utf8(lines.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        let cut: BTreeMap<i64, Option<String>> =
            [9, 10, 11, 12, 13, 99].into_iter().map(|end| (end, before(lines("a\nb\nc"), end).map(text))).collect();
        let wanted = [(9, None), (10, None), (11, Some("a\n")), (12, Some("a\nb\n")), (13, Some("a\nb\nc")), (99, Some("a\nb\nc"))];
        assert_eq!(cut, wanted.map(|(end, text)| (end, text.map(str::to_owned))).into());
    }

    #[tokio::test]
    async fn it_ends_where_the_position_stands_and_not_where_the_feed_does() {
        let feed = Feed::default();
        feed.keep();
        for line in ["a\n", "b\n", "c\n"] {
            feed.send_lines(0, line).await.unwrap();
        }
        let source: Arc<dyn Source> = Arc::new(FeedSource::new("t", feed, 1));
        let partition = source.partitions().await.unwrap().remove(0);
        let history = HistorySource::new(source, vec![(partition.clone(), Position(2.into()))]).unwrap();
        let mut reader = history.open(&partition, None).await.unwrap();
        let mut chunks = 0;
        while let Read::Chunk(_) = reader.read().await.unwrap() {
            chunks += 1;
        }
        assert_eq!(chunks, 2);
        assert!(matches!(reader.read().await.unwrap(), Read::End));
    }
}
