//! A table as its connector sees it, and what the connector makes of one that is read: a source with the format of its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};

use super::Source;
use crate::change::Changes;
use crate::error::{Error, Result};
use crate::format::{ColumnOrigin, DecodeSpec, DecoderRef, FormatConfig, KeyRead};

/// A table as its connector sees it.
#[derive(Debug, Clone)]
pub struct TableRequest<'a> {
    /// The table's name.
    pub table: &'a str,
    /// `connector`, `format` and the connector's and format's options; those of the planner (`scan.watermark.*`,
    /// `format.on-error`, `dead-letter`) are already taken out.
    pub options: BTreeMap<String, String>,
    /// Physical and metadata columns in declared order.
    pub columns: &'a [FieldRef],
    /// PRIMARY KEY, or empty.
    pub primary_key: &'a [String],
}

/// A source with the format of what it reads.
#[derive(Debug, Clone)]
pub struct ConfiguredSource {
    /// Where the chunks come from.
    pub source: Arc<dyn Source>,
    /// What they hold.
    pub format: FormatConfig,
    /// What the keys of their records tell, where they are read, and whether the records are upserts.
    pub key: Option<KeyRead>,
    /// Metadata that only this connector knows: keys, and the types of their columns.
    pub metadata: &'static [(&'static str, DataType)],
    /// Its records have keys, whether the table reads them or not: records of one key keep their order.
    pub has_keys: bool,
}

impl ConfiguredSource {
    /// A source whose records are read by `format` alone.
    pub fn new(source: Arc<dyn Source>, format: FormatConfig) -> Self {
        ConfiguredSource { source, format, key: None, metadata: &[], has_keys: false }
    }

    /// What the rows do to those before them: declared here, so that planning can keep account of it.
    pub fn changes(&self) -> Changes {
        match &self.key {
            Some(key) if key.upserts => Changes::Upserts,
            _ => self.format.changes(),
        }
    }

    /// A decoder of the columns of `spec`.
    pub fn decoder(&self, mut spec: DecodeSpec) -> Result<DecoderRef> {
        self.own_metadata(&mut spec)?;
        match &self.key {
            Some(key) => key.decoder(&self.format, &spec),
            None => self.format.decoder(spec),
        }
    }

    /// Says of the columns that `spec` asks for which are the connector's own. Refused: a type that does not suit.
    fn own_metadata(&self, spec: &mut DecodeSpec) -> Result<()> {
        for column in spec.first.iter_mut().chain(&mut spec.rest) {
            let ColumnOrigin::Metadata(key) = &column.from else { continue };
            let Some((key, wanted)) = self.metadata.iter().find(|(name, _)| name == key) else { continue };
            let text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::Utf8View);
            let given = column.field.data_type();
            if given != wanted && !(text(given) && text(wanted)) {
                let name = column.field.name();
                return Err(Error::input(format!("column '{name}': the metadata '{key}' is {wanted}, not {given}")));
            }
            column.from = ColumnOrigin::Connector(key);
        }
        Ok(())
    }
}
