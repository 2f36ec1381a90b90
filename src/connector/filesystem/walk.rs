//! Through some files, one after the other: which one is being read, and how far.

use std::path::Path;

use super::location::Found;
use crate::connector::Position;
use crate::error::{Error, Result};

/// A place in a list of files.
pub struct Walk {
    files: Vec<Found>,
    /// Which file is being read.
    file: usize,
    /// What of this file was handed over: bytes of lines, rows of parquet.
    pub at: u64,
    /// Records handed over, of all files.
    pub record: i64,
}

impl Walk {
    /// At `position`, or at the start.
    pub fn begin(files: Vec<Found>, position: Option<&Position>) -> Result<Walk> {
        let mut walk = Walk { files, file: 0, at: 0, record: 0 };
        if let Some(position) = position {
            let position = FilePosition::from(position)?;
            walk.file = position.index(&walk.files)?;
            (walk.at, walk.record) = (position.at, position.record);
        }
        Ok(walk)
    }

    /// The file being read; none where there are no files.
    pub fn current(&self) -> Option<&Found> {
        self.files.get(self.file)
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        self.current().map_or(Path::new(""), |found| &found.path)
    }

    /// Nothing was read before this file.
    pub fn is_first(&self) -> bool {
        self.file == 0
    }

    /// To the beginning of the next file; `false`: this was the last.
    pub fn advance(&mut self) -> bool {
        let more = self.file + 1 < self.files.len();
        if more {
            self.file += 1;
            self.at = 0;
        }
        more
    }

    /// As a checkpoint notes it.
    pub fn position(&self) -> Position {
        FilePosition { file: self.current().map(|found| found.name.clone()).unwrap_or_default(), at: self.at, record: self.record }.to()
    }
}

/// Where a reader of files stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FilePosition {
    /// Name of the file.
    pub file: String,
    /// Bytes (lines, unpacked) or rows (parquet) of this file that were handed over.
    pub at: u64,
    /// Records of the partition that were handed over: offset of the next one.
    pub record: i64,
}

impl FilePosition {
    /// Reads what a checkpoint kept.
    pub fn from(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone())
            .map_err(|e| Error::corrupt(format!("'{}' is no position in a file", position.0)).because(e))
    }

    /// For the checkpoint.
    pub fn to(&self) -> Position {
        Position(serde_json::json!({ "file": self.file, "at": self.at, "record": self.record }))
    }

    /// Which of `files` it is in.
    pub fn index(&self, files: &[Found]) -> Result<usize> {
        files.iter().position(|f| f.name == self.file).ok_or_else(|| changed(&self.file, "the table's location"))
    }
}

/// A file that a position names is not where it was.
pub fn changed(file: &str, location: &str) -> Error {
    Error::input(format!(
        "the checkpoint was reading '{file}', which is not in {location} any more (or not at its old place among the files); \
         put it back, or start afresh with --restore none"
    ))
}
