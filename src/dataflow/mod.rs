//! Motion: the dataflow graph, its tasks, channels, barriers and checkpoints.
//!
//! The only floor where connectors, formats and operators meet. Comes in: a [`graph::Graph`]. Goes out: a running
//! pipeline. Always holds: every channel is bounded; a barrier leaves a task after everything before it and before
//! everything after it, on every output. Read `graph.rs` first, then `task.rs`.

pub mod align;
pub mod build;
pub mod catch_up;
pub mod chain;
pub mod channel;
pub mod confirmed;
pub mod coordinator;
pub mod dead_letter;
pub mod discovery;
pub mod explain;
pub mod fingerprint;
pub mod graph;
pub mod layout;
pub mod live;
pub mod message;
pub mod parking;
pub mod pipeline;
pub mod replayed;
pub mod restored;
pub mod scan;
pub mod settings;
pub mod source_task;
pub mod state_limit;
pub mod table_mark;
pub mod task;
pub mod threads;

#[cfg(test)]
mod tests;
