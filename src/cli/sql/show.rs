//! Answers on their way to the terminal, or to a program.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Format;
use crate::error::{Error, Result};
use crate::server::socket::StatementEnd;

/// Writes the rows of statements as they come; a table waits for its last row, which decides its widths.
pub struct Show {
    format: Format,
    out: Box<dyn Write + Send>,
    /// After each statement, say how many rows it had and how long it took (to stderr).
    pub timing: bool,
    /// Columns of the running statement; none: it has no answer.
    schema: Option<SchemaRef>,
    /// Rows of a table not yet shown.
    held: Vec<RecordBatch>,
    /// The reader has gone.
    closed: bool,
}

impl Show {
    /// Shows in `format` on `out`.
    pub fn new(format: Format, out: impl Write + Send + 'static) -> Self {
        Show { format, out: Box::new(out), timing: false, schema: None, held: Vec::new(), closed: false }
    }

    /// A statement's answer begins.
    pub fn begin(&mut self, schema: SchemaRef) -> Result<()> {
        self.held.clear();
        self.schema = (!schema.fields().is_empty()).then(|| schema.clone());
        if self.schema.is_some() && matches!(self.format, Format::Csv) {
            let header = self.format.text(&[RecordBatch::new_empty(schema)])?;
            self.write(&header)?;
        }
        Ok(())
    }

    /// Some of its rows.
    pub fn rows(&mut self, batch: RecordBatch) -> Result<()> {
        match self.format {
            Format::Table => self.held.push(batch),
            Format::Json => {
                let text = self.format.text(&[batch])?;
                self.write(&text)?;
            }
            Format::Csv => {
                let text = self.format.text(&[batch])?;
                // The header has been written.
                self.write(text.split_once('\n').map_or("", |(_, rows)| rows))?;
            }
        }
        Ok(())
    }

    /// It is through: its last rows, and (to stderr) what the live results lack.
    pub fn end(&mut self, end: StatementEnd) -> Result<()> {
        if let (Format::Table, Some(schema)) = (self.format, self.schema.take()) {
            if self.held.is_empty() {
                self.held.push(RecordBatch::new_empty(schema));
            }
            let text = self.format.text(&self.held)?;
            self.held.clear();
            self.write(&text)?;
        }
        let flushed = self.out.flush();
        self.written(flushed)?;
        if self.timing {
            let rows = if end.rows == 1 { "1 row".to_owned() } else { format!("{} rows", end.rows) };
            eprintln!("{rows} in {:.3} s", end.micros as f64 / 1e6);
        }
        if end.late > 0 && matches!(self.format, Format::Table) {
            let rows = if end.late == 1 { "1 row was".to_owned() } else { format!("{} rows were", end.late) };
            eprintln!("{rows} too late for the running pipelines (see dead_letters); a query over stored events counts them in");
        }
        Ok(())
    }

    /// Writes text as it is.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let written = self.out.write_all(text.as_bytes());
        self.written(written)
    }

    /// Has the reader of the answers gone?
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn written(&mut self, done: std::io::Result<()>) -> Result<()> {
        done.map_err(|error| {
            self.closed |= error.kind() == std::io::ErrorKind::BrokenPipe;
            Error::failed("the answer cannot be written").because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(format: Format) -> String {
        let batch = |n: i64| {
            let columns: [(&str, ArrayRef); 2] =
                [("n", Arc::new(Int64Array::from(vec![n]))), ("text, quoted", Arc::new(StringArray::from(vec![Some("a\nb")])))];
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).unwrap()
        };
        let written = Written::default();
        let mut show = Show::new(format, written.clone());
        show.begin(batch(1).schema()).unwrap();
        show.rows(batch(1)).unwrap();
        show.rows(batch(22)).unwrap();
        show.end(StatementEnd { rows: 2, micros: 1, late: 0 }).unwrap();
        show.begin(batch(1).schema()).unwrap();
        show.end(StatementEnd { rows: 0, micros: 1, late: 0 }).unwrap();
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn batches_are_one_answer() {
        assert_eq!(shown(Format::Csv), "n,\"text, quoted\"\n1,\"a\nb\"\n22,\"a\nb\"\nn,\"text, quoted\"\n");
        assert_eq!(shown(Format::Json), "{\"n\":1,\"text, quoted\":\"a\\nb\"}\n{\"n\":22,\"text, quoted\":\"a\\nb\"}\n");
        let table = shown(Format::Table);
        assert_eq!(table.matches("| n ").count(), 2, "{table}");
        assert!(table.contains("| 22 | b") || table.contains("| 22 | a"), "{table}");
    }
}
