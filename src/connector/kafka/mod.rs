//! `kafka` and `upsert-kafka`: topics of an Apache Kafka cluster, through librdkafka.
//!
//! ```text
//!  source   topics.rs        which topics and partitions there are, also while running
//!           fetch.rs         a partition's queue ─▶ one chunk: one copy of the bytes that records need
//!           reader.rs        offsets, ends, gaps left by retention
//!  sink     writer.rs        rows ─▶ records ─▶ producer.rs
//!           letters.rs       the same for dead letters: records as they came, with headers
//!           transactions.rs  exactly once: one transaction per checkpoint for all Kafka sinks of a pipeline
//!           marker.rs        the epoch committed last, in the transaction itself
//!  both     client.rs        `properties.*`, what clusters say, how long they are asked
//!  people   admin.rs         topics and their settings (incremental.rs), for topology.rs (what is wanted of them) and look.rs
//! ```
//! Always holds: partitions are assigned by us, and a position is the offset of the next record; the group of
//! `properties.group.id` is only told. Rows of an exactly-once sink are visible to readers of committed records with
//! their checkpoint, once.

mod admin;
mod client;
mod fetch;
mod incremental;
mod letters;
pub mod look;
mod marker;
mod options;
mod producer;
mod properties;
mod reader;
mod sink;
mod source;
mod topics;
pub mod topology;
pub mod transactions;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::client::{Properties, fault};
use self::options::{KafkaOptions, TableOptions, ValueFields};
use super::Sink;
use super::environment::Environment;
use super::letters::{check_letters_name, own_topic};
use super::options::parts;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::{Error, Result, did_you_mean};
use crate::format::{FormatConfig, KeyRead};

/// Its name in `'connector'`.
pub const NAME: &str = "kafka";
/// Its name where the records are upserts by their keys.
pub const UPSERT: &str = "upsert-kafka";

/// What the options of a named broker say of its cluster. They may hold those of tables, too.
fn broker_options(options: &BTreeMap<String, String>) -> Result<(Properties, KafkaOptions)> {
    let mut own = options.clone();
    own.remove("connector");
    if own.contains_key("format") || own.contains_key("value.format") {
        take_formats(&mut own)?;
    }
    let properties = Properties::take(&mut own)?;
    Ok((properties, TableOptions::read(NAME, own)?.own))
}

/// The formats of a table's records.
struct Formats {
    value: FormatConfig,
    key: Option<FormatConfig>,
}

/// Takes the formats and their options out of the table's options.
fn take_formats(options: &mut BTreeMap<String, String>) -> Result<Formats> {
    let value = match (options.remove("value.format"), options.remove("format")) {
        (Some(_), Some(_)) => return Err(fault("'format' and 'value.format' say the same: give one of them")),
        (Some(name), None) => FormatConfig::of_part("value", &name, options)?,
        (None, Some(name)) => FormatConfig::from_options(&name, options)?,
        (None, None) => return Err(fault("the option 'format' (or 'value.format') is missing")),
    };
    let key = match options.remove("key.format") {
        Some(name) => Some(FormatConfig::of_part("key", &name, options)?),
        None => None,
    };
    Ok(Formats { value, key })
}

/// Columns of the key by their place among `columns`.
fn key_columns(request: &TableRequest<'_>, connector: &str, options: &KafkaOptions) -> Result<Vec<usize>> {
    let find = |what: &str, name: &str| {
        request.columns.iter().position(|column| column.name() == name).ok_or_else(|| {
            let near = did_you_mean(name, request.columns.iter().map(|column| column.name().as_str()));
            fault(format!("{what}: no column '{name}' in {}{near}", request.table))
        })
    };
    if connector == UPSERT {
        if options.key_fields.is_some() {
            return Err(fault("'upsert-kafka' takes the key from PRIMARY KEY; 'key.fields' is for 'kafka'"));
        }
        if request.primary_key.is_empty() {
            return Err(fault("'upsert-kafka' needs PRIMARY KEY (…) NOT ENFORCED: it is the key of the records"));
        }
        return request.primary_key.iter().map(|name| find("PRIMARY KEY", name)).collect();
    }
    parts(options.key_fields.as_deref().unwrap_or_default()).map(|name| find("option 'key.fields'", name)).collect()
}

