//! The HTTP API of the management plugin: what AMQP cannot tell.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::NAME;
use super::connection::Broker;
use crate::error::{Error, Result, did_you_mean};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The API of one broker, for one virtual host.
#[derive(Debug, Clone)]
pub struct Management {
    client: Client,
    base: Url,
    vhost: String,
    user: String,
    password: String,
}

impl Management {
    /// The API at `uri`, with the user of the broker unless it names its own.
    pub fn new(uri: &str, broker: &Broker) -> Result<Self> {
        let fault = |text: String| Error::input(format!("connector '{NAME}': option 'management.uri': {text}"));
        let mut base = Url::parse(uri).map_err(|e| fault(format!("'{uri}' does not read ({e}); expected http://host:15672")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(fault(format!("'{}://…' is neither http nor https", base.scheme())));
        }
        let (user, password) = match (base.username(), base.password()) {
            ("", _) => broker.user(),
            (user, password) => (user, password.unwrap_or_default()),
        };
        let (user, password) = (user.to_owned(), password.to_owned());
        // Credentials travel in a header, and are in no message.
        let stripped = base.set_username("").and_then(|()| base.set_password(None));
        stripped.map_err(|()| fault("it names no host".into()))?;
        let client = Client::builder().timeout(PATIENCE).build().map_err(|e| Error::bug("no HTTP client").because(e))?;
        Ok(Management { client, base, vhost: broker.vhost().to_owned(), user, password })
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("management API {}", self.base)
    }

    /// Asks for `path`, whose parts may hold any character; `None` = there is no such thing.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>> {
        match self.call(Method::GET, path, None).await? {
            None => Ok(None),
            Some(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
                Error::failed(format!("{}: an answer about {} that was not expected", self.name(), path.join("/"))).because(e)
            }),
        }
    }

    /// Sends a body, or none, to `path`.
    pub async fn send(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<()> {
        match self.call(method, path, body).await? {
            Some(_) => Ok(()),
            None => Err(Error::failed(format!("{}: there is no {}", self.name(), path.join("/")))),
        }
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Option<String>> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().push("api").extend(path),
            Err(()) => return Err(Error::bug(format!("{} can hold no path", self.name()))),
        };
        let mut request = self.client.request(method.clone(), url).basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let thing = || format!("{}: {method} {}", self.name(), path.join("/"));
        let unreachable = |e: reqwest::Error| Error::unreachable(thing()).because(e.without_url());
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        match status {
            status if status.is_success() => Ok(Some(text)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::input(format!("{}: user '{}' is refused: wrong password, or no permission", thing(), self.user)))
            }
            status if status.is_client_error() => Err(Error::input(format!("{}: {status}: {text}", thing()))),
            status => Err(Error::failed(format!("{}: {status}: {text}", thing()))),
        }
    }

    /// How often a message of a queue is delivered before the broker gives it up; `None` = without limit.
    pub async fn delivery_limit(&self, queue: &str) -> Result<Option<i64>> {
        let found: Option<Value> = self.get(&["queues", &self.vhost, queue]).await?;
        let Some(found) = found else { return Ok(None) };
        let limits = [&found["arguments"]["x-delivery-limit"], &found["effective_policy_definition"]["delivery-limit"]];
        Ok(limits.iter().filter_map(|limit| limit.as_i64()).filter(|limit| *limit >= 0).min())
    }

    /// The queue whose name is nearest, as messages end.
    pub async fn near_queue(&self, wanted: &str) -> String {
        let queues: Result<Option<Vec<Value>>> = self.get(&["queues", &self.vhost]).await;
        let queues = queues.ok().flatten().unwrap_or_default();
        did_you_mean(wanted, queues.iter().filter_map(|queue| queue["name"].as_str()))
    }
}
