//! Functions of time. The local time zone is UTC, so that a TIMESTAMP_LTZ reads like the TIMESTAMP at the same moment.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int64Array, PrimitiveArray, TimestampMicrosecondArray};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, Time32MillisecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, Utc};
use datafusion::error::{DataFusionError, Result as DfResult};

use super::define::Kind::{Any, Long, Text, TimeOfDay, Timestamp, TimestampOrText};
use super::define::{Args, Function, Returns, forms, value};
use super::pattern::{Pattern, parse_date_alone, parse_default};
use crate::sql::types::UTC;
use crate::time::floor_to;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

pub(super) fn functions() -> Vec<Function> {
    let mut functions = vec![
        Function::new(
            "to_timestamp_ltz",
            forms![[Long], [Long, Long], [Text], [Text, Text], [Text, Text, Text]],
            Returns::LocalTimestamp,
            to_timestamp_ltz,
        ),
        Function::new("to_timestamp", forms![[Text], [Text, Text]], Returns::Timestamp, to_timestamp),
        Function::new("to_date", forms![[Text], [Text, Text]], Returns::Date, to_date),
        Function::new("date_format", forms![[TimestampOrText, Text]], Returns::Text, date_format),
        Function::new("timestampdiff", forms![[Text, Timestamp, Timestamp]], Returns::Int, timestampdiff),
        Function::new("timestampadd", forms![[Text, Long, Timestamp]], Returns::Argument(2), timestampadd),
        extract_function(),
        Function::new("unix_timestamp", forms![[Text], [Text, Text]], Returns::Long, unix_timestamp),
        Function::new("from_unixtime", forms![[Long], [Long, Text]], Returns::Text, from_unixtime),
        Function::new("current_timestamp", forms![[]], Returns::LocalTimestamp, now)
            .also(&["now", "current_row_timestamp", "proctime"])
            .volatile(),
        Function::new("localtimestamp", forms![[]], Returns::Timestamp, now).volatile(),
        Function::new("current_date", forms![[]], Returns::Date, today).volatile(),
        Function::new("current_time", forms![[]], Returns::From(|_| Ok(DataType::Time32(TimeUnit::Millisecond))), time_of_day)
            .also(&["localtime"])
            .volatile(),
        Function::new("cut_fraction", forms![[Any, Long]], Returns::Argument(0), cut_fraction),
        Function::new("current_watermark", forms![[Any]], Returns::From(no_current_watermark), |args| args.array(0)),
    ];
    functions.extend(PARTS.map(|(name, eval)| Function::new(name, forms![[Timestamp]], Returns::Long, eval)));
    functions.extend(TIME_PARTS.map(|(name, eval)| Function::new(name, forms![[Timestamp], [TimeOfDay]], Returns::Long, eval)));
    functions
}

/// `CUT_FRACTION(time, digits)`: what a cast to `TIMESTAMP(digits)` or `TIME(digits)` leaves of the fraction of a second, where
/// the Arrow type has more digits than that.
fn cut_fraction(args: &Args) -> DfResult<ArrayRef> {
    let (array, digits) = (args.array(0)?, args.long(1)?);
    let digits = value(&digits, 0).and_then(|digits| u32::try_from(digits).ok()).unwrap_or(0);
    let step = |of_a_second: i64| of_a_second / 10_i64.saturating_pow(digits).clamp(1, of_a_second);
    let cut = |time: i64, step: i64| floor_to(time, step, 0);
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = array.as_primitive::<TimestampMillisecondType>();
            Arc::new(times.unary::<_, TimestampMillisecondType>(|time| cut(time, step(1_000))).with_data_type(array.data_type().clone()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Arc::new(times.unary::<_, TimestampMicrosecondType>(|time| cut(time, step(SECOND))).with_data_type(array.data_type().clone()))
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let times = array.as_primitive::<Time32MillisecondType>();
            Arc::new(times.unary::<_, Time32MillisecondType>(|time| cut(i64::from(time), step(1_000)) as i32))
        }
        _ => array,
    })
}

