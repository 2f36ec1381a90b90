//! Options of `feed`.

use serde::Deserialize;

/// `WITH ('connector' = 'feed', …)`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Number of partitions, each with its own order and watermark. Default 1.
    #[serde(default = "one")]
    pub partitions: u32,
}

fn one() -> u32 {
    1
}
