//! Java's date patterns (`yyyy-MM-dd HH:mm:ss.SSS`), as Flink's DATE_FORMAT, TO_TIMESTAMP and their kin take them.
//!
//! | letter | |
//! |---|---|
//! | `y` `u` | year; `yy` its last two digits |
//! | `M` `L` | month; `MMM` `Jan`, `MMMM` `January` |
//! | `d` `D` `E` | day of month, day of year, name of the day (`EEEE` in full) |
//! | `Q` `G` | quarter (`QQQ` `Q1`, `QQQQ` `1st quarter`), era |
//! | `Y` `w` `W` `e` `c` | year, week of the year and of the month, day of the week: weeks begin on Sunday, the first holds the first day |
//! | `H` `k` `h` `K` `a` | hour 0-23, 1-24, 1-12, 0-11, `AM` or `PM` |
//! | `m` `s` `S` | minute, second, digits of the second's fraction |
//! | `n` `N` `A` | nanosecond of the second, of the day, millisecond of the day |
//! | `'text'` `''` | text as it is, a quote |
//!
//! Weeks, quarters, eras and what counts from the day's begin are written only: a text with them is not read as a time.

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter and how often it stands there.
    Field(char, usize),
}

/// Letters that are read and written.
const READ: &str = "yuMLdDEHkhKamsS";
/// Letters that are only written.
const WRITTEN: &str = "QGYwWecnNA";

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Reads a pattern; `Err` names the letter that means nothing here.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    let mut quoted = String::new();
                    if chars.peek() == Some(&'\'') {
                        chars.next();
                        quoted.push('\'');
                    } else {
                        loop {
                            match chars.next() {
                                Some('\'') if chars.peek() == Some(&'\'') => {
                                    chars.next();
                                    quoted.push('\'');
                                }
                                Some('\'') => break,
                                Some(c) => quoted.push(c),
                                None => return Err(format!("pattern '{text}': a quote is not closed")),
                            }
                        }
                    }
                    push_text(&mut parts, &quoted);
                }
                c if READ.contains(c) || WRITTEN.contains(c) => {
                    let mut count = 1;
                    while chars.peek() == Some(&c) {
                        chars.next();
                        count += 1;
                    }
                    parts.push(Part::Field(c, count));
                }
                c if c.is_ascii_alphabetic() => return Err(format!("pattern '{text}': the letter '{c}' is not supported")),
                c => push_text(&mut parts, c.encode_utf8(&mut [0; 4])),
            }
        }
        Ok(Pattern(parts))
    }

    /// Writes `time` behind `out`.
    pub fn format(&self, time: NaiveDateTime, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(letter, count) => write_field(*letter, *count, time, out),
            }
        }
    }

    /// Reads a time; `None` when `text` does not fit. Fields that the pattern lacks are those of 1970-01-01 00:00:00.
    pub fn parse(&self, text: &str) -> Option<NaiveDateTime> {
        let mut read = Fields::default();
        let mut rest = text;
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(wanted) => rest = rest.strip_prefix(wanted.as_str())?,
                Part::Field(letter, count) => {
                    // Digits that touch are told apart by the number of letters only.
                    let touches = matches!(self.0.get(at + 1), Some(Part::Field(next, n)) if is_number(*next, *n));
                    rest = read.take(*letter, *count, touches, rest)?;
                }
            }
        }
        if rest.is_empty() { read.time() } else { None }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn is_number(letter: char, count: usize) -> bool {
    match letter {
        'M' | 'L' => count <= 2,
        'E' | 'a' => false,
        _ => true,
    }
}

