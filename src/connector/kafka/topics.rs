//! Which topics and partitions a table reads, as of now.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::metadata::Metadata;
use regex::Regex;

use super::client::{Cluster, fault};
use super::options::KafkaOptions;
use crate::connector::options::parts;
use crate::error::{Error, Result, did_you_mean};

/// The topics that a table names.
#[derive(Debug, Clone)]
pub enum Topics {
    /// These.
    List(Vec<String>),
    /// Those whose name matches.
    Pattern(String, Regex),
}

impl Topics {
    /// As the options name them.
    pub fn new(options: &KafkaOptions) -> Result<Self> {
        match (&options.topic, &options.topic_pattern) {
            (Some(_), Some(_)) => Err(fault("'topic' and 'topic-pattern' exclude each other")),
            (None, None) => Err(fault("the option 'topic' (or, to read, 'topic-pattern') is missing")),
            (Some(list), None) => {
                let mut topics: Vec<String> = Vec::new();
                for topic in parts(list) {
                    if !topics.iter().any(|known| known == topic) {
                        topics.push(topic.to_owned());
                    }
                }
                if topics.is_empty() { Err(fault("'topic' names none")) } else { Ok(Topics::List(topics)) }
            }
            (None, Some(pattern)) => {
                let whole = Regex::new(&format!("^(?:{pattern})$"));
                let whole = whole.map_err(|e| fault(format!("'topic-pattern' = '{pattern}' is no regular expression")).because(e))?;
                Ok(Topics::Pattern(pattern.clone(), whole))
            }
        }
    }

    /// Is the topic of this name one of them?
    pub fn names(&self, topic: &str) -> bool {
        match self {
            Topics::List(topics) => topics.iter().any(|known| known == topic),
            Topics::Pattern(_, pattern) => pattern.is_match(topic),
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Topics::List(topics) => topics.join(";"),
            Topics::Pattern(pattern, _) => format!("/{pattern}/"),
        }
    }

    /// Topic and partition of everything there is, in order: the topics as listed (or by name), partitions by number.
    pub fn partitions<C: ClientContext>(&self, client: &Client<C>, cluster: &Cluster, patience: Duration) -> Result<Vec<(String, i32)>> {
        let metadata = cluster.ask(patience, "learn the topics", |wait| client.fetch_metadata(None, wait))?;
        let names: Vec<String> = match self {
            Topics::List(topics) => {
                for topic in topics {
                    if !metadata.topics().iter().any(|known| known.name() == topic) {
                        return Err(unknown(topic, &metadata, cluster));
                    }
                }
                topics.clone()
            }
            Topics::Pattern(_, pattern) => {
                let mut names: Vec<String> =
                    metadata.topics().iter().map(|t| t.name()).filter(|name| pattern.is_match(name)).map(str::to_owned).collect();
                names.sort();
                names
            }
        };
        let mut found = Vec::new();
        for name in names {
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { continue };
            let mut numbers: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
            numbers.sort_unstable();
            found.extend(numbers.into_iter().map(|number| (name.clone(), number)));
        }
        Ok(found)
    }
}

/// How many partitions a topic to be written has.
pub fn count<C: ClientContext>(client: &Client<C>, cluster: &Cluster, topic: &str, patience: Duration) -> Result<usize> {
    let metadata = cluster.ask(patience, "learn the topics", |wait| client.fetch_metadata(None, wait))?;
    count_in(&metadata, cluster, topic)
}

/// The same, of what is known.
pub fn count_in(metadata: &Metadata, cluster: &Cluster, topic: &str) -> Result<usize> {
    let found = metadata.topics().iter().find(|known| known.name() == topic);
    found.map(|topic| topic.partitions().len()).filter(|count| *count > 0).ok_or_else(|| unknown(topic, metadata, cluster))
}

fn unknown(topic: &str, metadata: &Metadata, cluster: &Cluster) -> Error {
    let names: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(|name| !name.starts_with("__")).collect();
    let near = match did_you_mean(topic, names.iter().copied()) {
        near if near.is_empty() && names.is_empty() => "; it has none yet".to_owned(),
        near if near.is_empty() => format!("; it has {}", names.iter().take(20).copied().collect::<Vec<_>>().join(", ")),
        near => near,
    };
    Error::input(format!("no topic '{topic}' in Kafka at {}{near}", cluster.brokers()))
}
