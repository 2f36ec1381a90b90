//! Meaning: Flink SQL text to a dataflow graph.
//!
//! ```text
//!  text ─ statement.rs ─▶ Statement ─ catalog.rs ─▶ tables, views ─ plan.rs ─▶ LogicalPlan (own nodes) ─ lower/ ─▶ Graph
//! ```
//! Always holds: what is not understood is refused by name with its place, never skipped. Read `statement.rs` first.

mod approximate;
pub mod bounded;
pub mod catalog;
mod ddl;
pub mod declared;
pub mod dialect;
pub mod expression;
mod flink_types;
mod forms;
pub mod functions;
mod insert;
mod lateral_unnest;
pub mod lower;
pub mod origin;
mod parse;
pub mod pattern_node;
mod place;
pub mod plan;
pub mod recognize;
mod relation;
mod resolve;
mod row_star;
mod scope;
pub mod statement;
#[cfg(test)]
mod tests;
pub mod types;
pub mod window_node;
