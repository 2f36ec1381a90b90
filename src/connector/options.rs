//! Options of a table (`WITH (…)`) to the options struct of its connector.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads `options` (without `connector` and `format`) into the options struct `T` of `connector`. An unknown option, a
/// missing one and an unknown choice are told with the nearest match.
pub fn parse<T: DeserializeOwned>(connector: &str, options: &BTreeMap<String, String>) -> Result<T> {
    crate::options::parse(options).map_err(|fault| Error::input(format!("connector '{connector}': {}", fault.message)))
}
