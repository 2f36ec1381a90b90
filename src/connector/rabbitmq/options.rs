//! Options of `rabbitmq`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::NAME;
use crate::connector::options::Given;
use crate::connector::reading::{Beginning, Startup};
use crate::error::Result;

/// Everything that a table says of its queues or exchange.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// Of a stream: where reading begins.
    pub beginning: Beginning<Startup>,
    /// The rest.
    pub own: RabbitOptions,
}

impl TableOptions {
    /// Reads them.
    pub fn read(options: BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(NAME, options);
        Ok(TableOptions { beginning: given.take()?, own: given.rest()? })
    }
}

/// `'connector'='rabbitmq'`, beside `'format'` (`json` by default) and the format's own, and, of a stream, the options of
/// where reading begins (`scan.startup.*`). A source names a `queue` or a
/// `stream`, a sink an `exchange`; queues, exchanges and bindings are there already (`eagre topics apply` makes them).
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitOptions {
    /// The broker: `amqp://user:password@host:5672/vhost` (`%2f` is the virtual host `/`), or `amqps://…` for TLS.
    pub uri: String,

    /// The HTTP API of the broker's management plugin (`http://host:15672`), with the user and password of `uri`.
    /// `eagre topics` needs it; a source uses it to warn of a delivery limit that is too low.
    #[serde(rename = "management.uri", default)]
    pub management_uri: Option<String>,

    /// TLS: certificates (PEM) of those who sign for the broker, beside the system's.
    #[serde(rename = "tls.ca", default)]
    pub tls_ca: Option<PathBuf>,

    /// TLS: our own certificate chain (PEM), where the broker asks for one.
    #[serde(rename = "tls.cert", default)]
    pub tls_cert: Option<PathBuf>,

    /// TLS: the private key (PEM) of `tls.cert`.
    #[serde(rename = "tls.key", default)]
    pub tls_key: Option<PathBuf>,

    /// How long a start waits for the broker: `30 s` when missing.
    #[serde(rename = "connect.timeout", default = "thirty_seconds", deserialize_with = "crate::time::deserialize_micros")]
    pub connect_timeout_micros: i64,

    /// How long a running pipeline tries to reach a broker that went away before it stops; for ever when missing.
    #[serde(rename = "broker.retry.timeout", default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub retry_timeout_micros: Option<i64>,

    /// As a source: the queue to read, classic or quorum; several separated by `;` are read side by side.
    #[serde(default)]
    pub queue: Option<String>,

    /// As a source: the stream to read; several separated by `;`. Can be read again from any offset.
    #[serde(default)]
    pub stream: Option<String>,

    /// As a source: most messages that the broker hands out before they are acknowledged, which happens with a checkpoint.
    /// Half of it unacknowledged brings a checkpoint before its time. 50000 when missing (streams: 5000), 65535 at most.
    #[serde(default)]
    pub prefetch: Option<u16>,

    /// Of a stream: what happens when retention has removed messages that the checkpoint says are still to be read.
    #[serde(rename = "scan.on-gap", default)]
    pub on_gap: OnGap,

    /// As a sink: the exchange to publish to; empty is the default exchange, which takes the routing key for a queue's name.
    #[serde(default)]
    pub exchange: Option<String>,

    /// As a sink: the routing key of all messages, unless a column is `METADATA FROM 'routing_key'`. Empty when missing.
    #[serde(rename = "routing-key", default)]
    pub routing_key: Option<String>,

    /// As a sink: the exchange that gets what `exchange` can route nowhere; when missing, such a message stops the pipeline.
    #[serde(rename = "sink.dead-letter.exchange", default)]
    pub dead_letter_exchange: Option<String>,

    /// The routing key of such messages; their own when missing.
    #[serde(rename = "sink.dead-letter.routing-key", default)]
    pub dead_letter_routing_key: Option<String>,

    /// As a sink: `at-least-once`. A message may come twice when the process is killed while it publishes a checkpoint's
    /// messages; both have the same message id.
    #[serde(rename = "sink.delivery-guarantee", default)]
    pub guarantee: Guarantee,
}

/// What a gap in a stream does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnGap {
    /// It stops the pipeline.
    #[default]
    Fail,
    /// It is passed over, with a warning that counts what is gone.
    Earliest,
}

/// What a sink promises.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Every message arrives, some perhaps twice.
    #[default]
    AtLeastOnce,
}

fn thirty_seconds() -> i64 {
    30_000_000
}
