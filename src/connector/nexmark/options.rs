//! Options of `nexmark`.

/// `'connector'='nexmark'`. Columns are found by name.
///
/// With `'table'` the columns are those of that kind of event: person (id, name, emailAddress, creditCard, city, state,
/// dateTime, extra), auction (id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra),
/// bid (auction, bidder, price, channel, url, dateTime, extra). Without it the table is the one of the Nexmark project:
/// event_type INT (0 person, 1 auction, 2 bid) and ROW columns named person, auction and bid, of which one is not NULL.
/// `dateTime` and `expires` may be timestamps or BIGINT (milliseconds since 1970).
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NexmarkOptions {
    /// `person`, `auction` or `bid`: only these events, as plain columns.
    pub table: Option<Kind>,
    /// Events in all, of all kinds: 1 person to 3 auctions to 46 bids. 0, the default, is without end.
    #[serde(rename = "events.num", default)]
    pub events: u64,
    /// Events a second, of all kinds, by the clock; with `start-time`, of event time. Default 10000.
    #[serde(rename = "first-event.rate", default = "ten_thousand")]
    pub rate: u64,
    /// Partitions that the events are dealt to. Default 1.
    #[serde(default = "one")]
    pub partitions: u32,
    /// Another seed makes other events. Default 42.
    #[serde(default = "forty_two")]
    pub seed: u64,
    /// When the first event happens (`2024-01-01 00:00:00`, UTC). Then nothing waits for the clock, and each run makes
    /// the same events. Without it, events happen now.
    #[serde(rename = "start-time")]
    pub start_time: Option<String>,
}

fn ten_thousand() -> u64 {
    10_000
}

fn one() -> u32 {
    1
}

fn forty_two() -> u64 {
    42
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Someone registers.
    Person,
    /// Someone offers something.
    Auction,
    /// Someone bids for it.
    Bid,
}

impl Kind {
    /// As the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Person => "person",
            Kind::Auction => "auction",
            Kind::Bid => "bid",
        }
    }
}
