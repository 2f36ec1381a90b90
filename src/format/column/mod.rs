//! From cells to Arrow columns: one tight loop a column, the text forms and coercions of Flink's formats.
//!
//! Comes in: [`Cells`] and a [`ColumnPlan`]. Goes out: an Arrow array, and a [`Fault`] for every row whose value does not
//! fit. A column with faults has some value in their place; the caller leaves these rows out and reads again, so that no
//! array with a hole ever gets out. Read `scalar.rs` first.

mod nested;
mod scalar;
mod string;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::json::layout::{Layout, Others, Wanted};
use super::span::{Cell, Cells, Span, Text};
use crate::error::{Error, Result};
use crate::time::text::TimestampFormat;

/// How the values of a format are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// A record that lacks the field is refused.
    pub(crate) fail_on_missing: bool,
    /// A value that does not fit becomes NULL.
    pub(crate) faults_are_null: bool,
    /// Text form of timestamps.
    pub(crate) timestamps: TimestampForm,
    /// How text is escaped and lists are written.
    pub(crate) syntax: Syntax,
}

/// Text form of timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampForm {
    /// One of Flink's.
    Flink(TimestampFormat),
    /// RFC 3339, as CloudEvents attributes have it.
    Rfc3339,
    /// Milliseconds since 1970 as a number, as Debezium's envelope has it.
    EpochMillis,
}

/// The syntax around the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// JSON: backslash escapes, brackets.
    Json,
    /// No syntax at all: the record is the value.
    Raw,
    /// Delimited text: a quote within quotes is doubled (or comes after `escape`), list elements are delimited.
    Delimited { quote: Option<u8>, escape: Option<u8>, list: u8 },
}

/// A column to be read from the cells.
#[derive(Debug, Clone)]
pub(crate) struct ColumnPlan {
    /// Name and type.
    pub(crate) field: FieldRef,
    /// Name for messages: `data.amount`, `items[]`.
    path: String,
    /// Its cell in a row.
    pub(crate) slot: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Scalar,
    /// ROW: its fields are cells of the same row.
    Row(Vec<ColumnPlan>),
    /// ARRAY: its elements are rows of their own.
    List(Box<Elements>),
    /// MAP with text keys: its entries are rows of their own.
    Map(Box<Elements>),
}

/// The elements of a list or the values of a map: what is read of one, as if it were a record.
#[derive(Debug, Clone)]
struct Elements {
    /// The fields wanted of an element that is a ROW.
    layout: Layout,
    slots: usize,
    plan: ColumnPlan,
}

impl ColumnPlan {
    /// A plan for a column whose cell (and the cells of its fields) get the next free slots.
    pub(crate) fn new(field: &FieldRef, slots: &mut usize) -> Result<ColumnPlan> {
        Self::named(field, field.name().clone(), slots)
    }

    fn named(field: &FieldRef, path: String, slots: &mut usize) -> Result<ColumnPlan> {
        let slot = *slots;
        *slots += 1;
        let elements = |element: &FieldRef| -> Result<Box<Elements>> {
            let mut slots = 0;
            let plan = ColumnPlan::named(element, format!("{path}[]"), &mut slots)?;
            Ok(Box::new(Elements { layout: Layout::new(&plan.below(), Others::Skip), slots, plan }))
        };
        let kind = match field.data_type() {
            DataType::Struct(fields) => Kind::Row(
                fields.iter().map(|field| ColumnPlan::named(field, format!("{path}.{}", field.name()), slots)).collect::<Result<_>>()?,
            ),
            DataType::List(element) => Kind::List(elements(element)?),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 && is_text(fields[0].data_type()) => Kind::Map(elements(&fields[1])?),
                _ => return Err(Error::input(format!("column '{path}': the keys of a MAP must be STRING here"))),
            },
            other if scalar::is_supported(other) => Kind::Scalar,
            other => return Err(Error::input(format!("column '{path}': {} cannot be read from text", type_name(other)))),
        };
        Ok(ColumnPlan { field: field.clone(), path, slot, kind })
    }

    /// What the layout must find for this column.
    pub(crate) fn wanted(&self, name: &str) -> Wanted {
        Wanted { name: name.to_owned(), slot: self.slot, fields: self.below(), others: Others::Skip }
    }

    /// The fields of a ROW.
    fn below(&self) -> Vec<Wanted> {
        match &self.kind {
            Kind::Row(fields) => fields.iter().map(|plan| plan.wanted(plan.field.name())).collect(),
            _ => Vec::new(),
        }
    }

    /// Reads the column for `rows`.
    pub(crate) fn read(&self, cells: &Cells, rows: &[u32], reading: &Reading, faults: &mut Faults) -> Result<ArrayRef> {
        let spans: Vec<Span> = rows.iter().map(|row| cells.span(*row as usize, self.slot)).collect();
        let column = Column { plan: self, data: &cells.data, spans: &spans, reading };
        match &self.kind {
            Kind::Scalar => scalar::read(&column, faults),
            Kind::Row(fields) => nested::read_row(&column, fields, cells, rows, faults),
            Kind::List(elements) => nested::read_list(&column, elements, faults),
            Kind::Map(elements) => nested::read_map(&column, elements, faults),
        }
    }
}

