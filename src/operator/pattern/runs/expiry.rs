//! Runs that are over by time: absences that have become certain, sequences that ran out of time.

use std::collections::VecDeque;

use super::{Done, NEVER, Run, Runs};
use crate::error::Result;
use crate::operator::pattern::buffer::NodeId;
use crate::operator::pattern::executor::{Found, Shared, What};
use crate::operator::pattern::timers::Timer;

impl Runs {
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

    /// Ends the runs of a key that are over at `now`, in the order in which they are.
    pub(super) fn expire(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let Some(place) = self.keys.find(slot) else { return Ok(()) };
        let mut key = self.keys.remove(place);
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
            let place = self.keys.insert(slot, key);
            self.set_timer(slot, place, shared);
        }
        Ok(())
    }

    pub(super) fn set_timer(&mut self, slot: u32, place: usize, shared: &mut Shared<'_>) {
        let key = self.keys.at(place);
        let runs = key.runs.iter().map(|run| self.deadline(run));
        let absent = self.automaton.before.iter().zip(&key.absent).filter(|(_, last)| **last != i64::MIN);
        let absent = absent.map(|((_, absent_for), last)| last.saturating_add(*absent_for));
        let next = runs.chain(absent).min().unwrap_or(NEVER);
        let key = self.keys.at_mut(place);
        if next < key.timer {
            key.timer = next;
            shared.timers.set(Timer { at: next, rule: self.rule, slot });
        }
    }
}
