//! The shared buffer: what runs have taken, as a tree in which runs that began alike share what they took.
//!
//! ```text
//!  a ◀── b1 ◀── b2 ◀── run 1        each node knows its parent; a run holds its last node
//!         ▲───────── run 2
//! ```
//! A path from a run to the root is unambiguous, so no versions are needed to tell runs apart.

use crate::operator::pattern::bind::Taken;
use crate::operator::pattern::kept_rows::{Handle, KeptRows};

/// Number of a node.
pub(super) type NodeId = u32;
/// Nothing taken yet.
pub(super) const ROOT: NodeId = NodeId::MAX;

/// An event taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    pub(super) event: Handle,
    /// Number of the event within its key.
    pub(super) number: u64,
    pub(super) label: u16,
    holders: u32,
}

/// The nodes of a rule.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
}

impl Buffer {
    /// Adds an event behind `parent`, which gets one more holder; the caller holds the new node, and the node the event.
    pub(super) fn add(&mut self, parent: NodeId, event: Handle, number: u64, label: u16) -> NodeId {
        self.hold(parent);
        let node = Node { parent, event, number, label, holders: 1 };
        match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as NodeId - 1
            }
        }
    }

    /// One more holder.
    pub(super) fn hold(&mut self, id: NodeId) {
        if id != ROOT {
            self.nodes[id as usize].holders += 1;
        }
    }

    /// One holder less: what nobody holds goes, and lets its event go.
    pub(super) fn release(&mut self, mut id: NodeId, kept: &mut KeptRows) {
        while id != ROOT {
            let node = &mut self.nodes[id as usize];
            node.holders -= 1;
            if node.holders > 0 {
                return;
            }
            let (parent, event) = (node.parent, node.event);
            self.free.push(id);
            kept.release(event);
            id = parent;
        }
    }

    /// A node.
    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// What was taken up to a node, first to last.
    pub(super) fn taken(&self, mut id: NodeId) -> Taken {
        let mut taken = Taken::new();
        while let Some(node) = self.get(id) {
            taken.push((node.label, node.event));
            id = node.parent;
        }
        taken.reverse();
        taken
    }

    /// The number of the first or last event of a label on the way to a node.
    pub(super) fn number_of(&self, mut id: NodeId, label: usize, last: bool) -> Option<u64> {
        let mut found = None;
        while let Some(node) = self.get(id) {
            if node.label as usize == label {
                found = Some(node.number);
                if last {
                    break;
                }
            }
            id = node.parent;
        }
        found
    }

    /// Number of nodes in use.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}
