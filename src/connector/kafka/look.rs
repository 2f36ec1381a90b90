//! A look into a cluster: its topics, their records, and records written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::admin::{Admin, Settings};
use super::client::{Cluster, Properties, fault, is_passing, off_thread};
use super::options::Partitioning;
use super::producer::{Sender, Target};
use super::topics;
use crate::connector::look::{ByHand, Listing, Look, Show};
use crate::connector::trouble::Troubles;
use crate::error::{Error, Kind, Result};
use crate::format::{EncodedRecord, EncodedRecords};
use crate::log::{Blob, Put, Shown, Tail, TailFrom, Whole};
use crate::time::{Length, MICROS_PER_MILLI};

/// Records of a page, at most, and bytes of their keys and values.
const PAGE_RECORDS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;
/// Pages read ahead of who shows them.
const PAGES: usize = 2;
/// How long new records are waited for before it is looked whether anybody still reads.
const WAIT: Duration = Duration::from_millis(100);
/// How long deliveries may take.
const DELIVERY: Duration = Duration::from_secs(60);

/// A cluster to look around in.
pub struct KafkaLook {
    cluster: Arc<Asked>,
}

/// How the cluster is asked.
struct Asked {
    properties: Properties,
    cluster: Cluster,
    patience: Duration,
    /// Made with the first records that are put.
    putting: Mutex<Option<Arc<Putting>>>,
    /// Made with the first records that are sent.
    sender: Mutex<Option<Arc<Sender>>>,
}

struct Putting {
    sender: Arc<Sender>,
    target: Target,
}

impl KafkaLook {
    /// The named broker that has these options.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        let (properties, options) = super::broker_options(options)?;
        properties.warn_of_clear_text();
        let cluster = Cluster::new(&properties, Troubles::default());
        Ok(KafkaLook {
            cluster: Arc::new(Asked {
                properties,
                cluster,
                patience: options.patience(),
                putting: Mutex::default(),
                sender: Mutex::default(),
            }),
        })
    }
}

impl Asked {
    fn consumer(&self) -> Result<BaseConsumer<Cluster>> {
        let mut config = self.properties.config(&[("group.id", "eagre-look"), ("fetch.wait.max.ms", "100")]);
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
        config.create_with_context(self.cluster.clone()).map_err(|e| fault(e.to_string()))
    }

    fn list(&self) -> Result<Listing> {
        let admin = Admin::new(&self.properties, &self.cluster, self.patience)?;
        let metadata = admin.metadata()?;
        let mut topics: Vec<_> = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")).collect();
        topics.sort_by_key(|topic| topic.name());
        let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
        let settings = admin.settings(&names)?;
        let consumer = self.consumer()?;
        let mut rows = Vec::new();
        for topic in topics {
            let mut records = 0;
            for partition in topic.partitions() {
                let (low, high) = self.watermarks(&consumer, topic.name(), partition.id())?;
                records += high - low;
            }
            let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
            let [partitions, replicas] = [topic.partitions().len(), replicas].map(|number| number.to_string());
            let kept = settings.get(topic.name()).map_or_else(|| "-".to_owned(), kept);
            rows.push(vec![topic.name().to_owned(), partitions, replicas, records.to_string(), kept]);
        }
        Ok(Listing { heads: &["topic", ">partitions", ">replicas", ">records", "retention"], rows })
    }

    fn watermarks(&self, consumer: &BaseConsumer<Cluster>, topic: &str, partition: i32) -> Result<(i64, i64)> {
        self.cluster.ask(self.patience, "learn the offsets", |wait| consumer.fetch_watermarks(topic, partition, wait))
    }

    /// The partitions that are shown: where each begins, and where it ends as of now.
    fn stands(&self, consumer: &BaseConsumer<Cluster>, tail: &Tail) -> Result<BTreeMap<i32, (i64, i64)>> {
        let admin = Admin::new(&self.properties, &self.cluster, self.patience)?;
        let count = topics::count_in(&admin.metadata()?, &self.cluster, &tail.topic)?;
        let partitions = match tail.partition {
            Some(partition) if partition as usize >= count => {
                return Err(Error::input(format!("topic '{}' has no partition {partition}, only 0 to {}", tail.topic, count - 1)));
            }
            Some(partition) => partition as i32..partition as i32 + 1,
            None => 0..i32::try_from(count).unwrap_or(i32::MAX),
        };
        let mut stands = BTreeMap::new();
        for partition in partitions {
            let (low, high) = self.watermarks(consumer, &tail.topic, partition)?;
            let begin = match tail.from {
                TailFrom::Earliest => low,
                TailFrom::Latest => high,
                TailFrom::Offset(offset) => offset.clamp(low, high),
                TailFrom::Last(count) => high.saturating_sub(count.max(0)).max(low),
                TailFrom::Time(micros) => self.at_time(consumer, &tail.topic, partition, micros)?.unwrap_or(high),
            };
            stands.insert(partition, (begin, high));
        }
        Ok(stands)
    }

