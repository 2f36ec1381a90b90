//! Arrow to JSON as Flink writes it: fields in declared order, NULL written as `null`, timestamps in the chosen text
//! form, BYTES as base64, numbers in their shortest form.
//!
//! The arrays of a batch are taken apart once; then it is a walk over rows that only appends bytes.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, PrimitiveArray,
    RecordBatch, StringViewArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine as _;

use super::JsonOptions;
use crate::error::{Error, Result};
use crate::format::Encoder;
use crate::format::column::type_name;
use crate::time::text::{TimestampFormat, push_date, push_time, push_timestamp};

/// Writes rows as JSON lines.
#[derive(Debug)]
pub(crate) struct JsonEncoder {
    style: Style,
    /// Per column: `{"name":` for the first, `,"name":` for the others.
    keys: Vec<Vec<u8>>,
}

/// How values are written.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    timestamps: TimestampFormat,
    plain_decimals: bool,
    skip_nulls: bool,
}

impl Style {
    /// The style of csv: Flink's SQL forms.
    pub(crate) fn csv(plain_decimals: bool) -> Style {
        Style { timestamps: TimestampFormat::Sql, plain_decimals, skip_nulls: false }
    }
}

impl JsonOptions {
    /// An encoder of batches of `schema`.
    pub(crate) fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        for field in schema.fields() {
            check(field.name(), field.data_type())?;
        }
        let style =
            Style { timestamps: self.timestamp_format, plain_decimals: self.decimal_as_plain_number, skip_nulls: self.ignore_null_fields };
        Ok(Box::new(JsonEncoder { style, keys: keys(schema.fields()) }))
    }
}

/// Refuses a type that cannot be written.
fn check(path: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check(&format!("{path}.{}", field.name()), field.data_type())),
        DataType::List(element) => check(&format!("{path}[]"), element.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 && is_text(fields[0].data_type()) => {
                check(&format!("{path}[]"), fields[1].data_type())
            }
            _ => Err(Error::input(format!("column '{path}': the keys of a MAP must be STRING in JSON"))),
        },
        other if is_text(other) || is_bytes(other) || other.is_integer() => Ok(()),
        DataType::Null
        | DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Decimal128(..) => Ok(()),
        other => Err(Error::input(format!("column '{path}': {} cannot be written as JSON", type_name(other)))),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Keys with what stands before and after them.
fn keys(fields: &arrow::datatypes::Fields) -> Vec<Vec<u8>> {
    fields
        .iter()
        .map(|field| {
            let mut key = vec![b','];
            push_string(&mut key, field.name().as_bytes());
            key.push(b':');
            key
        })
        .collect()
}

