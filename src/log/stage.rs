//! Staging: how a sink makes rows durable before a checkpoint and visible after it.
//!
//! ```text
//! write   block ──▶ keyspace blocks     entry under s<sink>\0<stage><number>         (durable; no reader looks there)
//! commit  entry moves to r<topic>\0<partition><next offset>, for all stages of the epoch in one batch
//! ```
//! Rows are written once: a commit moves index entries, not rows. Offsets are given at commit, so several sinks may
//! share a topic and an abandoned stage leaves no gap. Why a commit may be repeated: an entry leaves its stage in the
//! same batch that makes it visible, so a stage that is still there has not been committed, and one that is gone has
//! been, unless it was thrown away (the sink's state keeps those ids) or is newer than the sink's state knows (then the
//! log is older than the checkpoint): both are told.

use serde::{Deserialize, Serialize};

use super::append::{Appended, Batch, Commit, Purpose, Writer};
use super::block::Block;
use super::index::{Entry, Lies};
use super::{Log, Topic, VERSION, keys};
use crate::error::{Error, Place, Result};

/// How many ids of stages thrown away a sink's state remembers.
const DISCARDED_KEPT: usize = 1000;

/// What a sink has committed; kept in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkState {
    /// Version of this form.
    version: u32,
    /// Last epoch that is visible; 0 = none.
    pub(super) epoch: u64,
    /// Id of the next stage: never used twice.
    next_stage: u64,
    /// Stages thrown away, the newest [`DISCARDED_KEPT`] of them.
    discarded: Vec<u64>,
    /// Topic, partition and the offset at which the partition ended after this sink's last commit to it.
    pub(super) ends: Vec<(String, u32, i64)>,
}

/// What a run is about to do with a sink.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun {
    /// Stages that restored checkpoints name.
    keep: Vec<u64>,
}

/// Rows of a sink that are durable but not visible, until [`Log::commit_stages`].
#[derive(Debug)]
pub struct Stage {
    log: Log,
    sink: String,
    id: u64,
    /// Blocks so far.
    blocks: u32,
}

impl Stage {
    /// The id to commit it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Makes the records durable, not visible.
    pub fn write(&mut self, batch: Batch) -> Result<()> {
        let at = StagedAt { sink: self.sink.clone(), stage: self.id, number: self.blocks };
        // Whether it succeeds or not, these numbers are taken.
        self.blocks += batch.block_count();
        self.log.write(Purpose::Stage(at), batch).map(|_| ())
    }
}

/// Where a write is staged.
#[derive(Debug)]
pub(super) struct StagedAt {
    sink: String,
    stage: u64,
    /// Number of its first block in the stage.
    number: u32,
}

impl Commit<'_> {
    /// Stores blocks and puts their entries where only a commit of the stage finds them.
    pub(super) fn stage(&mut self, at: &StagedAt, blocks: Vec<(Topic, u32, Block)>) -> Result<()> {
        if at.number == 0 {
            let state = self.log.sink_state(self.writer, &at.sink)?;
            self.put_sink(&at.sink, &state)?;
        }
        for ((topic, partition, block), number) in blocks.into_iter().zip(at.number..) {
            let mut value = partition.to_le_bytes().to_vec();
            value.extend_from_slice(&(topic.name().len() as u32).to_le_bytes());
            value.extend_from_slice(topic.name().as_bytes());
            value.extend_from_slice(&self.store(&block).encode());
            self.insert(keys::staged(&at.sink, at.stage, number), &value);
        }
        Ok(())
    }
}

/// A staged entry, read: topic, partition, index entry.
fn parse_staged<'a>(sink: &str, value: &'a [u8]) -> Result<(&'a str, u32, Entry<'a>, &'a [u8])> {
    let parts = || {
        let (partition, rest) = value.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (name, entry) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((std::str::from_utf8(name).ok()?, u32::from_le_bytes(*partition), Entry::decode(entry)?, entry))
    };
    parts().ok_or_else(|| Error::corrupt("a staged entry is damaged").at(Place::thing(sink)))
}

impl Log {
    /// To be called when a run begins, before [`Log::stage`]: names the stages that its restored checkpoint relies on.
    /// All other stages of the sink are thrown away when the first new one is opened. (Not at once: several sinks of a
    /// run may go by one id, each with stages of its own to keep.)
    pub fn begin_sink(&self, sink: &str, keep: &[u64]) -> Result<()> {
        keys::check_sink_id(sink)?;
        let mut writer = self.shared.writer.lock();
        writer.begun.entry(sink.to_owned()).or_default().keep.extend_from_slice(keep);
        Ok(())
    }

