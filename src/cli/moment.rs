//! A moment as people type it.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use crate::error::{Error, Result};
use crate::time::parse_duration;

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl FromStr for Moment {
    type Err = Error;

    /// `2026-01-31T12:00:00Z`, `2026-01-31 12:00:00` (UTC), `2026-01-31`, or how long ago: `-1h`.
    fn from_str(text: &str) -> Result<Self> {
        let fault = || {
            Error::input(format!(
                "'{text}' is no moment; expected 2026-01-31T12:00:00Z, '2026-01-31 12:00:00' (UTC), 2026-01-31, or -1h for an hour ago"
            ))
        };
        let text = text.trim();
        if let Some(ago) = text.strip_prefix('-') {
            let ago = parse_duration(ago).map_err(|e| fault().because(e))?;
            return Ok(Moment(Utc::now().timestamp_micros().saturating_sub(ago)));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Moment(time.timestamp_micros()));
        }
        let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        let time = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0));
        time.or_else(date).map(|time| Moment(time.and_utc().timestamp_micros())).ok_or_else(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_people_type_them() {
        let read = |text: &str| text.parse::<Moment>().map(|moment| moment.0);
        let noon = 1_769_860_800_000_000;
        for text in
            ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31 12:00:00", "2026-01-31 12:00", "2026-01-31T12:00:00.000"]
        {
            assert_eq!(read(text).unwrap(), noon, "{text}");
        }
        assert_eq!(read("2026-01-31").unwrap(), noon - 12 * 3_600_000_000);
        let then = read("-1h").unwrap();
        let ago = Utc::now().timestamp_micros() - then;
        assert!((3_600_000_000..3_660_000_000).contains(&ago), "{ago}");
        for text in ["yesterday", "-1 parsec", "", "12:00"] {
            assert!(read(text).unwrap_err().to_string().contains("is no moment"), "{text}");
        }
    }
}
