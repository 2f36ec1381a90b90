//! Timestamps in and out of Arrow: columns of any unit become microseconds, microseconds become columns of any unit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};

use crate::error::{Error, Result};
use crate::metrics::Reason;
use crate::operator::{Output, Refused};
use crate::time::{MICROS_PER_MILLI, MICROS_PER_SECOND, Window};

/// Event times further than this from 1970 (some 73,000 years) count as NULL, so that window arithmetic cannot overflow.
const FARTHEST_MICROS: i64 = i64::MAX / 4;

/// The timestamps of `column` in microseconds, NULL where they are NULL or beyond any calendar. Copies nothing when the
/// column is in microseconds already.
pub fn micros(column: &ArrayRef) -> Result<Int64Array> {
    let times: Int64Array = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => column.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            column.as_primitive::<TimestampMillisecondType>().unary(|ms| ms.saturating_mul(MICROS_PER_MILLI))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            column.as_primitive::<TimestampSecondType>().unary(|s| s.saturating_mul(MICROS_PER_SECOND))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => column.as_primitive::<TimestampNanosecondType>().unary(|ns| ns.div_euclid(1_000)),
        other => return Err(Error::bug(format!("an event-time column is {other}, expected a timestamp"))),
    };
    let far = |t: i64| !(-FARTHEST_MICROS..=FARTHEST_MICROS).contains(&t);
    if times.values().iter().fold(false, |any, t| any | far(*t)) {
        return Ok(times.unary_opt::<_, Int64Type>(|t| (!far(t)).then_some(t)));
    }
    Ok(times)
}

/// A timestamp column of type `data_type` from microseconds (rounded down where the unit is coarser).
pub fn timestamps(micros: &[i64], data_type: &DataType) -> Result<ArrayRef> {
    let each = |f: fn(i64) -> i64| Int64Array::from_iter_values(micros.iter().map(|t| f(*t)));
    let DataType::Timestamp(unit, zone) = data_type else {
        return Err(Error::bug(format!("a window column is to be {data_type}, expected a timestamp")));
    };
    let zone = zone.clone();
    Ok(match unit {
        TimeUnit::Second => {
            Arc::new(each(|t| t.div_euclid(MICROS_PER_SECOND)).reinterpret_cast::<TimestampSecondType>().with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(each(|t| t.div_euclid(MICROS_PER_MILLI)).reinterpret_cast::<TimestampMillisecondType>().with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => Arc::new(each(|t| t).reinterpret_cast::<TimestampMicrosecondType>().with_timezone_opt(zone)),
        TimeUnit::Nanosecond => {
            let nanos: PrimitiveArray<TimestampNanosecondType> = each(|t| t.saturating_mul(1_000)).reinterpret_cast();
            Arc::new(nanos.with_timezone_opt(zone))
        }
    })
}

/// `window_start`, `window_end` and `window_time` (the last millisecond inside) of one window per row, in the types of the
/// last three fields of `schema`.
pub fn window_columns(windows: &[Window], schema: &arrow::datatypes::Schema) -> Result<[ArrayRef; 3]> {
    let first = schema.fields().len().checked_sub(3).ok_or_else(|| Error::bug("a windowed schema has no window columns"))?;
    let column = |i: usize, f: fn(&Window) -> i64| {
        let values: Vec<i64> = windows.iter().map(f).collect();
        timestamps(&values, schema.field(first + i).data_type())
    };
    Ok([column(0, |w| w.start)?, column(1, |w| w.end)?, column(2, |w| w.end - MICROS_PER_MILLI)?])
}

/// Refuses the rows whose event time is NULL and returns the others with their times (no NULLs left in them).
pub fn refuse_null_times(batch: RecordBatch, time: usize, out: &mut Output) -> Result<(RecordBatch, Int64Array)> {
    let times = micros(batch.column(time))?;
    if times.null_count() == 0 {
        return Ok((batch, times));
    }
    let present = arrow::compute::is_not_null(&times)?;
    let absent = arrow::compute::not(&present)?;
    let rows = arrow::compute::filter_record_batch(&batch, &absent)?;
    let name = batch.schema_ref().field(time).name().clone();
    out.refuse(Refused {
        reason: Reason::NullTime,
        pairs: rows.num_rows() as u64,
        rows,
        error: format!("event time {name} is NULL or out of range"),
    });
    let times = arrow::compute::filter(&times, &present)?.as_primitive::<Int64Type>().clone();
    Ok((arrow::compute::filter_record_batch(&batch, &present)?, times))
}

/// Refuses `rows` of `batch` as late for `pairs` (row, window) pairs, if they are any.
pub fn refuse_late(batch: &RecordBatch, rows: Vec<u32>, pairs: u64, error: impl FnOnce() -> String, out: &mut Output) -> Result<()> {
    if pairs > 0 {
        let rows = arrow::compute::take_record_batch(batch, &UInt32Array::from(rows))?;
        out.refuse(Refused { reason: Reason::Late, rows, pairs, error: error() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{TimestampMillisecondArray, TimestampNanosecondArray};

    #[test]
    fn every_unit_is_read_as_microseconds_rounding_down() {
        let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None, Some(i64::MAX)]));
        assert_eq!(micros(&millis).unwrap(), Int64Array::from(vec![Some(-1_000), None, None]));
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999]));
        assert_eq!(micros(&nanos).unwrap(), Int64Array::from(vec![-1, 1]));
    }

    #[test]
    fn microseconds_become_the_type_asked_for() {
        let millis = timestamps(&[-1, 1_999], &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        assert_eq!(millis.as_primitive::<TimestampMillisecondType>().values(), &[-1, 1]);
        assert!(timestamps(&[0], &DataType::Int64).is_err());
    }
}