    /// The first record at or after a time.
    fn at_time(&self, consumer: &BaseConsumer<Cluster>, topic: &str, partition: i32, micros: i64) -> Result<Option<i64>> {
        let mut times = TopicPartitionList::new();
        // Up to the next millisecond: Kafka's times have no finer part.
        let millis = micros.div_euclid(MICROS_PER_MILLI) + i64::from(micros.rem_euclid(MICROS_PER_MILLI) > 0);
        let set = times.add_partition_offset(topic, partition, Offset::Offset(millis));
        set.map_err(|e| Error::bug("a partition list refused a time").because(e))?;
        let found = self.cluster.ask(self.patience, "find a time", |wait| consumer.offsets_for_times(times.clone(), wait))?;
        Ok(match found.find_partition(topic, partition).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        })
    }

    /// Reads pages until nobody wants more, or all partitions are read to where they ended at the beginning.
    fn read_pages(&self, tail: &Tail, pages: &mpsc::Sender<Vec<Whole>>) -> Result<()> {
        let consumer = self.consumer()?;
        let stands = self.stands(&consumer, tail)?;
        let mut assigned = TopicPartitionList::new();
        let mut open: BTreeSet<i32> = BTreeSet::new();
        for (partition, (begin, end)) in &stands {
            if tail.follow || begin < end {
                let place = assigned.add_partition_offset(&tail.topic, *partition, Offset::Offset(*begin));
                place.map_err(|e| Error::bug("a partition list refused an offset").because(e))?;
                open.insert(*partition);
            }
        }
        consumer.assign(&assigned).map_err(|e| Error::failed(format!("cannot read topic '{}'", tail.topic)).because(e))?;
        while (tail.follow || !open.is_empty()) && !pages.is_closed() {
            let (mut page, mut bytes) = (Vec::new(), 0);
            let mut next = consumer.poll(WAIT);
            while let Some(read) = next {
                match read {
                    Ok(message) => {
                        let end = stands.get(&message.partition()).map_or(i64::MAX, |(_, end)| *end);
                        if tail.follow || message.offset() < end {
                            bytes += message.payload_len() + message.key_len();
                            page.push(whole(&message));
                        }
                        if message.offset() + 1 >= end {
                            open.remove(&message.partition());
                        }
                    }
                    // Behind the last record there may stand what is not shown: marks of transactions.
                    Err(KafkaError::PartitionEOF(partition)) => _ = open.remove(&partition),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        let text = format!("cannot read topic '{}' of Kafka at {}", tail.topic, self.cluster.brokers());
                        return Err(Error::failed(text).because(error));
                    }
                }
                let full = page.len() >= PAGE_RECORDS || bytes >= PAGE_BYTES;
                next = if full { None } else { consumer.poll(Duration::ZERO) };
            }
            if let Some(refusal) = self.cluster.refusal() {
                return Err(refusal);
            }
            if !page.is_empty() && pages.blocking_send(page).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn sender(&self) -> Result<Arc<Sender>> {
        let mut sender = self.sender.lock();
        if let Some(sender) = sender.as_ref() {
            return Ok(sender.clone());
        }
        let mut config = self.properties.config(&[("partitioner", "murmur2_random"), ("message.timeout.ms", "30000"), ("linger.ms", "5")]);
        config.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
        Ok(sender.insert(Arc::new(Sender::new(&config, self.cluster.clone())?)).clone())
    }

    /// Each to the partition that it names, or by its key.
    fn send(&self, topic: &str, records: &[Whole]) -> Result<()> {
        let sender = self.sender()?;
        let count = topics::count(sender.producer().client(), &self.cluster, topic, self.patience)?;
        let partitions = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(gone) = records.iter().filter_map(|record| record.partition).find(|partition| *partition >= partitions) {
            return Err(Error::input(format!("topic '{topic}' has no partition {gone}, only 0 to {}", count - 1)));
        }
        for whole in records {
            let headers: Vec<(String, Bytes)> = whole.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
            let record = EncodedRecord {
                row: 0,
                key: whole.key.as_ref().map(|key| &key.0[..]),
                value: whole.value.as_ref().map(|value| &value.0[..]),
                headers: &headers,
                timestamp_micros: whole.timestamp_micros,
            };
            let partitioning = if whole.partition.is_some() { Partitioning::Fixed } else { Partitioning::Default };
            let target = Target::new(topic, count, partitioning);
            let mut records = EncodedRecords::default();
            records.push(&record);
            sender.send(&target, whole.partition.unwrap_or(0) as usize, &records)?;
        }
        settle(&sender)
    }

    /// The way to the topic of `put`, made with its first records.
    fn putting(&self, put: &Put) -> Result<Arc<Putting>> {
        let mut putting = self.putting.lock();
        if let Some(putting) = putting.as_ref() {
            return Ok(putting.clone());
        }
        let sender = self.sender()?;
        let count = topics::count(sender.producer().client(), &self.cluster, &put.topic, self.patience)?;
        let partitioning = match put.partition {
            Some(partition) if partition as usize >= count => {
                return Err(Error::input(format!("topic '{}' has no partition {partition}, only 0 to {}", put.topic, count - 1)));
            }
            // All by one writer, whose number is the partition's.
            Some(_) => Partitioning::Fixed,
            None => Partitioning::Default,
        };
        let target = Target::new(&put.topic, count, partitioning);
        Ok(putting.insert(Arc::new(Putting { sender, target })).clone())
    }

    fn put(&self, put: &Put, records: &[ByHand]) -> Result<u64> {
        let putting = self.putting(put)?;
        let pairs = records.iter().map(|record| (record.key.as_deref().map(str::as_bytes), record.value.as_slice()));
        let records = EncodedRecords::of_pairs(pairs);
        putting.sender.send(&putting.target, put.partition.unwrap_or(0) as usize, &records)?;
        settle(&putting.sender)?;
        Ok(records.len() as u64)
    }
}

