//! Delimited text: one line a record, its fields in the order of the table's columns.
//!
//! A quoted field may hold delimiters, doubled quotes and, as it is written, newlines; what is read has none: records are
//! lines. `find.rs` finds the fields of lines, `encode.rs` writes them.

mod encode;
mod find;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use self::encode::CsvEncoder;
use self::find::FindCsv;
use super::column::{Reading, Syntax, TimestampForm, type_name};
use super::json::encode::Style;
use super::late::{LateDecoder, Plans, payload_or_beside};
use super::{ColumnOrigin, DecodeSpec, DecoderRef, Encoder};
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
