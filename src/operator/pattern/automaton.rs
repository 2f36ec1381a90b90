//! A sequence as an automaton: states whose edges take an event, pass it over, or lead on without an event.
//!
//! ```text
//!  a then b+ then c:   (a) ──take──▶ (b) ──take──▶ (b…) ──proceed──▶ (c) ──take──▶ ((done))
//!                                    ignore ¬b      │ take b           ignore ¬c
//!                                                   └─ignore ¬b─▶ (b… waiting) ──take b──▶ (b…)
//! ```
//! One event moves a run along all edges that the states reached by `proceed` offer: two edges, two runs. The states are
//! made from the last step to the first, as Flink's CEP does, whose answers are the measure of the meaning.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::operator::pattern::spec::{Body, Condition, Inner, Link, Sequence, Step, check_sequence};

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
        let mut maker =
            Maker { states: Vec::new(), atoms: Vec::new(), known: BTreeMap::new(), dead: BTreeMap::new(), gap: sequence.gap, labels: 0 };
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
        let mut stack = vec![state];
        let mut seen = vec![state];
        while let Some(state) = stack.pop() {
            if self.states[state as usize].kind == Kind::Dead {
                found.push((Action::Ignore, state));
                continue;
            }
            for edge in &self.states[state as usize].edges {
                if !edge.when.holds(atom) {
                    continue;
                }
                match edge.action {
                    Action::Proceed if seen.contains(&edge.to) => {}
                    Action::Proceed => {
                        seen.push(edge.to);
                        stack.push(edge.to);
                    }
                    action => found.push((action, edge.to)),
                }
            }
        }
    }

    /// Does a match end here without another event?
    pub(super) fn is_done(&self, state: StateId, atom: &impl Fn(AtomId) -> bool) -> bool {
        self.leads_to(state, atom, |kind| (kind == Kind::Done).then_some(())).is_some()
    }

    fn leads_to<T>(&self, state: StateId, atom: &impl Fn(AtomId) -> bool, find: impl Fn(Kind) -> Option<T>) -> Option<T> {
        let mut stack = vec![state];
        let mut seen = vec![state];
        while let Some(state) = stack.pop() {
            if let Some(found) = find(self.states[state as usize].kind) {
                return Some(found);
            }
            for edge in &self.states[state as usize].edges {
                if edge.action == Action::Proceed && !seen.contains(&edge.to) && edge.when.holds(atom) {
                    seen.push(edge.to);
                    stack.push(edge.to);
                }
            }
        }
        None
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

/// A step with the number of its first label.
struct Numbered<'a> {
    step: &'a Step,
    label: u16,
    /// Of a group.
    inner: Vec<Numbered<'a>>,
}

/// A negated step that guards others.
#[derive(Debug, Clone)]
struct Guard {
    when: Formula,
    /// The state that it leads to: its own, which tells guards of equal conditions apart.
    dead: StateId,
}

/// The group that a step stands at the head of.
#[derive(Clone)]
struct Head {
    /// How the group's head follows what is before it.
    link: Link,
    /// Does a way lead past the group here? Then events are passed over in a state of its own, from which the very next
    /// step cannot be reached any more.
    skippable: bool,
    until: Option<Formula>,
    /// Limit to the event before.
    gap: Option<i64>,
    /// Negations before the group: they guard up to the first event that it takes, whichever of its steps that is for.
    guards: Vec<Guard>,
}

struct Maker {
    states: Vec<State>,
    atoms: Vec<Condition>,
    known: BTreeMap<String, AtomId>,
    /// Address of a negated step -> the state that it leads to.
    dead: BTreeMap<usize, StateId>,
    gap: Option<i64>,
    labels: u16,
}

/// Where a copy of a single step leads.
#[derive(Clone, Copy)]
struct Ways {
    /// After taking.
    sink: StateId,
    /// When left out.
    proceed: StateId,
    optional: bool,
}

