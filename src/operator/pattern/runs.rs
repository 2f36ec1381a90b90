//! Sequences: per key the open runs, each a state of the automaton and what it has taken so far in the shared buffer.
//!
//! ```text
//!  event ─▶ what is due for its key before it ─▶ each run moves along its edges ─▶ a new start ─▶ matches ─▶ skipping ─▶ bounds
//! ```
//! Only events for which a condition holds are looked at. What lies between them moves a run at most once
//! ([`State::idle`](super::automaton)), which the key's event numbers tell. What ends a run beside an event: `expiry.rs`,
//! `bounds.rs`.

mod bounds;
mod expiry;
mod saved;

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::automaton::{Action, AtomId, Automaton, Kind, StateId};
use crate::operator::pattern::bind::{BoundCondition, Taken};
use crate::operator::pattern::buffer::{Buffer, NodeId, ROOT};
use crate::operator::pattern::by_key::ByKey;
use crate::operator::pattern::conditions::{ConditionId, Conditions, split};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Rows, Saved, Shared, What};
use crate::operator::pattern::row_set::any_of;
use crate::operator::pattern::sequence::{Sequence, Skip, SkipTo, Start};
use crate::operator::pattern::spec::{Bounds, OnTimeout, Order, Rule};
use crate::operator::pattern::timers::Timer;

/// "Never".
const NEVER: i64 = i64::MAX;

/// An open run.
#[derive(Debug, Clone, Copy)]
struct Run {
    state: StateId,
    /// What it has taken.
    node: NodeId,
    /// Time of its first event.
    begun: i64,
    /// Time of its last event.
    last: i64,
    /// Number of its first event: runs are in this order.
    start: u64,
    /// Number of the last event that it has moved for.
    seen: u64,
}

/// The state of a key.
#[derive(Debug)]
struct KeyRuns {
    runs: Vec<Run>,
    /// Per condition that must have been absent before a start: when one came last.
    absent: Vec<i64>,
    /// When its timer goes off.
    timer: i64,
}

/// A condition of a step.
#[derive(Debug)]
struct Atom {
    /// What it asks of the event alone.
    event: Option<ConditionId>,
    /// What it asks of the events taken before.
    taken: Option<BoundCondition>,
}

/// A finished match that was not emitted yet.
struct Done {
    node: NodeId,
    start: u64,
}

/// A sequence at work.
pub(super) struct Runs {
    rule: u32,
    name: String,
    automaton: Automaton,
    atoms: Vec<Atom>,
    /// Does any condition read taken events?
    bound: bool,
    within: Option<i64>,
    skip: Skip,
    start: Start,
    bounds: Bounds,
    order: Order,
    on_timeout: Option<Option<usize>>,
    keys: ByKey<KeyRuns>,
    buffer: Buffer,
    open: usize,
    /// Lists that are empty between events, so that none is made anew for each.
    spare: (Vec<Run>, Vec<(Action, StateId)>),
    /// It went over its bounds and was to fail then.
    failed: bool,
}

/// Values of the conditions that read taken events, for the runs of a key and a new start (after the last run).
#[derive(Debug, Default)]
struct Truth {
    atoms: usize,
    values: Vec<bool>,
}

impl Truth {
    fn get(&self, run: usize, atom: AtomId) -> bool {
        self.values.get(run * self.atoms + atom as usize).copied().unwrap_or_default()
    }
}

/// Does an atom hold for the event, as far as the event alone can tell?
fn event_holds(atoms: &[Atom], atom: AtomId, row: u32, rows: &Rows<'_>) -> bool {
    atoms[atom as usize].event.is_none_or(|id| rows.sets[id].contains(row))
}

