//! Publishes stages: every message mandatory and confirmed, over a connection that is opened again when it breaks.
//!
//! A thread of its own with a runtime of its own: commits come from where nothing may wait, and the heartbeats of the
//! connection go on between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use futures::StreamExt;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::{Backoff, Broker};
use super::consume::{depth, short};
use super::records::header_value;
use super::stage::{Message, Stages};
use crate::connector::trouble::Troubles;
use crate::error::{Error, Kind, Result};
use crate::format::headers_of_text;

/// Messages under way to the broker at once.
const UNDER_WAY: usize = 1_000;
/// Stages that may wait for the thread.
const WAITING: usize = 16;
/// A persistent message.
const PERSISTENT: u8 = 2;

/// Where messages go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The exchange.
    pub exchange: String,
    /// The queue that must be there, where the exchange is the default one and takes the routing key for its name.
    pub queue: Option<String>,
    /// Exchange and routing key (their own when missing) of those that it can route nowhere.
    pub dead_letter: Option<(String, Option<String>)>,
}

/// Publishes for one sink; the thread begins with the first job and ends with the publisher.
#[derive(Debug)]
pub struct Publisher {
    broker: Arc<Broker>,
    troubles: Troubles,
    target: Target,
    jobs: Mutex<Option<SyncSender<Job>>>,
}

/// What the thread is asked.
struct Job {
    what: Ask,
    answer: SyncSender<Result<()>>,
}

enum Ask {
    /// Is the broker there, with the exchanges?
    Check,
    /// Publish these stages.
    Publish(Stages, Vec<String>),
}

impl Publisher {
    /// A publisher to `target`.
    pub fn new(broker: Arc<Broker>, target: Target, troubles: Troubles) -> Self {
        Publisher { broker, troubles, target, jobs: Mutex::default() }
    }

    /// Waits for the broker as a start does, and looks for the exchanges.
    pub fn check(&self) -> Result<()> {
        self.ask(Ask::Check)
    }

    /// Publishes these stages. An error: what is not published is still in its stage.
    pub fn publish(&self, stages: &Stages, names: Vec<String>) -> Result<()> {
        self.ask(Ask::Publish(stages.clone(), names))
    }

