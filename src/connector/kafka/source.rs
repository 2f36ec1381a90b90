//! Describes topics to be read. Partitions are our own assignment, not a group's; offsets are in the checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Cluster, Properties, fault, off_thread};
use super::fetch::Fetch;
use super::options::{Bounded, OnGap, Startup, TableOptions};
use super::reader::{Gap, KafkaReader, Stand};
use super::topics::Topics;
use crate::connector::environment::Environment;
use crate::connector::reading::parse_offsets;
use crate::connector::{History, Partition, Position, Reader, Source};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// How long the thread that serves a client's events waits for one.
const EVENT_WAIT: Duration = Duration::from_millis(100);
/// `{"offset": FIRST}` in a position: the first record there is.
const FIRST: i64 = -2;

/// Topics to be read.
#[derive(Clone)]
pub struct KafkaSource {
    plan: Arc<Plan>,
    /// The client, made on first use and shared by the readers.
    client: Arc<Mutex<Option<Arc<BaseConsumer<Cluster>>>>>,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.fmt(f)
    }
}

/// What the options say.
#[derive(Debug)]
struct Plan {
    connector: &'static str,
    table: String,
    topics: Topics,
    properties: Properties,
    cluster: Cluster,
    options: TableOptions,
    bounded: Bounded,
    /// Where the options say a partition begins or ends.
    starts: BTreeMap<u32, i64>,
    ends: BTreeMap<u32, i64>,
    /// The group that is told where we stand: the one that the properties name.
    group: Option<String>,
    metrics: Metrics,
}

impl KafkaSource {
    /// The source of `table`.
    pub fn new(connector: &'static str, table: &str, options: TableOptions, properties: Properties, env: &Environment) -> Result<Self> {
        let topics = Topics::new(&options.own)?;
        let group = properties.get("group.id").map(str::to_owned);
        let needs_group = |what: &str| fault(format!("{what} needs 'properties.group.id'; or choose 'earliest-offset' or 'latest-offset'"));
        if options.beginning.mode == Startup::GroupOffsets && group.is_none() {
            return Err(needs_group("'scan.startup.mode' = 'group-offsets' (the default)"));
        }
        // A query over what is stored ends where the topic ends now, wherever the table's reading would end.
        let bounded = match (options.ending.mode, env.run.unbounded) {
            (Bounded::Unbounded, false) => Bounded::LatestOffset,
            (bounded, _) => bounded,
        };
        if bounded == Bounded::GroupOffsets && group.is_none() {
            return Err(needs_group("'scan.bounded.mode' = 'group-offsets'"));
        }
        options.beginning.check(options.beginning.mode.takes()).map_err(fault)?;
        options.ending.check(options.ending.mode.takes()).map_err(fault)?;
        let offsets = |option: &'static str, text: &Option<String>| match (text, &topics) {
            (None, _) => Ok(BTreeMap::new()),
            (Some(text), Topics::List(topics)) if topics.len() == 1 => parse_offsets(option, text).map_err(fault),
            _ => Err(fault(format!("'{option}' names partitions of one topic; the table reads {}", topics.describe()))),
        };
        let starts = offsets("scan.startup.specific-offsets", &options.beginning.offsets)?;
        let ends = offsets("scan.bounded.specific-offsets", &options.ending.offsets)?;
        let cluster = Cluster::new(&properties, env.troubles.clone());
        let metrics = env.metrics.clone();
        let table = table.to_owned();
        let plan = Plan { connector, table, topics, properties, cluster, options, bounded, starts, ends, group, metrics };
        Ok(KafkaSource { plan: Arc::new(plan), client: Arc::default() })
    }

    /// The client, made when there is none yet.
    fn client(&self) -> Result<Arc<BaseConsumer<Cluster>>> {
        let mut client = self.client.lock();
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        self.plan.properties.warn_of_clear_text();
        let group = self.plan.group.clone().unwrap_or_else(|| format!("eagre-{}", self.plan.table));
        let mut config = self.plan.properties.config(&[
            ("group.id", &group),
            // A fetch ahead of some megabytes is enough for any reader, and bounded whatever the number of partitions.
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", "100"),
        ]);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false").set("auto.offset.reset", "error");
        // The end is told: behind the last record stand those of transactions, which nobody is behind of.
        config.set("enable.partition.eof", "true");
        let made: BaseConsumer<Cluster> = config.create_with_context(self.plan.cluster.clone()).map_err(|e| fault(e.to_string()))?;
        let made = Arc::new(made);
        serve_events(Arc::downgrade(&made))?;
        Ok(client.insert(made).clone())
    }

    fn patience(&self) -> Duration {
        self.plan.options.own.patience()
    }

    /// Topic and number of a partition by its name.
    fn place(partition: &Partition) -> Result<(&str, i32)> {
        let parsed = partition.name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
        parsed
            .and_then(|(topic, number)| Some((topic, number.parse().ok()?)))
            .ok_or_else(|| Error::bug(format!("'{}' names no partition of a topic", partition.name)))
    }

    /// Opens a partition; waits for answers of the brokers.
    fn open_now(&self, topic: &str, number: i32, position: Option<Stand>) -> Result<KafkaReader> {
        let (plan, client) = (&self.plan, self.client()?);
        let here = Partitioned { source: self, client: &client, topic, number };
        let (low, high) = here.ask("learn the offsets", |wait| client.fetch_watermarks(topic, number, wait))?;
        let name = format!("{topic}[{number}]");
        let counted = |what: &str| plan.metrics.counter(what, &[("table", &plan.table), ("partition", &name)]);
        let gap =
            Gap { skipped: counted("eagre_source_gap_records_total"), fails: plan.options.own.on_gap == OnGap::Fail, name: name.clone() };
        let mut stand = match position {
            Some(Stand { offset: FIRST, end }) => Stand { offset: low, end },
            Some(stand) => Stand { offset: gap.pass(stand.offset, low, high)?, ..stand },
            None => Stand { offset: here.start(low, high)?, end: None },
        };
        // One that was read to its end and is opened again is read to where it ends now.
        if stand.end.is_none_or(|end| stand.offset >= end) {
            stand.end = here.end(high)?;
        }
        let fetch = Fetch::new(client.clone(), topic, number)?;
        let mut assigned = TopicPartitionList::new();
        let place = assigned.add_partition_offset(topic, number, Offset::Offset(stand.offset));
        place.and_then(|()| client.incremental_assign(&assigned)).map_err(|e| Error::failed(format!("cannot read {name}")).because(e))?;
        Ok(KafkaReader::new(fetch, plan.cluster.clone(), topic, number, stand, gap, plan.group.is_some()))
    }
}

