//! Messages that are durable and not yet published: one file per task and epoch.
//!
//! ```text
//!  0000000007-0-3f2a.stage    ─ published, every message confirmed ─▶    0000000007-0-3f2a.done    (empty)
//! ```
//! The empty file says that nothing is left to do when a restart commits the epoch again: a stage that is neither there
//! nor done is lost, and that is an error.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Marks of published stages that are kept: as many as no kept checkpoint can name.
const DONE_KEPT: usize = 1_024;
/// The longest head or payload that a stage may hold.
const MOST_BYTES: u32 = 1 << 30;

/// A message, ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What stands around the payload.
    pub head: Head,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What stands around a payload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The routing key.
    pub routing_key: String,
    /// The message id.
    pub message_id: String,
    /// The correlation id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// What the payload is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content_type: Option<String>,
    /// When, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timestamp: Option<u64>,
    /// Its headers, as [`headers_text`](crate::format::headers_text) writes them; empty = none.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub headers: String,
}

/// The stages of one sink.
#[derive(Debug, Clone)]
pub struct Stages {
    dir: PathBuf,
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |e| Error::failed(format!("writing '{}'", path.display())).because(e)
}

impl Stages {
    /// The stages in `dir`, which need not exist yet.
    pub fn new(dir: PathBuf) -> Self {
        Stages { dir }
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{name}.{ending}"))
    }

    /// Begins a stage of a task.
    pub fn begin(&self, task: usize) -> Result<StageWriter> {
        fs::create_dir_all(&self.dir).map_err(unwritable(&self.dir))?;
        let run = uuid::Uuid::new_v4().simple().to_string();
        let path = self.dir.join(format!("{task}-{run}.open"));
        let file = BufWriter::new(File::create(&path).map_err(unwritable(&path))?);
        Ok(StageWriter { stages: self.clone(), file, path, task, run, count: 0 })
    }

    /// The messages of a stage that are still to be published; `None` = it has been published.
    pub fn read(&self, name: &str) -> Result<Option<StageReader>> {
        let path = self.path(name, "stage");
        match File::open(&path) {
            Ok(file) => Ok(Some(StageReader { file: BufReader::new(file), path, number: 0 })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.path(name, "done").exists() => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::corrupt(format!(
                "'{}' is gone: a checkpoint says that it holds messages, and whether they were published is not known. With --restore \
                 none the pipeline starts afresh",
                path.display()
            ))),
            Err(e) => Err(Error::failed(format!("reading '{}'", path.display())).because(e)),
        }
    }

    /// A stage has been published but for these messages and the rest of it, which stay.
    pub fn keep(&self, name: &str, first: &[Message], mut rest: StageReader) -> Result<()> {
        let path = self.path(name, "stage");
        let new = self.path(name, "open");
        let mut file = BufWriter::new(File::create(&new).map_err(unwritable(&new))?);
        first.iter().try_for_each(|message| write_one(&mut file, &message.head, &message.payload)).map_err(unwritable(&new))?;
        while let Some(message) = rest.message()? {
            write_one(&mut file, &message.head, &message.payload).map_err(unwritable(&new))?;
        }
        seal(file, &new)?;
        fs::rename(&new, &path).map_err(unwritable(&path))?;
        sync_dir(&self.dir)
    }

    /// A stage has been published.
    pub fn done(&self, name: &str) -> Result<()> {
        let (stage, done) = (self.path(name, "stage"), self.path(name, "done"));
        let file = File::create(&done).map_err(unwritable(&done))?;
        file.sync_all().map_err(unwritable(&done))?;
        match fs::remove_file(&stage) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(&stage)(e)),
            _ => {}
        }
        sync_dir(&self.dir)
    }

    /// Removes what an earlier run left: all stages but those named, and all marks when it begins afresh.
    pub fn tidy(&self, named: &[String], afresh: bool) -> Result<()> {
        for path in self.list()? {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("done") if !afresh => {}
                Some("stage") if named.contains(&name) => {}
                Some("stage" | "open" | "done") => fs::remove_file(&path).map_err(unwritable(&path))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the oldest marks when there are too many.
    pub fn prune(&self) -> Result<()> {
        let mut done = self.list()?;
        done.retain(|path| path.extension().is_some_and(|ending| ending == "done"));
        done.sort();
        done.iter().rev().skip(DONE_KEPT).try_for_each(|path| fs::remove_file(path).map_err(unwritable(path)))
    }

    fn list(&self) -> Result<Vec<PathBuf>> {
        let fault = |e| Error::failed(format!("listing '{}'", self.dir.display())).because(e);
        match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(fault(e)),
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect(),
        }
    }
}

/// Reads a stage, message by message.
#[derive(Debug)]
pub struct StageReader {
    file: BufReader<File>,
    path: PathBuf,
    number: u64,
}

