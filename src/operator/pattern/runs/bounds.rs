//! What a rule may keep: open runs of a key, bytes of all its runs.

use super::{Run, Runs};
use crate::error::Result;
use crate::operator::pattern::executor::{Executor as _, Overflowed, Shared};
use crate::operator::pattern::spec::Overflow;

impl Runs {
    /// Keeps the runs of a key, and the bytes of the rule, within their bounds.
    pub(super) fn bound_runs(&mut self, slot: u32, runs: &mut Vec<Run>, shared: &mut Shared<'_>) {
        let mut most = self.bounds.max_runs;
        if let Some(max_bytes) = self.bounds.max_bytes
            && self.bytes() > max_bytes
        {
            // Half of the key's runs go: it is the one that grows.
            most = most.min(runs.len() / 2);
        }
        let Some(dropped) = runs.len().checked_sub(most).filter(|dropped| *dropped > 0) else { return };
        let gone = match self.bounds.overflow {
            Overflow::DropOldest => runs.drain(..dropped),
            Overflow::DropNewest => runs.drain(most..),
            Overflow::FailRule => {
                self.failed = true;
                runs.drain(..)
            }
        };
        gone.for_each(|run| self.buffer.release(run.node, shared.kept));
        shared.overflowed.push(Overflowed { rule: self.rule, slot, dropped: dropped as u64 });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, shared: &mut Shared<'_>) -> Result<()> {
        for (slot, key) in self.keys.take_all() {
            key.runs.iter().for_each(|run| self.buffer.release(run.node, shared.kept));
            shared.release(slot);
        }
        self.open = 0;
        Ok(())
    }
}
