//! A sequence as an automaton: states whose edges take an event, pass it over, or lead on without an event.
//!
//! ```text
//!  a then b+ then c:   (a) ──take──▶ (b) ──take──▶ (b…) ──proceed──▶ (c) ──take──▶ ((done))
//!                                    ignore ¬b      │ take b           ignore ¬c
//!                                                   └─ignore ¬b─▶ (b… waiting) ──take b──▶ (b…)
//! ```
//! One event moves a run along all edges that the states reached by `proceed` offer: two edges, two runs. The states are
//! made from the last step to the first, as Flink's CEP does, whose answers are the measure of the meaning: see `maker.rs` for
//! steps in a row, `quantified.rs` for one step.

mod maker;
mod quantified;

use self::maker::Maker;
use crate::error::Result;
use crate::operator::pattern::binding::Condition;
use crate::operator::pattern::sequence::{Sequence, check_sequence};

/// Number of a state.
pub(super) type StateId = u32;
/// Number of an atom: one condition of a step.
pub(super) type AtomId = u16;

/// A boolean combination of atoms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Formula {
    True,
    Atom(AtomId),
    Not(Box<Formula>),
    And(Vec<Formula>),
}

/// What an edge does with the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It becomes part of the run, under this label, if it is less than this after the event taken before.
    Take(u16, Option<i64>),
    /// It is passed over.
    Ignore,
    /// The target's edges count as one's own.
    Proceed,
}

/// An edge.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) action: Action,
    pub(super) to: StateId,
    pub(super) when: Formula,
}

/// What reaching a state means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The run is open.
    Open,
    /// It is a match.
    Done,
    /// It is dead, and so is everything that the same event made of it.
    Dead,
    /// It is a match when the time has passed: after the whole sequence's time, or this long after the last event.
    Pending(Option<i64>),
}

/// A state.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) edges: Vec<Edge>,
    /// Where an event for which no atom holds leads.
    pub(super) idle: Vec<StateId>,
    /// If every way on has such a limit: how long after its last event the run is over, microseconds.
    pub(super) patience: Option<i64>,
    /// If time runs out here, is that a match? (the state is pending, or leads to a pending one without an event)
    pub(super) pending: Option<Option<i64>>,
    /// Atoms that the edges reachable from here read.
    pub(super) atoms: Vec<AtomId>,
}

/// A compiled sequence.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) states: Vec<State>,
    pub(super) start: StateId,
    /// The conditions; an absent condition is no atom.
    pub(super) atoms: Vec<Condition>,
    /// What must have been absent before a start, and for how long.
    pub(super) before: Vec<(Formula, i64)>,
    /// Ends every run that does not take the event.
    pub(super) until: Option<AtomId>,
    /// Must every event of the key be looked at, because one for which no atom holds may complete a match?
    pub(super) sees_all: bool,
    /// Does some state change on an event for which no atom holds?
    pub(super) restless: bool,
}

impl Formula {
    /// Its value, given the atoms'.
    pub(super) fn holds(&self, atom: &impl Fn(AtomId) -> bool) -> bool {
        match self {
            Formula::True => true,
            Formula::Atom(id) => atom(*id),
            Formula::Not(inner) => !inner.holds(atom),
            Formula::And(parts) => parts.iter().all(|part| part.holds(atom)),
        }
    }

    fn not(self) -> Formula {
        Formula::Not(Box::new(self))
    }

    fn and(self, other: Formula) -> Formula {
        match (self, other) {
            (Formula::True, other) | (other, Formula::True) => other,
            (Formula::And(mut parts), other) => {
                parts.push(other);
                Formula::And(parts)
            }
            (first, other) => Formula::And(vec![first, other]),
        }
    }

    fn unless(self, until: Option<&Formula>) -> Formula {
        until.map_or(self.clone(), |until| self.and(until.clone().not()))
    }

    fn atoms(&self, found: &mut Vec<AtomId>) {
        match self {
            Formula::True => {}
            Formula::Atom(id) => found.push(*id),
            Formula::Not(inner) => inner.atoms(found),
            Formula::And(parts) => parts.iter().for_each(|part| part.atoms(found)),
        }
    }
}

impl Automaton {
    /// Compiles a sequence.
    pub(super) fn new(sequence: &Sequence) -> Result<Self> {
        check_sequence(sequence)?;
        let mut maker = Maker::new(sequence.gap);
        let negated = sequence.steps.iter().take_while(|step| step.negated()).count();
        let mut before = Vec::new();
        for step in &sequence.steps[..negated] {
            before.push((maker.condition(step), step.absent_for.unwrap_or_default()));
        }
        let steps = maker.number(&sequence.steps[negated..]);
        let done = maker.state(Kind::Done);
        let start = maker.sequence(&steps, done, None, None);
        let until = sequence.until.as_ref().map(|until| maker.atom(until));
        let Maker { states, atoms, .. } = maker;
        let mut automaton = Automaton { states, start, atoms, before, until, sees_all: false, restless: false };
        automaton.finish();
        Ok(automaton)
    }

