//! Rules: files that say which patterns of events raise an alert.
//!
//! ```text
//!  rules/*.yaml ─ read.rs ─▶ rule as written (form.rs) ─ group.rs, compile.rs ─▶ plan of the pattern operator ─▶ alerts
//! ```
//! Comes in: the text of a file. Goes out: rules. Always holds: every fault of a file is told in one go, with line and
//! column; nothing outside is touched. Read `form.rs` first.

mod alert;
mod compile;
pub mod documents;
pub mod form;
pub mod group;
pub mod inline;
pub mod input;
pub mod pipelines;
pub mod read;
mod read_sequence;
mod read_tests;
pub mod runner;
mod syntax;
pub mod topic;

/// The JSON Schema of a rule file.
pub const SCHEMA: &str = include_str!("schema.json");
