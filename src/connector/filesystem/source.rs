//! The source: which files are partitions, and who reads them.

use std::sync::OnceLock;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::line_reader::LineReader;
use super::lines::CHUNK_BYTES;
use super::location::{Found, Location};
use super::options::Files;
use super::parquet_reader::ParquetReader;
use super::stdin_reader::StdinReader;
use super::walk::{FilePosition, changed};
use super::{NAME, PARQUET};
use crate::connector::{History, Partition, Position, Reader, Source};
use crate::error::{Error, Result};

/// Most files that are read side by side; each costs a descriptor and a chunk of memory.
pub const MAX_OPEN_FILES: usize = 512;

/// Files as a source.
#[derive(Debug)]
pub struct FilesystemSource {
    location: Location,
    files: Files,
    /// Name of the format.
    format: String,
    /// Each file begins with a header line.
    headers: bool,
    /// The table's columns; parquet files are read and cast to them.
    columns: SchemaRef,
    chunk_bytes: usize,
    /// The files as first listed: partition numbers must not move while running.
    found: OnceLock<Vec<Found>>,
}

impl FilesystemSource {
    /// A source over `location`; touches nothing.
    pub fn new(location: Location, files: Files, format: String, headers: bool, columns: SchemaRef) -> Result<Self> {
        if location == Location::Standard && format == PARQUET {
            return Err(Error::input(format!("connector '{NAME}': '-' is read as lines; parquet needs a file")));
        }
        Ok(FilesystemSource { location, files, format, headers, columns, chunk_bytes: CHUNK_BYTES, found: OnceLock::new() })
    }

    /// The same source, handing over chunks of about `chunk_bytes`.
    #[cfg(test)]
    pub fn with_chunk_bytes(mut self, chunk_bytes: usize) -> Self {
        self.chunk_bytes = chunk_bytes;
        self
    }

    fn found(&self) -> Result<&[Found]> {
        if self.found.get().is_none() {
            let files = self.location.files()?;
            if self.files == Files::Partitions && files.len() > MAX_OPEN_FILES {
                return Err(Error::input(format!(
                    "'{}' is {} files, and at most {MAX_OPEN_FILES} are read side by side; \
                     'source.files'='sequence' reads them one after the other, in the order of their names",
                    self.location.written(),
                    files.len()
                )));
            }
            // Two first calls at once list the same files; either list will do.
            _ = self.found.set(files);
        }
        Ok(self.found.get().map_or(&[], Vec::as_slice))
    }
}

#[async_trait]
impl Source for FilesystemSource {
    fn describe(&self) -> String {
        format!("{NAME} {} ({})", self.location.written(), self.format)
    }

    fn identity(&self) -> String {
        let how = if self.files == Files::Sequence { " in sequence" } else { "" };
        format!("{NAME} {}{how}", self.location.written())
    }

    fn bounded(&self) -> bool {
        true
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        if self.location == Location::Standard || self.files == Files::Sequence {
            // Missing files are told now, not when the first one is opened.
            self.found()?;
            return Ok(vec![Partition { index: 0, name: self.location.written().to_owned() }]);
        }
        Ok((0..).zip(self.found()?).map(|(index, file)| Partition { index, name: file.name.clone() }).collect())
    }

    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        if self.location == Location::Standard {
            return Ok(Box::new(StdinReader::open(position)?));
        }
        let found = self.found()?;
        let files = match self.files {
            Files::Sequence => found,
            Files::Partitions => found
                .get(partition.index as usize..partition.index as usize + 1)
                .filter(|files| files[0].name == partition.name)
                .ok_or_else(|| changed(&partition.name, self.location.written()))?,
        };
        if self.format == PARQUET {
            Ok(Box::new(ParquetReader::open(files.to_vec(), position, self.columns.clone())?))
        } else {
            Ok(Box::new(LineReader::open(files.to_vec(), position, self.chunk_bytes, self.headers)?))
        }
    }

    fn replays(&self) -> bool {
        self.location != Location::Standard
    }

    fn history(&self, _: &Partition, until: &Position) -> Result<History> {
        Ok(History { first: None, end: FilePosition::from(until)?.record })
    }

    fn size_bytes(&self) -> Option<u64> {
        let files = self.found().ok()?;
        let unpacked = |file: &Found| !matches!(file.path.extension().and_then(|e| e.to_str()), Some("gz" | "zst" | "zstd"));
        if files.is_empty() || !files.iter().all(unpacked) {
            return None;
        }
        files.iter().map(|file| file.path.metadata().ok().map(|m| m.len())).sum()
    }
}