impl StageReader {
    /// The next message; `None` at the end.
    pub fn message(&mut self) -> Result<Option<Message>> {
        let damaged = |what: &str| Error::corrupt(format!("'{}' is damaged at message {}: {what}", self.path.display(), self.number));
        let mut frame = [0; 12];
        match self.file.read(&mut frame[..1]) {
            Ok(0) => return Ok(None),
            read => read.map_err(|e| damaged("it cannot be read").because(e))?,
        };
        self.file.read_exact(&mut frame[1..]).map_err(|e| damaged("it ends early").because(e))?;
        let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let (head, payload, sum) = (word(0), word(4), word(8));
        if head.max(payload) > MOST_BYTES {
            return Err(damaged("its length makes no sense"));
        }
        let mut bytes = vec![0; head as usize + payload as usize];
        self.file.read_exact(&mut bytes).map_err(|e| damaged("it ends early").because(e))?;
        if crc32fast::hash(&bytes) != sum {
            return Err(damaged("its checksum does not hold"));
        }
        let payload = bytes.split_off(head as usize);
        let head = serde_json::from_slice(&bytes).map_err(|e| damaged("its head does not read").because(e))?;
        self.number += 1;
        Ok(Some(Message { head, payload }))
    }
}

/// Writes one stage.
#[derive(Debug)]
pub struct StageWriter {
    stages: Stages,
    file: BufWriter<File>,
    path: PathBuf,
    task: usize,
    /// Makes the name, and with a number the ids of its messages.
    run: String,
    count: u64,
}

impl StageWriter {
    /// Adds a message; one without an id gets one that is its own.
    pub fn push(&mut self, mut head: Head, payload: &[u8]) -> Result<()> {
        if head.message_id.is_empty() {
            head.message_id = format!("{}-{}", self.run, self.count);
        }
        self.count += 1;
        write_one(&mut self.file, &head, payload).map_err(unwritable(&self.path))
    }

    /// Makes it durable as the stage of an epoch; returns its name.
    pub fn finish(self, epoch: u64) -> Result<(String, u64)> {
        let name = format!("{epoch:010}-{}-{}", self.task, &self.run[..8]);
        seal(self.file, &self.path)?;
        let path = self.stages.path(&name, "stage");
        fs::rename(&self.path, &path).map_err(unwritable(&path))?;
        sync_dir(&self.stages.dir)?;
        Ok((name, self.count))
    }
}

fn write_one(out: &mut impl Write, head: &Head, payload: &[u8]) -> std::io::Result<()> {
    let head = serde_json::to_vec(head).map_err(std::io::Error::other)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(std::io::Error::other);
    out.write_all(&length(&head)?.to_le_bytes())?;
    out.write_all(&length(payload)?.to_le_bytes())?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head);
    sum.update(payload);
    out.write_all(&sum.finalize().to_le_bytes())?;
    out.write_all(&head)?;
    out.write_all(payload)
}

fn seal(mut file: BufWriter<File>, path: &Path) -> Result<()> {
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(unwritable(path))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(unwritable(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn stage(stages: &Stages, epoch: u64, payloads: &[&str]) -> String {
        let mut writer = stages.begin(0).unwrap();
        for payload in payloads {
            writer.push(Head { routing_key: "k".into(), ..Head::default() }, payload.as_bytes()).unwrap();
        }
        writer.finish(epoch).unwrap().0
    }

    fn all(stages: &Stages, name: &str) -> Option<Vec<Message>> {
        let mut reader = stages.read(name).unwrap()?;
        Some(std::iter::from_fn(|| reader.message().unwrap()).collect())
    }

    fn payloads(messages: &[Message]) -> Vec<&str> {
        messages.iter().map(|message| std::str::from_utf8(&message.payload).unwrap()).collect()
    }

    #[test]
    fn a_stage_is_read_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let stages = Stages::new(dir.path().join("s"));
        let name = stage(&stages, 7, &["a", "b", "c", "d"]);
        let messages = all(&stages, &name).unwrap();
        assert_eq!(payloads(&messages), ["a", "b", "c", "d"]);
        assert!(messages[0].head.message_id != messages[1].head.message_id && !messages[0].head.message_id.is_empty());
        let mut reader = stages.read(&name).unwrap().unwrap();
        for _ in 0..3 {
            reader.message().unwrap();
        }
        stages.keep(&name, &messages[1..2], reader).unwrap();
        assert_eq!(all(&stages, &name).unwrap(), [messages[1].clone(), messages[3].clone()], "what is kept keeps its id");
        stages.done(&name).unwrap();
        assert_eq!(all(&stages, &name), None);
        stages.done(&name).unwrap();
    }

    #[test]
    fn what_no_checkpoint_names_goes_and_what_is_lost_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let stages = Stages::new(dir.path().join("s"));
        stages.tidy(&[], true).unwrap();
        let (named, other, done) = (stage(&stages, 1, &["a"]), stage(&stages, 2, &["b"]), stage(&stages, 1, &[]));
        stages.done(&done).unwrap();
        _ = stages.begin(3).unwrap();
        stages.tidy(std::slice::from_ref(&named), false).unwrap();
        stages.prune().unwrap();
        assert_eq!(payloads(&all(&stages, &named).unwrap()), ["a"]);
        assert_eq!(all(&stages, &done), None);
        assert_eq!(stages.read(&other).unwrap_err().kind(), Kind::Corrupt);
        stages.tidy(&[], true).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("s")).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let stages = Stages::new(dir.path().to_owned());
        let name = stage(&stages, 1, &["aaaa", "bbbb"]);
        let path = stages.path(&name, "stage");
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        for (bytes, told) in [(&bytes[..], "damaged at message 1: its checksum"), (&bytes[..last], "damaged at message 1: it ends early")] {
            fs::write(&path, bytes).unwrap();
            let mut reader = stages.read(&name).unwrap().unwrap();
            reader.message().unwrap();
            assert!(reader.message().unwrap_err().to_string().contains(told));
        }
    }
}
