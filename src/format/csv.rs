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
            let position = spec.payload.iter().position(|known| known.name() == name).ok_or_else(|| {
                let near = did_you_mean(name, spec.payload.iter().map(|known| known.name().as_str()));
                Error::input(format!("csv: the table has no column '{name}'{near}"))
            })?;
            fields[position] = Some(planned.plan.slot);
        }
        let find = FindCsv {
            marks,
            fields,
            slots: plans.slots,
            names: spec.payload.iter().map(|field| field.name().clone()).collect(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringViewArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use arrow::util::display::array_value_to_string;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::format::{DecodeColumn, Decoded, FormatConfig, Framed};

    fn config(options: &[(&str, &str)]) -> FormatConfig {
        let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("csv.{k}"), (*v).to_owned())).collect();
        FormatConfig::from_options("csv", &mut options).unwrap()
    }

    fn column(name: &str, data_type: DataType) -> DecodeColumn {
        DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
    }

    /// Decodes lines of a table of a STRING, b BIGINT, c ARRAY<STRING>, reading b first.
    fn decode(options: &[(&str, &str)], text: &str) -> Result<Decoded> {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
        let spec = DecodeSpec {
            first: vec![column("b", DataType::Int64)],
            rest: vec![column("a", DataType::Utf8View), column("c", list)],
            offsets: true,
            payload: ["a", "b", "c"].map(|name| column(name, DataType::Utf8View).field).to_vec(),
        };
        let chunk = Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_bytes())), base_offset: 0, arrived_micros: 0 };
        config(options).decoder(spec)?.decode(&chunk, &mut |_| Ok(None))
    }

    fn show(decoded: &Decoded) -> Vec<String> {
        let cell = |array: &ArrayRef, row| {
            if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() }
        };
        let rows = &decoded.rows;
        (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
    }

    #[test]
    fn lines_become_rows_by_position() {
        let text = "x,1,p;q\r\n\"y, \"\"z\"\"\", 2 ,\n\n#,3,é\n";
        let decoded = decode(&[], text).unwrap();
        assert_eq!(show(&decoded), ["1 | x | [p, q]", "2 | y, \"z\" | []", "3 | # | [é]"]);
        assert_eq!((decoded.offsets, decoded.records), (vec![0, 1, 3], 3));
    }

    #[test]
    fn options_change_the_marks() {
        let options = [
            ("field-delimiter", "\\t"),
            ("quote-character", "'"),
            ("escape-character", "\\"),
            ("null-literal", "\\N"),
            ("allow-comments", "true"),
            ("array-element-delimiter", "|"),
        ];
        let decoded = decode(&options, "# note\n'it\\'s'\t\\N\tp|q\na\\\tb\t2\t''\n").unwrap();
        assert_eq!(show(&decoded), ["∅ | it's | [p, q]", "2 | a\tb | []"]);
        let decoded = decode(&[("disable-quote-character", "true")], "\"x,1,\n").unwrap();
        assert_eq!(show(&decoded), ["1 | \"x | []"]);
    }

    #[test]
    fn a_bad_line_is_refused_alone() {
        let decoded = decode(&[], "x,1,\nx,1\nx,1,2,3\n\"x,1,\n\"x\"y,1,\nx,,\nx,9,\n").unwrap();
        assert_eq!(decoded.offsets, [0, 6]);
        let errors: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.error.as_str()).collect();
        assert_eq!(
            errors,
            [
                "the line has 2 fields, the table 3 columns",
                "the line has 4 fields, the table 3 columns",
                "a quoted field does not end on its line",
                "text after the closing quote",
                "column 'b': \"\" is no BIGINT ('csv.null-literal' = '' makes an empty field NULL)",
            ]
        );
        let ignoring = decode(&[("ignore-parse-errors", "true")], "x,y\n").unwrap();
        assert_eq!(show(&ignoring), ["∅ | x | ∅"]);
    }

    #[test]
    fn a_record_may_end_as_a_line_does_and_keeps_the_blanks_of_its_last_field() {
        let spec = |delimiter: &str| {
            let columns = vec![column("a", DataType::Utf8View), column("b", DataType::Utf8View), column("c", DataType::Utf8View)];
            let payload = columns.iter().map(|column| column.field.clone()).collect();
            let spec = DecodeSpec { first: columns, rest: Vec::new(), offsets: true, payload };
            config(&[("field-delimiter", delimiter)]).decoder(spec).unwrap()
        };
        let read = |delimiter: &str, record: &str| {
            let framed = Framed {
                data: Bytes::copy_from_slice(record.as_bytes()),
                values: vec![Some((0, record.len() as u32))],
                offsets: vec![0],
                timestamps: vec![0],
                ..Default::default()
            };
            let chunk = Chunk { records: Records::Framed(framed), base_offset: 0, arrived_micros: 0 };
            let decoded = spec(delimiter).decode(&chunk, &mut |_| Ok(None)).unwrap();
            assert!(decoded.rejected.is_empty(), "{record:?}: {:?}", decoded.rejected);
            show(&decoded).remove(0)
        };
        assert_eq!(read(",", "x,y,z \n"), "x | y | z ");
        assert_eq!(read("\\t", "x\ty\t\r\n"), "x | y | ");
        assert_eq!(read("\\t", "x\t\t\n"), "x |  | ");
    }

    #[test]
    fn a_header_is_checked_and_skipped() {
        let header = [("header", "true")];
        assert_eq!(show(&decode(&header, "\u{feff}a,b,c\nx,1,\n").unwrap()), ["1 | x | []"]);
        let error = decode(&header, "b,a,c\nx,1,\n").unwrap_err();
        assert_eq!(
            error.message(),
            "csv header: the file has the columns b, a, c, the table a, b, c; declare them in the order of the file"
        );
    }

    #[test]
    fn marks_must_be_single_and_differ() {
        let error = |options: &[(&str, &str)]| {
            let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("csv.{k}"), (*v).to_owned())).collect();
            FormatConfig::from_options("csv", &mut options).unwrap_err().message().to_owned()
        };
        assert_eq!(error(&[("field-delimiter", "ab")]), "'csv.field-delimiter' = 'ab': expected one ASCII character other than a newline");
        assert_eq!(error(&[("field-delimiter", "\"")]), "'csv.field-delimiter' must differ from the quote and escape characters");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rows in prop::collection::vec((prop::option::of("[a-c\",;#'é\\\\ ]{0,5}"), prop::option::of(any::<i64>()), prop::collection::vec("[a-c\",' ]{1,3}", 0..3)), 1..8),
            escape: bool,
            header: bool,
        ) {
            let mut options = vec![("null-literal", "NULL"), ("header", if header { "true" } else { "false" })];
            if escape {
                options.push(("escape-character", "\\"));
            }
            let mut lists = arrow::array::ListBuilder::new(arrow::array::StringViewBuilder::new());
            for (_, _, list) in &rows {
                list.iter().for_each(|text| lists.values().append_value(text));
                lists.append(true);
            }
            let lists: ListArray = lists.finish();
            let schema = Arc::new(Schema::new(vec![
                Field::new("a", DataType::Utf8View, true),
                Field::new("b", DataType::Int64, true),
                Field::new("c", lists.data_type().clone(), true),
            ]));
            let a: StringViewArray = rows.iter().map(|row| row.0.clone()).collect();
            let b: Int64Array = rows.iter().map(|row| row.1).collect();
            let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(a.clone()), Arc::new(b.clone()), Arc::new(lists.clone())]).unwrap();
            let mut encoder = config(&options).encoder(&schema).unwrap();
            let mut text = encoder.file_header();
            encoder.encode(&batch, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let decoded = decode(&options, &text).unwrap();
            prop_assert!(decoded.rejected.is_empty(), "{text} {:?}", decoded.rejected);
            prop_assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>(), &b);
            prop_assert_eq!(decoded.rows.column(1).as_string_view().iter().collect::<Vec<_>>(), a.iter().collect::<Vec<_>>(), "{}", text);
            let show = |array: &dyn Array| (0..array.len()).map(|row| array_value_to_string(array, row).unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(show(decoded.rows.column(2)), show(&lists), "{}", text);
        }

        #[test]
        fn any_text_is_rows_or_refused(text in "[ab1,\"\\\\;\n\r]{0,40}") {
            let decoded = decode(&[("escape-character", "\\")], &text).unwrap();
            prop_assert_eq!(decoded.records as usize, decoded.rows.num_rows() + decoded.rejected.len());
        }
    }
}
