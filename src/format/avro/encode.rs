//! Rows as Avro records; with a registry each begins with the id of its schema, which is registered at the first row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_avro::schema::{FingerprintStrategy, SCHEMA_METADATA_KEY};
use arrow_avro::writer::format::{AvroBinaryFormat, AvroSoeFormat};
use arrow_avro::writer::{Encoder, WriterBuilder};

use super::registry::Registry;
use crate::error::{Error, Kind, Result};
use crate::format::records::{EncodeValues, Values};

/// Writes rows.
#[derive(Debug)]
pub(super) struct AvroValues {
    /// The columns, and in its metadata the Avro schema.
    schema: SchemaRef,
    text: String,
    registry: Option<(Registry, String)>,
    /// Made at the first row: a sink that is only described touches nothing outside.
    encoder: Option<Encoder>,
}

impl AvroValues {
    /// Writes rows of `schema` by the Avro schema `text`; `registry`: where it is registered, and under which subject.
    pub(super) fn new(schema: &SchemaRef, text: String, registry: Option<(Registry, String)>) -> Result<AvroValues> {
        let fields = schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()));
        let metadata = [(SCHEMA_METADATA_KEY.to_owned(), text.clone())].into();
        let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
        Ok(AvroValues { schema, text, registry, encoder: None })
    }

    fn make(&self) -> Result<Encoder> {
        let builder = WriterBuilder::new(self.schema.as_ref().clone());
        let made = match &self.registry {
            None => builder.build_encoder::<AvroBinaryFormat>(),
            Some((registry, subject)) => {
                let id = registry.register(subject, &self.text)?;
                builder.with_fingerprint_strategy(FingerprintStrategy::Id(id)).build_encoder::<AvroSoeFormat>()
            }
        };
        made.map_err(|error| Error::input(format!("the columns cannot be written as Avro: {error}")))
    }
}

impl EncodeValues for AvroValues {
    fn encode_values(&mut self, rows: &RecordBatch, out: &mut Values) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let made = match self.encoder.take() {
            Some(encoder) => encoder,
            None => self.make()?,
        };
        let encoder = self.encoder.insert(made);
        let rows = RecordBatch::try_new(self.schema.clone(), rows.columns().to_vec())?;
        encoder.encode(&rows).map_err(|error| Error::new(Kind::Row, format!("no Avro record: {error}")))?;
        let encoded = encoder.flush();
        let shift = out.data.len();
        out.data.extend_from_slice(encoded.bytes());
        out.bounds.extend(encoded.offsets().windows(2).map(|ends| Some(ends[0] + shift..ends[1] + shift)));
        Ok(())
    }
}
