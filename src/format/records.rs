//! Rows as records of a log or broker: key, value, headers and timestamp of each.
//!
//! ```text
//!  row ──┬─ columns of the value ── format ──▶ value (and headers that the format writes)
//!        ├─ columns of the key ── key format ─▶ key
//!        ├─ METADATA FROM 'timestamp' | 'headers' | 'key' ──▶ beside the value
//!        └─ $change: -D, -U ──▶ no value (tombstone)           only where records are upserts
//! ```
//! A sink describes what it writes in a [`RecordSpec`], gets a [`RecordEncoder`] from
//! [`FormatConfig::record_encoder`](super::FormatConfig::record_encoder) and gives it batch after batch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use super::column::type_name;
use super::metadata::{is_bytes, is_headers, is_text};
use super::{Encoder, FormatConfig, METADATA_FROM, has_envelope};
use crate::change::{self, Kind};
use crate::error::{Error, Result};

/// What a sink wants to be made of its rows.
#[derive(Debug, Clone)]
pub struct RecordSpec {
    /// All columns of the rows; [`change::CHANGE_COLUMN`] may follow them.
    pub schema: SchemaRef,
    /// The columns that are written: fields of the value, and metadata (their field names its key under
    /// [`METADATA_FROM`]). `timestamp`, `headers` and `key` are written by every format; a sink that writes others itself
    /// leaves them out.
    pub columns: Vec<usize>,
    /// What makes the key, unless a column is `METADATA FROM 'key'`.
    pub key: Option<KeySpec>,
    /// How the headers of envelopes (`cloudevents`) are called.
    pub binding: Binding,
    /// Each record stands for what its key is now: a deleted row becomes a record without a value. So does what a row was
    /// before its update, unless the row after it has the same key and says the rest.
    pub upserts: bool,
}

/// What makes the key of a record.
#[derive(Debug, Clone)]
pub struct KeySpec {
    /// Its columns.
    pub columns: Vec<usize>,
    /// The names of its fields where they are not those of the columns (`'key.fields-prefix'`).
    pub names: Option<Vec<String>>,
    /// How they are written.
    pub form: KeyForm,
}

/// How the columns of a key are written.
#[derive(Debug, Clone)]
pub enum KeyForm {
    /// The text of the one column, NULL = no key; a JSON object of several.
    Text,
    /// `'key.format'`.
    Format(FormatConfig),
}

/// How headers of envelopes are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// `ce_type`, as Kafka's binding of CloudEvents says.
    #[default]
    Kafka,
    /// `cloudEvents:type`, as AMQP's binding says.
    Amqp,
}

/// The header that says what the value is. A broker that has a property for it (AMQP) is given it there.
pub const CONTENT_TYPE: &str = "content-type";

