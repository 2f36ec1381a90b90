//! A table's options to a configured source or sink: the one place where connectors are known by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use parking_lot::Mutex;

use super::look::Look;
use super::trouble::Troubles;
use super::{Sink, Source, blackhole, datagen, feed, filesystem, kafka, log, nexmark, print, rabbitmq};
use crate::change::Changes;
use crate::error::{Error, Result, did_you_mean};
use crate::format::{ColumnOrigin, DecodeSpec, DecoderRef, FormatConfig, KeyRead};
use crate::log::{Log, check_topic_name};
use crate::metrics::Metrics;

/// Every connector that a table may name. `table` (a live table) is the planner's.
pub const CONNECTORS: [&str; 12] = [
    log::NAME,
    log::UPSERT_NAME,
    kafka::NAME,
    kafka::UPSERT,
    rabbitmq::NAME,
    filesystem::NAME,
    feed::NAME,
    datagen::NAME,
    nexmark::NAME,
    print::NAME,
    blackhole::NAME,
    "table",
];

/// What a connector may use from its surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Relative paths start here.
    pub base_dir: PathBuf,
    /// The data directory, `.eagre` unless told otherwise.
    pub data_dir: PathBuf,
    /// The embedded log, opened on first use.
    pub log: LogHandle,
    /// Rows handed over by the embedding program.
    pub feeds: feed::Feeds,
    /// Named brokers: the options of tables that say `'broker' = 'name'`.
    pub brokers: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// What is wrong though work goes on: brokers that are away.
    pub troubles: Troubles,
    /// The transactions of Kafka sinks.
    pub kafka: kafka::Groups,
    /// Counters.
    pub metrics: Metrics,
    /// The run that the connectors work for.
    pub run: RunInfo,
}

impl Environment {
    /// The surroundings of `pipeline`, whose log lies in `data_dir`.
    pub fn new(base_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>, pipeline: impl Into<String>) -> Self {
        let data_dir = data_dir.into();
        let log = LogHandle::new(data_dir.join("log"));
        Environment {
            base_dir: base_dir.into(),
            data_dir,
            log,
            feeds: feed::Feeds::default(),
            brokers: Arc::default(),
            troubles: Troubles::default(),
            kafka: kafka::Groups::default(),
            metrics: Metrics::default(),
            run: RunInfo { pipeline: pipeline.into(), unbounded: true },
        }
    }
}

/// The embedded log of a data directory. Clones open it once between them.
#[derive(Debug, Clone)]
pub struct LogHandle {
    dir: PathBuf,
    log: Arc<Mutex<Option<Log>>>,
}

impl LogHandle {
    /// The log in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        LogHandle { dir: dir.into(), log: Arc::default() }
    }

    /// A log that is open already.
    pub fn opened(log: Log) -> Self {
        LogHandle { dir: log.dir().to_owned(), log: Arc::new(Mutex::new(Some(log))) }
    }

    /// Where the log lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log; the first call opens it (or makes it) and holds it for this process. Errors as of [`Log::open`].
    pub fn open(&self) -> Result<Log> {
        let mut log = self.log.lock();
        match &*log {
            Some(log) => Ok(log.clone()),
            None => Ok(log.insert(Log::open(&self.dir)?).clone()),
        }
    }
}

/// The run that connectors work for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Id of the pipeline: project name or file stem.
    pub pipeline: String,
    /// May sources go on for ever? `false` for a query over what is stored now: the log then ends where it ends at the start.
    pub unbounded: bool,
}

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

/// The source that a table declares. Touches nothing outside.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    match take_connector(request.table, &mut request.options, env)?.as_str() {
        filesystem::NAME => filesystem::source(request, env),
        log::NAME => log::source(request, env),
        log::UPSERT_NAME => log::upsert_source(request, env),
        rabbitmq::NAME => rabbitmq::source(request, env),
        kafka::NAME => kafka::source(kafka::NAME, request, env),
        kafka::UPSERT => kafka::source(kafka::UPSERT, request, env),
        feed::NAME => feed::source(request, env),
        datagen::NAME => datagen::source(&request),
        nexmark::NAME => nexmark::source(&request),
        name @ (print::NAME | blackhole::NAME) => Err(only(name, "written to", request.table)),
        other => Err(unknown(other)),
    }
}

/// The sink that a table declares. Touches nothing outside.
pub fn sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    match take_connector(request.table, &mut request.options, env)?.as_str() {
        filesystem::NAME => filesystem::sink(request, env),
        log::NAME => log::sink(request, env),
        log::UPSERT_NAME => log::upsert_sink(request, env),
        rabbitmq::NAME => rabbitmq::sink(request, env),
        kafka::NAME => kafka::sink(kafka::NAME, request, env),
        kafka::UPSERT => kafka::sink(kafka::UPSERT, request, env),
        print::NAME => print::sink(&request),
        name @ (feed::NAME | datagen::NAME | nexmark::NAME) => Err(only(name, "read", request.table)),
        blackhole::NAME => blackhole::sink(&request),
        other => Err(unknown(other)),
    }
}

