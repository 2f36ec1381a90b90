//! Sinks that become visible with one commit outside.
//!
//! ```text
//!  barrier N through everything ─▶ all writers prepared ─▶ group.prepare(N): rows and the marker N are outside, invisible
//!     ─▶ manifest N (says that it holds a transaction) ─▶ group.commit(N) ─▶ the other sinks commit, sources are told
//! ```
//! The outside world alone knows whether a commit has happened, and cannot be asked to repeat it: so a start asks it for
//! the newest committed epoch, and goes on from the checkpoint of that one. Who is not sure of a commit stops and goes
//! through the start ([`Kind::Restart`](crate::error::Kind::Restart)).

use std::time::Duration;

use crate::error::Result;

/// Sinks of a pipeline that share one transaction per checkpoint. All methods may wait for the outside; none is called
/// from a task.
pub trait TransactionGroup: Send + Sync + std::fmt::Debug {
    /// Under which the outside knows the pipeline; it is in the manifests.
    fn id(&self) -> String;

    /// Begins a run: fences earlier instances, settles what they left behind, and tells the newest epoch that was
    /// committed (`None` = none is known). A transaction takes no longer than about two of `checkpoint_interval`.
    fn begin(&self, checkpoint_interval: Duration) -> Result<Option<u64>>;

    /// All writers have prepared `epoch`: everything they wrote is made durable, with the epoch's marker, and stays
    /// invisible. `false` = nothing was written, there is no transaction.
    fn prepare(&self, epoch: u64) -> Result<bool>;

    /// Makes the transaction of `epoch` visible, if it has one. Rows of the next epoch may be written after it.
    fn commit(&self, epoch: u64) -> Result<()>;
}
