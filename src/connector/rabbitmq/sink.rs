//! Describes an exchange as a sink: what an epoch holds is published when its checkpoint is confirmed.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::NAME;
use super::connection::Broker;
use super::options::{Guarantee, RabbitOptions};
use super::outbox::Outbox;
use super::publisher::Target;
use super::writer::{Columns, RabbitWriter};
use crate::connector::environment::Environment;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result};
use crate::format::FormatConfig;
use crate::state::StateHandles;

/// An exchange to publish to.
#[derive(Debug)]
pub struct RabbitSink {
    broker: Arc<Broker>,
    target: Target,
    /// The routing key of rows that bring none.
    routing_key: String,
    format: FormatConfig,
    schema: SchemaRef,
    columns: Columns,
    outbox: Outbox,
}

impl RabbitSink {
    /// The sink of `table`.
    pub fn new(table: &str, options: &RabbitOptions, format: FormatConfig, schema: SchemaRef, env: &Environment) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': {text}"));
        for (option, given) in
            [("queue", options.queue.is_some()), ("stream", options.stream.is_some()), ("prefetch", options.prefetch.is_some())]
        {
            if given {
                return Err(fault(format!("option '{option}' is a source's, and table '{table}' is written: name an 'exchange'")));
            }
        }
        let Some(exchange) = options.exchange.clone() else {
            return Err(fault(format!("table '{table}' is written: the option 'exchange' is missing ('' is the default exchange)")));
        };
        if options.dead_letter_routing_key.is_some() && options.dead_letter_exchange.is_none() {
            return Err(fault("'sink.dead-letter.routing-key' needs 'sink.dead-letter.exchange'".into()));
        }
        let Guarantee::AtLeastOnce = options.guarantee;
        let dead_letter = options.dead_letter_exchange.clone().map(|exchange| (exchange, options.dead_letter_routing_key.clone()));
        let target = Target { exchange, queue: None, dead_letter };
        let broker = Arc::new(Broker::new(options, &env.base_dir)?);
        let columns = Columns::of(&schema)?;
        let dir = env.data_dir.join(&env.run.pipeline).join(NAME).join(table);
        let outbox = Outbox::new(dir, broker.clone(), target.clone(), env.troubles.clone());
        let routing_key = options.routing_key.clone().unwrap_or_default();
        let sink = RabbitSink { broker, target, routing_key, format, schema, columns, outbox };
        // What cannot be written is told now.
        sink.writer(0)?;
        Ok(sink)
    }

    fn writer(&self, task: usize) -> Result<RabbitWriter> {
        RabbitWriter::new(task, self.outbox.stages().clone(), &self.format, &self.schema, self.columns.clone(), self.routing_key.clone())
    }
}

impl Sink for RabbitSink {
    fn describe(&self) -> String {
        format!("{NAME} exchange '{}' of {}", self.target.exchange, self.broker.name())
    }

    fn identity(&self) -> String {
        format!("{NAME} {} {}", self.broker.vhost(), self.target.exchange)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        self.outbox.start(restored)
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(self.writer(task)?))
    }

    fn commit(&self, _epoch: u64, prepared: &[Prepared]) -> Result<()> {
        self.outbox.commit(prepared)
    }
}
