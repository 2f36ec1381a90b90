//! A table's options to a configured source or sink: the one place where connectors are known by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::environment::Environment;
use super::letters::{check_letters_name, own_topic};
use super::look::Look;
use super::table::{ConfiguredSource, TableRequest};
use super::{Sink, blackhole, datagen, feed, filesystem, kafka, log, nexmark, print, rabbitmq};
use crate::error::{Error, Result, did_you_mean};

/// The connector of live tables, which pipelines write and queries read.
pub const TABLE: &str = "table";

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
    TABLE,
];

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
        TABLE => Err(only(TABLE, "written by pipelines and read by queries; a pipeline reads a materialized view", request.table)),
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

/// The sink of dead letters of `table` at the broker of these options.
fn letters_at(connector: &str, name: &str, table: &str, options: BTreeMap<String, String>, env: &Environment) -> Result<Arc<dyn Sink>> {
    match connector {
        kafka::NAME | kafka::UPSERT => kafka::dead_letters(name, table, &options, env),
        rabbitmq::NAME => rabbitmq::dead_letters(name, table, &options, env),
        other => Err(unknown(other)),
    }
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
    use crate::connector::contract::source_of;
    use crate::connector::environment::Environment;

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