    /// The edges that an event may take from `state`, in order of preference.
    pub(super) fn moves(&self, state: StateId, atom: &impl Fn(AtomId) -> bool, found: &mut Vec<(Action, StateId)>) {
        found.clear();
        let (mut at, mut stack, mut seen) = (state, Vec::new(), Vec::new());
        loop {
            if self.states[at as usize].kind == Kind::Dead {
                found.push((Action::Ignore, at));
            } else {
                for edge in self.states[at as usize].edges.iter().filter(|edge| edge.when.holds(atom)) {
                    match edge.action {
                        Action::Proceed if edge.to == state || seen.contains(&edge.to) => {}
                        Action::Proceed => {
                            seen.push(edge.to);
                            stack.push(edge.to);
                        }
                        action => found.push((action, edge.to)),
                    }
                }
            }
            match stack.pop() {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// Does a match end here without another event?
    pub(super) fn is_done(&self, state: StateId, atom: &impl Fn(AtomId) -> bool) -> bool {
        self.leads_to(state, atom, |kind| (kind == Kind::Done).then_some(())).is_some()
    }

    fn leads_to<T>(&self, state: StateId, atom: &impl Fn(AtomId) -> bool, find: impl Fn(Kind) -> Option<T>) -> Option<T> {
        let (mut at, mut stack, mut seen) = (state, Vec::new(), Vec::new());
        loop {
            if let Some(found) = find(self.states[at as usize].kind) {
                return Some(found);
            }
            for edge in &self.states[at as usize].edges {
                if edge.action == Action::Proceed && edge.to != state && !seen.contains(&edge.to) && edge.when.holds(atom) {
                    seen.push(edge.to);
                    stack.push(edge.to);
                }
            }
            at = stack.pop()?;
        }
    }

    /// Works out what follows from the edges.
    fn finish(&mut self) {
        let nothing = |_: AtomId| false;
        let mut found = Vec::new();
        for state in 0..self.states.len() as StateId {
            self.moves(state, &nothing, &mut found);
            let mut idle: Vec<StateId> = Vec::new();
            for (_, to) in found.iter().filter(|(action, _)| *action == Action::Ignore) {
                if !idle.contains(to) {
                    idle.push(*to);
                }
            }
            let takes_anything = found.iter().any(|(action, _)| matches!(action, Action::Take(..)));
            // The start's own idleness moves no run.
            if state != self.start {
                self.sees_all |= idle.iter().any(|to| self.states[*to as usize].kind == Kind::Done);
                let kind = self.states[state as usize].kind;
                self.restless |= matches!(kind, Kind::Open | Kind::Pending(_)) && idle != [state];
            }
            self.sees_all |= takes_anything;
            let reachable = self.reachable(state);
            let mut atoms = Vec::new();
            let mut limits = Vec::new();
            for edge in reachable.iter().flat_map(|state| &self.states[*state as usize].edges) {
                edge.when.atoms(&mut atoms);
                if let Action::Take(_, gap) = edge.action {
                    limits.push(gap);
                }
            }
            atoms.sort_unstable();
            atoms.dedup();
            let pending = self.leads_to(state, &nothing, |kind| if let Kind::Pending(time) = kind { Some(time) } else { None });
            // A trailing `not_next` that no event has answered is an absence as well.
            let unanswered = || idle.iter().any(|to| self.states[*to as usize].kind == Kind::Done).then_some(None);
            let pending = pending.or_else(unanswered);
            let own = &mut self.states[state as usize];
            own.patience = if limits.is_empty() {
                None
            } else {
                limits.into_iter().collect::<Option<Vec<i64>>>().and_then(|all| all.into_iter().max())
            };
            own.idle = idle;
            own.atoms = atoms;
            own.pending = pending;
        }
    }

    /// The states that `state` leads to without an event, whatever the conditions, and itself.
    fn reachable(&self, state: StateId) -> Vec<StateId> {
        let mut all = vec![state];
        let mut at = 0;
        while let Some(state) = all.get(at).copied() {
            for edge in &self.states[state as usize].edges {
                if edge.action == Action::Proceed && !all.contains(&edge.to) {
                    all.push(edge.to);
                }
            }
            at += 1;
        }
        all
    }
}
