//! Counts: per key a ring of the last N + 1 events that count. The N + 1st from the end lies in the window exactly when
//! there are more than N.
//!
//! ```text
//!  more than 2 in 10:    1 · 4 · 9 ──▶ fires (ring 1 4 9: 9 - 1 < 10)    11 (4 9 11): still holds, silent    25: no more
//! ```

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::error::{Error, Result};
use crate::operator::pattern::conditions::{ConditionId, Conditions};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Rows, Saved, Shared, What};
use crate::operator::pattern::kept_rows::{Handle, NO_ROW};
use crate::operator::pattern::row_set::RowSet;
use crate::operator::pattern::spec::{Compare, CountRule, Rule};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;

/// The events of a key that may still matter.
#[derive(Debug, Default)]
struct Window {
    /// Time, and the event if it is wanted.
    events: VecDeque<(i64, Handle)>,
    /// Did the condition hold at the last of them?
    held: bool,
}

/// A count at work.
pub(super) struct Counts {
    rule: u32,
    name: String,
    when: Option<ConditionId>,
    over: i64,
    compare: Compare,
    each: bool,
    /// So many events are enough to know; all of the window if none is.
    most: usize,
    /// Does the row of a match tell more than the last event?
    wants_events: bool,
    keys: HashMap<u32, Window, RandomState>,
    /// In all windows.
    events: usize,
}

impl Counts {
    /// A count; its condition becomes part of `conditions`.
    pub(super) fn new(number: u32, rule: &Rule, count: &CountRule, conditions: &mut Conditions) -> Result<Self> {
        if count.over_micros <= 0 {
            return Err(Error::input("`over` of a count must be a time longer than nothing"));
        }
        let enough = match count.compare {
            Compare::MoreThan(n) => n.saturating_add(1),
            Compare::AtLeast(n) => n.max(1),
            Compare::LessThan(_) => u64::MAX,
        };
        Ok(Counts {
            rule: number,
            name: rule.name.clone(),
            when: count.when.as_ref().map(|when| conditions.add(when)),
            over: count.over_micros,
            compare: count.compare,
            each: count.each,
            most: if count.each { usize::MAX } else { usize::try_from(enough).unwrap_or(usize::MAX) },
            wants_events: !rule.emit.bindings.is_empty(),
            keys: HashMap::with_hasher(RandomState::with_seeds(21, 22, 23, 24)),
            events: 0,
        })
    }

    fn on_row(&mut self, row: u32, rows: &Rows<'_>, shared: &mut Shared<'_>) {
        let (slot, time) = (rows.slots[row as usize], rows.times[row as usize]);
        let window = match self.keys.entry(slot) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                shared.hold(slot);
                shared.timers.set(Timer { at: time.saturating_add(self.over), rule: self.rule, slot });
                entry.insert(Window::default())
            }
        };
        // An event before that has left the window counts as none.
        let start = time.saturating_sub(self.over);
        let mut held = window.held;
        while let Some((old, event)) = window.events.front().copied()
            && (old <= start || window.events.len() >= self.most)
        {
            window.events.pop_front();
            self.events -= 1;
            held &= !window.events.is_empty() || old > start;
            if event != NO_ROW {
                shared.kept.release(event);
            }
        }
        let event = if self.wants_events { shared.kept.keep(row, time) } else { NO_ROW };
        window.events.push_back((time, event));
        self.events += 1;
        let count = window.events.len() as u64;
        let holds = match self.compare {
            Compare::MoreThan(n) => count > n,
            Compare::AtLeast(n) => count >= n,
            Compare::LessThan(n) => count < n,
        };
        window.held = holds;
        if !holds || (held && !self.each) {
            return;
        }
        let taken = if self.wants_events {
            window.events.iter().map(|(_, event)| (0, *event)).inspect(|(_, event)| shared.kept.hold(*event)).collect()
        } else {
            vec![(0, shared.kept.keep(row, time))]
        };
        shared.found.push(Found { rule: self.rule, what: What::Match, time, taken });
    }
}

impl Executor for Counts {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let total = rows.slots.len();
        match self.when.map(|id| &rows.sets[id]) {
            None => RowSet::All.for_each(total, |row| self.on_row(row, rows, shared)),
            Some(set) => set.for_each(total, |row| self.on_row(row, rows, shared)),
        }
        Ok(())
    }

    fn on_timer(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let Entry::Occupied(mut entry) = self.keys.entry(slot) else { return Ok(()) };
        let start = now.saturating_sub(self.over);
        let window = entry.get_mut();
        if let Some((last, _)) = window.events.back()
            && *last > start
        {
            shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
            return Ok(());
        }
        let window = entry.remove();
        self.events -= window.events.len();
        for (_, event) in window.events {
            if event != NO_ROW {
                shared.kept.release(event);
            }
        }
        shared.release(slot);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.len() * size_of::<(u32, Window)>() + self.events * size_of::<(i64, Handle)>()
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.keys.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// Version, held, events wanted or not, then per event its time (and the event).
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(window) = self.keys.get(&slot) else { return };
        [VERSION, i64::from(window.held), i64::from(self.wants_events), window.events.len() as i64]
            .into_iter()
            .for_each(|word| to.word(word));
        for (time, event) in &window.events {
            to.word(*time);
            if self.wants_events {
                to.event(*event);
            }
        }
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of rule '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let (held, with_events) = (from.word()? != 0, from.word()? != 0);
        let mut window = Window { events: VecDeque::new(), held };
        for _ in 0..from.count()? {
            let time = from.word()?;
            let event = if with_events { from.event()? } else { NO_ROW };
            // A rule that says more than it did before cannot tell of events that were not kept.
            if self.wants_events && event != NO_ROW {
                shared.kept.hold(event);
                window.events.push_back((time, event));
            } else if !self.wants_events {
                window.events.push_back((time, NO_ROW));
            }
        }
        // A lower number or a shorter window needs fewer of them.
        while window.events.len() > self.most {
            if let Some((_, event)) = window.events.pop_front()
                && event != NO_ROW
            {
                shared.kept.release(event);
            }
        }
        let last = window.events.back().map_or(i64::MIN, |(time, _)| *time);
        shared.hold(slot);
        shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
        self.events += window.events.len();
        self.keys.insert(slot, window);
        Ok(())
    }
}
