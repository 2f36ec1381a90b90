//! Columns made of what travels beside the records: `METADATA FROM 'offset' | 'timestamp' | 'key' | 'headers' | …`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Array, MapBuilder, MapFieldNames, StringViewBuilder, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::column::type_name;
use super::span::Record;
use super::{Chunk, Framed, Records};
use crate::error::{Error, Result, did_you_mean};

/// Keys that every format knows.
pub(crate) const KEYS: [&str; 5] = ["offset", "partition", "timestamp", "key", "headers"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Offset,
    /// NULL here: a chunk does not know its partition; the source fills it in.
    Partition,
    Timestamp,
    /// The record's key.
    OfRecord,
    Headers,
    /// One that only the connector knows.
    Connector(&'static str),
}

/// A metadata column.
#[derive(Debug, Clone)]
pub(crate) struct MetadataPlan {
    key: Key,
    field: FieldRef,
}

/// Is it text, for keys and header values?
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View)
}

/// Is it bytes?
pub(crate) fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::BinaryView)
}

impl MetadataPlan {
    /// The column of this key; refused when there is no such key or its type does not suit it.
    pub(crate) fn new(field: &FieldRef, key: &str) -> Result<MetadataPlan> {
        let data_type = field.data_type();
        let (key, suits, wanted) = match key {
            "offset" => (Key::Offset, data_type == &DataType::Int64, "BIGINT"),
            "partition" => (Key::Partition, data_type.is_integer(), "INT"),
            "timestamp" => (Key::Timestamp, matches!(data_type, DataType::Timestamp(..)), "TIMESTAMP_LTZ(3)"),
            "key" => (Key::OfRecord, is_text(data_type) || is_bytes(data_type), "BYTES or STRING"),
            "headers" => (Key::Headers, is_headers(data_type), "MAP<STRING, BYTES>"),
            other => {
                return Err(Error::input(format!("column '{}': no metadata key '{other}'{}", field.name(), did_you_mean(other, KEYS))));
            }
        };
        if !suits {
            return Err(Error::input(format!("column '{}': this metadata is {wanted}, not {}", field.name(), type_name(data_type))));
        }
        Ok(MetadataPlan { key, field: field.clone() })
    }

    /// The column of a key that only the connector knows.
    pub(crate) fn connector(field: &FieldRef, key: &'static str) -> MetadataPlan {
        MetadataPlan { key: Key::Connector(key), field: field.clone() }
    }

    /// The column for `rows` of the records; NULL for lines of a file, which have nothing beside them but an offset.
    pub(crate) fn read(&self, chunk: &Chunk, records: &[Record], rows: &[u32]) -> Result<ArrayRef> {
        let data_type = self.field.data_type();
        let numbers = || rows.iter().map(|row| records.get(*row as usize).map_or(0, |record| record.number as usize));
        let framed = match &chunk.records {
            Records::Framed(framed) => framed,
            _ if self.key == Key::Offset => {
                let offsets = Int64Array::from_iter_values(numbers().map(|number| chunk.base_offset + number as i64));
                return Ok(Arc::new(offsets));
            }
            _ => return Ok(new_null_array(data_type, rows.len())),
        };
        Ok(match self.key {
            Key::Offset => Arc::new(numbers().map(|number| framed.offsets.get(number).copied()).collect::<Int64Array>()),
            Key::Partition => new_null_array(data_type, rows.len()),
            Key::Timestamp => {
                let known = |number: usize| framed.timestamps.get(number).copied().filter(|micros| *micros != i64::MIN);
                let micros: TimestampMicrosecondArray = numbers().map(known).collect();
                match data_type {
                    DataType::Timestamp(TimeUnit::Microsecond, zone) => Arc::new(micros.with_timezone_opt(zone.clone())),
                    DataType::Timestamp(unit, zone) => {
                        let bare = cast(&micros, &DataType::Timestamp(*unit, None))?;
                        arrow::compute::cast(&arrow::compute::cast(&bare, &DataType::Int64)?, &DataType::Timestamp(*unit, zone.clone()))?
                    }
                    _ => return Err(Error::bug("a timestamp column of another type")),
                }
            }
            Key::OfRecord => bytes_column(numbers().map(|number| framed.keys.get(number).and_then(Option::as_deref)), data_type)?,
            Key::Headers => headers(framed, numbers(), data_type)?,
            Key::Connector(key) => match framed.beside.iter().find(|(name, _)| *name == key) {
                Some((_, column)) => {
                    let rows = UInt32Array::from_iter_values(numbers().map(|number| number as u32));
                    cast(&take(column, &rows, None)?, data_type)?
                }
                None => return Err(Error::bug(format!("the connector brought no '{key}'"))),
            },
        })
    }
}

/// Bytes as BYTES, or as STRING with what is no UTF-8 replaced.
fn bytes_column<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, data_type: &DataType) -> Result<ArrayRef> {
    if is_bytes(data_type) {
        let mut builder = BinaryBuilder::new();
        values.for_each(|value| builder.append_option(value));
        return Ok(cast(&builder.finish(), data_type)?);
    }
    let mut builder = StringViewBuilder::new();
    values.for_each(|value| builder.append_option(value.map(String::from_utf8_lossy)));
    Ok(cast(&builder.finish(), data_type)?)
}

/// Can it hold headers?
pub(crate) fn is_headers(data_type: &DataType) -> bool {
    let DataType::Map(entries, _) = data_type else { return false };
    let DataType::Struct(fields) = entries.data_type() else { return false };
    matches!(fields.as_ref(), [key, value] if is_text(key.data_type()) && (is_bytes(value.data_type()) || is_text(value.data_type())))
}

fn headers(framed: &Framed, numbers: impl Iterator<Item = usize>, data_type: &DataType) -> Result<ArrayRef> {
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringViewBuilder::new(), BinaryBuilder::new());
    for number in numbers {
        let mut seen: Vec<(&str, &[u8])> = Vec::new();
        for (name, value) in framed.headers.get(number).into_iter().flatten() {
            // A header given twice has its last value, as a MAP holds one.
            seen.retain(|(earlier, _)| earlier != name);
            seen.push((name, value));
        }
        for (name, value) in seen {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true)?;
    }
    Ok(cast(&builder.finish(), data_type)?)
}