/// An array taken apart for writing.
pub(crate) enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Integer(Integers<'a>),
    Float(&'a PrimitiveArray<Float32Type>),
    Double(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a Decimal128Array, i8),
    Text(StringViewArray),
    Bytes(BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    /// Units since midnight.
    Time(PrimitiveArray<Int64Type>, TimeUnit),
    /// Units since 1970; with a zone or without.
    Timestamp(PrimitiveArray<Int64Type>, TimeUnit, bool),
    Row(Row<'a>),
    List(&'a ListArray, Box<Values<'a>>),
    Map(&'a MapArray, StringViewArray, Box<Values<'a>>),
}

/// Whole numbers of any width.
pub(crate) enum Integers<'a> {
    I8(&'a PrimitiveArray<Int8Type>),
    I16(&'a PrimitiveArray<Int16Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    U8(&'a PrimitiveArray<UInt8Type>),
    U16(&'a PrimitiveArray<UInt16Type>),
    U32(&'a PrimitiveArray<UInt32Type>),
    U64(&'a PrimitiveArray<UInt64Type>),
}

/// A ROW and its fields.
pub(crate) struct Row<'a> {
    array: &'a StructArray,
    keys: Vec<Vec<u8>>,
    fields: Vec<Values<'a>>,
}

/// The same array with another view of its numbers: no values move.
fn as_int64(array: &ArrayRef) -> Result<PrimitiveArray<Int64Type>> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

impl<'a> Values<'a> {
    /// Takes an array apart.
    pub(crate) fn of(array: &'a ArrayRef) -> Result<Values<'a>> {
        Ok(match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Integer(Integers::I8(array.as_primitive())),
            DataType::Int16 => Values::Integer(Integers::I16(array.as_primitive())),
            DataType::Int32 => Values::Integer(Integers::I32(array.as_primitive())),
            DataType::Int64 => Values::Integer(Integers::I64(array.as_primitive())),
            DataType::UInt8 => Values::Integer(Integers::U8(array.as_primitive())),
            DataType::UInt16 => Values::Integer(Integers::U16(array.as_primitive())),
            DataType::UInt32 => Values::Integer(Integers::U32(array.as_primitive())),
            DataType::UInt64 => Values::Integer(Integers::U64(array.as_primitive())),
            DataType::Float32 => Values::Float(array.as_primitive()),
            DataType::Float64 => Values::Double(array.as_primitive()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
            DataType::Utf8View => Values::Text(array.as_string_view().clone()),
            DataType::Utf8 | DataType::LargeUtf8 => Values::Text(cast(array, &DataType::Utf8View)?.as_string_view().clone()),
            DataType::Binary => Values::Bytes(array.as_binary().clone()),
            DataType::LargeBinary | DataType::BinaryView => Values::Bytes(cast(array, &DataType::Binary)?.as_binary().clone()),
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Time32(unit) => Values::Time(as_int64(&cast(array, &DataType::Int32)?)?, *unit),
            DataType::Time64(unit) => Values::Time(as_int64(array)?, *unit),
            DataType::Timestamp(unit, zone) => Values::Timestamp(as_int64(array)?, *unit, zone.is_some()),
            DataType::Struct(fields) => {
                let array = array.as_struct();
                let values = array.columns().iter().map(Values::of).collect::<Result<_>>()?;
                Values::Row(Row { array, keys: keys(fields), fields: values })
            }
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                Values::List(array, Box::new(Values::of(array.values())?))
            }
            DataType::Map(..) => {
                let array = array.as_map();
                let keys = cast(array.keys(), &DataType::Utf8View)?.as_string_view().clone();
                Values::Map(array, keys, Box::new(Values::of(array.values())?))
            }
            other => return Err(Error::bug(format!("{other} was not refused when the encoder was made"))),
        })
    }

    /// Is the value of this row NULL?
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Null => true,
            Values::Boolean(array) => array.is_null(row),
            Values::Integer(array) => array.is_null(row),
            Values::Float(array) => array.is_null(row),
            Values::Double(array) => array.is_null(row),
            Values::Decimal(array, _) => array.is_null(row),
            Values::Text(array) => array.is_null(row),
            Values::Bytes(array) => array.is_null(row),
            Values::Date(array) => array.is_null(row),
            Values::Time(array, _) | Values::Timestamp(array, _, _) => array.is_null(row),
            Values::Row(row_of) => row_of.array.is_null(row),
            Values::List(array, _) => array.is_null(row),
            Values::Map(array, _, _) => array.is_null(row),
        }
    }

    /// Appends the value of a row as plain text, without quotes or escapes; elements of a list with `delimiter` between.
    pub(crate) fn push_text(&self, row: usize, style: &Style, delimiter: u8, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Values::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Bytes(_) | Values::Date(_) | Values::Time(..) | Values::Timestamp(..) => {
                let from = out.len();
                self.push(row, style, out)?;
                out.remove(from);
                out.pop();
            }
            Values::List(array, values) => {
                let offsets = array.value_offsets();
                for element in offsets[row]..offsets[row + 1] {
                    if element > offsets[row] {
                        out.push(delimiter);
                    }
                    if !values.is_null(element as usize) {
                        values.push_text(element as usize, style, delimiter, out)?;
                    }
                }
            }
            _ => self.push(row, style, out)?,
        }
        Ok(())
    }

    /// Appends the value of a row.
    #[inline]
    fn push(&self, row: usize, style: &Style, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Values::Null => {}
            Values::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Values::Integer(array) => array.push(row, out),
            Values::Float(array) => push_float(out, array.value(row)),
            Values::Double(array) => push_float(out, array.value(row)),
            Values::Decimal(array, scale) => push_decimal(out, array.value(row), *scale, style.plain_decimals),
            Values::Text(array) => push_string(out, array.value(row).as_bytes()),
            Values::Bytes(array) => push_base64(out, array.value(row)),
            Values::Date(array) => quoted(out, |out| push_date(out, i64::from(array.value(row)))),
            Values::Time(array, unit) => quoted(out, |out| push_time(out, array.value(row), *unit)),
            Values::Timestamp(array, unit, zoned) => {
                quoted(out, |out| push_timestamp(out, array.value(row), *unit, style.timestamps, *zoned));
            }
            Values::Row(fields) => push_object(row, &fields.keys, &fields.fields, style, out)?,
            Values::List(array, values) => {
                let offsets = array.value_offsets();
                out.push(b'[');
                for element in offsets[row]..offsets[row + 1] {
                    if element > offsets[row] {
                        out.push(b',');
                    }
                    values.push(element as usize, style, out)?;
                }
                out.push(b']');
            }
            Values::Map(array, keys, values) => {
                let offsets = array.value_offsets();
                out.push(b'{');
                let from = out.len();
                for entry in offsets[row]..offsets[row + 1] {
                    let entry = entry as usize;
                    if out.len() > from {
                        out.push(b',');
                    }
                    push_string(out, keys.value(entry).as_bytes());
                    out.push(b':');
                    values.push(entry, style, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

impl Integers<'_> {
    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self {
            Integers::I8(array) => array.is_null(row),
            Integers::I16(array) => array.is_null(row),
            Integers::I32(array) => array.is_null(row),
            Integers::I64(array) => array.is_null(row),
            Integers::U8(array) => array.is_null(row),
            Integers::U16(array) => array.is_null(row),
            Integers::U32(array) => array.is_null(row),
            Integers::U64(array) => array.is_null(row),
        }
    }

    #[inline]
    fn push(&self, row: usize, out: &mut Vec<u8>) {
        fn one<T: ArrowPrimitiveType<Native: itoa::Integer>>(array: &PrimitiveArray<T>, row: usize, out: &mut Vec<u8>) {
            out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes());
        }
        match self {
            Integers::I8(array) => one(array, row, out),
            Integers::I16(array) => one(array, row, out),
            Integers::I32(array) => one(array, row, out),
            Integers::I64(array) => one(array, row, out),
            Integers::U8(array) => one(array, row, out),
            Integers::U16(array) => one(array, row, out),
            Integers::U32(array) => one(array, row, out),
            Integers::U64(array) => one(array, row, out),
        }
    }
}

/// Appends an object of these fields.
#[inline]
fn push_object(row: usize, keys: &[Vec<u8>], fields: &[Values<'_>], style: &Style, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    for (key, values) in keys.iter().zip(fields) {
        if style.skip_nulls && values.is_null(row) {
            continue;
        }
        out.extend_from_slice(key);
        values.push(row, style, out)?;
    }
    // Every key brings a comma; the first one is the bracket.
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    Ok(())
}

fn quoted(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    push(out);
    out.push(b'"');
}

/// Appends a number in its shortest form; what is no number in JSON as text, as Jackson does.
#[inline]
fn push_float<F: zmij::Float + Into<f64> + Copy>(out: &mut Vec<u8>, value: F) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

/// Appends a DECIMAL as Java's `BigDecimal` writes itself: in full, or from 1E-7 down with an exponent unless `plain`.
pub(crate) fn push_decimal(out: &mut Vec<u8>, value: i128, scale: i8, plain: bool) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    let scale = i64::from(scale);
    let exponent = digits.len() as i64 - 1 - scale;
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if scale < 0 && plain {
        out.extend_from_slice(digits);
        out.resize(out.len() + if value == 0 { 0 } else { scale.unsigned_abs() as usize }, b'0');
    } else if scale > 0 && (plain || exponent >= -6) {
        let point = digits.len() as i64 - scale;
        if point > 0 {
            let (whole, fraction) = digits.split_at(point as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        if exponent != 0 {
            out.push(b'E');
            out.extend_from_slice(if exponent > 0 { b"+" } else { b"" });
            out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
        }
    }
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// Appends a string with its quotes, escaping what JSON asks for and nothing more.
#[inline]
pub(crate) fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    quoted(out, |out| push_escaped(out, text));
}

/// Must this byte be escaped?
fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// Appends the inside of a string.
#[inline]
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Without early exits the compiler looks at 16 bytes at once; nearly all texts have nothing to escape.
    let (blocks, rest) = text.as_chunks::<16>();
    let any_special = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | is_special(*byte));
    if !blocks.iter().fold(false, |any, block| any | any_special(block)) && !any_special(rest) {
        out.extend_from_slice(text);
        return;
    }
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            control if is_special(*control) => out.extend_from_slice(format!("\\u{control:04X}").as_bytes()),
            plain => out.push(*plain),
        }
    }
}

/// How the values of a column are written into the lines of a batch.
enum Written<'a> {
    /// Text without NULLs: its quotes belong to what stands between the columns.
    Bare(&'a StringViewArray),
    Whole(&'a Values<'a>),
}

impl JsonEncoder {
    /// Writes rows of which every field is there: what stands between the values is the same in each row, and is put
    /// together once.
    fn push_rows(&self, columns: &[Values<'_>], rows: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut between = vec![b'{'];
        let mut fields: Vec<(Vec<u8>, Written<'_>)> = Vec::with_capacity(columns.len());
        for (place, (key, values)) in self.keys.iter().zip(columns).enumerate() {
            between.extend_from_slice(if place == 0 { &key[1..] } else { key });
            let mut next = Vec::new();
            let written = match values {
                Values::Text(array) if array.null_count() == 0 => {
                    between.push(b'"');
                    next.push(b'"');
                    Written::Bare(array)
                }
                other => Written::Whole(other),
            };
            fields.push((std::mem::replace(&mut between, next), written));
        }
        between.extend_from_slice(b"}\n");
        for row in 0..rows {
            for (before, written) in &fields {
                out.extend_from_slice(before);
                match written {
                    Written::Bare(array) => push_escaped(out, array.value(row).as_bytes()),
                    Written::Whole(values) => values.push(row, &self.style, out)?,
                }
            }
            out.extend_from_slice(&between);
        }
        Ok(())
    }

    /// Writes rows whose NULL fields are left out.
    fn push_rows_without_nulls(&self, columns: &[Values<'_>], rows: usize, out: &mut Vec<u8>) -> Result<()> {
        for row in 0..rows {
            push_object(row, &self.keys, columns, &self.style, out)?;
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if batch.num_columns() != self.keys.len() {
            return Err(Error::bug(format!("{} columns for an encoder of {}", batch.num_columns(), self.keys.len())));
        }
        let columns: Vec<Values<'_>> = batch.columns().iter().map(Values::of).collect::<Result<_>>()?;
        let before = out.len();
        let write = if self.style.skip_nulls { Self::push_rows_without_nulls } else { Self::push_rows };
        write(self, &columns, batch.num_rows(), out).inspect_err(|_| {
            // No half batch gets out.
            out.truncate(before);
        })
    }
}
