//! Delimited text: one line a record, its fields in the order of the table's columns.
//!
//! A quoted field may hold delimiters and doubled quotes, but no newline: records are lines.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use super::column::{Reading, Syntax, TimestampForm, type_name};
use super::json::encode::{Style, Values};
use super::late::{Find, LateDecoder, Plans, payload_or_beside};
use super::raw::each_line;
use super::span::{Cells, Record, Span};
use super::{Chunk, ColumnOrigin, DecodeSpec, DecoderRef, Encoder, Records};
use crate::error::{Error, Result, did_you_mean};
use crate::time::text::TimestampFormat;

/// Options of `'format'='csv'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CsvOptions {
    /// What stands between fields: one character; `\t` and `\u0001` are understood.
    pub field_delimiter: String,
    /// What may stand around a field that holds delimiters.
    pub quote_character: String,
    /// No character is a quote.
    pub disable_quote_character: bool,
    /// What takes the meaning from the character after it; none unless set. A doubled quote is always one quote.
    pub escape_character: Option<String>,
    /// Lines that begin with `#` are no records.
    pub allow_comments: bool,
    /// A line with other than the table's fields is skipped, and a value that does not fit its column becomes NULL,
    /// instead of being refused. Fields missing at the end of a line are NULL.
    pub ignore_parse_errors: bool,
    /// What stands between the elements of an ARRAY.
    pub array_element_delimiter: String,
    /// The text that stands for NULL; none unless set (an empty text is a text). Written for NULL; without it NULL is
    /// written as an empty field.
    pub null_literal: Option<String>,
    /// The first line of a file names the columns: checked against the table when reading, written when writing.
    pub header: bool,
    /// Small DECIMALs are written as `1E-8`; else in full.
    pub write_bigdecimal_in_scientific_notation: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            field_delimiter: ",".to_owned(),
            quote_character: "\"".to_owned(),
            disable_quote_character: false,
            escape_character: None,
            allow_comments: false,
            ignore_parse_errors: false,
            array_element_delimiter: ";".to_owned(),
            null_literal: None,
            header: false,
            write_bigdecimal_in_scientific_notation: true,
        }
    }
}

/// The characters of the options, resolved.
#[derive(Debug, Clone, Copy)]
struct Marks {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    list: u8,
}

/// The one ASCII character of an option.
fn character(option: &str, text: &str) -> Result<u8> {
    let unescaped = super::json::text::unescape(text.as_bytes());
    match unescaped.as_deref().unwrap_or(text.as_bytes()) {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        _ => Err(Error::input(format!("'csv.{option}' = '{text}': expected one ASCII character other than a newline"))),
    }
}

impl CsvOptions {
    /// Refuses marks that are no single character or that stand for two things.
    pub(crate) fn check(&self) -> Result<()> {
        self.marks().map(|_| ())
    }

    fn marks(&self) -> Result<Marks> {
        let quote = (!self.disable_quote_character).then(|| character("quote-character", &self.quote_character)).transpose()?;
        let escape = self.escape_character.as_ref().map(|text| match text.as_str() {
            "\\" => Ok(b'\\'),
            text => character("escape-character", text),
        });
        let marks = Marks {
            delimiter: character("field-delimiter", &self.field_delimiter)?,
            quote,
            escape: escape.transpose()?,
            list: character("array-element-delimiter", &self.array_element_delimiter)?,
        };
        if Some(marks.delimiter) == marks.quote || Some(marks.delimiter) == marks.escape {
            return Err(Error::input("'csv.field-delimiter' must differ from the quote and escape characters"));
        }
        Ok(marks)
    }

    /// A decoder of the columns of `spec`.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        let marks = self.marks()?;
        let reading = Arc::new(Reading {
            fail_on_missing: false,
            faults_are_null: self.ignore_parse_errors,
            timestamps: TimestampForm::Flink(TimestampFormat::Sql),
            syntax: Syntax::Delimited { quote: marks.quote, escape: marks.escape, list: marks.list },
        });
        let plans = Plans::new(spec, |column| payload_or_beside(column, &reading))?;
        let mut fields = vec![None; spec.payload.len()];
        for planned in plans.cells(spec) {
            let ColumnOrigin::Payload(name) = &planned.column.from else { continue };
            check(planned.column.field.name(), planned.column.field.data_type())?;
            let position = spec.payload.iter().position(|known| known == name).ok_or_else(|| {
                let near = did_you_mean(name, spec.payload.iter().map(String::as_str));
                Error::input(format!("csv: the table has no column '{name}'{near}"))
            })?;
            fields[position] = Some(planned.plan.slot);
        }
        let find = FindCsv {
            marks,
            fields,
            slots: plans.slots,
            names: spec.payload.clone(),
            null: self.null_literal.clone().map(String::into_bytes),
            header: self.header,
            comments: self.allow_comments,
            short_lines: self.ignore_parse_errors,
        };
        Ok(Arc::new(LateDecoder::new(spec, plans, find)))
    }

    /// An encoder of batches of `schema`.
    pub(crate) fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        for field in schema.fields() {
            check(field.name(), field.data_type())?;
        }
        Ok(Box::new(CsvEncoder {
            marks: self.marks()?,
            null: self.null_literal.clone().unwrap_or_default().into_bytes(),
            style: Style::csv(!self.write_bigdecimal_in_scientific_notation),
            header: self.header.then(|| schema.fields().iter().map(|field| field.name().clone()).collect()),
            text: Vec::new(),
        }))
    }
}

/// Refuses types that have no form in csv.
fn check(name: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::List(element) if !element.data_type().is_nested() => Ok(()),
        nested if nested.is_nested() => Err(Error::input(format!("column '{name}': {} has no form in csv", type_name(nested)))),
        _ => Ok(()),
    }
}

/// Finds the fields of lines.
#[derive(Debug)]
struct FindCsv {
    marks: Marks,
    /// Per field of a line: the slot it goes to.
    fields: Vec<Option<usize>>,
    slots: usize,
    names: Vec<String>,
    null: Option<Vec<u8>>,
    header: bool,
    comments: bool,
    /// A line may lack fields at its end.
    short_lines: bool,
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
            Some(_) => return Err(format!("text after the closing quote, at byte {at}")),
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
                    if self.header && chunk.base_offset == 0 && number == 0 {
                        header = Some(line);
                    } else if !line.is_empty() && !(self.comments && line.starts_with(b"#")) {
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
                            let text = &framed.data[start as usize..end as usize];
                            let blanks = text.len() - text.trim_ascii_end().len();
                            let line_end = if text.ends_with(b"\n") { end - blanks as u32 } else { end };
                            self.line(&mut cells, &framed.data, Record { end: line_end, ..record });
                        }
                    }
                }
                Ok(cells)
            }
            Records::Rows(_) => Err(Error::bug("the csv format was given columns")),
        }
    }
}

/// Writes rows as delimited lines.
#[derive(Debug)]
struct CsvEncoder {
    marks: Marks,
    null: Vec<u8>,
    style: Style,
    header: Option<Vec<String>>,
    /// The field being written.
    text: Vec<u8>,
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
            _ if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) => {
                Err(Error::new(crate::error::Kind::Row, "a text with a newline cannot be written as one line of csv"))
            }
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
            None if text.contains(&self.marks.delimiter) => Err(Error::new(
                crate::error::Kind::Row,
                "a text with the field delimiter cannot be written while 'csv.disable-quote-character' is true",
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
