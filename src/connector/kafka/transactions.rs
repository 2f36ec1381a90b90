//! Exactly once: one producer and one transaction per checkpoint for all Kafka sinks of a pipeline, with the epoch's
//! marker in it.
//!
//! ```text
//!  writers of generation g ─▶ transaction g ── prepare: flush, marker, flush ── commit ─▶ generation g+1 may be written
//!  writers that have passed the barrier: kept back until then (bounded: who writes more waits for room)
//! ```
//! A generation is the number of checkpoints since the start of the run; writers count along by their `prepare`s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use tokio::sync::Notify;

use super::client::{Cluster, Properties, fault};
use super::marker;
use super::producer::{Sender, Target};
use crate::connector::transaction::TransactionGroup;
use crate::connector::trouble::Troubles;
use crate::error::{Error, Kind, Result};
use crate::fault::{Point, reach};
use crate::format::EncodedRecords;

/// Bytes of the next generation that are kept back before writers wait.
const KEPT_BACK_BYTES: usize = 32 << 20;
/// How long a writer without room waits before it looks again.
const ROOM_WAIT: Duration = Duration::from_millis(5);
/// How long deliveries may take before the transaction is given up.
const DELIVERY: Duration = Duration::from_secs(60);
/// Shortest time that brokers give a transaction.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(120);
/// How long the brokers have to settle what an earlier instance left.
const SETTLING: Duration = Duration::from_secs(60);

/// The transactions of the pipelines of an engine: one group each.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    of_pipeline: Arc<Mutex<BTreeMap<String, Arc<Transactions>>>>,
}

impl Groups {
    /// The group of a pipeline, for a sink. All its sinks must be in one cluster and have the same
    /// properties, and those that say how the id begins must agree.
    pub fn of(
        &self,
        properties: &Properties,
        prefix: Option<&str>,
        patience: Duration,
        (pipeline, troubles): (&str, &Troubles),
    ) -> Result<Arc<Transactions>> {
        let group = self.known(properties, patience, pipeline, troubles);
        {
            let mut said = group.said.lock();
            if (said.by_sink && said.properties != *properties) || !said.properties.reaches_as(properties) {
                return Err(differ("'sink.delivery-guarantee' = 'exactly-once'", &said.properties, properties));
            }
            (said.by_sink, said.properties) = (true, properties.clone());
        }
        group.begins(prefix)?;
        Ok(group)
    }

    /// The same for what is written beside the sinks: it takes the client that they have, or will have.
    pub fn beside(
        &self,
        properties: &Properties,
        prefix: Option<&str>,
        patience: Duration,
        (pipeline, troubles): (&str, &Troubles),
    ) -> Result<Arc<Transactions>> {
        let group = self.known(properties, patience, pipeline, troubles);
        let said = group.said.lock().properties.clone();
        if !said.reaches_as(properties) {
            return Err(differ("dead letters", &said, properties));
        }
        group.begins(prefix)?;
        Ok(group)
    }

    fn known(&self, properties: &Properties, patience: Duration, pipeline: &str, troubles: &Troubles) -> Arc<Transactions> {
        let mut groups = self.of_pipeline.lock();
        let group = groups.entry(pipeline.to_owned()).or_insert_with(|| {
            let cluster = Cluster::new(properties, troubles.clone());
            let said = Said { properties: properties.clone(), by_sink: false, prefix: None };
            Arc::new(Transactions::new(pipeline.to_owned(), said, cluster, patience))
        });
        group.clone()
    }
}

fn differ(what: &str, said: &Properties, other: &Properties) -> Error {
    fault(format!(
        "{what}: the 'properties.*' differ from those of another sink of the pipeline, and one transaction reaches one cluster with one \
         client; make them equal, or choose 'at-least-once' for one of them ({} and {})",
        said.brokers(),
        other.brokers()
    ))
}

/// What the tables say of their transaction.
#[derive(Debug)]
struct Said {
    properties: Properties,
    /// They are those of a sink.
    by_sink: bool,
    /// How the id begins, where one says so.
    prefix: Option<String>,
}

/// One transaction per checkpoint.
#[derive(Debug)]
pub struct Transactions {
    pipeline: String,
    said: Mutex<Said>,
    cluster: Cluster,
    patience: Duration,
    /// The client of the run; none before it has begun.
    sender: RwLock<Option<Arc<Sender>>>,
    /// Whose rows may be written. Held (to read) while rows are handed over, so that nobody moves on meanwhile.
    gate: RwLock<Gate>,
    kept_back: Mutex<KeptBack>,
    /// The gate has moved on.
    moved: Notify,
}

