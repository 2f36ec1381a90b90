//! Columns of plain values. What is coerced, and what is refused, follows Flink: numbers from text, whole numbers from
//! fractions towards zero (INT and BIGINT only). Two things are refused that Flink lets pass: text other than
//! `true` and `false` for a BOOLEAN (it reads false), and a DECIMAL with too many digits (it reads NULL).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryBuilder, BinaryViewBuilder, BooleanArray, BooleanBufferBuilder,
    Decimal128Array, NullBufferBuilder, PrimitiveArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use base64::Engine as _;

use super::{Column, Faults, Syntax, TimestampForm, string, type_name};
use crate::error::{Error, Result};
use crate::format::number;
use crate::format::span::Cell;
use crate::time::text as forms;

/// Can a column of this type be read from text?
pub(super) fn is_supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Null
            | DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8View
            | DataType::Utf8
            | DataType::Binary
            | DataType::BinaryView
            | DataType::Date32
            | DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond)
            | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
            | DataType::Timestamp(..)
            | DataType::Decimal128(..)
    )
}

/// Reads a column of plain values.
pub(super) fn read(column: &Column<'_>, faults: &mut Faults) -> Result<ArrayRef> {
    let data_type = column.plan.field.data_type();
    Ok(match data_type {
        DataType::Null => new_null_array(data_type, column.spans.len()),
        DataType::Boolean => Arc::new(booleans(column, faults)),
        DataType::Int8 => Arc::new(integers::<Int8Type>(column, faults, false)),
        DataType::Int16 => Arc::new(integers::<Int16Type>(column, faults, false)),
        DataType::Int32 => Arc::new(integers::<Int32Type>(column, faults, true)),
        DataType::Int64 => Arc::new(integers::<Int64Type>(column, faults, true)),
        DataType::Float32 => Arc::new(floats::<Float32Type>(column, faults, number::single)),
        DataType::Float64 => Arc::new(floats::<Float64Type>(column, faults, number::double)),
        DataType::Utf8View => Arc::new(string::read(column, faults)),
        DataType::Utf8 => arrow::compute::cast(&string::read(column, faults), data_type)?,
        DataType::Binary => Arc::new(binary(column, faults)),
        DataType::BinaryView => {
            let values = binary(column, faults);
            let mut views = BinaryViewBuilder::with_capacity(values.len());
            views.extend(values.iter());
            Arc::new(views.finish())
        }
        DataType::Date32 => Arc::new(texts::<Date32Type>(column, faults, forms::date)),
        DataType::Time32(TimeUnit::Second) => {
            Arc::new(texts::<Time32SecondType>(column, faults, |text| Some((forms::time(text)? / 1_000_000_000) as i32)))
        }
        DataType::Time32(_) => {
            Arc::new(texts::<Time32MillisecondType>(column, faults, |text| Some((forms::time(text)? / 1_000_000) as i32)))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            Arc::new(texts::<Time64MicrosecondType>(column, faults, |text| Some(forms::time(text)? / 1_000)))
        }
        DataType::Time64(_) => Arc::new(texts::<Time64NanosecondType>(column, faults, forms::time)),
        DataType::Timestamp(unit, zone) if column.reading.timestamps == TimestampForm::EpochMillis => {
            let millis = integers::<Int64Type>(column, faults, false);
            let millis = millis.reinterpret_cast::<TimestampMillisecondType>();
            let bare = arrow::compute::cast(&millis, &DataType::Timestamp(*unit, None))?;
            arrow::compute::cast(&arrow::compute::cast(&bare, &DataType::Int64)?, &DataType::Timestamp(*unit, zone.clone()))?
        }
        DataType::Timestamp(unit, zone) => {
            let (zoned, unit, form) = (zone.is_some(), *unit, column.reading.timestamps);
            let parse = |text: &[u8]| match form {
                TimestampForm::Flink(format) => forms::timestamp(text, format, zoned, unit),
                TimestampForm::Rfc3339 | TimestampForm::EpochMillis => forms::rfc3339(text, unit),
            };
            match unit {
                TimeUnit::Second => Arc::new(texts::<TimestampSecondType>(column, faults, parse).with_timezone_opt(zone.clone())),
                TimeUnit::Millisecond => Arc::new(texts::<TimestampMillisecondType>(column, faults, parse).with_timezone_opt(zone.clone())),
                TimeUnit::Microsecond => Arc::new(texts::<TimestampMicrosecondType>(column, faults, parse).with_timezone_opt(zone.clone())),
                TimeUnit::Nanosecond => Arc::new(texts::<TimestampNanosecondType>(column, faults, parse).with_timezone_opt(zone.clone())),
            }
        }
        DataType::Decimal128(precision, scale) => Arc::new(decimals(column, faults, *precision, *scale)?),
        other => return Err(Error::bug(format!("a column of {} was planned but cannot be read", type_name(other)))),
    })
}

