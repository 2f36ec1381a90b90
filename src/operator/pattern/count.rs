//! Counts: per key a queue of the last N + 1 events that count. The N + 1st from the end lies in the window exactly when
//! there are more than N.
//!
//! ```text
//!  more than 2 in 10:    1 · 4 · 9 ──▶ fires (queue 1 4 9: 9 - 1 < 10)    11 (4 9 11): still holds, silent    25: no more
//! ```

use std::hint::black_box;

use crate::error::{Error, Result};
use crate::operator::pattern::by_key::ByKey;
use crate::operator::pattern::conditions::{ConditionId, Conditions};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Rows, Saved, Shared, What};
use crate::operator::pattern::kept_rows::{KeptRows, NO_ROW};
use crate::operator::pattern::queue::{Queue, Queues};
use crate::operator::pattern::row_set::RowSet;
use crate::operator::pattern::spec::{Compare, CountRule, Rule};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;

/// So many windows are read ahead: they fit into the nearest cache.
const AHEAD: usize = 64;
/// The place of a window that is not there yet.
const NO_WINDOW: usize = usize::MAX;

/// The events of a key that may still matter: when each was, and the event if it is wanted.
#[derive(Debug, Default)]
struct Window {
    events: Queue,
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
    windows: ByKey<Window>,
    events: Queues,
    /// The rows at hand that count: empty between batches, so that no list is made anew for each.
    counted: Vec<u32>,
    /// And the places of their windows, some at a time.
    places: Vec<usize>,
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
            windows: ByKey::new(),
            events: Queues::default(),
            counted: Vec::new(),
            places: Vec::new(),
        })
    }

    /// The place of a key's window; one that has none gets an empty one, with this timer.
    fn window(&mut self, slot: u32, at: i64, shared: &mut Shared<'_>) -> usize {
        self.windows.find(slot).unwrap_or_else(|| {
            shared.hold(slot);
            shared.timers.set(Timer { at, rule: self.rule, slot });
            self.windows.insert(slot, Window::default())
        })
    }

    /// Reads what will be needed of these windows. One after the other would wait for memory at every step; here all of
    /// them wait together.
    fn read_ahead(&self, places: &[usize], kept: &KeptRows) {
        let ends = |place: &usize| {
            let queue = &self.windows.get_at(*place)?.events;
            let ((first, event), (last, _)) = self.events.first(queue).zip(self.events.last(queue))?;
            Some((first ^ last, event))
        };
        let cells = places.iter().filter_map(ends).fold(0, |seen, (times, _)| seen ^ times);
        let events = places.iter().filter_map(ends).fold(0, |seen, (_, event)| seen ^ kept.touch(event));
        black_box((cells, events));
    }

    fn on_row(&mut self, row: u32, place: usize, rows: &Rows<'_>, shared: &mut Shared<'_>) {
        let time = rows.times[row as usize];
        let window = self.windows.at_mut(place);
        // An event before that has left the window counts as none.
        let start = time.saturating_sub(self.over);
        let mut held = window.held;
        while let Some((old, event)) = self.events.first(&window.events)
            && (old <= start || window.events.len() >= self.most)
        {
            self.events.pop(&mut window.events);
            held &= window.events.len() > 0 || old > start;
            if event != NO_ROW {
                shared.kept.release(event);
            }
        }
        let event = if self.wants_events { shared.kept.keep(row) } else { NO_ROW };
        self.events.push(&mut window.events, (time, event));
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
            let mut taken = Vec::with_capacity(window.events.len());
            taken.extend(self.events.iter(&window.events).map(|(_, event)| (0, event)));
            taken.iter().for_each(|(_, event)| shared.kept.hold(*event));
            taken
        } else {
            vec![(0, shared.kept.keep(row))]
        };
        shared.found.push(Found { rule: self.rule, what: What::Match, time, taken });
    }
}

impl Executor for Counts {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let mut counted = std::mem::take(&mut self.counted);
        counted.clear();
        self.when.map_or(&RowSet::All, |id| &rows.sets[id]).for_each(rows.slots.len(), |row| counted.push(row));
        let mut places = std::mem::take(&mut self.places);
        for some in counted.chunks(AHEAD) {
            places.clear();
            // All are looked for before any is made: look-ups that depend on nothing wait for memory together.
            places.extend(some.iter().map(|row| self.windows.find(rows.slots[*row as usize]).unwrap_or(NO_WINDOW)));
            self.read_ahead(&places, shared.kept);
            for (row, place) in some.iter().zip(&mut places) {
                if *place == NO_WINDOW {
                    let at = rows.times[*row as usize].saturating_add(self.over);
                    *place = self.window(rows.slots[*row as usize], at, shared);
                }
            }
            for (row, place) in some.iter().zip(&places) {
                self.on_row(*row, *place, rows, shared);
            }
        }
        (self.counted, self.places) = (counted, places);
        Ok(())
    }

    fn on_timers(&mut self, timers: &[Timer], now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let start = now.saturating_sub(self.over);
        for some in timers.chunks(AHEAD) {
            let places: Vec<usize> = some.iter().filter_map(|timer| self.windows.find(timer.slot)).collect();
            self.read_ahead(&places, shared.kept);
            for slot in some.iter().map(|timer| timer.slot) {
                let Some(place) = self.windows.find(slot) else { continue };
                if let Some((last, _)) = self.events.last(&self.windows.at(place).events)
                    && last > start
                {
                    shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
                    continue;
                }
                let mut window = self.windows.remove(place);
                while let Some((_, event)) = self.events.pop(&mut window.events) {
                    if event != NO_ROW {
                        shared.kept.release(event);
                    }
                }
                shared.release(slot);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.windows.bytes() + self.events.bytes()
    }

    fn slots(&self) -> Vec<u32> {
        self.windows.slots()
    }

    /// Version, held, events wanted or not, then per event its time (and the event).
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(window) = self.windows.get(slot) else { return };
        [VERSION, i64::from(window.held), i64::from(self.wants_events), window.events.len() as i64]
            .into_iter()
            .for_each(|word| to.word(word));
        for (time, event) in self.events.iter(&window.events) {
            to.word(time);
            if self.wants_events {
                to.event(event);
            }
        }
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of rule '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let (held, with_events) = (from.word()? != 0, from.word()? != 0);
        let mut events = Vec::new();
        for _ in 0..from.count()? {
            let time = from.word()?;
            let event = if with_events { from.event()? } else { NO_ROW };
            // A rule that says more than it did before cannot tell of events that were not kept.
            if event != NO_ROW || !self.wants_events {
                events.push((time, if self.wants_events { event } else { NO_ROW }));
            }
        }
        // A lower number or a shorter window needs fewer of them.
        events.drain(..events.len().saturating_sub(self.most));
        let last = events.last().map_or(i64::MIN, |(time, _)| *time);
        let place = self.window(slot, last.saturating_add(self.over), shared);
        let window = self.windows.at_mut(place);
        window.held = held;
        for (time, event) in events {
            if event != NO_ROW {
                shared.kept.hold(event);
            }
            self.events.push(&mut window.events, (time, event));
        }
        Ok(())
    }
}
