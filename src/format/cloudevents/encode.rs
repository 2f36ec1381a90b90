//! Rows as events: structured, one a line or a record; or binary, the data as value and the attributes as headers.
//!
//! Columns that are `METADATA FROM 'key'` (their field says so) become attributes, the others the data. What an event
//! does not bring it gets:
//!
//! | attribute | missing or NULL |
//! |---|---|
//! | `id` | derived from source, type, cause, time and data: written again after a restart it is the same event, not a second one |
//! | `type`, `source` | `'cloudevents.type'`, `'cloudevents.source'` |
//! | `time` | the event time of the row where it has one, else the time of writing (of which the id knows nothing) |
//! | `correlationid` | that of the cause, or its own id: it is the root then |
//! | `datacontenttype` | `application/json` |

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use bytes::Bytes;

use super::{CloudEventsOptions, MetadataForm, Mode, binary};
use crate::error::{Error, Kind, Result, did_you_mean};
use crate::event::{ATTRIBUTES, LIFTED, Reading, check, derived_id, is_source_of_standard, is_type_of_standard};
use crate::format::column::type_name;
use crate::format::json::JsonOptions;
use crate::format::json::encode::push_string;
use crate::format::metadata::KEYS;
use crate::format::records::{CONTENT_TYPE, EncodeValues, Values};
use crate::format::{Binding, EVENT_TIME, Encoder, METADATA_FROM};
use crate::time::text::{TimestampFormat, push_timestamp};

/// Writes rows as events.
#[derive(Debug)]
pub(super) struct EventEncoder {
    /// Per attribute: its name and the column it comes from.
    attributes: Vec<(String, usize)>,
    /// Columns of the data.
    data: Vec<usize>,
    data_schema: SchemaRef,
    encode_data: Box<dyn Encoder>,
    r#type: Option<String>,
    source: Option<String>,
    form: MetadataForm,
    /// The column of the rows' event time, which may be among the data.
    event_time: Option<usize>,
    mode: Mode,
    binding: Binding,
}

impl CloudEventsOptions {
    /// An encoder of batches of `schema` as lines.
    pub(crate) fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        if self.mode == Mode::Binary {
            return Err(Error::input("'cloudevents.mode'='binary' needs records with headers; a line has none: choose 'structured'"));
        }
        Ok(Box::new(self.events(schema, Binding::default())?))
    }

    /// Writes the values (and headers) of records.
    pub(crate) fn values(&self, schema: &SchemaRef, binding: Binding) -> Result<Box<dyn EncodeValues>> {
        Ok(Box::new(self.events(schema, binding)?))
    }

    fn events(&self, schema: &SchemaRef, binding: Binding) -> Result<EventEncoder> {
        let mut attributes = Vec::new();
        let mut data = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let Some(key) = field.metadata().get(METADATA_FROM) else {
                data.push(index);
                continue;
            };
            let suits = match field.data_type() {
                DataType::Timestamp(..) => key == "time",
                other => matches!(other, DataType::Utf8View | DataType::Utf8),
            };
            if !suits {
                return Err(Error::input(format!(
                    "column '{}': the attribute '{key}' is written from {}, not {}",
                    field.name(),
                    if key == "time" { "TIMESTAMP_LTZ(3) or STRING" } else { "STRING" },
                    type_name(field.data_type())
                )));
            }
            if KEYS.contains(&key.as_str()) {
                return Err(Error::input(format!(
                    "column '{}': METADATA FROM '{key}' is no attribute of an event; declare it VIRTUAL to read it only",
                    field.name()
                )));
            }
            if !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) || matches!(key.as_str(), "data" | "specversion") {
                let near = did_you_mean(key, ATTRIBUTES.into_iter().chain(LIFTED.map(|(_, to)| to)));
                return Err(Error::input(format!("column '{}': '{key}' cannot be written as an attribute{near}", field.name())));
            }
            attributes.push((key.clone(), index));
        }
        let has = |key: &str| attributes.iter().any(|(name, _)| name == key);
        for (key, option) in [("type", self.r#type.is_some()), ("source", self.source.is_some())] {
            if !has(key) && !option {
                return Err(Error::input(format!("an event needs its {key}: a column METADATA FROM '{key}' or 'cloudevents.{key}'")));
            }
        }
        if let Some(kind) = self.r#type.as_ref().filter(|kind| !is_type_of_standard(kind)) {
            let form = "expected lower-case segments and a capitalised name, as in shop.order.OrderCreated";
            return Err(Error::input(format!("'cloudevents.type' = '{kind}': {form}")));
        }
        if let Some(source) = self.source.as_ref().filter(|source| !is_source_of_standard(source)) {
            return Err(Error::input(format!("'cloudevents.source' = '{source}': expected an absolute URI, as in urn:shop:orders")));
        }
        let data_schema = Arc::new(schema.project(&data)?);
        let json = JsonOptions { timestamp_format: self.timestamp_format, ..JsonOptions::default() };
        Ok(EventEncoder {
            attributes,
            data,
            encode_data: json.encoder(&data_schema)?,
            data_schema,
            r#type: self.r#type.clone(),
            source: self.source.clone(),
            form: self.metadata,
            event_time: schema.fields().iter().position(|field| field.metadata().contains_key(EVENT_TIME)),
            mode: self.mode,
            binding,
        })
    }
}