    /// A new stage of `sink`.
    pub fn stage(&self, sink: &str) -> Result<Stage> {
        keys::check_sink_id(sink)?;
        let mut writer = self.shared.writer.lock();
        let begun = writer.begun.remove(sink);
        if let Some(Begun { keep }) = begun {
            self.discard_stages(&mut writer, sink, &keep)?;
        }
        let mut state = self.sink_state(&mut writer, sink)?;
        let id = state.next_stage;
        state.next_stage += 1;
        // Not on disk yet: the first write of the stage puts it there, beside its rows.
        writer.sinks.insert(sink.to_owned(), state);
        Ok(Stage { log: self.clone(), sink: sink.to_owned(), id, blocks: 0 })
    }

    /// Throws away all stages of `sink` but those of `keep`.
    fn discard_stages(&self, writer: &mut Writer, sink: &str, keep: &[u64]) -> Result<()> {
        let mut state = self.sink_state(writer, sink)?;
        let mut commit = Commit::new(self, writer);
        for guard in self.shared.index.prefix(keys::staged_by(sink)) {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read the staged rows", e))?;
            let (id, _) = keys::parse_staged(&key).ok_or_else(|| Error::corrupt("a staged key is damaged").at(Place::thing(sink)))?;
            if keep.contains(&id) {
                continue;
            }
            if let Lies::Apart(block) = parse_staged(sink, &value)?.2.lies {
                commit.remove_block(block);
            }
            commit.remove(&key);
            if state.discarded.last() != Some(&id) {
                state.discarded.push(id);
            }
        }
        let old = state.discarded.len().saturating_sub(DISCARDED_KEPT);
        state.discarded.drain(..old);
        commit.put_sink(sink, &state)?;
        commit.finish()?;
        writer.sinks.insert(sink.to_owned(), state);
        Ok(())
    }

    /// Makes the stages of `epoch` visible together; those already visible are left as they are, so it may be repeated.
    pub fn commit_stages(&self, sink: &str, epoch: u64, stages: &[u64]) -> Result<Vec<Appended>> {
        keys::check_sink_id(sink)?;
        let mut writer = self.shared.writer.lock();
        let mut state = self.sink_state(&mut writer, sink)?;
        let mut commit = Commit::new(self, &mut writer);
        for stage in stages {
            let mut blocks = 0;
            for guard in self.shared.index.prefix(keys::stage(sink, *stage)) {
                let (key, value) = guard.into_inner().map_err(|e| self.fault("read the staged rows", e))?;
                let (topic, partition, entry, bytes) = parse_staged(sink, &value)?;
                commit.publish(&self.topic(topic)?, partition, bytes, entry.count, entry.bytes)?;
                commit.remove(&key);
                blocks += 1;
            }
            let why = match blocks {
                0 if state.discarded.contains(stage) => "were thrown away when an older checkpoint was restored",
                0 if *stage >= state.next_stage => "are missing: the log is older than the checkpoint",
                _ => continue,
            };
            let text = format!("the rows that sink '{sink}' prepared for epoch {epoch} {why}; restore another checkpoint");
            return Err(Error::corrupt(text).at(Place::thing("log")));
        }
        if commit.is_empty() {
            return Ok(Vec::new());
        }
        state.epoch = state.epoch.max(epoch);
        commit.sink_ends(&mut state);
        commit.put_sink(sink, &state)?;
        let appended = commit.finish()?;
        writer.sinks.insert(sink.to_owned(), state);
        self.expire_now_and_then(writer);
        Ok(appended)
    }

    /// What a sink has committed.
    pub(super) fn sink_state(&self, writer: &mut Writer, sink: &str) -> Result<SinkState> {
        if let Some(state) = writer.sinks.get(sink) {
            return Ok(state.clone());
        }
        match self.shared.index.get(keys::sink(sink)).map_err(|e| self.fault("read a sink's state", e))? {
            Some(value) => parse_state(sink, &value),
            None => Ok(SinkState { version: VERSION, epoch: 0, next_stage: 1, discarded: Vec::new(), ends: Vec::new() }),
        }
    }

    /// Checks that partitions reach as far as sinks know them to.
    pub(super) fn check_sinks(&self) -> Result<()> {
        for guard in self.shared.index.prefix([keys::SINK]) {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read a sink's state", e))?;
            let state = parse_state(&String::from_utf8_lossy(&key[1..]), &value)?;
            for (topic, partition, end) in &state.ends {
                self.verify_end(topic, *partition, *end)?;
            }
        }
        Ok(())
    }
}

fn parse_state(sink: &str, value: &[u8]) -> Result<SinkState> {
    let damaged = |what: String| Error::corrupt(what).at(Place::thing(sink));
    let state: SinkState = serde_json::from_slice(value).map_err(|e| damaged(format!("the sink's state does not read: {e}")))?;
    if state.version != VERSION {
        return Err(damaged(format!("the sink's state has version {}; this program knows {VERSION}", state.version)));
    }
    Ok(state)
}
