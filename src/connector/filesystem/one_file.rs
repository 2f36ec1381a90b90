//! One file of lines, for pipelines that end: it takes its name when all rows are in it.
//!
//! ```text
//!  write      .out.jsonl.part    hidden; all tasks append to it, in pieces of whole records
//!  prepare    ─┬─ the length is noted ────────────────────────────────────────┬─▶ appended
//!              └─ what a task writes behind the barrier is held back until … ─┘   the last task has come to it
//!  restore    cut to the noted length
//!  finish     out.jsonl          renamed
//! ```
//! Until then the path keeps what an earlier run left there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::append_file::{AppendFile, ToSync};
use super::part::{PartFormat, WRITE_BYTES, sync_dir};
use super::{NAME, failed};
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result};
use crate::format::Encoder;
use crate::state::StateHandles;

/// Bytes that are held back behind a barrier before who writes more of them waits.
const HELD_BYTES: usize = 32 << 20;
/// How long who waits does so before it looks again.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// A single file.
#[derive(Debug)]
pub struct OneFileSink {
    written: String,
    format: PartFormat,
    path: PathBuf,
    dir: PathBuf,
    /// Where rows go until the end.
    hidden: PathBuf,
    /// The file of this run.
    growing: Mutex<Option<Arc<Mutex<Growing>>>>,
}

impl OneFileSink {
    /// A sink into the file `path`; touches nothing.
    pub fn new(written: String, path: PathBuf, format: PartFormat) -> Self {
        let (dir, name) = dir_and_name(&path);
        let hidden = dir.join(format!(".{name}.part"));
        OneFileSink { written, format, path, dir, hidden, growing: Mutex::default() }
    }

    /// The length to go on from; `None` = afresh.
    fn restored_length(&self, restored: Option<&[Prepared]>) -> Result<Option<u64>> {
        let Some(prepared) = restored else { return Ok(None) };
        let noted = prepared.iter().map(|prepared| Noted::from(prepared).map(|noted| noted.length)).collect::<Result<Vec<_>>>()?;
        if !self.hidden.exists() && self.path.exists() {
            let whole = self.path.metadata().map_err(|e| failed("looking at", &self.path, e))?.len();
            // The run was cut short after `finish` had named the file.
            if noted.iter().max().is_none_or(|length| *length == whole) {
                std::fs::rename(&self.path, &self.hidden).map_err(|e| failed("renaming", &self.path, e))?;
                sync_dir(&self.dir)?;
            }
        }
        let found = self.hidden.metadata().map_err(|e| lost(&self.hidden, e))?.len();
        // The last task to come to the barrier knows best. All may have ended before it: then all that is there stays.
        let length = noted.into_iter().max().unwrap_or(found);
        if found < length {
            let text = format!("'{}' is shorter than the {length} bytes that the checkpoint notes", self.hidden.display());
            return Err(Error::corrupt(text));
        }
        Ok(Some(length))
    }

    fn growing(&self) -> Result<Arc<Mutex<Growing>>> {
        self.growing.lock().clone().ok_or_else(|| Error::bug(format!("'{}' is written before it was opened", self.written)))
    }
}

impl Sink for OneFileSink {
    fn describe(&self) -> String {
        format!("{NAME} {} ({}, one file)", self.written, self.format.name)
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.written)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        std::fs::create_dir_all(&self.dir).map_err(|e| failed("making the directory", &self.dir, e))?;
        let length = self.restored_length(restored)?.unwrap_or(0);
        let mut file = AppendFile::open(&self.hidden, length)?;
        if length == 0 {
            file.append(&self.format.encoder()?.file_header())?;
        }
        sync_dir(&self.dir)?;
        *self.growing.lock() = Some(Arc::new(Mutex::new(Growing::new(file))));
        Ok(())
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let growing = self.growing()?;
        growing.lock().tasks += 1;
        Ok(Box::new(OneFileWriter { growing, task, encoder: self.format.encoder()?, buffer: Vec::new() }))
    }

    fn settle(&self, _epoch: u64) -> Result<()> {
        let to_sync = self.growing()?.lock().hand_over()?;
        // The tasks write on meanwhile.
        to_sync.sync()
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        // Nothing is shown before the end.
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        std::fs::rename(&self.hidden, &self.path).map_err(|e| failed("renaming", &self.hidden, e))?;
        sync_dir(&self.dir)
    }

    fn check_unbounded(&self) -> Result<()> {
        Err(ends_only(&self.written))
    }
}

