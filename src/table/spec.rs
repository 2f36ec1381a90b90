//! What a live table is declared to be.

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use crate::error::{Error, Result};

/// What a table is declared to be.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    /// Its name, case-sensitive.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Positions of the primary key's columns; none: an append table.
    pub primary_key: Vec<usize>,
    /// Rows older than the newest event time less this many microseconds may go; `None`: kept for ever.
    pub retention_micros: Option<i64>,
    /// Position of the event-time column (TIMESTAMP in milliseconds or microseconds).
    pub time_column: Option<usize>,
    /// Oldest rows go when what one writer task holds is larger than this many bytes; `None`: no cap.
    pub max_bytes: Option<usize>,
}

impl TableSpec {
    /// An append table that keeps everything.
    pub fn append(name: impl Into<String>, schema: SchemaRef) -> Self {
        TableSpec { name: name.into(), schema, primary_key: Vec::new(), retention_micros: None, time_column: None, max_bytes: None }
    }

    /// Says what is wrong with it.
    pub(crate) fn check(&self) -> Result<()> {
        let columns = self.schema.fields().len();
        if let Some(out) = self.primary_key.iter().chain(&self.time_column).find(|c| **c >= columns) {
            return Err(Error::bug(format!("table {}: column {out} of {columns}", self.name)));
        }
        if self.retention_micros.is_some() && self.time_column.is_none() {
            return Err(Error::input(format!(
                "table {}: 'retention' is counted in event time, but the table has no event-time column",
                self.name
            )));
        }
        if let Some(column) = self.time_column {
            let field = self.schema.field(column);
            if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _)) {
                return Err(Error::input(format!(
                    "table {}: event-time column '{}' is {}; expected TIMESTAMP(3) or TIMESTAMP(6)",
                    self.name,
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(())
    }
}
