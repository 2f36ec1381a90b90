//! A file while it is being written: rows go in, bytes gather; what is written waits to be made durable.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use parking_lot::Mutex;

use super::append_file::{AppendFile, ToSync};
use super::{PARQUET, failed};
use crate::error::{Error, Result};
use crate::format::{Encoder, FormatConfig, METADATA_FROM};

/// Bytes gathered before they are written.
pub const WRITE_BYTES: usize = 1 << 20;

/// Format and columns of a sink's files.
#[derive(Debug, Clone)]
pub struct PartFormat {
    /// Name of the format.
    pub name: String,
    /// The format with its options.
    pub format: FormatConfig,
    /// The table's columns.
    pub schema: SchemaRef,
}

impl PartFormat {
    /// Extension of part files.
    pub fn extension(&self) -> &'static str {
        match self.name.as_str() {
            PARQUET => PARQUET,
            "csv" => "csv",
            "raw" => "txt",
            _ => "jsonl",
        }
    }

    /// Is a file more than the sum of its records (so that it cannot be cut or joined as bytes)?
    pub fn is_parquet(&self) -> bool {
        self.name == PARQUET
    }

    /// Refuses columns that the format cannot write, before anything runs.
    pub fn check(&self) -> Result<()> {
        match self.schema.fields().iter().find(|field| field.metadata().contains_key(METADATA_FROM)) {
            Some(column) if self.is_parquet() => Err(Error::input(format!(
                "column '{}': METADATA cannot be written with format '{PARQUET}'; declare it VIRTUAL to read it only",
                column.name()
            ))),
            _ if self.is_parquet() => Ok(()),
            _ => self.encoder().map(drop),
        }
    }

    /// The encoder; not for parquet.
    pub fn encoder(&self) -> Result<Box<dyn Encoder>> {
        self.format.encoder(&self.schema)
    }
}

/// A file under way.
pub enum Part {
    /// Records as bytes.
    Bytes(BytesPart),
    /// Parquet; durable only as a whole.
    Parquet(Box<ParquetPart>),
}

impl Part {
    /// Begins an empty file at `path`.
    pub fn create(path: &Path, format: &PartFormat) -> Result<Self> {
        if format.is_parquet() {
            Ok(Part::Parquet(Box::new(ParquetPart::create(path, format.schema.clone())?)))
        } else {
            let encoder = format.encoder()?;
            Ok(Part::Bytes(BytesPart { file: AppendFile::open(path, 0)?, buffer: encoder.file_header(), encoder }))
        }
    }

    /// Takes rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Part::Bytes(part) => part.write(batch),
            Part::Parquet(part) => part.write(batch),
        }
    }

    /// Ends the file: all of it is written, and durable once `unsynced` has been synced.
    pub fn finish(self, unsynced: &Unsynced) -> Result<()> {
        match self {
            Part::Bytes(mut part) => {
                part.flush()?;
                unsynced.push(part.file.hand_over()?);
                Ok(())
            }
            Part::Parquet(part) => part.finish(unsynced),
        }
    }
}

/// Files of a sink that are written and not durable yet. Tasks leave them here at a barrier and go on; the checkpoint
/// waits for the disk instead (`Sink::settle`).
#[derive(Debug, Clone, Default)]
pub struct Unsynced {
    files: Arc<Mutex<Vec<ToSync>>>,
}

impl Unsynced {
    fn push(&self, file: ToSync) {
        self.files.lock().push(file);
    }

    /// Makes all of them durable, and with them the names in `dir`.
    pub fn sync(&self, dir: &Path) -> Result<()> {
        let files = std::mem::take(&mut *self.files.lock());
        if files.is_empty() {
            return Ok(());
        }
        files.into_iter().try_for_each(ToSync::sync)?;
        sync_dir(dir)
    }
}

/// A file of encoded records.
pub struct BytesPart {
    file: AppendFile,
    encoder: Box<dyn Encoder>,
    /// Encoded, not written yet.
    buffer: Vec<u8>,
}

impl BytesPart {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// A parquet file.
pub struct ParquetPart {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl ParquetPart {
    /// Begins a file at `path`.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        let file = File::create(path).map_err(|e| failed("writing", path, e))?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| parquet_failed(path, e))?;
        Ok(ParquetPart { path: path.to_owned(), writer })
    }

    /// Takes rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| parquet_failed(&self.path, e))
    }

    /// Writes the footer and leaves the file to be synced.
    pub fn finish(self, unsynced: &Unsynced) -> Result<()> {
        let file = self.writer.into_inner().map_err(|e| parquet_failed(&self.path, e))?;
        unsynced.push(ToSync::new(self.path, file));
        Ok(())
    }
}

/// A fault of the parquet writer; those of the operating system keep their meaning.
fn parquet_failed(path: &Path, error: datafusion::parquet::errors::ParquetError) -> Error {
    use datafusion::parquet::errors::ParquetError as P;
    match error {
        P::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => failed("writing", path, *io),
            Err(inner) => Error::failed(format!("writing '{}'", path.display())).because(inner),
        },
        other => Error::failed(format!("writing '{}'", path.display())).because(other),
    }
}

/// Makes the names in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed("syncing", dir, e))
}

/// Removes a file that may be missing.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("removing", path, error)),
        _ => Ok(()),
    }
}

/// Names of the files in `dir`; none when it is missing.
pub fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| failed("listing", dir, e))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().map_err(|e| failed("listing", dir, e))
}
