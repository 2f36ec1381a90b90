//! Dates, times and timestamps in the text forms that Flink's formats share.
//!
//! ```text
//!  DATE           2024-01-31
//!  TIME           12:00:00.123
//!  TIMESTAMP      2024-01-31 12:00:00.123     (SQL)       2024-01-31T12:00:00.123     (ISO-8601)
//!  TIMESTAMP_LTZ  2024-01-31 12:00:00.123Z    (SQL)       2024-01-31T12:00:00.123Z    (ISO-8601)
//! ```
//! A fraction has up to nine digits, and is left out when it is zero.

use arrow::datatypes::TimeUnit;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// How timestamps are written between date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum TimestampFormat {
    /// `2024-01-31 12:00:00.123`, with `Z` at the end for TIMESTAMP_LTZ.
    #[default]
    #[serde(rename = "SQL")]
    Sql,
    /// `2024-01-31T12:00:00.123`, with `Z` at the end for TIMESTAMP_LTZ.
    #[serde(rename = "ISO-8601")]
    Iso8601,
}

impl TimestampFormat {
    fn separator(self) -> u8 {
        match self {
            TimestampFormat::Sql => b' ',
            TimestampFormat::Iso8601 => b'T',
        }
    }

    /// An example, for messages.
    pub(crate) fn example(self, zoned: bool) -> &'static str {
        match (self, zoned) {
            (TimestampFormat::Sql, false) => "2024-01-31 12:00:00.123",
            (TimestampFormat::Sql, true) => "2024-01-31 12:00:00.123Z",
            (TimestampFormat::Iso8601, false) => "2024-01-31T12:00:00.123",
            (TimestampFormat::Iso8601, true) => "2024-01-31T12:00:00.123Z",
        }
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
fn days_of_date(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one; 400 years are 146,097 days.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// `2024-01-31` as days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    ((1..=12).contains(&month) && day >= 1 && day <= month_days(year, month)).then(|| days_of_date(year, month, day) as i32)
}

/// `12:00:00.123` as nanoseconds since midnight.
pub(crate) fn time(text: &[u8]) -> Option<i64> {
    let (clock, fraction) = text.split_at_checked(8)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => number(digits)? * 10i64.pow(9 - digits.len() as u32),
        _ => return None,
    };
    Some((hour * 3_600 + minute * 60 + second) * NANOS_PER_SECOND + nanos)
}

/// How many nanoseconds a unit has.
fn nanos_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => NANOS_PER_SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A timestamp in units since 1970; digits beyond the unit are dropped.
pub(crate) fn timestamp(text: &[u8], format: TimestampFormat, zoned: bool, unit: TimeUnit) -> Option<i64> {
    let text = match (zoned, text) {
        (true, [text @ .., b'Z']) => text,
        (true, _) => return None,
        (false, text) => text,
    };
    let (day, rest) = text.split_at_checked(10)?;
    let (separator, clock) = rest.split_first()?;
    if *separator != format.separator() {
        return None;
    }
    in_unit(i64::from(date(day)?), time(clock)?, unit)
}

