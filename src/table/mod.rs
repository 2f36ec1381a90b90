//! Live tables: results kept as Arrow, appended or upserted, queried while they change.
//!
//! ```text
//!  sink tasks ─ TableWriter ─▶ chunks ── cut ─▶ staged ── publish ─▶ Snapshot (all tables, one cut) ─▶ queries, feeds
//!                                └── checkpoint ─▶ blocks of state ── restart ─▶ the same rows
//! ```
//! Comes in: batches of sink tasks. Goes out: snapshots, change feeds, DataFusion tables. Always holds: a snapshot shows
//! all tables at the same cut and never changes; a reader never makes a writer wait; what is not in the blocks of a
//! checkpoint is not in the table after a restart. Read `registry.rs` first, then `part.rs`.

mod changes;
mod chunk;
mod part;
mod provider;
mod registry;
mod scan;
mod snapshot;
mod spec;
mod stored;
mod system;

pub use changes::{Change, Changes, Heard};
pub use chunk::{CHUNK_BYTES, CHUNK_ROWS, Chunk, ChunkView};
pub use provider::{LiveProvider, LiveSchema, at_one_cut};
pub use registry::{LiveTable, TableWriter, Tables};
pub use snapshot::{Snapshot, TableSnapshot};
pub use spec::TableSpec;
pub use system::{NodeInfo, SystemSchema};