impl Maker {
    fn number<'a>(&mut self, steps: &'a [Step]) -> Vec<Numbered<'a>> {
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

    fn state(&mut self, kind: Kind) -> StateId {
        self.states.push(State { kind, edges: Vec::new(), idle: Vec::new(), patience: None, pending: None, atoms: Vec::new() });
        self.states.len() as StateId - 1
    }

    fn edge(&mut self, from: StateId, action: Action, to: StateId, when: Formula) {
        self.states[from as usize].edges.push(Edge { action, to, when });
    }

    fn atom(&mut self, condition: &Condition) -> AtomId {
        let next = self.atoms.len() as AtomId;
        let id = *self.known.entry(condition.identity()).or_insert(next);
        if id == next {
            self.atoms.push(condition.clone());
        }
        id
    }

    /// What an event must be for a step.
    fn condition(&mut self, step: &Step) -> Formula {
        match &step.body {
            Body::Event { when: Some(when), .. } => Formula::Atom(self.atom(when)),
            _ => Formula::True,
        }
    }

    /// States for `steps`, leading to `sink`; returns the first. `head`: of the group they are in; `following`: the step after it.
    fn sequence(&mut self, steps: &[Numbered<'_>], sink: StateId, head: Option<&Head>, following: Option<&Step>) -> StateId {
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

    fn guard(&mut self, step: &Step) -> Guard {
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
    fn stop(&mut self, state: StateId, guard: &Guard) {
        self.edge(state, Action::Proceed, guard.dead, guard.when.clone());
    }

    /// A copy of `sink` without the guards' stops: once an element was taken they guard no more.
    fn unguarded(&mut self, sink: StateId, guards: &[Guard]) -> StateId {
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

    fn copy(&mut self, state: StateId) -> StateId {
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

    /// States for a positive step with its quantifier.
    fn positive(&mut self, numbered: &Numbered<'_>, sink: StateId, place: &Place<'_>) -> StateId {
        let step = numbered.step;
        let optional = step.optional || step.times.from == 0;
        let from = step.times.from.max(1);
        let make = &mut Step1 { maker: self, numbered, place, greedy_copy: None };
        let first = match step.times.to {
            Some(1) => make.single(Ways { sink, proceed: sink, optional }, true),
            Some(to) => make.times(Ways { sink, proceed: sink, optional }, from, to),
            None => {
                let unguarded = make.maker.unguarded(sink, place.guards);
                let looping = make.looping(unguarded, sink);
                make.times(Ways { sink: looping, proceed: sink, optional }, from, from)
            }
        };
        for guard in place.guards {
            self.stop(first, guard);
        }
        first
    }
}

/// Where a step stands.
struct Place<'a> {
    /// The group that it is the first step of.
    head: Option<&'a Head>,
    /// The group that it is in.
    group: Option<&'a Head>,
    guards: &'a [Guard],
    following: Option<&'a Step>,
}

/// Makes the states of one positive step.
struct Step1<'m, 'p, 'a> {
    maker: &'m mut Maker,
    numbered: &'p Numbered<'a>,
    place: &'p Place<'p>,
    /// With `greedy` and `until`: the sink as it was before events of the loop were kept from it.
    greedy_copy: Option<(StateId, StateId)>,
}

impl Step1<'_, '_, '_> {
    fn step(&self) -> &Step {
        self.numbered.step
    }

    fn group_until(&self) -> Option<Formula> {
        self.place.group.and_then(|group| group.until.clone())
    }

    fn until(&mut self) -> Option<Formula> {
        let until = self.numbered.step.until.as_ref()?;
        Some(Formula::Atom(self.maker.atom(until)))
    }

    fn take(&mut self) -> Formula {
        let group_until = self.group_until();
        self.maker.condition(self.numbered.step).unless(group_until.as_ref())
    }

    fn ignore(&mut self, link: Link) -> Option<Formula> {
        let group_until = self.group_until();
        let condition = match link {
            Link::Next => return None,
            Link::Any => Formula::True,
            _ => self.maker.condition(self.numbered.step).not(),
        };
        Some(condition.unless(group_until.as_ref()))
    }

    fn inner_ignore(&mut self) -> Option<Formula> {
        match self.step().inner {
            Inner::Strict => None,
            Inner::Combinations => Some(Formula::True),
            Inner::Relaxed => Some(self.maker.condition(self.numbered.step).not()),
        }
    }

    fn smaller(one: Option<i64>, other: Option<i64>) -> Option<i64> {
        [one, other].into_iter().flatten().min()
    }

    /// Limit to the event before for the first element.
    fn outer_gap(&self) -> Option<i64> {
        match self.place.head {
            Some(head) => Self::smaller(head.gap, self.step().after),
            None => Self::smaller(self.maker.gap, self.step().after),
        }
    }

    /// The same for the later elements.
    fn inner_gap(&self) -> Option<i64> {
        Self::smaller(self.maker.gap, self.step().gap)
    }

    /// Copies of the step for `from..=to` elements.
    fn times(&mut self, ways: Ways, from: u32, to: u32) -> StateId {
        let until = self.until();
        let ignore = self.inner_ignore().map(|ignore| ignore.unless(until.as_ref()));
        let take = self.take().unless(until.as_ref());
        if self.step().greedy && from != to {
            if until.is_some() {
                let copy = self.maker.copy(ways.sink);
                self.greedy_copy = Some((ways.sink, copy));
            }
            self.keep_from(ways.sink, &take);
        }
        let mut last = ways.sink;
        for number in from..to + from - 1 {
            let optional = number < to;
            let own = Ways { sink: last, proceed: ways.proceed, optional };
            last = self.element(own, take.clone(), ignore.clone(), false);
            self.stop_if_followed(last);
        }
        let outer = self.place.head.map_or(self.step().link, |head| head.link);
        let ignore = self.ignore(outer);
        self.element(Ways { sink: last, ..ways }, take, ignore, true)
    }

    fn single(&mut self, ways: Ways, first: bool) -> StateId {
        let take = self.take();
        let outer = self.place.head.map_or(self.step().link, |head| head.link);
        let ignore = self.ignore(outer);
        self.element(ways, take, ignore, first)
    }

    /// One element; `first` of a loop.
    fn element(&mut self, ways: Ways, take: Formula, ignore: Option<Formula>, first: bool) -> StateId {
        if !self.numbered.inner.is_empty() {
            return self.group(ways, first);
        }
        let state = self.maker.state(Kind::Open);
        let guards = self.place.guards.to_vec();
        let sink = self.maker.unguarded(ways.sink, &guards);
        let gap = if first { self.outer_gap() } else { self.inner_gap() };
        let action = Action::Take(self.numbered.label, gap);
        self.maker.edge(state, action, sink, take.clone());
        if ways.optional {
            self.leave_out(state, ways.proceed);
        }
        // The way past a group is added by the group.
        let group_optional = first && self.place.head.is_some_and(|head| head.skippable);
        if let Some(ignore) = ignore {
            let ignoring = if ways.optional || group_optional {
                let waiting = self.maker.state(Kind::Open);
                self.maker.edge(waiting, action, sink, take);
                self.maker.edge(waiting, Action::Ignore, waiting, ignore.clone());
                if first {
                    for guard in &guards {
                        self.maker.stop(waiting, guard);
                    }
                } else {
                    self.stop_if_followed(waiting);
                }
                waiting
            } else {
                state
            };
            self.maker.edge(state, Action::Ignore, ignoring, ignore);
        }
        state
    }

    /// The way past a step that may be left out.
    fn leave_out(&mut self, state: StateId, proceed: StateId) {
        let until = self.until();
        match (self.step().greedy, until) {
            (true, Some(until)) => {
                let before = self.greedy_copy.filter(|(sink, _)| *sink == proceed).map_or(proceed, |(_, copy)| copy);
                self.maker.edge(state, Action::Proceed, before, until.clone());
                self.maker.edge(state, Action::Proceed, proceed, until.not());
            }
            _ => self.maker.edge(state, Action::Proceed, proceed, Formula::True),
        }
    }

    /// The state that takes more and more.
    fn looping(&mut self, sink: StateId, original: StateId) -> StateId {
        if !self.numbered.inner.is_empty() {
            return self.looping_group(sink);
        }
        let until = self.until();
        let ignore = self.inner_ignore().map(|ignore| ignore.unless(until.as_ref()));
        let take = self.take().unless(until.as_ref());
        let action = Action::Take(self.numbered.label, self.inner_gap());
        let looping = self.maker.state(Kind::Open);
        if self.step().greedy {
            // Left out as a whole, the step leads to `original`: with its guards.
            let guarded = original != sink;
            if until.is_some() {
                let copy = self.maker.copy(sink);
                let left_out = if guarded { self.maker.copy(original) } else { copy };
                self.greedy_copy = Some((original, left_out));
                self.maker.edge(looping, Action::Proceed, copy, until.clone().unwrap_or(Formula::True));
            }
            self.maker.edge(looping, Action::Proceed, sink, Formula::True.unless(until.as_ref()));
            let taken = self.take();
            self.keep_from(sink, &taken);
            if guarded {
                self.keep_from(original, &taken);
            }
        } else {
            self.maker.edge(looping, Action::Proceed, sink, Formula::True);
        }
        self.maker.edge(looping, action, looping, take.clone());
        self.stop_if_followed(looping);
        if let Some(ignore) = ignore {
            let waiting = self.maker.state(Kind::Open);
            self.maker.edge(waiting, action, looping, take);
            self.maker.edge(waiting, Action::Ignore, waiting, ignore.clone());
            self.maker.edge(looping, Action::Ignore, waiting, ignore);
            self.stop_if_followed(waiting);
        }
        looping
    }

    /// Events that a greedy loop takes do not move what comes after it.
    fn keep_from(&mut self, sink: StateId, taken: &Formula) {
        for edge in &mut self.maker.states[sink as usize].edges {
            edge.when = std::mem::replace(&mut edge.when, Formula::True).and(taken.clone().not());
        }
    }

    /// A negated step right after the loop guards inside it as well.
    fn stop_if_followed(&mut self, state: StateId) {
        if let Some(step) = self.place.following.filter(|step| step.link == Link::Not) {
            let guard = self.maker.guard(step);
            self.maker.stop(state, &guard);
        }
    }

    fn head(&mut self, first: bool, skippable: bool) -> Head {
        let inner = match self.step().inner {
            Inner::Strict => Link::Next,
            Inner::Combinations => Link::Any,
            Inner::Relaxed => Link::Then,
        };
        let own = self.place.head.map_or(self.step().link, |head| head.link);
        let until = self.until();
        let outer = self.group_until();
        let until = match (until, outer) {
            // Whichever holds ends it: not (not a and not b).
            (Some(own), Some(outer)) => Some(own.not().and(outer.not()).not()),
            (own, outer) => own.or(outer),
        };
        let guards = if first { self.place.guards.to_vec() } else { Vec::new() };
        let (link, gap) = if first { (own, self.outer_gap()) } else { (inner, self.inner_gap()) };
        Head { link, skippable, until, gap, guards }
    }

    /// One run through a group.
    fn group(&mut self, ways: Ways, first: bool) -> StateId {
        let head = self.head(first, ways.optional);
        let guards = self.place.guards.to_vec();
        let sink = self.maker.unguarded(ways.sink, &guards);
        let start = self.maker.sequence(&self.numbered.inner, sink, Some(&head), self.place.following);
        if ways.optional {
            self.maker.edge(start, Action::Proceed, ways.proceed, Formula::True);
        }
        start
    }

    /// A group that may begin again and again.
    fn looping_group(&mut self, sink: StateId) -> StateId {
        let head = self.head(false, true);
        let again = self.maker.state(Kind::Open);
        let start = self.maker.sequence(&self.numbered.inner, again, Some(&head), self.place.following);
        self.maker.edge(start, Action::Proceed, sink, Formula::True);
        self.maker.edge(again, Action::Proceed, start, Formula::True);
        again
    }
}
