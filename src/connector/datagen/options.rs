//! Options of `datagen`.

/// `'connector'='datagen'`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatagenOptions {
    /// Rows a second, by the clock; with `start-time`, of event time. Default 10000.
    #[serde(rename = "rows-per-second", default = "ten_thousand")]
    pub per_second: u64,
    /// Rows in all; without it (and without a sequence that ends) the table has no end.
    #[serde(rename = "number-of-rows")]
    pub rows: Option<u64>,
    /// Partitions that the rows are dealt to. Default 1.
    #[serde(default = "one")]
    pub partitions: u32,
    /// Another seed makes other rows. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// When the first row happens (`2024-01-01 00:00:00`, UTC). Then nothing waits for the clock, and each run makes
    /// the same rows. Without it, rows happen now.
    #[serde(rename = "start-time")]
    pub start_time: Option<String>,
}

fn ten_thousand() -> u64 {
    10_000
}

fn one() -> u32 {
    1
}

/// `'fields.<column>.…'`; fields of a ROW are reached by `fields.<column>.<field>.…`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldOptions {
    /// `random`, `sequence` (start, start + 1, … by row number) or `time` (when the row happens; in a BIGINT as
    /// milliseconds since 1970). Default `random`, for timestamps `time`.
    pub kind: Option<FieldKind>,
    /// Least random number.
    pub min: Option<f64>,
    /// Greatest random number.
    pub max: Option<f64>,
    /// Timestamps lie up to this long before the row happens (`5 s`).
    #[serde(rename = "max-past", default, deserialize_with = "crate::time::deserialize_some_micros")]
    pub max_past_micros: Option<i64>,
    /// Length of random text (hexadecimal digits) and of random bytes. Default 100.
    pub length: Option<usize>,
    /// Random text is of any length from 1 to `length`.
    #[serde(rename = "var-len", default)]
    pub var_len: bool,
    /// First number of a sequence. Default 0.
    pub start: Option<i64>,
    /// Last number of a sequence; the table ends with it.
    pub end: Option<i64>,
    /// Share of NULLs, 0 to 1.
    #[serde(rename = "null-rate", default)]
    pub null_rate: f64,
    /// Choices, with weights where they are not equal: `created*5|shipped*3|cancelled`.
    pub values: Option<String>,
    /// Text around a number: each `#` is one of its digits, `C-######`. The number is that of `kind`.
    pub pattern: Option<String>,
    /// How much random numbers prefer small ones: 0 = all alike, 0.7 = like customers of a shop, 1 and above = few for most.
    #[serde(default)]
    pub skew: f64,
}

/// How the values of a field come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Drawn.
    Random,
    /// By row number.
    Sequence,
    /// When the row happens.
    Time,
}
