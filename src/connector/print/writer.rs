//! Rows as Flink's text.

use std::io::Write as _;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::options::PrintOptions;
use crate::change::{self, Kind};
use crate::connector::{Prepared, Writer};
use crate::error::{self, Error, Result};

/// Prints rows.
#[derive(Debug)]
pub struct PrintWriter {
    /// Stands before each row.
    prefix: String,
    standard_error: bool,
}

impl PrintWriter {
    /// Prints as `options` say.
    pub fn new(options: &PrintOptions) -> Self {
        let prefix = if options.identifier.is_empty() { String::new() } else { format!("{}> ", options.identifier) };
        PrintWriter { prefix, standard_error: options.standard_error }
    }
}

impl Writer for PrintWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let text = rows(batch, &self.prefix)?;
        let done = if self.standard_error {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        done.map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => {
                Error::new(error::Kind::Interrupted, "standard output was closed by its reader").because(error)
            }
            _ => Error::failed("printing rows").because(error),
        })
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Option<Prepared>> {
        Ok(None)
    }
}

/// All rows of `batch`, a line each.
fn rows(batch: &RecordBatch, prefix: &str) -> Result<String> {
    use std::fmt::Write as _;
    let options = FormatOptions::new().with_null("null");
    let changes = change::of(batch)?;
    let shown = batch.num_columns() - usize::from(changes.is_some());
    let columns = batch.columns().iter().take(shown);
    let cells = columns.map(|column| Ok((time_of(column), ArrayFormatter::try_new(column, &options)?))).collect::<Result<Vec<_>>>()?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        text.push_str(prefix);
        text.push_str(changes.map_or(Ok(Kind::Insert), |changes| Kind::of(changes.value(row)))?.sign());
        text.push('[');
        for (index, (time, cell)) in cells.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            match time {
                Some(time) => text.push_str(&time(row)),
                None => write!(text, "{}", cell.value(row)).map_err(|_| Error::failed("a value cannot be shown as text"))?,
            }
        }
        text.push_str("]\n");
    }
    Ok(text)
}

/// How timestamps are written: seconds and their fraction only where they are not zero, as Java does.
fn time_of(column: &arrow::array::ArrayRef) -> Option<Box<dyn Fn(usize) -> String>> {
    let DataType::Timestamp(unit, zone) = column.data_type() else { return None };
    let (column, unit, zone) = (column.clone(), *unit, if zone.is_some() { "Z" } else { "" });
    Some(Box::new(move |row| {
        if column.is_null(row) {
            return "null".to_owned();
        }
        let (value, per_second) = match unit {
            TimeUnit::Second => (column.as_primitive::<arrow::datatypes::TimestampSecondType>().value(row), 1),
            TimeUnit::Millisecond => (column.as_primitive::<TimestampMillisecondType>().value(row), 1_000),
            TimeUnit::Microsecond => (column.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
            TimeUnit::Nanosecond => (column.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
        };
        let nanos = (value.rem_euclid(per_second) * (1_000_000_000 / per_second)) as u32;
        match chrono::DateTime::from_timestamp(value.div_euclid(per_second), nanos) {
            None => value.to_string(),
            Some(time) if zone.is_empty() && value.rem_euclid(60 * per_second) == 0 => time.format("%Y-%m-%dT%H:%M").to_string(),
            Some(time) => format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.f")),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringViewArray, TimestampMillisecondArray};
    use std::sync::Arc;

    #[test]
    fn changes_have_their_signs() {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3, 4])) as arrow::array::ArrayRef),
            (change::CHANGE_COLUMN, Arc::new(arrow::array::Int8Array::from(vec![0, 1, 2, 3]))),
        ]);
        assert_eq!(rows(&batch.unwrap(), "").unwrap(), "+I[1]\n-U[2]\n+U[3]\n-D[4]\n");
    }

    #[test]
    fn rows_look_as_flink_prints_them() {
        let batch = RecordBatch::try_from_iter([
            ("name", Arc::new(StringViewArray::from(vec![Some("a"), None])) as arrow::array::ArrayRef),
            ("x", Arc::new(Float64Array::from(vec![1.5, 2.0]))),
            ("t", Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(1_250)]))),
            ("z", Arc::new(TimestampMillisecondArray::from(vec![Some(0), None]).with_timezone("+00:00"))),
        ]);
        let text = rows(&batch.unwrap(), "out> ").unwrap();
        assert_eq!(text, "out> +I[a, 1.5, 1970-01-01T00:00, 1970-01-01T00:00:00Z]\nout> +I[null, 2.0, 1970-01-01T00:00:01.250, null]\n");
    }
}
