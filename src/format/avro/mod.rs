//! Avro: binary records of a log or broker.
//!
//! ```text
//!  avro             <body>                        the writer's schema is that of the table
//!  avro-confluent   0 │ schema id (4 bytes) │ <body>   the writer's schema is in a registry, under its id
//! ```
//! Whole runs of records with one writer's schema are decoded straight to Arrow; columns, and fields of rows in them, are
//! then picked by name and made to fit those of the table (`fit.rs`). So the table may have fewer columns, wider types, and
//! columns that the writer does not know (NULL, or the default that the reader's schema gives them). When a run fails its
//! records are decoded one by one, and only the faulty ones are refused.

mod decode;
mod encode;
mod fit;
mod registry;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_avro::schema::AvroSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::decode::{AvroDecoder, Writers};
use self::encode::AvroValues;
use self::registry::{Registry, Tls};
use super::records::EncodeValues;
use super::{DecodeSpec, DecoderRef};
use crate::error::{Error, Result};

/// Options of `'format'='avro'`: there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AvroOptions {}

/// Options of `'format'='avro-confluent'`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AvroConfluentOptions {
    /// The schema registry: `http://host:8081` or `https://host:8081`. Needed.
    pub url: Option<String>,
    /// The subject under which the schema of what is written is registered. Needed to write; with Kafka usually
    /// `<topic>-value`.
    pub subject: Option<String>,
    /// The reader's schema, as JSON: read by it, writers' records get its defaults where they lack a field, its aliases
    /// and its promotions. Written by it, it is the schema that is registered. When missing it is that of the table, whose
    /// columns default to NULL.
    pub schema: Option<String>,
    /// HTTPS: certificates (PEM) of those who sign for the registry, beside the system's.
    #[serde(rename = "ssl.truststore.location")]
    pub truststore: Option<PathBuf>,
    /// HTTPS: our own certificate chain and its private key (PEM, in one file), where the registry asks for one.
    #[serde(rename = "ssl.keystore.location")]
    pub keystore: Option<PathBuf>,
    /// Where name and password for the registry come from: `USER_INFO` (the option below) or `URL` (`http://name:password@host`).
    #[serde(rename = "basic-auth.credentials-source")]
    pub credentials_source: Option<Credentials>,
    /// `name:password`.
    #[serde(rename = "basic-auth.user-info")]
    pub user_info: Option<String>,
}

/// Where name and password come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Credentials {
    /// The option `basic-auth.user-info`.
    #[serde(rename = "USER_INFO")]
    UserInfo,
    /// The URL.
    Url,
}

impl AvroOptions {
    /// A decoder of the columns of `spec`; what was written has the columns `table`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        // Without the writer's schema the bytes of an unread column cannot even be passed over.
        let schema = Schema::new(spec.payload.clone());
        Ok(Arc::new(AvroDecoder::new(spec, Writers::Table(schema_text(&schema)?), None)?))
    }

    /// Writes the values of records.
    pub(crate) fn values(&self, schema: &SchemaRef) -> Result<Box<dyn EncodeValues>> {
        Ok(Box::new(AvroValues::new(schema, schema_text(schema)?, None)?))
    }
}

impl AvroConfluentOptions {
    /// Refuses options that are not whole.
    pub(crate) fn check(&self) -> Result<()> {
        self.reader()?;
        self.registry().map(|_| ())
    }

    /// The reader's schema.
    fn reader(&self) -> Result<Option<Value>> {
        let Some(text) = &self.schema else { return Ok(None) };
        let fault = |what: String| Error::input(format!("'avro-confluent.schema' {what}"));
        let schema: Value = serde_json::from_str(text).map_err(|e| fault(format!("is no JSON: {e}")))?;
        match schema.get("fields").and_then(Value::as_array) {
            Some(_) => Ok(Some(schema)),
            None => Err(fault("is no record: it has no \"fields\"".to_owned())),
        }
    }

    fn registry(&self) -> Result<Registry> {
        let url =
            self.url.as_ref().ok_or_else(|| Error::input("'format'='avro-confluent' needs 'avro-confluent.url', the schema registry"))?;
        let user_info = match (self.credentials_source, &self.user_info) {
            (Some(Credentials::UserInfo), None) => {
                return Err(Error::input(
                    "'avro-confluent.basic-auth.credentials-source'='USER_INFO' needs 'avro-confluent.basic-auth.user-info' (name:password)",
                ));
            }
            (Some(Credentials::Url), _) => None,
            (_, user_info) => user_info.clone(),
        };
        Registry::new(url, user_info, Tls::read(self.truststore.as_deref(), self.keystore.as_deref())?)
    }

    /// A decoder of the columns of `spec`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        Ok(Arc::new(AvroDecoder::new(spec, Writers::Registry(self.registry()?), self.reader()?)?))
    }

    /// Writes the values of records.
    pub(crate) fn values(&self, schema: &SchemaRef) -> Result<Box<dyn EncodeValues>> {
        let subject = self.subject.clone().ok_or_else(|| {
            Error::input(
                "writing 'format'='avro-confluent' needs 'avro-confluent.subject', under which its schema is registered ('<topic>-value')",
            )
        })?;
        let text = self.schema.clone().map_or_else(|| schema_text(schema), Ok)?;
        Ok(Box::new(AvroValues::new(schema, text, Some((self.registry()?, subject)))?))
    }
}

/// The Avro schema of these columns, named as Flink names it.
fn schema_text(schema: &Schema) -> Result<String> {
    let bare = schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()));
    let named = [("avro.name", "record"), ("avro.namespace", "org.apache.flink.avro.generated")];
    let metadata = named.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let schema = Schema::new_with_metadata(bare.collect::<Vec<_>>(), metadata);
    let avro = AvroSchema::try_from(&schema).map_err(|error| Error::input(format!("the columns cannot be written as Avro: {error}")))?;
    Ok(avro.json_string)
}
