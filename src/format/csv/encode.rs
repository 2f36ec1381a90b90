//! Writes rows as delimited lines.

use arrow::array::RecordBatch;

use super::Marks;
use crate::error::{Error, Kind, Result};
use crate::format::Encoder;
use crate::format::json::encode::{Style, Values};

/// Writes in these marks.
#[derive(Debug)]
pub(super) struct CsvEncoder {
    pub(super) marks: Marks,
    pub(super) null: Vec<u8>,
    pub(super) style: Style,
    pub(super) header: Option<Vec<String>>,
    /// The field being written.
    pub(super) text: Vec<u8>,
}

impl CsvEncoder {
    /// Appends a field, quoted where it must be.
    fn push_field(&self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let special = |byte: &u8| {
            matches!(byte, b'\n' | b'\r')
                || *byte == self.marks.delimiter
                || Some(*byte) == self.marks.quote
                || Some(*byte) == self.marks.escape
        };
        let must = text.iter().any(special) || text == self.null || text.first() == Some(&b'#');
        match self.marks.quote {
            Some(quote) if must => {
                out.push(quote);
                for &byte in text {
                    if byte == quote {
                        out.push(quote);
                    } else if Some(byte) == self.marks.escape {
                        out.push(byte);
                    }
                    out.push(byte);
                }
                out.push(quote);
                Ok(())
            }
            None if text.iter().any(|byte| *byte == self.marks.delimiter || matches!(byte, b'\n' | b'\r')) => Err(Error::new(
                Kind::Row,
                "a text with the field delimiter or a newline cannot be written while 'csv.disable-quote-character' is true",
            )),
            _ => {
                out.extend_from_slice(text);
                Ok(())
            }
        }
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns: Vec<Values<'_>> = batch.columns().iter().map(Values::of).collect::<Result<_>>()?;
        let before = out.len();
        let mut text = std::mem::take(&mut self.text);
        for row in 0..batch.num_rows() {
            for (index, values) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.marks.delimiter);
                }
                if values.is_null(row) {
                    out.extend_from_slice(&self.null);
                    continue;
                }
                text.clear();
                values.push_text(row, &self.style, self.marks.list, &mut text)?;
                if let Err(error) = self.push_field(&text, out) {
                    out.truncate(before);
                    return Err(error);
                }
            }
            out.push(b'\n');
        }
        self.text = text;
        Ok(())
    }

    fn file_header(&self) -> Vec<u8> {
        let Some(names) = &self.header else { return Vec::new() };
        let mut line = Vec::new();
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                line.push(self.marks.delimiter);
            }
            // A column's name has no newline; without quotes a delimiter in it goes as it is.
            if self.push_field(name.as_bytes(), &mut line).is_err() {
                line.extend_from_slice(name.as_bytes());
            }
        }
        line.push(b'\n');
        line
    }
}
