//! Debezium's envelope around the rows of a changed table, in JSON.
//!
//! ```text
//!  {"before":{"id":1,"name":"a"},"after":{"id":1,"name":"b"},"source":{…},"op":"u","ts_ms":1700000000000}
//!             └── -U 1, a              └── +U 1, b
//!  op c, r: +I of "after"    u: -U of "before", +U of "after"    d: -D of "before"    no value: nothing
//! ```
//! With a schema around it (`'debezium-json.schema-include'='true'`) the envelope is the field `payload`. Columns are
//! fields of the rows; `METADATA FROM 'ingestion-timestamp' | 'source.table' | …` reads the envelope, under Flink's names
//! (with or without `value.` before them). A record is refused whole: of an update never one half passes.

mod find;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use serde::{Deserialize, Serialize};

use super::column::{Reading, TimestampForm, type_name};
use super::json::{JsonOptions, MapNullKey};
use super::late::{LateDecoder, Origin, Plans, no_changes};
use super::metadata::{KEYS, is_text};
use super::{ColumnOrigin, DecodeColumn, DecodeSpec, DecoderRef};
use crate::error::{Error, Result, did_you_mean};
use crate::time::text::TimestampFormat;

/// Options of `'format'='debezium-json'`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DebeziumJsonOptions {
    /// The records carry the schema of the table (`value.converter.schemas.enable` in Debezium), and the envelope as their
    /// `payload`.
    pub schema_include: bool,
    /// A record that is no envelope is skipped, and a value that does not fit its column becomes NULL, instead of being
    /// refused.
    pub ignore_parse_errors: bool,
    /// How timestamps in the rows are written: `SQL` (`2024-01-31 12:00:00.123`) or `ISO-8601` (`2024-01-31T12:00:00.123`).
    #[serde(rename = "timestamp-format.standard")]
    pub timestamp_format: TimestampFormat,
    /// Accepted for files written for Flink: what becomes of a MAP entry whose key is NULL. There is no such key here.
    #[serde(rename = "map-null-key.mode")]
    pub map_null_key_mode: MapNullKey,
    /// Accepted for files written for Flink: the key that stands for NULL in `LITERAL` mode.
    #[serde(rename = "map-null-key.literal")]
    pub map_null_key_literal: Option<String>,
}

/// What of the envelope a column reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `ts_ms`
    Ingestion,
    /// `source.ts_ms`
    Timestamp,
    /// `source.db`
    Database,
    /// `source.schema`
    Schema,
    /// `source.table`
    Table,
    /// `source`
    Properties,
}

/// Flink's names of the parts.
const PARTS: [(&str, Part); 6] = [
    ("ingestion-timestamp", Part::Ingestion),
    ("source.timestamp", Part::Timestamp),
    ("source.database", Part::Database),
    ("source.schema", Part::Schema),
    ("source.table", Part::Table),
    ("source.properties", Part::Properties),
];

/// The part of this name, for a column of a type that suits it.
fn part(field: &FieldRef, key: &str) -> Result<Part> {
    let name = key.strip_prefix("value.").unwrap_or(key);
    let Some((_, part)) = PARTS.iter().find(|(known, _)| *known == name) else {
        let near = did_you_mean(name, PARTS.iter().map(|(known, _)| *known).chain(KEYS));
        return Err(Error::input(format!("column '{}': 'format'='debezium-json' has no metadata '{key}'{near}", field.name())));
    };
    let data_type = field.data_type();
    let (suits, wanted) = match part {
        Part::Ingestion | Part::Timestamp => (matches!(data_type, DataType::Timestamp(_, Some(_))), "TIMESTAMP_LTZ(3)"),
        Part::Database | Part::Schema | Part::Table => (is_text(data_type), "STRING"),
        Part::Properties => (matches!(data_type, DataType::Map(..)), "MAP<STRING, STRING>"),
    };
    match suits {
        true => Ok(*part),
        false => Err(Error::input(format!("column '{}': this metadata is {wanted}, not {}", field.name(), type_name(data_type)))),
    }
}

impl DebeziumJsonOptions {
    /// A decoder of the columns of `spec`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        let json = JsonOptions {
            ignore_parse_errors: self.ignore_parse_errors,
            timestamp_format: self.timestamp_format,
            ..JsonOptions::default()
        };
        let rows = Arc::new(json.reading());
        let envelope = Arc::new(Reading { timestamps: TimestampForm::EpochMillis, ..json.reading() });
        let plans = Plans::new(spec, |column: &DecodeColumn| {
            Ok(match &column.from {
                ColumnOrigin::Payload(_) => Origin::Cell(rows.clone()),
                ColumnOrigin::Metadata(key) if KEYS.contains(&key.as_str()) => Origin::Beside(key.clone()),
                ColumnOrigin::Metadata(key) => {
                    part(&column.field, key)?;
                    Origin::Cell(envelope.clone())
                }
                ColumnOrigin::Connector(key) => Origin::Beside((*key).to_owned()),
                ColumnOrigin::Change => return Err(no_changes(column)),
            })
        })?;
        let find = find::FindChanges::new(spec, &plans, self.schema_include)?;
        Ok(Arc::new(LateDecoder::new(spec, plans, find)))
    }
}
