//! Topics of a cluster: what is wanted, what is there, and how the one becomes the other.
//!
//! ```text
//!  not there                   ─▶ made, with its partitions, replicas and settings
//!  settings                    ─▶ changed; those that nobody names stay
//!  more partitions             ─▶ only when it is allowed: keys go to other partitions from then on
//!  fewer, another replication  ─▶ cannot be done here, and is told
//! ```
//! Whether the brokers would take what is wanted they are asked while it is planned: what they refuse is no surprise later.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::admin::{Admin, Settings};
use super::client::{Cluster, off_thread};
use crate::connector::topology::{Change, Permit, Step, Topology};
use crate::connector::trouble::Troubles;
use crate::error::{Error, Result, did_you_mean};

/// A topic as it is to be. What is not said is left to the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: Option<u32>,
    /// Replicas of each.
    pub replicas: Option<u16>,
    /// Settings.
    pub settings: BTreeMap<String, String>,
}

/// The wanted topics of a cluster.
#[derive(Clone)]
pub struct KafkaTopology {
    admin: Arc<Admin>,
    brokers: String,
    wanted: Vec<Wanted>,
}

impl KafkaTopology {
    /// The wanted topics of a named broker, which has these options.
    pub fn new(options: &BTreeMap<String, String>, wanted: Vec<Wanted>) -> Result<Self> {
        let (properties, options) = super::broker_options(options)?;
        properties.warn_of_clear_text();
        let cluster = Cluster::new(&properties, Troubles::default());
        let admin = Admin::new(&properties, &cluster, options.patience())?;
        Ok(KafkaTopology { admin: Arc::new(admin), brokers: properties.brokers().to_owned(), wanted })
    }

    fn plan_now(&self) -> Result<Vec<Change>> {
        let metadata = self.admin.metadata()?;
        let found = |name: &str| metadata.topics().iter().find(|topic| topic.name() == name && !topic.partitions().is_empty());
        let names: Vec<&str> = self.wanted.iter().map(|topic| topic.name.as_str()).filter(|name| found(name).is_some()).collect();
        let mut settings = self.admin.settings(&names)?;
        let mut changes = Vec::new();
        for wanted in &self.wanted {
            match found(&wanted.name) {
                None => changes.push(self.plan_new(wanted, &metadata)?),
                Some(topic) => {
                    changes.extend(self.plan_size(wanted, topic));
                    self.plan_settings(wanted, &settings.remove(&wanted.name).unwrap_or_default(), &mut changes)?;
                }
            }
        }
        Ok(changes)
    }

    /// A topic that is not there.
    fn plan_new(&self, wanted: &Wanted, metadata: &Metadata) -> Result<Change> {
        use RDKafkaErrorCode as E;
        let number = |number: Option<u32>, of: &str| number.map(|number| format!("{number} {of}{}", if number == 1 { "" } else { "s" }));
        let size = [number(wanted.partitions, "partition"), number(wanted.replicas.map(u32::from), "replica")];
        let settings = wanted.settings.iter().map(|(name, value)| format!("{name} {value}"));
        let described: Vec<String> = size.into_iter().flatten().chain(settings).collect();
        let described = if described.is_empty() { "as the brokers like".to_owned() } else { described.join(", ") };
        let (thing, what) = (thing(wanted), format!("made ({described})"));
        let refused = match self.admin.create(&wanted.new_topic(), true)? {
            // Brokers that do not agree yet: another has it already.
            Ok(()) | Err(E::TopicAlreadyExists) => None,
            Err(E::InvalidReplicationFactor) => {
                let (replicas, brokers) = (wanted.replicas.unwrap_or_default(), metadata.brokers().len());
                Some(format!("replication_factor {replicas} needs {replicas} brokers, and the cluster has {brokers}"))
            }
            Err(E::InvalidConfig) => Some(self.refused_settings(wanted, metadata)?),
            Err(E::InvalidTopic) => {
                Some("the brokers refuse its name; it may hold letters, digits, '.', '_' and '-', 249 of them at most".to_owned())
            }
            Err(code) => Some(format!("the brokers refuse it: {code}")),
        };
        if let Some(why) = refused {
            return Ok(Change::impossible(thing, format!("{what}: {why}")));
        }
        let step = self.step({
            let wanted = wanted.clone();
            move |this| this.create(&wanted)
        });
        Ok(Change { thing, what, permit: Permit::Free, step })
    }

