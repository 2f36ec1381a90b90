//! Records as lines of JSON, in and out: `eagre topics put` and `eagre topics tail`.
//!
//! Piece by piece, and what is known between two pieces is plain data: so the command line can do it with the log in its
//! hands or through the socket of the engine that holds it (see `calls.rs`).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Batch, Follower, Log, Record, Topic};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::time::now_micros;

/// Bytes that are read in one go from a partition.
const PIECE_BYTES: usize = 256 << 10;
/// How long a follower waits before it looks whether its reader is still there.
const PATIENCE: Duration = Duration::from_millis(200);

/// What to put.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Put {
    /// Topic; made when it is not there.
    pub topic: String,
    /// Partition; `None` = by key, or in turn.
    pub partition: Option<u32>,
    /// Field of the JSON object that is the record's key.
    pub key_field: Option<String>,
    /// What the lines come from, for messages (`stdin`, a file's name).
    pub source: String,
    /// Lines of it put so far.
    #[serde(default)]
    pub lines: u64,
    /// Records put so far.
    #[serde(default)]
    pub records: u64,
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TailFrom {
    /// The first record still there.
    Earliest,
    /// Behind the last.
    Latest,
    /// This offset, or the nearest there is.
    Offset(i64),
    /// So many records of each partition before its end.
    Last(i64),
    /// The first record at or after this time, microseconds since 1970.
    Time(i64),
}

impl std::str::FromStr for TailFrom {
    type Err = Error;

    /// `earliest`, `latest`, an offset, `-N` for the last N of each partition, or a time (`2026-01-31T12:00:00Z`).
    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "earliest" => Ok(TailFrom::Earliest),
            "latest" => Ok(TailFrom::Latest),
            text => {
                if let Ok(number) = text.parse::<i64>() {
                    return Ok(if text.starts_with('-') { TailFrom::Last(number.saturating_neg()) } else { TailFrom::Offset(number) });
                }
                let time = chrono::DateTime::parse_from_rfc3339(text).map(|time| TailFrom::Time(time.timestamp_micros()));
                time.map_err(|_| {
                    Error::input(format!(
                        "'{text}' is no place in a topic; expected earliest, latest, an offset, -N for the last N, or a time like 2026-01-31T12:00:00Z"
                    ))
                })
            }
        }
    }
}

/// What to show, and how far that has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tail {
    /// Topic.
    pub topic: String,
    /// Partition; `None` = all.
    pub partition: Option<u32>,
    /// Where to begin.
    pub from: TailFrom,
    /// Most records to show yet; `None` = all.
    pub limit: Option<u64>,
    /// Wait for further records.
    pub follow: bool,
    /// Partitions and the offsets to go on from; empty at the beginning.
    #[serde(default)]
    pub stands: Vec<(u32, i64)>,
}

/// Some of what a tail shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// Lines of JSON, each ended by a line break.
    pub lines: String,
    /// How many.
    pub records: u64,
    /// Nothing more will come.
    pub ended: bool,
}

