//! Amounts of memory as people write them: `64 mb`, `1 GiB`, `60 %`.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserializer, Visitor};

use crate::error::{Error, Result};

/// Names of units, as Flink has them, and how many bytes they are.
const UNITS: [(&[&str], u64); 5] = [
    (&["", "b", "byte", "bytes"], 1),
    (&["k", "kb", "kib", "kibibyte", "kibibytes"], 1 << 10),
    (&["m", "mb", "mib", "mebibyte", "mebibytes"], 1 << 20),
    (&["g", "gb", "gib", "gibibyte", "gibibytes"], 1 << 30),
    (&["t", "tb", "tib", "tebibyte", "tebibytes"], 1 << 40),
];

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the memory that this process may use.
    Percent(u64),
}

impl Size {
    /// Reads a size.
    pub fn parse(text: &str) -> Result<Self> {
        let fault = || Error::input(format!("'{text}' is not a size; expected one like '64 mb', '2 gb' or '60 %'"));
        let plain = text.trim();
        let digits = plain.find(|c: char| !c.is_ascii_digit()).unwrap_or(plain.len());
        let number: u64 = plain[..digits].parse().map_err(|_| fault())?;
        let unit = plain[digits..].trim().to_lowercase();
        if unit == "%" {
            return if number <= 100 { Ok(Size::Percent(number)) } else { Err(fault()) };
        }
        let (_, length) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())).ok_or_else(fault)?;
        number.checked_mul(*length).map(Size::Bytes).ok_or_else(fault)
    }

    /// In bytes, on this machine.
    pub fn bytes(self) -> u64 {
        match self {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => memory_bytes() / 100 * percent,
        }
    }
}

/// For `#[serde(deserialize_with = …)]`.
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    deserializer.deserialize_any(SizeVisitor)
}

/// Reads inside the visitor, so that a deserializer that knows the option's name can add it to the fault.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size like '64 mb'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text).map_err(|error| E::custom(error.message()))
    }
}

/// Memory that this process may use: the container's limit, or all of the machine.
fn memory_bytes() -> u64 {
    /// Where neither can be read.
    const FALLBACK: u64 = 4 << 30;
    let first_number = |path: &str, line: &str, unit: u64| {
        let text = std::fs::read_to_string(Path::new(path)).ok()?;
        let found = text.lines().find_map(|l| l.strip_prefix(line))?;
        found.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(unit)
    };
    let machine = first_number("/proc/meminfo", "MemTotal:", 1 << 10);
    let container = first_number("/sys/fs/cgroup/memory.max", "", 1);
    [machine, container].into_iter().flatten().min().unwrap_or(FALLBACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_flink_reads_them() {
        for (text, size) in
            [("64 mb", Size::Bytes(64 << 20)), ("1g", Size::Bytes(1 << 30)), ("12", Size::Bytes(12)), ("60 %", Size::Percent(60))]
        {
            assert_eq!(Size::parse(text).unwrap(), size, "{text}");
        }
        for text in ["", "mb", "1 zb", "101 %", "-1", "99999999999 tb"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        assert!(Size::Percent(60).bytes() > 0);
    }
}
