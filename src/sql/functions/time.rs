//! Functions of time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use datafusion::error::Result as DfResult;

use super::define::Kind::{Long, Text, Timestamp};
use super::define::{Args, Function, Returns, forms, value};
use crate::sql::types::UTC;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("to_timestamp_ltz", forms![[Long], [Long, Long]], Returns::LocalTimestamp, to_timestamp_ltz),
        Function::new("timestampdiff", forms![[Text, Timestamp, Timestamp]], Returns::Int, timestampdiff),
    ]
}

/// `TO_TIMESTAMP_LTZ(number [, precision])`: seconds for precision 0, milliseconds for 3 (also when left out).
fn to_timestamp_ltz(args: &Args) -> DfResult<ArrayRef> {
    let numbers = args.long(0)?;
    let factor = match if args.len() == 2 { value(&args.long(1)?, 0) } else { Some(3) } {
        Some(0) => 1_000,
        Some(3) | None => 1,
        Some(other) => return Err(args.fault(format!("the precision is 0 (seconds) or 3 (milliseconds), not {other}"))),
    };
    let millis: Int64Array = if factor == 1 {
        numbers
    } else {
        numbers.try_unary(|n| n.checked_mul(factor).ok_or_else(|| args.fault(format!("{n} seconds are beyond the calendar"))))?
    };
    Ok(Arc::new(millis.reinterpret_cast::<TimestampMillisecondType>().with_timezone(UTC)))
}

/// `TIMESTAMPDIFF(unit, from, to)`: whole units from `from` to `to`, toward zero.
fn timestampdiff(args: &Args) -> DfResult<ArrayRef> {
    let unit = args.constant_text(0).unwrap_or_default().to_uppercase();
    let (from, to) = (args.micros(1)?, args.micros(2)?);
    let per = match unit.trim_end_matches('S') {
        "SECOND" => 1_000_000,
        "MINUTE" => 60_000_000,
        "HOUR" => 3_600_000_000,
        "DAY" => 86_400_000_000,
        "WEEK" => 7 * 86_400_000_000,
        _ => return Err(args.fault(format!("no unit '{unit}'"))),
    };
    args.numbers::<Int32Type>(|at| {
        let (Some(from), Some(to)) = (value(&from, at), value(&to, at)) else { return Ok(None) };
        let units: i64 = (to - from) / per;
        i32::try_from(units).map(Some).map_err(|_| args.fault(format!("{units} {unit}S are beyond INT")))
    })
}
