//! Steps in a row: negations become edges of their neighbours, positive steps states of their own.

use std::collections::BTreeMap;

use super::quantified::Place;
use super::{Action, AtomId, Edge, Formula, Kind, State, StateId};
use crate::operator::pattern::binding::Condition;
use crate::operator::pattern::sequence::{Body, Link, Step};

/// A step with the number of its first label.
pub(super) struct Numbered<'a> {
    pub(super) step: &'a Step,
    pub(super) label: u16,
    /// Of a group.
    pub(super) inner: Vec<Numbered<'a>>,
}

/// A negated step that guards others.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) when: Formula,
    /// The state that it leads to: its own, which tells guards of equal conditions apart.
    pub(super) dead: StateId,
}

/// The group that a step stands at the head of.
#[derive(Clone)]
pub(super) struct Head {
    /// How the group's head follows what is before it.
    pub(super) link: Link,
    /// Does a way lead past the group here? Then events are passed over in a state of its own, from which the very next
    /// step cannot be reached any more.
    pub(super) skippable: bool,
    pub(super) until: Option<Formula>,
    /// Limit to the event before.
    pub(super) gap: Option<i64>,
    /// Negations before the group: they guard up to the first event that it takes, whichever of its steps that is for.
    pub(super) guards: Vec<Guard>,
}

/// Makes an automaton.
pub(super) struct Maker {
    pub(super) states: Vec<State>,
    pub(super) atoms: Vec<Condition>,
    known: BTreeMap<String, AtomId>,
    /// Address of a negated step -> the state that it leads to.
    dead: BTreeMap<usize, StateId>,
    pub(super) gap: Option<i64>,
    labels: u16,
}

impl Maker {
    /// Nothing yet; `gap`: limit between any two neighbours.
    pub(super) fn new(gap: Option<i64>) -> Self {
        Maker { states: Vec::new(), atoms: Vec::new(), known: BTreeMap::new(), dead: BTreeMap::new(), gap, labels: 0 }
    }

