//! Values as texts, as Flink writes them: `CAST(x AS STRING)`.
//!
//! | value | text |
//! |---|---|
//! | `BOOLEAN`, `DOUBLE`, `TIMESTAMP(3)` | `TRUE`, `1.0E7`, `2020-01-01 00:00:00.000` |
//! | `ARRAY`, `MAP`, `ROW` | `[1, NULL]`, `{a=1, b=NULL}`, `(1, x, NULL)` |
//! | all others | Arrow's |

use std::fmt::Write as _;

use arrow::array::{Array as _, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::DateTime;
use datafusion::error::Result as DfResult;

use super::define::{Args, Function, Kind, Returns, forms};

/// What a cast to STRING becomes where [`reads_otherwise`].
pub(super) fn function() -> Function {
    let write = |args: &Args| {
        let texts = texts(&args.array(0)?)?;
        args.texts(|row| Ok(texts.get(row).and_then(Option::as_deref)))
    };
    Function::new("to_text", forms![[Kind::Any]], Returns::Text, write)
}

/// Does Arrow write a value of this type in another way, or not at all?
pub(in crate::sql) fn reads_otherwise(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Timestamp(..) | T::Boolean | T::Float32 | T::Float64 | T::List(_) | T::Map(..) | T::Struct(_))
}

/// The texts of values; `None` for NULL.
pub(super) fn texts(values: &ArrayRef) -> DfResult<Vec<Option<String>>> {
    let each = |f: &dyn Fn(usize) -> String| (0..values.len()).map(|at| values.is_valid(at).then(|| f(at))).collect();
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "NULL".to_owned());
    Ok(match values.data_type() {
        DataType::Boolean => {
            let values = values.as_boolean();
            each(&|at| if values.value(at) { "TRUE".to_owned() } else { "FALSE".to_owned() })
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            each(&|at| java_double(values.value(at)))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            each(&|at| java_float(values.value(at)))
        }
        DataType::Timestamp(unit, _) => {
            let digits = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => 3,
                _ => 6,
            };
            let micros = arrow::compute::cast(values, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>();
            each(&|at| match DateTime::from_timestamp_micros(micros.value(at)) {
                Some(time) => {
                    let mut text = time.format("%Y-%m-%d %H:%M:%S.").to_string();
                    let fraction = format!("{:06}", time.timestamp_subsec_micros());
                    text.push_str(&fraction[..digits]);
                    text
                }
                None => micros.value(at).to_string(),
            })
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let elements = texts(lists.values())?;
            let of = |at: usize| lists.value_offsets()[at] as usize..lists.value_offsets()[at + 1] as usize;
            each(&|at| format!("[{}]", elements[of(at)].iter().map(shown).collect::<Vec<_>>().join(", ")))
        }
        DataType::Map(..) => {
            let maps = values.as_map();
            let (keys, held) = (texts(maps.keys())?, texts(maps.values())?);
            let of = |at: usize| maps.value_offsets()[at] as usize..maps.value_offsets()[at + 1] as usize;
            let entry = |at: usize| format!("{}={}", shown(&keys[at]), shown(&held[at]));
            each(&|at| format!("{{{}}}", of(at).map(entry).collect::<Vec<_>>().join(", ")))
        }
        DataType::Struct(_) => {
            let fields = values.as_struct().columns().iter().map(texts).collect::<DfResult<Vec<_>>>()?;
            each(&|at| format!("({})", fields.iter().map(|field| shown(&field[at])).collect::<Vec<_>>().join(", ")))
        }
        _ => {
            let texts = arrow::compute::cast(values, &DataType::Utf8View)?;
            let texts = texts.as_string_view();
            each(&|at| texts.value(at).to_owned())
        }
    })
}

/// Java's `Double.toString`: plain from 0.001 to below ten million, else `d.dddE±n`.
pub(super) fn java_double(value: f64) -> String {
    java_text(value, format!("{value:e}"))
}

/// Java's `Float.toString`.
pub(super) fn java_float(value: f32) -> String {
    java_text(f64::from(value), format!("{value:e}"))
}

/// `exponential`: Rust's `{:e}`, which has the digits of the type.
fn java_text(value: f64, exponential: String) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let mut text = sign.to_owned();
    if value == 0.0 {
        text.push_str("0.0");
    } else if (-3..7).contains(&exponent) {
        if exponent < 0 {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
            text.push_str(&digits);
        } else {
            let whole = exponent as usize + 1;
            text.extend(digits.chars().chain(std::iter::repeat('0')).take(whole));
            text.push('.');
            text.push_str(digits.get(whole..).filter(|d| !d.is_empty()).unwrap_or("0"));
        }
    } else {
        let rest = digits.get(1..).filter(|d| !d.is_empty()).unwrap_or("0");
        // Writing to a text cannot fail.
        _ = write!(text, "{}.{rest}E{exponent}", &digits[..1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_in_java() {
        for (value, wanted) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (1234567.0, "1234567.0"),
            (1.0e7, "1.0E7"),
            (123456789.125, "1.23456789125E8"),
            (0.001, "0.001"),
            (0.00012, "1.2E-4"),
            (0.0, "0.0"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(java_double(value), wanted);
        }
        assert_eq!(java_float(0.1), "0.1");
    }
}