/// Serves what a client says beside messages for as long as it lives.
fn serve_events(client: Weak<BaseConsumer<Cluster>>) -> Result<()> {
    let serve = move || {
        while let Some(client) = client.upgrade() {
            // Every partition has a queue of its own: only events are left. They have told the context what they mean.
            if let Some(Err(event)) = client.poll(EVENT_WAIT) {
                tracing::debug!("Kafka: {event}");
            }
        }
    };
    let thread = std::thread::Builder::new().name("eagre-kafka-events".into()).spawn(serve);
    thread.map(|_| ()).map_err(|e| Error::failed("cannot start a thread").because(e))
}

/// One partition, while it is opened.
struct Partitioned<'a> {
    source: &'a KafkaSource,
    client: &'a BaseConsumer<Cluster>,
    topic: &'a str,
    number: i32,
}

impl Partitioned<'_> {
    fn ask<T>(&self, doing: &str, question: impl FnMut(Duration) -> Result<T, KafkaError>) -> Result<T> {
        self.source.plan.cluster.ask(self.source.patience(), doing, question)
    }

    /// Where the options say that reading begins.
    fn start(&self, low: i64, high: i64) -> Result<i64> {
        let plan = &self.source.plan;
        Ok(match plan.options.beginning.mode {
            Startup::EarliestOffset => low,
            Startup::LatestOffset => high,
            Startup::Timestamp => self.at_time(plan.options.beginning.timestamp_ms)?.unwrap_or(high),
            Startup::SpecificOffsets => plan.starts.get(&self.number.unsigned_abs()).copied().unwrap_or(low),
            Startup::GroupOffsets => match (self.committed()?, plan.properties.get("auto.offset.reset")) {
                (Some(offset), _) => offset,
                (None, Some("earliest" | "smallest" | "beginning")) => low,
                (None, Some("latest" | "largest" | "end")) => high,
                (None, _) => {
                    let group = plan.group.as_deref().unwrap_or_default();
                    return Err(Error::input(format!(
                        "group '{group}' stands nowhere in {}[{}]: say where reading begins, with 'properties.auto.offset.reset' = \
                         'earliest' or 'latest', or another 'scan.startup.mode'",
                        self.topic, self.number
                    )));
                }
            },
        })
    }

    /// Where the options say that reading ends.
    fn end(&self, high: i64) -> Result<Option<i64>> {
        let plan = &self.source.plan;
        Ok(match plan.bounded {
            Bounded::Unbounded => None,
            Bounded::LatestOffset => Some(high),
            Bounded::Timestamp => Some(self.at_time(plan.options.ending.timestamp_ms)?.unwrap_or(high)),
            Bounded::SpecificOffsets => Some(plan.ends.get(&self.number.unsigned_abs()).copied().unwrap_or(high).min(high)),
            Bounded::GroupOffsets => Some(self.committed()?.unwrap_or(high).min(high)),
        })
    }

    /// The first record at or after a time, if there is one.
    fn at_time(&self, millis: Option<i64>) -> Result<Option<i64>> {
        let mut times = TopicPartitionList::new();
        let set = times.add_partition_offset(self.topic, self.number, Offset::Offset(millis.unwrap_or_default()));
        set.map_err(|e| Error::bug("a partition list refused a time").because(e))?;
        let found = self.ask("find a time", |wait| self.client.offsets_for_times(times.clone(), wait))?;
        Ok(self.offset_in(&found))
    }

    /// Where the group stands, if it stands anywhere.
    fn committed(&self) -> Result<Option<i64>> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(self.topic, self.number);
        let found = self.ask("learn where the group stands", |wait| self.client.committed_offsets(wanted.clone(), wait))?;
        Ok(self.offset_in(&found))
    }

    fn offset_in(&self, list: &TopicPartitionList) -> Option<i64> {
        match list.find_partition(self.topic, self.number)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn describe(&self) -> String {
        format!("{} {} at {}", self.plan.connector, self.plan.topics.describe(), self.plan.properties.brokers())
    }

    fn identity(&self) -> String {
        format!("{} {}", self.plan.connector, self.plan.topics.describe())
    }

    fn bounded(&self) -> bool {
        self.plan.bounded != Bounded::Unbounded
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let source = self.clone();
        let found = off_thread(move || {
            let client = source.client()?;
            source.plan.topics.partitions(client.client(), &source.plan.cluster, source.patience())
        });
        let found = found.await?;
        Ok((0..).zip(found).map(|(index, (topic, number))| Partition { index, name: format!("{topic}[{number}]") }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let (topic, number) = Self::place(partition)?;
        let (source, topic) = (self.clone(), topic.to_owned());
        let stand = position.map(|position| {
            serde_json::from_value::<Stand>(position.0.clone())
                .map_err(|e| Error::corrupt(format!("{} is no place in {}", position.0, partition.name)).because(e))
        });
        let stand = stand.transpose()?;
        Ok(Box::new(off_thread(move || source.open_now(&topic, number, stand)).await?))
    }

    fn discovery(&self) -> Option<Duration> {
        let micros = self.plan.options.own.discovery_micros;
        (micros > 0 && !self.bounded()).then(|| Duration::from_micros(micros as u64))
    }

    /// Of a partition that has appeared while we ran, or since, nothing may be missed.
    fn first_position(&self) -> Option<Position> {
        Some(Position(serde_json::json!(Stand { offset: FIRST, end: None })))
    }

    fn replays(&self) -> bool {
        true
    }

    fn history(&self, _: &Partition, until: &Position) -> Result<History> {
        let Stand { offset: end, .. } = serde_json::from_value(until.0.clone())
            .map_err(|e| Error::corrupt(format!("{} is no place in {}", until.0, self.plan.topics.describe())).because(e))?;
        Ok(History { first: Some(Position(serde_json::json!(Stand { offset: FIRST, end: Some(end) }))), end })
    }
}

/// A topic that is gone, or that we may not read.
pub fn lost(name: &str, kind: Kind, why: &str) -> Error {
    Error::new(kind, format!("{name} cannot be read any more: {why}"))
}