/// Folder and name of a file.
pub fn dir_and_name(path: &Path) -> (PathBuf, String) {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    (dir, path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Why a pipeline that never ends cannot write one file.
pub fn ends_only(written: &str) -> Error {
    Error::input(format!(
        "'path'='{written}' is one file, and this pipeline never ends; name a directory ('{}') to get a part file per checkpoint",
        Path::new(written).with_extension("").display()
    ))
}

/// A file that a checkpoint names cannot be opened.
pub fn lost(path: &Path, error: std::io::Error) -> Error {
    Error::corrupt(format!("'{}' is named by the checkpoint and cannot be opened", path.display())).because(error)
}

/// What a task notes in a checkpoint: the length that the file had when it came to the barrier, its own rows included.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    length: u64,
}

impl Noted {
    fn from(prepared: &Prepared) -> Result<Self> {
        serde_json::from_value(prepared.0.clone())
            .map_err(|e| Error::corrupt(format!("'{}' notes no length of a file", prepared.0)).because(e))
    }
}

/// The file that all tasks append to.
#[derive(Debug)]
struct Growing {
    file: AppendFile,
    /// Tasks that write to it.
    tasks: usize,
    /// Those that have come to the barrier under way.
    at_barrier: BTreeSet<usize>,
    /// What these have written since.
    held: Vec<u8>,
    /// A fault that could not be told when it came up.
    fault: Option<Error>,
}

impl Growing {
    fn new(file: AppendFile) -> Self {
        Growing { file, tasks: 0, at_barrier: BTreeSet::new(), held: Vec::new(), fault: None }
    }

    /// Takes whole records of a task.
    fn take(&mut self, task: usize, records: &mut Vec<u8>) -> Result<()> {
        self.fault.take().map_or(Ok(()), Err)?;
        if self.at_barrier.contains(&task) {
            self.held.append(records);
            return Ok(());
        }
        self.file.append(records)?;
        records.clear();
        Ok(())
    }

    /// Is so much of a task's held back that it is to wait for the others?
    fn is_full(&self, task: usize) -> bool {
        self.held.len() > HELD_BYTES && self.at_barrier.contains(&task)
    }

    /// A task has come to the barrier, or to its end.
    fn barrier(&mut self, task: usize) -> Result<Noted> {
        self.at_barrier.insert(task);
        let noted = Noted { length: self.file.length() };
        self.release()?;
        Ok(noted)
    }

    /// Appends what was held back if all tasks have come to the barrier.
    fn release(&mut self) -> Result<()> {
        if self.at_barrier.len() < self.tasks {
            return Ok(());
        }
        self.at_barrier.clear();
        let held = std::mem::take(&mut self.held);
        self.file.append(&held)
    }

    /// A task is gone: nobody waits for it.
    fn gone(&mut self, task: usize) {
        self.tasks -= 1;
        self.at_barrier.remove(&task);
        if let Err(fault) = self.release() {
            self.fault = Some(fault);
        }
    }

    /// What makes the bytes so far durable.
    fn hand_over(&mut self) -> Result<ToSync> {
        self.fault.take().map_or(Ok(()), Err)?;
        self.file.hand_over()
    }
}

struct OneFileWriter {
    growing: Arc<Mutex<Growing>>,
    task: usize,
    encoder: Box<dyn Encoder>,
    /// Encoded, not handed to the file yet.
    buffer: Vec<u8>,
}

impl Writer for OneFileWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        if self.buffer.len() < WRITE_BYTES {
            return Ok(());
        }
        self.growing.lock().take(self.task, &mut self.buffer)
    }

    /// The barrier has gone out to all tasks before this one writes behind it: the others come to it without this one.
    fn room(&self) -> Option<BoxFuture<'static, Result<()>>> {
        if !self.growing.lock().is_full(self.task) {
            return None;
        }
        let (growing, task) = (self.growing.clone(), self.task);
        Some(Box::pin(async move {
            while growing.lock().is_full(task) {
                tokio::time::sleep(ROOM_WAIT).await;
            }
            Ok(())
        }))
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        let mut growing = self.growing.lock();
        growing.take(self.task, &mut self.buffer)?;
        Ok(Some(Prepared(serde_json::json!(growing.barrier(self.task)?))))
    }
}

impl Drop for OneFileWriter {
    fn drop(&mut self) {
        self.growing.lock().gone(self.task);
    }
}
