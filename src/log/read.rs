//! Reading: consecutive records of a partition, in large pieces.

use bytes::{Bytes, BytesMut};

use super::index::{Entry, Lies};
use super::{Log, Records, Topic, block, keys};
use crate::error::{Error, Result};

/// A block of at least this size is handed out as it lies; smaller ones are copied together into one piece.
const ALONE_BYTES: usize = 256 << 10;

impl Log {
    /// Records of a partition from offset `from` on, about `max_bytes` of them; none when `from` is its end.
    /// Errors: [`Kind::Failed`](crate::error::Kind::Failed) when retention has removed `from`,
    /// [`Kind::Corrupt`](crate::error::Kind::Corrupt) with the place when a record is damaged or missing.
    pub fn read(&self, topic: &Topic, partition: u32, from: i64, max_bytes: usize) -> Result<Records> {
        let bounds = topic.bounds(partition)?;
        if from < bounds.start {
            return Err(expired(topic, partition, from, bounds.start));
        }
        if from > bounds.end {
            self.verify_end(topic.name(), partition, from)?;
        }
        if from >= bounds.end {
            return Ok(Records::default());
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut total, mut next) = (0, from);
        for guard in self.entries(topic, partition, from, bounds.end)? {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read the log", e).at(topic.place(partition, next)))?;
            let (base, entry) = parse(topic, partition, next, &key, &value)?;
            if base > next || (base < next && !pieces.is_empty()) {
                break;
            }
            let size = entry.bytes as usize;
            if !pieces.is_empty() && total + size > max_bytes {
                break;
            }
            pieces.push(Piece { base, count: entry.count, bytes: self.block(topic, partition, base, &entry, &value)? });
            next = base + i64::from(entry.count);
            total += size;
            if pieces.len() == 1 && size >= ALONE_BYTES {
                break;
            }
        }
        // What was not found though the bounds promise it: a gap.
        if next <= from {
            return Err(self.missing(topic, partition, from, "a gap: the record is missing, though later ones are there"));
        }
        decode(topic, partition, from, pieces)
    }

    /// Offset of the first record with a timestamp at or after `time` (microseconds since 1970); the end when there is none.
    pub fn offset_at_time(&self, topic: &Topic, partition: u32, time: i64) -> Result<i64> {
        let bounds = topic.bounds(partition)?;
        for guard in self.entries(topic, partition, bounds.start, bounds.end)? {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read the log", e))?;
            let (base, entry) = parse(topic, partition, bounds.start, &key, &value)?;
            if entry.max_time < time {
                continue;
            }
            let bytes = self.block(topic, partition, base, &entry, &value)?;
            if let Some(number) = block::first_at(&bytes, time) {
                return Ok(base + i64::from(number));
            }
        }
        Ok(bounds.end)
    }

    /// Timestamps of the oldest and the newest block of a partition: smallest of the one, largest of the other,
    /// microseconds since 1970. `None` when the partition is empty.
    pub fn time_span(&self, topic: &Topic, partition: u32) -> Result<Option<(i64, i64)>> {
        let bounds = topic.bounds(partition)?;
        let mut entries = self.entries(topic, partition, bounds.start, bounds.end)?;
        let times = |guard: fjall::Guard| -> Result<(i64, i64)> {
            let (key, value) = guard.into_inner().map_err(|e| self.fault("read the log", e))?;
            let (_, entry) = parse(topic, partition, bounds.start, &key, &value)?;
            Ok((entry.min_time, entry.max_time))
        };
        let Some(first) = entries.next().map(times).transpose()? else { return Ok(None) };
        let last = entries.next_back().map(times).transpose()?.unwrap_or(first);
        Ok(Some((first.0, last.1)))
    }

    /// Index entries from the block that holds `from` up to `end`.
    pub(super) fn entries(&self, topic: &Topic, partition: u32, from: i64, end: i64) -> Result<fjall::Iter> {
        let fault = |e| self.fault("read the log", e);
        let index = &self.shared.index;
        let exact = keys::records(topic.name(), partition, from);
        let start = if index.contains_key(&exact).map_err(fault)? {
            exact
        } else {
            let before = index.range(keys::records_of(topic.name(), partition)..exact.clone()).next_back();
            before.map_or(Ok(exact), |guard| guard.key().map(|key| key.to_vec())).map_err(fault)?
        };
        Ok(index.range(start..keys::records(topic.name(), partition, end)))
    }

    /// The bytes of a block; `value` is what `entry` was read from.
    fn block(&self, topic: &Topic, partition: u32, base: i64, entry: &Entry<'_>, value: &fjall::Slice) -> Result<Bytes> {
        match entry.lies {
            Lies::Here(block) => {
                let start = value.len() - block.len();
                Ok(Bytes::from_owner(value.clone()).slice(start..))
            }
            Lies::Apart(id) => {
                let found =
                    self.shared.blocks.get(keys::block(id)).map_err(|e| self.fault("read the log", e).at(topic.place(partition, base)))?;
                Ok(Bytes::from_owner(
                    found.ok_or_else(|| self.missing(topic, partition, base, "the block that holds the record is missing"))?,
                ))
            }
        }
    }

    /// Why a record is not there: retention may have removed it since the bounds were looked at, else it is damage.
    fn missing(&self, topic: &Topic, partition: u32, offset: i64, what: &str) -> Error {
        // Bounds follow removals while the writer is held.
        let writer = self.shared.writer.lock();
        let bounds = topic.bounds(partition);
        drop(writer);
        match bounds {
            Ok(bounds) if offset < bounds.start => expired(topic, partition, offset, bounds.start),
            _ => Error::corrupt(what).at(topic.place(partition, offset)),
        }
    }
}

fn expired(topic: &Topic, partition: u32, offset: i64, start: i64) -> Error {
    Error::failed(format!(
        "offset {offset} is no longer there: retention has removed everything before {start}; to go on from there, start \
         with --restore none and 'scan.startup.mode'='earliest-offset', or give the topic a longer retention"
    ))
    .at(topic.place(partition, offset))
}

/// Base offset and entry of what the index holds.
pub(super) fn parse<'a>(topic: &Topic, partition: u32, near: i64, key: &[u8], value: &'a [u8]) -> Result<(i64, Entry<'a>)> {
    let damaged = |offset| Error::corrupt("the index entry of the record is damaged").at(topic.place(partition, offset));
    let (_, _, base) = keys::parse_records(key).ok_or_else(|| damaged(near))?;
    Ok((base, Entry::decode(value).ok_or_else(|| damaged(base))?))
}

/// A block to hand out.
struct Piece {
    base: i64,
    count: u32,
    bytes: Bytes,
}

/// Joins blocks and finds their records, leaving out those before `from`.
fn decode(topic: &Topic, partition: u32, from: i64, pieces: Vec<Piece>) -> Result<Records> {
    let lengths: Vec<usize> = pieces.iter().map(|p| p.bytes.len()).collect();
    let data = match pieces.as_slice() {
        [alone] => alone.bytes.clone(),
        many => {
            let mut joined = BytesMut::with_capacity(lengths.iter().sum());
            many.iter().for_each(|p| joined.extend_from_slice(&p.bytes));
            joined.freeze()
        }
    };
    let mut records = Records { data, ..Records::default() };
    let mut at = 0;
    for (piece, length) in pieces.iter().zip(lengths) {
        let skip = u32::try_from(from - piece.base).unwrap_or(0);
        block::decode(at, length, piece.count, piece.base, skip, &mut records)
            .map_err(|damage| Error::corrupt(damage.what).at(topic.place(partition, piece.base + i64::from(damage.record))))?;
        at += length;
    }
    Ok(records)
}