/// An attribute's column as text; `time` in RFC 3339.
fn texts(array: &ArrayRef) -> Result<StringViewArray> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Ok(cast(array, &DataType::Utf8View)?.as_string_view().clone());
    };
    let unit: TimeUnit = *unit;
    let values = cast(array, &DataType::Int64)?;
    let mut text = Vec::new();
    let render = |value: i64| {
        text.clear();
        push_timestamp(&mut text, value, unit, TimestampFormat::Iso8601, true);
        String::from_utf8_lossy(&text).into_owned()
    };
    let values = values.as_primitive::<arrow::datatypes::Int64Type>();
    let mut render = render;
    Ok(values.iter().map(|value| value.map(&mut render)).collect())
}

impl Encoder for EventEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        let result = self.each(batch, |event| {
            let start = out.len();
            event.push(out)?;
            event.encoder.judge(&out[start..])?;
            out.push(b'\n');
            Ok(())
        });
        if result.is_err() {
            // No half batch gets out.
            out.truncate(before);
        }
        result
    }
}

impl EncodeValues for EventEncoder {
    fn encode_values(&mut self, rows: &RecordBatch, out: &mut Values) -> Result<()> {
        let (mode, prefix) = (self.mode, binary::prefix(self.binding));
        let mut judged = Vec::new();
        self.each(rows, |event| {
            let start = out.data.len();
            let mut headers = Vec::new();
            match mode {
                Mode::Structured => {
                    event.push(&mut out.data)?;
                    event.encoder.judge(&out.data[start..])?;
                    headers.push((CONTENT_TYPE.to_owned(), Bytes::from_static(binary::STRUCTURED_JSON.as_bytes())));
                }
                Mode::Binary => {
                    judged.clear();
                    event.push(&mut judged)?;
                    event.encoder.judge(&judged)?;
                    headers.push((format!("{prefix}specversion"), Bytes::from_static(b"1.0")));
                    for (name, value) in event.attributes()? {
                        let name = if name == "datacontenttype" { CONTENT_TYPE.to_owned() } else { format!("{prefix}{name}") };
                        headers.push((name, Bytes::from(value.into_owned())));
                    }
                    out.data.extend_from_slice(event.data);
                }
            }
            out.bounds.push(Some(start..out.data.len()));
            out.headers.push(headers);
            Ok(())
        })
    }
}

impl EventEncoder {
    /// Makes an event of each row.
    fn each(&mut self, batch: &RecordBatch, mut made: impl FnMut(&Event<'_>) -> Result<(), String>) -> Result<()> {
        let columns: Vec<(&str, StringViewArray)> =
            self.attributes.iter().map(|(name, index)| Ok((name.as_str(), texts(batch.column(*index))?))).collect::<Result<_>>()?;
        let event_times = self.event_time.map(|index| texts(batch.column(index))).transpose()?;
        let mut now = Vec::new();
        push_timestamp(&mut now, chrono::Utc::now().timestamp_millis(), TimeUnit::Millisecond, TimestampFormat::Iso8601, true);
        let now = String::from_utf8_lossy(&now);
        let data = batch.project(&self.data)?.columns().to_vec();
        let sized = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let data = RecordBatch::try_new_with_options(self.data_schema.clone(), data, &sized)?;
        let mut lines = Vec::new();
        self.encode_data.encode(&data, &mut lines)?;

        // A string holds no newline in JSON, so every line is one row's data.
        for (row, data) in lines.split_inclusive(|byte| *byte == b'\n').map(|line| line.trim_ascii_end()).enumerate() {
            let given = |name: &str| {
                let (_, column) = columns.iter().find(|(known, _)| *known == name)?;
                column.is_valid(row).then(|| column.value(row))
            };
            let event_time = event_times.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row));
            let event = Event { given: &given, event_time, now: &now, encoder: self, columns: &columns, row, data };
            made(&event).map_err(|fault| Error::new(Kind::Row, format!("no event: {fault}")))?;
        }
        Ok(())
    }

    /// What our own door refuses is not written.
    fn judge(&self, event: &[u8]) -> Result<(), String> {
        let event = serde_json::from_slice(event).map_err(|error| error.to_string())?;
        match self.form {
            MetadataForm::Object => crate::event::judge(&event).map(|_| ()),
            MetadataForm::Attributes => check(&event, Reading::Standard).and_then(|()| check(&event, Reading::CloudEvents)),
        }
    }
}

