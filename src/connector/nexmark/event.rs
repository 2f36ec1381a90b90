//! The events of an auction site: event `n` is a pure function of (seed, n).
//!
//! Of 50 events in a row the first is a person, the next three are auctions, the others bids. Bids prefer the newest
//! auctions and persons. A quarter of the events comes up to five seconds late.

use std::sync::OnceLock;

use super::options::Kind;
use crate::connector::chance::{Zipf, draw};

/// Events that make a round: 1 person, 3 auctions, 46 bids.
const ROUND: u64 = 50;
/// Auctions of a round.
const AUCTIONS: u64 = 3;
/// Bids of a round.
const BIDS: u64 = ROUND - 1 - AUCTIONS;
/// Among so many of the newest, bids and sellers are drawn.
const HOT: usize = 1_000;
/// Late events are late by less than this.
const LATE_MS: u64 = 5_000;

/// An event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// Its number.
    number: u64,
    /// Key of its draws.
    seed: u64,
}

impl Kind {
    /// Number, among all events, of the `index`-th event of this kind.
    pub fn number(self, index: u64) -> u64 {
        match self {
            Kind::Person => index * ROUND,
            Kind::Auction => index / AUCTIONS * ROUND + 1 + index % AUCTIONS,
            Kind::Bid => index / BIDS * ROUND + 1 + AUCTIONS + index % BIDS,
        }
    }

    /// How many of the first `events` events are of this kind.
    pub fn among(self, events: u64) -> u64 {
        let (rounds, rest) = (events / ROUND, events % ROUND);
        match self {
            Kind::Person => rounds + rest.min(1),
            Kind::Auction => rounds * AUCTIONS + rest.saturating_sub(1).min(AUCTIONS),
            Kind::Bid => rounds * BIDS + rest.saturating_sub(1 + AUCTIONS),
        }
    }

    /// This kind's share of all events: so many of so many.
    pub fn share(self) -> (u64, u64) {
        match self {
            Kind::Person => (1, ROUND),
            Kind::Auction => (AUCTIONS, ROUND),
            Kind::Bid => (BIDS, ROUND),
        }
    }
}

impl Event {
    /// Event `number`.
    pub fn new(seed: u64, number: u64) -> Self {
        Event { number, seed }
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.number
    }

    fn draw(self, stream: u64) -> u64 {
        draw(self.seed.wrapping_mul(1_000_003).wrapping_add(100 + stream), self.number)
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        match self.number % ROUND {
            0 => Kind::Person,
            1..=AUCTIONS => Kind::Auction,
            _ => Kind::Bid,
        }
    }

    /// How long before its turn it happened, in microseconds.
    pub fn late_micros(self) -> i64 {
        let draw = self.draw(3);
        if draw.is_multiple_of(4) { ((draw >> 8) % LATE_MS * 1_000) as i64 } else { 0 }
    }

    /// Id of the person that registers.
    pub fn person(self) -> i64 {
        (self.number / ROUND) as i64
    }

    /// Id of the auction that is opened.
    pub fn auction(self) -> i64 {
        self.last_auction()
    }

    /// Id of the newest auction when it happens.
    fn last_auction(self) -> i64 {
        let (round, place) = (self.number / ROUND, self.number % ROUND);
        (round * AUCTIONS + place.saturating_sub(1).min(AUCTIONS - 1)) as i64
    }

    /// The auction that is bid for: mostly a new one.
    pub fn hot_auction(self) -> i64 {
        (self.last_auction() - hot(self.draw(1))).max(0)
    }

    /// The bidder or seller: mostly someone new.
    pub fn hot_person(self) -> i64 {
        (self.person() - hot(self.draw(2))).max(0)
    }

    /// The price bid or asked for.
    pub fn price(self) -> i64 {
        (100 + self.draw(4) % 1_000_000) as i64
    }
}

/// How far back from the newest.
fn hot(draw: u64) -> i64 {
    static NEWEST: OnceLock<Zipf> = OnceLock::new();
    NEWEST.get_or_init(|| Zipf::new(HOT)).rank(draw) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_counts_its_own_events() {
        for kind in [Kind::Person, Kind::Auction, Kind::Bid] {
            let numbers: Vec<u64> = (0..1_000).filter(|n| Event::new(1, *n).kind() == kind).collect();
            for (index, number) in numbers.iter().enumerate() {
                assert_eq!(kind.number(index as u64), *number);
                assert_eq!(kind.among(*number), index as u64);
            }
        }
    }

    #[test]
    fn bids_are_for_auctions_that_exist() {
        for number in 0..20_000 {
            let event = Event::new(42, number);
            assert!(event.hot_auction() <= event.last_auction() && event.hot_person() <= event.person());
        }
    }
}