impl Log {
    /// Appends lines, each one JSON object (empty ones are passed over), and counts them in `put`. A line that is no
    /// object, or lacks the key field, is an error with its number: what stands before it has been appended.
    pub fn put_lines(&self, put: &mut Put, text: &[u8]) -> Result<()> {
        let topic = self.topic_or_create(&put.topic, None, None)?;
        let mut batch = Batch::default();
        let mut fault = None;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            put.lines += 1;
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if let Err(error) = push_line(&mut batch, &topic, put, line) {
                fault = Some(error);
                break;
            }
        }
        put.records += batch.len() as u64;
        self.append(batch)?;
        match fault {
            None => Ok(()),
            Some(error) => {
                let text = format!("{}; the {} records before it are in the topic", error.message(), put.records);
                Err(Error::new(error.kind(), text).at(Place::text(&put.source, put.lines, 1)))
            }
        }
    }

    /// The next records as lines of JSON: `{"partition":0,"offset":7,"timestamp":"…","key":"…","headers":{…},"value":…}`.
    /// When there are none and it follows, waits a moment, and may come back with none.
    pub async fn tail_lines(&self, tail: &mut Tail) -> Result<Page> {
        let topic = self.topic(&tail.topic)?;
        if tail.stands.is_empty() {
            let partitions = topic.asked(tail.partition).into_iter();
            tail.stands = partitions.map(|p| Ok((p, self.offset_of(&topic, p, tail.from)?))).collect::<Result<_>>()?;
        }
        let mut page = self.page(&topic, tail)?;
        if page.records == 0 && tail.follow && tail.limit != Some(0) {
            let followers = tail.stands.iter().map(|(p, _)| topic.follow(*p)).collect::<Result<Vec<Follower>>>()?;
            let waits = followers.into_iter().zip(&tail.stands).map(|(mut follower, (_, offset))| {
                let offset = *offset;
                Box::pin(async move { follower.wait_for(offset, PATIENCE).await })
            });
            futures::future::select_all(waits).await;
            page = self.page(&topic, tail)?;
        }
        page.ended = tail.limit == Some(0) || (page.records == 0 && !tail.follow);
        Ok(page)
    }

    /// One piece of each partition.
    fn page(&self, topic: &Topic, tail: &mut Tail) -> Result<Page> {
        let mut lines = String::new();
        let mut shown = 0;
        for (partition, offset) in &mut tail.stands {
            let left = tail.limit.map_or(u64::MAX, |limit| limit - shown);
            let records = self.read(topic, *partition, *offset, PIECE_BYTES)?;
            for index in 0..records.len().min(usize::try_from(left).unwrap_or(usize::MAX)) {
                let (key, value) = (records.keys[index].as_deref(), records.value(index));
                let record = Shown {
                    partition: *partition,
                    offset: records.offsets[index],
                    timestamp_micros: Some(records.timestamps[index]),
                    key,
                    headers: &records.headers[index],
                    value: value.as_deref(),
                };
                lines.push_str(&record.line());
                *offset = records.offsets[index] + 1;
                shown += 1;
            }
        }
        tail.limit = tail.limit.map(|limit| limit - shown);
        Ok(Page { lines, records: shown, ended: false })
    }

    fn offset_of(&self, topic: &Topic, partition: u32, from: TailFrom) -> Result<i64> {
        let (start, end) = (topic.start_offset(partition)?, topic.end_offset(partition)?);
        Ok(match from {
            TailFrom::Earliest => start,
            TailFrom::Latest => end,
            TailFrom::Offset(offset) => offset.clamp(start, end),
            TailFrom::Last(count) => end.saturating_sub(count.max(0)).max(start),
            TailFrom::Time(time) => self.offset_at_time(topic, partition, time)?,
        })
    }
}

fn push_line(batch: &mut Batch, topic: &Topic, put: &Put, text: &[u8]) -> Result<()> {
    let key = key_of_line(text, put.key_field.as_deref())?;
    let record = Record { key: key.as_deref().map(str::as_bytes), ..Record::new(text, now_micros()) };
    match put.partition {
        Some(partition) => batch.push(topic, partition, &record),
        None => batch.push_by_key(topic, &record),
    }
}

/// The key of a line, which must be a JSON object: the text of its field `field`.
pub fn key_of_line(line: &[u8], field: Option<&str>) -> Result<Option<String>> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|e| Error::input(format!("the line is no JSON object: {e}")))?;
    let Some(field) = field else { return Ok(None) };
    match object.get(field) {
        Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
        Some(serde_json::Value::Null) => Ok(None),
        Some(other) => Ok(Some(other.to_string())),
        None => {
            let near = did_you_mean(field, object.keys().map(String::as_str));
            Err(Error::input(format!("the object has no field '{field}'{near}")))
        }
    }
}

/// A record of a log or a broker, to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// Its time, microseconds since 1970, where it has one.
    pub timestamp_micros: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// What travels beside it.
    pub headers: &'a [(String, Bytes)],
    /// Its value; `None` = tombstone.
    pub value: Option<&'a [u8]>,
}

impl Shown<'_> {
    /// As a line of JSON: `{"partition":0,"offset":7,"timestamp":"…","key":"…","headers":{…},"value":…}`.
    pub fn line(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("partition".into(), self.partition.into());
        object.insert("offset".into(), self.offset.into());
        if let Some(micros) = self.timestamp_micros {
            object.insert("timestamp".into(), time_text(micros).into());
        }
        if let Some(key) = self.key {
            object.insert("key".into(), text_of(key));
        }
        if !self.headers.is_empty() {
            let headers = self.headers.iter().map(|(name, value)| (name.clone(), text_of(value)));
            object.insert("headers".into(), serde_json::Value::Object(headers.collect()));
        }
        object.insert("value".into(), self.value.map_or(serde_json::Value::Null, json_of));
        format!("{}\n", serde_json::Value::Object(object))
    }
}

