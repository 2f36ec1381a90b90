//! What came with a record beside its value: kept of records that are refused, so that they can be sent again as they came.

use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::{Field, Schema};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Chunk, Framed, Records};
use crate::error::{Error, Result};

/// What came with a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Bytes)>,
    /// Its timestamp, microseconds since 1970.
    pub timestamp_micros: Option<i64>,
    /// It has no value: none, not an empty one.
    pub tombstone: bool,
    /// What only its connector knows of it, under its metadata keys (`routing_key`): an object of JSON.
    pub properties: Option<String>,
}

impl Chunk {
    /// What came with the record of this offset; nothing does with lines and columns.
    pub fn beside(&self, offset: i64) -> Result<Beside> {
        match &self.records {
            Records::Framed(framed) => framed.beside_of(offset),
            Records::Lines(_) | Records::Rows(_) => Ok(Beside::default()),
        }
    }
}

impl Chunk {
    /// The value of the record of this offset; `None`: it has none, or records are lines or columns.
    pub fn value(&self, offset: i64) -> Option<Bytes> {
        let Records::Framed(framed) = &self.records else { return None };
        let (start, end) = framed.values.get(framed.offsets.binary_search(&offset).ok()?).copied().flatten()?;
        Some(framed.data.slice(start as usize..end as usize))
    }
}

impl Framed {
    fn beside_of(&self, offset: i64) -> Result<Beside> {
        let Ok(at) = self.offsets.binary_search(&offset) else { return Ok(Beside::default()) };
        Ok(Beside {
            key: self.keys.get(at).cloned().flatten(),
            headers: self.headers.get(at).cloned().unwrap_or_default(),
            timestamp_micros: self.timestamps.get(at).copied().filter(|micros| *micros != i64::MIN),
            tombstone: self.values.get(at).is_some_and(Option::is_none),
            properties: self.properties_of(at)?,
        })
    }

    fn properties_of(&self, at: usize) -> Result<Option<String>> {
        if self.beside.is_empty() {
            return Ok(None);
        }
        let fields: Vec<Field> = self.beside.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = self.beside.iter().map(|(_, column)| column.slice(at, 1)).collect();
        let mut text = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
        writer.write(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)?;
        writer.finish()?;
        drop(writer);
        let text = String::from_utf8(text).map_err(|e| Error::bug("JSON that is no UTF-8").because(e))?;
        Ok(Some(text.trim_end().to_owned()))
    }
}

/// Headers as one text, `[["tenant","t1"],["sum",{"base64":"/w=="}]]`: nothing of them is lost, neither their order nor
/// bytes that are no text. [`headers_of_text`] reads it.
pub fn headers_text(headers: &[(String, Bytes)]) -> String {
    let value = |bytes: &Bytes| match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    };
    headers.iter().map(|(name, bytes)| json!([name, value(bytes)])).collect::<Value>().to_string()
}

/// Headers that [`headers_text`] has written.
pub fn headers_of_text(text: &str) -> Result<Vec<(String, Bytes)>> {
    let fault = || Error::corrupt(format!("'{text}' is no list of headers"));
    let pairs: Vec<(String, Value)> = serde_json::from_str(text).map_err(|e| fault().because(e))?;
    let bytes = |value: Value| match value {
        Value::String(text) => Ok(Bytes::from(text)),
        other => {
            let encoded = other["base64"].as_str().ok_or_else(fault)?;
            STANDARD.decode(encoded).map(Bytes::from).map_err(|e| fault().because(e))
        }
    };
    pairs.into_iter().map(|(name, value)| Ok((name, bytes(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringViewArray};

    #[test]
    fn headers_are_text_and_come_back_as_they_were() {
        let headers: Vec<(String, Bytes)> =
            vec![("a".into(), Bytes::from_static(b"x\"y")), ("b".into(), Bytes::from_static(b"\xff\x00")), ("a".into(), Bytes::new())];
        let text = headers_text(&headers);
        assert_eq!(text, r#"[["a","x\"y"],["b",{"base64":"/wA="}],["a",""]]"#);
        assert_eq!(headers_of_text(&text).unwrap(), headers);
        assert_eq!(headers_of_text(r#"[["a",1]]"#).unwrap_err().kind(), crate::error::Kind::Corrupt);
    }

    #[test]
    fn a_record_is_found_by_its_offset_with_what_came_beside_it() {
        let framed = Framed {
            data: Bytes::from_static(b"vw"),
            values: vec![Some((0, 1)), None],
            offsets: vec![7, 9],
            timestamps: vec![i64::MIN, 5],
            keys: vec![None, Some(Bytes::from_static(b"k"))],
            headers: vec![vec![], vec![("h".into(), Bytes::from_static(b"1"))]],
            beside: vec![
                ("topic", Arc::new(StringViewArray::from(vec!["t", "u"]))),
                ("partition", Arc::new(Int32Array::from(vec![Some(3), None]))),
            ],
        };
        let chunk = Chunk { records: Records::Framed(framed), base_offset: 7, arrived_micros: 0 };
        let first = chunk.beside(7).unwrap();
        assert_eq!((first.tombstone, first.key, first.timestamp_micros), (false, None, None));
        assert_eq!(first.properties.as_deref(), Some(r#"{"topic":"t","partition":3}"#));
        let second = chunk.beside(9).unwrap();
        assert_eq!((second.tombstone, second.timestamp_micros, second.headers.len()), (true, Some(5), 1));
        assert_eq!(second.properties.as_deref(), Some(r#"{"topic":"u"}"#));
        assert_eq!(chunk.beside(8).unwrap(), Beside::default(), "there is no such record");
    }
}
