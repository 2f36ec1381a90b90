//! What the lowering asks of the world outside SQL: sources, sinks, live tables.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::connector::Sink;
use crate::connector::environment::Environment;
use crate::connector::registry;
use crate::connector::table::{ConfiguredSource, TableRequest};
use crate::error::Result;

/// The world outside. Nothing is touched: everything here describes.
pub trait Outside {
    /// The source of a table.
    fn source(&self, request: TableRequest<'_>) -> Result<ConfiguredSource>;

    /// The sink of a table.
    fn sink(&self, request: TableRequest<'_>) -> Result<Arc<dyn Sink>>;

    /// The sink of the dead letters that a table sends to `name`.
    fn dead_letters(&self, name: &str, request: TableRequest<'_>) -> Result<Arc<dyn Sink>>;

    /// The sink of a live table.
    fn live_table(&self, table: &LiveTable) -> Result<Arc<dyn Sink>>;
}

/// A live table to be written.
#[derive(Debug, Clone)]
pub struct LiveTable {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// PRIMARY KEY; empty = rows are appended.
    pub primary_key: Vec<String>,
    /// `'retention'`, in microseconds of event time; `None` = kept for ever.
    pub retention_micros: Option<i64>,
    /// The first column that is a time attribute: retention counts by it.
    pub time: Option<usize>,
}

/// Makes the sinks of live tables.
pub trait LiveTables {
    /// The sink of `table`.
    fn sink(&self, table: &LiveTable) -> Result<Arc<dyn Sink>>;
}

/// The connectors of the registry and the live tables of an engine.
pub struct Connected<'a> {
    /// What connectors may use.
    pub environment: &'a Environment,
    /// Where live tables are.
    pub live: &'a dyn LiveTables,
}

impl Outside for Connected<'_> {
    fn source(&self, request: TableRequest<'_>) -> Result<ConfiguredSource> {
        registry::source(request, self.environment)
    }

    fn sink(&self, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        registry::sink(request, self.environment)
    }

    fn dead_letters(&self, name: &str, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        registry::dead_letters(name, request, self.environment)
    }

    fn live_table(&self, table: &LiveTable) -> Result<Arc<dyn Sink>> {
        self.live.sink(table)
    }
}
