//! Eagre: Flink SQL in one binary. Event topics in, windows, joins and patterns over event time, live Arrow tables and topics out.

pub mod cli;
pub mod connector;
pub mod dataflow;
pub mod engine;
pub mod error;
pub mod event;
pub mod format;
pub mod log;
pub mod metrics;
pub mod operator;
pub mod options;
pub mod project;
pub mod server;
pub mod sql;
pub mod state;
pub mod table;
pub mod time;
