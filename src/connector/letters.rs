//! Dead letters as the sinks of topics and queues find them: rows of the table `dead_letters`, read by the names of its
//! columns; and what the topics that take them may be called.

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::environment::Environment;
use crate::error::{Error, Result, did_you_mean};
use crate::format::headers_of_text;
use crate::log::check_topic_name;

/// What the names of headers begin with that say what became of a record.
const PREFIX: &str = "dead-letter.";
/// The columns that say it, in the order of the headers.
const KNOWN: [&str; 9] = ["time", "source", "origin", "partition", "offset", "operator", "reason", "error", "attempts"];

/// A record that was refused.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    /// Its value as it came (of a row whose bytes are gone: the row as JSON); `None` = it had none.
    pub record: Option<Bytes>,
    /// Its key.
    pub key: Option<Bytes>,
    /// The headers it came with.
    pub headers: Vec<(String, Bytes)>,
    /// Its own timestamp, microseconds since 1970.
    pub timestamp_micros: Option<i64>,
    /// What only its connector knows of it.
    pub properties: Map<String, Value>,
    /// What became of it, column by column as far as it is known.
    known: Vec<(&'static str, String)>,
}

impl Letter {
    /// The letters of a batch.
    pub fn all(batch: &RecordBatch) -> Result<Vec<Letter>> {
        let records = bytes(batch, "record")?.ok_or_else(|| Error::bug("dead letters without a column 'record'"))?;
        let (keys, headers, properties) = (bytes(batch, "key")?, text(batch, "headers")?, text(batch, "properties")?);
        let timestamps = batch.column_by_name("record_time").map(micros).transpose()?;
        let known = KNOWN.iter().map(|name| Ok((*name, text(batch, name)?))).collect::<Result<Vec<_>>>()?;
        let letter = |row: usize| -> Result<Letter> {
            let of_bytes = |column: &BinaryViewArray| column.is_valid(row).then(|| Bytes::copy_from_slice(column.value(row)));
            let headers = headers.as_ref().filter(|column| column.is_valid(row)).map(|column| headers_of_text(column.value(row)));
            let properties = properties.as_ref().filter(|column| column.is_valid(row));
            let properties = properties.map(|column| serde_json::from_str(column.value(row))).transpose();
            let known = known.iter().filter_map(|(name, column)| {
                let column = column.as_ref().filter(|column| column.is_valid(row))?;
                Some((*name, column.value(row).to_owned()))
            });
            Ok(Letter {
                record: of_bytes(&records),
                key: keys.as_ref().and_then(of_bytes),
                headers: headers.transpose()?.unwrap_or_default(),
                timestamp_micros: timestamps.as_ref().and_then(|micros| micros[row]),
                properties: properties.map_err(|e| Error::bug("properties that are no object").because(e))?.unwrap_or_default(),
                known: known.collect(),
            })
        };
        (0..batch.num_rows()).map(letter).collect()
    }

    /// What is known under one of the columns `time`, `source`, `origin`, `partition`, `offset`, `operator`, `reason`, `error`,
    /// `attempts`.
    pub fn known(&self, column: &str) -> Option<&str> {
        self.known.iter().find(|(name, _)| *name == column).map(|(_, value)| value.as_str())
    }

    /// All that is known, as headers `dead-letter.source`, …
    pub fn told(&self) -> impl Iterator<Item = (String, Bytes)> {
        self.known.iter().map(|(name, value)| (format!("{PREFIX}{name}"), Bytes::copy_from_slice(value.as_bytes())))
    }
}

/// Is it a name that a topic of dead letters may have, in the log or in Kafka?
pub(super) fn check_letters_name(topic: &str, table: &str, env: &Environment) -> Result<()> {
    check_topic_name(topic).map_err(|fault| {
        let near = did_you_mean(topic.split(':').next().unwrap_or_default(), env.brokers.keys().map(String::as_str));
        let hint = "a topic elsewhere is 'broker:topic', with a broker of eagre.yaml";
        Error::input(format!("table '{table}': dead letters: {}; {hint}{near}", fault.message()))
    })
}

/// A table whose dead letters came back as its own records would never end.
pub(super) fn own_topic(table: &str, topic: &str) -> Error {
    Error::input(format!("table '{table}': its dead letters cannot go to its own topic '{topic}'; name another"))
}

fn bytes(batch: &RecordBatch, name: &str) -> Result<Option<BinaryViewArray>> {
    let column = batch.column_by_name(name).map(|column| cast(column, &DataType::BinaryView)).transpose()?;
    Ok(column.map(|column| column.as_binary_view().clone()))
}

fn text(batch: &RecordBatch, name: &str) -> Result<Option<StringViewArray>> {
    let column = batch.column_by_name(name).map(|column| cast(column, &DataType::Utf8View)).transpose()?;
    Ok(column.map(|column| column.as_string_view().clone()))
}

fn micros(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let DataType::Timestamp(TimeUnit::Microsecond, _) = column.data_type() else { return Err(Error::bug("a timestamp of another type")) };
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
}
