//! The project's `topics.yaml` with the brokers that its documents belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::log::Topics;
use crate::connector::kafka::topology::{KafkaTopology, Wanted as WantedTopic};
use crate::connector::rabbitmq::topology::{self as rabbit, RabbitTopology};
use crate::connector::topology::{Change, Permit, Step, Topology};
use crate::connector::{kafka, rabbitmq};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::log::{Declared, TopicFigures};
use crate::project::topology::{self, At, Document, LOG, TOPICS_FILE};
use crate::project::{Brokers, Project};
use crate::time::Length;

/// Connectors of a Kafka.
pub const KAFKA: &[&str] = &[kafka::NAME, kafka::UPSERT];
/// Connectors of a RabbitMQ.
pub const RABBITMQ: &[&str] = &[rabbitmq::NAME];

/// The documents of a project, and its named brokers.
pub struct Declarations {
    /// The documents.
    pub documents: Vec<Document>,
    brokers: Brokers,
    project: PathBuf,
    /// The file, for people.
    file: String,
}

impl Declarations {
    /// Reads those of the project folder.
    pub fn of(project: &Path) -> Result<Self> {
        let path = project.join(TOPICS_FILE);
        let file = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| Error::unreachable(format!("reading '{file}'")).because(e))?;
        let documents = topology::read(&text, &file)?;
        Ok(Declarations { documents, brokers: brokers_of(project)?, project: project.to_owned(), file })
    }

    /// What each broker is to be, with what differs known when asked.
    pub async fn topologies(&self, data_dir: PathBuf) -> Result<Vec<Box<dyn Topology>>> {
        // Only who declares topics of the log gets one.
        let topics = match self.documents.iter().any(Document::is_log) {
            true => Some(Arc::new(Topics::reach(data_dir, true).await?)),
            false => None,
        };
        let mut all: Vec<Box<dyn Topology>> = Vec::new();
        for document in &self.documents {
            let kinds = usize::from(document.is_kafka()) + usize::from(document.is_rabbitmq());
            if let (Some(broker), true) = (&document.broker, kinds > 1) {
                return Err(Error::input(format!("'{}' cannot be a Kafka and a RabbitMQ: divide the document by '---'", broker.value))
                    .at(broker.place.clone()));
            }
            if let (Some(topics), true) = (&topics, document.is_log()) {
                all.push(Box::new(LogTopology { topics: topics.clone(), wanted: document.topics.clone() }));
            }
            if document.is_kafka() && !document.topics.is_empty() {
                let options = self.broker(document, KAFKA, "Kafka")?;
                all.push(Box::new(KafkaTopology::new(options, document.topics.iter().map(wanted_topic).collect())?));
            }
            if document.is_rabbitmq() {
                let options = self.broker(document, RABBITMQ, "RabbitMQ")?;
                all.push(Box::new(RabbitTopology::new(options, &self.project, wanted(document))?));
            }
        }
        Ok(all)
    }

    /// The options of the broker that a document belongs to: the one it names, or the only one of its kind.
    fn broker(&self, document: &Document, connectors: &[&str], kind: &str) -> Result<&BTreeMap<String, String>> {
        broker(&self.brokers, document.broker.as_ref(), connectors, kind).map_err(|fault| fault.at(Place::thing(&self.file)))
    }
}

/// The named brokers of a project folder; none where it has no settings.
pub fn brokers_of(project: &Path) -> Result<Brokers> {
    match Project::open(project) {
        Ok(project) => project.settings.brokers(),
        // Topics alone make a folder, too: the embedded log needs no settings.
        Err(_) if !project.join(crate::project::SETTINGS_FILE).exists() => Ok(Brokers::new()),
        Err(fault) => Err(fault),
    }
}

