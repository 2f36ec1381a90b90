//! The runs of a key as numbers, for checkpoints.

use hashbrown::HashMap;

use super::{KeyRuns, NEVER, Run, Runs};
use crate::error::{Error, Result};
use crate::operator::pattern::automaton::StateId;
use crate::operator::pattern::buffer::{NodeId, ROOT};
use crate::operator::pattern::executor::{Loaded, Saved, Shared};

/// Version of the saved form.
const VERSION: i64 = 1;

impl Runs {
    /// Version, absences, nodes (parents before children), runs.
    pub(super) fn write(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(key) = self.keys.get(slot) else { return };
        to.word(VERSION);
        to.word(key.absent.len() as i64);
        key.absent.iter().for_each(|last| to.word(*last));
        let mut numbers: HashMap<NodeId, i64> = HashMap::new();
        let mut order: Vec<NodeId> = Vec::new();
        for run in &key.runs {
            let mut path = Vec::new();
            let mut id = run.node;
            while let Some(node) = self.buffer.get(id)
                && !numbers.contains_key(&id)
            {
                path.push(id);
                id = node.parent;
            }
            for id in path.into_iter().rev() {
                numbers.insert(id, order.len() as i64);
                order.push(id);
            }
        }
        to.word(order.len() as i64);
        for node in order.iter().filter_map(|id| self.buffer.get(*id)) {
            to.word(numbers.get(&node.parent).copied().unwrap_or(-1));
            to.event(node.event);
            to.word(node.number as i64);
            to.word(i64::from(node.label));
        }
        to.word(key.runs.len() as i64);
        for run in &key.runs {
            to.word(i64::from(run.state));
            to.word(numbers.get(&run.node).copied().unwrap_or(-1));
            [run.begun, run.last, run.start as i64, run.seen as i64].into_iter().for_each(|word| to.word(word));
        }
    }

    /// The same, read.
    pub(super) fn read(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of rule '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let absent = (0..from.count()?).map(|_| from.word()).collect::<Result<Vec<_>>>()?;
        let mut nodes: Vec<NodeId> = Vec::new();
        let at = |nodes: &[NodeId], number: i64| usize::try_from(number).ok().and_then(|number| nodes.get(number).copied()).unwrap_or(ROOT);
        for _ in 0..from.count()? {
            let parent = at(&nodes, from.word()?);
            let event = from.event()?;
            shared.kept.hold(event);
            let (number, label) = (from.number()?, from.count()? as u16);
            nodes.push(self.buffer.add(parent, event, number, label));
        }
        let mut runs = Vec::new();
        for _ in 0..from.count()? {
            let state = from.count()? as StateId;
            if state as usize >= self.automaton.states.len() {
                return Err(Error::corrupt(format!("a run of rule '{}' is in state {state}, which there is not", self.name)));
            }
            let node = at(&nodes, from.word()?);
            self.buffer.hold(node);
            let (begun, last) = (from.word()?, from.word()?);
            runs.push(Run { state, node, begun, last, start: from.number()?, seen: from.number()? });
        }
        nodes.into_iter().for_each(|node| self.buffer.release(node, shared.kept));
        self.open += runs.len();
        shared.hold(slot);
        let place = self.keys.insert(slot, KeyRuns { runs, absent, timer: NEVER });
        self.set_timer(slot, place, shared);
        Ok(())
    }
}