    fn ask(&self, what: Ask) -> Result<()> {
        let gone = || Error::bug("the publisher of a sink has ended");
        let (answer, answered) = sync_channel(1);
        let jobs = {
            let mut jobs = self.jobs.lock();
            match &*jobs {
                Some(jobs) => jobs.clone(),
                None => jobs.insert(self.start()?).clone(),
            }
        };
        jobs.send(Job { what, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    fn start(&self) -> Result<SyncSender<Job>> {
        let (jobs, asked) = sync_channel(WAITING);
        let unstartable = |e: std::io::Error| Error::failed("starting the publisher of a sink").because(e);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(unstartable)?;
        let publishing =
            Publishing { broker: self.broker.clone(), troubles: self.troubles.clone(), target: self.target.clone(), open: None };
        std::thread::Builder::new().name("eagre-rabbitmq".into()).spawn(move || work(&runtime, publishing, &asked)).map_err(unstartable)?;
        Ok(jobs)
    }
}

fn work(runtime: &tokio::runtime::Runtime, mut publishing: Publishing, asked: &Receiver<Job>) {
    while let Ok(job) = asked.recv() {
        let done = runtime.block_on(async {
            match &job.what {
                Ask::Check => publishing.check().await,
                Ask::Publish(stages, names) => publishing.publish(stages, names).await,
            }
        });
        // Who asked may have gone.
        _ = job.answer.send(done);
    }
    if let Some((connection, _)) = publishing.open.take() {
        _ = runtime.block_on(connection.close(200, "".into()));
    }
}

/// The thread's own.
struct Publishing {
    broker: Arc<Broker>,
    troubles: Troubles,
    target: Target,
    open: Option<(Connection, Channel)>,
}

/// What became of a message.
enum Fate {
    /// Taken by the broker: routed, or among the messages that it gave back.
    Taken,
    /// Not known, or refused by the broker: to be published again.
    Again(Option<lapin::Error>),
}

/// Messages that the broker gave back because it knew no queue for them: routing key, message id and payload, and how
/// many of them. By what they are: one confirmation may stand for many messages, so that it does not say which.
#[derive(Debug, Default)]
struct GivenBack(HashMap<(String, String, Vec<u8>), usize>);

impl GivenBack {
    fn add(&mut self, message: &BasicReturnMessage) {
        let delivery = &message.delivery;
        let id = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
        *self.0.entry((delivery.routing_key.as_str().to_owned(), id, delivery.data.clone())).or_default() += 1;
    }

    /// Was a message like this one given back? It is taken out.
    fn take(&mut self, key: &str, message: &Message) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let like = (key.to_owned(), message.head.message_id.clone(), message.payload.clone());
        match self.0.get_mut(&like) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Publishing {
    async fn check(&mut self) -> Result<()> {
        let connection = self.broker.connect_at_start().await?;
        let exchanges = std::iter::once(&self.target.exchange).chain(self.target.dead_letter.as_ref().map(|(exchange, _)| exchange));
        for exchange in exchanges.filter(|exchange| !exchange.is_empty()) {
            // A channel each: an exchange that is missing closes it.
            let channel = connection.create_channel().await.map_err(|e| self.broker.fault(e))?;
            let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let found = channel.exchange_declare(short(exchange)?, ExchangeKind::Direct, passive, FieldTable::default()).await;
            found.map_err(|e| {
                let fault = self.broker.fault(e);
                let text = format!("exchange '{exchange}' cannot be written; 'eagre topics apply' makes what topics.yaml declares");
                Error::new(fault.kind(), text).because(fault)
            })?;
        }
        if let Some(queue) = &self.target.queue {
            let channel = connection.create_channel().await.map_err(|e| self.broker.fault(e))?;
            depth(&self.broker, &channel, queue).await.map_err(|fault| {
                let text = format!("queue '{queue}' cannot be written; 'eagre topics apply' makes what topics.yaml declares");
                Error::new(fault.kind(), text).because(fault)
            })?;
        }
        self.open = Some(self.confirming(connection).await?);
        Ok(())
    }

    async fn publish(&mut self, stages: &Stages, names: &[String]) -> Result<()> {
        for name in names {
            let Some(mut stage) = stages.read(name)? else { continue };
            loop {
                let mut batch = Vec::new();
                while batch.len() < UNDER_WAY
                    && let Some(message) = stage.message()?
                {
                    batch.push(message);
                }
                if batch.is_empty() {
                    break;
                }
                if let Err(error) = self.publish_all(&mut batch).await {
                    stages.keep(name, &batch, stage)?;
                    return Err(error);
                }
            }
            stages.done(name)?;
        }
        stages.prune()
    }

    /// Publishes until every message is confirmed and routed; those that are leave `batch`. What the broker does not
    /// take, or goes down over, is published again, in order.
    async fn publish_all(&mut self, batch: &mut Vec<Message>) -> Result<()> {
        let mut unroutable = Vec::new();
        let delivered = self.deliver(batch, &mut unroutable, None).await;
        // Whatever is not published stays in the batch, and so in the stage.
        batch.append(&mut unroutable);
        delivered?;
        if batch.is_empty() {
            return Ok(());
        }
        let (exchange, key) = (self.target.exchange.clone(), batch[0].head.routing_key.clone());
        let Some((dead_letter, dead_key)) = self.target.dead_letter.clone() else {
            return Err(Error::failed(format!(
                "exchange '{exchange}' routes messages with the key '{key}' to no queue ({} of them wait): bind a queue, or name \
                 an exchange for such messages with 'sink.dead-letter.exchange'",
                batch.len()
            )));
        };
        let delivered = self.deliver(batch, &mut unroutable, Some((&dead_letter, dead_key.as_deref()))).await;
        batch.append(&mut unroutable);
        delivered?;
        match batch.first() {
            None => Ok(()),
            Some(message) => Err(Error::failed(format!(
                "exchange '{exchange}' routes the key '{key}' to no queue, nor does the dead-letter exchange '{dead_letter}' the key '{}'",
                dead_key.as_deref().unwrap_or(&message.head.routing_key)
            ))),
        }
    }

    /// Publishes `batch` until it is empty; what cannot be routed is moved to `unroutable`.
    async fn deliver(
        &mut self,
        batch: &mut Vec<Message>,
        unroutable: &mut Vec<Message>,
        instead: Option<(&str, Option<&str>)>,
    ) -> Result<()> {
        let mut backoff = Backoff::default();
        let mut away = None;
        while !batch.is_empty() {
            match self.attempt(batch, unroutable, instead).await {
                Ok(()) => {
                    backoff = Backoff::default();
                    away = None;
                    self.troubles.mended(&self.broker.thing());
                }
                Err(error) if error.kind() == Kind::Unreachable => {
                    self.open = None;
                    let since = *away.get_or_insert_with(Instant::now);
                    if let Some(most) = self.broker.retry_timeout()
                        && since.elapsed() >= most
                    {
                        let text =
                            format!("{} has been away for {} s (option 'broker.retry.timeout')", self.broker.thing(), most.as_secs_f64());
                        return Err(Error::unreachable(text).because(error));
                    }
                    self.troubles.report(self.broker.thing(), format!("cannot be written to, trying again: {}", error.line()));
                    tokio::time::sleep(backoff.wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One go: what is confirmed leaves `batch`.
    async fn attempt(
        &mut self,
        batch: &mut Vec<Message>,
        unroutable: &mut Vec<Message>,
        instead: Option<(&str, Option<&str>)>,
    ) -> Result<()> {
        if self.open.is_none() {
            let connection = self.broker.connect().await?;
            self.open = Some(self.confirming(connection).await?);
        }
        let Some((_, channel)) = &self.open else { return Err(Error::bug("a channel that was opened is gone")) };
        let exchange = short(instead.map_or(self.target.exchange.as_str(), |(exchange, _)| exchange))?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        // All are on their way before the first confirmation is waited for; each is begun in its turn.
        let mut going = Vec::with_capacity(batch.len());
        for message in batch.iter() {
            let key = short(instead.and_then(|(_, key)| key).unwrap_or(&message.head.routing_key))?;
            let properties = properties_of(message, instead.map(|_| self.target.exchange.as_str()))?;
            going.push(channel.basic_publish(exchange.clone(), key, options, &message.payload, properties));
        }
        let given_back = Mutex::new(GivenBack::default());
        let fates: Vec<Fate> = futures::stream::iter(going)
            .map(|publish| async {
                let confirmed = match publish.await {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                match confirmed {
                    Ok(Confirmation::Ack(returned)) => {
                        returned.iter().for_each(|message| given_back.lock().add(message));
                        Fate::Taken
                    }
                    Ok(Confirmation::Nack(returned)) => {
                        returned.iter().for_each(|message| given_back.lock().add(message));
                        Fate::Again(None)
                    }
                    Ok(Confirmation::NotRequested) => Fate::Again(None),
                    Err(error) => Fate::Again(Some(error)),
                }
            })
            .buffered(UNDER_WAY)
            .collect()
            .await;
        let mut given_back = given_back.into_inner();
        if fates.iter().all(|fate| matches!(fate, Fate::Taken)) {
            // Those that no confirmation brought along.
            let rest = channel.wait_for_confirms().await.map_err(|e| self.broker.fault(e))?;
            rest.iter().for_each(|message| given_back.add(message));
        }
        let mut fault = None;
        let own_key = instead.and_then(|(_, key)| key);
        for (message, fate) in std::mem::take(batch).into_iter().zip(fates) {
            match fate {
                Fate::Taken if given_back.take(own_key.unwrap_or(&message.head.routing_key), &message) => unroutable.push(message),
                Fate::Taken => {}
                Fate::Again(error) => {
                    fault = fault.or(error);
                    batch.push(message);
                }
            }
        }
        match fault {
            Some(error) => Err(self.broker.fault(error)),
            None if !batch.is_empty() => {
                Err(Error::unreachable(format!("{} refuses {} messages for now", self.broker.thing(), batch.len())))
            }
            None => Ok(()),
        }
    }

    /// A channel that confirms.
    async fn confirming(&self, connection: Connection) -> Result<(Connection, Channel)> {
        let channel = connection.create_channel().await.map_err(|e| self.broker.fault(e))?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|e| self.broker.fault(e))?;
        Ok((connection, channel))
    }
}

/// Its properties; `from`: the exchange that could not route it, which its headers then name.
fn properties_of(message: &Message, from: Option<&str>) -> Result<BasicProperties> {
    let head = &message.head;
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(short(&head.message_id)?);
    if let Some(id) = &head.correlation_id {
        properties = properties.with_correlation_id(short(id)?);
    }
    if let Some(kind) = &head.content_type {
        properties = properties.with_content_type(short(kind)?);
    }
    if let Some(seconds) = head.timestamp {
        properties = properties.with_timestamp(seconds);
    }
    let mut headers = FieldTable::default();
    if !head.headers.is_empty() {
        for (name, value) in headers_of_text(&head.headers)? {
            headers.insert(short(&name)?, header_value(&name, &value));
        }
    }
    if let Some(exchange) = from {
        let text = |text: &str| AMQPValue::LongString(text.into());
        headers.insert(short("x-unroutable-exchange")?, text(exchange));
        headers.insert(short("x-unroutable-routing-key")?, text(&head.routing_key));
    }
    Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
}
