//! A directory of part files, exactly once: one file per task and epoch.
//!
//! ```text
//!  write            .part-0.open            being written
//!  prepare(7)       .part-0-7.jsonl         whole, hidden
//!  settle           .part-0-7.jsonl         durable
//!  commit(7)        part-0-7.jsonl          visible
//! ```

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use super::part::{Part, PartFormat, Unsynced, names_in, remove, sync_dir};
use super::{NAME, failed};
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Result};
use crate::state::StateHandles;

/// What a writer has ready for an epoch.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct PreparedPart {
    epoch: u64,
    /// Visible name of the file; `None` when no rows came.
    file: Option<String>,
}

/// A directory that gets part files.
#[derive(Debug)]
pub struct DirectorySink {
    written: String,
    dir: PathBuf,
    format: PartFormat,
    unsynced: Unsynced,
}

impl DirectorySink {
    /// A sink into `dir`; touches nothing.
    pub fn new(written: String, dir: PathBuf, format: PartFormat) -> Self {
        DirectorySink { written, dir, format, unsynced: Unsynced::default() }
    }

    /// The epoch of a part file of ours, hidden or visible.
    fn epoch_of(&self, name: &str) -> Option<u64> {
        let stem = name.trim_start_matches('.').strip_prefix("part-")?.strip_suffix(self.format.extension())?.strip_suffix('.')?;
        let (task, epoch) = stem.split_once('-')?;
        task.parse::<usize>().ok()?;
        epoch.parse().ok()
    }
}

impl Sink for DirectorySink {
    fn describe(&self) -> String {
        format!("{NAME} {} ({}, a part file per task and checkpoint)", self.written, self.format.name)
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.written)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        std::fs::create_dir_all(&self.dir).map_err(|e| failed("making the directory", &self.dir, e))?;
        let parts = restored.unwrap_or_default().iter().map(read).collect::<Result<Vec<_>>>()?;
        show(&self.dir, &parts)?;
        // What is hidden now was never committed; what is visible from a later epoch belongs to a course of events that
        // is given up. All writers may have ended before the checkpoint and say nothing: then all that is visible stays.
        let last = restored.map(|_| parts.iter().map(|part| part.epoch).max().unwrap_or(u64::MAX));
        for name in names_in(&self.dir)? {
            let open = name.starts_with(".part-") && name.ends_with(".open");
            let stray = self.epoch_of(&name).is_some_and(|found| name.starts_with('.') || last.is_none_or(|last| found > last));
            if open || stray {
                remove(&self.dir.join(name))?;
            }
        }
        sync_dir(&self.dir)
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let (dir, format, unsynced) = (self.dir.clone(), self.format.clone(), self.unsynced.clone());
        Ok(Box::new(DirectoryWriter { dir, format, task, part: None, unsynced }))
    }

    fn settle(&self, _epoch: u64) -> Result<()> {
        self.unsynced.sync(&self.dir)
    }

    fn commit(&self, _epoch: u64, prepared: &[Prepared]) -> Result<()> {
        let parts = prepared.iter().map(read).collect::<Result<Vec<_>>>()?;
        show(&self.dir, &parts)?;
        sync_dir(&self.dir)
    }
}

fn read(prepared: &Prepared) -> Result<PreparedPart> {
    serde_json::from_value(prepared.0.clone()).map_err(|e| Error::corrupt(format!("'{}' names no part file", prepared.0)).because(e))
}

/// Makes prepared files visible; those that are visible already stay.
fn show(dir: &Path, parts: &[PreparedPart]) -> Result<()> {
    for name in parts.iter().filter_map(|part| part.file.as_ref()) {
        let (hidden, visible) = (dir.join(format!(".{name}")), dir.join(name));
        match std::fs::rename(&hidden, &visible) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && visible.exists() => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::corrupt(format!("'{}' is named by the checkpoint and is gone", visible.display())));
            }
            other => other.map_err(|e| failed("renaming", &hidden, e))?,
        }
    }
    Ok(())
}

struct DirectoryWriter {
    dir: PathBuf,
    format: PartFormat,
    task: usize,
    /// The file of this epoch; begun with its first row.
    part: Option<Part>,
    unsynced: Unsynced,
}

impl DirectoryWriter {
    fn open_path(&self) -> PathBuf {
        self.dir.join(format!(".part-{}.open", self.task))
    }
}

impl Writer for DirectoryWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.part.is_none() {
            self.part = Some(Part::create(&self.open_path(), &self.format)?);
        }
        self.part.as_mut().map_or(Ok(()), |part| part.write(batch))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        let file = match self.part.take() {
            None => None,
            Some(part) => {
                part.finish(&self.unsynced)?;
                let name = format!("part-{}-{epoch}.{}", self.task, self.format.extension());
                let from = self.open_path();
                std::fs::rename(&from, self.dir.join(format!(".{name}"))).map_err(|e| failed("renaming", &from, e))?;
                Some(name)
            }
        };
        // Said also when there is no file: a restart learns from it which epochs to keep.
        Ok(Some(Prepared(serde_json::json!({ "epoch": epoch, "file": file }))))
    }
}