impl Runs {
    /// A sequence over the input of `spec`; its conditions become part of `conditions`.
    pub(super) fn new(number: u32, rule: &Rule, sequence: &Sequence, spec: &PatternSpec, conditions: &mut Conditions) -> Result<Self> {
        let PatternSpec { input, time, order, .. } = spec;
        let automaton = Automaton::new(sequence)?;
        let names = sequence.labels();
        if let Skip::ToFirst(SkipTo { label, .. }) | Skip::ToLast(SkipTo { label, .. }) = sequence.skip
            && label >= names.len()
        {
            return Err(Error::input(format!("rule '{}' skips to step number {label}, but has {} steps", rule.name, names.len())));
        }
        let atoms = automaton.atoms.iter().map(|condition| {
            let (event, taken) = split(condition, input);
            Ok(Atom {
                event: event.map(|event| conditions.add(&event)),
                taken: taken.map(|taken| BoundCondition::new(&taken, input, *time, &names)).transpose()?,
            })
        });
        let atoms = atoms.collect::<Result<Vec<_>>>()?;
        Ok(Runs {
            rule: number,
            name: rule.name.clone(),
            bound: atoms.iter().any(|atom| atom.taken.is_some()),
            automaton,
            atoms,
            within: sequence.within,
            skip: sequence.skip.clone(),
            start: sequence.start,
            bounds: rule.bounds,
            order: *order,
            on_timeout: rule.on_timeout.as_ref().map(|OnTimeout { at_least, .. }| *at_least),
            keys: ByKey::new(),
            buffer: Buffer::default(),
            open: 0,
            spare: Default::default(),
            failed: false,
        })
    }

    /// Rows that must be looked at, in order; by key where the next event of each is tried together.
    fn candidates(&self, rows: &Rows<'_>) -> Vec<u32> {
        let total = rows.slots.len();
        let mut found = Vec::new();
        // A timeout must know what came before it, an idle state must not wait for the next candidate then.
        let all = self.automaton.sees_all
            || (self.automaton.restless && self.on_timeout.is_some())
            || self.atoms.iter().any(|atom| atom.event.is_none());
        if all {
            found.extend(0..total as u32);
        } else {
            any_of(self.atoms.iter().filter_map(|atom| atom.event).map(|id| &rows.sets[id]), total, &mut found);
        }
        if self.bound {
            found.sort_by_key(|row| rows.slots[*row as usize]);
        }
        found
    }

    /// Brings the key's state to where it is just before event `number` at `time`; its place, if there is any.
    fn settle(&mut self, slot: u32, number: u64, time: i64, shared: &mut Shared<'_>) -> Result<Option<usize>> {
        let mut place = self.keys.find(slot);
        if self.order == Order::EventTime && place.is_some_and(|place| self.keys.at(place).timer <= time) {
            self.expire(slot, time, shared)?;
            place = self.keys.find(slot);
        }
        let Some(key) = place.map(|place| self.keys.at_mut(place)) else { return Ok(None) };
        if !self.automaton.restless || key.runs.iter().all(|run| run.seen + 1 >= number) {
            return Ok(place);
        }
        let old = std::mem::take(&mut key.runs);
        let before = old.len();
        let mut runs = Vec::with_capacity(before);
        for run in old {
            if run.seen + 1 >= number {
                runs.push(run);
                continue;
            }
            let idle = &self.automaton.states[run.state as usize].idle;
            if !idle.iter().any(|to| self.automaton.states[*to as usize].kind == Kind::Dead) {
                for to in idle {
                    self.buffer.hold(run.node);
                    runs.push(Run { state: *to, seen: number - 1, ..run });
                }
            }
            self.buffer.release(run.node, shared.kept);
        }
        self.open = self.open + runs.len() - before;
        key.runs = runs;
        Ok(place)
    }

