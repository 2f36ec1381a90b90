//! Conditions over aggregates: per key the events of the window; the aggregates are computed over them for the next event
//! of every key at once.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::{BoundCondition, Taken};
use crate::operator::pattern::conditions::{ConditionId, Conditions};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Overflowed, Rows, Saved, Shared, What};
use crate::operator::pattern::kept_rows::Handle;
use crate::operator::pattern::row_set::any_of;
use crate::operator::pattern::spec::{AggregateRule, Bounds, Overflow, Rule};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;
/// What an event in a window takes, beside its row.
const EVENT_BYTES: usize = size_of::<(i64, Handle)>();

/// The window of a key.
#[derive(Debug, Default)]
struct Window {
    events: VecDeque<(i64, Handle)>,
    /// Did the condition hold at the last of them?
    held: bool,
}

/// An aggregate rule at work.
pub(super) struct Aggregated {
    rule: u32,
    name: String,
    when: Option<ConditionId>,
    over: i64,
    having: BoundCondition,
    each: bool,
    bounds: Bounds,
    keys: HashMap<u32, Window, RandomState>,
    /// In all windows.
    events: usize,
    failed: bool,
}

impl Aggregated {
    /// A condition over aggregates of the input of `spec`; what it asks of each event becomes part of `conditions`.
    pub(super) fn new(
        number: u32,
        rule: &Rule,
        aggregate: &AggregateRule,
        spec: &PatternSpec,
        conditions: &mut Conditions,
    ) -> Result<Self> {
        if aggregate.over_micros <= 0 {
            return Err(Error::input("`over` of an aggregate must be a time longer than nothing"));
        }
        Ok(Aggregated {
            rule: number,
            name: rule.name.clone(),
            when: aggregate.when.as_ref().map(|when| conditions.add(when)),
            over: aggregate.over_micros,
            having: BoundCondition::new(&aggregate.having, &spec.input, spec.time, &["event"])?,
            each: aggregate.each,
            bounds: rule.bounds,
            keys: HashMap::with_hasher(RandomState::with_seeds(31, 32, 33, 34)),
            events: 0,
            failed: false,
        })
    }

    /// Puts an event into the window of its key and takes out what has left it.
    fn slide(&mut self, row: u32, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Taken {
        let (slot, time) = (rows.slots[row as usize], rows.times[row as usize]);
        if !self.keys.contains_key(&slot) {
            shared.hold(slot);
            shared.timers.set(Timer { at: time.saturating_add(self.over), rule: self.rule, slot });
        }
        let window = self.keys.entry(slot).or_default();
        let start = time.saturating_sub(self.over);
        while let Some((_, event)) = window.events.pop_front_if(|(old, _)| *old <= start) {
            self.events -= 1;
            shared.kept.release(event);
        }
        // An event before that has left the window counts as none.
        window.held &= !window.events.is_empty();
        if self.bounds.max_bytes.is_some_and(|most| self.events * EVENT_BYTES >= most) {
            let gone = match self.bounds.overflow {
                Overflow::DropOldest => window.events.pop_front(),
                Overflow::DropNewest => window.events.pop_back(),
                Overflow::FailRule => {
                    self.failed = true;
                    None
                }
            };
            if let Some((_, event)) = gone {
                self.events -= 1;
                shared.kept.release(event);
            }
            shared.overflowed.push(Overflowed { rule: self.rule, slot, dropped: 1 });
        }
        window.events.push_back((time, shared.kept.keep(row, time)));
        self.events += 1;
        window.events.iter().map(|(_, event)| (0, *event)).collect()
    }

    fn clear(&mut self, shared: &mut Shared<'_>) {
        self.events = 0;
        for (slot, window) in self.keys.drain() {
            window.events.iter().for_each(|(_, event)| shared.kept.release(*event));
            shared.release(slot);
        }
    }
}

impl Executor for Aggregated {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let mut candidates = Vec::new();
        match self.when.map(|id| &rows.sets[id]) {
            _ if self.failed => {}
            None => candidates.extend(0..rows.slots.len() as u32),
            Some(set) => any_of(std::iter::once(set), rows.slots.len(), &mut candidates),
        }
        let of_key = |row: &u32| rows.slots[*row as usize];
        candidates.sort_by_key(of_key);
        let mut keys: Vec<&[u32]> = candidates.chunk_by(|a, b| of_key(a) == of_key(b)).collect();
        while !keys.is_empty() {
            let windows: Vec<Taken> = keys.iter().map(|of_one| self.slide(of_one[0], rows, shared)).collect();
            let of: Vec<&[(u16, Handle)]> = windows.iter().map(Vec::as_slice).collect();
            let values = self.having.evaluate_last(&of, shared.kept)?;
            for ((of_one, window), holds) in keys.iter().zip(&windows).zip(values.values()) {
                let Some(state) = self.keys.get_mut(&of_key(&of_one[0])) else { continue };
                let fires = holds && (self.each || !state.held);
                state.held = holds;
                if fires {
                    window.iter().for_each(|(_, event)| shared.kept.hold(*event));
                    let time = rows.times[of_one[0] as usize];
                    shared.found.push(Found { rule: self.rule, what: What::Match, time, taken: window.clone() });
                }
            }
            if self.failed {
                self.clear(shared);
                break;
            }
            keys = keys.into_iter().map(|rows| &rows[1..]).filter(|rows| !rows.is_empty()).collect();
        }
        Ok(())
    }

    fn on_timer(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let start = now.saturating_sub(self.over);
        let last = self.keys.get(&slot).and_then(|window| window.events.back()).map(|(time, _)| *time);
        if let Some(last) = last.filter(|last| *last > start) {
            shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
        } else if let Some(window) = self.keys.remove(&slot) {
            self.events -= window.events.len();
            window.events.iter().for_each(|(_, event)| shared.kept.release(*event));
            shared.release(slot);
        }
        Ok(())
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.keys.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// Version, held, then per event its time and the event.
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(window) = self.keys.get(&slot) else { return };
        [VERSION, i64::from(window.held), window.events.len() as i64].into_iter().for_each(|word| to.word(word));
        for (time, event) in &window.events {
            to.word(*time);
            to.event(*event);
        }
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of rule '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let mut window = Window { events: VecDeque::new(), held: from.word()? != 0 };
        for _ in 0..from.count()? {
            let (time, event) = (from.word()?, from.event()?);
            shared.kept.hold(event);
            window.events.push_back((time, event));
        }
        self.events += window.events.len();
        let last = window.events.back().map_or(i64::MIN, |(time, _)| *time);
        shared.hold(slot);
        shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
        self.keys.insert(slot, window);
        Ok(())
    }
}
