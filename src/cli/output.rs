//! Answers of commands as text: a table for people, JSON lines or CSV for programs.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::ValueEnum;

use crate::error::{Error, Result};

/// How an answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns under their names.
    Table,
    /// A JSON object per row.
    Json,
    /// Comma-separated, with a header line.
    Csv,
}

impl Format {
    /// The rows as text.
    pub fn text(self, batches: &[RecordBatch]) -> Result<String> {
        let mut text = Vec::new();
        match self {
            Format::Table => return Ok(format!("{}\n", arrow::util::pretty::pretty_format_batches(batches)?)),
            Format::Json => {
                let mut writer =
                    arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(&mut text);
                writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
                writer.finish()?;
            }
            Format::Csv => {
                let mut writer = arrow::csv::Writer::new(&mut text);
                for batch in batches {
                    writer.write(batch)?;
                }
            }
        }
        String::from_utf8(text).map_err(|e| Error::bug("an answer is not UTF-8").because(e))
    }
}

/// Rows of text under names.
#[derive(Debug)]
pub struct Rows<const N: usize> {
    names: [&'static str; N],
    columns: [Vec<String>; N],
}

impl<const N: usize> Rows<N> {
    /// No rows yet.
    pub fn new(names: [&'static str; N]) -> Self {
        Rows { names, columns: std::array::from_fn(|_| Vec::new()) }
    }

    /// Adds a row.
    pub fn push(&mut self, row: [String; N]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
    }

    /// All rows as text.
    pub fn text(self, format: Format) -> Result<String> {
        let columns = self.names.iter().zip(self.columns).map(|(name, values)| (*name, Arc::new(StringArray::from(values)) as ArrayRef));
        format.text(&[RecordBatch::try_from_iter(columns)?])
    }
}

/// Microseconds since 1970 as people read them, UTC.
pub fn time(micros: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros);
    time.map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_look_as_asked_for() {
        let rows = || {
            let mut rows = Rows::new(["a", "b"]);
            rows.push(["1".into(), "x,y".into()]);
            rows
        };
        assert_eq!(rows().text(Format::Csv).unwrap(), "a,b\n1,\"x,y\"\n");
        assert_eq!(rows().text(Format::Json).unwrap(), "{\"a\":\"1\",\"b\":\"x,y\"}\n");
        assert_eq!(rows().text(Format::Table).unwrap(), "+---+-----+\n| a | b   |\n+---+-----+\n| 1 | x,y |\n+---+-----+\n");
    }
}
