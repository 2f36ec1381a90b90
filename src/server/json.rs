//! Rows as JSON and CSV text.

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};

use crate::error::Result;

/// Each row as a JSON object on a line of its own, NULLs included.
pub fn lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(text)
}

/// The rows as one JSON array on one line.
pub fn array(batches: &[RecordBatch]) -> Result<String> {
    let mut text = String::from("[");
    for batch in batches {
        // A line end within a value is escaped: each one ends a row.
        for line in String::from_utf8_lossy(&lines(batch)?).lines() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(line);
        }
    }
    text.push(']');
    Ok(text)
}

/// The rows as CSV, with a header line if `header`.
pub fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    arrow::csv::WriterBuilder::new().with_header(header).build(&mut text).write(batch)?;
    Ok(text)
}