/// Reads every cell with `parse`; what gives nothing is NULL or a fault.
#[inline(always)]
fn primitives<T: ArrowPrimitiveType>(
    column: &Column<'_>,
    faults: &mut Faults,
    parse: impl Fn(&Cell<'_>) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut values = Vec::with_capacity(column.spans.len());
    let mut nulls = NullBufferBuilder::new(column.spans.len());
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        match parse(&cell) {
            Some(value) => {
                values.push(value);
                nulls.append_non_null();
            }
            None => {
                column.absent(row, cell, faults);
                values.push(T::Native::default());
                nulls.append_null();
            }
        }
    }
    PrimitiveArray::new(values.into(), nulls.finish())
}

/// Whole numbers. `truncate`: a fraction is cut off (Flink does so for INT and BIGINT, not for the smaller ones).
fn integers<T: ArrowPrimitiveType>(column: &Column<'_>, faults: &mut Faults, truncate: bool) -> PrimitiveArray<T>
where
    T::Native: TryFrom<i64>,
{
    primitives(column, faults, |cell| {
        let value = match cell {
            Cell::Token(bytes) => match number::integer(bytes) {
                Some(value) => value,
                None if truncate => truncated(bytes)?,
                None => return None,
            },
            Cell::Text(text) => number::integer_of_text(column.unescaped(text)?.trim_ascii())?,
            Cell::Missing | Cell::Null | Cell::Nested(_) => return None,
        };
        T::Native::try_from(value).ok()
    })
}

/// A number with a fraction or an exponent as a whole number, towards zero; `None` beyond `i64` and for whole numbers,
/// which were out of range already.
#[cold]
fn truncated(text: &[u8]) -> Option<i64> {
    if !text.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return None;
    }
    let value = number::double(text, false)?.trunc();
    // 2^63 is the first double beyond.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value).then_some(value as i64)
}

fn floats<T: ArrowPrimitiveType>(
    column: &Column<'_>,
    faults: &mut Faults,
    parse: impl Fn(&[u8], bool) -> Option<T::Native>,
) -> PrimitiveArray<T>
where
    T::Native: From<f32>,
{
    primitives(column, faults, |cell| match cell {
        Cell::Token(bytes) => parse(bytes, false),
        Cell::Text(text) => match column.unescaped(text)?.trim_ascii() {
            b"NaN" => Some(f32::NAN.into()),
            b"Infinity" | b"+Infinity" => Some(f32::INFINITY.into()),
            b"-Infinity" => Some(f32::NEG_INFINITY.into()),
            text => parse(text, true),
        },
        Cell::Missing | Cell::Null | Cell::Nested(_) => None,
    })
}

/// Values that have a text form only.
fn texts<T: ArrowPrimitiveType>(column: &Column<'_>, faults: &mut Faults, parse: impl Fn(&[u8]) -> Option<T::Native>) -> PrimitiveArray<T> {
    primitives(column, faults, |cell| match cell {
        Cell::Text(text) => parse(&column.unescaped(text)?),
        Cell::Missing | Cell::Null | Cell::Token(_) | Cell::Nested(_) => None,
    })
}

fn decimals(column: &Column<'_>, faults: &mut Faults, precision: u8, scale: i8) -> Result<Decimal128Array> {
    let values = primitives::<Decimal128Type>(column, faults, |cell| match cell {
        Cell::Token(bytes) => number::decimal(bytes, false, precision, scale),
        Cell::Text(text) => number::decimal(column.unescaped(text)?.trim_ascii(), true, precision, scale),
        Cell::Missing | Cell::Null | Cell::Nested(_) => None,
    });
    Ok(values.with_precision_and_scale(precision, scale)?)
}

fn booleans(column: &Column<'_>, faults: &mut Faults) -> BooleanArray {
    let mut values = BooleanBufferBuilder::new(column.spans.len());
    let mut nulls = NullBufferBuilder::new(column.spans.len());
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        let value = match &cell {
            Cell::Token(b"true") => Some(true),
            Cell::Token(b"false") => Some(false),
            Cell::Text(text) => column.unescaped(text).and_then(|text| match text.trim_ascii() {
                text if text.eq_ignore_ascii_case(b"true") => Some(true),
                text if text.eq_ignore_ascii_case(b"false") => Some(false),
                _ => None,
            }),
            _ => None,
        };
        match value {
            Some(value) => {
                values.append(value);
                nulls.append_non_null();
            }
            None => {
                column.absent(row, cell, faults);
                values.append(false);
                nulls.append_null();
            }
        }
    }
    BooleanArray::new(values.finish(), nulls.finish())
}

/// BYTES: base64 in JSON and csv, the record itself in raw.
fn binary(column: &Column<'_>, faults: &mut Faults) -> BinaryArray {
    let mut builder = BinaryBuilder::with_capacity(column.spans.len(), 0);
    let mut buffer = Vec::new();
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        buffer.clear();
        let read = match &cell {
            Cell::Text(text) => match column.reading.syntax {
                Syntax::Raw => {
                    buffer.extend_from_slice(text.bytes);
                    true
                }
                _ => column
                    .unescaped(text)
                    .is_some_and(|text| base64::engine::general_purpose::STANDARD.decode_vec(&text, &mut buffer).is_ok()),
            },
            _ => false,
        };
        if read {
            builder.append_value(&buffer);
        } else {
            column.absent(row, cell, faults);
            builder.append_null();
        }
    }
    builder.finish()
}
