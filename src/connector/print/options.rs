//! Options of `print`.

/// `'connector'='print'`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrintOptions {
    /// Stands before each row, as `identifier> `.
    #[serde(rename = "print-identifier", default)]
    pub identifier: String,
    /// Print to standard error instead.
    #[serde(rename = "standard-error", default)]
    pub standard_error: bool,
}
