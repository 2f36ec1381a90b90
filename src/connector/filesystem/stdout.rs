//! Standard output: shown as it comes, since a stream cannot be taken back. After a restart rows may come twice.

use std::io::Write as _;

use arrow::array::RecordBatch;

use super::NAME;
use super::part::PartFormat;
use crate::connector::{Prepared, Sink, Writer};
use crate::error::{Error, Kind, Result};
use crate::format::Encoder;
use crate::state::StateHandles;

/// Standard output as a sink.
#[derive(Debug)]
pub struct StdoutSink {
    format: PartFormat,
}

impl StdoutSink {
    /// Writes in `format`.
    pub fn new(format: PartFormat) -> Self {
        StdoutSink { format }
    }
}

impl Sink for StdoutSink {
    fn describe(&self) -> String {
        format!("{NAME} standard output ({})", self.format.name)
    }

    fn identity(&self) -> String {
        format!("{NAME} -")
    }

    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        Ok(())
    }

    fn open(&self, _task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        let encoder = self.format.encoder()?;
        let buffer = encoder.file_header();
        Ok(Box::new(StdoutWriter { encoder, buffer }))
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }

    fn max_tasks(&self) -> Option<usize> {
        Some(1)
    }
}

struct StdoutWriter {
    encoder: Box<dyn Encoder>,
    /// Encoded, not written yet: a header before the first rows.
    buffer: Vec<u8>,
}

impl Writer for StdoutWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.encode(batch, &mut self.buffer)?;
        write_stdout(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        Ok(None)
    }
}

/// Writes to standard output; a reader that went away (`| head`) ends the run.
fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::new(Kind::Interrupted, "standard output was closed by its reader").because(error),
        _ => Error::failed("writing to standard output").because(error),
    })
}