/// `YEAR(t)` and its kin.
const PARTS: [(&str, fn(&Args) -> DfResult<ArrayRef>); 7] = [
    ("year", |args| extract(args, Some("YEAR"), 0)),
    ("quarter", |args| extract(args, Some("QUARTER"), 0)),
    ("month", |args| extract(args, Some("MONTH"), 0)),
    ("week", |args| extract(args, Some("WEEK"), 0)),
    ("dayofyear", |args| extract(args, Some("DOY"), 0)),
    ("dayofmonth", |args| extract(args, Some("DAY"), 0)),
    ("dayofweek", |args| extract(args, Some("DOW"), 0)),
];

/// Those that a time of day has, too.
const TIME_PARTS: [(&str, fn(&Args) -> DfResult<ArrayRef>); 3] = [
    ("hour", |args| extract(args, Some("HOUR"), 0)),
    ("minute", |args| extract(args, Some("MINUTE"), 0)),
    ("second", |args| extract(args, Some("SECOND"), 0)),
];

fn no_current_watermark(_: &[DataType]) -> DfResult<DataType> {
    Err(DataFusionError::Plan("CURRENT_WATERMARK is not supported: an expression cannot see the watermark".to_owned()))
}

/// `TO_TIMESTAMP_LTZ(number [, precision])`: seconds for precision 0, milliseconds for 3 (also when left out);
/// `TO_TIMESTAMP_LTZ(text [, pattern [, zone]])`.
fn to_timestamp_ltz(args: &Args) -> DfResult<ArrayRef> {
    if args.is_text(0) {
        if let Some(zone) = args.constant_text(2)
            && !["UTC", "GMT", "Z", UTC].contains(&zone)
        {
            return Err(args.fault(format!("the time zone '{zone}' is not supported, only 'UTC'")));
        }
        return to_timestamp(args);
    }
    let numbers = args.long(0)?;
    let precision = if args.len() == 2 { args.long(1)?.iter().next().flatten() } else { Some(3) };
    let millis: Int64Array = match precision {
        Some(0) => numbers.try_unary(|n| n.checked_mul(1_000).ok_or_else(|| args.fault(format!("{n} seconds are beyond the calendar"))))?,
        Some(3) | None => numbers,
        Some(other) => return Err(args.fault(format!("the precision is 0 (seconds) or 3 (milliseconds), not {other}"))),
    };
    Ok(Arc::new(millis.reinterpret_cast::<TimestampMillisecondType>().with_timezone(UTC)))
}

/// How texts become times: by the pattern argument, or as Flink writes times.
struct Reader {
    patterns: Patterns,
}

/// The pattern of a call: read once when it is a constant.
enum Patterns {
    Default,
    One(Pattern),
    ByRow(arrow::array::StringViewArray),
}

impl Patterns {
    fn of(args: &Args, at: usize) -> DfResult<Patterns> {
        if args.len() <= at {
            return Ok(Patterns::Default);
        }
        match args.constant_text(at) {
            Some(text) => Ok(Patterns::One(Pattern::new(text).map_err(|e| args.fault(e))?)),
            None => Ok(Patterns::ByRow(args.text(at)?)),
        }
    }

    /// The pattern of a row; `None` = NULL.
    fn with<R>(&self, args: &Args, row: usize, f: impl FnOnce(Option<&Pattern>) -> R) -> DfResult<Option<R>> {
        match self {
            Patterns::Default => Ok(Some(f(None))),
            Patterns::One(pattern) => Ok(Some(f(Some(pattern)))),
            Patterns::ByRow(texts) => match value(texts, row) {
                Some(text) => Pattern::new(text).map(|p| Some(f(Some(&p)))).map_err(|e| args.fault(e)),
                None => Ok(None),
            },
        }
    }
}

impl Reader {
    fn of(args: &Args) -> DfResult<Reader> {
        Ok(Reader { patterns: Patterns::of(args, 1)? })
    }

    fn read(&self, args: &Args, row: usize, text: &str) -> DfResult<Option<NaiveDateTime>> {
        let read = self.patterns.with(args, row, |pattern| match pattern {
            Some(pattern) => pattern.parse(text),
            None => parse_default(text),
        })?;
        Ok(read.flatten())
    }
}

