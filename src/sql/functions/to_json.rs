//! Values as JSON, as Flink writes them: `JSON_OBJECT`, `JSON_ARRAY`, `JSON_STRING`.
//!
//! | value | JSON |
//! |---|---|
//! | numbers | as Java's `BigDecimal` reads them: `1.50`, `1.0E+7` |
//! | `TIMESTAMP`, `TIMESTAMP_LTZ` | `"2020-01-01T00:00:00.5"`, with a `Z` behind |
//! | `BYTES` | base64 |
//! | `MAP`, `ROW` | objects, their keys in order |
//! | `DATE`, `TIME` | refused, as Flink does |
//!
//! `dialect.rs` reads the calls: their first argument says what stands in them (`kinds` below).

use std::fmt::Write as _;

use arrow::array::{Array as _, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use datafusion::error::{DataFusionError, Result as DfResult};

use super::define::Kind::{Any, Text};
use super::define::{Args, Function, Returns, forms};
use super::to_text::{java_double, java_float, texts};
use crate::sql::types;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("json_object", forms![[Text; Any]], Returns::From(json), json_object),
        Function::new("json_array", forms![[Text; Any]], Returns::From(json), json_array),
        Function::new("json_string", forms![[Any]], Returns::From(json), json_string),
    ]
}

/// A text, if all arguments have JSON.
fn json(args: &[DataType]) -> DfResult<DataType> {
    fn without(data_type: &DataType) -> Option<&DataType> {
        match data_type {
            DataType::List(element) | DataType::Map(element, _) => without(element.data_type()),
            DataType::Struct(fields) => fields.iter().find_map(|field| without(field.data_type())),
            DataType::Boolean | DataType::Null | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _) => None,
            DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary => None,
            number if number.is_numeric() => None,
            other => Some(other),
        }
    }
    match args.iter().find_map(without) {
        Some(other) => Err(DataFusionError::Plan(format!("JSON has no {}; CAST it AS STRING", types::name(other)))),
        None => Ok(DataType::Utf8View),
    }
}

/// What the first argument of JSON_OBJECT and JSON_ARRAY says: are NULLs written, and per value: is it JSON itself?
fn kinds<'a>(args: &'a Args) -> (bool, impl Fn(usize) -> bool + use<'a>) {
    let kinds = args.constant_text(0).unwrap_or_default().as_bytes();
    (kinds.first() == Some(&b'N'), move |value| kinds.get(value + 1) == Some(&b'j'))
}

fn is_null(values: &ArrayRef, at: usize) -> bool {
    values.data_type() == &DataType::Null || values.is_null(at)
}

fn write_value(values: &ArrayRef, at: usize, is_json: bool, out: &mut String) -> DfResult<()> {
    match values.as_string_view_opt() {
        Some(texts) if is_json && texts.is_valid(at) => {
            out.push_str(texts.value(at));
            Ok(())
        }
        _ => write(values, at, out),
    }
}

/// `json_object(kinds, key, value, …)`: the last of equal keys stands.
fn json_object(args: &Args) -> DfResult<ArrayRef> {
    let (nulls, is_json) = kinds(args);
    let columns = (1..args.len()).map(|at| args.array(at)).collect::<DfResult<Vec<_>>>()?;
    args.texts(|row| {
        let mut entries = Vec::with_capacity(columns.len() / 2);
        for (nth, pair) in columns.chunks_exact(2).enumerate() {
            let keys = pair[0].as_string_view_opt().ok_or_else(|| args.fault("a key is a text"))?;
            if keys.is_null(row) {
                return Err(args.fault("a key is NULL"));
            }
            if nulls || !is_null(&pair[1], row) {
                let mut text = String::new();
                write_value(&pair[1], row, is_json(nth), &mut text)?;
                entries.push((keys.value(row).to_owned(), text));
            }
        }
        let mut object = String::new();
        write_object(entries, &mut object);
        Ok(Some(object))
    })
}

/// `json_array(kinds, value, …)`.
fn json_array(args: &Args) -> DfResult<ArrayRef> {
    let (nulls, is_json) = kinds(args);
    let columns = (1..args.len()).map(|at| args.array(at)).collect::<DfResult<Vec<_>>>()?;
    args.texts(|row| {
        let mut array = "[".to_owned();
        for (nth, column) in columns.iter().enumerate().filter(|(_, column)| nulls || !is_null(column, row)) {
            if array.len() > 1 {
                array.push(',');
            }
            write_value(column, row, is_json(nth), &mut array)?;
        }
        array.push(']');
        Ok(Some(array))
    })
}

/// `JSON_STRING(value)`.
fn json_string(args: &Args) -> DfResult<ArrayRef> {
    let values = args.array(0)?;
    args.texts(|row| {
        if is_null(&values, row) {
            return Ok(None);
        }
        let mut text = String::new();
        write(&values, row, &mut text)?;
        Ok(Some(text))
    })
}

