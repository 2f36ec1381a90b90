//! Sequences: per key the open runs, each a state of the automaton and what it has taken so far in the shared buffer.
//!
//! ```text
//!  event ─▶ what is due for its key before it ─▶ each run moves along its edges ─▶ a new start ─▶ matches ─▶ skipping ─▶ bounds
//! ```
//! Only events for which a condition holds are looked at. What lies between them moves a run at most once
//! ([`State::idle`](super::automaton)), which the key's event numbers tell.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::automaton::{Action, AtomId, Automaton, Kind, StateId};
use crate::operator::pattern::bind::{BoundCondition, Taken};
use crate::operator::pattern::buffer::{Buffer, NodeId, ROOT};
use crate::operator::pattern::conditions::{ConditionId, Conditions, split};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Overflowed, Rows, Saved, Shared, What};
use crate::operator::pattern::row_set::any_of;
use crate::operator::pattern::spec::{Bounds, OnTimeout, Order, Overflow, Rule, Sequence, Skip, SkipTo, Start};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;
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
    keys: HashMap<u32, KeyRuns, RandomState>,
    buffer: Buffer,
    open: usize,
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
            keys: HashMap::with_hasher(RandomState::with_seeds(11, 12, 13, 14)),
            buffer: Buffer::default(),
            open: 0,
            failed: false,
        })
    }

    /// When the run is over, whatever comes.
    fn deadline(&self, run: &Run) -> i64 {
        let within = self.within.map_or(NEVER, |within| run.begun.saturating_add(within));
        let state = &self.automaton.states[run.state as usize];
        let own = match state.pending {
            Some(absent_for) => absent_for,
            None => state.patience,
        };
        within.min(own.map_or(NEVER, |own| run.last.saturating_add(own)))
    }

    /// Is a run that is over at `deadline` a match?
    fn is_match(&self, run: &Run, deadline: i64) -> bool {
        match self.automaton.states[run.state as usize].pending {
            Some(None) => true,
            Some(Some(absent_for)) => run.last.saturating_add(absent_for) <= deadline,
            None => false,
        }
    }

    /// Rows that must be looked at, by key, in order.
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
        found.sort_by_key(|row| rows.slots[*row as usize]);
        found
    }

    /// The key's state as it is just before event `number` at `time`.
    fn settle(&mut self, slot: u32, number: u64, time: i64, shared: &mut Shared<'_>) -> Result<()> {
        if self.order == Order::EventTime && self.keys.get(&slot).is_some_and(|key| key.timer <= time) {
            self.expire(slot, time, shared)?;
        }
        let Some(key) = self.keys.get_mut(&slot) else { return Ok(()) };
        if !self.automaton.restless || key.runs.iter().all(|run| run.seen + 1 >= number) {
            return Ok(());
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
        Ok(())
    }

    /// The conditions that read taken events, for the next event (row) of each of some keys at once.
    fn truths(&self, heads: &[(u32, u32)], rows: &Rows<'_>, shared: &Shared<'_>) -> Result<Vec<Truth>> {
        let atoms = self.atoms.len();
        let mut truths: Vec<Truth> = Vec::with_capacity(heads.len());
        // Per atom: (key, run) to be tried.
        let mut tried: Vec<Vec<(usize, usize)>> = vec![Vec::new(); atoms];
        let mut taken: Vec<Vec<Taken>> = Vec::with_capacity(heads.len());
        for (at, (slot, row)) in heads.iter().enumerate() {
            let runs = self.keys.get(slot).map_or(&[][..], |key| &key.runs);
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

    /// Moves the runs of a key for an event, and begins a new one with it.
    fn advance(&mut self, row: u32, rows: &Rows<'_>, truth: &Truth, shared: &mut Shared<'_>) -> Result<()> {
        let (slot, time, number) = (rows.slots[row as usize], rows.times[row as usize], rows.numbers[row as usize]);
        let key = self.keys.get_mut(&slot);
        let had_key = key.is_some();
        let (old, mut absent) = match key {
            Some(key) => (std::mem::take(&mut key.runs), std::mem::take(&mut key.absent)),
            None => (Vec::new(), vec![i64::MIN; self.automaton.before.len()]),
        };
        let before = old.len();
        let mut runs: Vec<Run> = Vec::with_capacity(before + 1);
        let mut done: VecDeque<Done> = VecDeque::new();
        let mut moves = Vec::new();
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
                        let node = self.buffer.add(run.node, shared.kept.keep(row, time), number, *label);
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
                let node = self.buffer.add(ROOT, shared.kept.keep(row, time), number, *label);
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
        match (idle, had_key) {
            (true, false) => return Ok(()),
            (true, true) => {
                self.keys.remove(&slot);
                shared.release(slot);
                return Ok(());
            }
            (false, false) => {
                shared.hold(slot);
                self.keys.insert(slot, KeyRuns { runs, absent, timer: NEVER });
            }
            (false, true) => {
                if let Some(key) = self.keys.get_mut(&slot) {
                    (key.runs, key.absent) = (runs, absent);
                }
            }
        }
        self.set_timer(slot, shared);
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

    /// Keeps the runs of a key, and the bytes of the rule, within their bounds.
    fn bound_runs(&mut self, slot: u32, runs: &mut Vec<Run>, shared: &mut Shared<'_>) {
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
    fn clear(&mut self, shared: &mut Shared<'_>) -> Result<()> {
        for (slot, key) in self.keys.drain() {
            key.runs.iter().for_each(|run| self.buffer.release(run.node, shared.kept));
            shared.release(slot);
        }
        self.open = 0;
        Ok(())
    }

    /// Ends the runs of a key that are over at `now`, in the order in which they are.
    fn expire(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let Some(mut key) = self.keys.remove(&slot) else { return Ok(()) };
        let before = key.runs.len();
        let mut due: Vec<(i64, bool, Run)> = Vec::new();
        key.runs.retain(|run| {
            let deadline = self.deadline(run);
            let over = deadline <= now && deadline < NEVER;
            if over {
                due.push((deadline, !self.is_match(run, deadline), *run));
            }
            !over
        });
        due.sort_by_key(|(deadline, timeout, run)| (*deadline, *timeout, run.start));
        let mut due: VecDeque<(i64, bool, Run)> = due.into();
        let mut told: Vec<NodeId> = Vec::new();
        while let Some((deadline, timeout, run)) = due.pop_front() {
            // Branches of a run that have taken the same wait for different things: the match is told once, and that time
            // is out only with the last of them.
            let lives_on = due.iter().map(|(_, _, run)| run).chain(&key.runs).any(|other| other.node == run.node);
            if told.contains(&run.node) || (timeout && lives_on) {
                self.buffer.release(run.node, shared.kept);
                continue;
            }
            told.push(run.node);
            if !timeout {
                let mut done = VecDeque::from([Done { node: run.node, start: run.start }]);
                let mut others: Vec<Run> = due.iter().map(|(_, _, run)| *run).collect();
                let waiting = others.len();
                others.append(&mut key.runs);
                // Those that are due are dropped by number, so that they keep their order.
                let all: Vec<u64> = others.iter().map(|run| run.start).collect();
                self.finish(&mut done, &mut others, deadline, shared)?;
                let left: Vec<u64> = others.iter().map(|run| run.start).collect();
                let stays = |start: u64| left.contains(&start);
                let due_left = all[..waiting].iter().filter(|start| stays(**start)).count();
                key.runs = others.split_off(due_left);
                due.retain(|(_, _, run)| stays(run.start));
            } else {
                let taken = self.buffer.taken(run.node);
                let far_enough = |at_least: usize| taken.iter().any(|(label, _)| *label as usize >= at_least);
                if self.on_timeout.is_some_and(|at_least| at_least.is_none_or(far_enough)) {
                    taken.iter().for_each(|(_, event)| shared.kept.hold(*event));
                    shared.found.push(Found { rule: self.rule, what: What::Timeout, time: deadline, taken });
                }
                self.buffer.release(run.node, shared.kept);
            }
        }
        for ((_, absent_for), last) in self.automaton.before.iter().zip(&mut key.absent) {
            if *last != i64::MIN && last.saturating_add(*absent_for) <= now {
                *last = i64::MIN;
            }
        }
        key.timer = NEVER;
        self.open = self.open + key.runs.len() - before;
        if key.runs.is_empty() && key.absent.iter().all(|last| *last == i64::MIN) {
            shared.release(slot);
        } else {
            self.keys.insert(slot, key);
            self.set_timer(slot, shared);
        }
        Ok(())
    }

    fn set_timer(&mut self, slot: u32, shared: &mut Shared<'_>) {
        let Some(key) = self.keys.get(&slot) else { return };
        let runs = key.runs.iter().map(|run| self.deadline(run));
        let absent = self.automaton.before.iter().zip(&key.absent).filter(|(_, last)| **last != i64::MIN);
        let absent = absent.map(|((_, absent_for), last)| last.saturating_add(*absent_for));
        let next = runs.chain(absent).min().unwrap_or(NEVER);
        if let Some(key) = self.keys.get_mut(&slot)
            && next < key.timer
        {
            key.timer = next;
            shared.timers.set(Timer { at: next, rule: self.rule, slot });
        }
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
                visit(self, row, shared)?;
                self.advance(row, rows, &Truth::default(), shared)?;
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
            for ((_, row), truth) in heads.iter().zip(&truths) {
                if !self.failed {
                    self.advance(*row, rows, truth, shared)?;
                }
            }
            keys = keys.into_iter().map(|rows| &rows[1..]).filter(|rows| !rows.is_empty()).collect();
        }
        Ok(())
    }

    fn on_timer(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) -> Result<()> {
        self.expire(slot, now, shared)
    }

    fn bytes(&self) -> usize {
        const NODE: usize = 32;
        self.open * size_of::<Run>() + self.buffer.len() * NODE + self.keys.len() * size_of::<KeyRuns>()
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.keys.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// Version, absences, nodes (parents before children), runs.
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(key) = self.keys.get(&slot) else { return };
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

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
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
            let (number, label) = (from.word()? as u64, from.count()? as u16);
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
            runs.push(Run { state, node, begun, last, start: from.word()? as u64, seen: from.word()? as u64 });
        }
        nodes.into_iter().for_each(|node| self.buffer.release(node, shared.kept));
        self.open += runs.len();
        shared.hold(slot);
        self.keys.insert(slot, KeyRuns { runs, absent, timer: NEVER });
        self.set_timer(slot, shared);
        Ok(())
    }
}
