//! A consumer on a channel of a connection of its own, and what has come over it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use tokio::time::Instant;

use super::connection::Broker;
use crate::error::{Error, Kind, Result};

/// How long a read waits for messages.
pub const PATIENCE: Duration = Duration::from_millis(10);
/// Payload bytes of a chunk, and messages of one, about.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Messages of a chunk.
pub const CHUNK_MESSAGES: usize = 4_096;

/// The argument and the header that hold an offset of a stream.
pub const OFFSET: &str = "x-stream-offset";
/// Messages of a stream's last chunk that are looked at to learn where it ends.
const LAST_CHUNK: u16 = 5_000;
/// How long the first of them is waited for: a stream may be empty.
const FIRST_OF_CHUNK: Duration = Duration::from_secs(1);
/// How long the others are waited for by who has to know the end for sure.
const REST_OF_CHUNK: Duration = Duration::from_millis(200);
/// How often a stream that is not empty is asked for its end before that is given up.
const ASKED_FOR_END: usize = 10;

/// The offset of a message of a stream.
pub fn offset_of(delivery: &Delivery) -> Option<i64> {
    match delivery.properties.headers().as_ref()?.inner().get(OFFSET)? {
        AMQPValue::LongLongInt(offset) => Some(*offset),
        _ => None,
    }
}

/// A running consumer.
pub struct Consuming {
    queue: String,
    channel: Channel,
    consumer: Consumer,
    /// Goes when it is dropped, and the consumer with it.
    connection: Arc<Connection>,
}

impl Consuming {
    /// Consumes `queue` with at most `prefetch` messages unacknowledged.
    pub async fn start(
        broker: &Broker,
        connection: impl Into<Arc<Connection>>,
        queue: &str,
        prefetch: u16,
        arguments: Vec<(&str, AMQPValue)>,
    ) -> Result<Self> {
        let (connection, fault) = (connection.into(), |e| fault(broker, queue, e));
        let channel = connection.create_channel().await.map_err(fault)?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(fault)?;
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert(name.into(), value);
        }
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(short(queue)?, "".into(), options, table).await.map_err(fault)?;
        Ok(Consuming { queue: queue.to_owned(), channel, consumer, connection })
    }

    /// The messages that are here; waits a moment for the first. An error: the connection, or the consumer, is gone.
    pub async fn take(&mut self, broker: &Broker) -> Result<Vec<Delivery>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let until = Instant::now() + PATIENCE;
        while taken.len() < CHUNK_MESSAGES && bytes < CHUNK_BYTES {
            let next = if taken.is_empty() {
                let Ok(next) = tokio::time::timeout_at(until, self.consumer.next()).await else { break };
                next
            } else {
                let Some(next) = self.consumer.next().now_or_never() else { break };
                next
            };
            match next {
                Some(Ok(delivery)) => {
                    bytes += delivery.data.len();
                    taken.push(delivery);
                }
                // What came before it counts; the fault comes again.
                _ if !taken.is_empty() => break,
                Some(Err(error)) => return Err(fault(broker, &self.queue, error)),
                None => return Err(Error::unreachable(format!("queue '{}': the broker has cancelled the consumer", self.queue))),
            }
        }
        Ok(taken)
    }

    /// Acknowledges all deliveries up to `tag`; when it returns the broker has heard it.
    pub async fn acknowledge(&self, broker: &Broker, tag: u64) -> Result<u32> {
        let fault = |e| fault(broker, &self.queue, e);
        self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.map_err(fault)?;
        // An acknowledgement has no answer, but this has, and the broker answers in order.
        depth(broker, &self.channel, &self.queue).await
    }

    /// How many messages wait in the queue.
    pub fn waiting(&self, broker: &Arc<Broker>) -> BoxFuture<'static, Result<u64>> {
        let (broker, channel, queue) = (broker.clone(), self.channel.clone(), self.queue.clone());
        async move { depth(&broker, &channel, &queue).await.map(u64::from) }.boxed()
    }

    /// The offset behind the last message of a stream, about.
    pub fn end(&self, broker: &Arc<Broker>) -> BoxFuture<'static, Result<u64>> {
        let (broker, connection, stream) = (broker.clone(), self.connection.clone(), self.queue.clone());
        async move {
            let end = end_of(&broker, &connection, &stream, PATIENCE).await?;
            Ok(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
        }
        .boxed()
    }

    /// Gives credit for further messages, where acknowledging means no more than that (streams).
    pub async fn credit(&self, broker: &Broker, tag: u64) -> Result<()> {
        let acked = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
        acked.map_err(|e| fault(broker, &self.queue, e))
    }
}

/// The offset behind the last message of a stream; `None` = no message came. Its last chunk tells it, attached to on a
/// channel of its own; each message but the first is waited for `patience`.
async fn end_of(broker: &Broker, connection: &Connection, stream: &str, patience: Duration) -> Result<Option<i64>> {
    let fault = |e| fault(broker, stream, e);
    let channel = connection.create_channel().await.map_err(fault)?;
    channel.basic_qos(LAST_CHUNK, BasicQosOptions::default()).await.map_err(fault)?;
    let mut table = FieldTable::default();
    table.insert(OFFSET.into(), AMQPValue::LongString("last".into()));
    let options = BasicConsumeOptions { no_ack: false, ..BasicConsumeOptions::default() };
    let mut consumer = channel.basic_consume(short(stream)?, "".into(), options, table).await.map_err(fault)?;
    let (mut end, mut waits) = (None, FIRST_OF_CHUNK);
    while let Ok(Some(delivery)) = tokio::time::timeout(waits, consumer.next()).await {
        end = offset_of(&delivery.map_err(fault)?).map(|offset| offset + 1).or(end);
        waits = patience;
    }
    channel.close(200, "".into()).await.map_err(fault)?;
    Ok(end)
}

/// The same where an answer that comes late must not be taken for an empty stream.
pub async fn end_for_sure(broker: &Broker, connection: &Connection, stream: &str) -> Result<i64> {
    for _ in 0..ASKED_FOR_END {
        if let Some(end) = end_of(broker, connection, stream, REST_OF_CHUNK).await? {
            return Ok(end);
        }
        let channel = connection.create_channel().await.map_err(|e| fault(broker, stream, e))?;
        let messages = depth(broker, &channel, stream).await?;
        channel.close(200, "".into()).await.map_err(|e| fault(broker, stream, e))?;
        if messages == 0 {
            return Ok(0);
        }
    }
    Err(Error::unreachable(format!("stream '{stream}': {} does not tell where it ends", broker.thing())))
}

/// Messages that wait in a queue. An error of kind [`Kind::Input`]: there is no such queue.
pub async fn depth(broker: &Broker, channel: &Channel, queue: &str) -> Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(short(queue)?, passive, FieldTable::default()).await;
    found.map(|queue| queue.message_count()).map_err(|e| fault(broker, queue, e))
}

/// Names of AMQP are at most 255 bytes long.
pub fn short(name: &str) -> Result<lapin::types::ShortString> {
    lapin::types::ShortString::try_new(name)
        .map_err(|_| Error::input(format!("'{name}' is {} bytes long; names and keys of AMQP have at most 255", name.len())))
}

fn fault(broker: &Broker, queue: &str, error: lapin::Error) -> Error {
    let fault = broker.fault(error);
    match fault.kind() {
        Kind::Input => Error::input(format!("queue '{queue}'")).because(fault),
        _ => fault,
    }
}
