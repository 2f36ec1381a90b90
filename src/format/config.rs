//! `'format'='…'` and its options, from the text of a table to a decoder or an encoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::de::DeserializeOwned;

use super::avro::{AvroConfluentOptions, AvroOptions};
use super::cloudevents::CloudEventsOptions;
use super::csv::CsvOptions;
use super::debezium::DebeziumJsonOptions;
use super::json::JsonOptions;
use super::raw::RawOptions;
use super::records::{Binding, EncodeValues, LineValues, RawValues, RecordEncoder, RecordSpec};
use super::{DecodeSpec, DecoderRef, Encoder, METADATA_FROM};
use crate::change::Changes;
use crate::error::{Error, Result, did_you_mean};

/// A format with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum FormatConfig {
    /// `'format'='json'`: one JSON object a record.
    Json(JsonOptions),
    /// `'format'='csv'`: one delimited line a record.
    Csv(CsvOptions),
    /// `'format'='cloudevents'`: an envelope whose `data` holds the columns.
    CloudEvents(CloudEventsOptions),
    /// `'format'='debezium-json'`: the changes of a table, with what its rows were and are.
    DebeziumJson(DebeziumJsonOptions),
    /// `'format'='avro'`: binary records of the table's columns.
    Avro(AvroOptions),
    /// `'format'='avro-confluent'`: binary records that begin with the id of their schema in a registry.
    AvroConfluent(AvroConfluentOptions),
    /// `'format'='raw'`: the whole record is the one column.
    Raw(RawOptions),
    /// Columns already (parquet, generators): picked by name and cast.
    Rows,
}

/// The formats that `'format'` may name.
const NAMES: [&str; 7] = ["json", "csv", "cloudevents", "debezium-json", "avro", "avro-confluent", "raw"];

/// Does the format of this name write something beside the columns of a row?
pub fn has_envelope(format: &str) -> bool {
    format == "cloudevents"
}

impl FormatConfig {
    /// The format of this name with its options: takes the keys that begin with `name.` out of `options`. An unknown
    /// name, an unknown option of the format or a value that does not fit is an error that names it.
    pub fn from_options(format: &str, options: &mut BTreeMap<String, String>) -> Result<FormatConfig> {
        let own = take_prefixed(options, format);
        Ok(match format {
            "json" => {
                let json: JsonOptions = typed(format, own)?;
                json.check()?;
                FormatConfig::Json(json)
            }
            "csv" => {
                let csv: CsvOptions = typed(format, own)?;
                csv.check()?;
                FormatConfig::Csv(csv)
            }
            "cloudevents" => {
                let cloudevents: CloudEventsOptions = typed(format, own)?;
                cloudevents.check()?;
                FormatConfig::CloudEvents(cloudevents)
            }
            "avro" => FormatConfig::Avro(typed(format, own)?),
            "avro-confluent" => {
                let avro: AvroConfluentOptions = typed(format, own)?;
                avro.check()?;
                FormatConfig::AvroConfluent(avro)
            }
            "debezium-json" => FormatConfig::DebeziumJson(typed(format, own)?),
            "raw" => {
                let raw: RawOptions = typed(format, own)?;
                raw.check()?;
                FormatConfig::Raw(raw)
            }
            other => return Err(Error::input(format!("no format '{other}'{}", did_you_mean(other, NAMES)))),
        })
    }

    /// The format of a part of records, whose options begin with the part, too: `'key.json.ignore-parse-errors'`.
    pub fn of_part(part: &str, format: &str, options: &mut BTreeMap<String, String>) -> Result<FormatConfig> {
        let own = take_prefixed(options, &format!("{part}.{format}"));
        let mut own = own.into_iter().map(|(name, value)| (format!("{format}.{name}"), value)).collect();
        FormatConfig::from_options(format, &mut own)
    }

