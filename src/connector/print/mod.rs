//! `print`: rows to standard output as Flink prints them, `+I[alice, 3]`, `-D[bob, 4]`, as they come.
//!
//! Not exactly-once: what is printed cannot be taken back, so after a restart rows may be shown twice.

mod options;
mod writer;

use std::sync::Arc;

use self::options::PrintOptions;
use super::table::TableRequest;
use super::{Prepared, Sink, Writer, options as read};
use crate::change::Changes;
use crate::error::Result;
use crate::state::StateHandles;

/// Its name in `'connector'`.
pub const NAME: &str = "print";

/// The sink of a table.
pub fn sink(request: &TableRequest<'_>) -> Result<Arc<dyn Sink>> {
    let options: PrintOptions = read::parse(NAME, &request.options)?;
    Ok(Arc::new(PrintSink { options }))
}

/// Describes the sink.
#[derive(Debug)]
struct PrintSink {
    options: PrintOptions,
}

impl Sink for PrintSink {
    fn describe(&self) -> String {
        NAME.to_owned()
    }

    fn identity(&self) -> String {
        format!("{NAME} {}", self.options.identifier)
    }

    fn takes(&self) -> Changes {
        Changes::All
    }

    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        Ok(())
    }

    fn open(&self, _task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(writer::PrintWriter::new(&self.options)))
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }

    fn max_tasks(&self) -> Option<usize> {
        Some(1)
    }
}
