//! CloudEvents: an envelope around a JSON object (structured mode), or headers beside it (binary mode).
//!
//! ```text
//!  {"specversion":"1.0","id":"o-1","type":"shop.order.OrderCreated","source":"…","time":"…",   METADATA columns
//!   "data":{"orderId":"o-1","amount":9.5},                                                    the other columns
//!   "metadata":{"correlationId":"c-9"}}                        lifted to 'correlationid', 'causationid', …
//! ```
//! [`find`] walks over the envelope as over any JSON and judges it; [`binary`] makes an envelope of headers; [`encode`]
//! writes both. Which mode a record is in is seen by itself; which one is written is `'cloudevents.mode'`.

mod binary;
mod encode;
mod find;
#[cfg(test)]
mod tests;

pub use binary::is_attribute;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::column::{Reading, Syntax, TimestampForm};
use super::late::{LateDecoder, Origin, Plans, no_changes};
use super::{ColumnOrigin, DecodeColumn, DecodeSpec, DecoderRef};
use crate::error::{Error, Result, did_you_mean};
use crate::event::{ATTRIBUTES, LIFTED};
use crate::time::text::TimestampFormat;

/// Options of `'format'='cloudevents'`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CloudEventsOptions {
    /// Which events are taken: `standard` (valid under CloudEvents 1.0.2 and under the stricter standard: dotted type
    /// with a capitalised name, absolute source, a time, an object as data), `cloudevents` (valid under CloudEvents
    /// 1.0.2), or `none` (any JSON object).
    pub validation: Validation,
    /// A record that is no event is skipped, and a value that does not fit its column becomes NULL, instead of being
    /// refused.
    pub ignore_parse_errors: bool,
    /// An event whose data lack a field of the table is refused; else the field is NULL.
    pub fail_on_missing_field: bool,
    /// How timestamps in the data are written: `SQL` or `ISO-8601`. The attribute `time` is always RFC 3339.
    #[serde(rename = "timestamp-format.standard")]
    pub timestamp_format: TimestampFormat,
    /// The type of events that are written, unless a column is `METADATA FROM 'type'`.
    pub r#type: Option<String>,
    /// The source of events that are written, unless a column is `METADATA FROM 'source'`.
    pub source: Option<String>,
    /// How events are written: `structured` (envelope and data in one JSON object) or `binary` (attributes as headers,
    /// the data alone as value; for brokers and logs). Both are read.
    pub mode: Mode,
    /// How correlation, causation and version are written: `attributes` (extension attributes) or `object` (the
    /// standard's `metadata` object).
    pub metadata: MetadataForm,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One JSON object.
    #[default]
    Structured,
    /// Attributes as headers.
    Binary,
}

/// Which events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Valid under both readings.
    #[default]
    Standard,
    /// Valid under CloudEvents 1.0.2.
    CloudEvents,
    /// Any JSON object.
    None,
}

/// How correlation, causation and version are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataForm {
    /// Extension attributes.
    #[default]
    Attributes,
    /// The standard's `metadata` object.
    Object,
}

impl CloudEventsOptions {
    /// Refuses options that contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        if self.ignore_parse_errors && self.fail_on_missing_field {
            return Err(Error::input(
                "'cloudevents.fail-on-missing-field' and 'cloudevents.ignore-parse-errors' cannot both be true: choose one",
            ));
        }
        if self.mode == Mode::Binary && self.metadata == MetadataForm::Object {
            return Err(Error::input(
                "'cloudevents.metadata'='object' is a part of the envelope, which 'cloudevents.mode'='binary' does not write: choose one",
            ));
        }
        Ok(())
    }

    /// A decoder of the columns of `spec`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        let data = Arc::new(Reading {
            fail_on_missing: self.fail_on_missing_field,
            faults_are_null: self.ignore_parse_errors,
            timestamps: TimestampForm::Flink(self.timestamp_format),
            syntax: Syntax::Json,
        });
        let envelope = Arc::new(Reading { fail_on_missing: false, timestamps: TimestampForm::Rfc3339, ..Reading::clone(&data) });
        let plans = Plans::new(spec, |column: &DecodeColumn| {
            Ok(match &column.from {
                ColumnOrigin::Payload(_) => Origin::Cell(data.clone()),
                ColumnOrigin::Metadata(key) if super::metadata::KEYS.contains(&key.as_str()) => Origin::Beside(key.clone()),
                ColumnOrigin::Metadata(key) => {
                    check_key(column, key)?;
                    Origin::Cell(envelope.clone())
                }
                ColumnOrigin::Change => return Err(no_changes(column)),
                ColumnOrigin::Connector(key) => Origin::Beside((*key).to_owned()),
            })
        })?;
        let find = find::FindEvents::new(spec, &plans, self.validation);
        Ok(Arc::new(LateDecoder::new(spec, plans, find)))
    }
}

/// Refuses what can be no attribute's name.
fn check_key(column: &DecodeColumn, key: &str) -> Result<()> {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    let known = ATTRIBUTES.into_iter().chain(LIFTED.map(|(_, to)| to)).chain(super::metadata::KEYS);
    Err(Error::input(format!(
        "column '{}': '{key}' can be no attribute of an event (lower-case letters and digits only){}",
        column.field.name(),
        did_you_mean(key, known)
    )))
}
