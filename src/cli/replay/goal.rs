//! Where letters go: to what the table of their records reads, or all into one topic of the log.

use std::collections::BTreeMap;

use super::letter::Letter;
use crate::connector::look::Look;
use crate::connector::{kafka, log, rabbitmq, registry};
use crate::engine::Engine;
use crate::error::{Error, Result, did_you_mean};
use crate::sql::catalog::Entry;
use crate::sql::lower;

/// Where a letter goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// To a topic of the embedded log.
    Log(String),
    /// To the topic (or the queue) of a broker that a table names.
    Broker {
        /// The broker, by what says where it is.
        broker: Broker,
        /// The topic or queue.
        topic: String,
    },
}

/// A broker, as the options that lead to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// `kafka` or `rabbitmq`.
    pub connector: String,
    options: BTreeMap<String, String>,
}

impl Goal {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Goal::Log(topic) => format!("topic {topic} of the log"),
            Goal::Broker { broker, topic } if broker.connector == rabbitmq::NAME => format!("queue {topic} of RabbitMQ"),
            Goal::Broker { topic, .. } => format!("topic {topic} of Kafka"),
        }
    }
}

impl Broker {
    /// The broker of this name in `eagre.yaml`.
    pub fn named(engine: &Engine, name: &str) -> Result<Broker> {
        let brokers = &engine.environment().brokers;
        let Some(mut options) = brokers.get(name).cloned() else {
            let near = did_you_mean(name, brokers.keys().map(String::as_str));
            return Err(Error::input(format!("--broker '{name}': there is no such broker under 'brokers' in eagre.yaml{near}")));
        };
        let connector = registry::take_connector(name, &mut options, engine.environment())?;
        Ok(Broker { connector, options })
    }

    /// The way to it.
    pub async fn reach(&self, engine: &Engine) -> Result<Box<dyn Look>> {
        registry::look(&self.connector, &self.options, &engine.environment().base_dir).await
    }
}

/// Where the letters of a table come from.
enum Kind {
    Log { topic: String },
    Kafka(Broker),
    Rabbit { broker: Broker, streams: bool },
}

/// Finds where letters go.
pub struct Goals<'a> {
    engine: &'a Engine,
    /// By table; a table whose letters cannot be sent back says why.
    known: BTreeMap<String, std::result::Result<Kind, String>>,
    /// Where all of them go instead.
    into: Option<Goal>,
}

impl<'a> Goals<'a> {
    /// The goals of a project's letters: all of them `into` this topic of the log, where one is named.
    pub fn new(engine: &'a Engine, into: Option<&str>) -> Self {
        Goals { engine, known: BTreeMap::new(), into: into.map(|topic| Goal::Log(topic.to_owned())) }
    }

    /// Is it a message of a queue, which has no lasting number?
    pub fn is_of_queue(&mut self, letter: &Letter) -> bool {
        matches!(self.kind(&letter.source), Ok(Kind::Rabbit { streams: false, .. }))
    }

    /// The goal of a letter, or why it has none.
    pub fn of(&mut self, letter: &Letter) -> std::result::Result<Goal, String> {
        if letter.offset.is_none() {
            return Err("only the row is left that an operator refused, as JSON, not the bytes of its record".to_owned());
        }
        if let Some(goal) = &self.into {
            return Ok(goal.clone());
        }
        let missing = || "it does not say what its record was read from: --into TOPIC sends it to a topic".to_owned();
        match self.kind(&letter.source) {
            Ok(Kind::Log { topic }) => Ok(Goal::Log(letter.place().map_or(topic.clone(), |(topic, _)| topic.to_owned()))),
            Ok(Kind::Kafka(broker)) => {
                let (topic, _) = letter.place().ok_or_else(missing)?;
                Ok(Goal::Broker { broker: broker.clone(), topic: topic.to_owned() })
            }
            Ok(Kind::Rabbit { broker, .. }) => {
                let topic = letter.origin.clone().ok_or_else(missing)?;
                Ok(Goal::Broker { broker: broker.clone(), topic })
            }
            Err(why) => Err(why.clone()),
        }
    }

    /// Letters that say no table go to the topic that they name, of this broker.
    pub fn without_table(&mut self, source: &str, broker: &Broker) {
        if !matches!(self.engine.catalog().get(source), Some(Entry::Table(_))) {
            self.known.insert(source.to_owned(), Ok(Kind::Kafka(broker.clone())));
        }
    }

    fn kind(&mut self, source: &str) -> &std::result::Result<Kind, String> {
        let engine = self.engine;
        self.known.entry(source.to_owned()).or_insert_with(|| kind_of(engine, source))
    }
}

fn kind_of(engine: &Engine, source: &str) -> std::result::Result<Kind, String> {
    let Some(Entry::Table(table)) = engine.catalog().get(source) else {
        return Err(format!("the project declares no table '{source}': --into TOPIC sends them to a topic"));
    };
    let mut options = lower::connector_options(&table.def);
    let connector = registry::take_connector(source, &mut options, engine.environment()).map_err(|e| e.to_string())?;
    match connector.as_str() {
        log::NAME | log::UPSERT_NAME => Ok(Kind::Log { topic: options.remove("topic").unwrap_or_else(|| source.to_owned()) }),
        kafka::NAME | kafka::UPSERT => Ok(Kind::Kafka(Broker { connector: kafka::NAME.to_owned(), options })),
        rabbitmq::NAME => {
            let streams = options.contains_key("stream");
            Ok(Kind::Rabbit { broker: Broker { connector: rabbitmq::NAME.to_owned(), options }, streams })
        }
        other => Err(format!("what '{other}' reads cannot be written to: --into TOPIC sends them to a topic")),
    }
}

/// A table of the project whose letters are asked for.
pub fn check_table(engine: &Engine, name: &str) -> Result<()> {
    let known: Vec<&str> = engine.graph().nodes.iter().map(|node| node.name.as_str()).collect();
    match known.contains(&name) || engine.catalog().get(name).is_some() {
        true => Ok(()),
        false => Err(Error::input(format!("--source '{name}': the project reads no such table{}", did_you_mean(name, known)))),
    }
}