/// `TO_TIMESTAMP(text [, pattern])`: NULL where the text does not fit, as in Flink.
fn to_timestamp(args: &Args) -> DfResult<ArrayRef> {
    let (texts, reader) = (args.text(0)?, Reader::of(args)?);
    args.numbers::<TimestampMillisecondType>(|at| {
        let Some(text) = value(&texts, at) else { return Ok(None) };
        Ok(reader.read(args, at, text)?.map(|time| time.and_utc().timestamp_millis()))
    })
}

/// `TO_DATE(text [, pattern])`.
fn to_date(args: &Args) -> DfResult<ArrayRef> {
    let (texts, reader) = (args.text(0)?, Reader::of(args)?);
    args.numbers::<Date32Type>(|at| {
        let Some(text) = value(&texts, at) else { return Ok(None) };
        let date = match reader.patterns {
            Patterns::Default => parse_date_alone(text),
            _ => reader.read(args, at, text)?.map(|time| time.date()),
        };
        Ok(date.map(days_since_1970))
    })
}

fn days_since_1970(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - 719_163
}

/// `UNIX_TIMESTAMP(text [, pattern])`: seconds since 1970.
fn unix_timestamp(args: &Args) -> DfResult<ArrayRef> {
    let (texts, reader) = (args.text(0)?, Reader::of(args)?);
    args.numbers::<Int64Type>(|at| {
        let Some(text) = value(&texts, at) else { return Ok(None) };
        // Flink gives the least BIGINT for a text that does not fit.
        Ok(Some(reader.read(args, at, text)?.map_or(i64::MIN, |time| time.and_utc().timestamp())))
    })
}

/// `FROM_UNIXTIME(seconds [, pattern])`.
fn from_unixtime(args: &Args) -> DfResult<ArrayRef> {
    let seconds = args.long(0)?;
    let patterns = match Patterns::of(args, 1)? {
        Patterns::Default => Patterns::One(Pattern::new("yyyy-MM-dd HH:mm:ss").map_err(|e| args.fault(e))?),
        given => given,
    };
    let mut text = String::new();
    args.texts(|at| {
        let Some(time) = value(&seconds, at).and_then(|s| DateTime::from_timestamp(s, 0)) else { return Ok(None) };
        patterns.with(args, at, |pattern| written(pattern, time.naive_utc(), &mut text))
    })
}

/// `DATE_FORMAT(time, pattern)`.
fn date_format(args: &Args) -> DfResult<ArrayRef> {
    let patterns = Patterns::of(args, 1)?;
    let mut text = String::new();
    if args.is_text(0) {
        let texts = args.text(0)?;
        return args.texts(|at| {
            let Some(time) = value(&texts, at).and_then(parse_default) else { return Ok(None) };
            patterns.with(args, at, |pattern| written(pattern, time, &mut text))
        });
    }
    let times = args.micros(0)?;
    args.texts(|at| {
        let Some(time) = value(&times, at).and_then(civil) else { return Ok(None) };
        patterns.with(args, at, |pattern| written(pattern, time, &mut text))
    })
}

fn written(pattern: Option<&Pattern>, time: NaiveDateTime, buffer: &mut String) -> String {
    buffer.clear();
    if let Some(pattern) = pattern {
        pattern.format(time, buffer);
    }
    buffer.clone()
}

fn civil(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc())
}

/// A unit of time, of one length or of the calendar.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Micros(i64),
    Months(i32),
}

impl Unit {
    /// `SECOND`, `SECONDS`, `SQL_TSI_SECOND`.
    fn of(name: &str) -> Option<Unit> {
        let name = name.to_uppercase();
        let name = name.strip_prefix("SQL_TSI_").unwrap_or(&name);
        Some(match name.strip_suffix('S').unwrap_or(name) {
            "MICROSECOND" | "FRAC_SECOND" => Unit::Micros(1),
            "MILLISECOND" => Unit::Micros(1_000),
            "SECOND" => Unit::Micros(SECOND),
            "MINUTE" => Unit::Micros(60 * SECOND),
            "HOUR" => Unit::Micros(3_600 * SECOND),
            "DAY" => Unit::Micros(DAY),
            "WEEK" => Unit::Micros(7 * DAY),
            "MONTH" => Unit::Months(1),
            "QUARTER" => Unit::Months(3),
            "YEAR" => Unit::Months(12),
            _ => return None,
        })
    }

