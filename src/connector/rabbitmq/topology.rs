//! Exchanges, queues and bindings of a broker: what is wanted, what is there, and how the one becomes the other.
//!
//! ```text
//!  what a policy can say (TTL, dead letters, limits)    ─▶ the policy `eagre.queue.<name>`: may change at any time
//!  all else (type, durability, other arguments)         ─▶ declared: another value means delete and make again
//! ```
//! What the broker has beyond what is wanted stays: other keys of a policy, other arguments, other bindings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lapin::Connection;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connection::Broker;
use super::consume::short;
use super::management::Management;
use crate::connector::topology::{Change, Permit, Step, Topology};
use crate::error::{Error, Result};

/// Arguments that a policy can say instead, and what it calls them.
const BY_POLICY: [(&str, &str); 11] = [
    ("alternate-exchange", "alternate-exchange"),
    ("x-dead-letter-exchange", "dead-letter-exchange"),
    ("x-dead-letter-routing-key", "dead-letter-routing-key"),
    ("x-delivery-limit", "delivery-limit"),
    ("x-expires", "expires"),
    ("x-max-age", "max-age"),
    ("x-max-length", "max-length"),
    ("x-max-length-bytes", "max-length-bytes"),
    ("x-message-ttl", "message-ttl"),
    ("x-overflow", "overflow"),
    ("x-queue-mode", "queue-mode"),
];

/// An exchange as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `direct`, `fanout`, `topic`, `headers`.
    pub kind: String,
    /// It outlives the broker's restart.
    pub durable: bool,
    /// It goes with its last binding.
    pub auto_delete: bool,
    /// Only exchanges publish to it.
    pub internal: bool,
    /// Arguments.
    pub properties: Map<String, Value>,
}

/// A queue as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// It outlives the broker's restart.
    pub durable: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// Arguments.
    pub properties: Map<String, Value>,
}

/// A binding as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Where messages come from.
    pub exchange: String,
    /// Where they go.
    pub to: Destination,
    /// Which.
    pub routing_key: String,
    /// Arguments, as a headers exchange has them.
    pub arguments: Map<String, Value>,
}

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a queue.
    Queue(String),
    /// To another exchange.
    Exchange(String),
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Exchanges.
    pub exchanges: Vec<Exchange>,
    /// Queues.
    pub queues: Vec<Queue>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

/// The wanted state of a broker.
#[derive(Clone)]
pub struct RabbitTopology {
    broker: Arc<Broker>,
    management: Management,
    wanted: Wanted,
}

/// A queue or an exchange as the API tells it.
#[derive(Debug, Deserialize)]
struct Found {
    #[serde(rename = "type", default)]
    kind: String,
    durable: bool,
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// A policy as the API tells it.
#[derive(Debug, Deserialize)]
struct Policy {
    name: String,
    pattern: String,
    #[serde(rename = "apply-to")]
    apply_to: String,
    #[serde(default)]
    definition: Map<String, Value>,
    #[serde(default)]
    priority: i64,
}

impl Policy {
    /// May it count for this queue or exchange?
    fn matches(&self, word: &str, name: &str) -> bool {
        // `classic_queues`, `quorum_queues`, `streams` are kinds of queues of later brokers.
        let applies = match word {
            "queue" => self.apply_to != "exchanges",
            _ => matches!(self.apply_to.as_str(), "all" | "exchanges"),
        };
        applies && regex::Regex::new(&self.pattern).is_ok_and(|pattern| pattern.is_match(name))
    }
}

/// A queue or an exchange with what is wanted of it.
struct Object<'a> {
    /// `queue` or `exchange`.
    word: &'static str,
    name: &'a str,
    /// What cannot be changed: name and value as wanted.
    fixed: Vec<(&'static str, Value)>,
    properties: &'a Map<String, Value>,
}

impl RabbitTopology {
    /// The wanted state of a named broker, which has these options; its files lie in `base_dir`.
    pub fn new(options: &BTreeMap<String, String>, base_dir: &Path, wanted: Wanted) -> Result<Self> {
        let options = super::broker_options(options)?;
        let broker = Broker::new(&options, base_dir)?;
        let Some(uri) = &options.management_uri else {
            let text = format!(
                "{}: 'management.uri' is missing: what is there is asked of the management plugin; write it beside 'uri' of this broker in \
                 eagre.yaml, as in management.uri: http://{}:15672",
                broker.thing(),
                broker.host()
            );
            return Err(Error::input(text));
        };
        let management = Management::new(uri, &broker)?;
        Ok(RabbitTopology { broker: Arc::new(broker), management, wanted })
    }

