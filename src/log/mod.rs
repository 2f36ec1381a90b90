//! The embedded durable log: topics with partitions and offsets, in one `fjall` database.
//!
//! ```text
//! append ──▶ blocks ──▶ one batch, fsync ──▶ bounds move ──▶ followers wake ──▶ read: ranges into blocks, no copies
//!            (those who append at the same time share the fsync)
//! sink:  stage (durable, not visible) ──▶ commit: one batch of index entries ──▶ bounds move
//! ```
//! Comes in: records. Goes out: the same records in columns, for ever or until `retention`.
//! Always holds: what `append` returned for is on disk; a batch is there as a whole or not at all; offsets have no gaps;
//! readers see a batch only when it is on disk. Each record carries a checksum. Damage stops with
//! [`Kind::Corrupt`](crate::error::Kind::Corrupt) and its place; only the batch being written when the process died is
//! cut off, and told ([`Log::repaired`]). One process at a time holds a log; others ask it (`calls.rs`).
//! Read `block.rs` first, then `append.rs`.

mod append;
mod block;
mod calls;
mod fault;
mod index;
mod journal;
mod keys;
mod lines;
mod listing;
mod lock;
mod read;
mod records;
mod retention;
mod stage;
mod topic;
mod whole;

pub use append::{Appended, Batch};
pub use block::{MAX_RECORD_BYTES, Record};
pub use calls::{Declared, Putting, Tailed};
pub use journal::TornTail;
pub use keys::check_topic_name;
pub use lines::{Page, Put, Shown, Tail, TailFrom, json_of, key_of_line, text_of};
pub use listing::TopicFigures;
pub use records::Records;
pub use stage::Stage;
pub use topic::{Follower, MAX_PARTITIONS, Topic};
pub use whole::{Blob, MEMORY, Reading, Resend, Whole, WholePage};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::{Mutex, RwLock};

use crate::error::{Error, Place, Result, did_you_mean};
use crate::time::now_micros;
use append::{Waiting, Writer};
use index::{Bounds, Entry};
use lock::OwnerLock;
use topic::Definition;

/// Partitions of a topic where nothing is said.
pub const DEFAULT_PARTITIONS: u32 = 4;
/// Version of definitions and sink states written here.
const VERSION: u32 = 1;
/// Journals beyond this are turned into tables: it bounds the disk they take and the scan at start.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Memory for blocks not yet in a table.
const BUFFER_BYTES: u64 = 32 << 20;

