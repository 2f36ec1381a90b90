//! One file, for pipelines that end: it takes its name when all rows are in it.
//!
//! ```text
//!  write, prepare   .out.jsonl.part-0-0  .out.jsonl.part-1-0    hidden parts per task; a checkpoint notes synced lengths
//!  restore          each part is cut to its noted length
//!  finish           all parts are joined in the order of tasks and renamed to out.jsonl
//! ```
//! Until then the path keeps what an earlier run left there. Parquet files cannot be cut: there each task begins a new
//! part after every checkpoint, a checkpoint notes how many are whole, and `finish` copies their rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parking_lot::Mutex;

use super::part::{BytesPart, ParquetPart, PartFormat, names_in, remove, sync_dir};
use super::{NAME, failed};
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Place, Result};
use crate::state::StateHandles;

/// What a checkpoint knows of the parts: task to bytes (lines) or to whole parts (parquet).
type Lengths = BTreeMap<usize, u64>;

/// A single file.
#[derive(Debug)]
pub struct OneFileSink {
    written: String,
    format: PartFormat,
    parts: Parts,
    /// What each task noted last. Every checkpoint notes all of it, since tasks that have ended, or that this run does
    /// not have any more, note nothing themselves.
    lengths: Arc<Mutex<Lengths>>,
}

impl OneFileSink {
    /// A sink into the file `path`; touches nothing.
    pub fn new(written: String, path: PathBuf, format: PartFormat) -> Self {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        OneFileSink { written, format, parts: Parts { path, dir, prefix: format!(".{name}.part-") }, lengths: Arc::default() }
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
        std::fs::create_dir_all(&self.parts.dir).map_err(|e| failed("making the directory", &self.parts.dir, e))?;
        let mut lengths = Lengths::new();
        let noted = restored.unwrap_or_default().iter().map(Noted::from).collect::<Result<Vec<_>>>()?;
        lengths.extend(noted.iter().flat_map(|noted| &noted.others));
        // What a task says of itself stands: the others may have seen it go on since.
        lengths.extend(noted.iter().map(|noted| (noted.task, noted.length)));
        if self.format.is_parquet() {
            self.parts.keep_whole(&mut lengths)?
        } else {
            self.parts.keep_bytes(&mut lengths)?
        }
        *self.lengths.lock() = lengths;
        Ok(())
    }

    fn open(&self, task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let length = self.lengths.lock().get(&task).copied().unwrap_or(0);
        let (parts, lengths) = (self.parts.clone(), self.lengths.clone());
        if self.format.is_parquet() {
            return Ok(Box::new(ParquetWriter { parts, lengths, task, format: self.format.clone(), whole: length, part: None }));
        }
        // One header is enough: the parts are joined.
        let part = BytesPart::open(&parts.at(task, 0), length, self.format.encoder()?, task == 0)?;
        sync_dir(&parts.dir)?;
        Ok(Box::new(BytesWriter { lengths, task, part }))
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        // Nothing is shown before the end.
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let parts = self.parts.found()?;
        let whole = if self.format.is_parquet() { self.parts.join_rows(&parts, &self.format)? } else { self.parts.join_bytes(&parts)? };
        std::fs::rename(&whole, &self.parts.path).map_err(|e| failed("renaming", &whole, e))?;
        sync_dir(&self.parts.dir)?;
        for (task, number) in parts {
            remove(&self.parts.at(task, number))?;
        }
        Ok(())
    }

