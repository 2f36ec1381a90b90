//! Finds the fields of delimited lines.

use super::Marks;
use crate::error::{Error, Result};
use crate::format::late::Find;
use crate::format::raw::each_line;
use crate::format::span::{Cells, Record, Span};
use crate::format::{Chunk, Records};

/// What is looked for in the lines of a table.
#[derive(Debug)]
pub(super) struct FindCsv {
    pub(super) marks: Marks,
    /// Per field of a line: the slot it goes to.
    pub(super) fields: Vec<Option<usize>>,
    pub(super) slots: usize,
    pub(super) names: Vec<String>,
    pub(super) null: Option<Vec<u8>>,
    pub(super) header: bool,
    pub(super) comments: bool,
    /// A line may lack fields at its end.
    pub(super) short_lines: bool,
}

impl FindCsv {
    /// Reads one line, or says what is wrong with it.
    fn line(&self, cells: &mut Cells, data: &[u8], record: Record) {
        let from = cells.spans.len();
        cells.spans.resize(from + self.slots, Span::MISSING);
        let row = &mut cells.spans[from..];
        let mut count = 0;
        let walked = fields(&data[..record.end as usize], record.start as usize, self.marks, |span| {
            let slot = self.fields.get(count).copied().flatten();
            count += 1;
            let is_null = || self.null.as_deref() == data.get(span.start()..span.end());
            if let Some(slot) = slot.filter(|_| !is_null()) {
                row[slot] = span;
            }
        });
        let wanted = self.fields.len();
        let fault = match walked {
            Err(fault) => fault,
            Ok(()) if count == wanted || count < wanted && self.short_lines => return cells.rows.push(record),
            Ok(()) => format!("the line has {count} fields, the table {wanted} columns"),
        };
        cells.spans.truncate(from);
        cells.refused.push((record, fault));
    }

    /// The first line of a file must name the table's columns.
    fn check_header(&self, line: &[u8]) -> Result<()> {
        let mut names = Vec::new();
        let walked = fields(line, 0, self.marks, |span| {
            names.push(String::from_utf8_lossy(&line[span.start()..span.end()]).into_owned());
        });
        // A byte order mark is no part of the first name.
        if let Some(first) = names.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_owned();
        }
        if walked.is_ok() && names == self.names {
            return Ok(());
        }
        Err(Error::input(format!(
            "csv header: the file has the columns {}, the table {}; declare them in the order of the file",
            names.join(", "),
            self.names.join(", ")
        )))
    }
}

/// Calls with every field of the line that begins at `at` and ends where `data` does.
fn fields(data: &[u8], mut at: usize, marks: Marks, mut found: impl FnMut(Span)) -> Result<(), String> {
    loop {
        let start = at;
        let quoted = marks.quote.is_some() && data.get(at).copied() == marks.quote;
        if quoted {
            at += 1;
            let mut escaped = false;
            loop {
                match data.get(at) {
                    None => return Err("a quoted field does not end on its line".to_owned()),
                    Some(byte) if Some(*byte) == marks.escape => {
                        escaped = true;
                        at += 2;
                    }
                    Some(byte) if Some(*byte) == marks.quote && data.get(at + 1).copied() == marks.quote => {
                        escaped = true;
                        at += 2;
                    }
                    Some(byte) if Some(*byte) == marks.quote => break,
                    Some(_) => at += 1,
                }
            }
            found(Span::bare(start + 1, at, escaped));
            at += 1;
        } else {
            let mut escaped = false;
            while let Some(byte) = data.get(at).filter(|byte| **byte != marks.delimiter) {
                let escape = Some(*byte) == marks.escape;
                escaped |= escape;
                at += 1 + usize::from(escape);
            }
            at = at.min(data.len());
            found(Span::bare(start, at, escaped));
        }
        match data.get(at) {
            None => return Ok(()),
            Some(byte) if *byte == marks.delimiter => at += 1,
            Some(_) => return Err("text after the closing quote".to_owned()),
        }
    }
}

impl Find for FindCsv {
    fn find(&self, chunk: &Chunk) -> Result<Cells> {
        match &chunk.records {
            Records::Lines(data) => {
                let mut cells = Cells::new(data.clone(), self.slots, data.len() / 64);
                let mut header = None;
                each_line(data, |number, start, end| {
                    let end = if data[start..end].ends_with(b"\r") { end - 1 } else { end };
                    let line = &data[start..end];
                    let comment = self.comments && line.starts_with(b"#");
                    if self.header && chunk.base_offset == 0 && number == 0 {
                        header = Some(line);
                    } else if !line.is_empty() && !comment {
                        self.line(&mut cells, data, Record { number, start: start as u32, end: end as u32 });
                    }
                });
                header.map_or(Ok(()), |line| self.check_header(line))?;
                Ok(cells)
            }
            Records::Framed(framed) => {
                let mut cells = Cells::new(framed.data.clone(), self.slots, framed.values.len());
                for (number, value) in framed.values.iter().enumerate() {
                    let (start, end) = value.unwrap_or_default();
                    let record = Record { number: number as u32, start, end };
                    match value {
                        None => cells.refused.push((record, "the record has no value (a tombstone)".to_owned())),
                        Some(_) => {
                            // A line may end as in a file; blanks before that are its last field's.
                            let text = &framed.data[start as usize..end as usize];
                            let line = text.strip_suffix(b"\n").map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line));
                            self.line(&mut cells, &framed.data, Record { end: start + line.len() as u32, ..record });
                        }
                    }
                }
                Ok(cells)
            }
            Records::Rows(_) => Err(Error::bug("the csv format was given columns")),
        }
    }
}
