//! Appending: a batch of records, over partitions and topics, as one durable and atomic write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use fjall::{OwnedWriteBatch, PersistMode};
use parking_lot::{Mutex, MutexGuard};

use super::block::{BLOCK_BYTES, Block, BlockBuilder, MAX_RECORD_BYTES, Record};
use super::index::{Bounds, Entry, Lies};
use super::stage::{Begun, SinkState, StagedAt};
use super::{Log, Topic, keys};
use crate::error::{Error, Kind, Result};
use crate::time::now_micros;

/// Records to append together, of any topics and partitions.
#[derive(Debug, Default)]
pub struct Batch {
    /// Per topic, per partition: blocks in the making; the last is the open one.
    topics: Vec<(Topic, Vec<Vec<BlockBuilder>>)>,
    records: usize,
    bytes: usize,
}

impl Batch {
    /// Adds a record. [`Kind::Row`] when it is larger than [`MAX_RECORD_BYTES`], [`Kind::Input`] for a partition that
    /// does not exist.
    pub fn push(&mut self, topic: &Topic, partition: u32, record: &Record<'_>) -> Result<()> {
        let size = record.size();
        if size > MAX_RECORD_BYTES {
            return Err(Error::new(
                Kind::Row,
                format!("a record of {size} bytes for topic '{}': records have at most {MAX_RECORD_BYTES} bytes", topic.name()),
            ));
        }
        topic.check_partition(partition)?;
        let known = self.topics.iter().position(|(t, _)| Arc::ptr_eq(&t.0, &topic.0));
        let known = known.unwrap_or_else(|| {
            let partitions = std::iter::repeat_with(Vec::new).take(topic.partitions() as usize).collect();
            self.topics.push((topic.clone(), partitions));
            self.topics.len() - 1
        });
        let blocks = &mut self.topics[known].1[partition as usize];
        if blocks.last().is_none_or(|b| b.len_bytes() + size > BLOCK_BYTES) {
            blocks.push(BlockBuilder::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push(record);
        }
        self.records += 1;
        self.bytes += size;
        Ok(())
    }

    /// Adds a record where its key says, or to the topic's next partition when it has none.
    pub fn push_by_key(&mut self, topic: &Topic, record: &Record<'_>) -> Result<()> {
        let partition = record.key.map_or_else(|| topic.next_partition(), |key| topic.partition_of(key));
        self.push(topic, partition, record)
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of their values, keys and headers.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn block_count(&self) -> u32 {
        self.topics.iter().flat_map(|(_, partitions)| partitions).map(|blocks| blocks.len() as u32).sum()
    }

    /// The blocks, in the order of topics, partitions and records.
    pub(super) fn into_blocks(self) -> impl Iterator<Item = (Topic, u32, Block)> {
        self.topics.into_iter().flat_map(|(topic, partitions)| {
            partitions.into_iter().zip(0..).flat_map(move |(blocks, partition)| {
                let topic = topic.clone();
                blocks.into_iter().map(move |block| (topic.clone(), partition, block.finish()))
            })
        })
    }
}

/// Where records of a batch lie now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Their offsets, in the order in which they were added.
    pub offsets: Range<i64>,
}

/// What becomes of the records that are written.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Readers see them.
    Append,
    /// They wait for a commit.
    Stage(StagedAt),
}

/// A write that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    work: Mutex<Option<(Purpose, Vec<(Topic, u32, Block)>)>>,
    done: Mutex<Option<Result<Vec<Appended>>>>,
}

/// What only the one who writes may touch.
#[derive(Debug)]
pub(super) struct Writer {
    next_block: u64,
    /// What sinks have committed, as far as it was needed.
    pub(super) sinks: BTreeMap<String, SinkState>,
    /// Sinks of runs that have begun and not yet staged anything.
    pub(super) begun: BTreeMap<String, Begun>,
    /// When retention is looked at again.
    pub(super) expire_next: Instant,
}

