//! The doors that a running engine opens: PostgreSQL, HTTP, and the socket that the command line uses.
//!
//! ```text
//!  psql, notebooks ── pgwire.rs ┐
//!  curl, browsers ─── http.rs ──┼─ queries.rs ── live tables at one cut, system tables
//!  eagre sql ──────── socket/ ──┘
//! ```
//! Always holds: doors only read, but for rules where `http.write` allows it (`rules.rs`); each statement sees all tables at one cut; queries get a bounded share of memory and
//! time; nothing listens beyond this machine without a token or TLS. Read `queries.rs` first.

mod catalog_functions;
mod change_feed;
pub mod connection;
pub mod doors;
pub mod health;
pub mod http;
mod interrupt;
mod json;
pub mod listen;
pub mod pgwire;
pub mod queries;
pub mod rules;
pub mod socket;
mod tls_listener;

/// Tables that the tests of the doors read.
#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use crate::state::StateHandles;
    use crate::table::{TableSpec, TableWriter, Tables};

    /// Upsert table `orders(id, amount, placed)` with three rows.
    pub fn orders() -> (Tables, TableWriter) {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Utf8View, false),
            Field::new("amount", DataType::Int64, true),
            Field::new("placed", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]);
        let tables = Tables::default();
        let spec = TableSpec { primary_key: vec![0], time_column: Some(2), ..TableSpec::append("orders", Arc::new(schema)) };
        let mut writer = tables.create(spec).unwrap().writer(0, &mut StateHandles::empty(0, 1)).unwrap();
        write_orders(&mut writer, &[("o1", 10, 1), ("o2", 20, 2), ("o3", 30, 3)]);
        writer.cut(1).unwrap();
        tables.publish(1);
        (tables, writer)
    }

    /// Writes orders of (id, amount, second).
    pub fn write_orders(writer: &mut TableWriter, orders: &[(&str, i64, i64)]) {
        let batch = RecordBatch::try_new(
            writer.schema().clone(),
            vec![
                Arc::new(StringViewArray::from_iter_values(orders.iter().map(|o| o.0))),
                Arc::new(Int64Array::from_iter_values(orders.iter().map(|o| o.1))),
                Arc::new(TimestampMillisecondArray::from_iter_values(orders.iter().map(|o| o.2 * 1000))),
            ],
        );
        writer.write(&batch.unwrap()).unwrap();
    }
}
