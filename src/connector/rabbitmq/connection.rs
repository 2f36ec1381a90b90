//! The way to a broker: connecting, and telling what tries again from what stops.

use std::path::Path;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::time::Instant;

use super::NAME;
use super::options::RabbitOptions;
use crate::error::{Error, Kind, Result};

/// Longest wait for one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// First and longest wait between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A broker, and how it is reached. Describes: nothing is touched before `connect`.
#[derive(Debug, Clone)]
pub struct Broker {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    /// How it is called: without user and password.
    name: String,
    connect_timeout: Duration,
    retry_timeout: Option<Duration>,
}

impl Broker {
    /// The broker that a table's options name; certificates are read from `base_dir`.
    pub fn new(options: &RabbitOptions, base_dir: &Path) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': {text}"));
        let uri: AMQPUri = options.uri.parse().map_err(|e: String| {
            fault(format!("option 'uri' does not read ({e}); expected amqp://user:password@host:5672/vhost, or amqps://… for TLS"))
        })?;
        let file = |option: &str, path: &Path| {
            let path = base_dir.join(path);
            std::fs::read_to_string(&path)
                .map_err(|e| Error::unreachable(format!("connector '{NAME}': option '{option}': reading '{}'", path.display())).because(e))
        };
        let own = match (&options.tls_cert, &options.tls_key) {
            (Some(cert), Some(key)) => Some((file("tls.cert", cert)?, file("tls.key", key)?)),
            (None, None) => None,
            _ => return Err(fault("'tls.cert' and 'tls.key' go together; one of them is missing".into())),
        };
        let secure = uri.scheme == AMQPScheme::AMQPS;
        if !secure && (options.tls_ca.is_some() || own.is_some()) {
            return Err(fault("'tls.…' options need a uri that begins with amqps://".into()));
        }
        let tls = OwnedTLSConfig {
            cert_chain: options.tls_ca.as_deref().map(|path| file("tls.ca", path)).transpose()?,
            identity: own.map(|(pem, key)| OwnedIdentity::PKCS8 { pem: pem.into_bytes(), key: key.into_bytes() }),
        };
        let vhost = if uri.vhost == "/" { "%2f" } else { &uri.vhost };
        let name = format!("{}://{}:{}/{vhost}", uri.scheme, uri.authority.host, uri.authority.port);
        Ok(Broker {
            tls,
            name,
            connect_timeout: Duration::from_micros(options.connect_timeout_micros as u64),
            retry_timeout: options.retry_timeout_micros.map(|micros| Duration::from_micros(micros as u64)),
            uri,
        })
    }

    /// What it is called, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a trouble with it is filed under.
    pub fn thing(&self) -> String {
        format!("broker {}", self.name)
    }

    /// The machine.
    pub fn host(&self) -> &str {
        &self.uri.authority.host
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// User and password.
    pub fn user(&self) -> (&str, &str) {
        (&self.uri.authority.userinfo.username, &self.uri.authority.userinfo.password)
    }

    /// How long a running pipeline tries again; `None` = for ever.
    pub fn retry_timeout(&self) -> Option<Duration> {
        self.retry_timeout
    }

    /// One attempt. An error of kind [`Kind::Unreachable`] may go away by itself; others do not.
    pub async fn connect(&self) -> Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name("eagre".into());
        let runtime = lapin::runtime::default_runtime().map_err(|e| Error::bug("no runtime for AMQP").because(e))?;
        let attempt = Connection::connect_uri_with_config(self.uri.clone(), properties, self.tls.clone(), runtime);
        match tokio::time::timeout(ATTEMPT.min(self.connect_timeout), attempt).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.fault(error)),
            Err(_) => Err(Error::unreachable(format!("{}: no answer", self.thing()))),
        }
    }

    /// The connection of a start: tries for `connect.timeout`.
    pub async fn connect_at_start(&self) -> Result<Connection> {
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let error = match self.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.kind() == Kind::Unreachable => error,
                Err(error) => return Err(error),
            };
            let wait = backoff.wait();
            if begun.elapsed() + wait >= self.connect_timeout {
                let text = format!(
                    "{} could not be reached within {} s (option 'connect.timeout', {} attempts)",
                    self.thing(),
                    self.connect_timeout.as_secs_f64(),
                    backoff.attempts
                );
                return Err(Error::unreachable(text).because(error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// What a fault of the protocol or the network means: of kind [`Kind::Unreachable`] when trying again may mend it.
    pub fn fault(&self, error: lapin::Error) -> Error {
        let thing = self.thing();
        let text = error.to_string();
        let kind = match error.kind() {
            ErrorKind::ProtocolError(protocol) => match protocol.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    let (user, _) = self.user();
                    return Error::input(format!("{thing} refuses user '{user}': wrong password, or no permission")).because(error);
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                    return Error::input(format!("{thing} has no virtual host '{}', or does not let the user in", self.vhost()))
                        .because(error);
                }
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND | AMQPSoftError::PRECONDITIONFAILED) => Kind::Input,
                _ => Kind::Unreachable,
            },
            ErrorKind::InvalidProtocolVersion(_) => Kind::Input,
            // What is wrong with a certificate does not mend itself.
            _ if text.contains("certificate") || text.contains("UnknownIssuer") => {
                return Error::input(format!("{thing}: its certificate is not accepted; 'tls.ca' names who signs for it")).because(error);
            }
            _ => Kind::Unreachable,
        };
        Error::new(kind, thing).because(error)
    }
}

/// Waits between attempts: doubling, up to a bound.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Attempts so far.
    pub attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let wait = BACKOFF.0.saturating_mul(1 << self.attempts.min(16)).min(BACKOFF.1);
        self.attempts += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(pairs: &[(&str, &str)]) -> Result<Broker> {
        let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Broker::new(&crate::connector::options::parse(NAME, &options)?, Path::new("/nowhere"))
    }

    #[test]
    fn a_broker_is_named_without_its_password() {
        let broker = broker(&[("uri", "amqp://ann:secret@box:5673/%2f")]).unwrap();
        assert_eq!(broker.name(), "amqp://box:5673/%2f");
        assert_eq!((broker.vhost(), broker.user()), ("/", ("ann", "secret")));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let told = |pairs: &[(&str, &str)]| broker(pairs).unwrap_err().to_string();
        assert!(told(&[("uri", "http://box")]).contains("option 'uri' does not read"), "{}", told(&[("uri", "http://box")]));
        assert!(told(&[("uri", "amqps://box"), ("tls.ca", "ca.pem")]).contains("reading '/nowhere/ca.pem'"));
        assert!(told(&[("uri", "amqp://box"), ("tls.ca", "ca.pem")]).contains("need a uri that begins with amqps://"));
        assert!(told(&[("uri", "amqps://box"), ("tls.cert", "c.pem")]).contains("go together"));
        assert!(told(&[("uri", "amqp://box"), ("prefetch", "70000")]).contains("option 'prefetch'"));
        assert!(told(&[("uri", "amqp://box"), ("sink.delivery-guarantee", "exactly-once")]).contains("is none of at-least-once"));
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }
}
