//! A queue (or an exchange) of dead letters: messages as they came, with their properties and headers, the broker's own
//! `x-death` among them, and headers that say what became of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::Value;

use super::NAME;
use super::connection::Broker;
use super::options::RabbitOptions;
use super::outbox::{self, Outbox};
use super::publisher::Target;
use super::stage::{Head, StageWriter, Stages};
use crate::connector::environment::Environment;
use crate::connector::letters::Letter;
use crate::connector::letters::own_topic;
use crate::connector::options::parts;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::Result;
use crate::format::{CONTENT_TYPE, headers_text};
use crate::state::StateHandles;
use crate::time::MICROS_PER_SECOND;

/// What the name of an exchange begins with; other names are those of queues.
const EXCHANGE: &str = "exchange:";

/// A queue or an exchange that takes dead letters.
#[derive(Debug)]
pub struct LettersSink {
    broker: Arc<Broker>,
    /// The queue; `None` = an exchange, which routes messages by the key they came with.
    queue: Option<String>,
    name: String,
    outbox: Outbox,
}

impl LettersSink {
    /// The sink of the dead letters of `table` into `name`, where the table's own broker is.
    pub fn new(name: &str, table: &str, options: &RabbitOptions, env: &Environment) -> Result<Self> {
        let exchange = name.strip_prefix(EXCHANGE);
        let queue = if exchange.is_none() { Some(name.to_owned()) } else { None };
        let read = [&options.queue, &options.stream].into_iter().flatten();
        if let Some(queue) = &queue
            && read.flat_map(|names| parts(names)).any(|own| own == *queue)
        {
            return Err(own_topic(table, queue));
        }
        let broker = Arc::new(Broker::new(options, &env.base_dir)?);
        let dir = env.data_dir.join(&env.run.pipeline).join(NAME).join(format!("dead letters to {}", name.replace('/', "%2f")));
        let target = Target { exchange: exchange.unwrap_or_default().to_owned(), queue: queue.clone(), dead_letter: None };
        let outbox = Outbox::new(dir, broker.clone(), target, env.troubles.clone());
        Ok(LettersSink { broker, queue, name: exchange.unwrap_or(name).to_owned(), outbox })
    }

    fn kind(&self) -> &'static str {
        if self.queue.is_some() { "queue" } else { "exchange" }
    }
}

impl Sink for LettersSink {
    fn describe(&self) -> String {
        format!("dead letters to {NAME} {} {} of {}", self.kind(), self.name, self.broker.name())
    }

    fn identity(&self) -> String {
        format!("dead letters {NAME} {} {} {}", self.broker.vhost(), self.kind(), self.name)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        self.outbox.start(restored)
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(LettersWriter { task, stages: self.outbox.stages().clone(), queue: self.queue.clone(), stage: None }))
    }

    fn commit(&self, _epoch: u64, prepared: &[Prepared]) -> Result<()> {
        self.outbox.commit(prepared)
    }
}

/// Writes for one task.
struct LettersWriter {
    task: usize,
    stages: Stages,
    queue: Option<String>,
    /// Messages of the coming epoch.
    stage: Option<StageWriter>,
}

impl Writer for LettersWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for letter in Letter::all(batch)? {
            let stage = match &mut self.stage {
                Some(stage) => stage,
                none => none.insert(self.stages.begin(self.task)?),
            };
            stage.push(head_of(&letter, self.queue.as_deref()), letter.record.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        outbox::prepare(&mut self.stage, epoch)
    }
}

/// What stands around a message: what stood around it when it came, and what became of it.
fn head_of(letter: &Letter, queue: Option<&str>) -> Head {
    let property = |key: &str| letter.properties.get(key).and_then(Value::as_str).map(str::to_owned);
    let content_type = property("content_type");
    let mut headers = letter.headers.clone();
    if content_type.is_some() && headers.last().is_some_and(|(name, _)| name == CONTENT_TYPE) {
        // It is a property, and stands among the headers only for formats to find.
        headers.pop();
    }
    headers.extend(letter.told());
    Head {
        routing_key: queue.map(str::to_owned).or_else(|| property("routing_key")).unwrap_or_default(),
        message_id: property("message_id").unwrap_or_default(),
        correlation_id: property("correlation_id"),
        content_type,
        timestamp: letter.timestamp_micros.and_then(|micros| u64::try_from(micros / MICROS_PER_SECOND).ok()),
        headers: headers_text(&headers),
    }
}
