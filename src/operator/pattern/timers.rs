//! A timing wheel: when the state of a key is to be looked at again, for absences, timeouts and the removal of empty keys.
//!
//! ```text
//!  far:  ── one slot of the far wheel = one turn of the near wheel ──▶
//!  near: [ ][ ][•][ ][••] …  one slot = a tick of 2^16 µs
//! ```
//! A timer is due some time at or after its time, never before; whoever set it looks at what is really due.

use std::collections::BTreeMap;

/// Bits of a tick: 65.5 ms.
const TICK_BITS: u32 = 16;
/// Bits of a turn of the near wheel in ticks: 256 slots, 16.8 s.
const TURN_BITS: u32 = 8;
const SLOTS: usize = 1 << TURN_BITS;

/// A timer of a rule and a key. In this order they go off: what one rule looks at is looked at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) rule: u32,
    pub(super) at: i64,
    pub(super) slot: u32,
}

/// The timers of an operator.
#[derive(Debug)]
pub(super) struct Timers {
    /// The turn at hand: by tick.
    near: Vec<Vec<Timer>>,
    /// Number of the turn at hand.
    turn: i64,
    /// Later turns.
    far: BTreeMap<i64, Vec<Timer>>,
    count: usize,
}

fn tick(at: i64) -> i64 {
    at >> TICK_BITS
}

impl Timers {
    /// No timers.
    pub(super) fn new() -> Self {
        Timers { near: vec![Vec::new(); SLOTS], turn: i64::MIN >> (TICK_BITS + TURN_BITS), far: BTreeMap::new(), count: 0 }
    }

    /// Sets a timer.
    pub(super) fn set(&mut self, timer: Timer) {
        let turn = tick(timer.at) >> TURN_BITS;
        self.count += 1;
        if turn > self.turn {
            self.far.entry(turn).or_default().push(timer);
        } else {
            // What is overdue goes off at once.
            let slot = if turn == self.turn { tick(timer.at) as usize % SLOTS } else { 0 };
            self.near[slot].push(timer);
        }
    }

    /// Takes the timers at or before `now`: by rule, in order of time.
    pub(super) fn due(&mut self, now: i64) -> Vec<Timer> {
        let mut due = Vec::new();
        if self.count == 0 {
            return due;
        }
        loop {
            let last = if tick(now) >> TURN_BITS == self.turn { tick(now) as usize % SLOTS } else { SLOTS - 1 };
            for slot in &mut self.near[..=last] {
                if slot.iter().all(|timer| timer.at <= now) {
                    due.append(slot);
                } else {
                    due.extend(slot.extract_if(.., |timer| timer.at <= now));
                }
            }
            match self.far.first_entry() {
                Some(entry) if *entry.key() <= tick(now) >> TURN_BITS => {
                    let (turn, timers) = entry.remove_entry();
                    self.turn = turn;
                    for timer in timers {
                        self.near[tick(timer.at) as usize % SLOTS].push(timer);
                    }
                }
                _ => break,
            }
        }
        self.count -= due.len();
        due.sort_unstable();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_when_due_and_in_order() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for spread in [1_000, 10_000_000, 100_000_000_000] {
            let mut timers = Timers::new();
            let mut waiting: Vec<Timer> = Vec::new();
            let mut now = -5_000_000_000;
            for rule in 0..2_000 {
                let timer = Timer { at: now + random(spread) as i64 - spread as i64 / 10, rule, slot: random(9) as u32 };
                timers.set(timer);
                waiting.push(timer);
                if rule % 7 == 0 {
                    now += random(spread / 4) as i64;
                    let mut expected: Vec<Timer> = waiting.extract_if(.., |timer| timer.at <= now).collect();
                    expected.sort_unstable();
                    assert_eq!(timers.due(now), expected, "at {now}");
                }
            }
            assert_eq!(timers.due(i64::MAX).len(), waiting.len());
            assert!(timers.due(i64::MAX).is_empty());
        }
    }
}
