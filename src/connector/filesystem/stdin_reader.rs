//! Reads standard input on a thread of its own, since a pipe may stay silent for ever.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::lines::{Lines, count_lines};
use crate::connector::{Position, Read, Reader};
use crate::error::{Error, Result};
use crate::format::{Chunk, Records};
use crate::time::now_micros;

/// Chunks read ahead.
const CHUNKS_AHEAD: usize = 4;

/// Bytes of a chunk: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// Silence after which the reader says that it is idle.
const PATIENCE: Duration = Duration::from_millis(10);

/// The lines of standard input.
pub struct StdinReader {
    chunks: mpsc::Receiver<Result<Bytes>>,
    /// Lines handed over.
    record: i64,
}

impl StdinReader {
    /// Begins to read. A stream cannot be read again from an earlier place.
    pub fn open(position: Option<&Position>) -> Result<Self> {
        if position.is_some() {
            return Err(Error::input(
                "standard input cannot be read again from where a checkpoint left it; start afresh with --restore none",
            ));
        }
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let read = move || {
            let mut lines = Lines::new(std::io::stdin().lock(), CHUNK_BYTES);
            loop {
                let next = lines.next_available().map_err(|e| Error::failed("reading standard input").because(e)).transpose();
                let Some(next) = next else { break };
                let last = next.is_err();
                if sender.blocking_send(next).is_err() || last {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
        Ok(StdinReader { chunks, record: 0 })
    }
}

#[async_trait]
impl Reader for StdinReader {
    async fn read(&mut self) -> Result<Read> {
        match tokio::time::timeout(PATIENCE, self.chunks.recv()).await {
            Err(_) => Ok(Read::Idle),
            Ok(None) => Ok(Read::End),
            Ok(Some(data)) => {
                let data = data?;
                let base_offset = self.record;
                self.record += count_lines(&data);
                Ok(Read::Chunk(Chunk { records: Records::Lines(data), base_offset, arrived_micros: now_micros() }))
            }
        }
    }

    fn position(&self) -> Position {
        Position(serde_json::json!({ "record": self.record }))
    }
}