fn write_field(letter: char, count: usize, time: NaiveDateTime, out: &mut String) {
    use std::fmt::Write as _;
    let number = match letter {
        'y' | 'u' if count == 2 => time.year().rem_euclid(100),
        'y' | 'u' => time.year(),
        'M' | 'L' if count >= 3 => {
            let name = MONTHS[time.month0() as usize];
            out.push_str(named(name, count));
            return;
        }
        'M' | 'L' => time.month() as i32,
        'd' => time.day() as i32,
        'D' => time.ordinal() as i32,
        'E' => {
            let name = DAYS[time.weekday().num_days_from_monday() as usize];
            out.push_str(named(name, count));
            return;
        }
        'a' => {
            out.push_str(if time.hour() < 12 { "AM" } else { "PM" });
            return;
        }
        'Q' if count >= 3 => {
            const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
            let quarter = time.month0() as usize / 3;
            // Writing to a text cannot fail.
            _ = match count {
                3 => write!(out, "Q{}", quarter + 1),
                4 => write!(out, "{}", QUARTERS[quarter]),
                _ => write!(out, "{}", quarter + 1),
            };
            return;
        }
        'Q' => time.month0() as i32 / 3 + 1,
        'G' => {
            out.push_str(match (time.year() > 0, count) {
                (true, 4) => "Anno Domini",
                (true, 5) => "A",
                (true, _) => "AD",
                (false, 4) => "Before Christ",
                (false, 5) => "B",
                (false, _) => "BC",
            });
            return;
        }
        'Y' if count == 2 => week_of_year(time).0.rem_euclid(100),
        'Y' => week_of_year(time).0,
        'w' => week_of_year(time).1,
        'W' => (time.day0() + time.with_day(1).map_or(0, |t| t.weekday().num_days_from_sunday())) as i32 / 7 + 1,
        'e' | 'c' if count >= 3 => {
            out.push_str(named(DAYS[time.weekday().num_days_from_monday() as usize], count));
            return;
        }
        'e' | 'c' => time.weekday().num_days_from_sunday() as i32 + 1,
        'n' | 'N' | 'A' => {
            let nanos = i64::from(time.nanosecond());
            let of_day = i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + nanos;
            let number = match letter {
                'n' => nanos,
                'N' => of_day,
                _ => of_day / 1_000_000,
            };
            // Writing to a text cannot fail.
            _ = write!(out, "{number:0count$}");
            return;
        }
        'H' => time.hour() as i32,
        'k' => (time.hour() as i32 + 23) % 24 + 1,
        'h' => (time.hour() as i32 + 11) % 12 + 1,
        'K' => time.hour() as i32 % 12,
        'm' => time.minute() as i32,
        's' => time.second() as i32,
        _ => {
            let nanos = format!("{:09}", time.nanosecond());
            out.extend(nanos.chars().chain(std::iter::repeat('0')).take(count));
            return;
        }
    };
    // Writing to a text cannot fail.
    _ = write!(out, "{number:0count$}");
}

/// The name of a day or a month: three letters, all, or one where the letter stands five times.
fn named(name: &str, count: usize) -> &str {
    match count {
        5 => &name[..1],
        4 => name,
        _ => &name[..3],
    }
}

/// The year that the week of `time` counts to, and its number there.
fn week_of_year(time: NaiveDateTime) -> (i32, i32) {
    let days_left = 6 - i64::from(time.weekday().num_days_from_sunday());
    let saturday = time.checked_add_signed(TimeDelta::days(days_left)).unwrap_or(time);
    if saturday.year() > time.year() {
        return (saturday.year(), 1);
    }
    let first = time.with_ordinal(1).map_or(0, |t| t.weekday().num_days_from_sunday());
    (time.year(), (time.ordinal0() + first) as i32 / 7 + 1)
}

#[derive(Debug, Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: u32,
    half_day_hour: Option<u32>,
    afternoon: bool,
    minute: u32,
    second: u32,
    nanos: u32,
}

impl Fields {
    /// Reads one field from the beginning of `text` and returns what follows.
    fn take<'t>(&mut self, letter: char, count: usize, touches: bool, text: &'t str) -> Option<&'t str> {
        match letter {
            _ if WRITTEN.contains(letter) => return None,
            'M' | 'L' if count >= 3 => {
                let (at, rest) = take_name(text, &MONTHS)?;
                self.month = Some(at as u32 + 1);
                return Some(rest);
            }
            'E' => return take_name(text, &DAYS).map(|(_, rest)| rest),
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = half.eq_ignore_ascii_case("PM");
                return (self.afternoon || half.eq_ignore_ascii_case("AM")).then(|| &text[2..]);
            }
            _ => {}
        }
        let most = match letter {
            _ if touches || letter == 'S' => count,
            'y' | 'u' => count.max(9),
            'D' => 3,
            _ => count.max(2),
        };
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        // Java is strict about leading zeros: `MM` needs two digits.
        if digits < count.min(most) || digits == 0 {
            return None;
        }
        let (digits, rest) = text.split_at(digits);
        let number: u32 = digits.parse().ok()?;
        match letter {
            'y' | 'u' if count == 2 => self.year = Some(2000 + number as i32),
            'y' | 'u' => self.year = Some(i32::try_from(number).ok()?),
            'M' | 'L' => self.month = Some(number),
            'd' => self.day = Some(number),
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = number,
            'k' => self.hour = number % 24,
            'h' => self.half_day_hour = Some(number % 12),
            'K' => self.half_day_hour = Some(number),
            'm' => self.minute = number,
            's' => self.second = number,
            _ => self.nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?,
        }
        Some(rest)
    }

    fn time(&self) -> Option<NaiveDateTime> {
        let year = self.year.unwrap_or(1970);
        let date = match self.day_of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = self.half_day_hour.map_or(self.hour, |h| h + if self.afternoon { 12 } else { 0 });
        date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)
    }
}

