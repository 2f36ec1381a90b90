//! Reads files of lines, plain or packed, one after the other.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use async_trait::async_trait;

use super::failed;
use super::lines::{Lines, count_lines};
use super::location::Found;
use super::walk::Walk;
use crate::connector::{Position, Read as Next, Reader};
use crate::error::{Error, Result};
use crate::format::{BYTE_ORDER_MARK, Chunk, Records};
use crate::time::now_micros;

/// Reads the lines of some files in order.
///
/// Reads block: a chunk of a local file comes out of the page cache in less time than a change of threads takes.
pub struct LineReader {
    walk: Walk,
    /// The file being read; `None` when all were read.
    lines: Option<Lines<Box<dyn Read + Send>>>,
    chunk_bytes: usize,
    /// Each file begins with a header line. The decoder knows that of the first (and its byte order mark); those of the
    /// others are left out here.
    headers: bool,
}

impl LineReader {
    /// Opens `files` at `position`, or at the start.
    pub fn open(files: Vec<Found>, position: Option<&Position>, chunk_bytes: usize, headers: bool) -> Result<Self> {
        let mut reader = LineReader { walk: Walk::begin(files, position)?, lines: None, chunk_bytes, headers };
        reader.open_current()?;
        Ok(reader)
    }

    /// Opens the current file and goes to `at`.
    fn open_current(&mut self) -> Result<()> {
        let Some(found) = self.walk.current() else { return Ok(()) };
        let at = self.walk.at;
        let mut file = found.open()?;
        let fault = |error| failed("reading", &found.path, error);
        let input: Box<dyn Read + Send> = match found.path.extension().and_then(|e| e.to_str()) {
            Some("gz") => skipped(Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))), at).map_err(fault)?,
            Some("zst" | "zstd") => {
                let unpacked = zstd::Decoder::new(file).map_err(fault)?;
                skipped(Box::new(unpacked), at).map_err(fault)?
            }
            Some(packed @ ("bz2" | "xz" | "lz4" | "zip" | "snappy")) => {
                return Err(Error::input(format!("'{}': .{packed} files are not unpacked, only .gz and .zst", found.path.display())));
            }
            _ => {
                let length = file.metadata().map_err(fault)?.len();
                if length < at {
                    return Err(Error::input(format!(
                        "'{}' has {length} bytes, but {} were read before the checkpoint: it was replaced; start afresh with --restore none",
                        found.path.display(),
                        at
                    )));
                }
                file.seek(SeekFrom::Start(at)).map_err(fault)?;
                Box::new(file)
            }
        };
        self.lines = Some(Lines::new(input, self.chunk_bytes));
        Ok(())
    }
}

/// Skips the first `bytes` of a packed file.
fn skipped(mut input: Box<dyn Read + Send>, bytes: u64) -> io::Result<Box<dyn Read + Send>> {
    io::copy(&mut input.by_ref().take(bytes), &mut io::sink())?;
    Ok(input)
}

#[async_trait]
impl Reader for LineReader {
    async fn read(&mut self) -> Result<Next> {
        loop {
            let Some(lines) = &mut self.lines else { return Ok(Next::End) };
            if let Some(mut data) = lines.next_chunk().map_err(|e| failed("reading", self.walk.path(), e))? {
                if !self.walk.is_first() && self.walk.at == 0 {
                    let mark = if data.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
                    let header = memchr::memchr(b'\n', &data).map_or(data.len(), |newline| newline + 1);
                    let head = if self.headers { header } else { mark };
                    self.walk.at += head as u64;
                    data = data.slice(head..);
                }
                if data.is_empty() {
                    continue;
                }
                let base_offset = self.walk.record;
                self.walk.at += data.len() as u64;
                self.walk.record += count_lines(&data);
                return Ok(Next::Chunk(Chunk { records: Records::Lines(data), base_offset, arrived_micros: now_micros() }));
            }
            self.lines = None;
            if self.walk.advance() {
                self.open_current()?;
            }
        }
    }

    fn position(&self) -> Position {
        self.walk.position()
    }
}
