//! Keyed state as Arrow tables behind handles, and the files of a checkpoint.
//!
//! Comes in: blocks of rows from operators. Goes out: the same blocks after a restart, at any parallelism.
//! Always holds: a block is immutable once pushed, so a checkpoint writes each block once; what an operator does not
//! put into a [`BlockTable`] does not survive. Read `blocks.rs` first.

pub mod blocks;
pub mod checkpoint;
pub mod manifest;
pub mod shard;
pub mod store;

pub use blocks::{Block, BlockId, BlockTable, StateHandles};
pub use checkpoint::{Checkpoints, Listed};
pub use manifest::Manifest;
pub use shard::{SHARDS, Sharder};
pub use store::Store;