    /// Which settings of a new topic the brokers refuse: each is tried alone.
    fn refused_settings(&self, wanted: &Wanted, metadata: &Metadata) -> Result<String> {
        let some_topic: Vec<&str> = metadata.topics().iter().map(MetadataTopic::name).take(1).collect();
        let known = self.admin.settings(&some_topic)?.into_values().next().unwrap_or_default();
        let mut refused = Vec::new();
        for (name, value) in &wanted.settings {
            let alone = Wanted { settings: [(name.clone(), value.clone())].into(), ..wanted.clone() };
            if self.admin.create(&alone.new_topic(), true)?.is_err() {
                refused.push(bad_setting(name, value, &known));
            }
        }
        let all = || "the brokers refuse its settings together; see what each needs of the others".to_owned();
        Ok(if refused.is_empty() { all() } else { refused.join(", ") })
    }

    /// Partitions and replicas of a topic that is there.
    fn plan_size(&self, wanted: &Wanted, topic: &MetadataTopic) -> Vec<Change> {
        let mut changes = Vec::new();
        let found = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        match wanted.partitions {
            Some(more) if more > found => {
                let name = wanted.name.clone();
                changes.push(Change {
                    thing: thing(wanted),
                    what: format!("partitions: {found} -> {more}: keys go to other partitions from then on"),
                    permit: Permit::Repartition,
                    step: self.step(move |this| this.grow(&name, more)),
                });
            }
            Some(fewer) if fewer < found => {
                let what = format!("partitions: {found} -> {fewer}: Kafka takes none away; make another topic and move the records there");
                changes.push(Change::impossible(thing(wanted), what));
            }
            _ => {}
        }
        let replicas = topic
            .partitions()
            .iter()
            .map(|partition| partition.replicas().len())
            .find(|found| wanted.replicas.is_some_and(|wanted| usize::from(wanted) != *found));
        if let (Some(found), Some(wanted_replicas)) = (replicas, wanted.replicas) {
            let what = format!(
                "replication_factor: {found} -> {wanted_replicas}: it cannot be changed from here; Kafka's kafka-reassign-partitions moves replicas"
            );
            changes.push(Change::impossible(thing(wanted), what));
        }
        changes
    }