/// Waits until everything is delivered. A person waits for an answer: what does not arrive is not tried for ever.
fn settle(sender: &Sender) -> Result<()> {
    sender.flush(DELIVERY).map_err(|e| match e.kind() {
        Kind::Restart => Error::unreachable(e.message()),
        _ => e,
    })
}

/// How long a topic keeps its records.
fn kept(settings: &Settings) -> String {
    let value = |name: &str| settings.get(name).map_or("", |setting| setting.value.as_str());
    let policy = value("cleanup.policy");
    let time = match value("retention.ms").parse::<i64>() {
        Ok(ms) if ms >= 0 => Length(ms.saturating_mul(MICROS_PER_MILLI)).to_string(),
        _ => "for ever".to_owned(),
    };
    match (policy.contains("compact"), policy.contains("delete")) {
        (true, true) => format!("compacted, {time}"),
        (true, false) => "compacted".to_owned(),
        _ => time,
    }
}

fn whole(message: &BorrowedMessage<'_>) -> Whole {
    let blob = |bytes: &[u8]| Blob(Bytes::copy_from_slice(bytes));
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), blob(header.value.unwrap_or_default()))).collect()
    });
    Whole {
        partition: u32::try_from(message.partition()).ok(),
        offset: message.offset(),
        timestamp_micros: message.timestamp().to_millis().map(|millis| millis.saturating_mul(MICROS_PER_MILLI)),
        key: message.key().map(blob),
        headers,
        value: message.payload().map(blob),
        properties: Default::default(),
    }
}

fn line(record: &Whole) -> String {
    let headers: Vec<(String, Bytes)> = record.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    let shown = Shown {
        partition: record.partition.unwrap_or_default(),
        offset: record.offset,
        timestamp_micros: record.timestamp_micros,
        key: record.key.as_ref().map(|key| &key.0[..]),
        headers: &headers,
        value: record.value.as_ref().map(|value| &value.0[..]),
    };
    shown.line()
}

#[async_trait]
impl Look for KafkaLook {
    /// All topics but Kafka's own and ours (`__…`), by name.
    async fn list(&self) -> Result<Listing> {
        let cluster = self.cluster.clone();
        off_thread(move || cluster.list()).await
    }

    async fn tail(&self, tail: &Tail, show: &mut (dyn Show + '_)) -> Result<()> {
        let (pages, mut read) = mpsc::channel(PAGES);
        let (cluster, tail) = (self.cluster.clone(), tail.clone());
        let reading = tokio::spawn(off_thread(move || cluster.read_pages(&tail, &pages)));
        while let Some(page) = read.recv().await {
            if !show.show(page.iter().map(line).collect()).await? {
                break;
            }
        }
        drop(read);
        reading.await.map_err(|e| Error::bug("reading a topic stopped").because(e))?
    }

    async fn read(&self, topic: &str, take: &mut (dyn FnMut(Vec<Whole>) -> Result<()> + Send)) -> Result<()> {
        let (pages, mut read) = mpsc::channel(PAGES);
        let (from, topic) = (TailFrom::Earliest, topic.to_owned());
        let tail = Tail { topic, partition: None, from, limit: None, follow: false, stands: Vec::new() };
        let cluster = self.cluster.clone();
        let reading = tokio::spawn(off_thread(move || cluster.read_pages(&tail, &pages)));
        while let Some(page) = read.recv().await {
            take(page)?;
        }
        reading.await.map_err(|e| Error::bug("reading a topic stopped").because(e))?
    }

    async fn send(&self, topic: &str, records: Vec<Whole>) -> Result<()> {
        let (cluster, topic) = (self.cluster.clone(), topic.to_owned());
        off_thread(move || cluster.send(&topic, &records)).await
    }

    async fn put(&self, put: &Put, records: Vec<ByHand>) -> Result<u64> {
        let (cluster, put) = (self.cluster.clone(), put.clone());
        off_thread(move || cluster.put(&put, &records)).await
    }
}