    /// Its name as in `'format'='…'`.
    pub fn name(&self) -> &'static str {
        match self {
            FormatConfig::Json(_) => "json",
            FormatConfig::Csv(_) => "csv",
            FormatConfig::CloudEvents(_) => "cloudevents",
            FormatConfig::DebeziumJson(_) => "debezium-json",
            FormatConfig::Avro(_) => "avro",
            FormatConfig::AvroConfluent(_) => "avro-confluent",
            FormatConfig::Raw(_) => "raw",
            FormatConfig::Rows => "rows",
        }
    }

    /// What its records do.
    pub fn changes(&self) -> Changes {
        match self {
            FormatConfig::DebeziumJson(_) => Changes::All,
            _ => Changes::Inserts,
        }
    }

    /// Were undecodable records asked to be skipped (`….ignore-parse-errors`)? The default of `'format.on-error'` then.
    pub fn skips_undecodable(&self) -> bool {
        match self {
            FormatConfig::Json(json) => json.ignore_parse_errors,
            FormatConfig::Csv(csv) => csv.ignore_parse_errors,
            FormatConfig::CloudEvents(cloudevents) => cloudevents.ignore_parse_errors,
            FormatConfig::DebeziumJson(debezium) => debezium.ignore_parse_errors,
            FormatConfig::Avro(_) | FormatConfig::AvroConfluent(_) | FormatConfig::Raw(_) | FormatConfig::Rows => false,
        }
    }

    /// A decoder of the columns of `spec`. A column whose type or origin the format cannot give is an error.
    pub fn decoder(&self, spec: DecodeSpec) -> Result<DecoderRef> {
        match self {
            FormatConfig::Json(json) => json.decoder(&spec),
            FormatConfig::Csv(csv) => csv.decoder(&spec),
            FormatConfig::CloudEvents(cloudevents) => cloudevents.decoder(&spec),
            FormatConfig::DebeziumJson(debezium) => debezium.decoder(&spec),
            FormatConfig::Avro(avro) => avro.decoder(&spec),
            FormatConfig::AvroConfluent(avro) => avro.decoder(&spec),
            FormatConfig::Raw(raw) => raw.decoder(&spec),
            FormatConfig::Rows => Ok(Arc::new(super::rows::PickColumns::new(&spec)?)),
        }
    }

    /// An encoder of rows as records of a log or broker.
    pub fn record_encoder(&self, spec: &RecordSpec) -> Result<RecordEncoder> {
        RecordEncoder::new(self, spec)
    }

    /// Writes the values of records.
    pub(crate) fn values(&self, schema: &SchemaRef, binding: Binding) -> Result<Box<dyn EncodeValues>> {
        Ok(match self {
            FormatConfig::CloudEvents(cloudevents) => cloudevents.values(schema, binding)?,
            FormatConfig::Avro(avro) => avro.values(schema)?,
            FormatConfig::AvroConfluent(avro) => avro.values(schema)?,
            FormatConfig::Raw(raw) => {
                raw.check_written(schema)?;
                Box::new(RawValues)
            }
            FormatConfig::Json(_) | FormatConfig::Csv(_) | FormatConfig::DebeziumJson(_) | FormatConfig::Rows => {
                Box::new(LineValues(self.encoder(schema)?))
            }
        })
    }

    /// An encoder of batches of `schema` as lines. A column whose type the format cannot write is an error.
    pub fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let beside = schema.fields().iter().find_map(|field| Some((field.name(), field.metadata().get(METADATA_FROM)?)));
        if let (Some((column, key)), false) = (beside, has_envelope(self.name())) {
            return Err(Error::input(format!(
                "column '{column}': METADATA FROM '{key}' cannot be written with format '{}'; declare it VIRTUAL to read it only",
                self.name()
            )));
        }
        match self {
            FormatConfig::Json(json) => json.encoder(schema),
            FormatConfig::Csv(csv) => csv.encoder(schema),
            FormatConfig::CloudEvents(cloudevents) => cloudevents.encoder(schema),
            FormatConfig::DebeziumJson(_) => Err(Error::input("'format'='debezium-json' is read, not written: choose 'json'")),
            FormatConfig::Avro(_) | FormatConfig::AvroConfluent(_) => {
                Err(Error::input("Avro is binary: it is written to records of a log or broker, not to lines of a file"))
            }
            FormatConfig::Raw(raw) => raw.encoder(schema),
            FormatConfig::Rows => Err(Error::input("rows cannot be written as bytes: choose 'format'='json' or 'csv'")),
        }
    }
}

/// Takes the options whose keys begin with `prefix.`, without it.
fn take_prefixed(options: &mut BTreeMap<String, String>, prefix: &str) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    options.retain(|key, value| {
        // `format.on-error` and the like are the table's, whatever the format is called.
        let Some(name) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else { return true };
        own.insert(name.to_owned(), std::mem::take(value));
        false
    });
    own
}

/// The options of `format` as its struct; names the option, the value and what was expected.
fn typed<T: DeserializeOwned + serde::Serialize + Default>(format: &str, own: BTreeMap<String, String>) -> Result<T> {
    let known = match serde_json::to_value(T::default()) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => return Err(Error::bug(format!("the options of '{format}' are no struct"))),
    };
    let mut fields = serde_json::Map::new();
    for (key, text) in own {
        let Some(default) = known.get(&key) else {
            let near = did_you_mean(&key, known.keys().map(String::as_str));
            return Err(Error::input(format!("no option '{format}.{key}'{near}")));
        };
        let value = match (default, text.as_str()) {
            (serde_json::Value::Bool(_), text) if text.eq_ignore_ascii_case("true") => true.into(),
            (serde_json::Value::Bool(_), text) if text.eq_ignore_ascii_case("false") => false.into(),
            (serde_json::Value::Bool(_), _) => {
                return Err(Error::input(format!("'{format}.{key}' = '{text}': expected true or false")));
            }
            _ => serde_json::Value::from(text),
        };
        // One at a time, so that the message can name the one that does not fit.
        let alone = serde_json::Map::from_iter([(key.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<T>(alone.into()) {
            return Err(Error::input(format!("'{format}.{key}' = {value}: {error}")));
        }
        fields.insert(key, value);
    }
    serde_json::from_value(fields.into()).map_err(|error| Error::input(format!("options of '{format}': {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_format_takes_its_own_options_and_leaves_the_others() {
        let mut given = options(&[("json.ignore-parse-errors", "TRUE"), ("path", "/x"), ("format.on-error", "skip")]);
        let config = FormatConfig::from_options("json", &mut given).unwrap();
        assert!(config.skips_undecodable());
        assert_eq!(given, options(&[("path", "/x"), ("format.on-error", "skip")]));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_nearest_match() {
        for (format, key, value, message) in [
            ("jsno", "path", "x", "no format 'jsno'; did you mean 'json'?"),
            ("json", "json.ignore-parse-error", "true", "no option 'json.ignore-parse-error'; did you mean 'ignore-parse-errors'?"),
            ("json", "json.fail-on-missing-field", "yes", "'json.fail-on-missing-field' = 'yes': expected true or false"),
            (
                "json",
                "json.timestamp-format.standard",
                "ISO",
                "'json.timestamp-format.standard' = \"ISO\": unknown variant `ISO`, expected `SQL` or `ISO-8601`",
            ),
        ] {
            let error = FormatConfig::from_options(format, &mut options(&[(key, value)])).unwrap_err();
            assert_eq!(error.message(), message);
        }
    }
}
