//! `log`: topics of the embedded durable log.
//!
//! ```text
//!  source   reader.rs   a partition each; waits to be woken, never polls; blocks become chunks without a copy
//!  sink     writer.rs   rows ─▶ records ─▶ staged blocks (durable, not visible) ─▶ commit moves them into the topic
//!           letters.rs  the same for dead letters: records as they came, with headers
//! ```
//! As `upsert-log` each record is what its key, the PRIMARY KEY, is from then on: a record without a value deletes.
//!
//! Always holds: a position is the offset of the next record; rows become visible with their epoch's commit, once.
//! Read `crate::log` for how the log itself works.

mod letters;
mod options;
mod reader;
mod sink;
mod source;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use self::options::{LogOptions, TableOptions};
use super::Sink;
use super::environment::Environment;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::{Error, Result};
use crate::format::{FormatConfig, KeyRead};
use crate::log::{Log, Topic};

/// Its name in `'connector'`.
pub const NAME: &str = "log";
/// Its name as a topic of upserts.
pub const UPSERT_NAME: &str = "upsert-log";

/// The source of a table.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let format = take_format(&mut request.options)?;
    let options = TableOptions::read(NAME, request.options)?;
    let source = source::LogSource::new(request.table, options, env)?;
    Ok(ConfiguredSource { has_keys: true, ..ConfiguredSource::new(Arc::new(source), format) })
}

/// The sink of a table.
pub fn sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let format = take_format(&mut request.options)?;
    let options = TableOptions::read(NAME, request.options)?.own;
    let schema: SchemaRef = Arc::new(Schema::new(request.columns.to_vec()));
    Ok(Arc::new(sink::LogSink::new(request.table, options, format, schema, env)?))
}

/// The sink that takes dead letters into `topic`.
pub fn dead_letters(topic: &str, env: &Environment) -> Arc<dyn Sink> {
    Arc::new(letters::LettersSink::new(topic, env))
}

/// The source of a table of upserts.
pub fn upsert_source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    key_of(&request)?;
    let (key, value) = take_formats(&mut request.options)?;
    let options = TableOptions::read(UPSERT_NAME, std::mem::take(&mut request.options))?;
    let source = source::LogSource::new(request.table, options, env)?;
    let columns = request.primary_key.iter().map(|name| (name.clone(), name.clone())).collect();
    let key = Some(KeyRead { format: key, columns, upserts: true });
    Ok(ConfiguredSource { key, has_keys: true, ..ConfiguredSource::new(Arc::new(source), value) })
}

/// The sink of a table of upserts.
pub fn upsert_sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let columns = key_of(&request)?;
    let (key, value) = take_formats(&mut request.options)?;
    let options = TableOptions::read(UPSERT_NAME, request.options)?.own;
    let schema: SchemaRef = Arc::new(Schema::new(request.columns.to_vec()));
    Ok(Arc::new(sink::LogSink::new(request.table, options, value, schema, env)?.upserting(columns, key)?))
}

/// The columns of the PRIMARY KEY, which must be there.
fn key_of(request: &TableRequest<'_>) -> Result<Vec<usize>> {
    let fault = |text: String| Error::input(format!("connector '{UPSERT_NAME}': {text}"));
    if request.primary_key.is_empty() {
        return Err(fault(format!("table '{}' needs a PRIMARY KEY (…) NOT ENFORCED: it is the key of the records", request.table)));
    }
    if request.options.contains_key("key.fields") {
        return Err(fault("the key of the records is the PRIMARY KEY; leave out 'key.fields'".to_owned()));
    }
    let place = |name: &String| request.columns.iter().position(|column| column.name() == name);
    let columns = request.primary_key.iter().map(|name| place(name).ok_or_else(|| fault(format!("no column '{name}' for the key"))));
    columns.collect()
}

/// Takes the formats of keys and values: `'key.format'` and `'value.format'`, `json` when missing, with their options as in
/// `'value.json.ignore-parse-errors'`.
fn take_formats(options: &mut BTreeMap<String, String>) -> Result<(FormatConfig, FormatConfig)> {
    let mut take = |part: &str| {
        let name = options.remove(&format!("{part}.format")).unwrap_or_else(|| "json".to_owned());
        FormatConfig::of_part(part, &name, options)
    };
    Ok((take("key")?, take("value")?))
}

/// Takes the format and its options out of the table's options.
fn take_format(options: &mut BTreeMap<String, String>) -> Result<FormatConfig> {
    let name = options.remove("format").unwrap_or_else(|| "json".to_owned());
    FormatConfig::from_options(&name, options)
}

/// The topic that a table's options name, made when it is not there yet.
fn topic(log: &Log, name: &str, options: &LogOptions) -> Result<Topic> {
    log.topic_or_create(name, options.partitions, options.retention)
}

#[cfg(test)]
mod tests;