/// Bytes as the JSON that they are, or else as text.
pub fn json_of(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| text_of(bytes))
}

/// Bytes as text; what is not UTF-8 as `{"hex": "…"}`, so that nothing is lost.
pub fn text_of(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => serde_json::json!({ "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() }),
    }
}

/// Microseconds since 1970 as RFC 3339, or as the number where no calendar reaches.
fn time_text(micros: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros);
    time.map_or_else(|| micros.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key_field: Option<&str>) -> Put {
        let key_field = key_field.map(str::to_owned);
        Put { topic: "orders".into(), partition: None, key_field, source: "orders.jsonl".into(), lines: 0, records: 0 }
    }

    fn tail(from: TailFrom, limit: Option<u64>) -> Tail {
        Tail { topic: "orders".into(), partition: None, from, limit, follow: false, stands: Vec::new() }
    }

    async fn shown(log: &Log, mut tail: Tail) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        loop {
            let page = log.tail_lines(&mut tail).await.unwrap();
            all.extend(page.lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
            if page.ended {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_put_are_lines_shown() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let mut putting = put(Some("id"));
        log.put_lines(&mut putting, b"{\"id\":\"a\",\"n\":1}\n\n  {\"id\":\"b\",\"n\":2}\n").unwrap();
        log.put_lines(&mut putting, b"{\"id\":\"a\",\"n\":3}").unwrap();
        assert_eq!((putting.lines, putting.records), (4, 3));
        let all = shown(&log, tail(TailFrom::Earliest, None)).await;
        assert_eq!(all.len(), 3);
        let of_a: Vec<_> = all.iter().filter(|r| r["key"] == "a").collect();
        assert_eq!((of_a[0]["value"]["n"].as_i64(), of_a[1]["value"]["n"].as_i64()), (Some(1), Some(3)), "one key: in order");
        assert_eq!(of_a[0]["partition"], of_a[1]["partition"]);
        assert_eq!(shown(&log, tail(TailFrom::Earliest, Some(2))).await.len(), 2);
        assert_eq!(shown(&log, tail(TailFrom::Latest, None)).await.len(), 0);
        let figures = log.figures().unwrap();
        assert_eq!((figures[0].topic.as_str(), figures[0].partitions, figures[0].records), ("orders", 4, 3));
    }

    #[test]
    fn a_bad_line_is_told_with_its_number_and_what_stands_before_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let told = log.put_lines(&mut put(Some("id")), b"{\"id\":1}\n{\"idd\":2}\n").unwrap_err();
        assert_eq!(
            told.to_string(),
            "orders.jsonl:2:1: the object has no field 'id'; did you mean 'idd'?; the 1 records before it are in the topic"
        );
        let told = log.put_lines(&mut put(None), b"[1]\n").unwrap_err();
        assert!(told.to_string().starts_with("orders.jsonl:1:1: the line is no JSON object"), "{told}");
        assert_eq!(log.figures().unwrap()[0].records, 1);
    }

    #[tokio::test]
    async fn a_tail_follows() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        log.put_lines(&mut put(None), b"{\"n\":1}\n").unwrap();
        let following = Tail { follow: true, ..tail(TailFrom::Last(10), Some(2)) };
        let appending = {
            let log = log.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                log.put_lines(&mut put(None), b"{\"n\":2}\n").unwrap();
            })
        };
        let records = tokio::time::timeout(Duration::from_secs(10), shown(&log, following)).await.unwrap();
        assert_eq!(records.iter().map(|r| r["value"]["n"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
        appending.join().unwrap();
    }

    #[test]
    fn a_place_in_a_topic_reads() {
        let read = |text: &str| text.parse::<TailFrom>();
        assert_eq!(read("earliest").unwrap(), TailFrom::Earliest);
        assert_eq!((read("42").unwrap(), read("-5").unwrap()), (TailFrom::Offset(42), TailFrom::Last(5)));
        assert_eq!(read("1970-01-01T00:00:01Z").unwrap(), TailFrom::Time(1_000_000));
        assert!(read("yesterday").is_err());
    }
}