/// The broker of this name, or the only one of a kind.
pub fn broker<'a>(
    brokers: &'a Brokers,
    name: Option<&At<String>>,
    connectors: &[&str],
    kind: &str,
) -> Result<&'a BTreeMap<String, String>> {
    let is_one = |options: &BTreeMap<String, String>| options.get("connector").is_some_and(|is| connectors.contains(&is.as_str()));
    if let Some(name) = name {
        return match brokers.get(&name.value) {
            Some(options) if is_one(options) => Ok(options),
            Some(_) => Err(Error::input(format!("broker '{}' is no {kind}", name.value)).at(name.place.clone())),
            None => {
                let near = did_you_mean(&name.value, brokers.keys().map(String::as_str).chain([LOG]));
                Err(Error::input(format!("there is no broker '{}' under 'brokers' in eagre.yaml{near}", name.value)).at(name.place.clone()))
            }
        };
    }
    let mut found = brokers.iter().filter(|(_, options)| is_one(options));
    match (found.next(), found.next()) {
        (Some((_, options)), None) => Ok(options),
        (None, _) => Err(Error::input(format!(
            "no broker of kind {kind} is named: eagre.yaml has it as brokers: {{ NAME: {{ connector: {}, … }} }}",
            connectors[0]
        ))),
        (Some((one, _)), Some((other, _))) => {
            Err(Error::input(format!("several brokers are a {kind} ('{one}', '{other}'): say which with 'broker: {one}'")))
        }
    }
}

fn wanted_topic(topic: &topology::Topic) -> WantedTopic {
    WantedTopic {
        name: topic.name.value.clone(),
        partitions: topic.partitions.as_ref().map(|at| at.value),
        replicas: topic.replication_factor.as_ref().map(|at| at.value),
        settings: topic.config.iter().map(|at| at.value.clone()).collect(),
    }
}

fn wanted(document: &Document) -> rabbit::Wanted {
    use rabbit::{Binding, Destination, Exchange, Queue, Wanted};
    let properties = |of: &topology::Properties| of.iter().map(|at| at.value.clone()).collect();
    Wanted {
        exchanges: document
            .exchanges
            .iter()
            .map(|exchange| Exchange {
                name: exchange.name.value.clone(),
                kind: exchange.kind.clone(),
                durable: exchange.durable,
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
                properties: properties(&exchange.properties),
            })
            .collect(),
        queues: document
            .queues
            .iter()
            .map(|queue| Queue {
                name: queue.name.value.clone(),
                durable: queue.durable,
                auto_delete: queue.auto_delete,
                properties: properties(&queue.properties),
            })
            .collect(),
        bindings: document
            .bindings
            .iter()
            .map(|binding| Binding {
                exchange: binding.exchange.value.clone(),
                to: match binding.to_exchange {
                    true => Destination::Exchange(binding.to.value.clone()),
                    false => Destination::Queue(binding.to.value.clone()),
                },
                routing_key: binding.routing_key.clone(),
                arguments: binding.arguments.clone(),
            })
            .collect(),
    }
}

/// The wanted topics of the embedded log, which an engine may hold.
struct LogTopology {
    topics: Arc<Topics>,
    wanted: Vec<topology::Topic>,
}

#[async_trait]
impl Topology for LogTopology {
    fn broker(&self) -> String {
        "embedded log".to_owned()
    }

    async fn plan(&self) -> Result<Vec<Change>> {
        let found: Vec<TopicFigures> = self.topics.call("topics.list", &()).await?;
        let mut changes = Vec::new();
        for topic in &self.wanted {
            let name = &topic.name.value;
            let (partitions, retention) =
                (topic.partitions.as_ref().map(|at| at.value), topic.retention_micros.as_ref().map(|at| at.value));
            let kept = |micros: Option<i64>| micros.map_or("for ever".to_owned(), |micros| Length(micros).to_string());
            let declare: Step = {
                let (topics, declared) = (self.topics.clone(), Declared { topic: name.clone(), partitions, retention_micros: retention });
                Arc::new(move || {
                    let (topics, declared) = (topics.clone(), declared.clone());
                    Box::pin(async move { topics.call::<()>("topics.declare", &declared).await })
                })
            };
            let change = |what: String, permit: Permit| Change { thing: format!("topic {name}"), what, permit, step: declare.clone() };
            let Some(found) = found.iter().find(|found| found.topic == *name) else {
                let partitions = partitions.map_or(String::new(), |partitions| format!("{partitions} partitions, "));
                changes.push(change(format!("made ({partitions}kept {})", kept(retention)), Permit::Free));
                continue;
            };
            if partitions.is_some_and(|wanted| wanted != found.partitions) {
                let what = format!(
                    "partitions: {} -> {}: a topic of the log keeps those it was made with; declare {}, or another topic",
                    found.partitions,
                    partitions.unwrap_or_default(),
                    found.partitions
                );
                changes.push(change(what, Permit::Impossible));
            } else if retention != found.retention_micros {
                changes.push(change(format!("kept: {} -> {}", kept(found.retention_micros), kept(retention)), Permit::Free));
            }
        }
        Ok(changes)
    }
}