/// The names of the key's fields, without the prefix that they have in the table.
fn key_names(request: &TableRequest<'_>, columns: &[usize], options: &KafkaOptions) -> Result<Option<Vec<String>>> {
    let Some(prefix) = &options.key_fields_prefix else { return Ok(None) };
    if options.value_fields != ValueFields::ExceptKey {
        return Err(fault("'key.fields-prefix' needs 'value.fields-include' = 'EXCEPT_KEY': the value would have prefixed columns, too"));
    }
    let stripped = columns.iter().map(|at| {
        let name = request.columns[*at].name();
        let bare = name.strip_prefix(prefix.as_str());
        bare.map(str::to_owned)
            .ok_or_else(|| fault(format!("column '{name}' of the key does not begin with 'key.fields-prefix' = '{prefix}'")))
    });
    stripped.collect::<Result<_>>().map(Some)
}

/// Key columns and key format go together.
fn check_key(connector: &str, columns: &[usize], key: Option<&FormatConfig>) -> Result<(), Error> {
    match (columns.is_empty(), key) {
        (true, Some(_)) => Err(fault("'key.format' needs 'key.fields'")),
        (false, None) if connector == UPSERT => Err(fault("'upsert-kafka' needs 'key.format'")),
        (false, None) => Err(fault("'key.fields' needs 'key.format'")),
        _ => Ok(()),
    }
}

/// What is read from the keys.
fn key_read(request: &TableRequest<'_>, connector: &str, format: FormatConfig, columns: &[usize], names: Option<Vec<String>>) -> KeyRead {
    let own: Vec<String> = columns.iter().map(|at| request.columns[*at].name().clone()).collect();
    let in_key = names.unwrap_or_else(|| own.clone());
    KeyRead { format, columns: own.into_iter().zip(in_key).collect(), upserts: connector == UPSERT }
}

/// The source of a table.
pub fn source(connector: &'static str, mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let formats = take_formats(&mut request.options)?;
    let properties = Properties::take(&mut request.options)?;
    let says_where = request.options.contains_key("scan.startup.mode");
    let mut options = TableOptions::read(connector, std::mem::take(&mut request.options))?;
    let columns = key_columns(&request, connector, &options.own)?;
    check_key(connector, &columns, formats.key.as_ref())?;
    let names = key_names(&request, &columns, &options.own)?;
    if connector == UPSERT && !says_where {
        // A table is all of its records.
        options.beginning.mode = options::Startup::EarliestOffset;
    }
    let source = Arc::new(source::KafkaSource::new(connector, request.table, options, properties, env)?);
    let key = formats.key.map(|format| key_read(&request, connector, format, &columns, names));
    Ok(ConfiguredSource { key, has_keys: true, metadata: &reader::METADATA, ..ConfiguredSource::new(source, formats.value) })
}

/// The sink of a table.
pub fn sink(connector: &'static str, mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let formats = take_formats(&mut request.options)?;
    let properties = Properties::take(&mut request.options)?;
    let options = TableOptions::read(connector, std::mem::take(&mut request.options))?.own;
    let columns = key_columns(&request, connector, &options)?;
    check_key(connector, &columns, formats.key.as_ref())?;
    let names = key_names(&request, &columns, &options)?;
    let spec = sink::record_spec(&request, connector, &formats, columns, names, &options);
    Ok(Arc::new(sink::KafkaSink::new(connector, request.table, options, properties, formats.value, spec, env)?))
}

/// The sink that takes the dead letters of a table into `topic` of its cluster.
pub fn dead_letters(topic: &str, table: &str, options: &BTreeMap<String, String>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let (properties, options) = broker_options(options)?;
    check_letters_name(topic, table, env)?;
    let reads = options.topic.is_some() || options.topic_pattern.is_some();
    if reads && topics::Topics::new(&options)?.names(topic) {
        return Err(own_topic(table, topic));
    }
    Ok(Arc::new(letters::LettersSink::new(topic, table, options, &properties, env)?))
}

#[cfg(test)]
mod tests;
