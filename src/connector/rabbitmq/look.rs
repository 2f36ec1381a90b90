//! A look into a broker for people: what queues there are, what is in them, and messages written by hand.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::connection::Broker;
use super::consume::{PATIENCE, short};
use super::management::Management;
use super::records::json_of;
use crate::error::{Error, Kind, Result};

/// Messages under way to or from the broker at once.
const UNDER_WAY: u16 = 1_000;

/// A queue, for a list.
#[derive(Debug, Clone, Deserialize)]
pub struct QueueFigures {
    /// Its name.
    pub name: String,
    /// `classic`, `quorum` or `stream`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Messages in it, those handed out and not acknowledged included.
    #[serde(default)]
    pub messages: u64,
    /// Handed out and not acknowledged.
    #[serde(default)]
    pub messages_unacknowledged: u64,
    /// Who reads it.
    #[serde(default)]
    pub consumers: u64,
    /// The policy that counts for it.
    #[serde(default)]
    pub policy: Option<String>,
}

/// Where a tail of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At its first message.
    First,
    /// Behind its last.
    Next,
    /// At an offset.
    Offset(i64),
    /// At a time, seconds since 1970.
    Time(u64),
}

/// A connection to look around with.
pub struct Look {
    broker: Broker,
    management: Option<Management>,
    connection: Connection,
}

/// What a name stands for.
enum Thing {
    Exchange,
    Stream,
    Queue,
}