    fn step<F>(&self, step: impl Fn(RabbitTopology) -> F + Send + Sync + 'static) -> Step
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let this = self.clone();
        Arc::new(move || Box::pin(step(this.clone())))
    }

    /// What differs for one queue or exchange. `declare` makes it, `delete` removes it when nobody needs it.
    async fn plan_object(&self, object: Object<'_>, declare: Step, delete: Step, changes: &mut Vec<Change>) -> Result<()> {
        let vhost = self.management.vhost();
        let path = format!("{}s", object.word);
        let found: Option<Found> = self.management.get(&[&path, vhost, object.name]).await?;
        let thing = format!("{} {}", object.word, object.name);
        let (by_policy, declared): (Vec<_>, Vec<_>) = object.properties.iter().partition(|(name, _)| policy_name(name).is_some());
        let wanted: Map<String, Value> =
            by_policy.into_iter().filter_map(|(name, value)| Some((policy_name(name)?.to_owned(), value.clone()))).collect();
        let Some(found) = found else {
            let described: Vec<String> = object.fixed.iter().map(|(name, value)| format!("{name} {value}")).collect();
            changes.push(Change {
                thing: thing.clone(),
                what: format!("made ({})", described.join(", ")),
                permit: Permit::Free,
                step: declare,
            });
            return self.plan_policy(&object, &thing, wanted, changes).await;
        };
        let has = |name: &str| match name {
            "type" if object.word == "exchange" => found.kind.clone().into(),
            "durable" => found.durable.into(),
            "auto_delete" => found.auto_delete.into(),
            "internal" => found.internal.into(),
            // A queue without a type is a classic one.
            "x-queue-type" => found.arguments.get(name).cloned().unwrap_or_else(|| "classic".into()),
            name => found.arguments.get(name).cloned().unwrap_or(Value::Null),
        };
        let fixed = object.fixed.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let fixed = fixed.chain(declared.into_iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut differs: Vec<String> =
            fixed.filter(|(name, value)| has(name) != *value).map(|(name, value)| format!("{name}: {} -> {value}", has(&name))).collect();
        // What was declared and could have been a policy wins over one, or the lower of both counts.
        let mut rest = Map::new();
        for (name, value) in wanted {
            let argument = BY_POLICY.iter().find(|(_, policy)| *policy == name).map_or(name.as_str(), |(argument, _)| argument);
            match found.arguments.get(argument) {
                None => _ = rest.insert(name, value),
                Some(declared) if *declared == value => {}
                Some(declared) => differs.push(format!("{argument}: {declared} -> {value} (declared, not a policy)")),
            }
        }
        if !differs.is_empty() {
            let what = format!("{}: cannot be changed, only deleted and made again", differs.join(", "));
            let step: Step = Arc::new(move || {
                let (delete, declare) = (delete.clone(), declare.clone());
                Box::pin(async move {
                    delete().await?;
                    declare().await
                })
            });
            changes.push(Change { thing: thing.clone(), what, permit: Permit::Recreate, step });
        }
        self.plan_policy(&object, &thing, rest, changes).await
    }

    /// The policy of a queue or an exchange: what is wanted, and what the one that counts for it says already.
    async fn plan_policy(&self, object: &Object<'_>, thing: &str, wanted: Map<String, Value>, changes: &mut Vec<Change>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let vhost = self.management.vhost();
        let policies: Vec<Policy> = self.management.get(&["policies", vhost]).await?.unwrap_or_default();
        let matching = policies.iter().filter(|policy| policy.matches(object.word, object.name));
        let counts = matching.max_by_key(|policy| policy.priority);
        let none = Map::new();
        let now = counts.map_or(&none, |policy| &policy.definition);
        let differs: Vec<String> = wanted
            .iter()
            .filter(|(name, value)| now.get(*name) != Some(value))
            .map(|(name, value)| format!("{name}: {} -> {value}", now.get(name).unwrap_or(&Value::Null)))
            .collect();
        if differs.is_empty() {
            return Ok(());
        }
        // One policy counts for a thing: ours says what the one that counts now says, and more, and goes before it.
        let name = format!("eagre.{}.{}", object.word, object.name);
        let ours = policies.iter().find(|policy| policy.name == name);
        let other = counts.filter(|policy| policy.name != name);
        let priority = other.map(|other| other.priority + 1).into_iter().chain(ours.map(|ours| ours.priority)).max();
        let mut definition = other.map(|other| other.definition.clone()).unwrap_or_default();
        definition.extend(ours.map(|ours| ours.definition.clone()).unwrap_or_default());
        definition.extend(wanted);
        let pattern = format!("^{}$", regex::escape(object.name));
        let apply_to = format!("{}s", object.word);
        let body = json!({ "pattern": pattern, "definition": definition, "priority": priority.unwrap_or(0), "apply-to": apply_to });
        let step = self.step(move |this| {
            let (name, body) = (name.clone(), body.clone());
            async move { this.management.send(Method::PUT, &["policies", this.management.vhost(), &name], Some(&body)).await }
        });
        changes.push(Change { thing: thing.to_owned(), what: format!("policy: {}", differs.join(", ")), permit: Permit::Free, step });
        Ok(())
    }

    async fn plan_exchange(&self, exchange: &Exchange, changes: &mut Vec<Change>) -> Result<()> {
        let declare = {
            let exchange = exchange.clone();
            self.step(move |this| {
                let exchange = exchange.clone();
                async move { this.declare_exchange(&exchange).await }
            })
        };
        let delete = {
            let name = exchange.name.clone();
            self.step(move |this| {
                let name = name.clone();
                async move {
                    this.on_channel(async |channel| {
                        channel.exchange_delete(short(&name)?, ExchangeDeleteOptions::default()).await.map_err(|e| this.broker.fault(e))
                    })
                    .await
                }
            })
        };
        let fixed = vec![
            ("type", exchange.kind.clone().into()),
            ("durable", exchange.durable.into()),
            ("auto_delete", exchange.auto_delete.into()),
            ("internal", exchange.internal.into()),
        ];
        let object = Object { word: "exchange", name: &exchange.name, fixed, properties: &exchange.properties };
        self.plan_object(object, declare, delete, changes).await
    }

    async fn plan_queue(&self, queue: &Queue, changes: &mut Vec<Change>) -> Result<()> {
        let declare = {
            let queue = queue.clone();
            self.step(move |this| {
                let queue = queue.clone();
                async move { this.declare_queue(&queue).await }
            })
        };
        let delete = {
            let name = queue.name.clone();
            self.step(move |this| {
                let name = name.clone();
                async move { this.delete_queue(&name).await }
            })
        };
        let fixed = vec![("durable", queue.durable.into()), ("auto_delete", queue.auto_delete.into())];
        let object = Object { word: "queue", name: &queue.name, fixed, properties: &queue.properties };
        self.plan_object(object, declare, delete, changes).await
    }

    async fn plan_binding(&self, binding: &Binding, changes: &mut Vec<Change>) -> Result<()> {
        let vhost = self.management.vhost();
        let (letter, to) = match &binding.to {
            Destination::Queue(name) => ("q", name),
            Destination::Exchange(name) => ("e", name),
        };
        let found: Option<Vec<Value>> = self.management.get(&["bindings", vhost, "e", &binding.exchange, letter, to]).await?;
        let same = |found: &Value| {
            let arguments = found["arguments"].as_object().cloned().unwrap_or_default();
            found["routing_key"] == binding.routing_key.as_str() && arguments == binding.arguments
        };
        if found.unwrap_or_default().iter().any(same) {
            return Ok(());
        }
        let thing = format!("binding {} -> {to}", binding.exchange);
        let what = format!("made with the routing key '{}'", binding.routing_key);
        let step = {
            let binding = binding.clone();
            self.step(move |this| {
                let binding = binding.clone();
                async move { this.bind(&binding).await }
            })
        };
        changes.push(Change { thing, what, permit: Permit::Free, step });
        Ok(())
    }

    async fn declare_exchange(&self, exchange: &Exchange) -> Result<()> {
        let options = ExchangeDeclareOptions {
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            ..ExchangeDeclareOptions::default()
        };
        let kind = match exchange.kind.as_str() {
            "direct" => lapin::ExchangeKind::Direct,
            "fanout" => lapin::ExchangeKind::Fanout,
            "topic" => lapin::ExchangeKind::Topic,
            "headers" => lapin::ExchangeKind::Headers,
            other => lapin::ExchangeKind::Custom(other.to_owned()),
        };
        let arguments = declared(&exchange.properties)?;
        self.on_channel(async |channel| {
            let made = channel.exchange_declare(short(&exchange.name)?, kind, options, arguments).await;
            made.map_err(|e| self.broker.fault(e))
        })
        .await
    }

    async fn declare_queue(&self, queue: &Queue) -> Result<()> {
        let options = QueueDeclareOptions { durable: queue.durable, auto_delete: queue.auto_delete, ..QueueDeclareOptions::default() };
        let arguments = declared(&queue.properties)?;
        self.on_channel(async |channel| {
            let made = channel.queue_declare(short(&queue.name)?, options, arguments).await;
            made.map(|_| ()).map_err(|e| self.broker.fault(e))
        })
        .await
    }

    /// Only an empty queue that nobody reads: nothing is lost.
    async fn delete_queue(&self, name: &str) -> Result<()> {
        self.on_channel(async |channel| {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(short(name)?, passive, FieldTable::default()).await.map_err(|e| self.broker.fault(e))?;
            if found.message_count() > 0 || found.consumer_count() > 0 {
                return Err(Error::input(format!(
                    "queue '{name}' holds {} messages and has {} consumers: it is not deleted; drain it first",
                    found.message_count(),
                    found.consumer_count()
                )));
            }
            let deleted = channel.queue_delete(short(name)?, QueueDeleteOptions::default()).await;
            deleted.map(|_| ()).map_err(|e| self.broker.fault(e))
        })
        .await
    }

    async fn bind(&self, binding: &Binding) -> Result<()> {
        let (exchange, key, arguments) = (short(&binding.exchange)?, short(&binding.routing_key)?, table_of(&binding.arguments)?);
        self.on_channel(async |channel| {
            let bound = match &binding.to {
                Destination::Queue(queue) => channel.queue_bind(short(queue)?, exchange, key, QueueBindOptions::default(), arguments).await,
                Destination::Exchange(to) => {
                    channel.exchange_bind(short(to)?, exchange, key, ExchangeBindOptions::default(), arguments).await
                }
            };
            bound.map_err(|e| self.broker.fault(e))
        })
        .await
    }

    /// Does something on a channel of its own.
    async fn on_channel(&self, work: impl AsyncFnOnce(lapin::Channel) -> Result<()>) -> Result<()> {
        let connection: Connection = self.broker.connect_at_start().await?;
        let channel = connection.create_channel().await.map_err(|e| self.broker.fault(e))?;
        let done = work(channel).await;
        // What was asked has been answered: a fault of closing changes nothing.
        _ = connection.close(200, "".into()).await;
        done
    }
}

#[async_trait]
impl Topology for RabbitTopology {
    fn broker(&self) -> String {
        format!("rabbitmq {}", self.broker.name())
    }