/// An open log. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    db: Database,
    index: Keyspace,
    blocks: Keyspace,
    topics: RwLock<BTreeMap<String, Topic>>,
    /// Writes that wait for the writer.
    queue: Mutex<Vec<Arc<Waiting>>>,
    /// Whoever holds it writes: offsets are given inside the commit.
    writer: Mutex<Writer>,
    /// Whoever holds it sends letters again.
    resending: Mutex<()>,
    repaired: Option<TornTail>,
    /// Last, so that it is given back when all else is closed.
    _owner: OwnerLock,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir`, making it when there is none. Errors: [`Kind::Input`](crate::error::Kind::Input) when
    /// another process holds it, [`Kind::Corrupt`](crate::error::Kind::Corrupt) when it is damaged.
    pub fn open(dir: &Path) -> Result<Log> {
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::unreachable(format!("cannot make the log's folder {}", dir.display())).because(e))?;
        let owner = OwnerLock::take(dir)?;
        let database = dir.join("db");
        let repaired = journal::check(&database)?;
        let fault = |error| fault::storage(dir, "open the log", error);
        let db = Database::builder(&database)
            // The scan of the journal and the checksums of records work on bytes as they were written.
            .journal_compression(CompressionType::None)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(2)
            .manual_journal_persist(true)
            .open()
            .map_err(fault)?;
        let index = db.keyspace("index", KeyspaceCreateOptions::default).map_err(fault)?;
        let apart = KvSeparationOptions::default().compression(CompressionType::None).separation_threshold(index::INLINE_BYTES as u32 / 2);
        let blocks = db
            .keyspace("blocks", || KeyspaceCreateOptions::default().max_memtable_size(BUFFER_BYTES).with_kv_separation(Some(apart)))
            .map_err(fault)?;
        let next_block = match blocks.last_key_value() {
            Some(last) => keys::parse_block(&last.key().map_err(fault)?).map_or(0, |id| id + 1),
            None => 0,
        };
        let log = Log {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                db,
                index,
                blocks,
                topics: RwLock::default(),
                queue: Mutex::default(),
                writer: Mutex::new(Writer::new(next_block)),
                resending: Mutex::default(),
                repaired,
                _owner: owner,
            }),
        };
        log.load_topics()?;
        log.check_sinks()?;
        log.expire(now_micros())?;
        Ok(log)
    }

    /// The torn tail that was cut off when it was opened.
    pub fn repaired(&self) -> Option<&TornTail> {
        self.shared.repaired.as_ref()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Makes a topic of `partitions` partitions whose records are kept `retention_micros` (for ever when `None`).
    /// A topic that exists with the same settings is given back; with others it is [`Kind::Input`](crate::error::Kind::Input).
    pub fn create_topic(&self, name: &str, partitions: u32, retention_micros: Option<i64>) -> Result<Topic> {
        keys::check_topic_name(name)?;
        if partitions == 0 || partitions > MAX_PARTITIONS {
            return Err(Error::input(format!("topic '{name}' cannot have {partitions} partitions; expected 1 to {MAX_PARTITIONS}")));
        }
        check_retention(name, retention_micros)?;
        let definition = Definition { version: VERSION, partitions, retention_micros };
        let writer = self.shared.writer.lock();
        if let Some(topic) = self.shared.topics.read().get(name) {
            return match (topic.partitions() == partitions, topic.retention_micros() == retention_micros) {
                (true, true) => Ok(topic.clone()),
                (false, _) => Err(mismatch(topic, partitions)),
                (true, false) => Err(Error::input(format!("topic '{name}' exists with another retention"))),
            };
        }
        let mut batch = self.shared.db.batch().durability(Some(PersistMode::SyncData));
        let text = serde_json::to_vec(&definition).map_err(|e| Error::bug(format!("topic definition: {e}")))?;
        batch.insert(&self.shared.index, keys::topic(name), text);
        for partition in 0..partitions {
            batch.insert(&self.shared.index, keys::partition(name, partition), Bounds::default().encode());
        }
        batch.commit().map_err(|e| self.fault("create a topic", e))?;
        let topic = Topic::new(name, definition, vec![Bounds::default(); partitions as usize]);
        self.shared.topics.write().insert(name.to_owned(), topic.clone());
        drop(writer);
        Ok(topic)
    }

    /// The topic of this name, or a new one with `partitions` ([`DEFAULT_PARTITIONS`] when not stated) and `retention_micros`.
    /// One that exists must have the partitions that are stated; its retention stays as it is.
    pub fn topic_or_create(&self, name: &str, partitions: Option<u32>, retention_micros: Option<i64>) -> Result<Topic> {
        if let Some(topic) = self.shared.topics.read().get(name).cloned() {
            return match partitions {
                Some(stated) if stated != topic.partitions() => Err(mismatch(&topic, stated)),
                _ => Ok(topic),
            };
        }
        self.create_topic(name, partitions.unwrap_or(DEFAULT_PARTITIONS), retention_micros)
    }

    /// Keeps the records of a topic for so long from now on; `None` = for ever.
    pub fn set_retention(&self, name: &str, retention_micros: Option<i64>) -> Result<()> {
        check_retention(name, retention_micros)?;
        let topic = self.topic(name)?;
        let _writer = self.shared.writer.lock();
        let definition = topic.definition_with(retention_micros);
        let text = serde_json::to_vec(&definition).map_err(|e| Error::bug(format!("topic definition: {e}")))?;
        let mut batch = self.shared.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.shared.index, keys::topic(name), text);
        batch.commit().map_err(|e| self.fault("change a topic", e))?;
        topic.set_retention(retention_micros);
        Ok(())
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Topic> {
        self.shared.topics.read().values().cloned().collect()
    }

    /// The topic of this name; [`Kind::Input`](crate::error::Kind::Input) with the nearest match when there is none.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        let topics = self.shared.topics.read();
        topics.get(name).cloned().ok_or_else(|| {
            let near = did_you_mean(name, topics.keys().map(String::as_str));
            let none = if topics.is_empty() { "; the log has no topics yet" } else { "" };
            Error::input(format!("no topic '{name}' in the log{none}{near}"))
        })
    }

    /// Checks that a partition holds what a checkpoint relies on: all records before `end`. Called on restore.
    pub fn verify_end(&self, topic: &str, partition: u32, end: i64) -> Result<()> {
        let found = match self.shared.topics.read().get(topic) {
            Some(topic) => topic.end_offset(partition)?,
            None => 0,
        };
        if found < end {
            return Err(Error::corrupt(format!(
                "the log ends at offset {found}, though a checkpoint relies on offsets up to {end}: records are lost; restore \
                 the data directory from a copy"
            ))
            .at(Place::record(topic, partition, found)));
        }
        Ok(())
    }

    /// Reads definitions and bounds, and checks that each partition ends where its bounds say.
    fn load_topics(&self) -> Result<()> {
        let mut topics = BTreeMap::new();
        for guard in self.shared.index.prefix([keys::TOPIC]) {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read the topics", e))?;
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            let damaged = |what: String| Error::corrupt(what).at(Place::thing(&name));
            let definition: Definition =
                serde_json::from_slice(&value).map_err(|e| damaged(format!("the topic's definition does not read: {e}")))?;
            if definition.version != VERSION {
                return Err(damaged(format!("the topic's definition has version {}; this program knows {VERSION}", definition.version)));
            }
            let bounds = (0..definition.partitions).map(|p| self.load_bounds(&name, p)).collect::<Result<Vec<_>>>()?;
            topics.insert(name.clone(), Topic::new(&name, definition, bounds));
        }
        *self.shared.topics.write() = topics;
        Ok(())
    }

    fn load_bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        let fault = |e| self.fault("read the topics", e);
        let at = |offset| Place::record(topic, partition, offset);
        let value = self.shared.index.get(keys::partition(topic, partition)).map_err(fault)?;
        let bounds = value.as_deref().and_then(Bounds::decode);
        let bounds = bounds.ok_or_else(|| Error::corrupt("the bounds of the partition are missing or damaged").at(at(0)))?;
        let prefix = keys::records_of(topic, partition);
        let mut blocks = self.shared.index.prefix(&prefix);
        let read = |guard: Option<fjall::Guard>| -> Result<Option<(i64, u32)>> {
            let Some(guard) = guard else { return Ok(None) };
            let (key, value) = guard.into_inner().map_err(fault)?;
            let (_, _, base) =
                keys::parse_records(&key).ok_or_else(|| Error::corrupt("a damaged key in the index").at(at(bounds.start)))?;
            let entry = Entry::decode(&value).ok_or_else(|| Error::corrupt("a damaged entry in the index").at(at(base)))?;
            Ok(Some((base, entry.count)))
        };
        let first = read(blocks.next())?;
        let last = match read(blocks.next_back())? {
            Some(last) => Some(last),
            None => first,
        };
        let (start, end) = match (first, last) {
            (Some((start, _)), Some((base, count))) => (start, base + i64::from(count)),
            _ => (bounds.end, bounds.end),
        };
        if start != bounds.start || end != bounds.end {
            return Err(Error::corrupt(format!(
                "the partition holds offsets {start} to {end}, though it should hold {} to {}: records are lost; restore the \
                 data directory from a copy",
                bounds.start, bounds.end
            ))
            .at(at(if start == bounds.start { end } else { bounds.start })));
        }
        Ok(bounds)
    }

    fn fault(&self, doing: &str, error: fjall::Error) -> Error {
        fault::storage(&self.shared.dir, doing, error)
    }
}

fn mismatch(topic: &Topic, stated: u32) -> Error {
    let (name, there) = (topic.name(), topic.partitions());
    Error::input(format!("topic '{name}' exists with {there} partitions, not {stated}; partitions cannot be changed"))
}

fn check_retention(topic: &str, retention_micros: Option<i64>) -> Result<()> {
    match retention_micros.filter(|micros| *micros <= 0) {
        Some(micros) => {
            Err(Error::input(format!("topic '{topic}' cannot keep its records for {micros} microseconds; expected more than 0")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
