//! Parts of an operator that are new in a run and begin with the past: what the inputs have brought before the checkpoint
//! that the run goes on from.
//!
//! ```text
//!  history of the inputs ─▶ operator of the new parts alone ─▶ its state ─┐
//!                                     state in the checkpoint ────────────┴─ merge ─▶ state that the run goes on with
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::operator::OperatorSpec;
use crate::state::Block;

/// State tables of an operator, by name.
pub type StateTables = BTreeMap<String, Vec<Block>>;

/// How the new parts of an operator catch up.
pub trait CatchUp: Send + Sync {
    /// Their names, for people.
    fn names(&self) -> &[String];

    /// The new parts as an operator of their own. It is given everything that the inputs have brought up to the checkpoint,
    /// then its state is taken; nobody sees what it emits.
    fn over_history(&self) -> Arc<dyn OperatorSpec>;

    /// The state to go on with: that of the checkpoint and that of [`CatchUp::over_history`] together.
    fn merge(&self, state: StateTables, history: StateTables) -> Result<StateTables>;
}
