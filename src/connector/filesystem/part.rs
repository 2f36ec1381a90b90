//! A file while it is being written: rows go in, bytes gather, `sync` makes them durable.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;

use super::{PARQUET, failed};
use crate::error::{Error, Result};
use crate::format::{Encoder, FormatConfig, METADATA_FROM};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

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
            Ok(Part::Bytes(BytesPart::open(path, 0, format.encoder()?, true)?))
        }
    }

    /// Takes rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Part::Bytes(part) => part.write(batch),
            Part::Parquet(part) => part.write(batch),
        }
    }

    /// Ends the file; it is durable then, but for its name.
    pub fn finish(self) -> Result<()> {
        match self {
            Part::Bytes(mut part) => part.sync().map(drop),
            Part::Parquet(part) => part.finish(),
        }
    }
}

/// A file of encoded records that only grows.
pub struct BytesPart {
    path: PathBuf,
    file: File,
    encoder: Box<dyn Encoder>,
    /// Encoded, not written yet.
    buffer: Vec<u8>,
    /// Bytes written.
    length: u64,
}

impl BytesPart {
    /// Opens the file, cut to `length`; an empty one gets the format's header if `header` says so.
    pub fn open(path: &Path, length: u64, encoder: Box<dyn Encoder>, header: bool) -> Result<Self> {
        let fault = |error| failed("writing", path, error);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(fault)?;
        let found = file.metadata().map_err(fault)?.len();
        if found < length {
            return Err(Error::corrupt(format!("'{}' has {found} bytes, but the checkpoint left {length} there", path.display())));
        }
        file.set_len(length).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        let buffer = if length == 0 && header { encoder.file_header() } else { Vec::new() };
        Ok(BytesPart { path: path.to_owned(), file, encoder, buffer, length })
    }

    /// Takes rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Makes everything durable; returns the length.
    pub fn sync(&mut self) -> Result<u64> {
        self.flush()?;
        self.file.sync_all().map_err(|e| failed("syncing", &self.path, e))?;
        Ok(self.length)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| failed("writing", &self.path, e))?;
        self.length += self.buffer.len() as u64;
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

    /// Writes the footer and makes the file durable.
    pub fn finish(self) -> Result<()> {
        let file = self.writer.into_inner().map_err(|e| parquet_failed(&self.path, e))?;
        file.sync_all().map_err(|e| failed("syncing", &self.path, e))
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
