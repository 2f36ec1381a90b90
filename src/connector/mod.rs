//! Connectors: where records come from and where results go.
//!
//! Describing a connector and being one are two types: a [`Source`] describes (it can be planned, checked and shown
//! without touching anything outside), a [`Reader`] reads one partition; a [`Sink`] describes, a [`Writer`] writes for
//! one task. Always holds: a reader's position names exactly the chunks handed over so far; nothing a writer was given
//! is visible outside before `commit` (or, with a [`transaction`], before the commit of its group). Every connector passes the contract tests of `tests/`. Read `filesystem/` first.

pub mod address;
pub mod blackhole;
pub mod chance;
#[cfg(test)]
mod contract;
pub mod datagen;
pub mod environment;
pub mod feed;
pub mod filesystem;
mod generated;
pub mod history;
pub mod kafka;
pub mod letters;
pub mod log;
pub mod look;
pub mod nexmark;
pub mod options;
pub mod print;
pub mod rabbitmq;
pub mod reading;
pub mod registry;
pub mod table;
pub mod topology;
pub mod transaction;
pub mod trouble;
pub mod values;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use self::transaction::TransactionGroup;
use crate::change::Changes;
use crate::error::{Error, Result};
use crate::format::Chunk;
use crate::state::StateHandles;
use arrow::array::RecordBatch;

/// Where a reader stands: the connector's own words (a file offset, a record offset), kept in the checkpoint.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Position(pub serde_json::Value);

/// One partition of a source: rows are ordered within it, and it has a watermark of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// Number among the source's partitions, stable over restarts.
    pub index: u32,
    /// Name as the user knows it (`part-0.jsonl`, `orders[3]`).
    pub name: String,
}

/// What a reader has for now.
#[derive(Debug)]
pub enum Read {
    /// Records.
    Chunk(Chunk),
    /// The outside says so itself: nothing older than this comes any more (microseconds since 1970, exclusive).
    Watermark(i64),
    /// Nothing new in the outside world: the idle clock may run.
    Idle,
    /// The outside world cannot be asked for now: whether there is something new is not known, and the idle clock stands.
    Away,
    /// The partition is bounded and has been read to its end.
    End,
}

/// Describes a source of records.
#[async_trait]
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Connector and place in one line, for `eagre explain` and messages (`filesystem /data/events/*.jsonl`).
    fn describe(&self) -> String;

    /// What the source is, for the fingerprint: the place, not the options that only tune.
    fn identity(&self) -> String;

    /// Does it end by itself?
    fn bounded(&self) -> bool;

    /// Its partitions as of now, by index. Called at start, and again while running by connectors that grow.
    async fn partitions(&self) -> Result<Vec<Partition>>;

    /// Opens a partition at `position`, or where the options say when there is none.
    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>>;

    /// Does a read hand over all that has come since the last one? Then a reader of rows that trickle in may be called less
    /// often (`batch.linger`).
    fn gathers(&self) -> bool {
        false
    }

    /// How often new partitions are looked for while running; `None` = there are never any.
    fn discovery(&self) -> Option<Duration> {
        None
    }

    /// Where a partition is opened that has appeared since the run began, or since its checkpoint: at its first record,
    /// wherever the options say that reading begins. Asked of connectors that grow.
    fn first_position(&self) -> Option<Position> {
        None
    }

    /// Can what was read be read once more: the same records, in the same order, under the same offsets?
    fn replays(&self) -> bool {
        false
    }

    /// All that a partition has brought before `until`. Asked of sources that replay.
    fn history(&self, partition: &Partition, until: &Position) -> Result<History> {
        Err(Error::bug(format!("{}: what came before {} cannot be read again", partition.name, until.0)))
    }

    /// Total bytes to read, if known: for the progress line.
    fn size_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a partition has brought so far.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Where its first record is that is still there; `None` = where a reader begins of its own accord.
    pub first: Option<Position>,
    /// Offset of the first record that does not belong to it.
    pub end: i64,
}

/// Reads one partition.
#[async_trait]
pub trait Reader: Send {
    /// The next chunk. Waits for new records at most some 10 ms before it says [`Read::Idle`], so that barriers get through.
    async fn read(&mut self) -> Result<Read>;

    /// Where the next `read` will go on: after all chunks handed over. Asked after every chunk: a few words, not a list.
    fn position(&self) -> Position;