/// RFC 3339, as CloudEvents writes it: any offset, `t` and `z` in either case, a leap second at the end of a UTC day
/// (it becomes the next second).
pub(crate) fn rfc3339(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10)?;
    let [b'T' | b't', rest @ ..] = rest else { return None };
    let (clock, offset_minutes) = match rest {
        [clock @ .., b'Z' | b'z'] => (clock, 0),
        [clock @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            (clock, if *sign == b'-' { -offset } else { offset })
        }
        _ => return None,
    };
    let (clock, fraction) = clock.split_at_checked(8)?;
    let fraction = match fraction {
        [] => 0,
        // RFC 3339 sets no limit; we drop what is below a nanosecond.
        [b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let digits = &digits[..digits.len().min(9)];
            number(digits)? * 10i64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    let days = i64::from(date(day)?);
    let seconds = match clock {
        [minutes @ .., b':', b'6', b'0'] => {
            let at = time(&[minutes, b":59"].concat())? / NANOS_PER_SECOND + 1 - offset_minutes * 60;
            if at.rem_euclid(SECONDS_PER_DAY) != 0 {
                return None;
            }
            at
        }
        clock => time(clock)? / NANOS_PER_SECOND - offset_minutes * 60,
    };
    in_unit(days, seconds * NANOS_PER_SECOND + fraction, unit)
}

/// Days and nanoseconds (of any day) as units since 1970.
fn in_unit(days: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    let per_second = NANOS_PER_SECOND / nanos_per(unit);
    let seconds = days * SECONDS_PER_DAY + nanos.div_euclid(NANOS_PER_SECOND);
    seconds.checked_mul(per_second)?.checked_add(nanos.rem_euclid(NANOS_PER_SECOND) / nanos_per(unit))
}

fn push_padded(out: &mut Vec<u8>, number: i64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number.unsigned_abs());
    if number < 0 {
        out.push(b'-');
    }
    out.resize(out.len() + width.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(digits.as_bytes());
}

fn push_two(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

/// Appends a date given in days since 1970-01-01.
pub(crate) fn push_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = date_of_days(days);
    push_padded(out, year, 4);
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
}

/// Appends a time of day given in `unit` since midnight.
pub(crate) fn push_time(out: &mut Vec<u8>, value: i64, unit: TimeUnit) {
    let nanos = value.saturating_mul(nanos_per(unit));
    let seconds = nanos.div_euclid(NANOS_PER_SECOND);
    push_two(out, seconds / 3_600);
    out.push(b':');
    push_two(out, seconds / 60 % 60);
    out.push(b':');
    push_two(out, seconds % 60);
    let mut fraction = nanos.rem_euclid(NANOS_PER_SECOND);
    if fraction != 0 {
        let mut width = 9;
        while fraction % 10 == 0 {
            fraction /= 10;
            width -= 1;
        }
        out.push(b'.');
        push_padded(out, fraction, width);
    }
}

/// Appends a timestamp given in `unit` since 1970.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit, format: TimestampFormat, zoned: bool) {
    let per_day = SECONDS_PER_DAY * (NANOS_PER_SECOND / nanos_per(unit));
    push_date(out, value.div_euclid(per_day));
    out.push(format.separator());
    push_time(out, value.rem_euclid(per_day), unit);
    if zoned {
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_exact() {
        let micros = |text: &str, format, zoned| timestamp(text.as_bytes(), format, zoned, TimeUnit::Microsecond);
        let (sql, iso) = (TimestampFormat::Sql, TimestampFormat::Iso8601);
        assert_eq!(micros("1970-01-01 00:00:01.5", sql, false), Some(1_500_000));
        assert_eq!(micros("1969-12-31 23:59:59.999999999", sql, false), Some(-1));
        assert_eq!(micros("2000-02-29T00:00:00Z", iso, true), Some(951_782_400_000_000));
        for (text, format, zoned) in [
            ("2000-02-30 00:00:00", sql, false),
            ("1900-02-29 00:00:00", sql, false),
            ("2000-01-01T00:00:00", sql, false),
            ("2000-01-01 00:00:00Z", sql, false),
            ("2000-01-01 00:00:00", sql, true),
            ("2000-01-01 24:00:00", sql, false),
            ("2000-01-01 00:00:00.", sql, false),
            ("2000-01-01 00:00:00.1234567890", sql, false),
            ("2000-13-01T00:00:00", iso, false),
            ("2000-01-01", sql, false),
            ("", sql, false),
        ] {
            assert_eq!(micros(text, format, zoned), None, "{text}");
        }
    }

    #[test]
    fn rfc_3339_knows_offsets_and_leap_seconds() {
        let seconds = |text: &str| rfc3339(text.as_bytes(), TimeUnit::Second);
        assert_eq!(seconds("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(seconds("1969-12-31t23:00:00.5-01:00"), Some(0));
        assert_eq!(seconds("2016-12-31T23:59:60Z"), Some(1_483_228_800));
        assert_eq!(seconds("2017-01-01T00:59:60+01:00"), Some(1_483_228_800));
        for text in ["2016-12-31T23:58:60Z", "2025-01-15T10:30Z", "2025-01-15T10:30:00+25:00", "2025-01-15T10:30:00", "2025-01-15"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000, zoned: bool) {
            for format in [TimestampFormat::Sql, TimestampFormat::Iso8601] {
                let mut text = Vec::new();
                push_timestamp(&mut text, micros, TimeUnit::Microsecond, format, zoned);
                prop_assert_eq!(timestamp(&text, format, zoned, TimeUnit::Microsecond), Some(micros));
            }
        }
    }
}
