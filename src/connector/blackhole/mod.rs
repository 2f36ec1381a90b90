//! `blackhole`: a sink that takes rows and forgets them, for measuring what comes before it. No options.

mod options;
mod writer;

use std::sync::Arc;

use super::table::TableRequest;
use super::{Prepared, Sink, Writer, options as read};
use crate::change::Changes;
use crate::error::Result;
use crate::state::StateHandles;

/// Its name in `'connector'`.
pub const NAME: &str = "blackhole";

/// The sink of a table.
pub fn sink(request: &TableRequest<'_>) -> Result<Arc<dyn Sink>> {
    let options::BlackholeOptions {} = read::parse(NAME, &request.options)?;
    Ok(Arc::new(BlackholeSink))
}

/// Describes the sink.
#[derive(Debug)]
struct BlackholeSink;

impl Sink for BlackholeSink {
    fn describe(&self) -> String {
        NAME.to_owned()
    }

    fn identity(&self) -> String {
        NAME.to_owned()
    }

    fn takes(&self) -> Changes {
        Changes::All
    }

    fn start(&self, _restored: Option<&[Prepared]>) -> Result<()> {
        Ok(())
    }

    fn open(&self, _task: usize, _state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(writer::BlackholeWriter))
    }

    fn commit(&self, _epoch: u64, _prepared: &[Prepared]) -> Result<()> {
        Ok(())
    }
}