fn take_name<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    let starts = |name: &str| text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
    let full = names.iter().position(|name| starts(name)).map(|at| (at, names[at].len()));
    let (at, len) = full.or_else(|| names.iter().position(|name| starts(&name[..3])).map(|at| (at, 3)))?;
    Some((at, &text[len..]))
}

/// `2020-01-01`, `2020-01-01 00:00:00`, `2020-01-01 00:00:00.123456`; a `T` between and a `Z` behind are let pass.
pub(super) fn parse_default(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim().trim_end_matches('Z');
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date = parse_date(date)?;
    let Some(time) = time else { return date.and_hms_opt(0, 0, 0) };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.split(':').map(|p| if (1..=2).contains(&p.len()) { p.parse::<u32>().ok() } else { None });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().map_or(Some(0), |s| s)?;
    if parts.next().is_some() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    date.and_hms_nano_opt(hour, minute, second, nanos)
}

/// A date alone: what follows a blank is passed over, a month or a day that is left out is the first.
pub(super) fn parse_date_alone(text: &str) -> Option<NaiveDate> {
    let date = match text.split_once(' ') {
        Some((date, _)) if !date.is_empty() => date,
        _ => text.trim(),
    };
    match date.matches('-').count() {
        0 if date.len() == 4 => parse_date(&format!("{date}-1-1")),
        1 => parse_date(&format!("{date}-1")),
        _ => parse_date(date),
    }
}

/// `2020-01-01`.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |t: &str, most: usize| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(pattern: &str, text: &str) -> String {
        let mut out = String::new();
        Pattern::new(pattern).unwrap().format(parse_default(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn times_are_written_as_java_writes_them() {
        let at = "2020-02-05 15:04:09.0678";
        for (pattern, wanted) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2020-02-05 15:04:09.067"),
            ("d.M.yy, h:mm a", "5.2.20, 3:04 PM"),
            ("EEE, MMM dd yyyy 'at' HH''", "Wed, Feb 05 2020 at 15'"),
            ("EEEE MMMM D", "Wednesday February 36"),
            ("kk KK SSSSSS", "15 03 067800"),
            ("YYYY-ww W e Q QQQQ G", "2020-06 2 4 1 1st quarter AD"),
            ("EEEEE MMMMM n A", "W F 67800000 54249067"),
        ] {
            assert_eq!(format(pattern, at), wanted, "{pattern}");
        }
        assert!(Pattern::new("yyyy V").is_err());
        assert!(Pattern::new("'open").is_err());
    }

    #[test]
    fn times_are_read_strictly() {
        let read = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().parse(text).map(|t| t.to_string());
        assert_eq!(read("yyyyMMddHHmm", "202002051504").as_deref(), Some("2020-02-05 15:04:00"));
        assert_eq!(read("dd MMM yyyy hh:mm a", "05 feb 2020 12:30 AM").as_deref(), Some("2020-02-05 00:30:00"));
        assert_eq!(read("MM/dd/yyyy", "2/5/2020"), None, "MM wants two digits");
        assert_eq!(read("M/d/yyyy", "2/15/2020").as_deref(), Some("2020-02-15 00:00:00"));
        assert_eq!(read("yyyy-MM-dd", "2020-02-30"), None);
        assert_eq!(parse_default("2020-1-2 3:04").map(|t| t.to_string()).as_deref(), Some("2020-01-02 03:04:00"));
        assert_eq!(parse_default("yesterday"), None);
    }
}