/// Writes the value at `at` behind `out`.
fn write(values: &ArrayRef, at: usize, out: &mut String) -> DfResult<()> {
    if is_null(values, at) {
        out.push_str("null");
        return Ok(());
    }
    macro_rules! integer {
        ($type:ty) => {
            // Writing to a text cannot fail.
            _ = write!(out, "{}", values.as_primitive::<$type>().value(at))
        };
    }
    match values.data_type() {
        DataType::Boolean => out.push_str(if values.as_boolean().value(at) { "true" } else { "false" }),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float32 => {
            let value = values.as_primitive::<Float32Type>().value(at);
            write_double(value.is_finite(), &java_float(value), out);
        }
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(at);
            write_double(value.is_finite(), &java_double(value), out);
        }
        DataType::Decimal128(..) => out.push_str(&big_decimal(&values.as_primitive::<Decimal128Type>().value_as_string(at))),
        DataType::Utf8View => write_text(values.as_string_view().value(at), out),
        DataType::Utf8 => write_text(values.as_string::<i32>().value(at), out),
        DataType::LargeUtf8 => write_text(values.as_string::<i64>().value(at), out),
        DataType::Binary => {
            out.push('"');
            STANDARD.encode_string(values.as_binary::<i32>().value(at), out);
            out.push('"');
        }
        DataType::Timestamp(unit, zone) => {
            let time = match unit {
                TimeUnit::Millisecond => DateTime::from_timestamp_millis(values.as_primitive::<TimestampMillisecondType>().value(at)),
                _ => DateTime::from_timestamp_micros(values.as_primitive::<TimestampMicrosecondType>().value(at)),
            };
            let time = time.ok_or_else(|| DataFusionError::Execution("a time is beyond the calendar".to_owned()))?;
            write_time(time, zone.is_some(), out);
        }
        DataType::List(_) => {
            let list = values.as_list::<i32>().value(at);
            out.push('[');
            for element in 0..list.len() {
                if element > 0 {
                    out.push(',');
                }
                write(&list, element, out)?;
            }
            out.push(']');
        }
        DataType::Map(..) => {
            let entries = values.as_map().value(at);
            let (keys, held) = (texts(entries.column(0))?, entries.column(1));
            let mut written = Vec::with_capacity(keys.len());
            for (entry, key) in keys.into_iter().enumerate() {
                let mut text = String::new();
                write(held, entry, &mut text)?;
                written.push((key.unwrap_or_default(), text));
            }
            write_object(written, out);
        }
        DataType::Struct(fields) => {
            let mut written = Vec::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(values.as_struct().columns()) {
                let mut text = String::new();
                write(column, at, &mut text)?;
                written.push((field.name().clone(), text));
            }
            write_object(written, out);
        }
        other => return Err(DataFusionError::Internal(format!("JSON of {other}"))),
    }
    Ok(())
}

/// An object of keys and their JSON: in the order of its keys, the last of equal ones.
pub(super) fn write_object(mut entries: Vec<(String, String)>, out: &mut String) {
    entries.reverse();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.dedup_by(|(a, _), (b, _)| a == b);
    out.push('{');
    for (nth, (key, json)) in entries.iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        out.push_str(json);
    }
    out.push('}');
}

/// A text in quotes.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a text cannot fail.
            c if c < ' ' => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_double(finite: bool, text: &str, out: &mut String) {
    if finite { out.push_str(&big_decimal(text)) } else { write_text(text, out) }
}

fn write_time(time: DateTime<Utc>, local: bool, out: &mut String) {
    // Writing to a text cannot fail.
    _ = write!(out, "\"{}", time.format("%Y-%m-%dT%H:%M:%S"));
    let micros = time.timestamp_subsec_micros();
    if micros > 0 {
        _ = write!(out, ".{}", format!("{micros:06}").trim_end_matches('0'));
    }
    out.push_str(if local { "Z\"" } else { "\"" });
}

/// A number's text as Java's `BigDecimal` writes it: all its digits, an exponent only before or behind them.
pub(super) fn big_decimal(text: &str) -> String {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else { return text.to_owned() };
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let sign = if digits == "0" { "" } else { sign };
    // Digits behind the point, and the exponent of the first digit.
    let scale = fraction.len() as i64 - exponent;
    let first = digits.len() as i64 - 1 - scale;
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    if scale > 0 && first >= -6 {
        let scale = scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        return format!("{sign}{whole}.{fraction}");
    }
    let (head, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{head}{point}{rest}E{first:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_javas_big_decimals() {
        for (text, wanted) in [
            ("1.50", "1.50"),
            ("-0.5", "-0.5"),
            ("1e5", "1E+5"),
            ("1.0E7", "1.0E+7"),
            ("1.2345678E7", "12345678"),
            ("1.23456789125E8", "123456789.125"),
            ("1.0E-4", "0.00010"),
            ("1.0E-7", "1.0E-7"),
            ("-0.0", "0.0"),
            ("0.000000000", "0E-9"),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            assert_eq!(big_decimal(text), wanted, "{text}");
        }
    }
}
