//! `rabbitmq`: queues (classic and quorum) and streams of a RabbitMQ broker as sources, its exchanges as sinks.
//!
//! ```text
//!  queue    queue_reader.rs    hands over ─▶ checkpoint confirmed ─▶ acknowledges; redelivery.rs drops what comes again
//!  stream   stream_reader.rs   read from an offset that the checkpoint keeps, as often as one likes
//!  exchange writer.rs          rows ─▶ messages ─▶ a file (outbox.rs: durable, not visible) ─▶ commit publishes it, each confirmed
//!           letters.rs         the same for dead letters: messages as they came, with headers
//! ```
//! Always holds: a message is acknowledged only when a confirmed checkpoint covers it; a message that is published is
//! confirmed and routed to a queue, or it is an error (or goes to the dead-letter exchange). A connection that breaks is
//! opened again in the background (`away.rs`); barriers go on meanwhile. Read `queue_reader.rs` first.

mod asked;
mod away;
mod connection;
mod consume;
mod letters;
pub mod look;
mod management;
mod options;
mod outbox;
mod publisher;
mod queue_reader;
mod records;
mod redelivery;
mod sink;
mod source;
mod stage;
mod stream_reader;
pub mod topology;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use self::options::{RabbitOptions, TableOptions};
use super::Sink;
use super::environment::Environment;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::Result;
use crate::format::FormatConfig;

/// Its name in `'connector'`.
pub const NAME: &str = "rabbitmq";

/// The source of a table.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let format = take_format(&mut request.options)?;
    let options = TableOptions::read(request.options)?;
    let source = source::RabbitSource::new(request.table, &options, env)?;
    Ok(ConfiguredSource { metadata: &records::METADATA, ..ConfiguredSource::new(Arc::new(source), format) })
}

/// The sink of a table.
pub fn sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let format = take_format(&mut request.options)?;
    let options = TableOptions::read(request.options)?.own;
    let schema: SchemaRef = Arc::new(Schema::new(request.columns.to_vec()));
    Ok(Arc::new(sink::RabbitSink::new(request.table, &options, format, schema, env)?))
}

/// The sink that takes the dead letters of a table into `name`: a queue of its broker, or `exchange:…`.
pub fn dead_letters(name: &str, table: &str, options: &BTreeMap<String, String>, env: &Environment) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(letters::LettersSink::new(name, table, &broker_options(options)?, env)?))
}

/// The options of a named broker, which may hold those of tables too.
fn broker_options(options: &BTreeMap<String, String>) -> Result<RabbitOptions> {
    let own = options.iter().filter(|(key, _)| key.as_str() != "connector").map(|(key, value)| (key.clone(), value.clone()));
    let mut own = own.collect();
    take_format(&mut own)?;
    Ok(TableOptions::read(own)?.own)
}

/// Takes the format and its options out of the table's options.
fn take_format(options: &mut BTreeMap<String, String>) -> Result<FormatConfig> {
    let name = options.remove("format").unwrap_or_else(|| "json".to_owned());
    FormatConfig::from_options(&name, options)
}
