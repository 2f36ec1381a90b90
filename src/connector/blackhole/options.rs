//! Options of `blackhole`.

/// There are none.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlackholeOptions {}