    async fn plan(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for exchange in &self.wanted.exchanges {
            self.plan_exchange(exchange, &mut changes).await?;
        }
        for queue in &self.wanted.queues {
            self.plan_queue(queue, &mut changes).await?;
        }
        for binding in &self.wanted.bindings {
            self.plan_binding(binding, &mut changes).await?;
        }
        Ok(changes)
    }
}

fn policy_name(argument: &str) -> Option<&'static str> {
    BY_POLICY.iter().find(|(name, _)| *name == argument).map(|(_, policy)| *policy)
}

/// The properties that are declared, not said by a policy.
fn declared(properties: &Map<String, Value>) -> Result<FieldTable> {
    table_of(
        &properties.iter().filter(|(name, _)| policy_name(name).is_none()).map(|(name, value)| (name.clone(), value.clone())).collect(),
    )
}

fn table_of(fields: &Map<String, Value>) -> Result<FieldTable> {
    let entries: Result<BTreeMap<_, _>> = fields.iter().map(|(name, value)| Ok((short(name)?, amqp_of(value)?))).collect();
    Ok(entries?.into())
}

fn amqp_of(value: &Value) -> Result<AMQPValue> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(truth) => AMQPValue::Boolean(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AMQPValue::LongLongInt(whole),
            (None, Some(number)) => AMQPValue::Double(number),
            (None, None) => return Err(Error::input(format!("{number} is no number of AMQP"))),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => AMQPValue::FieldArray(values.iter().map(amqp_of).collect::<Result<Vec<_>>>()?.into()),
        Value::Object(fields) => AMQPValue::FieldTable(table_of(fields)?),
    })
}