#[derive(Debug, Default)]
struct Gate {
    generation: u64,
    /// Its transaction has begun.
    begun: Mutex<bool>,
}

/// Rows of later generations.
#[derive(Debug, Default)]
struct KeptBack {
    rows: BTreeMap<u64, Vec<(Arc<Target>, usize, EncodedRecords)>>,
    bytes: usize,
}

impl Gate {
    fn send(&self, sender: &Sender, target: &Target, writer: usize, records: &EncodedRecords) -> Result<()> {
        {
            let mut begun = self.begun.lock();
            if !*begun {
                sender.producer().begin_transaction().map_err(|e| sender.failure(&e, "a new transaction"))?;
                *begun = true;
            }
        }
        sender.send(target, writer, records)
    }
}

impl Transactions {
    fn new(pipeline: String, said: Said, cluster: Cluster, patience: Duration) -> Self {
        let (sender, gate, kept_back) = Default::default();
        Transactions { pipeline, said: Mutex::new(said), cluster, patience, sender, gate, kept_back, moved: Notify::new() }
    }

    /// The id begins so, says a table.
    fn begins(&self, prefix: Option<&str>) -> Result<()> {
        let Some(prefix) = prefix else { return Ok(()) };
        let mut said = self.said.lock();
        match said.prefix.as_deref() {
            Some(other) if other != prefix => Err(fault(format!(
                "'sink.transactional-id-prefix' = '{prefix}', another sink of the pipeline has '{other}': all share one transaction"
            ))),
            _ => {
                said.prefix = Some(prefix.to_owned());
                Ok(())
            }
        }
    }

    fn properties(&self) -> Properties {
        self.said.lock().properties.clone()
    }

    /// The client of the run.
    pub fn sender(&self) -> Result<Arc<Sender>> {
        self.sender.read().clone().ok_or_else(|| Error::bug("rows for Kafka before the run has begun"))
    }

