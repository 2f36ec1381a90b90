//! A client of a schema registry with Confluent's paths, over HTTP or HTTPS: asked once per new id, tried a few times.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Certificate, Client, Identity, Method, Url};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A registry.
#[derive(Debug)]
pub(super) struct Registry {
    /// Without name and password.
    base: Url,
    /// Name and password.
    user: Option<(String, String)>,
    tls: Tls,
    /// Made at the first question: what is only described touches nothing outside.
    client: OnceLock<Client>,
    /// Schemas by id; `None` = it said that there is none.
    schemas: Mutex<HashMap<u32, Option<String>>>,
}

/// What a connection over TLS is made with, beside the system's certificates.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// Of those who sign for the registry.
    trusted: Vec<Certificate>,
    /// Our own, where the registry asks for one.
    identity: Option<Identity>,
}

impl Tls {
    /// As the files say: certificates, and our own certificate with its key; all PEM.
    pub(super) fn read(trusted: Option<&Path>, own: Option<&Path>) -> Result<Tls> {
        let read = |option: &str, path: &Path| {
            let text = std::fs::read(path).map_err(|e| Error::input(format!("'{option}': reading '{}'", path.display())).because(e))?;
            if text.windows(10).any(|part| part == b"-----BEGIN") {
                return Ok(text);
            }
            Err(Error::input(format!(
                "'{option}' = '{}' is no PEM file; 'keytool -exportcert -rfc' or 'openssl pkcs12 -nodes' makes one of a Java keystore",
                path.display()
            )))
        };
        let (trusted_option, own_option) = ("avro-confluent.ssl.truststore.location", "avro-confluent.ssl.keystore.location");
        let unfit = |option: &str, e: reqwest::Error| Error::input(format!("'{option}': the file does not hold what it should")).because(e);
        let trusted = match trusted {
            Some(path) => Certificate::from_pem_bundle(&read(trusted_option, path)?).map_err(|e| unfit(trusted_option, e))?,
            None => Vec::new(),
        };
        let identity = match own {
            Some(path) => Some(Identity::from_pem(&read(own_option, path)?).map_err(|e| unfit(own_option, e))?),
            None => None,
        };
        Ok(Tls { trusted, identity })
    }
}

/// An answer: status and body.
type Answer = (u16, String);

impl Registry {
    /// The registry at `url`; `user_info`: `name:password`, unless the URL has it.
    pub(super) fn new(url: &str, user_info: Option<String>, tls: Tls) -> Result<Registry> {
        let fault = |text: &str| Error::input(format!("'avro-confluent.url' = '{url}': {text}"));
        let mut base = Url::parse(url).map_err(|e| fault("expected http://host:port or https://host:port").because(e))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(fault("expected http://host:port or https://host:port"));
        }
        let in_url = (!base.username().is_empty()).then(|| (base.username().to_owned(), base.password().unwrap_or_default().to_owned()));
        let given = user_info.map(|info| info.split_once(':').map_or((info.clone(), String::new()), |(n, p)| (n.to_owned(), p.to_owned())));
        // Credentials travel in a header, and are in no message.
        let stripped = base.set_username("").and_then(|()| base.set_password(None));
        stripped.map_err(|()| fault("it names no host"))?;
        Ok(Registry { base, user: given.or(in_url), tls, client: OnceLock::new(), schemas: Mutex::default() })
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// The schema of this id; `None` = there is none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<String>> {
        // Held while asking: the tasks that wait for the same id ask once.
        let mut schemas = self.schemas.lock();
        if let Some(known) = schemas.get(&id) {
            return Ok(known.clone());
        }
        let (status, body) = self.ask(&Method::GET, &["schemas", "ids", &id.to_string()], None)?;
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
        let body = json!({ "schema": schema }).to_string();
        let (status, answer) = self.ask(&Method::POST, &["subjects", subject, "versions"], Some(&body))?;
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
    fn ask(&self, method: &Method, path: &[&str], body: Option<&str>) -> Result<Answer> {
        let ask = || {
            let mut pauses = PAUSES.iter();
            loop {
                match self.ask_once(method, path, body)? {
                    Ok((status, _)) if status >= 500 && pauses.len() > 0 => {}
                    Ok(answer) => return Ok(answer),
                    // What is wrong with a certificate does not mend itself.
                    Err(error) if is_about_certificates(&error) => {
                        return Err(Error::input(format!(
                            "the schema registry {}: one of its certificate and ours is not accepted; \
                             'avro-confluent.ssl.truststore.location' names who signs for it, 'avro-confluent.ssl.keystore.location' our own",
                            self.place()
                        ))
                        .because(error));
                    }
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

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // No connection is kept: each question has a runtime of its own.
        let mut builder = Client::builder().timeout(PATIENCE).pool_max_idle_per_host(0);
        for certificate in &self.tls.trusted {
            builder = builder.add_root_certificate(certificate.clone());
        }
        if let Some(identity) = &self.tls.identity {
            builder = builder.identity(identity.clone());
        }
        let client = builder.build().map_err(|e| Error::input("a client of the schema registry cannot be made").because(e))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// One try, waited for whatever thread it is asked from.
    fn ask_once(&self, method: &Method, path: &[&str], body: Option<&str>) -> Result<std::result::Result<Answer, reqwest::Error>> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => _ = segments.pop_if_empty().extend(path),
            Err(()) => return Err(Error::bug(format!("{} can hold no path", self.place()))),
        }
        let mut request = self.client()?.request(method.clone(), url);
        request = request.header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_owned());
        }
        let asking = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await?))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::failed("cannot ask the schema registry").because(e))?;
        let asked = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(asking)).join());
        asked.map_err(|_| Error::bug("asking the schema registry stopped"))
    }
}

/// Does the error, or what is behind it, speak of certificates?
fn is_about_certificates(error: &reqwest::Error) -> bool {
    let mut behind = error.source();
    while let Some(cause) = behind {
        let text = cause.to_string();
        if text.contains("certificate") || text.contains("UnknownIssuer") || text.contains("CertificateRequired") {
            return true;
        }
        behind = cause.source();
    }
    false
}