    /// The conditions that read taken events, for the next event (row) of each of some keys at once.
    fn truths(&self, heads: &[(u32, u32)], rows: &Rows<'_>, shared: &Shared<'_>) -> Result<Vec<Truth>> {
        let atoms = self.atoms.len();
        let mut truths: Vec<Truth> = Vec::with_capacity(heads.len());
        // Per atom: (key, run) to be tried.
        let mut tried: Vec<Vec<(usize, usize)>> = vec![Vec::new(); atoms];
        let mut taken: Vec<Vec<Taken>> = Vec::with_capacity(heads.len());
        for (at, (slot, row)) in heads.iter().enumerate() {
            let runs = self.keys.get(*slot).map_or(&[][..], |key| &key.runs);
            truths.push(Truth { atoms, values: vec![false; (runs.len() + 1) * atoms] });
            let states = runs.iter().map(|run| run.state).chain([self.automaton.start]);
            let mut of_runs = vec![Taken::new(); runs.len() + 1];
            for (run, state) in states.enumerate() {
                let mut any = false;
                for atom in &self.automaton.states[state as usize].atoms {
                    if self.atoms[*atom as usize].taken.is_some() && event_holds(&self.atoms, *atom, *row, rows) {
                        tried[*atom as usize].push((at, run));
                        any = true;
                    }
                }
                if any && let Some(run_of) = runs.get(run) {
                    of_runs[run] = self.buffer.taken(run_of.node);
                }
            }
            taken.push(of_runs);
        }
        for (atom, tried) in tried.iter().enumerate() {
            let Some(condition) = self.atoms[atom].taken.as_ref().filter(|_| !tried.is_empty()) else { continue };
            let numbers: Vec<u32> = tried.iter().map(|(at, _)| heads[*at].1).collect();
            let of: Vec<&[_]> = tried.iter().map(|(at, run)| taken[*at][*run].as_slice()).collect();
            let values = condition.evaluate(rows.batch, &numbers, &of, shared.kept)?;
            for ((at, run), value) in tried.iter().zip(values.values()) {
                truths[*at].values[run * atoms + atom] = value;
            }
        }
        Ok(truths)
    }

