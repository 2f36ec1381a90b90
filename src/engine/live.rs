//! Live tables made by the graph that writes them.

use std::sync::Arc;

use arrow::datatypes::DataType;

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
            time_column: table.time.or_else(|| bound_of_windows(table)),
            ..TableSpec::append(&table.name, table.schema.clone())
        };
        Ok(Arc::new(LiveSink::create(self.tables, spec)?))
    }
}

/// The column that says the event time of rows which carry no time attribute any more: a bound of their window, or the
/// only timestamp that they have.
fn bound_of_windows(table: &LiveTable) -> Option<usize> {
    let stamps = || table.schema.fields().iter().enumerate().filter(|(_, f)| matches!(f.data_type(), DataType::Timestamp(_, _)));
    let named = |name: &str| stamps().find(|(_, f)| f.name() == name).map(|(place, _)| place);
    let only = || stamps().next().filter(|_| stamps().count() == 1).map(|(place, _)| place);
    ["window_time", "window_end", "window_start"].into_iter().find_map(named).or_else(only)
}
