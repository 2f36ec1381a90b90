//! Topics of the embedded log: with the log in its hands, or, while an engine holds it, through the engine's socket.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::table::table;
use crate::connector::look::Show;
use crate::error::{Error, Result};
use crate::log::{Declared, Log, Tail, Tailed, TopicFigures};
use crate::server::socket::{Client, Request};
use crate::time::{Length, parse_duration};

/// The way to the topics.
pub enum Topics {
    /// The log itself.
    Log(Log),
    /// The engine that holds the log.
    Engine(Box<Mutex<Client>>),
}

impl Topics {
    /// The engine that runs on a data directory, or else its log; only putting makes one where there is none.
    pub async fn reach(data_dir: PathBuf, makes: bool) -> Result<Topics> {
        if let Some(client) = Client::connect(&data_dir).await? {
            return Ok(Topics::Engine(Box::new(Mutex::new(client))));
        }
        let dir = data_dir.join("log");
        if !makes && !dir.is_dir() {
            let text = format!(
                "there is no log in {}; run a project that writes to one, or name its data directory with --data-dir",
                data_dir.display()
            );
            return Err(Error::unreachable(text));
        }
        Ok(Topics::Log(Log::open(&dir)?))
    }

    /// Calls what the log does by name.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, argument: &impl Serialize) -> Result<T> {
        let unfit = |e| Error::bug(format!("call {name}")).because(e);
        let argument = serde_json::to_value(argument).map_err(unfit)?;
        let answer = match self {
            Topics::Log(log) => log.call(name, argument).await.ok_or_else(|| Error::bug(format!("no call {name}")))??,
            Topics::Engine(client) => client.lock().await.value(&Request::Call { name: name.to_owned(), arguments: argument }).await?,
        };
        serde_json::from_value(answer).map_err(unfit)
    }

    /// Is there a topic of this name?
    pub async fn has(&self, topic: &str) -> bool {
        // An engine that has no log yet has no topics either.
        let figures: Vec<TopicFigures> = self.call("topics.list", &()).await.unwrap_or_default();
        figures.iter().any(|figures| figures.topic == topic)
    }

    /// Makes a topic as the options of its table declare it, where it is not there yet.
    pub async fn make_as_declared(&self, topic: &str, options: &BTreeMap<String, String>) -> Result<()> {
        if self.has(topic).await {
            return Ok(());
        }
        let partitions = options.get("partitions").and_then(|count| count.parse().ok());
        let retention_micros = options.get("retention").map(|length| parse_duration(length)).transpose()?;
        self.call("topics.declare", &Declared { topic: topic.to_owned(), partitions, retention_micros }).await
    }
}

/// Prints figures as a table, one topic a line.
pub fn list(figures: &[TopicFigures], out: &mut dyn Write) -> std::io::Result<()> {
    let time = |micros: Option<i64>| match micros.and_then(chrono::DateTime::from_timestamp_micros) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        None => "-".to_owned(),
    };
    let kept = |micros: Option<i64>| micros.map_or("for ever".to_owned(), |micros| Length(micros).to_string());
    let rows = figures.iter().map(|f| {
        let [partitions, records, bytes] = [u64::from(f.partitions), f.records, f.bytes].map(|n| n.to_string());
        vec![f.topic.clone(), partitions, records, bytes, time(f.earliest_micros), time(f.latest_micros), kept(f.retention_micros)]
    });
    table(&["topic", ">partitions", ">records", ">bytes", "earliest", "latest", "retention"], rows.collect(), out)
}

/// Shows records until the tail ends or nobody reads them any more.
pub async fn tail_to(topics: &Topics, mut tail: Tail, show: &mut (dyn Show + '_)) -> Result<()> {
    loop {
        let Tailed { page, next } = topics.call("topics.tail", &tail).await?;
        if !show.show(page.lines).await? || page.ended {
            return Ok(());
        }
        tail = next;
    }
}