impl Look {
    /// Connects to a named broker, which has these options; its files lie in `base_dir`.
    pub async fn connect(options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Self> {
        let options = super::broker_options(options)?;
        let broker = Broker::new(&options, base_dir)?;
        let management = options.management_uri.as_deref().map(|uri| Management::new(uri, &broker)).transpose()?;
        let connection = broker.connect_at_start().await?;
        Ok(Look { broker, management, connection })
    }

    /// All queues of the virtual host, by name.
    pub async fn queues(&self) -> Result<Vec<QueueFigures>> {
        let Some(management) = &self.management else {
            return Err(Error::input(format!("{}: 'management.uri' is missing: AMQP itself lists no queues", self.broker.thing())));
        };
        let queues: Option<Vec<QueueFigures>> = management.get(&["queues", management.vhost()]).await?;
        let mut queues = queues.unwrap_or_default();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(queues)
    }

    /// Shows messages as lines of JSON, piece by piece, until `show` says no more.
    ///
    /// Of an exchange what is published from now on, of a stream what it holds from `from` on, of a queue those at its
    /// head: they are put back, marked as redelivered.
    pub async fn tail(&self, name: &str, from: Begin, follow: bool, show: &mut (dyn AsyncShow + '_)) -> Result<()> {
        let channel = self.channel().await?;
        match self.thing(name).await? {
            Thing::Queue => self.peek(&channel, name, show).await,
            Thing::Exchange => {
                let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
                let queue = channel.queue_declare(short("")?, options, FieldTable::default()).await.map_err(|e| self.broker.fault(e))?;
                let bound =
                    channel.queue_bind(queue.name().clone(), short(name)?, short("#")?, QueueBindOptions::default(), FieldTable::default());
                bound.await.map_err(|e| self.broker.fault(e))?;
                self.follow(&channel, queue.name().as_str(), FieldTable::default(), true, show).await
            }
            Thing::Stream => {
                let offset = match from {
                    Begin::First => AMQPValue::LongString("first".into()),
                    Begin::Next => AMQPValue::LongString("next".into()),
                    Begin::Offset(offset) => AMQPValue::LongLongInt(offset),
                    Begin::Time(seconds) => AMQPValue::Timestamp(seconds),
                };
                let mut arguments = FieldTable::default();
                arguments.insert(short("x-stream-offset")?, offset);
                self.follow(&channel, name, arguments, follow, show).await
            }
        }
    }

    /// Publishes one payload a line to an exchange, or to a queue; each is confirmed and routed.
    pub async fn put(&self, name: &str, lines: Vec<(String, Vec<u8>)>) -> Result<u64> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|e| self.broker.fault(e))?;
        let to_exchange = matches!(self.thing(name).await?, Thing::Exchange);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let mut confirms = Vec::with_capacity(lines.len());
        for (key, payload) in &lines {
            let (exchange, key) = if to_exchange { (name, key.as_str()) } else { ("", name) };
            let id = uuid::Uuid::new_v4().to_string();
            let properties =
                BasicProperties::default().with_delivery_mode(2).with_content_type(short("application/json")?).with_message_id(short(&id)?);
            let going = channel.basic_publish(short(exchange)?, short(key)?, options, payload, properties).await;
            confirms.push(going.map_err(|e| self.broker.fault(e))?);
        }
        let mut put = 0;
        for (confirm, (key, _)) in confirms.into_iter().zip(&lines) {
            match confirm.await.map_err(|e| self.broker.fault(e))? {
                Confirmation::Ack(None) => put += 1,
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                    return Err(Error::failed(format!(
                        "exchange '{name}' routes the key '{key}' to no queue; {put} messages before it are put"
                    )));
                }
                _ => return Err(Error::failed(format!("{} refuses a message; {put} before it are put", self.broker.thing()))),
            }
        }
        Ok(put)
    }

    async fn channel(&self) -> Result<Channel> {
        self.connection.create_channel().await.map_err(|e| self.broker.fault(e))
    }

    /// A channel each: what is missing closes it.
    async fn thing(&self, name: &str) -> Result<Thing> {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let exchange = self.channel().await?.exchange_declare(short(name)?, ExchangeKind::Topic, passive, FieldTable::default()).await;
        if exchange.is_ok() {
            return Ok(Thing::Exchange);
        }
        let channel = self.channel().await?;
        if let Err(error) = super::consume::depth(&self.broker, &channel, name).await {
            let near = match &self.management {
                Some(management) if error.kind() == Kind::Input => management.near_queue(name).await,
                _ => String::new(),
            };
            let text = format!("there is neither an exchange nor a queue '{name}'{near}");
            return Err(if error.kind() == Kind::Input { Error::input(text) } else { error });
        }
        // A stream is not read without an offset being asked for; only it has one.
        let stream = match &self.management {
            Some(management) => {
                let found: Option<Value> = management.get(&["queues", management.vhost(), name]).await?;
                found.is_some_and(|found| found["type"] == "stream")
            }
            None => false,
        };
        Ok(if stream { Thing::Stream } else { Thing::Queue })
    }

    async fn peek(&self, channel: &Channel, queue: &str, show: &mut (dyn AsyncShow + '_)) -> Result<()> {
        loop {
            let got = channel.basic_get(short(queue)?, BasicGetOptions::default()).await.map_err(|e| self.broker.fault(e))?;
            // What is not acknowledged goes back when the channel goes.
            let Some(got) = got else { return Ok(()) };
            if !show.show(line(&got.delivery)).await? {
                return Ok(());
            }
        }
    }

    async fn follow(
        &self,
        channel: &Channel,
        queue: &str,
        arguments: FieldTable,
        follow: bool,
        show: &mut (dyn AsyncShow + '_),
    ) -> Result<()> {
        channel.basic_qos(UNDER_WAY, BasicQosOptions::default()).await.map_err(|e| self.broker.fault(e))?;
        let consumer = channel.basic_consume(short(queue)?, short("")?, BasicConsumeOptions::default(), arguments).await;
        let mut consumer = consumer.map_err(|e| self.broker.fault(e))?;
        loop {
            let next = match follow {
                true => consumer.next().await,
                // The end of a stream is where nothing more comes.
                false => match tokio::time::timeout(PATIENCE * 100, consumer.next()).await {
                    Ok(next) => next,
                    Err(_) => return Ok(()),
                },
            };
            let Some(delivery) = next.transpose().map_err(|e| self.broker.fault(e))? else { return Ok(()) };
            let goes_on = show.show(line(&delivery)).await?;
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await.map_err(|e| self.broker.fault(e))?;
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Takes lines one by one.
#[async_trait::async_trait]
pub trait AsyncShow: Send {
    /// Shows a line; false: no more.
    async fn show(&mut self, line: String) -> Result<bool>;
}

/// A message as a line of JSON.
fn line(delivery: &Delivery) -> String {
    let mut object = Map::new();
    let properties = &delivery.properties;
    let mut text = |name: &str, value: Option<&str>| _ = value.map(|value| object.insert(name.to_owned(), value.into()));
    text("exchange", Some(delivery.exchange.as_str()).filter(|exchange| !exchange.is_empty()));
    text("routing_key", Some(delivery.routing_key.as_str()));
    text("message_id", properties.message_id().as_ref().map(|id| id.as_str()));
    text("correlation_id", properties.correlation_id().as_ref().map(|id| id.as_str()));
    text("content_type", properties.content_type().as_ref().map(|kind| kind.as_str()));
    if let Some(seconds) = properties.timestamp() {
        let time = i64::try_from(*seconds).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
        object.insert(
            "timestamp".into(),
            time.map_or((*seconds).into(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into()),
        );
    }
    if let Some(headers) = properties.headers().as_ref().filter(|headers| !headers.inner().is_empty()) {
        let mut headers: Map<String, Value> = headers.into_iter().map(|(name, value)| (name.to_string(), json_of(value))).collect();
        if let Some(offset) = headers.remove("x-stream-offset") {
            object.insert("offset".into(), offset);
        }
        if !headers.is_empty() {
            object.insert("headers".into(), headers.into());
        }
    }
    let value = serde_json::from_slice(&delivery.data).unwrap_or_else(|_| match std::str::from_utf8(&delivery.data) {
        Ok(text) => Value::from(text),
        Err(_) => serde_json::json!({ "hex": delivery.data.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    });
    object.insert("value".into(), value);
    format!("{}\n", Value::Object(object))
}
