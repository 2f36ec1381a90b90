//! Reads a queue: hands over what is delivered, acknowledges what a confirmed checkpoint covers, drops what comes again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::asked::Asked;
use super::away::{Kept, Open};
use super::connection::Broker;
use super::consume::{Consuming, PATIENCE};
use super::records::Gathered;
use super::redelivery::Redelivery;
use crate::connector::trouble::Troubles;
use crate::connector::{Position, Read, Reader};
use crate::error::{Error, Result};
use crate::metrics::{Counter, Metrics};

/// Ids are kept for so many times the prefetch: each crash may leave one prefetch of messages that come again.
const CRASHES_REMEMBERED: usize = 4;
/// How often the queue is asked how many messages wait.
const ASK_WAITING: Duration = Duration::from_secs(1);

/// Where a reader stands while it runs: told after every chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    /// Records handed over, over all runs.
    count: i64,
    /// Which of this reader's connections the tag belongs to.
    connection: u64,
    /// Tag of the last delivery.
    tag: u64,
}

/// Where a reader stood, as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuePosition {
    /// Records handed over, over all runs.
    pub count: i64,
    /// Message ids of those among them that the broker may deliver again, oldest first.
    pub ids: Vec<String>,
}

/// Reads one queue.
pub struct QueueReader {
    broker: Arc<Broker>,
    queue: String,
    prefetch: u16,
    consuming: Kept<Consuming>,
    open: Open<Consuming>,
    stand: Stand,
    /// Tag up to which this connection's deliveries are acknowledged.
    acknowledged: u64,
    redelivery: Redelivery,
    /// A message without an id has come, and it has been said what that means.
    nameless_told: bool,
    again: Counter,
    /// Messages that wait in the queue.
    waiting: Asked,
}

impl QueueReader {
    /// Reads `queue` over `consuming`; `open` opens it again.
    pub fn new(
        broker: Arc<Broker>,
        queue: &str,
        prefetch: u16,
        position: Option<QueuePosition>,
        (consuming, open): (Consuming, Open<Consuming>),
        (troubles, metrics): (Troubles, &Metrics),
    ) -> Self {
        let position = position.unwrap_or(QueuePosition { count: 0, ids: Vec::new() });
        QueueReader {
            queue: queue.to_owned(),
            prefetch,
            consuming: Kept::new(broker.clone(), troubles, consuming),
            open,
            stand: Stand { count: position.count, connection: 0, tag: 0 },
            acknowledged: 0,
            redelivery: Redelivery::restored(position.ids, position.count),
            nameless_told: false,
            again: metrics.counter("eagre_redelivered_dropped_total", &[("queue", queue)]),
            waiting: Asked::new(ASK_WAITING),
            broker,
        }
    }

    /// What was delivered over the connection that has gone comes again.
    fn disconnected(&mut self, error: Error) -> Result<()> {
        self.redelivery.disconnected();
        self.stand = Stand { connection: self.stand.connection + 1, tag: 0, ..self.stand };
        self.acknowledged = 0;
        self.consuming.broke(error)
    }
}

#[async_trait]
impl Reader for QueueReader {
    async fn read(&mut self) -> Result<Read> {
        let Some(consuming) = self.consuming.get() else {
            self.consuming.reopen(&self.open, Instant::now() + PATIENCE).await?;
            return Ok(Read::Away);
        };
        let deliveries = match consuming.take(&self.broker).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                self.disconnected(error)?;
                return Ok(Read::Away);
            }
        };
        let base = self.stand.count;
        let mut gathered = Gathered::default();
        for delivery in &deliveries {
            self.stand.tag = delivery.delivery_tag;
            match delivery.properties.message_id() {
                Some(id) if !self.redelivery.is_new(id.as_str(), delivery.redelivered, delivery.delivery_tag, self.stand.count) => {
                    self.again.add(1);
                    continue;
                }
                Some(_) => {}
                None if !self.nameless_told => {
                    self.nameless_told = true;
                    tracing::warn!("queue '{}': a message has no message id: those that come again are counted again", self.queue);
                }
                None => {}
            }
            gathered.push(delivery, self.stand.count);
            self.stand.count += 1;
        }
        self.redelivery.bound(usize::from(self.prefetch) * CRASHES_REMEMBERED);
        if deliveries.is_empty() { Ok(Read::Idle) } else { Ok(Read::Chunk(gathered.into_chunk(base))) }
    }

    fn lag(&mut self) -> Option<u64> {
        let (consuming, broker) = (&mut self.consuming, &self.broker);
        self.waiting.look(|| consuming.get().map(|consuming| consuming.waiting(broker)))
    }

    fn position(&self) -> Position {
        Position(serde_json::json!(self.stand))
    }

    fn kept(&self, position: &Position) -> Position {
        // What this reader has told itself reads.
        let Ok(stand) = serde_json::from_value::<Stand>(position.0.clone()) else { return position.clone() };
        let ids = self.redelivery.ids(stand.count).map(str::to_owned).collect();
        Position(serde_json::json!(QueuePosition { count: stand.count, ids }))
    }

    async fn confirmed(&mut self, position: &Position) -> Result<()> {
        // A restored position that nothing was read after: the broker is not to be told anything.
        let Ok(stand) = serde_json::from_value::<Stand>(position.0.clone()) else { return Ok(()) };
        if stand.connection != self.stand.connection || stand.tag <= self.acknowledged {
            return Ok(());
        }
        let Some(consuming) = self.consuming.get() else { return Ok(()) };
        match consuming.acknowledge(&self.broker, stand.tag).await {
            Ok(waiting) => {
                self.acknowledged = stand.tag;
                self.redelivery.acknowledged(stand.tag);
                self.waiting.told(u64::from(waiting));
                Ok(())
            }
            Err(error) => self.disconnected(error),
        }
    }

    fn wants_checkpoint(&self) -> bool {
        self.stand.tag - self.acknowledged > u64::from(self.prefetch / 2)
    }
}
