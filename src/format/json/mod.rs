//! JSON: one object a record.
//!
//! Reading is two steps: [`layout`] walks over the bytes and notes where the wanted values stand, `column` makes Arrow
//! columns of them. What nobody reads is passed over, sixteen bytes at a step ([`scan`]). Writing is [`encode`].
//!
//! A record is refused when it is not one well-delimited JSON object, or when a value that is read does not fit its
//! type. Faults inside of values that nobody reads may pass. A key given twice has its last value; a missing field and
//! `null` are NULL.

mod block;
pub(crate) mod encode;
mod find;
pub(crate) mod layout;
pub(crate) mod scan;
pub(crate) mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::layout::{Layout, Others};
use super::column::{Reading, Syntax, TimestampForm};
use super::late::{LateDecoder, Plans, payload_or_beside};
use super::{ColumnOrigin, DecodeSpec, DecoderRef};
use crate::error::{Error, Result};
use crate::time::text::TimestampFormat;

pub(crate) use find::FindJson;

/// Options of `'format'='json'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JsonOptions {
    /// A record that is no JSON object is skipped, and a value that does not fit its column becomes NULL, instead of
    /// being refused.
    pub ignore_parse_errors: bool,
    /// A record that lacks a field of the table is refused; else the field is NULL.
    pub fail_on_missing_field: bool,
    /// How timestamps are written: `SQL` (`2024-01-31 12:00:00.123`) or `ISO-8601` (`2024-01-31T12:00:00.123`).
    #[serde(rename = "timestamp-format.standard")]
    pub timestamp_format: TimestampFormat,
    /// DECIMAL is written in full, never as `1E-8`.
    #[serde(rename = "encode.decimal-as-plain-number")]
    pub decimal_as_plain_number: bool,
    /// Fields that are NULL are left out when writing.
    #[serde(rename = "encode.ignore-null-fields")]
    pub ignore_null_fields: bool,
    /// Accepted for files written for Flink: what becomes of a MAP entry whose key is NULL. There is no such key here.
    #[serde(rename = "map-null-key.mode")]
    pub map_null_key_mode: MapNullKey,
    /// Accepted for files written for Flink: the key that stands for NULL in `LITERAL` mode.
    #[serde(rename = "map-null-key.literal")]
    pub map_null_key_literal: String,
    /// Accepted for files written for Flink, where it chooses between two parsers; there is one here.
    #[serde(rename = "decode.json-parser.enabled")]
    pub json_parser: bool,
}

/// What becomes of a MAP entry whose key is NULL, in Flink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MapNullKey {
    /// Writing fails.
    #[default]
    Fail,
    /// The entry is left out.
    Drop,
    /// The key is the literal of the options.
    Literal,
}

impl Default for JsonOptions {
    fn default() -> Self {
        JsonOptions {
            ignore_parse_errors: false,
            fail_on_missing_field: false,
            timestamp_format: TimestampFormat::default(),
            decimal_as_plain_number: false,
            ignore_null_fields: false,
            map_null_key_mode: MapNullKey::default(),
            map_null_key_literal: "null".to_owned(),
            json_parser: true,
        }
    }
}

impl JsonOptions {
    /// Refuses options that contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        if self.ignore_parse_errors && self.fail_on_missing_field {
            return Err(Error::input("'json.fail-on-missing-field' and 'json.ignore-parse-errors' cannot both be true: choose one"));
        }
        Ok(())
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading {
            fail_on_missing: self.fail_on_missing_field,
            faults_are_null: self.ignore_parse_errors,
            timestamps: TimestampForm::Flink(self.timestamp_format),
            syntax: Syntax::Json,
        }
    }

    /// A decoder of the columns of `spec`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        let reading = Arc::new(self.reading());
        let plans = Plans::new(spec, |column| payload_or_beside(column, &reading))?;
        let wanted: Vec<_> = plans
            .cells(spec)
            .filter_map(|planned| match &planned.column.from {
                ColumnOrigin::Payload(name) => Some(planned.plan.wanted(name)),
                ColumnOrigin::Metadata(_) | ColumnOrigin::Connector(_) | ColumnOrigin::Change => None,
            })
            .collect();
        let find = FindJson::new(Layout::new(&wanted, Others::Skip), plans.slots);
        Ok(Arc::new(LateDecoder::new(spec, plans, find)))
    }
}

#[cfg(test)]
mod encode_tests;
#[cfg(test)]
mod tests;
