//! Messages to records: payloads into one buffer, properties and headers beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Int64Builder, StringViewBuilder};
use arrow::datatypes::DataType;
use bytes::Bytes;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use crate::format::{CONTENT_TYPE, Chunk, Framed, Records, is_attribute};
use crate::time::now_micros;

/// What only this connector knows of a message, as `METADATA FROM 'key'`, with the types of the columns.
pub const METADATA: [(&str, DataType); 7] = [
    ("message_id", DataType::Utf8View),
    ("correlation_id", DataType::Utf8View),
    ("content_type", DataType::Utf8View),
    ("exchange", DataType::Utf8View),
    ("routing_key", DataType::Utf8View),
    ("redelivered", DataType::Boolean),
    ("delivery_tag", DataType::Int64),
];

/// Messages of one chunk.
#[derive(Debug, Default)]
pub struct Gathered {
    data: Vec<u8>,
    framed: Framed,
    text: [StringViewBuilder; 5],
    redelivered: BooleanBuilder,
    delivery_tag: Int64Builder,
}

impl Gathered {
    /// Adds a message as the record of this offset.
    pub fn push(&mut self, delivery: &Delivery, offset: i64) {
        let properties = &delivery.properties;
        let start = self.data.len() as u32;
        self.data.extend_from_slice(&delivery.data);
        self.framed.values.push(Some((start, self.data.len() as u32)));
        self.framed.offsets.push(offset);
        let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
        self.framed.timestamps.push(seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).unwrap_or(i64::MIN));
        let kind =
            properties.content_type().as_ref().map(|kind| (CONTENT_TYPE.to_owned(), Bytes::copy_from_slice(kind.as_str().as_bytes())));
        let headers = properties.headers().as_ref().map(headers_of).unwrap_or_default();
        self.framed.headers.push(headers.into_iter().chain(kind).collect());
        let [message_id, correlation_id, content_type, exchange, routing_key] = &mut self.text;
        message_id.append_option(properties.message_id().as_ref().map(|id| id.as_str()));
        correlation_id.append_option(properties.correlation_id().as_ref().map(|id| id.as_str()));
        content_type.append_option(properties.content_type().as_ref().map(|kind| kind.as_str()));
        exchange.append_value(delivery.exchange.as_str());
        routing_key.append_value(delivery.routing_key.as_str());
        self.redelivered.append_value(delivery.redelivered);
        self.delivery_tag.append_value(i64::try_from(delivery.delivery_tag).unwrap_or(i64::MAX));
    }

    /// The chunk; its first record has the offset `base`.
    pub fn into_chunk(mut self, base: i64) -> Chunk {
        let mut columns: Vec<ArrayRef> = self.text.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        columns.push(Arc::new(self.redelivered.finish()));
        columns.push(Arc::new(self.delivery_tag.finish()));
        let beside = METADATA.iter().map(|(name, _)| *name).zip(columns).collect();
        let framed = Framed { data: self.data.into(), beside, ..self.framed };
        Chunk { records: Records::Framed(framed), base_offset: base, arrived_micros: now_micros() }
    }
}

/// Headers as bytes: text as it is, numbers and truth values as text, tables and lists (`x-death`) as JSON; a point in time
/// in RFC 3339 where it is an attribute of an event, else in seconds since 1970.
fn headers_of(table: &FieldTable) -> Vec<(String, Bytes)> {
    let bytes = |name: &str, value: &AMQPValue| match value {
        AMQPValue::Timestamp(seconds) if is_attribute(name) => {
            let time = i64::try_from(*seconds).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
            Some(time.map_or_else(|| seconds.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)).into())
        }
        AMQPValue::LongString(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Some(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Void => None,
        other => Some(match json_of(other) {
            serde_json::Value::String(text) => text.into(),
            json => json.to_string().into(),
        }),
    };
    table.into_iter().filter_map(|(name, value)| Some((name.to_string(), bytes(name.as_str(), value)?))).collect()
}

/// The header in which the broker tells where a message has died: a list of tables.
const X_DEATH: &str = "x-death";
/// The field of its tables that is a point in time.
const X_DEATH_TIME: &str = "time";

/// The value of a header that is written: text, else bytes; what `x-death` was is a list again.
pub fn header_value(name: &str, bytes: &[u8]) -> AMQPValue {
    if name == X_DEATH
        && let Ok(list @ serde_json::Value::Array(_)) = serde_json::from_slice(bytes)
    {
        return amqp_of(&list);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => AMQPValue::LongString(text.into()),
        Err(_) => AMQPValue::ByteArray(bytes.to_vec().into()),
    }
}

/// JSON as a value of AMQP.
fn amqp_of(value: &serde_json::Value) -> AMQPValue {
    use serde_json::Value as Json;
    match value {
        Json::Null => AMQPValue::Void,
        Json::Bool(truth) => AMQPValue::Boolean(*truth),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| AMQPValue::Double(number.as_f64().unwrap_or_default()), AMQPValue::LongLongInt)
        }
        Json::String(text) => AMQPValue::LongString(text.as_str().into()),
        Json::Array(values) => AMQPValue::FieldArray(values.iter().map(amqp_of).collect::<Vec<_>>().into()),
        Json::Object(fields) => {
            let mut table = FieldTable::default();
            for (name, value) in fields {
                let time = value.as_u64().filter(|_| name == X_DEATH_TIME).map(AMQPValue::Timestamp);
                table.insert(name.as_str().into(), time.unwrap_or_else(|| amqp_of(value)));
            }
            AMQPValue::FieldTable(table)
        }
    }
}

/// A value of AMQP as JSON; bytes that are no text lose what is none.
pub fn json_of(value: &AMQPValue) -> serde_json::Value {
    match value {
        AMQPValue::Boolean(truth) => (*truth).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Float(number) => (*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::DecimalValue(decimal) => (f64::from(decimal.value) / 10f64.powi(i32::from(decimal.scale))).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json_of).collect(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::FieldTable(table) => {
            serde_json::Value::Object(table.into_iter().map(|(name, value)| (name.to_string(), json_of(value))).collect())
        }
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::Void => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_says_of_a_death_is_written_as_it_was_read() {
        let mut death = FieldTable::default();
        death.insert("count".into(), AMQPValue::LongLongInt(2));
        death.insert("reason".into(), AMQPValue::LongString("expired".into()));
        death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        death.insert("routing-keys".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("k".into())].into()));
        let deaths = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into());
        let mut table = FieldTable::default();
        table.insert("x-death".into(), deaths.clone());
        table.insert("n".into(), AMQPValue::LongInt(7));
        let read = headers_of(&table);
        let written = |name: &str| read.iter().find(|(known, _)| known == name).map(|(_, value)| header_value(name, value));
        assert_eq!(written("x-death"), Some(deaths));
        assert_eq!(written("n"), Some(AMQPValue::LongString("7".into())), "numbers have become text");
        assert_eq!(header_value("b", b"\xff"), AMQPValue::ByteArray(vec![0xff].into()));
    }

    #[test]
    fn a_point_in_time_is_rfc_3339_where_it_is_an_attribute() {
        let mut table = FieldTable::default();
        for name in ["cloudEvents:time", "sent"] {
            table.insert(name.into(), AMQPValue::Timestamp(1_700_000_000));
        }
        let mut read = headers_of(&table);
        read.sort();
        let read: Vec<(&str, &[u8])> = read.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        assert_eq!(read, [("cloudEvents:time", &b"2023-11-14T22:13:20Z"[..]), ("sent", b"1700000000")]);
    }
}
