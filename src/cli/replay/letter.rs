//! A dead letter as it is found in the live table `dead_letters` or in a topic.
//!
//! | kept in | what is known | the record |
//! |---|---|---|
//! | the table | its columns | columns `record`, `key`, `headers`, `record_time` |
//! | a topic | headers `dead-letter.…` | the record itself |
//! | a topic of Kafka, written by Connect or by a table that keeps to its names | headers `__connect.errors.…` | the record itself |

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt32Type};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataflow::replayed::{Replayed, attempts};
use crate::error::{Error, Result};
use crate::format::headers_of_text;
use crate::log::{Whole, json_of, text_of};

/// What the headers of letters begin with.
const OURS: &str = "dead-letter.";
/// What Kafka Connect's begin with.
const CONNECT: &str = "__connect.errors.";

/// See the file's head.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    /// When it was refused, microseconds since 1970.
    pub time_micros: i64,
    /// The table that its record was read as, or the operator that refused a row.
    pub source: String,
    /// What the record was read from: `orders[3]`, a queue, a file.
    pub origin: Option<String>,
    /// Number of its partition.
    pub partition: Option<u32>,
    /// Offset of its record; `None`: its bytes are gone, and `value` is what was left of the row.
    pub offset: Option<i64>,
    /// What refused it.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// What was wrong.
    pub error: String,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's headers; those that tell of the letter are not among them.
    pub headers: Vec<(String, Bytes)>,
    /// The record's time.
    pub record_micros: Option<i64>,
    /// The record's value.
    pub value: Option<Bytes>,
    /// What only its broker knew of it.
    pub properties: Map<String, Value>,
}

impl Letter {
    /// The letters of the table.
    pub fn of_rows(rows: &RecordBatch) -> Result<Vec<Letter>> {
        let column = |name: &str| rows.column_by_name(name).ok_or_else(|| Error::bug(format!("dead letters without a column '{name}'")));
        let text = |name: &str, row: usize| -> Result<Option<String>> {
            let column = column(name)?.as_string_view();
            Ok(column.is_valid(row).then(|| column.value(row).to_owned()))
        };
        let micros = |name: &str, row: usize| -> Result<Option<i64>> {
            let column = column(name)?.as_primitive::<TimestampMicrosecondType>();
            Ok(column.is_valid(row).then(|| column.value(row)))
        };
        let bytes = |name: &str, row: usize| -> Result<Option<Bytes>> {
            let column = column(name)?.as_binary::<i32>();
            Ok(column.is_valid(row).then(|| Bytes::copy_from_slice(column.value(row))))
        };
        let (partitions, offsets) = (column("partition")?.as_primitive::<UInt32Type>(), column("offset")?.as_primitive::<Int64Type>());
        let letter = |row: usize| -> Result<Letter> {
            Ok(Letter {
                time_micros: micros("time", row)?.unwrap_or_default(),
                source: text("source", row)?.unwrap_or_default(),
                origin: text("origin", row)?,
                partition: partitions.is_valid(row).then(|| partitions.value(row)),
                offset: offsets.is_valid(row).then(|| offsets.value(row)),
                operator: text("operator", row)?.unwrap_or_default(),
                reason: text("reason", row)?.unwrap_or_default(),
                error: text("error", row)?.unwrap_or_default(),
                key: bytes("key", row)?,
                headers: text("headers", row)?.as_deref().map(headers_of_text).transpose()?.unwrap_or_default(),
                record_micros: micros("record_time", row)?,
                value: bytes("record", row)?,
                properties: text("properties", row)?.map_or_else(Map::new, |text| serde_json::from_str(&text).unwrap_or_default()),
            })
        };
        (0..rows.num_rows()).map(letter).collect()
    }

