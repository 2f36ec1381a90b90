//! Whole records, byte for byte: read in pages, and sent again no more than once.
//!
//! ```text
//!  resend: records ──┐
//!                    ├─▶ one batch, one fsync: who sends again after a crash sees what was sent
//!  their letters' ids ─▶ topic __eagre_replayed
//! ```
//! What is known between two pages is plain data, so that it goes through the socket of the engine that holds the log
//! (`calls.rs`) as well as by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Batch, Log, Record};
use crate::error::{Error, Result};
use crate::time::now_micros;

/// The topic that remembers which letters were sent again: one partition, a record each, whose value is the letter's id.
pub const MEMORY: &str = "__eagre_replayed";
/// Bytes that are read in one go from a partition: what a page of the socket holds.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes that travel as base64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(|bytes| Blob(bytes.into())).map_err(serde::de::Error::custom)
    }
}

/// A record as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Its partition; of one to be sent: `None` = by key, or in turn.
    pub partition: Option<u32>,
    /// Its offset; of one to be sent 0.
    pub offset: i64,
    /// Its time, microseconds since 1970; `None` = now, of one to be sent.
    pub timestamp_micros: Option<i64>,
    /// Its key.
    pub key: Option<Blob>,
    /// Its headers.
    pub headers: Vec<(String, Blob)>,
    /// Its value; `None` = tombstone.
    pub value: Option<Blob>,
    /// What a broker keeps of it besides (`message_id`); the log keeps nothing.
    #[serde(default)]
    pub properties: serde_json::Map<String, serde_json::Value>,
}

/// Which records to read, and how far that has come. The end is where the partitions end at the first page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reading {
    /// Topic.
    pub topic: String,
    /// One partition only.
    pub partition: Option<u32>,
    /// Per partition: the next offset to read and the end. Empty at the beginning.
    pub stands: Vec<(u32, i64, i64)>,
    /// A topic that is not there holds nothing.
    pub may_miss: bool,
}

impl Reading {
    /// All of a topic.
    pub fn all(topic: &str) -> Self {
        Reading { topic: topic.to_owned(), partition: None, stands: Vec::new(), may_miss: false }
    }
}

/// Some of the records that are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WholePage {
    /// The records, of one partition.
    pub records: Vec<Whole>,
    /// What to ask next; `None` = that was all.
    pub next: Option<Reading>,
}

/// Records to be sent again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Resend {
    /// Topic and record.
    pub records: Vec<(String, Whole)>,
    /// Ids of the letters that they were (and of those that were sent elsewhere): remembered with them.
    pub letters: Vec<String>,
    /// How many letters were remembered when it was looked which are to be sent: if there are more by now, somebody else
    /// sends, too, and nothing is sent. Of no matter where there are no letters.
    pub remembered: i64,
}

impl Log {
    /// The next records of a reading.
    pub fn read_whole(&self, mut reading: Reading) -> Result<WholePage> {
        let topic = match self.topic(&reading.topic) {
            Err(_) if reading.may_miss => return Ok(WholePage { records: Vec::new(), next: None }),
            topic => topic?,
        };
        if reading.stands.is_empty() {
            let stand = |p| Ok((p, topic.start_offset(p)?, topic.end_offset(p)?));
            reading.stands = topic.asked(reading.partition).into_iter().map(stand).collect::<Result<_>>()?;
        }
        let mut records = Vec::new();
        if let Some((partition, from, end)) = reading.stands.iter_mut().find(|(_, from, end)| from < end) {
            // Retention may have removed what was there at the first page.
            *from = topic.start_offset(*partition)?.max(*from);
            let read = self.read(&topic, *partition, *from, PIECE_BYTES)?;
            for index in (0..read.len()).take_while(|index| read.offsets[*index] < *end) {
                records.push(Whole {
                    partition: Some(*partition),
                    offset: read.offsets[index],
                    timestamp_micros: Some(read.timestamps[index]),
                    key: read.keys[index].clone().map(Blob),
                    headers: read.headers[index].iter().map(|(name, value)| (name.clone(), Blob(value.clone()))).collect(),
                    value: read.value(index).map(Blob),
                    properties: Default::default(),
                });
            }
            *from = read.next_offset().unwrap_or(*end);
        }
        let more = reading.stands.iter().any(|(_, from, end)| from < end);
        Ok(WholePage { records, next: more.then_some(reading) })
    }

