//! Live tables made by the graph that writes them.

use std::sync::Arc;

use crate::connector::Sink;
use crate::dataflow::live::LiveSink;
use crate::error::{Error, Result, did_you_mean};
use crate::sql::lower::{LiveTable, LiveTables};
use crate::table::{TableSpec, Tables};

/// Registers live tables as they are lowered.
pub struct Registering<'a> {
    /// Where they go.
    pub tables: &'a Tables,
}

impl LiveTables for Registering<'_> {
    fn sink(&self, table: &LiveTable) -> Result<Arc<dyn Sink>> {
        let names = || table.schema.fields().iter().map(|f| f.name().as_str());
        let key = |name: &String| {
            names()
                .position(|n| n == name)
                .ok_or_else(|| Error::input(format!("live table '{}': no key column '{name}'{}", table.name, did_you_mean(name, names()))))
        };
        let spec = TableSpec {
            primary_key: table.primary_key.iter().map(key).collect::<Result<_>>()?,
            retention_micros: table.retention_micros,
            time_column: table.time,
            ..TableSpec::append(&table.name, table.schema.clone())
        };
        Ok(Arc::new(LiveSink::create(self.tables, spec)?))
    }
}
