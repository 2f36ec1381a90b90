//! Functions of numbers.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, i256};
use datafusion::error::{DataFusionError, Result as DfResult};

use super::define::Kind::{Any, Bytes, Double, Long, Number, Text};
use super::define::{Args, Function, Returns, forms, value};
use super::time;
use crate::sql::flink_types::quotient_type;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("floor", forms![[Number], [super::define::Kind::Timestamp, Text]], Returns::Argument(0), |args| round(args, false)),
        Function::new("ceil", forms![[Number], [super::define::Kind::Timestamp, Text]], Returns::Argument(0), |args| round(args, true))
            .also(&["ceiling"]),
        Function::new("log", forms![[Double], [Double, Double]], Returns::Double, log),
        Function::new("sign", forms![[Number]], Returns::Argument(0), sign),
        Function::new("e", forms![[]], Returns::Double, |args| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::E; args.rows])))),
        Function::new("bin", forms![[Long]], Returns::Text, bin),
        Function::new("hex", forms![[Long], [Bytes]], Returns::Text, hex),
        Function::new("rand_integer", forms![[Long], [Long, Long]], Returns::Int, rand_integer).volatile(),
        Function::new("typeof", forms![[Any]], Returns::Text, |args| {
            let name = args.args.first().map(|a| crate::sql::types::name(&a.data_type()));
            args.texts(|_| Ok(name.as_deref()))
        }),
    ]
}

/// `DECIMAL / DECIMAL`: `flink_types.rs` puts it where `/` stands.
pub(super) fn decimal_divide_function() -> Function {
    let returns = |args: &[DataType]| match args {
        [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] => Ok(quotient_type(*p1, *s1, *p2, *s2)),
        _ => Err(DataFusionError::Internal("a quotient of decimals takes two decimals".to_owned())),
    };
    Function::new("decimal_divide", forms![[Number, Number]], Returns::From(returns), decimal_divide)
}

/// Rounded half up, away from zero.
fn decimal_divide(args: &Args) -> DfResult<ArrayRef> {
    let (left, right) = (args.array(0)?, args.array(1)?);
    let (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2), DataType::Decimal128(precision, scale)) =
        (left.data_type(), right.data_type(), args.returns)
    else {
        return Err(DataFusionError::Internal("a quotient of decimals takes two decimals".to_owned()));
    };
    let (precision, shift) = (*precision, i32::from(*scale) + i32::from(*s2) - i32::from(*s1));
    let (up, down) = (i256_power(shift.max(0)), i256_power((-shift).max(0)));
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    args.numbers::<Decimal128Type>(|row| {
        let (Some(left), Some(right)) = (value(left, row), value(right, row)) else { return Ok(None) };
        let beyond = || args.fault("the quotient is beyond 38 digits");
        let divisor = i256::from_i128(right).checked_mul(down).ok_or_else(beyond)?;
        if divisor == i256::ZERO {
            return Err(DataFusionError::Execution("division by zero".to_owned()));
        }
        let dividend = i256::from_i128(left).checked_mul(up).ok_or_else(beyond)?;
        let (whole, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
        let rounds = rest.wrapping_abs().checked_mul(i256::from_i128(2)).ok_or_else(beyond)? >= divisor.wrapping_abs();
        let away = if (left < 0) == (right < 0) { 1 } else { -1 };
        let rounded = if rounds { whole.wrapping_add(i256::from_i128(away)) } else { whole };
        let quotient = rounded.to_i128().filter(|q| q.unsigned_abs() < 10_u128.pow(u32::from(precision)));
        quotient.map(Some).ok_or_else(beyond)
    })
}

fn i256_power(exponent: i32) -> i256 {
    i256::from_i128(10).wrapping_pow(exponent.unsigned_abs())
}

/// FLOOR and CEIL keep the type of a number; of a time they take a unit.
fn round(args: &Args, up: bool) -> DfResult<ArrayRef> {
    if args.len() == 2 {
        return time::round_to_unit(args, up);
    }
    let numbers = args.array(0)?;
    Ok(match numbers.data_type() {
        DataType::Float64 => {
            let rounded: Float64Array = numbers.as_primitive::<Float64Type>().unary(|n| if up { n.ceil() } else { n.floor() });
            Arc::new(rounded)
        }
        DataType::Float32 => {
            let rounded: Float32Array = numbers.as_primitive::<Float32Type>().unary(|n| if up { n.ceil() } else { n.floor() });
            Arc::new(rounded)
        }
        DataType::Decimal128(_, scale) => {
            let one = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let rounded: Decimal128Array = numbers.as_primitive::<Decimal128Type>().unary(|n| {
                let floor = n.div_euclid(one);
                (if up && floor * one != n { floor + 1 } else { floor }) * one
            });
            Arc::new(rounded.with_data_type(numbers.data_type().clone()))
        }
        _ => numbers,
    })
}

/// `LOG(x)` to base e, `LOG(base, x)`.
fn log(args: &Args) -> DfResult<ArrayRef> {
    let first = args.double(0)?;
    if args.len() == 1 {
        return args.numbers::<Float64Type>(|row| Ok(value(&first, row).map(f64::ln)));
    }
    let numbers = args.double(1)?;
    args.numbers::<Float64Type>(|row| Ok(value(&first, row).zip(value(&numbers, row)).map(|(base, n)| n.ln() / base.ln())))
}

fn sign(args: &Args) -> DfResult<ArrayRef> {
    let numbers = args.array(0)?;
    if numbers.data_type() == &DataType::Float64 {
        let signs: Float64Array = numbers.as_primitive::<Float64Type>().unary(|n| if n == 0.0 || n.is_nan() { n } else { n.signum() });
        return Ok(Arc::new(signs));
    }
    let doubles = arrow::compute::cast(&numbers, &DataType::Float64)?;
    let signs: Float64Array = doubles.as_primitive::<Float64Type>().unary(|n| if n == 0.0 { 0.0 } else { n.signum() });
    Ok(arrow::compute::cast(&signs, args.returns)?)
}

fn bin(args: &Args) -> DfResult<ArrayRef> {
    let numbers = args.long(0)?;
    args.texts(|row| Ok(value(&numbers, row).map(|n| format!("{n:b}"))))
}

/// `HEX(number)`, `HEX(text)`: upper-case.
fn hex(args: &Args) -> DfResult<ArrayRef> {
    let array = args.array(0)?;
    if array.data_type() == &DataType::Int64 {
        let numbers = array.as_primitive::<Int64Type>();
        return args.texts(|row| Ok(value(numbers, row).map(|n| format!("{n:X}"))));
    }
    let bytes = array.as_binary_opt::<i32>().ok_or_else(|| DataFusionError::Internal("HEX takes bytes".to_owned()))?;
    args.texts(|row| Ok(value(bytes, row).map(|bytes| hex_of(bytes, true))))
}

/// Two digits a byte.
pub(super) fn hex_of(bytes: &[u8], upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a text cannot fail.
        _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text
}

/// `RAND_INTEGER([seed,] bound)`: from 0 to below the bound.
fn rand_integer(args: &Args) -> DfResult<ArrayRef> {
    let bounds = args.long(args.len() - 1)?;
    args.numbers::<arrow::datatypes::Int32Type>(|row| {
        let Some(bound) = value(&bounds, row) else { return Ok(None) };
        if bound <= 0 {
            return Err(args.fault(format!("the bound is above 0, not {bound}")));
        }
        let random = uuid::Uuid::new_v4().as_u128() >> 66;
        Ok(Some((random % bound.unsigned_abs() as u128) as i32))
    })
}