    fn wanted(args: &Args, name: Option<&str>) -> DfResult<Unit> {
        let name = name.unwrap_or_default();
        Unit::of(name)
            .ok_or_else(|| args.fault(format!("no unit '{name}'; there are SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR")))
    }
}

/// `TIMESTAMPDIFF(unit, from, to)`: whole units from `from` to `to`, toward zero.
fn timestampdiff(args: &Args) -> DfResult<ArrayRef> {
    let unit = Unit::wanted(args, args.constant_text(0))?;
    let (from, to) = (args.micros(1)?, args.micros(2)?);
    args.numbers::<Int32Type>(|at| {
        let (Some(from), Some(to)) = (value(&from, at), value(&to, at)) else { return Ok(None) };
        let units = match unit {
            Unit::Micros(per) => to.saturating_sub(from) / per,
            Unit::Months(per) => match (civil(from), civil(to)) {
                (Some(from), Some(to)) => whole_months(from, to) / i64::from(per),
                _ => return Ok(None),
            },
        };
        i32::try_from(units).map(Some).map_err(|_| args.fault(format!("{units} is beyond INT; use a larger unit")))
    })
}

fn whole_months(from: NaiveDateTime, to: NaiveDateTime) -> i64 {
    if to < from {
        return -whole_months(to, from);
    }
    let months = i64::from(to.year() - from.year()) * 12 + i64::from(to.month()) - i64::from(from.month());
    // The last month counts when it is full; the 31st is reached on the last day of a shorter month.
    let reached = u32::try_from(months).ok().and_then(|m| from.checked_add_months(Months::new(m)));
    if reached.is_some_and(|r| r > to) { months - 1 } else { months }
}

/// `TIMESTAMPADD(unit, n, time)`.
fn timestampadd(args: &Args) -> DfResult<ArrayRef> {
    let unit = Unit::wanted(args, args.constant_text(0))?;
    let (counts, times) = (args.long(1)?, args.micros(2)?);
    let moved: TimestampMicrosecondArray = (0..args.rows)
        .map(|at| {
            let (Some(count), Some(time)) = (value(&counts, at), value(&times, at)) else { return Ok(None) };
            let beyond = || args.fault(format!("{count} units from there is beyond the calendar"));
            match unit {
                Unit::Micros(per) => count.checked_mul(per).and_then(|d| time.checked_add(d)).map(Some).ok_or_else(beyond),
                Unit::Months(per) => {
                    let months = count.checked_mul(i64::from(per)).ok_or_else(beyond)?;
                    let by = Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| beyond())?);
                    let from = civil(time).ok_or_else(beyond)?;
                    let to = if months < 0 { from.checked_sub_months(by) } else { from.checked_add_months(by) };
                    Ok(Some(to.ok_or_else(beyond)?.and_utc().timestamp_micros()))
                }
            }
        })
        .collect::<DfResult<_>>()?;
    Ok(cast(&moved, args.returns)?)
}

/// The planner of expressions calls it, too.
pub(super) fn extract_function() -> Function {
    Function::new("extract", forms![[Text, Timestamp], [Text, TimeOfDay]], Returns::Long, |args| extract(args, args.constant_text(0), 1))
}

