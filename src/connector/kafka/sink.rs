//! Describes a topic to be written.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use parking_lot::Mutex;
use rdkafka::producer::Producer as _;

use super::client::{Cluster, Properties, fault};
use super::options::{Guarantee, KafkaOptions, ValueFields};
use super::producer::{Sender, Target};
use super::transactions::Transactions;
use super::writer::{KafkaWriter, Out};
use super::{Formats, UPSERT, topics};
use crate::change::Changes;
use crate::connector::environment::Environment;
use crate::connector::options::parts;
use crate::connector::table::TableRequest;
use crate::connector::transaction::TransactionGroup;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Kind, Result};
use crate::format::{Binding, FormatConfig, KeyForm, KeySpec, METADATA_FROM, RecordSpec};
use crate::state::StateHandles;

/// How long a flush waits before it says that it still waits.
const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// What is made of the rows of a table.
pub fn record_spec(
    request: &TableRequest<'_>,
    connector: &str,
    formats: &Formats,
    key: Vec<usize>,
    names: Option<Vec<String>>,
    options: &KafkaOptions,
) -> RecordSpec {
    let schema = Arc::new(Schema::new(request.columns.to_vec()));
    let without_key = options.value_fields == ValueFields::ExceptKey;
    let is_metadata = |at: usize| schema.field(at).metadata().contains_key(METADATA_FROM);
    let columns = (0..schema.fields().len()).filter(|at| is_metadata(*at) || !(without_key && key.contains(at))).collect();
    let key = formats.key.as_ref().map(|format| KeySpec { columns: key, names, form: KeyForm::Format(format.clone()) });
    RecordSpec { schema, columns, key, binding: Binding::Kafka, upserts: connector == UPSERT }
}

/// A topic to write.
#[derive(Debug)]
pub struct KafkaSink {
    connector: &'static str,
    topic: String,
    options: KafkaOptions,
    properties: Properties,
    format: FormatConfig,
    spec: RecordSpec,
    cluster: Cluster,
    /// Exactly once: with the other Kafka sinks of the pipeline.
    group: Option<Arc<Transactions>>,
    /// Made at each start.
    started: Mutex<Option<(Out, Arc<Target>)>>,
}

impl KafkaSink {
    /// The sink of `table`.
    pub fn new(
        connector: &'static str,
        table: &str,
        options: KafkaOptions,
        properties: Properties,
        format: FormatConfig,
        spec: RecordSpec,
        env: &Environment,
    ) -> Result<Self> {
        let topic = options.topic.clone().ok_or_else(|| fault("the option 'topic' is missing: a pattern can only be read"))?;
        if parts(&topic).count() != 1 {
            return Err(fault(format!("'topic' = '{topic}': {table} is written, and a sink writes to one topic")));
        }
        // What the format cannot write is told before anything runs.
        format.record_encoder(&spec)?;
        let properties = properties.for_writing();
        let cluster = Cluster::new(&properties, env.troubles.clone());
        let group = match options.guarantee {
            Guarantee::ExactlyOnce => Some(env.kafka.of(
                &properties,
                options.transactional_id_prefix.as_deref(),
                options.patience(),
                (&env.run.pipeline, &env.troubles),
            )?),
            Guarantee::AtLeastOnce | Guarantee::None => None,
        };
        let started = Mutex::default();
        Ok(KafkaSink { connector, topic, options, properties, format, spec, cluster, group, started })
    }

    /// A client of its own.
    fn sender(&self) -> Result<Sender> {
        self.properties.warn_of_clear_text();
        let mut config = self.properties.config(&[
            ("partitioner", "murmur2_random"),
            // Brokers that are away are waited for as long as it takes.
            ("message.timeout.ms", "0"),
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "131072"),
        ]);
        config.set("delivery.report.only.error", "true");
        if self.options.guarantee == Guarantee::AtLeastOnce {
            config.set("enable.idempotence", "true");
        }
        Sender::new(&config, self.cluster.clone())
    }

    fn running(&self) -> Result<(Out, Arc<Target>)> {
        self.started.lock().clone().ok_or_else(|| Error::bug(format!("{} is written before its start", self.topic)))
    }
}

impl Sink for KafkaSink {
    fn describe(&self) -> String {
        format!("{} {} at {}", self.connector, self.topic, self.properties.brokers())
    }

    fn identity(&self) -> String {
        format!("{} {}", self.connector, self.topic)
    }

    fn takes(&self) -> Changes {
        if self.connector == UPSERT { Changes::Upserts } else { Changes::Inserts }
    }

    fn key_columns(&self) -> Option<Vec<usize>> {
        let upserts = self.spec.key.as_ref().filter(|_| self.connector == UPSERT);
        upserts.map(|key| key.columns.clone())
    }

    fn group(&self) -> Option<Arc<dyn TransactionGroup>> {
        self.group.clone().map(|group| group as Arc<dyn TransactionGroup>)
    }

    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        let out = match &self.group {
            Some(group) => Out::Group(group.clone()),
            None => Out::Alone(Arc::new(self.sender()?)),
        };
        let sender = out.sender()?;
        let partitions = topics::count(sender.producer().client(), &self.cluster, &self.topic, self.options.patience())?;
        let target = Target::new(&self.topic, partitions, self.options.partitioner);
        *self.started.lock() = Some((out, Arc::new(target)));
        Ok(())
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let (out, target) = self.running()?;
        Ok(Box::new(KafkaWriter::new(out, target, task, self.format.clone(), self.spec.clone())))
    }

    fn settle(&self, _epoch: u64) -> Result<()> {
        match (self.options.guarantee, self.running()?.0) {
            (_, Out::Group(_)) => Ok(()),
            (Guarantee::None, Out::Alone(sender)) => sender.check(),
            (_, Out::Alone(sender)) => loop {
                match sender.flush(FLUSH_WAIT) {
                    // Back-pressure holds the writers meanwhile; `/health` says why.
                    Err(error) if error.kind() == Kind::Restart => tracing::debug!("{error}; waiting"),
                    done => return done,
                }
            },
        }
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        match self.running()?.0 {
            Out::Alone(sender) => sender.flush(FLUSH_WAIT),
            Out::Group(_) => Ok(()),
        }
    }
}