impl Writer {
    pub(super) fn new(next_block: u64) -> Self {
        Writer { next_block, sinks: BTreeMap::new(), begun: BTreeMap::new(), expire_next: Instant::now() }
    }
}

impl Log {
    /// Appends all records of `batch` or none. When it returns they are on disk and readers see them.
    /// Errors: [`Kind::Failed`] (a full disk, say): nothing of the batch was or will be seen.
    pub fn append(&self, batch: Batch) -> Result<Vec<Appended>> {
        self.write(Purpose::Append, batch)
    }

    /// Writes `batch`, together with what others want to write in the meantime: while one waits for the disk the next
    /// ones queue, and whoever then gets the writer writes for all of them, with one wait for the disk.
    pub(super) fn write(&self, purpose: Purpose, batch: Batch) -> Result<Vec<Appended>> {
        let blocks = batch.into_blocks().collect();
        let waiting = Arc::new(Waiting { work: Mutex::new(Some((purpose, blocks))), done: Mutex::new(None) });
        self.shared.queue.lock().push(waiting.clone());
        let mut writer = self.shared.writer.lock();
        if let Some(done) = waiting.done.lock().take() {
            return done;
        }
        let queue = std::mem::take(&mut *self.shared.queue.lock());
        let written = self.write_all(&mut writer, &queue);
        let mut mine = Err(Error::bug("a write was lost in the queue"));
        for (at, other) in queue.iter().enumerate() {
            let done = match &written {
                Ok(appended) => Ok(appended[at].clone()),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            };
            if Arc::ptr_eq(other, &waiting) { mine = done } else { *other.done.lock() = Some(done) }
        }
        self.expire_now_and_then(writer);
        mine
    }

    /// All that waits in one write; what each has appended.
    fn write_all(&self, writer: &mut Writer, queue: &[Arc<Waiting>]) -> Result<Vec<Vec<Appended>>> {
        let mut commit = Commit::new(self, writer);
        let mut appended = Vec::with_capacity(queue.len());
        for waiting in queue {
            let Some((purpose, blocks)) = waiting.work.lock().take() else {
                return Err(Error::bug("a write came twice"));
            };
            match purpose {
                Purpose::Append => {
                    for (topic, partition, block) in blocks {
                        commit.append(&topic, partition, &block)?;
                    }
                }
                Purpose::Stage(at) => commit.stage(&at, blocks)?,
            }
            appended.push(std::mem::take(&mut commit.appended));
        }
        commit.finish()?;
        Ok(appended)
    }

    /// Appends `batch` as what `sink` has for `epoch`; `None`, and nothing is done, when that epoch (or a later one) is
    /// already there. So a commit may be repeated after a crash. Epochs of one sink id only grow, over restarts too.
    pub fn append_epoch(&self, sink: &str, epoch: u64, batch: Batch) -> Result<Option<Vec<Appended>>> {
        keys::check_sink_id(sink)?;
        let mut writer = self.shared.writer.lock();
        let mut state = self.sink_state(&mut writer, sink)?;
        if epoch <= state.epoch {
            return Ok(None);
        }
        let mut commit = Commit::new(self, &mut writer);
        for (topic, partition, block) in batch.into_blocks() {
            commit.append(&topic, partition, &block)?;
        }
        state.epoch = epoch;
        commit.sink_ends(&mut state);
        commit.put_sink(sink, &state)?;
        let appended = commit.finish()?;
        writer.sinks.insert(sink.to_owned(), state);
        self.expire_now_and_then(writer);
        Ok(Some(appended))
    }

    /// Retention rides on appends: looked at every few seconds by whoever writes. That it fails is no fault of theirs.
    pub(super) fn expire_now_and_then(&self, mut writer: MutexGuard<'_, Writer>) {
        if Instant::now() < writer.expire_next {
            return;
        }
        if let Err(error) = self.expire_holding(&mut writer, now_micros()) {
            tracing::warn!("records older than their topic's retention stay for now: {error}");
        }
    }
}

