//! The writer that forgets.

use arrow::array::RecordBatch;

use crate::connector::{Prepared, Writer};
use crate::error::Result;

/// Takes rows and forgets them.
#[derive(Debug)]
pub struct BlackholeWriter;

impl Writer for BlackholeWriter {
    fn write(&mut self, _batch: &RecordBatch) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        Ok(None)
    }
}
