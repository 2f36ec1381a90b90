//! `log`: topics of the embedded durable log.
//!
//! ```text
//!  source   reader.rs   a partition each; waits to be woken, never polls; blocks become chunks without a copy
//!  sink     writer.rs   rows ─▶ records ─▶ staged blocks (durable, not visible) ─▶ commit moves them into the topic
//!           letters.rs  the same for dead letters: records as they came, with headers
//! ```
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

use self::options::LogOptions;
use super::registry::{ConfiguredSource, Environment, TableRequest};
use super::{Sink, options as read};
use crate::error::Result;
use crate::format::FormatConfig;
use crate::log::{Log, Topic};

/// Its name in `'connector'`.
pub const NAME: &str = "log";

/// The source of a table.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let format = take_format(&mut request.options)?;
    let options: LogOptions = read::parse(NAME, &request.options)?;
    let source = source::LogSource::new(request.table, options, env)?;
    Ok(ConfiguredSource::new(Arc::new(source), format))
}

/// The sink of a table.
pub fn sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let format = take_format(&mut request.options)?;
    let options: LogOptions = read::parse(NAME, &request.options)?;
    let schema: SchemaRef = Arc::new(Schema::new(request.columns.to_vec()));
    Ok(Arc::new(sink::LogSink::new(request.table, options, format, schema, env)?))
}

/// The sink that takes dead letters into `topic`.
pub fn dead_letters(topic: &str, env: &Environment) -> Arc<dyn Sink> {
    Arc::new(letters::LettersSink::new(topic, env))
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