/// One write in the making: changes of the index and of blocks, and the bounds that follow from them.
pub(super) struct Commit<'a> {
    pub(super) log: &'a Log,
    pub(super) writer: &'a mut Writer,
    batch: OwnedWriteBatch,
    /// New bounds of the partitions touched.
    bounds: BTreeMap<(String, u32), (Topic, Bounds)>,
    appended: Vec<Appended>,
}

impl<'a> Commit<'a> {
    pub(super) fn new(log: &'a Log, writer: &'a mut Writer) -> Self {
        let batch = log.shared.db.batch().durability(Some(PersistMode::SyncData));
        Commit { log, writer, batch, bounds: BTreeMap::new(), appended: Vec::new() }
    }

    /// Stores a block and makes it the next of its partition.
    fn append(&mut self, topic: &Topic, partition: u32, block: &Block) -> Result<()> {
        let entry = self.store(block);
        self.publish(topic, partition, &entry.encode(), entry.count, entry.bytes)
    }

    /// Stores a block (apart, when it is large); its entry says where.
    pub(super) fn store<'b>(&mut self, block: &'b Block) -> Entry<'b> {
        let entry = Entry::of(block, self.writer.next_block);
        if let Lies::Apart(id) = entry.lies {
            self.batch.insert(&self.log.shared.blocks, keys::block(id), &block.bytes[..]);
            self.writer.next_block += 1;
        }
        entry
    }

    /// Makes a stored block the next of its partition.
    pub(super) fn publish(&mut self, topic: &Topic, partition: u32, entry: &[u8], count: u32, bytes: u32) -> Result<()> {
        let (_, bounds) = self.bounds_of(topic, partition)?;
        let base = bounds.end;
        bounds.end += i64::from(count);
        bounds.bytes += u64::from(bytes);
        let end = bounds.end;
        self.batch.insert(&self.log.shared.index, keys::records(topic.name(), partition, base), entry);
        match self.appended.iter_mut().find(|a| a.topic == topic.name() && a.partition == partition) {
            Some(appended) => appended.offsets.end = end,
            None => self.appended.push(Appended { topic: topic.name().to_owned(), partition, offsets: base..end }),
        }
        Ok(())
    }

    /// Bounds of a partition as this write leaves them.
    pub(super) fn bounds_of(&mut self, topic: &Topic, partition: u32) -> Result<&mut (Topic, Bounds)> {
        use std::collections::btree_map::Entry as Slot;
        match self.bounds.entry((topic.name().to_owned(), partition)) {
            Slot::Occupied(known) => Ok(known.into_mut()),
            Slot::Vacant(new) => Ok(new.insert((topic.clone(), topic.bounds(partition)?))),
        }
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, value: &[u8]) {
        self.batch.insert(&self.log.shared.index, key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.batch.remove(&self.log.shared.index, key);
    }

    pub(super) fn remove_block(&mut self, id: u64) {
        self.batch.remove(&self.log.shared.blocks, keys::block(id));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Notes in a sink's state where the partitions touched will end.
    pub(super) fn sink_ends(&self, state: &mut SinkState) {
        for ((topic, partition), (_, bounds)) in &self.bounds {
            state.ends.retain(|(t, p, _)| (t, p) != (topic, partition));
            state.ends.push((topic.clone(), *partition, bounds.end));
        }
    }

    pub(super) fn put_sink(&mut self, sink: &str, state: &SinkState) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|e| Error::bug(format!("state of sink {sink}: {e}")))?;
        self.insert(keys::sink(sink), &text);
        Ok(())
    }

    /// Writes, waits for the disk, and then shows it to readers.
    pub(super) fn finish(mut self) -> Result<Vec<Appended>> {
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        for ((topic, partition), (_, bounds)) in &self.bounds {
            self.batch.insert(&self.log.shared.index, keys::partition(topic, *partition), bounds.encode());
        }
        self.batch.commit().map_err(|e| self.log.fault("append to the log", e))?;
        for ((_, partition), (topic, bounds)) in self.bounds {
            topic.publish(partition, bounds);
        }
        Ok(self.appended)
    }
}
