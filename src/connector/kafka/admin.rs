//! What an administrator asks of a cluster and tells it: topics, their settings, more partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicResult};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;

use super::client::{ANSWER, Cluster, Properties, fault, is_passing};
use super::incremental;
use super::producer::Sender;
use crate::error::{Error, Kind, Result};

/// How long brokers have to tell each other of a change.
const SPREADING: Duration = Duration::from_secs(10);
/// How long a look at a change that has not spread yet waits for the next.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Settings of a topic by name.
pub type Settings = BTreeMap<String, Setting>;

/// A setting of a topic as it counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// It was given to the topic; others come from the brokers.
    pub own: bool,
}

/// An administrator of a cluster. Its calls wait for answers: they belong off the tasks.
pub struct Admin {
    client: AdminClient<Cluster>,
    /// Is asked first: a client of this kind hears that its login is refused, an administrator's does not.
    hears: Sender,
    cluster: Cluster,
    patience: Duration,
}

impl Admin {
    /// Of the cluster of `properties`; each answer is waited for `patience` at most.
    pub fn new(properties: &Properties, cluster: &Cluster, patience: Duration) -> Result<Self> {
        let client = properties.config(&[]).create_with_context(cluster.clone()).map_err(|e| fault(e.to_string()))?;
        let hears = Sender::new(&properties.config(&[]), cluster.clone())?;
        Ok(Admin { client, hears, cluster: cluster.clone(), patience })
    }

    /// All topics and brokers.
    pub fn metadata(&self) -> Result<Metadata> {
        let client = self.hears.producer().client();
        self.cluster.ask(self.patience, "learn the topics", |wait| client.fetch_metadata(None, wait))
    }

    /// The settings of topics, by topic. A topic that is gone meanwhile is left out.
    pub fn settings(&self, topics: &[&str]) -> Result<BTreeMap<String, Settings>> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let found = self.cluster.ask(self.patience, "learn the settings of topics", |wait| {
            futures::executor::block_on(self.client.describe_configs(&wanted, &AdminOptions::new().request_timeout(Some(wait))))
        })?;
        let mut all = BTreeMap::new();
        for (topic, found) in topics.iter().zip(found) {
            let found = match found {
                Ok(found) => found,
                Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                Err(code) => return Err(self.refused(&format!("the settings of topic '{topic}' cannot be read"), code)),
            };
            let settings = found.entries.into_iter().map(|entry| {
                let own = entry.source == ConfigSource::DynamicTopic;
                (entry.name, Setting { value: entry.value.unwrap_or_default(), own })
            });
            all.insert((*topic).to_owned(), settings.collect());
        }
        Ok(all)
    }

    /// Makes a topic, or only asks whether the brokers would. The code is why they do not.
    pub fn create(&self, topic: &NewTopic<'_>, only_ask: bool) -> Result<Result<(), RDKafkaErrorCode>> {
        let made = futures::executor::block_on(self.client.create_topics([topic], &self.options(only_ask)));
        self.only_one(&format!("make topic '{}'", topic.name), made.map(codes), std::convert::identity)
    }

    /// Makes a topic where there is none of its name, and waits until it can be seen; `true` = it was missing.
    pub fn make_missing(&self, topic: &NewTopic<'_>) -> Result<bool> {
        let is_there = || -> Result<bool> { Ok(self.metadata()?.topics().iter().any(|known| known.name() == topic.name)) };
        if is_there()? {
            return Ok(false);
        }
        match self.create(topic, false)? {
            Ok(()) | Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
            Err(code) => return Err(self.refused(&format!("topic '{}' cannot be made", topic.name), code)),
        }
        self.until(is_there)?;
        Ok(true)
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: usize) -> Result<Result<(), RDKafkaErrorCode>> {
        let new = NewPartitions::new(topic, partitions);
        let done = futures::executor::block_on(self.client.create_partitions([&new], &self.options(false)));
        self.only_one(&format!("give topic '{topic}' more partitions"), done.map(codes), std::convert::identity)
    }

    /// Gives a topic settings, or only asks whether the brokers would; what is not named stays. The text is why they do not.
    pub fn alter(&self, topic: &str, changed: &BTreeMap<String, String>, only_ask: bool) -> Result<Result<(), String>> {
        let done = incremental::set(self.client.inner(), topic, changed, only_ask, self.patience);
        let done = done.map(|one| [one.map_err(|(code, text)| if text.is_empty() { code.to_string() } else { text })]);
        self.only_one(&format!("change the settings of topic '{topic}'"), done, |code| code.to_string())
    }

    /// Waits until a change can be seen, for a while: who looks next may be answered by a broker that does not know it yet.
    pub fn until(&self, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !seen()? && started.elapsed() < SPREADING {
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// What the brokers say to one request, as an error.
    pub fn refused(&self, what: &str, code: RDKafkaErrorCode) -> Error {
        use RDKafkaErrorCode as E;
        let kind = match code {
            E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed => Kind::Input,
            _ => Kind::Failed,
        };
        Error::new(kind, format!("{what} in Kafka at {}: {code}", self.cluster.brokers()))
    }

    fn options(&self, only_ask: bool) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.patience)).operation_timeout(Some(ANSWER)).validate_only(only_ask)
    }

    /// The answer to a request about one topic.
    fn only_one<E>(
        &self,
        doing: &str,
        answer: KafkaResult<impl IntoIterator<Item = Result<(), E>>>,
        refusal: impl FnOnce(RDKafkaErrorCode) -> E,
    ) -> Result<Result<(), E>> {
        match answer {
            Ok(all) => all.into_iter().next().ok_or_else(|| Error::bug("one topic was asked for, none was answered")),
            Err(KafkaError::AdminOp(code)) if !is_passing(&KafkaError::AdminOp(code)) => Ok(Err(refusal(code))),
            Err(error) => {
                let kind = if is_passing(&error) { Kind::Unreachable } else { Kind::Failed };
                Err(Error::new(kind, format!("cannot {doing} in Kafka at {}: {error}", self.cluster.brokers())))
            }
        }
    }
}

fn codes(all: Vec<TopicResult>) -> impl Iterator<Item = Result<(), RDKafkaErrorCode>> {
    all.into_iter().map(|one| one.map(|_| ()).map_err(|(_, code)| code))
}
