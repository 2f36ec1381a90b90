//! Through some files, one after the other: which one is being read, and how far.

use std::path::Path;

use super::location::Found;
use super::source::FilePosition;
use crate::connector::Position;
use crate::error::Result;

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
