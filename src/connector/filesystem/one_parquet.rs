//! One parquet file, for pipelines that end. A parquet file cannot be cut, nor can tasks share one before its end.
//!
//! ```text
//!  write, prepare   .out.parquet.part-0-0  .out.parquet.part-1-0    hidden parts; each task begins a new one after every
//!                                                                   checkpoint, which notes how many are whole
//!  restore          the noted parts are kept
//!  finish           their rows are copied into one file in the order of tasks, which is renamed to out.parquet
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parking_lot::Mutex;

use super::one_file::{dir_and_name, ends_only, lost};
use super::part::{ParquetPart, PartFormat, Unsynced, names_in, remove, sync_dir};
use super::{NAME, failed};
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Place, Result};
use crate::state::StateHandles;

/// Task to whole parts: what a checkpoint knows.
type Whole = BTreeMap<usize, u64>;

/// A single parquet file.
#[derive(Debug)]
pub struct OneParquetSink {
    written: String,
    format: PartFormat,
    parts: Parts,
    /// What each task noted last. Every checkpoint notes all of it, since tasks that have ended, or that this run does
    /// not have any more, note nothing themselves.
    whole: Arc<Mutex<Whole>>,
    unsynced: Unsynced,
}

impl OneParquetSink {
    /// A sink into the file `path`; touches nothing.
    pub fn new(written: String, path: PathBuf, format: PartFormat) -> Self {
        let (dir, name) = dir_and_name(&path);
        let parts = Parts { path, dir, prefix: format!(".{name}.part-") };
        OneParquetSink { written, format, parts, whole: Arc::default(), unsynced: Unsynced::default() }
    }
}

impl Sink for OneParquetSink {
    fn describe(&self) -> String {
        format!("{NAME} {} ({}, one file)", self.written, self.format.name)
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.written)
    }

    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        std::fs::create_dir_all(&self.parts.dir).map_err(|e| failed("making the directory", &self.parts.dir, e))?;
        let noted = restored.unwrap_or_default().iter().map(Noted::from).collect::<Result<Vec<_>>>()?;
        let mut whole: Whole = noted.iter().flat_map(|noted| &noted.others).map(|(task, whole)| (*task, *whole)).collect();
        // What a task says of itself stands: the others may have seen it go on since.
        whole.extend(noted.iter().map(|noted| (noted.task, noted.whole)));
        if restored.is_some() && noted.is_empty() {
            // All tasks had ended before the checkpoint: all that is there stays.
            for (task, number) in self.parts.found()? {
                let count = whole.entry(task).or_default();
                *count = (*count).max(number + 1);
            }
        }
        self.parts.keep(&mut whole)?;
        *self.whole.lock() = whole;
        Ok(())
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(ParquetWriter {
            parts: self.parts.clone(),
            noted: self.whole.clone(),
            task,
            format: self.format.clone(),
            whole: self.whole.lock().get(&task).copied().unwrap_or(0),
            part: None,
            unsynced: self.unsynced.clone(),
        }))
    }

    fn settle(&self, _epoch: u64) -> Result<()> {
        self.unsynced.sync(&self.parts.dir)
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        // Nothing is shown before the end.
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let parts = self.parts.found()?;
        let whole = self.parts.join(&parts, &self.format)?;
        std::fs::rename(&whole, &self.parts.path).map_err(|e| failed("renaming", &whole, e))?;
        sync_dir(&self.parts.dir)?;
        for (task, number) in parts {
            remove(&self.parts.at(task, number))?;
        }
        Ok(())
    }

    fn check_unbounded(&self) -> Result<()> {
        Err(ends_only(&self.written))
    }
}

/// Where the file and its hidden parts are.
#[derive(Debug, Clone)]
struct Parts {
    path: PathBuf,
    dir: PathBuf,
    /// What the names of the parts begin with.
    prefix: String,
}