/// `EXTRACT(unit FROM time)`: the arguments are the unit and the time at `at`.
fn extract(args: &Args, unit: Option<&str>, at: usize) -> DfResult<ArrayRef> {
    let times = args.array(at)?;
    let unit = unit.unwrap_or_default().to_uppercase();
    if let Some(times) = times.as_primitive_opt::<Time32MillisecondType>() {
        return of_day(args, times, &unit);
    }
    let (part, plus) = match unit.as_str() {
        "YEAR" => (DatePart::Year, 0),
        "QUARTER" => (DatePart::Quarter, 0),
        "MONTH" => (DatePart::Month, 0),
        "WEEK" => (DatePart::Week, 0),
        "DAY" => (DatePart::Day, 0),
        "DOY" | "DAYOFYEAR" => (DatePart::DayOfYear, 0),
        // Sunday is 1.
        "DOW" | "DAYOFWEEK" => (DatePart::DayOfWeekSunday0, 1),
        "ISODOW" => (DatePart::DayOfWeekMonday0, 1),
        "ISOYEAR" => (DatePart::YearISO, 0),
        "HOUR" => (DatePart::Hour, 0),
        "MINUTE" => (DatePart::Minute, 0),
        "SECOND" => (DatePart::Second, 0),
        "MILLISECOND" | "MICROSECOND" => {
            let per = if unit == "MILLISECOND" { 1_000 } else { 1 };
            let of_second: Int64Array = args.micros(at)?.unary(|t| t.rem_euclid(SECOND) / per);
            return Ok(Arc::new(of_second));
        }
        "DECADE" | "CENTURY" | "MILLENNIUM" => {
            let years = date_part(&times, DatePart::Year)?;
            let per = match unit.as_str() {
                "DECADE" => 10,
                "CENTURY" => 100,
                _ => 1000,
            };
            // Centuries and millennia are counted from 1, decades from 0.
            let counted = |year: i32| if per == 10 { year.div_euclid(per) } else { (year - 1).div_euclid(per) + 1 };
            let counted: Int64Array = years.as_primitive::<Int32Type>().unary(|year| i64::from(counted(year)));
            return Ok(Arc::new(counted));
        }
        "EPOCH" => {
            let seconds: Int64Array = args.micros(at)?.unary(|t| t.div_euclid(SECOND));
            return Ok(Arc::new(seconds));
        }
        other => return Err(args.fault(format!("no unit '{other}' to extract"))),
    };
    let parts = date_part(&times, part)?;
    let parts: Int64Array = parts.as_primitive::<Int32Type>().unary(|p| i64::from(p) + plus);
    Ok(Arc::new(parts))
}

/// `EXTRACT(unit FROM time of day)`.
fn of_day(args: &Args, times: &PrimitiveArray<Time32MillisecondType>, unit: &str) -> DfResult<ArrayRef> {
    let (per, of) = match unit {
        "HOUR" => (3_600_000, 24),
        "MINUTE" => (60_000, 60),
        "SECOND" => (1_000, 60),
        "MILLISECOND" => (1, 1_000),
        other => return Err(args.fault(format!("a TIME has no {other}, only HOUR, MINUTE, SECOND and MILLISECOND"))),
    };
    let parts: Int64Array = times.unary(|millis| i64::from(millis / per % of));
    Ok(Arc::new(parts))
}

/// `FLOOR(time TO unit)` and `CEIL(time TO unit)` (the time is the first argument, the unit the second).
pub(super) fn round_to_unit(args: &Args, up: bool) -> DfResult<ArrayRef> {
    let unit = Unit::wanted(args, args.constant_text(1))?;
    // Weeks begin on Sunday; 1970-01-04 was one.
    let offset = match unit {
        Unit::Micros(per) if per == 7 * DAY => 3 * DAY,
        _ => 0,
    };
    let rounded: TimestampMicrosecondArray = args.micros(0)?.unary_opt(|time| {
        let (floor, next) = match unit {
            Unit::Micros(per) => {
                let floor = floor_to(time, per, offset);
                (floor, floor.checked_add(per)?)
            }
            Unit::Months(per) => {
                let date = civil(time)?.date();
                let month = (date.month0() as i32 / per * per) as u32 + 1;
                let floor = NaiveDate::from_ymd_opt(date.year(), month, 1)?;
                let next = floor.checked_add_months(Months::new(per as u32))?;
                let micros = |d: NaiveDate| d.and_hms_opt(0, 0, 0).map(|t| t.and_utc().timestamp_micros());
                (micros(floor)?, micros(next)?)
            }
        };
        Some(if up && floor != time { next } else { floor })
    });
    Ok(cast(&rounded, args.returns)?)
}

fn now(args: &Args) -> DfResult<ArrayRef> {
    let now = Utc::now().timestamp_millis();
    args.numbers::<TimestampMillisecondType>(|_| Ok(Some(now)))
}

fn today(args: &Args) -> DfResult<ArrayRef> {
    let today = days_since_1970(Utc::now().date_naive());
    Ok(Arc::new(Date32Array::from(vec![today; args.rows])))
}

fn time_of_day(args: &Args) -> DfResult<ArrayRef> {
    let millis = Utc::now().timestamp_millis().rem_euclid(86_400_000) as i32;
    args.numbers::<Time32MillisecondType>(|_| Ok(Some(millis)))
}
