//! What the operator and the executors of rules say to each other.

use std::collections::HashMap;

use ahash::RandomState;
use arrow::array::RecordBatch;

use crate::error::Result;
use crate::operator::pattern::bind::Taken;
use crate::operator::pattern::holders::Holders;
use crate::operator::pattern::kept_rows::{Handle, KeptRows};
use crate::operator::pattern::row_set::RowSet;
use crate::operator::pattern::timers::{Timer, Timers};

/// Rows in the order in which they are looked at, and what is known of them.
pub(super) struct Rows<'a> {
    pub(super) batch: &'a RecordBatch,
    /// Event times, microseconds.
    pub(super) times: &'a [i64],
    /// Slot of the key.
    pub(super) slots: &'a [u32],
    /// Number of the event among those of its key, from 1; none where no executor asks for them.
    pub(super) numbers: &'a [u64],
    /// Per condition of the operator: the rows it holds for.
    pub(super) sets: &'a [RowSet],
}

/// What a rule found.
#[derive(Debug)]
pub(super) enum What {
    /// A match.
    Match,
    /// A sequence ran out of time.
    Timeout,
}

/// A match or a timeout.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) rule: u32,
    pub(super) what: What,
    /// When it is emitted: event time, microseconds.
    pub(super) time: i64,
    /// The events; each is held until the row is emitted.
    pub(super) taken: Taken,
}

/// A bound that was reached.
#[derive(Debug)]
pub(super) struct Overflowed {
    pub(super) rule: u32,
    pub(super) slot: u32,
    /// How many runs were dropped.
    pub(super) dropped: u64,
}

/// What executors share.
pub(super) struct Shared<'a> {
    pub(super) kept: &'a mut KeptRows,
    pub(super) timers: &'a mut Timers,
    pub(super) holders: &'a mut Holders,
    pub(super) found: &'a mut Vec<Found>,
    pub(super) overflowed: &'a mut Vec<Overflowed>,
    /// Rows that an executor has made itself.
    pub(super) emitted: &'a mut Vec<RecordBatch>,
}

/// What executors bring about: gathered over all of them, then handed on by the operator.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) found: Vec<Found>,
    pub(super) overflowed: Vec<Overflowed>,
    /// Rows that an executor has made itself.
    pub(super) emitted: Vec<RecordBatch>,
}

impl Outcome {
    /// What an executor works with, whose outcome is gathered here.
    pub(super) fn shared<'a>(&'a mut self, kept: &'a mut KeptRows, timers: &'a mut Timers, holders: &'a mut Holders) -> Shared<'a> {
        let Outcome { found, overflowed, emitted } = self;
        Shared { kept, timers, holders, found, overflowed, emitted }
    }
}

impl Shared<'_> {
    /// A rule begins to hold state of a key.
    pub(super) fn hold(&mut self, slot: u32) {
        self.holders.hold(slot);
    }

    /// A rule holds no state of a key any more.
    pub(super) fn release(&mut self, slot: u32) {
        self.holders.release(slot);
    }
}

/// Finds the matches of one rule.
pub(super) trait Executor: Send {
    /// Rows in order.
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()>;

    /// Event time has come to `now`: what the keys of these timers wait for may be due.
    fn on_timers(&mut self, timers: &[Timer], now: i64, shared: &mut Shared<'_>) -> Result<()>;

    /// Does it look at [`Rows::numbers`]?
    fn asks_for_numbers(&self) -> bool {
        false
    }

    /// No event will come any more.
    fn at_end(&mut self, _shared: &mut Shared<'_>) -> Result<()> {
        Ok(())
    }

    /// Memory of its state, without the kept events, in bytes, about; cheap.
    fn bytes(&self) -> usize;

    /// The keys with state, ascending.
    fn slots(&self) -> Vec<u32>;

    /// Rows with a time from here on may still be emitted; none: only such as have not come yet.
    fn open_since(&self) -> Option<i64> {
        None
    }

    /// Writes the state of a key.
    fn save(&self, slot: u32, to: &mut Saved<'_>);

    /// Reads the state of a key that has none yet.
    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()>;
}

/// The events of a key that are saved with it, each once: its number is its position.
#[derive(Debug, Default)]
pub(super) struct SavedEvents {
    pub(super) handles: Vec<Handle>,
    numbers: HashMap<Handle, i64, RandomState>,
}

/// The state of one rule and key as numbers.
pub(super) struct Saved<'a> {
    /// The numbers so far.
    pub(super) words: Vec<i64>,
    pub(super) events: &'a mut SavedEvents,
}

impl Saved<'_> {
    /// Writes a number.
    pub(super) fn word(&mut self, word: i64) {
        self.words.push(word);
    }

    /// Writes an event.
    pub(super) fn event(&mut self, handle: Handle) {
        let SavedEvents { handles, numbers } = &mut *self.events;
        let number = *numbers.entry(handle).or_insert_with(|| {
            handles.push(handle);
            handles.len() as i64 - 1
        });
        self.words.push(number);
    }
}

/// The same, read.
pub(super) struct Loaded<'a> {
    pub(super) words: std::slice::Iter<'a, i64>,
    /// The key's events by number.
    pub(super) events: &'a [Handle],
    /// The key has had so many events more than the state knows of.
    pub(super) ahead: u64,
}

impl Loaded<'_> {
    /// Reads a number.
    pub(super) fn word(&mut self) -> Result<i64> {
        self.words.next().copied().ok_or_else(short)
    }

    /// Reads a count.
    pub(super) fn count(&mut self) -> Result<usize> {
        usize::try_from(self.word()?).map_err(|_| short())
    }

    /// Reads the number of an event of the key.
    pub(super) fn number(&mut self) -> Result<u64> {
        Ok(self.word()? as u64 + self.ahead)
    }

    /// Reads an event.
    pub(super) fn event(&mut self) -> Result<Handle> {
        let number = self.count()?;
        self.events.get(number).copied().ok_or_else(short)
    }
}

fn short() -> crate::error::Error {
    crate::error::Error::corrupt("the state of a rule in the checkpoint is shorter than it says")
}
