//! Meaning: Flink SQL text to a dataflow graph.
//!
//! ```text
//!  text ─ statement.rs ─▶ Statement ─ catalog.rs ─▶ tables, views ─ plan.rs ─▶ LogicalPlan (own nodes) ─ lower/ ─▶ Graph
//! ```
//! Always holds: what is not understood is refused by name with its place, never skipped. Read `statement.rs` first.

pub mod catalog;
pub mod declared;
pub mod window_node;