impl Parts {
    /// Path of a part.
    fn at(&self, task: usize, number: u64) -> PathBuf {
        self.dir.join(format!("{}{task}-{number}", self.prefix))
    }

    /// The parts that are there, by task and number.
    fn found(&self) -> Result<Vec<(usize, u64)>> {
        let read = |name: &String| {
            let (task, number) = name.strip_prefix(&self.prefix)?.split_once('-')?;
            Some((task.parse().ok()?, number.parse().ok()?))
        };
        let mut found: Vec<_> = names_in(&self.dir)?.iter().filter_map(read).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Keeps the whole parts that a checkpoint noted.
    fn keep(&self, whole: &mut Whole) -> Result<()> {
        let first_missing = whole.iter().flat_map(|(task, whole)| (0..*whole).map(|n| self.at(*task, n))).find(|path| !path.exists());
        if let Some(missing) = first_missing {
            if !self.path.exists() {
                return Err(lost(&missing, std::io::ErrorKind::NotFound.into()));
            }
            self.take_back(whole)?;
        }
        for (task, number) in self.found()? {
            if whole.get(&task).is_none_or(|whole| number >= *whole) {
                remove(&self.at(task, number))?;
            }
        }
        Ok(())
    }

    /// The run was cut short after `finish` had named the file: it becomes a part again.
    fn take_back(&self, whole: &mut Whole) -> Result<()> {
        for (task, number) in self.found()? {
            remove(&self.at(task, number))?;
        }
        std::fs::rename(&self.path, self.at(0, 0)).map_err(|e| failed("renaming", &self.path, e))?;
        *whole = Whole::from([(0, 1)]);
        sync_dir(&self.dir)
    }

    /// Copies the rows of all parts into one file.
    fn join(&self, parts: &[(usize, u64)], format: &PartFormat) -> Result<PathBuf> {
        if let [(task, number)] = parts {
            return Ok(self.at(*task, *number));
        }
        let whole = self.dir.join(format!("{}whole", self.prefix));
        let mut out = ParquetPart::create(&whole, format.schema.clone())?;
        for (task, number) in parts {
            let path = self.at(*task, *number);
            let file = File::open(&path).map_err(|e| lost(&path, e))?;
            let fault = |error| Error::corrupt("not readable as parquet").because(error).at(Place::thing(path.display().to_string()));
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).and_then(|rows| rows.build()).map_err(fault)? {
                out.write(&batch?.with_schema(format.schema.clone())?)?;
            }
        }
        let written = Unsynced::default();
        out.finish(&written)?;
        written.sync(&self.dir)?;
        Ok(whole)
    }
}

/// What a task notes in a checkpoint.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Noted {
    task: usize,
    whole: u64,
    /// What is known of the others.
    others: Whole,
}

impl Noted {
    fn from(prepared: &Prepared) -> Result<Self> {
        serde_json::from_value(prepared.0.clone()).map_err(|e| Error::corrupt(format!("'{}' notes no parts", prepared.0)).because(e))
    }
}

struct ParquetWriter {
    parts: Parts,
    /// What all tasks have noted.
    noted: Arc<Mutex<Whole>>,
    task: usize,
    format: PartFormat,
    /// Parts that are whole.
    whole: u64,
    /// The part under way, begun with its first row.
    part: Option<ParquetPart>,
    unsynced: Unsynced,
}

impl Writer for ParquetWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.part.is_none() {
            self.part = Some(ParquetPart::create(&self.parts.at(self.task, self.whole), self.format.schema.clone())?);
        }
        self.part.as_mut().map_or(Ok(()), |part| part.write(batch))
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        if let Some(part) = self.part.take() {
            part.finish(&self.unsynced)?;
            self.whole += 1;
        }
        let mut noted = self.noted.lock();
        noted.insert(self.task, self.whole);
        Ok(Some(Prepared(serde_json::json!(Noted { task: self.task, whole: self.whole, others: noted.clone() }))))
    }
}