    /// Settings of a topic that is there.
    fn plan_settings(&self, wanted: &Wanted, now: &Settings, changes: &mut Vec<Change>) -> Result<()> {
        let differs = |(name, value): &(&String, &String)| !now.get(*name).is_some_and(|setting| same(&setting.value, value));
        let mut changed: BTreeMap<String, String> =
            wanted.settings.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect();
        if changed.is_empty() {
            return Ok(());
        }
        if self.admin.alter(&wanted.name, &changed, true)?.is_err() {
            // Some cannot be: the others can.
            for (name, value) in changed.clone() {
                if self.admin.alter(&wanted.name, &[(name.clone(), value.clone())].into(), true)?.is_err() {
                    changes.push(Change::impossible(thing(wanted), bad_setting(&name, &value, now)));
                    changed.remove(&name);
                }
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let shown = |name: &str| now.get(name).map_or("nothing", |setting| setting.value.as_str()).to_owned();
        let what: Vec<String> = changed.iter().map(|(name, value)| format!("{name}: {} -> {value}", shown(name))).collect();
        let name = wanted.name.clone();
        let step = self.step(move |this| this.alter(&name, &changed));
        changes.push(Change { thing: thing(wanted), what: what.join(", "), permit: Permit::Free, step });
        Ok(())
    }

    fn create(&self, wanted: &Wanted) -> Result<()> {
        match self.admin.create(&wanted.new_topic(), false)? {
            Ok(()) | Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
            Err(code) => return Err(self.admin.refused("it is not made", code)),
        }
        self.admin.until(|| Ok(self.partitions(&wanted.name)? > 0 && self.admin.settings(&[&wanted.name])?.contains_key(&wanted.name)))
    }

    fn grow(&self, topic: &str, partitions: u32) -> Result<()> {
        match self.admin.grow(topic, partitions as usize)? {
            Ok(()) => self.admin.until(|| Ok(self.partitions(topic)? >= partitions as usize)),
            Err(code) => Err(self.admin.refused("it does not get more partitions", code)),
        }
    }

    fn alter(&self, topic: &str, changed: &BTreeMap<String, String>) -> Result<()> {
        if let Err(why) = self.admin.alter(topic, changed, false)? {
            return Err(Error::failed(format!("its settings are not changed in Kafka at {}: {why}", self.brokers)));
        }
        self.admin.until(|| {
            let now = self.admin.settings(&[topic])?.remove(topic).unwrap_or_default();
            Ok(changed.iter().all(|(name, value)| now.get(name).is_some_and(|setting| same(&setting.value, value))))
        })
    }

    /// Partitions of a topic that have a leader; none while some have not.
    fn partitions(&self, topic: &str) -> Result<usize> {
        let metadata = self.admin.metadata()?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let led = found.map(|found| found.partitions()).filter(|all| all.iter().all(|partition| partition.leader() >= 0));
        Ok(led.map_or(0, <[_]>::len))
    }

    fn step(&self, step: impl Fn(&KafkaTopology) -> Result<()> + Send + Sync + 'static) -> Step {
        let (this, step) = (self.clone(), Arc::new(step));
        Arc::new(move || {
            let (this, step) = (this.clone(), step.clone());
            Box::pin(off_thread(move || step(&this)))
        })
    }
}

impl Wanted {
    fn new_topic(&self) -> NewTopic<'_> {
        // -1: as the brokers are set up.
        let partitions = self.partitions.map_or(-1, |number| i32::try_from(number).unwrap_or(i32::MAX));
        let replicas = TopicReplication::Fixed(self.replicas.map_or(-1, i32::from));
        self.settings.iter().fold(NewTopic::new(&self.name, partitions, replicas), |topic, (name, value)| topic.set(name, value))
    }
}

fn thing(wanted: &Wanted) -> String {
    format!("topic {}", wanted.name)
}

fn bad_setting(name: &str, value: &str, known: &Settings) -> String {
    match known.contains_key(name) || known.is_empty() {
        true => format!("{name}: the brokers refuse the value '{value}'"),
        false => format!("the brokers know no setting '{name}'{}", did_you_mean(name, known.keys().map(String::as_str))),
    }
}

/// Do two spellings of a setting say the same? Brokers tell `0.50` as `0.5`, and lists without spaces.
fn same(one: &str, other: &str) -> bool {
    let numbers = || match (one.trim().parse::<i128>(), other.trim().parse::<i128>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => matches!((one.trim().parse::<f64>(), other.trim().parse::<f64>()), (Ok(one), Ok(other)) if one == other),
    };
    let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    parts(one) == parts(other) || numbers()
}

#[async_trait]
impl Topology for KafkaTopology {
    fn broker(&self) -> String {
        format!("kafka {}", self.brokers)
    }

    async fn plan(&self) -> Result<Vec<Change>> {
        let this = self.clone();
        off_thread(move || this.plan_now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn spellings_of_one_value_are_the_same() {
        for (one, other) in [("0.5", "0.50"), ("compact,delete", "compact, delete"), ("-1", "-1"), ("1000", " 1000")] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [("9223372036854775807", "9223372036854775806"), ("delete", "compact"), ("compact", "compact,delete")] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