/// Records made of a batch.
#[derive(Debug, Default)]
pub struct EncodedRecords {
    /// Values and keys lie in here.
    data: Vec<u8>,
    values: Vec<Option<Range<usize>>>,
    keys: Vec<Option<Range<usize>>>,
    headers: Vec<Vec<(String, Bytes)>>,
    timestamps: Vec<Option<i64>>,
    /// The row that each was made of.
    rows: Vec<u32>,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodedRecord<'a> {
    /// Number of its row in the batch.
    pub row: usize,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` = tombstone.
    pub value: Option<&'a [u8]>,
    /// What travels beside it.
    pub headers: &'a [(String, Bytes)],
    /// Its time in microseconds since 1970, where the row brings one.
    pub timestamp_micros: Option<i64>,
}

impl EncodedRecords {
    /// Records of keys and values that are bytes already.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (Option<&'a [u8]>, &'a [u8])>) -> Self {
        let mut records = EncodedRecords::default();
        for (row, (key, value)) in pairs.into_iter().enumerate() {
            records.push(&EncodedRecord { row, key, value: Some(value), headers: &[], timestamp_micros: None });
        }
        records
    }

    /// Adds a record that is bytes already.
    pub fn push(&mut self, record: &EncodedRecord<'_>) {
        let mut append = |bytes: &[u8]| {
            let start = self.data.len();
            self.data.extend_from_slice(bytes);
            start..self.data.len()
        };
        self.keys.push(record.key.map(&mut append));
        self.values.push(record.value.map(append));
        self.headers.push(record.headers.to_vec());
        self.timestamps.push(record.timestamp_micros);
        self.rows.push(record.row as u32);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes of keys and values.
    pub fn size_bytes(&self) -> usize {
        self.data.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The records in the order of their rows.
    pub fn iter(&self) -> impl Iterator<Item = EncodedRecord<'_>> {
        (0..self.len()).map(|index| {
            let bytes = |range: &Option<Range<usize>>| range.clone().and_then(|range| self.data.get(range));
            EncodedRecord {
                row: self.rows.get(index).map_or(index, |row| *row as usize),
                key: self.keys.get(index).and_then(bytes),
                value: self.values.get(index).and_then(bytes),
                headers: self.headers.get(index).map_or(&[], Vec::as_slice),
                timestamp_micros: self.timestamps.get(index).copied().flatten(),
            }
        })
    }

    fn clear(&mut self) {
        self.data.clear();
        self.values.clear();
        self.keys.clear();
        self.headers.clear();
        self.timestamps.clear();
        self.rows.clear();
    }
}

/// Values of records as they are written, one a row.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// They lie in here.
    pub(crate) data: Vec<u8>,
    /// Per row: where; `None` = none.
    pub(crate) bounds: Vec<Option<Range<usize>>>,
    /// Per row: headers that the format writes; empty = it writes none.
    pub(crate) headers: Vec<Vec<(String, Bytes)>>,
}

/// Writes the values of records: what makes a format.
pub(crate) trait EncodeValues: Send + std::fmt::Debug {
    /// Appends a value per row to `out`, whose vectors are empty.
    fn encode_values(&mut self, rows: &RecordBatch, out: &mut Values) -> Result<()>;
}

/// The values of a format that writes lines: what stands before the line breaks.
#[derive(Debug)]
pub(crate) struct LineValues(pub(crate) Box<dyn Encoder>);

impl EncodeValues for LineValues {
    fn encode_values(&mut self, rows: &RecordBatch, out: &mut Values) -> Result<()> {
        self.0.encode(rows, &mut out.data)?;
        let mut start = 0;
        out.bounds.extend(memchr::memchr_iter(b'\n', &out.data).map(|end| Some(std::mem::replace(&mut start, end + 1)..end)));
        match out.bounds.len() == rows.num_rows() {
            true => Ok(()),
            false => Err(Error::bug(format!("{} lines for {} rows of {:?}", out.bounds.len(), rows.num_rows(), self.0))),
        }
    }
}

/// The value as it stands in the one column, of STRING or BYTES; NULL = no value.
#[derive(Debug)]
pub(crate) struct RawValues;

impl EncodeValues for RawValues {
    fn encode_values(&mut self, rows: &RecordBatch, out: &mut Values) -> Result<()> {
        let [column] = rows.columns() else { return Err(Error::bug("a raw value has one column")) };
        let values = cast(column, &DataType::Binary)?;
        for value in values.as_binary::<i32>() {
            out.bounds.push(value.map(|value| {
                let start = out.data.len();
                out.data.extend_from_slice(value);
                start..out.data.len()
            }));
        }
        Ok(())
    }
}

/// Some columns of the rows, written in a format.
#[derive(Debug)]
struct Part {
    columns: Vec<usize>,
    schema: SchemaRef,
    encode: Box<dyn EncodeValues>,
}

impl Part {
    fn encode(&mut self, rows: &RecordBatch) -> Result<Values> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|at| rows.column(*at).clone()).collect();
        let sized = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &sized)?;
        let mut values = Values::default();
        self.encode.encode_values(&rows, &mut values)?;
        if values.bounds.len() != rows.num_rows() {
            return Err(Error::bug(format!("{} values for {} rows", values.bounds.len(), rows.num_rows())));
        }
        Ok(values)
    }
}

/// How the key is made.
#[derive(Debug)]
enum KeyPlan {
    None,
    /// The text or the bytes of a column.
    Column(usize),
    Part(Part),
}

/// Makes records of rows.
#[derive(Debug)]
pub struct RecordEncoder {
    value: Part,
    key: KeyPlan,
    timestamp: Option<usize>,
    headers: Option<usize>,
    upserts: bool,
}

impl RecordEncoder {
    /// An encoder whose values are of `format`. A column whose type or metadata key cannot be written is an error.
    pub(crate) fn new(format: &FormatConfig, spec: &RecordSpec) -> Result<RecordEncoder> {
        let (mut timestamp, mut headers, mut key_column) = (None, None, None);
        let mut columns = Vec::new();
        for at in spec.columns.iter().copied() {
            let field = spec.schema.field(at);
            let data_type = field.data_type();
            let (place, suits, wanted) = match field.metadata().get(METADATA_FROM).map(String::as_str) {
                Some("timestamp") => (&mut timestamp, matches!(data_type, DataType::Timestamp(..)), "TIMESTAMP_LTZ(3)"),
                Some("headers") => (&mut headers, is_headers(data_type), "MAP<STRING, BYTES>"),
                Some("key") => (&mut key_column, is_text(data_type) || is_bytes(data_type), "BYTES or STRING"),
                Some(key) if !has_envelope(format.name()) => {
                    let (name, format) = (field.name(), format.name());
                    return Err(Error::input(format!(
                        "column '{name}': METADATA FROM '{key}' cannot be written with format '{format}'; declare it VIRTUAL to read it only"
                    )));
                }
                Some(_) | None => {
                    columns.push(at);
                    continue;
                }
            };
            if !suits {
                let (name, own) = (field.name(), type_name(data_type));
                return Err(Error::input(format!("column '{name}': this metadata is {wanted}, not {own}")));
            }
            *place = Some(at);
        }
        let schema: SchemaRef = Arc::new(spec.schema.project(&columns)?);
        let value = Part { columns, encode: format.values(&schema, spec.binding)?, schema };
        let key = match (&spec.key, key_column) {
            (Some(_), Some(column)) => {
                let name = spec.schema.field(column).name();
                return Err(Error::input(format!(
                    "the key is made of 'key.fields' and of column '{name}' METADATA FROM 'key': choose one"
                )));
            }
            (None, Some(column)) => KeyPlan::Column(column),
            (None, None) => KeyPlan::None,
            (Some(key), None) => plan_key(key, &spec.schema)?,
        };
        Ok(RecordEncoder { value, key, timestamp, headers, upserts: spec.upserts })
    }

    /// Makes the records of `rows`; they replace what `out` holds.
    pub fn encode(&mut self, rows: &RecordBatch, out: &mut EncodedRecords) -> Result<()> {
        out.clear();
        let numbers = if self.upserts { change::of(rows)? } else { None };
        let kinds =
            numbers.map(|numbers| numbers.values().iter().map(|number| Kind::of(*number)).collect::<Result<Vec<_>>>()).transpose()?;
        // Of a deleted row only the key is sure: its value is not even tried.
        let values = match kinds.as_ref().filter(|kinds| !kinds.iter().all(|kind| kind.adds())) {
            None => self.value.encode(rows)?,
            Some(kinds) => {
                let adds: BooleanArray = kinds.iter().map(|kind| Some(kind.adds())).collect();
                self.value.encode(&filter_record_batch(rows, &adds)?)?
            }
        };
        let keys = self.keys(rows)?;
        let timestamps = self.timestamp.map(|column| micros(rows.column(column))).transpose()?;
        let mut headers = self.headers.map(|column| headers_of(rows.column(column))).transpose()?;

        out.data = values.data;
        let shift = out.data.len();
        if let Some(keys) = &keys {
            out.data.extend_from_slice(&keys.data);
        }
        let key_of = |row: usize| keys.as_ref().and_then(|keys| keys.bounds.get(row)?.clone());
        let (mut bounds, mut own_headers) = (values.bounds.into_iter(), values.headers.into_iter());
        for row in 0..rows.num_rows() {
            let kind = kinds.as_ref().map_or(Kind::Insert, |kinds| kinds[row]);
            if kind == Kind::UpdateBefore && kinds.as_ref().and_then(|kinds| kinds.get(row + 1)) == Some(&Kind::UpdateAfter) {
                let text = |row| key_of(row).and_then(|range| keys.as_ref()?.data.get(range));
                if text(row) == text(row + 1) {
                    // The next record takes its place. Under another key nobody would: that one is gone.
                    continue;
                }
            }
            out.values.push(if kind.adds() { bounds.next().flatten() } else { None });
            let mut headers = headers.as_mut().map(|headers| std::mem::take(&mut headers[row])).unwrap_or_default();
            headers.extend(if kind.adds() { own_headers.next().unwrap_or_default() } else { Vec::new() });
            out.headers.push(headers);
            out.keys.push(key_of(row).map(|range| range.start + shift..range.end + shift));
            out.timestamps.push(timestamps.as_ref().and_then(|timestamps| timestamps[row]));
            out.rows.push(row as u32);
        }
        Ok(())
    }

    /// The keys of all rows.
    fn keys(&mut self, rows: &RecordBatch) -> Result<Option<Values>> {
        Ok(match &mut self.key {
            KeyPlan::None => None,
            KeyPlan::Column(column) => {
                let column = rows.column(*column);
                let column = if is_bytes(column.data_type()) { column.clone() } else { cast(column, &DataType::Utf8View)? };
                let mut values = Values::default();
                let field = arrow::datatypes::Field::new("key", column.data_type().clone(), true);
                let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])?;
                RawValues.encode_values(&rows, &mut values)?;
                Some(values)
            }
            KeyPlan::Part(part) => Some(part.encode(rows)?),
        })
    }
}

fn plan_key(key: &KeySpec, schema: &SchemaRef) -> Result<KeyPlan> {
    let own = schema.project(&key.columns)?;
    let own = match &key.names {
        None => own,
        Some(names) => {
            let named = own.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name));
            Schema::new(named.collect::<Vec<_>>())
        }
    };
    let schema: SchemaRef = Arc::new(own);
    let part = |encode| KeyPlan::Part(Part { columns: key.columns.clone(), schema: schema.clone(), encode });
    Ok(match (&key.form, key.columns.as_slice()) {
        (_, []) => KeyPlan::None,
        (KeyForm::Text, [one]) => KeyPlan::Column(*one),
        (KeyForm::Text, _) => part(Box::new(LineValues(super::JsonOptions::default().encoder(&schema)?))),
        (KeyForm::Format(format), _) => part(format.values(&schema, Binding::Kafka)?),
    })
}

/// The values of a timestamp column in microseconds since 1970.
fn micros(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let DataType::Timestamp(_, zone) = column.data_type() else { return Err(Error::bug("a timestamp column of another type")) };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
    Ok(cast(&micros, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
}

/// The entries of a MAP column as the headers of each record.
fn headers_of(column: &ArrayRef) -> Result<Vec<Vec<(String, Bytes)>>> {
    let maps = column.as_map();
    let names = cast(maps.keys(), &DataType::Utf8View)?;
    let values = cast(maps.values(), &DataType::Binary)?;
    let (names, values) = (names.as_string_view(), values.as_binary::<i32>());
    let of_row = |row: usize| {
        if maps.is_null(row) {
            return Vec::new();
        }
        let entries = maps.value_offsets()[row] as usize..maps.value_offsets()[row + 1] as usize;
        let entries = entries.filter(|entry| values.is_valid(*entry));
        entries.map(|entry| (names.value(entry).to_owned(), Bytes::copy_from_slice(values.value(entry)))).collect()
    };
    Ok((0..column.len()).map(of_row).collect())
}

#[cfg(test)]
mod tests;
