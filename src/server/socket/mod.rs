//! The socket of a running engine, `.eagre/eagre.sock`: what the command line talks to while the engine owns the data directory.
//!
//! ```text
//!  eagre sql ── Request ─▶ engine:  rows, rows, end of statement, …, done     (or a fault at any point)
//!            ── cancel  ─▶
//! ```
//! Only the user that runs the engine can connect (mode 0600). Read `frame.rs` first.

mod claim;
mod client;
mod engine;
mod frame;

pub use claim::{Claim, SOCKET};
pub use client::{Answer, Canceller, Client};
pub use engine::{Calls, serve};
pub use frame::{Request, StatementEnd};
