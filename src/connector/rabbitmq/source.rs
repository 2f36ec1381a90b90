//! Describes queues or streams as a source: one partition each.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

use super::NAME;
use super::away::Open;
use super::connection::Broker;
use super::consume::{Consuming, depth};
use super::management::Management;
use super::options::{OnGap, TableOptions};
use super::queue_reader::{QueuePosition, QueueReader};
use super::stream_reader::{Attach, StreamPosition, StreamReader};
use crate::connector::environment::Environment;
use crate::connector::options::parts;
use crate::connector::reading::{Beginning, Startup};
use crate::connector::trouble::Troubles;
use crate::connector::{Partition, Position, Reader, Source};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// Messages that a queue hands out unacknowledged, when nothing else is said.
const QUEUE_PREFETCH: u16 = 50_000;
/// The same for streams, where it is only credit.
const STREAM_PREFETCH: u16 = 5_000;
/// A delivery limit below this loses messages when the process is killed as often.
const DELIVERY_LIMIT: i64 = 1_000;

/// Queues or streams to read.
pub struct RabbitSource {
    broker: Arc<Broker>,
    management: Option<Management>,
    names: Vec<String>,
    kind: SourceKind,
    prefetch: u16,
    troubles: Troubles,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
enum SourceKind {
    Queues,
    Streams { start: Attach, on_gap: OnGap },
}

impl std::fmt::Debug for RabbitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl RabbitSource {
    /// The source of `table`.
    pub fn new(table: &str, options: &TableOptions, env: &Environment) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': {text}"));
        if !env.run.unbounded {
            return Err(fault(format!("table '{table}' never ends, and a query reads what is stored: run a pipeline that reads it")));
        }
        let start = startup(&options.beginning).map_err(fault)?;
        let options = &options.own;
        for (option, given) in [
            ("exchange", options.exchange.is_some()),
            ("routing-key", options.routing_key.is_some()),
            ("sink.dead-letter.exchange", options.dead_letter_exchange.is_some()),
        ] {
            if given {
                return Err(fault(format!("option '{option}' is a sink's, and table '{table}' is read")));
            }
        }
        let (names, kind) = match (&options.queue, &options.stream) {
            (Some(queues), None) if start == Attach::First => (queues, SourceKind::Queues),
            (Some(_), None) => return Err(fault("'scan.startup.…' is for a 'stream': a queue is read from its head".into())),
            (None, Some(streams)) => (streams, SourceKind::Streams { start, on_gap: options.on_gap }),
            _ => return Err(fault(format!("table '{table}' is read: it needs the option 'queue' or 'stream', one of them"))),
        };
        let names: Vec<String> = parts(names).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(fault(format!("table '{table}': no queue is named")));
        }
        let broker = Broker::new(options, &env.base_dir)?;
        let management = options.management_uri.as_deref().map(|uri| Management::new(uri, &broker)).transpose()?;
        let default = if matches!(kind, SourceKind::Queues) { QUEUE_PREFETCH } else { STREAM_PREFETCH };
        let prefetch = options.prefetch.unwrap_or(default);
        if prefetch == 0 {
            return Err(fault("option 'prefetch' is 0, which would mean without bound; it must be 1 to 65535".into()));
        }
        let (troubles, metrics) = (env.troubles.clone(), env.metrics.clone());
        Ok(RabbitSource { broker: Arc::new(broker), management, names, kind, prefetch, troubles, metrics })
    }

    /// Are they there, and do they keep messages long enough?
    async fn check(&self) -> Result<()> {
        let connection = self.broker.connect_at_start().await?;
        for name in &self.names {
            // A channel each: a queue that is missing closes it.
            let channel = connection.create_channel().await.map_err(|e| self.broker.fault(e))?;
            if let Err(error) = depth(&self.broker, &channel, name).await {
                let near = match &self.management {
                    Some(management) if error.kind() == Kind::Input => management.near_queue(name).await,
                    _ => String::new(),
                };
                return Err(Error::new(error.kind(), format!("{} cannot be read{near}", self.describe())).because(error));
            }
        }
        if let (Some(management), SourceKind::Queues) = (&self.management, &self.kind) {
            for name in &self.names {
                match management.delivery_limit(name).await {
                    Ok(Some(limit)) if limit < DELIVERY_LIMIT => tracing::warn!(
                        "queue '{name}' has a delivery limit of {limit}: so many crashes while a message is unacknowledged and the \
                         broker gives it up; a limit of {DELIVERY_LIMIT} or more is safe"
                    ),
                    Ok(_) => {}
                    Err(error) => tracing::warn!("queue '{name}': whether it has a delivery limit is not known: {error}"),
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Source for RabbitSource {
    fn describe(&self) -> String {
        let what = if matches!(self.kind, SourceKind::Queues) { "queue" } else { "stream" };
        format!("{NAME} {what} {} of {}", self.names.join(";"), self.broker.name())
    }

    fn identity(&self) -> String {
        format!("{NAME} {} {}", self.broker.vhost(), self.names.join(";"))
    }

    fn bounded(&self) -> bool {
        false
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        self.check().await?;
        if matches!(self.kind, SourceKind::Queues) {
            tracing::info!("{}: messages with a message id count once, those without one at least once", self.describe());
        }
        Ok((0..).zip(&self.names).map(|(index, name)| Partition { index, name: name.clone() }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let corrupt = |position: &Position, e: serde_json::Error| {
            Error::corrupt(format!("{}: {} is no position of a reader of {NAME}", partition.name, position.0)).because(e)
        };
        let connection = self.broker.connect_at_start().await?;
        let (broker, name) = (self.broker.clone(), partition.name.as_str());
        match &self.kind {
            SourceKind::Queues => {
                let position = position
                    .map(|position| serde_json::from_value::<QueuePosition>(position.0.clone()).map_err(|e| corrupt(position, e)))
                    .transpose()?;
                let consuming = Consuming::start(&broker, connection, name, self.prefetch, Vec::new()).await?;
                let open: Open<Consuming> = {
                    let (broker, name, prefetch) = (broker.clone(), name.to_owned(), self.prefetch);
                    Arc::new(move || {
                        let (broker, name) = (broker.clone(), name.clone());
                        async move {
                            let connection = broker.connect().await?;
                            Consuming::start(&broker, connection, &name, prefetch, Vec::new()).await
                        }
                        .boxed()
                    })
                };
                let outside = (self.troubles.clone(), &self.metrics);
                Ok(Box::new(QueueReader::new(broker, name, self.prefetch, position, (consuming, open), outside)))
            }
            SourceKind::Streams { start, on_gap } => {
                let kept = match position {
                    Some(position) => {
                        serde_json::from_value::<StreamPosition>(position.0.clone()).map_err(|e| corrupt(position, e))?.offset
                    }
                    None => None,
                };
                let attach = kept.map_or_else(|| start.clone(), Attach::Offset);
                let outside = (*on_gap, self.troubles.clone());
                Ok(Box::new(StreamReader::start(broker, connection, name, self.prefetch, attach, outside).await?))
            }
        }
    }
}

/// Where the options say that reading a stream begins.
fn startup(beginning: &Beginning<Startup>) -> Result<Attach, String> {
    beginning.check(beginning.mode.takes())?;
    Ok(match beginning.mode {
        Startup::EarliestOffset => Attach::First,
        Startup::LatestOffset => Attach::Next,
        Startup::Timestamp => {
            let ms = beginning.timestamp_ms.unwrap_or_default();
            let seconds = u64::try_from(ms.div_euclid(1_000));
            Attach::Time(seconds.map_err(|_| format!("'scan.startup.timestamp-millis': {ms} is before 1970"))?)
        }
        Startup::SpecificOffsets => {
            let text = beginning.offsets.as_deref().unwrap_or_default();
            let offset = text.trim().parse().map_err(|_| format!("option 'scan.startup.specific-offsets': '{text}' is not a whole number"));
            Attach::Offset(offset?)
        }
    })
}