    /// Moves the runs of the key at `place` for an event, and begins a new one with it.
    fn advance(&mut self, row: u32, place: Option<usize>, rows: &Rows<'_>, truth: &Truth, shared: &mut Shared<'_>) -> Result<()> {
        let (slot, time, number) = (rows.slots[row as usize], rows.times[row as usize], rows.numbers[row as usize]);
        let (mut old, mut absent) = match place.map(|place| self.keys.at_mut(place)) {
            Some(key) => (std::mem::take(&mut key.runs), std::mem::take(&mut key.absent)),
            None => (Vec::new(), vec![i64::MIN; self.automaton.before.len()]),
        };
        let before = old.len();
        let (mut runs, mut moves) = std::mem::take(&mut self.spare);
        let mut done: VecDeque<Done> = VecDeque::new();
        let atoms = &self.atoms;
        for (at, run) in old.iter().enumerate() {
            let too_late = self.within.is_some_and(|within| time.saturating_sub(run.begun) >= within);
            if too_late {
                // Only in order of arrival: time has not come to its end yet.
                runs.push(*run);
                continue;
            }
            let holds = |atom: AtomId| event_holds(atoms, atom, row, rows) && (atoms[atom as usize].taken.is_none() || truth.get(at, atom));
            self.automaton.moves(run.state, &holds, &mut moves);
            let (first, mut dead) = (runs.len(), false);
            for (action, to) in &moves {
                let kind = self.automaton.states[*to as usize].kind;
                match action {
                    Action::Ignore if kind == Kind::Dead => dead = true,
                    Action::Ignore if kind == Kind::Done => {
                        self.buffer.hold(run.node);
                        done.push_back(Done { node: run.node, start: run.start });
                    }
                    Action::Ignore => {
                        self.buffer.hold(run.node);
                        runs.push(Run { state: *to, seen: number, ..*run });
                    }
                    Action::Take(_, gap) if gap.is_some_and(|gap| time.saturating_sub(run.last) >= gap) => {}
                    Action::Take(label, _) => {
                        let node = self.buffer.add(run.node, shared.kept.keep(row), number, *label);
                        if self.automaton.is_done(*to, &holds) {
                            self.buffer.hold(node);
                            done.push_back(Done { node, start: run.start });
                        }
                        if kind == Kind::Done {
                            self.buffer.release(node, shared.kept);
                        } else {
                            runs.push(Run { state: *to, node, last: time, seen: number, ..*run });
                        }
                    }
                    Action::Proceed => {}
                }
            }
            if dead {
                runs.drain(first..).for_each(|run| self.buffer.release(run.node, shared.kept));
            }
            self.buffer.release(run.node, shared.kept);
        }
        let quiet = self
            .automaton
            .before
            .iter()
            .zip(&absent)
            .all(|((_, time_for), last)| *last == i64::MIN || time.saturating_sub(*last) >= *time_for);
        if quiet {
            let holds =
                |atom: AtomId| event_holds(atoms, atom, row, rows) && (atoms[atom as usize].taken.is_none() || truth.get(old.len(), atom));
            self.automaton.moves(self.automaton.start, &holds, &mut moves);
            for (action, to) in &moves {
                let Action::Take(label, _) = action else { continue };
                let node = self.buffer.add(ROOT, shared.kept.keep(row), number, *label);
                if self.automaton.is_done(*to, &holds) {
                    self.buffer.hold(node);
                    done.push_back(Done { node, start: number });
                }
                if self.automaton.states[*to as usize].kind == Kind::Done {
                    self.buffer.release(node, shared.kept);
                } else {
                    runs.push(Run { state: *to, node, begun: time, last: time, start: number, seen: number });
                }
            }
        }
        let plain = |atom: AtomId| event_holds(atoms, atom, row, rows);
        for ((condition, _), last) in self.automaton.before.iter().zip(&mut absent) {
            if condition.holds(&plain) {
                *last = time;
            }
        }
        let over = self.automaton.until.is_some_and(plain);
        self.finish(&mut done, &mut runs, time, shared)?;
        if self.start == Start::Latest {
            self.keep_latest(&mut runs, shared);
        }
        if over {
            let buffer = &mut self.buffer;
            runs.retain(|run| {
                let takes_it = buffer.get(run.node).is_some_and(|node| node.number == number);
                if !takes_it {
                    buffer.release(run.node, shared.kept);
                }
                takes_it
            });
        }
        self.bound_runs(slot, &mut runs, shared);
        if self.failed {
            self.open -= before;
            return self.clear(shared);
        }
        self.open = self.open + runs.len() - before;
        let idle = runs.is_empty() && absent.iter().all(|last| *last == i64::MIN);
        old.clear();
        let place = match place {
            _ if idle => {
                if let Some(place) = place {
                    self.keys.remove(place);
                    shared.release(slot);
                }
                self.spare = (runs, moves);
                return Ok(());
            }
            None => {
                shared.hold(slot);
                self.keys.insert(slot, KeyRuns { runs, absent, timer: NEVER })
            }
            Some(place) => {
                let key = self.keys.at_mut(place);
                (key.runs, key.absent) = (runs, absent);
                place
            }
        };
        self.spare = (old, moves);
        self.set_timer(slot, place, shared);
        Ok(())
    }

    /// Emits finished matches, the one begun first first; each drops what the skip strategy says.
    fn finish(&mut self, done: &mut VecDeque<Done>, runs: &mut Vec<Run>, time: i64, shared: &mut Shared<'_>) -> Result<()> {
        while let Some(Done { node, start }) = done.pop_front() {
            let taken = self.buffer.taken(node);
            let drop: Option<u64> = match &self.skip {
                Skip::None => None,
                Skip::ToNext => Some(start + 1),
                Skip::PastLast => self.buffer.get(node).map(|node| node.number + 1),
                Skip::ToFirst(to) => self.target(node, start, to, false)?,
                Skip::ToLast(to) => self.target(node, start, to, true)?,
            };
            taken.iter().for_each(|(_, event)| shared.kept.hold(*event));
            shared.found.push(Found { rule: self.rule, what: What::Match, time, taken });
            self.buffer.release(node, shared.kept);
            let Some(before) = drop else { continue };
            let only = (self.skip == Skip::ToNext).then_some(start);
            let goes = |start: u64| start < before && only.is_none_or(|only| only == start);
            let buffer = &mut self.buffer;
            let mut keep = |node: NodeId, start: u64| {
                if goes(start) {
                    buffer.release(node, shared.kept);
                }
                !goes(start)
            };
            runs.retain(|run| keep(run.node, run.start));
            done.retain(|done| keep(done.node, done.start));
        }
        Ok(())
    }

