//! What every client of a cluster has in common: its configuration from `properties.*`, and what it says when something
//! is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::NAME;
use crate::connector::trouble::Troubles;
use crate::error::{Error, Kind, Result, did_you_mean};

/// Longest wait for one answer of the brokers; outages are bridged by asking again.
pub const ANSWER: Duration = Duration::from_secs(5);

/// `properties.*` of a table, checked, in the words of librdkafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    set: BTreeMap<String, String>,
}

/// Properties of Java clients that mean nothing here.
const WITHOUT_EFFECT: [&str; 6] =
    ["key.deserializer", "value.deserializer", "key.serializer", "value.serializer", "max.poll.records", "enable.auto.commit"];

/// Properties that are ours to set: what they would break.
const OURS: [(&str, &str); 5] = [
    ("enable.auto.offset.store", "offsets are in the checkpoints"),
    ("enable.partition.eof", "where a bounded read ends is found by it"),
    ("transactional.id", "set 'sink.transactional-id-prefix'"),
    ("enable.idempotence", "set 'sink.delivery-guarantee'"),
    ("partition.assignment.strategy", "partitions are not shared with a group"),
];

impl Properties {
    /// Takes `properties.*` out of a table's options.
    pub fn take(options: &mut BTreeMap<String, String>) -> Result<Self> {
        let mut set = BTreeMap::new();
        options.retain(|key, value| match key.strip_prefix("properties.") {
            Some(name) => {
                set.insert(name.to_owned(), std::mem::take(value));
                false
            }
            None => true,
        });
        let mut faults = Vec::new();
        set.retain(|name, _| !WITHOUT_EFFECT.contains(&name.as_str()));
        if let Some(jaas) = set.remove("sasl.jaas.config") {
            match credentials(&jaas) {
                Some((user, password)) => {
                    set.entry("sasl.username".to_owned()).or_insert(user);
                    set.entry("sasl.password".to_owned()).or_insert(password);
                }
                None => faults.push(fault(
                    "'properties.sasl.jaas.config' does not read; expected a login module with username=\"…\" password=\"…\"; or set \
                     'properties.sasl.username' and 'properties.sasl.password'",
                )),
            }
        }
        for name in set.keys() {
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours == name) {
                faults.push(fault(format!("'properties.{name}' cannot be set: {why}")));
            } else if name.starts_with("ssl.truststore.") || name.starts_with("ssl.keystore.password") {
                faults.push(fault(format!(
                    "'properties.{name}' is a Java client's; certificates are PEM files here: 'properties.ssl.ca.location', \
                     'properties.ssl.certificate.location', 'properties.ssl.key.location'"
                )));
            }
        }
        if !set.contains_key("bootstrap.servers") {
            faults.push(fault("the option 'properties.bootstrap.servers' is missing"));
        }
        let properties = Properties { set };
        faults.extend(properties.check_names());
        faults.extend(properties.check_security());
        Error::all(faults).map_or(Ok(properties), Err)
    }

    /// Each name and value is one that librdkafka takes.
    fn check_names(&self) -> Vec<Error> {
        let mut faults = Vec::new();
        for (name, value) in &self.set {
            let mut alone = ClientConfig::new();
            alone.set(name, value);
            let refused = match alone.create_native_config() {
                Err(KafkaError::ClientConfig(_, why, ..)) => why,
                Err(other) => other.to_string(),
                Ok(_) => continue,
            };
            let unknown = refused.contains("No such configuration property");
            faults.push(match unknown {
                true => fault(format!("unknown option 'properties.{name}'{}", did_you_mean(name, super::properties::known()))),
                false => fault(format!("'properties.{name}' = '{value}': {refused}")),
            });
        }
        faults
    }

    /// What was meant to be secret is never sent in the clear without a word.
    fn check_security(&self) -> Option<Error> {
        let protocol = self.get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let first = |prefix: &str| self.set.keys().find(|name| name.starts_with(prefix));
        let lost = match protocol.as_str() {
            "plaintext" => first("sasl.").or_else(|| first("ssl.")),
            "ssl" => first("sasl."),
            "sasl_plaintext" => first("ssl."),
            _ => None,
        };
        lost.map(|name| {
            fault(format!(
                "'properties.{name}' has no effect with 'properties.security.protocol' = '{protocol}'; expected ssl, sasl_plaintext or sasl_ssl"
            ))
        })
    }

    /// The same without what means something to readers only: one transaction is written by one client, whatever tables
    /// that share it read.
    pub fn for_writing(&self) -> Self {
        let set = self.set.iter().filter(|(name, _)| !super::properties::OF_READERS.contains(&name.as_str()));
        Properties { set: set.map(|(name, value)| (name.clone(), value.clone())).collect() }
    }

    /// Do both reach the same cluster, as the same user?
    pub fn reaches_as(&self, other: &Properties) -> bool {
        let reaching = |name: &str| name == "bootstrap.servers" || ["security.", "sasl.", "ssl."].iter().any(|part| name.starts_with(part));
        let of = |properties: &'_ Properties| -> Vec<(String, String)> {
            properties.set.iter().filter(|(name, _)| reaching(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        of(self) == of(other)
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// The brokers as they were named.
    pub fn brokers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// A configuration with these properties over `defaults`.
    pub fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.set {
            config.set(name, value);
        }
        config
    }

    /// Says once that a password goes over the network as it is, where that was asked for.
    pub fn warn_of_clear_text(&self) {
        if self.get("security.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("sasl_plaintext")) {
            tracing::warn!("Kafka at {}: sasl_plaintext sends what it reads and writes unencrypted", self.brokers());
        }
    }
}

/// User and password of a JAAS configuration.
fn credentials(jaas: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        let rest = jaas.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    Some((value("username")?, value("password")?))
}

/// A fault of the options.
pub fn fault(message: impl AsRef<str>) -> Error {
    Error::input(format!("connector '{NAME}': {}", message.as_ref()))
}

/// What a client has said of its cluster: shared by everybody who uses the client.
#[derive(Debug, Clone)]
pub struct Cluster {
    brokers: Arc<str>,
    troubles: Troubles,
    state: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    /// The last thing that was wrong.
    last: Option<String>,
    /// What cannot be mended by trying again.
    refused: Option<String>,
    /// All brokers are away, since when.
    away: Option<Instant>,
}

impl Cluster {
    /// Nothing said yet.
    pub fn new(properties: &Properties, troubles: Troubles) -> Self {
        Cluster { brokers: properties.brokers().into(), troubles, state: Arc::default() }
    }

    /// The brokers as they were named.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The name under which `/health` knows it.
    fn thing(&self) -> String {
        format!("Kafka at {}", self.brokers)
    }

    /// Notes what a client reports.
    fn heard(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut said = self.state.lock();
        match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                said.refused.get_or_insert_with(|| reason.to_owned());
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                said.away.get_or_insert_with(Instant::now);
                let last = said.last.clone();
                drop(said);
                self.troubles.report(self.thing(), format!("cannot be reached, trying again: {}", last.as_deref().unwrap_or(reason)));
            }
            _ => said.last = Some(reason.to_owned()),
        }
    }

    /// An answer has come: what was wrong is no more.
    pub fn answered(&self) {
        let mut said = self.state.lock();
        if said.away.take().is_some() {
            drop(said);
            self.troubles.mended(&self.thing());
        }
    }

    /// Are all brokers away?
    pub fn is_away(&self) -> bool {
        self.state.lock().away.is_some()
    }

    /// What no trying mends: a refused login.
    pub fn refusal(&self) -> Option<Error> {
        let said = self.state.lock();
        said.refused.as_ref().map(|why| Error::input(format!("{} refuses us: {why}", self.thing())))
    }

    /// Asks until there is an answer, for at most `patience`. `doing` completes "cannot …".
    pub fn ask<T>(&self, patience: Duration, doing: &str, mut question: impl FnMut(Duration) -> Result<T, KafkaError>) -> Result<T> {
        let (started, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            let left = patience.saturating_sub(started.elapsed());
            let error = match question(ANSWER.min(left.max(Duration::from_millis(100)))) {
                Ok(answer) => {
                    self.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            if started.elapsed() >= patience || !is_passing(&error) {
                let last = self.state.lock().last.clone();
                let detail = last.map_or(String::new(), |last| format!("; last: {last}"));
                let kind = if is_passing(&error) { Kind::Unreachable } else { Kind::Failed };
                let tried = started.elapsed().as_secs();
                return Err(Error::new(kind, format!("cannot {doing} of {}: tried for {tried} s: {error}{detail}", self.thing())));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// Does what waits for answers of the brokers on a thread that may wait.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug("asking Kafka stopped").because(e))?
}

/// May it go by itself?
pub fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        error.rdkafka_error_code(),
        Some(
            E::BrokerTransportFailure
                | E::AllBrokersDown
                | E::OperationTimedOut
                | E::RequestTimedOut
                | E::Resolve
                | E::LeaderNotAvailable
                | E::NotLeaderForPartition
                | E::CoordinatorNotAvailable
                | E::CoordinatorLoadInProgress
                | E::NotCoordinator
                | E::NetworkException
                | E::BrokerNotAvailable
                | E::WaitingForCoordinator
                | E::NotEnoughReplicas
                | E::InProgress
                | E::MessageTimedOut
                | E::PurgeQueue
                | E::PurgeInflight
        )
    )
}

impl ConsumerContext for Cluster {}

impl ClientContext for Cluster {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error, too; librdkafka repeats itself at every attempt.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!("Kafka: {facility}: {message}"),
            _ => tracing::debug!("Kafka: {facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("Kafka at {}: {error}: {reason}", self.brokers);
        self.heard(&error, reason);
    }
}