    fn check_unbounded(&self) -> Result<()> {
        Err(Error::input(format!(
            "'path'='{}' is one file, and this pipeline never ends; name a directory ('{}') to get a part file per checkpoint",
            self.written,
            Path::new(&self.written).with_extension("").display()
        )))
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

    /// Keeps what a checkpoint of lines noted; the parts are cut as they are opened.
    fn keep_bytes(&self, lengths: &mut Lengths) -> Result<()> {
        let sum: u64 = lengths.values().sum();
        let missing = lengths.keys().any(|task| !self.at(*task, 0).exists());
        if missing && self.path.metadata().is_ok_and(|file| file.len() == sum) {
            self.take_back(lengths, sum)?;
        }
        for (task, number) in self.found()? {
            if number > 0 || !lengths.contains_key(&task) {
                remove(&self.at(task, number))?;
            }
        }
        for (task, length) in lengths {
            let path = self.at(*task, 0);
            let file = File::options().write(true).open(&path).map_err(|e| lost(&path, e))?;
            if file.metadata()?.len() < *length {
                return Err(Error::corrupt(format!("'{}' is shorter than the {length} bytes that the checkpoint notes", path.display())));
            }
            file.set_len(*length).map_err(|e| failed("cutting", &path, e))?;
        }
        Ok(())
    }

    /// Keeps the whole parts that a checkpoint of parquet noted.
    fn keep_whole(&self, lengths: &mut Lengths) -> Result<()> {
        let first_missing = lengths.iter().flat_map(|(task, whole)| (0..*whole).map(|n| self.at(*task, n))).find(|path| !path.exists());
        if let Some(missing) = first_missing {
            if !self.path.exists() {
                return Err(lost(&missing, io::ErrorKind::NotFound.into()));
            }
            self.take_back(lengths, 1)?;
        }
        for (task, number) in self.found()? {
            if lengths.get(&task).is_none_or(|whole| number >= *whole) {
                remove(&self.at(task, number))?;
            }
        }
        Ok(())
    }

    /// The run was cut short after `finish` had named the file: it becomes a part again.
    fn take_back(&self, lengths: &mut Lengths, length: u64) -> Result<()> {
        for (task, number) in self.found()? {
            remove(&self.at(task, number))?;
        }
        std::fs::rename(&self.path, self.at(0, 0)).map_err(|e| failed("renaming", &self.path, e))?;
        *lengths = Lengths::from([(0, length)]);
        sync_dir(&self.dir)
    }

    /// Appends all parts to the first, which then is the whole file. Repeated after a crash: parts are cut first.
    fn join_bytes(&self, parts: &[(usize, u64)]) -> Result<PathBuf> {
        let whole = self.at(0, 0);
        let fault = |error| failed("writing", &whole, error);
        let mut out = File::options().create(true).append(true).open(&whole).map_err(fault)?;
        for (task, number) in parts.iter().filter(|part| **part != (0, 0)) {
            let path = self.at(*task, *number);
            let mut part = File::open(&path).map_err(|e| lost(&path, e))?;
            io::copy(&mut part, &mut out).map_err(fault)?;
        }
        out.sync_all().map_err(fault)?;
        Ok(whole)
    }

    /// Copies the rows of all parts into one file.
    fn join_rows(&self, parts: &[(usize, u64)], format: &PartFormat) -> Result<PathBuf> {
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
        out.finish()?;
        Ok(whole)
    }
}

fn lost(path: &Path, error: io::Error) -> Error {
    Error::corrupt(format!("'{}' is named by the checkpoint and cannot be opened", path.display())).because(error)
}

/// What a task notes in a checkpoint.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Noted {
    task: usize,
    length: u64,
    /// What is known of the others.
    others: Lengths,
}

impl Noted {
    fn from(prepared: &Prepared) -> Result<Self> {
        serde_json::from_value(prepared.0.clone())
            .map_err(|e| Error::corrupt(format!("'{}' notes no length of a part", prepared.0)).because(e))
    }
}

/// Notes that `task` has come to `length`.
fn note(lengths: &Mutex<Lengths>, task: usize, length: u64) -> Prepared {
    let mut lengths = lengths.lock();
    lengths.insert(task, length);
    Prepared(serde_json::json!(Noted { task, length, others: lengths.clone() }))
}

struct BytesWriter {
    lengths: Arc<Mutex<Lengths>>,
    task: usize,
    part: BytesPart,
}

impl Writer for BytesWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.part.write(batch)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        Ok(Some(note(&self.lengths, self.task, self.part.sync()?)))
    }
}

struct ParquetWriter {
    parts: Parts,
    lengths: Arc<Mutex<Lengths>>,
    task: usize,
    format: PartFormat,
    /// Parts that are whole.
    whole: u64,
    /// The part under way, begun with its first row.
    part: Option<ParquetPart>,
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
            part.finish()?;
            self.whole += 1;
            sync_dir(&self.parts.dir)?;
        }
        Ok(Some(note(&self.lengths, self.task, self.whole)))
    }
}