/// One column being read.
struct Column<'a> {
    plan: &'a ColumnPlan,
    data: &'a bytes::Bytes,
    /// Its cells, row after row.
    spans: &'a [Span],
    reading: &'a Reading,
}

impl Column<'_> {
    /// The text of a string cell with its escapes resolved.
    #[inline]
    fn unescaped<'a>(&self, text: &Text<'a>) -> Option<std::borrow::Cow<'a, [u8]>> {
        if !text.escaped {
            return Some(text.bytes.into());
        }
        match self.reading.syntax {
            Syntax::Json => super::json::text::unescape(text.bytes).map(Into::into),
            Syntax::Raw => Some(text.bytes.into()),
            Syntax::Delimited { quote, escape, .. } => Some(undouble(text.bytes, quote, escape).into()),
        }
    }

    /// A cell that gave no value: it is NULL as it should be, or the row gets a fault.
    #[cold]
    fn absent(&self, row: usize, cell: Cell<'_>, faults: &mut Faults) {
        let path = &self.plan.path;
        let nullable = self.plan.field.is_nullable();
        let null = match cell {
            Cell::Missing if self.reading.fail_on_missing => {
                return faults.add(row, format!("field '{path}' is missing"));
            }
            Cell::Missing | Cell::Null => true,
            Cell::Text(_) | Cell::Token(_) | Cell::Nested(_) => self.reading.faults_are_null,
        };
        if null && nullable {
            return;
        }
        let wanted = type_name(self.plan.field.data_type());
        faults.add(
            row,
            match cell {
                _ if null => format!("column '{path}' is NULL, but declared NOT NULL"),
                Cell::Text(text) if text.wide && std::str::from_utf8(text.bytes).is_err() => {
                    format!("column '{path}': {:?} is not valid UTF-8", abridged(text.bytes))
                }
                Cell::Text(text) => {
                    format!("column '{path}': {:?} is no {wanted}{}", abridged(text.bytes), self.hint(text.bytes.is_empty()))
                }
                Cell::Token(bytes) | Cell::Nested(bytes) => {
                    format!("column '{path}': {} is no {wanted}{}", abridged(bytes), self.hint(false))
                }
                Cell::Missing | Cell::Null => format!("column '{path}' has no value"),
            },
        );
    }

    /// What may help: the text form that was expected, where a format option chose it.
    fn hint(&self, empty: bool) -> String {
        match (self.plan.field.data_type(), self.reading.timestamps) {
            (DataType::Timestamp(_, zone), TimestampForm::Flink(format)) if !empty => {
                format!(" (expected the form '{}')", format.example(zone.is_some()))
            }
            (DataType::Timestamp(..), TimestampForm::Rfc3339) => " (expected RFC 3339)".to_owned(),
            (DataType::Timestamp(..), TimestampForm::EpochMillis) => " (expected milliseconds since 1970)".to_owned(),
            _ if empty && matches!(self.reading.syntax, Syntax::Delimited { .. }) => {
                " ('csv.null-literal' = '' makes an empty field NULL)".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// Rows whose values do not fit.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Index into the rows that were asked for, and what is wrong.
    pub(crate) found: Vec<(usize, String)>,
}

impl Faults {
    fn add(&mut self, row: usize, message: String) {
        self.found.push((row, message));
    }
}

/// Resolves doubled quotes and escapes.
fn undouble(text: &[u8], quote: Option<u8>, escape: Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if Some(byte) == escape {
            out.extend(bytes.next());
            continue;
        }
        out.push(byte);
        if Some(byte) == quote {
            _ = bytes.next_if(|next| Some(*next) == quote);
        }
    }
    out
}

/// A value for a message, cut when it is long.
fn abridged(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned();
    if bytes.len() > MOST { text + "…" } else { text }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
}

/// The SQL name of a type, for messages.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let precision = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", precision(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", precision(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", precision(unit)),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Struct(_) => "ROW".to_owned(),
        DataType::List(_) => "ARRAY".to_owned(),
        DataType::Map(..) => "MAP".to_owned(),
        other => other.to_string(),
    }
}
