//! Options of a table (`WITH (…)`) to the options struct of its connector.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::reading::Scanning;
use crate::error::{Error, Result};
use crate::options::Fault;

/// Reads `options` (without `connector` and `format`) into the options struct `T` of `connector`. An unknown option, a
/// missing one and an unknown choice are told with the nearest match.
pub fn parse<T: DeserializeOwned>(connector: &str, options: &BTreeMap<String, String>) -> Result<T> {
    crate::options::Given::without(options.clone(), Scanning::names()).rest().map_err(|fault| told(connector, &fault))
}

/// The parts of a list `a;b`.
pub fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|part| !part.is_empty())
}

/// The options of a table of which several structs each have a part.
pub struct Given {
    connector: &'static str,
    given: crate::options::Given,
}

impl Given {
    /// Those of a table of `connector`.
    pub fn new(connector: &'static str, options: BTreeMap<String, String>) -> Self {
        Given { connector, given: crate::options::Given::without(options, Scanning::names()) }
    }

    /// Takes those that `T` knows.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.given.take().map_err(|fault| told(self.connector, &fault))
    }

    /// Takes all that are left: see [`crate::options::Given::rest`].
    pub fn rest<T: DeserializeOwned>(self) -> Result<T> {
        self.given.rest().map_err(|fault| told(self.connector, &fault))
    }
}

fn told(connector: &str, fault: &Fault) -> Error {
    Error::input(format!("connector '{connector}': {}", fault.message))
}
