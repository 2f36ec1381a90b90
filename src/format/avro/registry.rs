//! A client of a schema registry with Confluent's paths: plain HTTP, asked once per new id, tried a few times.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use base64::Engine as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// How long connecting, and each read or write, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A registry.
#[derive(Debug)]
pub(super) struct Registry {
    /// `host:port`.
    address: String,
    /// What stands before its paths.
    base: String,
    /// `Basic …`
    authorization: Option<String>,
    /// Schemas by id; `None` = it said that there is none.
    schemas: Mutex<HashMap<u32, Option<String>>>,
}

/// An answer: status and body.
type Answer = (u16, String);

impl Registry {
    /// The registry at `url`; `user_info`: `name:password`, unless the URL has it.
    pub(super) fn new(url: &str, user_info: Option<String>) -> Result<Registry> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(Error::input(format!("'avro-confluent.url' = '{url}': expected http://host:port (https is not supported yet)")));
        };
        let (authority, base) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (in_url, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user.to_owned()), host));
        if host.is_empty() {
            return Err(Error::input(format!("'avro-confluent.url' = '{url}' names no host")));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        let authorization = user_info.or(in_url).map(|user| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)));
        Ok(Registry { address, base: base.trim_end_matches('/').to_owned(), authorization, schemas: Mutex::default() })
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        format!("http://{}{}", self.address, self.base)
    }

    /// The schema of this id; `None` = there is none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<String>> {
        // Held while asking: the tasks that wait for the same id ask once.
        let mut schemas = self.schemas.lock();
        if let Some(known) = schemas.get(&id) {
            return Ok(known.clone());
        }
        let (status, body) = self.ask("GET", &format!("/schemas/ids/{id}"), None)?;
        let schema = match status {
            200 => Some(self.member(&body, "schema", |text| text.as_str().map(str::to_owned))?),
            404 => None,
            _ => return Err(self.refused(&format!("schema {id}"), status, &body)),
        };
        schemas.insert(id, schema.clone());
        Ok(schema)
    }

    /// The id of a schema under a subject, registered if it is new.
    pub(super) fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let path = format!("/subjects/{}/versions", percent_encoded(subject));
        let body = json!({ "schema": schema }).to_string();
        let (status, answer) = self.ask("POST", &path, Some(&body))?;
        if status != 200 {
            return Err(self.refused(&format!("the schema of subject '{subject}'"), status, &answer));
        }
        let id = self.member(&answer, "id", |id| id.as_u64().and_then(|id| u32::try_from(id).ok()))?;
        Ok(id)
    }

    fn refused(&self, what: &str, status: u16, body: &str) -> Error {
        let place = self.place();
        let message = self.member(body, "message", |text| text.as_str().map(str::to_owned)).unwrap_or_else(|_| body.trim().to_owned());
        let text = format!("the schema registry {place} refuses {what}: {status} {message}");
        if status == 401 || status == 403 || status == 409 || status == 422 { Error::input(text) } else { Error::unreachable(text) }
    }

    fn member<T>(&self, body: &str, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let value: Option<Value> = serde_json::from_str(body).ok();
        value
            .as_ref()
            .and_then(|value| read(value.get(name)?))
            .ok_or_else(|| Error::unreachable(format!("the schema registry {} answered without '{name}': {}", self.place(), body.trim())))
    }

    /// Asks, a few times when nobody answers.
    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
        let ask = || {
            let mut pauses = PAUSES.iter();
            loop {
                match self.ask_once(method, path, body) {
                    Ok((status, _)) if status >= 500 && pauses.len() > 0 => {}
                    Ok(answer) => return Ok(answer),
                    Err(error) if pauses.len() == 0 => {
                        let text = format!("the schema registry {} does not answer, tried {} times", self.place(), PAUSES.len() + 1);
                        return Err(Error::unreachable(text).because(error));
                    }
                    Err(_) => {}
                }
                if let Some(pause) = pauses.next() {
                    std::thread::sleep(*pause);
                }
            }
        };
        // Decoding runs among other tasks: they are not to wait.
        match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(ask),
            _ => ask(),
        }
    }

    fn ask_once(&self, method: &str, path: &str, body: Option<&str>) -> std::io::Result<Answer> {
        let nowhere = || std::io::Error::other(format!("'{}' is no address", self.address));
        let address = self.address.to_socket_addrs()?.next().ok_or_else(nowhere)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Version 1.0: the answer ends with the connection and comes in one piece.
        let mut request = format!("{method} {}{path} HTTP/1.0\r\nHost: {}\r\n", self.base, self.address);
        request.push_str("Accept: application/vnd.schemaregistry.v1+json, application/json\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
        let (Some(status), Some((_, body))) = (status, answer.split_once("\r\n\r\n")) else {
            return Err(std::io::Error::other("it does not speak HTTP"));
        };
        Ok((status, body.to_owned()))
    }
}

/// A subject as a piece of a path.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
