//! `eagre topics put`: lines of JSON into the embedded log or a broker, piece by piece.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::log::Topics;
use crate::connector::log;
use crate::connector::look::{ByHand, Look};
use crate::engine::Engine;
use crate::error::{Error, Place, Result};
use crate::log::{Put, Putting, key_of_line};
use crate::project::Project;
use crate::sql::catalog::Entry;
use crate::sql::lower;

/// Bytes of lines that are put in one go.
const PIECE_BYTES: usize = 1 << 20;

/// Where lines go, and how many have.
pub enum Goal<'a> {
    /// A topic of the embedded log.
    Log(&'a Topics, Put),
    /// A topic (or an exchange, a queue) of a broker; the key of all records, where it is not a field.
    Broker(&'a dyn Look, Put, Option<String>),
}

impl Goal<'_> {
    /// Puts whole lines; how many records have been put in all.
    async fn put(&mut self, text: String) -> Result<u64> {
        match self {
            Goal::Log(topics, put) => {
                *put = topics.call("topics.put", &Putting { put: put.clone(), lines: text }).await?;
                Ok(put.records)
            }
            Goal::Broker(look, put, key) => {
                let mut records = Vec::new();
                let mut fault = None;
                for line in text.lines() {
                    put.lines += 1;
                    let line = line.trim();
                    if line.is_empty() {
                        continue;
                    }
                    match key_of_line(line.as_bytes(), put.key_field.as_deref()) {
                        Ok(own) => records.push(ByHand { key: key.clone().or(own), value: line.as_bytes().to_vec() }),
                        Err(error) => {
                            fault = Some(error);
                            break;
                        }
                    }
                }
                if !records.is_empty() {
                    put.records += look.put(put, records).await?;
                }
                match fault {
                    None => Ok(put.records),
                    Some(error) => {
                        let text = format!("{}; the {} records before it are put", error.message(), put.records);
                        Err(Error::new(error.kind(), text).at(Place::text(&put.source, put.lines, 1)))
                    }
                }
            }
        }
    }

    fn progress(&self) -> &Put {
        match self {
            Goal::Log(_, put) | Goal::Broker(_, put, _) => put,
        }
    }
}

/// Makes a topic that is not there yet with the partitions and the retention that a table of the project declares for it. Outside
/// of a project, and where no table says, the log's own number of partitions stands.
pub async fn make_topic(project: &Path, topics: &Topics, topic: &str) -> Result<()> {
    if !Project::is_folder_of_one(project) || topics.has(topic).await {
        return Ok(());
    }
    let engine = match Project::open(project).and_then(Engine::load) {
        Ok(engine) => engine,
        Err(error) => {
            tracing::warn!("topic '{topic}' is made without looking at the tables of the project: {error}");
            return Ok(());
        }
    };
    for (_, entry) in engine.catalog().entries() {
        let Entry::Table(table) = entry else { continue };
        let options = lower::connector_options(&table.def);
        let is_of_log = options.get("connector").is_some_and(|name| [log::NAME, log::UPSERT_NAME].contains(&name.as_str()));
        let named = options.get("topic").map_or(table.def.name.as_str(), String::as_str);
        if is_of_log && named == topic && options.contains_key("partitions") {
            return topics.make_as_declared(topic, &options).await;
        }
    }
    Ok(())
}

/// Opens a file, or stdin for `-`: its name for people, and how many bytes will come, if known.
pub fn open(file: &Path) -> Result<(Box<dyn Read + Send>, String, Option<u64>)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), "stdin".to_owned(), None));
    }
    let source = file.display().to_string();
    let unreadable = |e| Error::unreachable(format!("cannot read {source}")).because(e);
    let opened = File::open(file).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    Ok((Box::new(opened), source, Some(bytes)))
}

/// Puts all lines of `input`, in pieces of whole lines; returns how many records.
pub async fn put_all(mut into: Goal<'_>, input: impl Read, progress: &ProgressBar) -> Result<u64> {
    let mut input = BufReader::with_capacity(PIECE_BYTES, input);
    let mut piece = Vec::new();
    let mut records = 0;
    loop {
        let read = input.read_until(b'\n', &mut piece);
        let read = read.map_err(|e| Error::failed(format!("cannot read {}", into.progress().source)).because(e))?;
        // Whoever types, or a slow pipe, is not kept waiting for a piece to fill.
        let rest_is_here = memchr::memchr(b'\n', input.buffer()).is_some();
        if !piece.is_empty() && (piece.len() >= PIECE_BYTES || !rest_is_here) {
            progress.inc(piece.len() as u64);
            let at = into.progress().lines + 1;
            let lines = String::from_utf8(std::mem::take(&mut piece))
                .map_err(|e| Error::input(format!("{}: the lines from {at} on are no UTF-8 text", into.progress().source)).because(e))?;
            records = into.put(lines).await?;
            progress.set_message(format!("{records} records"));
        }
        if read == 0 {
            progress.finish_and_clear();
            return Ok(records);
        }
    }
}

/// A progress line on a terminal; `bytes`: how many will come, if known.
pub fn progress(bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg} eta {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
