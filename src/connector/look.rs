//! A look into a broker for people: what it holds, its records as lines of JSON, records written by hand.
//!
//! Each broker has a `look.rs`; `eagre topics list|tail|put --broker NAME` is the door to it.

use async_trait::async_trait;

use crate::error::Result;
use crate::log::{Put, Tail, Whole};

/// What a broker holds, as a table.
#[derive(Debug)]
pub struct Listing {
    /// Heads of the columns; one that begins with `>` has numbers below it.
    pub heads: &'static [&'static str],
    /// A line each.
    pub rows: Vec<Vec<String>>,
}

/// A record written by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// Its key; with a RabbitMQ its routing key.
    pub key: Option<String>,
    /// Its value.
    pub value: Vec<u8>,
}

/// A broker to look into.
#[async_trait]
pub trait Look: Send + Sync {
    /// What it holds.
    async fn list(&self) -> Result<Listing>;

    /// Shows records, piece by piece, until `show` says no more or, when it does not follow, there are none.
    async fn tail(&self, tail: &Tail, show: &mut (dyn Show + '_)) -> Result<()>;

    /// Writes records to the topic (or queue) and the partition of `put`; each is confirmed. Returns how many.
    async fn put(&self, put: &Put, records: Vec<ByHand>) -> Result<u64>;

    /// Hands over all records of a topic as they are, up to where it ends now.
    async fn read(&self, topic: &str, take: &mut (dyn FnMut(Vec<Whole>) -> Result<()> + Send)) -> Result<()>;

    /// Writes records to a topic (or a queue) as they are: key, headers, time, and the partition that they name. All are
    /// confirmed.
    async fn send(&self, topic: &str, records: Vec<Whole>) -> Result<()>;
}

/// Takes lines.
#[async_trait]
pub trait Show: Send {
    /// Shows whole lines of JSON; false: no more.
    async fn show(&mut self, lines: String) -> Result<bool>;
}
