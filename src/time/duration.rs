//! Durations as people write them: `10 s`, `5 min`, `100ms`, `1 h 30 min`.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

use crate::error::{Error, Result};

/// Names of units, as Flink has them, and their length in microseconds.
const UNITS: [(&[&str], i64); 7] = [
    (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 0),
    (&["us", "µs", "micro", "micros", "microsecond", "microseconds"], 1),
    (&["ms", "milli", "millis", "millisecond", "milliseconds"], 1_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000),
    (&["h", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
];

/// Reads a duration, in microseconds. A bare number is milliseconds, as in Flink; several parts add up.
pub fn parse_duration(text: &str) -> Result<i64> {
    let fault = || Error::input(format!("'{text}' is not a duration; expected one like '10 s', '5 min' or '100ms'"));
    let mut rest = text.trim();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase();
        rest = rest[letters..].trim_start();
        let micros = if unit.is_empty() {
            number.checked_mul(1_000)
        } else {
            let (_, length) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())).ok_or_else(fault)?;
            // Nanoseconds are finer than anything here: whole microseconds of them count.
            if *length == 0 { Some(number / 1_000) } else { number.checked_mul(*length) }
        };
        total = micros.and_then(|micros| total.checked_add(micros)).ok_or_else(fault)?;
    }
    Ok(total)
}

/// For `#[serde(deserialize_with = …)]`: text, or a bare number of milliseconds, to microseconds.
pub fn deserialize_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(Micros)
}

/// As [`deserialize_micros`], for an option that may be missing.
pub fn deserialize_some_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    deserialize_micros(deserializer).map(Some)
}

/// Reads inside the visitor, so that a deserializer that knows the option's name can add it to the fault.
struct Micros;

impl Visitor<'_> for Micros {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration like '10 s'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
        parse_duration(text).map_err(|error| E::custom(error.message()))
    }

    fn visit_u64<E: de::Error>(self, millis: u64) -> Result<i64, E> {
        self.visit_str(&millis.to_string())
    }
}

/// Microseconds, shown in the largest unit that divides them.
#[derive(Debug, Clone, Copy)]
pub struct Length(pub i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 6] =
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
        let (length, unit) =
            UNITS.into_iter().find(|(length, _)| self.0 % length == 0 && (self.0 != 0 || *length == 1_000_000)).unwrap_or((1, "us"));
        write!(f, "{} {unit}", self.0 / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_flink_reads_them() {
        for (text, micros) in
            [("10 s", 10_000_000), ("5 min", 300_000_000), ("100ms", 100_000), ("250", 250_000), ("1 h 30 m", 5_400_000_000)]
        {
            assert_eq!(parse_duration(text).unwrap(), micros, "{text}");
        }
        for text in ["", "s", "10 parsecs", "-1 s", "1.5 s", "99999999999 d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
