//! A look into a RabbitMQ: what queues there are, what is in them, and messages written by hand.

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
use super::records;
use crate::connector::look::{ByHand, Listing, Look, Show};
use crate::error::{Error, Kind, Result};
use crate::format::CONTENT_TYPE;
use crate::log::{Put, Tail, TailFrom, Whole, json_of};

/// Messages under way to or from the broker at once.
const UNDER_WAY: u16 = 1_000;

/// A queue as the API tells it.
#[derive(Debug, Clone, Deserialize)]
struct QueueFigures {
    name: String,
    /// `classic`, `quorum` or `stream`.
    #[serde(rename = "type", default)]
    kind: String,
    /// Messages in it, those handed out and not acknowledged included.
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    messages_unacknowledged: u64,
    #[serde(default)]
    consumers: u64,
    /// The policy that counts for it.
    #[serde(default)]
    policy: Option<String>,
}

/// A connection to look around with.
pub struct RabbitLook {
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

impl RabbitLook {
    /// Connects to a named broker, which has these options; its files lie in `base_dir`.
    pub async fn connect(options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Self> {
        let options = super::broker_options(options)?;
        let broker = Broker::new(&options, base_dir)?;
        let management = options.management_uri.as_deref().map(|uri| Management::new(uri, &broker)).transpose()?;
        let connection = broker.connect_at_start().await?;
        Ok(RabbitLook { broker, management, connection })
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

    /// Was a message routed to a queue? `before` it so many were.
    fn is_routed(&self, confirmed: lapin::Result<Confirmation>, before: u64) -> Result<bool> {
        match confirmed.map_err(|e| self.broker.fault(e))? {
            Confirmation::Ack(None) => Ok(true),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(false),
            _ => Err(Error::failed(format!("{} refuses a message; {before} before it are taken", self.broker.thing()))),
        }
    }

    async fn peek(&self, channel: &Channel, queue: &str, show: &mut (dyn Show + '_)) -> Result<()> {
        loop {
            let got = channel.basic_get(short(queue)?, BasicGetOptions::default()).await.map_err(|e| self.broker.fault(e))?;
            // What is not acknowledged goes back when the channel goes.
            let Some(got) = got else { return Ok(()) };
            if !show.show(line(&got.delivery)).await? {
                return Ok(());
            }
        }
    }

    async fn follow(&self, channel: &Channel, queue: &str, arguments: FieldTable, follow: bool, show: &mut (dyn Show + '_)) -> Result<()> {
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

#[async_trait::async_trait]
impl Look for RabbitLook {
    /// All queues of the virtual host, by name.
    async fn list(&self) -> Result<Listing> {
        let Some(management) = &self.management else {
            return Err(Error::input(format!("{}: 'management.uri' is missing: AMQP itself lists no queues", self.broker.thing())));
        };
        let queues: Option<Vec<QueueFigures>> = management.get(&["queues", management.vhost()]).await?;
        let mut queues = queues.unwrap_or_default();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = queues.into_iter().map(|queue| {
            let [messages, unacknowledged, consumers] =
                [queue.messages, queue.messages_unacknowledged, queue.consumers].map(|number| number.to_string());
            vec![queue.name, queue.kind, messages, unacknowledged, consumers, queue.policy.unwrap_or_else(|| "-".to_owned())]
        });
        Ok(Listing { heads: &["queue", "type", ">messages", ">unacknowledged", ">consumers", "policy"], rows: rows.collect() })
    }

    /// Of an exchange what is published from now on, of a stream what it holds, of a queue the messages at its head: they
    /// are put back, marked as redelivered.
    async fn tail(&self, tail: &Tail, show: &mut (dyn Show + '_)) -> Result<()> {
        let (channel, name) = (self.channel().await?, tail.topic.as_str());
        if let Some(partition) = tail.partition {
            return Err(Error::input(format!("'{name}' has no partition {partition}: nothing of RabbitMQ has any")));
        }
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
                let offset = match tail.from {
                    TailFrom::Earliest => AMQPValue::LongString("first".into()),
                    TailFrom::Latest | TailFrom::Last(_) => AMQPValue::LongString("next".into()),
                    TailFrom::Offset(offset) => AMQPValue::LongLongInt(offset),
                    TailFrom::Time(micros) => AMQPValue::Timestamp(u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0)),
                };
                let mut arguments = FieldTable::default();
                arguments.insert(short("x-stream-offset")?, offset);
                self.follow(&channel, name, arguments, tail.follow, show).await
            }
        }
    }

    /// To an exchange with the keys as routing keys, or to a queue; each message is routed.
    async fn put(&self, put: &Put, records: Vec<ByHand>) -> Result<u64> {
        let (channel, name) = (self.channel().await?, put.topic.as_str());
        if let Some(partition) = put.partition {
            return Err(Error::input(format!("'{name}' has no partition {partition}: nothing of RabbitMQ has any")));
        }
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|e| self.broker.fault(e))?;
        let to_exchange = matches!(self.thing(name).await?, Thing::Exchange);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let mut confirms = Vec::with_capacity(records.len());
        for record in &records {
            let key = record.key.as_deref().unwrap_or_default();
            let (exchange, key) = if to_exchange { (name, key) } else { ("", name) };
            let id = uuid::Uuid::new_v4().to_string();
            let properties =
                BasicProperties::default().with_delivery_mode(2).with_content_type(short("application/json")?).with_message_id(short(&id)?);
            let going = channel.basic_publish(short(exchange)?, short(key)?, options, &record.value, properties).await;
            confirms.push(going.map_err(|e| self.broker.fault(e))?);
        }
        let mut put = 0;
        for (confirm, record) in confirms.into_iter().zip(&records) {
            if !self.is_routed(confirm.await, put)? {
                let key = record.key.as_deref().unwrap_or_default();
                return Err(Error::failed(format!(
                    "exchange '{name}' routes the key '{key}' to no queue; {put} messages before it are put"
                )));
            }
            put += 1;
        }
        Ok(put)
    }

    async fn read(&self, topic: &str, _: &mut (dyn FnMut(Vec<Whole>) -> Result<()> + Send)) -> Result<()> {
        Err(Error::input(format!("'{topic}': reading a queue of {} takes its messages away; topics are read", self.broker.thing())))
    }

    /// By the default exchange, under the queue's name. Properties that the message had come from its headers.
    async fn send(&self, topic: &str, records: Vec<Whole>) -> Result<()> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|e| self.broker.fault(e))?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let mut confirms = Vec::with_capacity(records.len());
        for record in &records {
            let value = record.value.as_ref().map_or(&[][..], |value| &value.0[..]);
            let going = channel.basic_publish(short("")?, short(topic)?, options, value, properties_of(record)?).await;
            confirms.push(going.map_err(|e| self.broker.fault(e))?);
        }
        for (sent, confirm) in (0..).zip(confirms) {
            if !self.is_routed(confirm.await, sent)? {
                return Err(Error::failed(format!("there is no queue '{topic}' any more; {sent} messages of these were sent")));
            }
        }
        Ok(())
    }
}

/// The properties of a message that is sent again.
fn properties_of(record: &Whole) -> Result<BasicProperties> {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    let known = |name: &str| record.properties.get(name).and_then(Value::as_str);
    if let Some(id) = known("message_id") {
        properties = properties.with_message_id(short(id)?);
    }
    if let Some(id) = known("correlation_id") {
        properties = properties.with_correlation_id(short(id)?);
    }
    if let Some(seconds) = record.timestamp_micros.and_then(|micros| u64::try_from(micros.div_euclid(1_000_000)).ok()) {
        properties = properties.with_timestamp(seconds);
    }
    let mut headers = FieldTable::default();
    for (name, value) in &record.headers {
        match std::str::from_utf8(&value.0) {
            Ok(text) if name == CONTENT_TYPE => properties = properties.with_content_type(short(text)?),
            // What the broker itself has noted of its way.
            _ if name.starts_with("x-") => {}
            _ => _ = headers.insert(short(name)?, records::header_value(name, &value.0)),
        }
    }
    Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
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
        let mut headers: Map<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_string(), records::json_of(value))).collect();
        if let Some(offset) = headers.remove("x-stream-offset") {
            object.insert("offset".into(), offset);
        }
        if !headers.is_empty() {
            object.insert("headers".into(), headers.into());
        }
    }
    object.insert("value".into(), json_of(&delivery.data));
    format!("{}\n", Value::Object(object))
}
