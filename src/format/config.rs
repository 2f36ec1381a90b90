//! A table's `'format'` and its options.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::{DecodeSpec, DecoderRef, Encoder};
use crate::error::{Error, Result};

/// A format with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum FormatConfig {
    /// The connector hands over columns itself (parquet, generators).
    Rows,
    /// A format of bytes, by name.
    Bytes(String),
}

impl FormatConfig {
    /// Reads the format's options, removing them from `options`.
    pub fn from_options(format: &str, options: &mut BTreeMap<String, String>) -> Result<FormatConfig> {
        options.retain(|key, _| !key.starts_with(format));
        Ok(FormatConfig::Bytes(format.to_owned()))
    }

    /// The decoder for the columns that a scan needs.
    pub fn decoder(&self, spec: DecodeSpec) -> Result<DecoderRef> {
        Err(Error::input(format!("no decoder for {self:?} and {} columns", spec.first.len() + spec.rest.len())))
    }

    /// The encoder for rows of `schema`.
    pub fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(Error::input(format!("no encoder for {self:?} and {} columns", schema.fields().len())))
    }
}