    /// How many records are known to be behind those handed over, waiting to be read; `None` = that is not known. Asked
    /// after every read: an answer that takes a question outside is asked for now and then, and not waited for.
    fn lag(&mut self) -> Option<u64> {
        None
    }

    /// What a checkpoint keeps of a position that this reader has told. A broker that cannot replay needs more than a
    /// number: what it may deliver again. Not asked of a reader that has ended.
    fn kept(&self, position: &Position) -> Position {
        position.clone()
    }

    /// A checkpoint that keeps `position`, as this reader told it, is confirmed: it will never be gone back behind. Who
    /// must tell the outside world (an acknowledgement) does it here.
    async fn confirmed(&mut self, position: &Position) -> Result<()> {
        _ = position;
        Ok(())
    }

    /// So much waits to be confirmed that a checkpoint should not wait for its time.
    fn wants_checkpoint(&self) -> bool {
        false
    }
}

/// What a writer made durable but not visible, in the connector's own words, kept in the manifest.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Prepared(pub serde_json::Value);

/// Describes a sink. One instance per sink and run, shared by the tasks.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Connector and place in one line.
    fn describe(&self) -> String;

    /// What the sink is, for the fingerprint.
    fn identity(&self) -> String;

    /// Called once before any writer is opened. `restored`: what the restored checkpoint names, which is made visible
    /// here unless it is already (the process may have died before the commit; nobody else commits it again); `None` on
    /// a fresh start, where table and file sinks begin empty. Whatever was prepared after the restored checkpoint is
    /// thrown away.
    fn start(&self, restored: Option<&[Prepared]>) -> Result<()>;

    /// Opens the writer of `task`. What lives in `state` is part of the checkpoint (live tables keep their rows there;
    /// sinks that write to the outside have no use for it).
    fn open(&self, task: usize, state: &mut StateHandles) -> Result<Box<dyn Writer>>;

    /// All writers have prepared `epoch`: waits until what they handed over is durable outside, where writers cannot wait
    /// for it themselves. Called off the tasks, before the checkpoint is durable.
    fn settle(&self, epoch: u64) -> Result<()> {
        _ = epoch;
        Ok(())
    }

    /// The transaction that it takes part in, with others or alone.
    fn group(&self) -> Option<Arc<dyn TransactionGroup>> {
        None
    }

    /// Makes visible what the writers prepared for `epoch`; must bear repetition.
    fn commit(&self, epoch: u64, prepared: &[Prepared]) -> Result<()>;

    /// All inputs have ended and the last epoch is committed (a one-file sink takes its final name here).
    fn finish(&self) -> Result<()> {
        Ok(())
    }

    /// Most writers it can take; `Some(1)` for a terminal or a single stream.
    fn max_tasks(&self) -> Option<usize> {
        None
    }

    /// Columns whose equal values must reach the same writer (an upsert table's primary key); `None` = any writer will do.
    fn key_columns(&self) -> Option<Vec<usize>> {
        None
    }

    /// Which changes it can take. Batches of a sink that takes more than inserts may have the column
    /// [`crate::change::CHANGE_COLUMN`] behind its own. By key ([`Changes::Upserts`]): the columns of [`Sink::key_columns`]
    /// say which row is meant; `-U` and `-D` both say that it is gone, and may know no more of it than that.
    fn takes(&self) -> Changes {
        Changes::Inserts
    }

    /// Can it be written to for ever? A one-file sink cannot: the message says what to do instead.
    fn check_unbounded(&self) -> Result<()> {
        Ok(())
    }
}

/// Writes for one task.
pub trait Writer: Send {
    /// Takes rows; they may stay invisible until a commit.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// What to wait for before more rows are written; `None` = go on. The task that writes waits, and with it whoever
    /// sends to it: memory stays bounded. A barrier never waits for it.
    fn room(&self) -> Option<BoxFuture<'static, Result<()>>> {
        None
    }

    /// A cut: everything up to here may be shown together (live tables stage it for publishing). Others do nothing.
    fn cut(&mut self, cut: u64) -> Result<()> {
        _ = cut;
        Ok(())
    }

    /// Do rows become visible at the next published cut (live tables)? Their latency is counted up to there, that of
    /// others up to the writer.
    fn shows_at_cuts(&self) -> bool {
        false
    }

    /// Makes everything written since the last call durable but not visible; `None` when there is nothing.
    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>>;
}