    /// The number of the event to skip to.
    fn target(&self, node: NodeId, start: u64, to: &SkipTo, last: bool) -> Result<Option<u64>> {
        let number = self.buffer.number_of(node, to.label, last);
        if to.error_on_miss {
            let rule = &self.name;
            match number {
                None => return Err(Error::failed(format!("rule '{rule}' is to skip to a step that has no event in the match"))),
                Some(number) if number == start => {
                    return Err(Error::failed(format!("rule '{rule}' is to skip to the first event of the match: it would never end")));
                }
                Some(_) => {}
            }
        }
        Ok(number)
    }

    /// Of the runs in one state only the one begun last goes on.
    fn keep_latest(&mut self, runs: &mut Vec<Run>, shared: &mut Shared<'_>) {
        let mut newest: HashMap<StateId, u64> = HashMap::new();
        for run in runs.iter() {
            let start = newest.entry(run.state).or_default();
            *start = run.start.max(*start);
        }
        let buffer = &mut self.buffer;
        runs.retain(|run| {
            let stays = newest.get(&run.state) == Some(&run.start);
            if !stays {
                buffer.release(run.node, shared.kept);
            }
            stays
        });
    }
}

impl Executor for Runs {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let candidates = if self.failed { Vec::new() } else { self.candidates(rows) };
        let of_key = |row: u32| rows.slots[row as usize];
        let visit = |this: &mut Self, row: u32, shared: &mut Shared<'_>| {
            this.settle(of_key(row), rows.numbers[row as usize], rows.times[row as usize], shared)
        };
        if !self.bound {
            for row in candidates {
                let place = visit(self, row, shared)?;
                self.advance(row, place, rows, &Truth::default(), shared)?;
                if self.failed {
                    break;
                }
            }
            return Ok(());
        }
        // The next event of every key at once, so that conditions are evaluated for many runs together.
        let mut keys: Vec<&[u32]> = candidates.chunk_by(|a, b| of_key(*a) == of_key(*b)).collect();
        while !keys.is_empty() && !self.failed {
            let mut heads = Vec::with_capacity(keys.len());
            for of_one in &keys {
                visit(self, of_one[0], shared)?;
                heads.push((of_key(of_one[0]), of_one[0]));
            }
            let truths = self.truths(&heads, rows, shared)?;
            for ((slot, row), truth) in heads.iter().zip(&truths) {
                if !self.failed {
                    let place = self.keys.find(*slot);
                    self.advance(*row, place, rows, truth, shared)?;
                }
            }
            keys = keys.into_iter().map(|rows| &rows[1..]).filter(|rows| !rows.is_empty()).collect();
        }
        Ok(())
    }

    fn on_timers(&mut self, timers: &[Timer], now: i64, shared: &mut Shared<'_>) -> Result<()> {
        timers.iter().try_for_each(|timer| self.expire(timer.slot, now, shared))
    }

    fn asks_for_numbers(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        const NODE: usize = 32;
        self.open * size_of::<Run>() + self.buffer.len() * NODE + self.keys.bytes()
    }

    fn slots(&self) -> Vec<u32> {
        self.keys.slots()
    }

    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        self.write(slot, to);
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        self.read(slot, from, shared)
    }
}