    /// The letter that a record of a topic is; `None`: it has no headers of one.
    pub fn of_record(record: &Whole) -> Option<Letter> {
        let header = |name: &str| {
            let found = record.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8_lossy(&value.0).into_owned())
        };
        let ours = |name: &str| header(&format!("{OURS}{name}"));
        let connect = |name: &str| header(&format!("{CONNECT}{name}"));
        let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
        let mut letter = Letter {
            time_micros: record.timestamp_micros.unwrap_or_default(),
            key: record.key.clone().map(|key| key.0),
            headers: record.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            record_micros: record.timestamp_micros,
            value: record.value.clone().map(|value| value.0),
            ..Letter::default()
        };
        letter.headers.retain(|(name, _)| !name.starts_with(OURS) && !name.starts_with(CONNECT));
        if let Some(reason) = ours("reason") {
            let time = ours("time").and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
            letter.time_micros = time.map_or(letter.time_micros, |time| time.timestamp_micros());
            letter.reason = reason;
            letter.source = ours("source").unwrap_or_default();
            letter.origin = ours("origin");
            letter.partition = number(ours("partition")).and_then(|number| u32::try_from(number).ok());
            letter.offset = number(ours("offset"));
            letter.operator = ours("operator").unwrap_or_default();
            letter.error = ours("error").unwrap_or_default();
            return Some(letter);
        }
        let topic = connect("topic")?;
        letter.partition = number(connect("partition")).and_then(|number| u32::try_from(number).ok());
        letter.offset = number(connect("offset"));
        letter.origin = Some(format!("{topic}[{}]", letter.partition.unwrap_or_default()));
        letter.source = connect("connector.name").unwrap_or(topic);
        letter.operator = connect("stage").unwrap_or_default();
        letter.reason = connect("exception.class.name").unwrap_or_default();
        letter.error = connect("exception.message").unwrap_or_default();
        Some(letter)
    }

    /// Topic and number of the partition that the record was read from.
    pub fn place(&self) -> Option<(&str, u32)> {
        let (topic, number) = self.origin.as_deref()?.strip_suffix(']')?.rsplit_once('[')?;
        Some((topic, number.parse().ok()?))
    }

    /// The offset at which the record first came, before anybody sent it again.
    pub fn first_offset(&self) -> i64 {
        Replayed::of(&self.headers).map_or(self.offset.unwrap_or_default(), |replayed| replayed.first_offset)
    }

    /// What the letter is remembered by: the same for the same record, if that is refused again after a crash, and another
    /// for a record that has been sent again. The messages of a queue have no lasting number: their id tells them apart,
    /// or, without one, when they were refused.
    pub fn id(&self, of_queue: bool) -> String {
        let mut text: Vec<u8> = Vec::new();
        let mut part = |bytes: &[u8]| {
            text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            text.extend_from_slice(bytes);
        };
        part(self.source.as_bytes());
        part(self.origin.as_deref().unwrap_or_default().as_bytes());
        part(self.value.as_deref().unwrap_or_default());
        part(Replayed::of(&self.headers).map(|replayed| replayed.letter).unwrap_or_default().as_bytes());
        match self.properties.get("message_id").and_then(Value::as_str).filter(|_| of_queue) {
            Some(id) => part(id.as_bytes()),
            None => {
                part(&self.partition.unwrap_or_default().to_le_bytes());
                part(&self.offset.unwrap_or(-1).to_le_bytes());
                if of_queue || self.offset.is_none() {
                    part(&self.time_micros.to_le_bytes());
                }
            }
        }
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &text).to_string()
    }

    /// As a line of JSON: what `--where` looks at, and what `--dry-run` shows.
    pub fn line(&self, id: &str, to: &str) -> String {
        let time = |micros: i64| super::super::output::time(micros);
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| _ = object.insert(name.to_owned(), value);
        put("letter", id.into());
        put("time", time(self.time_micros).into());
        put("source", self.source.as_str().into());
        put("origin", json!(self.origin));
        put("partition", json!(self.partition));
        put("offset", json!(self.offset));
        put("operator", self.operator.as_str().into());
        put("reason", self.reason.as_str().into());
        put("error", self.error.as_str().into());
        put("attempts", json!(attempts(&self.headers)));
        put("to", to.into());
        put("key", self.key.as_deref().map_or(Value::Null, text_of));
        put("headers", self.headers.iter().map(|(name, value)| (name.clone(), text_of(value))).collect::<Map<_, _>>().into());
        put("record_time", json!(self.record_micros.map(time)));
        put("value", self.value.as_deref().map_or(Value::Null, json_of));
        format!("{}\n", Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Blob;

    fn record(headers: &[(&str, &str)]) -> Whole {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Blob(Bytes::copy_from_slice(value.as_bytes())))).collect();
        let blob = |text: &'static str| Some(Blob(Bytes::from_static(text.as_bytes())));
        Whole {
            partition: Some(0),
            offset: 9,
            timestamp_micros: Some(7),
            key: blob("k"),
            headers,
            value: blob("{ }"),
            properties: Map::new(),
        }
    }

    #[test]
    fn letters_are_read_from_topics_by_the_headers_of_either_kind() {
        let ours = record(&[
            ("trace", "t"),
            ("dead-letter.time", "2026-01-31T12:00:00Z"),
            ("dead-letter.source", "orders"),
            ("dead-letter.origin", "shop-orders[2]"),
            ("dead-letter.partition", "2"),
            ("dead-letter.offset", "41"),
            ("dead-letter.reason", "undecodable"),
        ]);
        let letter = Letter::of_record(&ours).unwrap();
        assert_eq!((letter.source.as_str(), letter.place(), letter.offset), ("orders", Some(("shop-orders", 2)), Some(41)));
        assert_eq!((letter.time_micros, letter.record_micros), (1_769_860_800_000_000, Some(7)));
        assert_eq!(letter.headers, [("trace".to_owned(), Bytes::from_static(b"t"))], "what tells of the letter does not go along");
        let connect = record(&[
            ("__connect.errors.topic", "orders"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "5"),
            ("__connect.errors.exception.message", "no JSON"),
        ]);
        let letter = Letter::of_record(&connect).unwrap();
        assert_eq!((letter.place(), letter.offset, letter.error.as_str()), (Some(("orders", 3)), Some(5), "no JSON"));
        assert!(letter.headers.is_empty());
        assert!(Letter::of_record(&record(&[("trace", "t")])).is_none());
    }

    #[test]
    fn a_letter_keeps_its_id_over_a_crash_and_gets_another_when_it_was_sent() {
        let letter = Letter { source: "t".into(), origin: Some("t[0]".into()), partition: Some(0), offset: Some(5), ..Letter::default() };
        let later = Letter { time_micros: 9, ..letter.clone() };
        assert_eq!(letter.id(false), later.id(false));
        assert_ne!(letter.id(true), later.id(true), "a message without an id is known by its moment");
        assert_ne!(letter.id(false), Letter { offset: Some(6), ..letter.clone() }.id(false));
        assert_ne!(letter.id(false), Letter { value: Some(Bytes::from_static(b"x")), ..letter.clone() }.id(false));
        let message = |number: i64, time: i64| {
            let properties = Map::from_iter([("message_id".to_owned(), json!("m"))]);
            Letter { offset: Some(number), time_micros: time, properties, ..letter.clone() }
        };
        assert_eq!(message(1, 1).id(true), message(2, 2).id(true), "a message that was delivered again");
        let mut again = message(2, 2);
        Replayed { letter: letter.id(false), attempt: 1, first_offset: 1 }.put(&mut again.headers).unwrap();
        assert_ne!(again.id(true), message(2, 2).id(true));
        assert_eq!(again.first_offset(), 1);
    }
}