/// The sink of the dead letters that a table sends to `name` (`'dead-letter'='name'`): a topic where the table itself is,
/// of its Kafka cluster, a queue of its RabbitMQ broker, else a topic of the embedded log. `log:name` is one of the
/// embedded log and `shop:name` one of the broker that `eagre.yaml` calls `shop`, wherever the table is. It takes records
/// as they came, with what is known of them as headers. Touches nothing outside.
pub fn dead_letters(name: &str, mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let connector = take_connector(request.table, &mut request.options, env)?;
    let (at, topic) = name.split_once(':').map_or((None, name), |(at, topic)| (Some(at), topic));
    if let Some(broker) = at.and_then(|at| env.brokers.get(at)) {
        let connector = broker.get("connector").map_or("", String::as_str);
        return letters_at(connector, topic, request.table, broker.clone(), env);
    }
    if at == Some(log::NAME) || ![kafka::NAME, kafka::UPSERT, rabbitmq::NAME].contains(&connector.as_str()) {
        let topic = if at == Some(log::NAME) { topic } else { name };
        let reads_log = [log::NAME, log::UPSERT_NAME].contains(&connector.as_str());
        if reads_log && request.options.get("topic").map_or(request.table, String::as_str) == topic {
            return Err(own_topic(request.table, topic));
        }
        check_letters_name(topic, request.table, env)?;
        return Ok(log::dead_letters(topic, env));
    }
    letters_at(&connector, name, request.table, request.options, env)
}

/// Is it a name that a topic of dead letters may have, in the log or in Kafka?
pub(super) fn check_letters_name(topic: &str, table: &str, env: &Environment) -> Result<()> {
    check_topic_name(topic).map_err(|fault| {
        let near = did_you_mean(topic.split(':').next().unwrap_or_default(), env.brokers.keys().map(String::as_str));
        let hint = "a topic elsewhere is 'broker:topic', with a broker of eagre.yaml";
        Error::input(format!("table '{table}': dead letters: {}; {hint}{near}", fault.message()))
    })
}

/// The sink of dead letters of `table` at the broker of these options.
fn letters_at(connector: &str, name: &str, table: &str, options: BTreeMap<String, String>, env: &Environment) -> Result<Arc<dyn Sink>> {
    match connector {
        kafka::NAME | kafka::UPSERT => kafka::dead_letters(name, table, &options, env),
        rabbitmq::NAME => rabbitmq::dead_letters(name, table, &options, env),
        other => Err(unknown(other)),
    }
}

/// A table whose dead letters came back as its own records would never end.
pub(super) fn own_topic(table: &str, topic: &str) -> Error {
    Error::input(format!("table '{table}': its dead letters cannot go to its own topic '{topic}'; name another"))
}

/// Takes the connector's name out of a table's options, to which those of its named broker (`'broker'`) are added.
pub fn take_connector(table: &str, options: &mut BTreeMap<String, String>, env: &Environment) -> Result<String> {
    if let Some(name) = options.remove("broker") {
        let Some(broker) = env.brokers.get(&name) else {
            let near = did_you_mean(&name, env.brokers.keys().map(String::as_str));
            return Err(Error::input(format!("table '{table}': there is no broker '{name}' under 'brokers' in eagre.yaml{near}")));
        };
        for (key, value) in broker {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    options
        .remove("connector")
        .ok_or_else(|| Error::input(format!("table '{table}' has no option 'connector'; there are {}", CONNECTORS.join(", "))))
}

/// A look into the broker that these options (of a table, or of a named broker) lead to; its files lie in `base_dir`.
pub async fn look(connector: &str, options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Box<dyn Look>> {
    match connector {
        kafka::NAME | kafka::UPSERT => Ok(Box::new(kafka::look::KafkaLook::new(options)?)),
        rabbitmq::NAME => Ok(Box::new(rabbitmq::look::RabbitLook::connect(options, base_dir).await?)),
        other => Err(Error::input(format!("connector '{other}' has no broker to look into; {} and {} have", kafka::NAME, rabbitmq::NAME))),
    }
}

fn unknown(name: &str) -> Error {
    match did_you_mean(name, CONNECTORS) {
        near if near.is_empty() => Error::input(format!("unknown connector '{name}'; there are {}", CONNECTORS.join(", "))),
        near => Error::input(format!("unknown connector '{name}'{near}")),
    }
}

fn only(connector: &str, done: &str, table: &str) -> Error {
    Error::input(format!("table '{table}': connector '{connector}' can only be {done}"))
}

#[cfg(test)]
mod tests {
    use super::Environment;
    use crate::connector::contract::source_of;

    #[test]
    fn a_slip_in_an_option_that_all_sources_share_is_told_with_its_name() {
        let env = Environment::new("/nowhere", "/nowhere", "p");
        let tables: [&[(&str, &str)]; 5] = [
            &[("connector", "log")],
            &[("connector", "filesystem"), ("path", "x"), ("format", "json")],
            &[("connector", "rabbitmq"), ("uri", "amqp://box"), ("queue", "q")],
            &[("connector", "kafka"), ("topic", "t"), ("format", "json"), ("properties.bootstrap.servers", "box:1")],
            &[("connector", "feed")],
        ];
        for table in tables {
            for (slip, meant) in [
                ("format.on-eror", "format.on-error"),
                ("dead-letter.orderd", "dead-letter.ordered"),
                ("scan.watermark.idle-timeot", "scan.watermark.idle-timeout"),
                ("scan.idle-timeot", "scan.watermark.idle-timeout"),
            ] {
                let told = source_of(&[table, &[(slip, "1")]].concat(), &env).unwrap_err().to_string();
                assert!(told.ends_with(&format!("unknown option '{slip}'; did you mean '{meant}'?")), "{told}");
            }
        }
    }
}