    /// Appends records and remembers their letters, all in one batch. Returns how many letters are remembered now.
    pub fn resend(&self, resend: &Resend) -> Result<i64> {
        let _one_at_a_time = self.shared.resending.lock();
        let memory = self.topic_or_create(MEMORY, Some(1), None)?;
        let remembered = memory.end_offset(0)?;
        if !resend.letters.is_empty() && remembered != resend.remembered {
            return Err(Error::failed("another replay sends letters at the same time; run it again when that one has ended"));
        }
        let now = now_micros();
        let mut batch = Batch::default();
        for (name, whole) in &resend.records {
            let headers: Vec<(String, Bytes)> = whole.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
            let record = Record {
                value: whole.value.as_ref().map(|value| &value.0[..]),
                key: whole.key.as_ref().map(|key| &key.0[..]),
                timestamp: whole.timestamp_micros.unwrap_or(now),
                headers: &headers,
            };
            let topic = self.topic_or_create(name, None, None)?;
            match whole.partition {
                Some(partition) => batch.push(&topic, partition, &record)?,
                None => batch.push_by_key(&topic, &record)?,
            }
        }
        for letter in &resend.letters {
            batch.push(&memory, 0, &Record::new(letter.as_bytes(), now))?;
        }
        self.append(batch)?;
        memory.end_offset(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Whole {
        let blob = |bytes: &'static [u8]| Blob(Bytes::from_static(bytes));
        let headers = vec![("h".to_owned(), blob(b"\xff"))];
        Whole {
            partition: None,
            offset: 0,
            timestamp_micros: Some(5),
            key: key.map(blob),
            headers,
            value: value.map(blob),
            properties: Default::default(),
        }
    }

    fn all(log: &Log, topic: &str) -> Vec<Whole> {
        let (mut next, mut records) = (Some(Reading::all(topic)), Vec::new());
        while let Some(reading) = next {
            let page = log.read_whole(reading).unwrap();
            records.extend(page.records);
            next = page.next;
        }
        records
    }

    #[test]
    fn what_is_sent_again_is_as_it_was_and_remembered_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.create_topic("t", 2, None).unwrap();
        let fixed = Whole { partition: Some(1), ..whole(None, None) };
        let records = vec![("t".to_owned(), whole(Some(b"k"), Some(b"{ }"))), ("t".to_owned(), fixed)];
        let resend = Resend { records, letters: vec!["a".into(), "b".into()], remembered: 0 };
        let resend: Resend = serde_json::from_str(&serde_json::to_string(&resend).unwrap()).unwrap();
        assert_eq!(log.resend(&resend).unwrap(), 2);
        let found = all(&log, "t");
        assert_eq!(found.len(), 2);
        let keyed = found.iter().find(|record| record.key.is_some()).unwrap();
        assert_eq!(
            (&keyed.value, &keyed.headers, keyed.timestamp_micros),
            (&resend.records[0].1.value, &resend.records[0].1.headers, Some(5))
        );
        assert!(found.iter().any(|record| record.partition == Some(1) && record.value.is_none()));
        assert_eq!(all(&log, MEMORY).len(), 2);
        // Who looked before that sends nothing.
        let told = log.resend(&resend).unwrap_err().to_string();
        assert!(told.contains("another replay"), "{told}");
        assert_eq!((all(&log, "t").len(), all(&log, MEMORY).len()), (2, 2));
    }

    #[test]
    fn a_reading_ends_where_the_topic_ended_when_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("t", 1, None).unwrap();
        for _ in 0..3 {
            let mut batch = Batch::default();
            (0..3).for_each(|_| batch.push(&topic, 0, &Record::new(&[b'x'; 600_000], 1)).unwrap());
            log.append(batch).unwrap();
        }
        let page = log.read_whole(Reading::all("t")).unwrap();
        assert!(page.records.len() < 9);
        let mut batch = Batch::default();
        batch.push(&topic, 0, &Record::new(b"later", 1)).unwrap();
        log.append(batch).unwrap();
        let (mut count, mut next) = (page.records.len(), page.next);
        while let Some(reading) = next {
            let page = log.read_whole(reading).unwrap();
            count += page.records.len();
            next = page.next;
        }
        assert_eq!(count, 9);
        assert!(log.read_whole(Reading::all("none")).is_err());
        assert!(log.read_whole(Reading { may_miss: true, ..Reading::all("none") }).unwrap().next.is_none());
    }
}