/// Attributes that are written whether a column gives them or not.
const SETTLED: [&str; 5] = ["id", "type", "source", "time", "correlationid"];

/// One event being written.
struct Event<'a> {
    given: &'a dyn Fn(&str) -> Option<&'a str>,
    event_time: Option<&'a str>,
    /// The time of writing.
    now: &'a str,
    encoder: &'a EventEncoder,
    columns: &'a [(&'a str, StringViewArray)],
    row: usize,
    data: &'a [u8],
}

impl Event<'_> {
    /// The attributes without `specversion`, and those that go into the `metadata` object, or what the event lacks.
    fn parts(&self) -> Result<(Vec<(&str, Cow<'_, str>)>, Vec<(&'static str, Cow<'_, str>)>), String> {
        let needed = |name: &str, option: &Option<String>| {
            (self.given)(name).map(str::to_owned).or_else(|| option.clone()).ok_or(format!("attribute '{name}' is NULL"))
        };
        let kind = needed("type", &self.encoder.r#type)?;
        let source = needed("source", &self.encoder.source)?;
        let id = (self.given)("id").map_or_else(|| self.derived_id(&source, &kind), str::to_owned);
        let correlation = (self.given)("correlationid").or((self.given)("causationid")).unwrap_or(&id).to_owned();
        let mut attributes: Vec<(&str, Cow<'_, str>)> = vec![("id", id.into()), ("type", kind.into()), ("source", source.into())];
        attributes.push(("time", self.time().unwrap_or(self.now).into()));
        let others = self.columns.iter().filter(|(name, column)| !SETTLED.contains(name) && column.is_valid(self.row));
        let others = others.map(|(name, column)| (*name, Cow::Borrowed(column.value(self.row))));
        let mut lifted = Vec::new();
        for (name, value) in std::iter::once(("correlationid", correlation.into())).chain(others) {
            match LIFTED.iter().find(|(_, to)| *to == name) {
                Some((from, _)) if self.encoder.form == MetadataForm::Object => lifted.push((*from, value)),
                _ => attributes.push((name, value)),
            }
        }
        if (self.given)("datacontenttype").is_none() {
            attributes.push(("datacontenttype", "application/json".into()));
        }
        Ok((attributes, lifted))
    }

    /// The attributes without `specversion`.
    fn attributes(&self) -> Result<Vec<(&str, Cow<'_, str>)>, String> {
        Ok(self.parts()?.0)
    }

    /// Appends the event in structured mode, or says what it lacks.
    fn push(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let (attributes, lifted) = self.parts()?;
        out.extend_from_slice(b"{\"specversion\":\"1.0\"");
        for (name, value) in attributes {
            out.push(b',');
            push_string(out, name.as_bytes());
            out.push(b':');
            push_string(out, value.as_bytes());
        }
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data);
        if !lifted.is_empty() {
            out.extend_from_slice(b",\"metadata\":");
            for (index, (name, value)) in lifted.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                push_string(out, name.as_bytes());
                out.push(b':');
                push_string(out, value.as_bytes());
            }
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    }

    /// The time of the event, as far as it follows from its row.
    fn time(&self) -> Option<&str> {
        (self.given)("time").or(self.event_time)
    }

    /// The id of an event that brings none.
    fn derived_id(&self, source: &str, kind: &str) -> String {
        let time = self.time().unwrap_or_default();
        let cause = (self.given)("causationid").unwrap_or_default();
        let cause = [cause.as_bytes(), time.as_bytes(), self.data].join(&b'\n');
        derived_id(&format!("{source}\n{kind}"), &cause, 0).to_string()
    }
}

/// The schema of a sink whose columns are attributes: for tests of the floors above and of this one.
#[cfg(test)]
pub(super) fn with_attributes(fields: Vec<(arrow::datatypes::Field, Option<&str>)>) -> SchemaRef {
    let fields = fields.into_iter().map(|(field, key)| match key {
        Some(key) => field.with_metadata([(METADATA_FROM.to_owned(), key.to_owned())].into()),
        None => field,
    });
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}