    pub(super) fn number<'a>(&mut self, steps: &'a [Step]) -> Vec<Numbered<'a>> {
        steps
            .iter()
            .map(|step| {
                let label = self.labels;
                let inner = match &step.body {
                    Body::Group(steps) => self.number(steps),
                    Body::Event { .. } => {
                        self.labels += u16::from(!step.negated());
                        Vec::new()
                    }
                };
                Numbered { step, label, inner }
            })
            .collect()
    }

    pub(super) fn state(&mut self, kind: Kind) -> StateId {
        self.states.push(State { kind, edges: Vec::new(), idle: Vec::new(), patience: None, pending: None, atoms: Vec::new() });
        self.states.len() as StateId - 1
    }

    pub(super) fn edge(&mut self, from: StateId, action: Action, to: StateId, when: Formula) {
        self.states[from as usize].edges.push(Edge { action, to, when });
    }

    pub(super) fn atom(&mut self, condition: &Condition) -> AtomId {
        let next = self.atoms.len() as AtomId;
        let id = *self.known.entry(condition.identity()).or_insert(next);
        if id == next {
            self.atoms.push(condition.clone());
        }
        id
    }

    /// What an event must be for a step.
    pub(super) fn condition(&mut self, step: &Step) -> Formula {
        match &step.body {
            Body::Event { when: Some(when), .. } => Formula::Atom(self.atom(when)),
            _ => Formula::True,
        }
    }

    /// States for `steps`, leading to `sink`; returns the first. `head`: of the group they are in; `following`: the step after it.
    pub(super) fn sequence(&mut self, steps: &[Numbered<'_>], sink: StateId, head: Option<&Head>, following: Option<&Step>) -> StateId {
        let mut sink = sink;
        for at in (0..steps.len()).rev() {
            let step = steps[at].step;
            let following = steps.get(at + 1).map(|next| next.step).or(following);
            let guards = self.guards(&steps[..at], head);
            match step.link {
                Link::Not => {
                    // Between positive steps it is part of the edges of its neighbours.
                    if self.states[sink as usize].kind == Kind::Done {
                        let pending = self.state(Kind::Pending(step.absent_for));
                        let own = self.guard(step);
                        self.edge(pending, Action::Ignore, pending, own.when.clone().not());
                        for guard in guards.iter().chain([&own]) {
                            self.stop(pending, guard);
                        }
                        sink = pending;
                    }
                }
                Link::NotNext => {
                    let own = self.guard(step);
                    let state = self.state(Kind::Open);
                    let done = self.states[sink as usize].kind == Kind::Done;
                    let action = if done { Action::Ignore } else { Action::Proceed };
                    self.edge(state, action, sink, own.when.clone().not());
                    self.stop(state, &own);
                    sink = state;
                }
                Link::Next | Link::Then | Link::Any => {
                    let place = Place { head: head.filter(|_| at == 0), group: head, guards: &guards, following };
                    sink = self.positive(&steps[at], sink, &place);
                }
            }
        }
        sink
    }

    /// The negations that guard a step: those before it, back to a step that cannot be left out, which may be outside its group.
    fn guards(&mut self, before: &[Numbered<'_>], head: Option<&Head>) -> Vec<Guard> {
        let mut guards = Vec::new();
        for numbered in before.iter().rev() {
            let step = numbered.step;
            match step.link {
                Link::Not => guards.push(self.guard(step)),
                _ if step.optional || step.times.from == 0 => {}
                _ => return guards,
            }
        }
        guards.extend(head.into_iter().flat_map(|head| head.guards.iter().cloned()));
        guards
    }

    pub(super) fn guard(&mut self, step: &Step) -> Guard {
        let when = self.condition(step);
        let address = std::ptr::from_ref(step).addr();
        let dead = match self.dead.get(&address) {
            Some(dead) => *dead,
            None => {
                let dead = self.state(Kind::Dead);
                self.dead.insert(address, dead);
                dead
            }
        };
        Guard { when, dead }
    }

    /// From `state`, an event that the guard forbids kills the run.
    pub(super) fn stop(&mut self, state: StateId, guard: &Guard) {
        self.edge(state, Action::Proceed, guard.dead, guard.when.clone());
    }

    /// A copy of `sink` without the guards' stops: once an element was taken they guard no more.
    pub(super) fn unguarded(&mut self, sink: StateId, guards: &[Guard]) -> StateId {
        self.unguarded_seen(sink, guards, &mut BTreeMap::new())
    }

    fn unguarded_seen(&mut self, sink: StateId, guards: &[Guard], copies: &mut BTreeMap<StateId, StateId>) -> StateId {
        // A state without edges is the end, or the way back to the head of a group that is still being made.
        if guards.is_empty() || self.states[sink as usize].edges.is_empty() {
            return sink;
        }
        if let Some(copy) = copies.get(&sink) {
            return *copy;
        }
        let copy = self.state(self.states[sink as usize].kind);
        copies.insert(sink, copy);
        for edge in self.states[sink as usize].edges.clone() {
            let stops = self.states[edge.to as usize].kind == Kind::Dead;
            let to = match edge.action {
                Action::Proceed if stops && guards.iter().any(|guard| guard.dead == edge.to) => continue,
                _ if edge.to == sink => copy,
                // Where events are passed over, the guards have nothing to say either.
                Action::Proceed | Action::Ignore if !stops => self.unguarded_seen(edge.to, guards, copies),
                _ => edge.to,
            };
            self.edge(copy, edge.action, to, edge.when);
        }
        copy
    }

    pub(super) fn copy(&mut self, state: StateId) -> StateId {
        let copied = self.states[state as usize].clone();
        self.states.push(copied);
        let copy = self.states.len() as StateId - 1;
        for edge in &mut self.states[copy as usize].edges {
            if edge.to == state {
                edge.to = copy;
            }
        }
        copy
    }
}