    /// Writes `records`, or keeps them back until their generation comes.
    pub fn write(&self, generation: u64, target: &Arc<Target>, writer: usize, records: &mut EncodedRecords) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let gate = self.gate.read();
        if generation == gate.generation {
            return gate.send(self.sender()?.as_ref(), target, writer, records);
        }
        let records = std::mem::take(records);
        let mut kept_back = self.kept_back.lock();
        kept_back.bytes += records.size_bytes();
        kept_back.rows.entry(generation).or_default().push((target.clone(), writer, records));
        Ok(())
    }

    /// Is there no room for more rows of `generation` now?
    fn is_full(&self, generation: u64) -> bool {
        match generation > self.gate.read().generation {
            true => self.kept_back.lock().bytes > KEPT_BACK_BYTES,
            false => self.sender.read().as_ref().is_some_and(|sender| sender.is_full()),
        }
    }

    /// Waits until there is room; `None` = there is.
    pub fn room(self: &Arc<Self>, generation: u64) -> Option<BoxFuture<'static, Result<()>>> {
        if !self.is_full(generation) {
            return None;
        }
        let group = self.clone();
        Some(Box::pin(async move {
            while group.is_full(generation) {
                // Also looked at now and then: deliveries make room without a word.
                _ = tokio::time::timeout(ROOM_WAIT, group.moved.notified()).await;
                group.sender()?.check()?;
            }
            Ok(())
        }))
    }

    fn new_sender(&self, checkpoint_interval: Duration) -> Result<Sender> {
        let least = 2 * checkpoint_interval + DELIVERY;
        let millis = |duration: Duration| duration.as_millis().to_string();
        let properties = self.properties();
        let timeout = match properties.get("transaction.timeout.ms") {
            Some(text) => {
                let given: u64 = text.parse().map_err(|_| fault(format!("'properties.transaction.timeout.ms' = '{text}' is no number")))?;
                if Duration::from_millis(given) < least {
                    return Err(fault(format!(
                        "'properties.transaction.timeout.ms' = '{given}' is too short: a checkpoint every {checkpoint_interval:?} needs at \
                         least {} (two of them, and {DELIVERY:?} for deliveries)",
                        least.as_millis()
                    )));
                }
                given.to_string()
            }
            None => millis(least.max(SHORTEST_TRANSACTION)),
        };
        let mut config = properties.config(&[
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", &millis(DELIVERY)),
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "131072"),
        ]);
        config.set("transactional.id", self.id()).set("enable.idempotence", "true").set("transaction.timeout.ms", timeout);
        config.set("delivery.report.only.error", "true");
        Sender::new(&config, self.cluster.clone())
    }

    /// Commits; asks again where the outcome is not known yet.
    fn commit_transaction(&self, sender: &Sender, epoch: u64) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = sender.producer().commit_transaction(Duration::from_secs(10)) {
            let again = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable());
            let failure = sender.failure(&error, &format!("the commit of epoch {epoch}"));
            if !again || failure.kind() == Kind::Fenced || started.elapsed() > DELIVERY {
                return Err(failure);
            }
            tracing::debug!("the commit of epoch {epoch} is tried again: {error}");
        }
        Ok(())
    }

    /// Fences and settles, for as long as that takes.
    fn fence(&self, sender: &Sender) -> Result<()> {
        let started = Instant::now();
        loop {
            let Err(error) = sender.producer().init_transactions(Duration::from_secs(10)) else { return Ok(()) };
            if let Some(refusal) = self.cluster.refusal() {
                return Err(refusal);
            }
            let code = error.rdkafka_error_code();
            if code == Some(RDKafkaErrorCode::InvalidTransactionTimeout) {
                return Err(fault(
                    "the brokers do not allow so long a transaction: raise their 'transaction.max.timeout.ms', or take checkpoints more often",
                ));
            }
            let waits = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable())
                || super::client::is_passing(&error)
                || code == Some(RDKafkaErrorCode::ConcurrentTransactions);
            if !waits {
                return Err(sender.failure(&error, &format!("the transactional id '{}'", self.id())));
            }
            if started.elapsed() > self.patience.max(SETTLING) {
                let text = format!("cannot begin transactions '{}' in Kafka at {}", self.id(), self.cluster.brokers());
                return Err(Error::unreachable(format!("{text}: tried for {} s", started.elapsed().as_secs())).because(error));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl TransactionGroup for Transactions {
    fn id(&self) -> String {
        format!("{}-{}", self.said.lock().prefix.as_deref().unwrap_or("eagre"), self.pipeline)
    }

    fn begin(&self, checkpoint_interval: Duration) -> Result<Option<u64>> {
        // What an earlier run in this process left goes with its client.
        *self.sender.write() = None;
        *self.gate.write() = Gate::default();
        *self.kept_back.lock() = KeptBack::default();
        let sender = self.new_sender(checkpoint_interval)?;
        let properties = self.properties();
        properties.warn_of_clear_text();
        // Whether the brokers are there is asked first: an answer says more than a transaction that does not begin.
        marker::make_topic(&properties, &self.cluster, self.patience)?;
        self.fence(&sender)?;
        reach(Point::Fenced);
        let epoch = marker::newest(&properties, &self.cluster, &self.id(), self.patience)?;
        *self.sender.write() = Some(Arc::new(sender));
        Ok(epoch)
    }

    fn prepare(&self, epoch: u64) -> Result<bool> {
        if !*self.gate.read().begun.lock() {
            return Ok(false);
        }
        let sender = self.sender()?;
        sender.flush(DELIVERY)?;
        reach(Point::Flushed);
        marker::write(&sender, &self.id(), epoch)?;
        sender.flush(DELIVERY)?;
        Ok(true)
    }

    fn commit(&self, epoch: u64) -> Result<()> {
        let sender = self.sender()?;
        if *self.gate.read().begun.lock() {
            self.commit_transaction(&sender, epoch)?;
        }
        let mut gate = self.gate.write();
        *gate = Gate { generation: gate.generation + 1, begun: Mutex::new(false) };
        let waiting = {
            let mut kept_back = self.kept_back.lock();
            let waiting = kept_back.rows.remove(&gate.generation).unwrap_or_default();
            kept_back.bytes -= waiting.iter().map(|(_, _, records)| records.size_bytes()).sum::<usize>();
            waiting
        };
        for (target, writer, records) in waiting {
            gate.send(&sender, &target, writer, &records)?;
        }
        drop(gate);
        self.moved.notify_waiters();
        Ok(())
    }
}
