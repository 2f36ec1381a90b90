//! The rows that one writer task holds: chunks, the key -> row map, deletions, compaction, expiry.
//!
//! ```text
//!   write ──▶ open batches ── absorb ──▶ chunk │ chunk │ … │ small │ small     (oldest first)
//!                                          ▲                  └─ merge ─┘      neighbours of like size become one
//!   upsert: map key ─▶ (chunk, row);       └ deleted bits, copied only when a cut shows them
//! ```
//! A row that a change deletes has no later row that would supersede it on a restore. So the keys of deleted rows are
//! state, too: blocks of rows and blocks of deleted keys have one numbering, and are put back in its order. When there are
//! many such keys, all chunks with deleted rows are rewritten, and none is needed any more.
//!
//! Merging neighbours of like size keeps the number of chunks logarithmic in the unsealed rows and copies a row a
//! logarithmic number of times, however thin the traffic between two cuts is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int8Array, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::change::Kind;
use crate::error::Result;
use crate::state::{Block, BlockId, BlockTable};
use crate::table::chunk::{CHUNK_BYTES, CHUNK_ROWS, Chunk, ChunkView, KeyCodec, detached};
use crate::table::spec::TableSpec;

/// Chunks looked over for compaction at one cut, so that no cut takes long.
const COMPACTIONS_PER_CUT: usize = 8;
/// Retention drops rows in steps of this fraction of it; also the longest time that merged chunks span.
const RETENTION_STEPS: i64 = 16;
/// Deleted keys that a checkpoint may carry, beside one for every second live row. Few in tests, so that they meet the end.
const DELETED_KEYS: usize = if cfg!(test) { 8 } else { 16_384 };

/// Where the live row of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    hash: u64,
    chunk: u32,
    row: u32,
}

/// A chunk with what changes about it.
#[derive(Debug)]
struct Held {
    chunk: Arc<Chunk>,
    /// Set bit = deleted; empty until the first deletion.
    deleted: Vec<u64>,
    dead: usize,
    /// The bits as the last cut showed them; taken back by the next deletion.
    frozen: Option<BooleanBuffer>,
    /// The block that carries the chunk over a restart; `None` = not yet pushed.
    block: Option<BlockId>,
}

impl Held {
    fn new(chunk: Chunk, block: Option<BlockId>) -> Self {
        Held { chunk: Arc::new(chunk), deleted: Vec::new(), dead: 0, frozen: None, block }
    }

    fn rows(&self) -> usize {
        self.chunk.rows.num_rows()
    }

    fn live(&self) -> usize {
        self.rows() - self.dead
    }

    fn is_deleted(&self, row: usize) -> bool {
        self.deleted.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    fn delete(&mut self, row: usize) {
        if self.deleted.is_empty() {
            self.deleted = vec![0; self.rows().div_ceil(64)];
        }
        if !self.is_deleted(row) {
            self.deleted[row / 64] |= 1 << (row % 64);
            self.dead += 1;
            self.frozen = None;
        }
    }

    fn bits(&mut self) -> Option<BooleanBuffer> {
        if self.dead == 0 {
            return None;
        }
        let rows = self.rows();
        let words = &self.deleted;
        let bits = self.frozen.get_or_insert_with(|| BooleanBuffer::new(words.iter().copied().collect(), 0, rows));
        Some(bits.clone())
    }

    fn view(&mut self) -> ChunkView {
        ChunkView { chunk: self.chunk.clone(), live: self.live(), deleted: self.bits() }
    }

    /// The live rows and, for each, its row in this chunk.
    fn alive(&mut self) -> Result<(RecordBatch, Vec<u32>)> {
        let old: Vec<u32> = (0..self.rows()).filter(|row| !self.is_deleted(*row)).map(|row| row as u32).collect();
        let rows = match self.bits() {
            None => self.chunk.rows.clone(),
            Some(bits) => filter_record_batch(&self.chunk.rows, &BooleanArray::new(!&bits, None))?,
        };
        Ok((rows, old))
    }

    /// Could it take in further rows?
    fn sealed(&self) -> bool {
        self.rows() >= CHUNK_ROWS || self.chunk.bytes >= CHUNK_BYTES
    }
}

/// What a table gained and lost.
#[derive(Debug, Default)]
pub struct Fresh {
    /// Rows appended, or the new rows of upserted keys.
    pub rows: Vec<RecordBatch>,
    /// Rows deleted, as they were.
    pub deleted: Vec<RecordBatch>,
}

impl Fresh {
    /// Nothing at all?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.deleted.is_empty()
    }

    /// Adds what `other` has.
    pub fn extend(&mut self, other: Fresh) {
        self.rows.extend(other.rows);
        self.deleted.extend(other.deleted);
    }
}

/// See the file's head.
#[derive(Debug)]
pub struct Part {
    spec: Arc<TableSpec>,
    codec: Option<Arc<KeyCodec>>,
    /// Batches since the last `absorb`, with what their rows do, and their rows.
    open: Vec<(RecordBatch, Option<Int8Array>)>,
    open_rows: usize,
    /// Chunks by number; numbers rise with age from oldest to newest.
    chunks: BTreeMap<u32, Held>,
    /// Key -> live row, of an upsert table.
    map: HashTable<Spot>,
    /// Chunks that lost rows since they were last looked over.
    touched: Vec<u32>,
    /// Blocks of chunks that are gone: taken out at the next checkpoint.
    gone: Vec<BlockId>,
    /// Keys deleted since the last checkpoint, which a restore would bring back.
    deleted_keys: Vec<RecordBatch>,
    /// Number of the next block.
    next_block: i64,
    /// Rows are gone up to this event time (microseconds).
    expired_to: i64,
    /// What was absorbed since the last `take_fresh`: the change feed's rows.
    fresh: Fresh,
    /// Something was written, merged or dropped since the last `view`.
    changed: bool,
}

impl Part {
    /// No rows yet.
    pub fn new(spec: Arc<TableSpec>, codec: Option<Arc<KeyCodec>>) -> Self {
        Part {
            spec,
            codec,
            open: Vec::new(),
            open_rows: 0,
            chunks: BTreeMap::new(),
            map: HashTable::new(),
            touched: Vec::new(),
            gone: Vec::new(),
            deleted_keys: Vec::new(),
            next_block: 0,
            expired_to: i64::MIN,
            fresh: Fresh::default(),
            changed: false,
        }
    }

    /// Puts back the blocks of a checkpoint, in the order they were pushed: of two rows with one key the later stands, and
    /// a key that was deleted after its row is gone.
    pub fn restore(&mut self, rows: &BlockTable, deleted: Option<&BlockTable>) -> Result<()> {
        let mut blocks: Vec<_> = rows.blocks().into_iter().map(|(id, block)| (block.slice, false, id, block.rows)).collect();
        let keys = deleted.map(BlockTable::blocks).unwrap_or_default();
        blocks.extend(keys.into_iter().map(|(id, block)| (block.slice, true, id, block.rows)));
        // Stable: blocks of one number keep their order.
        blocks.sort_by_key(|(number, _, _, _)| *number);
        for (number, deletes, id, rows) in blocks {
            self.next_block = self.next_block.max(number + 1);
            match self.codec.clone().filter(|_| deletes) {
                Some(codec) => {
                    let keys = codec.encode(rows.columns())?;
                    for key in 0..rows.num_rows() {
                        self.delete(&codec, keys.row(key).data());
                    }
                }
                None => _ = self.insert(rows, Some(id))?,
            }
        }
        Ok(())
    }

    /// Takes rows in the table's schema; `kinds` says what each does, `None` = they are new.
    pub fn write(&mut self, batch: &RecordBatch, kinds: Option<&Int8Array>) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.open_rows += batch.num_rows();
        self.open.push((batch.clone(), kinds.cloned()));
        if self.open_rows >= CHUNK_ROWS { self.absorb() } else { Ok(()) }
    }

    /// Greatest event time of the chunks, in microseconds.
    pub fn greatest_time(&self) -> Option<i64> {
        self.chunks.values().filter_map(|held| held.chunk.times).map(|(_, greatest)| greatest).max()
    }

    /// Turns the open batches into a chunk.
    pub fn absorb(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let open = std::mem::take(&mut self.open);
        self.open_rows = 0;
        let rows = match self.codec.clone().filter(|_| open.iter().any(|(_, kinds)| kinds.is_some())) {
            None => open.into_iter().map(|(rows, _)| rows).collect(),
            Some(codec) => self.absorb_changes(&codec, &open)?,
        };
        if rows.iter().all(|rows| rows.num_rows() == 0) {
            return Ok(());
        }
        let number = self.insert(detached(&self.spec.schema, &rows)?, None)?;
        if let Some(held) = self.chunks.get_mut(&number) {
            self.fresh.rows.push(held.alive()?.0);
        }
        Ok(())
    }

    /// Deletes what the batches delete in the end; returns the rows that they leave. The last word on a key counts.
    fn absorb_changes(&mut self, codec: &Arc<KeyCodec>, open: &[(RecordBatch, Option<Int8Array>)]) -> Result<Vec<RecordBatch>> {
        let keys = open.iter().map(|(rows, _)| codec.encode_rows(rows)).collect::<Result<Vec<_>>>()?;
        let mut last: HashMap<&[u8], (usize, usize)> = HashMap::new();
        for (batch, keys) in keys.iter().enumerate() {
            for row in 0..keys.num_rows() {
                last.insert(keys.row(row).data(), (batch, row));
            }
        }
        let mut left = Vec::with_capacity(open.len());
        let mut deleted: Vec<Spot> = Vec::new();
        for (batch, (rows, kinds)) in open.iter().enumerate() {
            let mut stays = Vec::with_capacity(rows.num_rows());
            let mut goes = Vec::new();
            for row in 0..rows.num_rows() {
                let key = keys[batch].row(row);
                let key = key.data();
                let counts = last.get(key) == Some(&(batch, row));
                let adds = kinds.as_ref().map_or(Ok(true), |kinds| Kind::of(kinds.value(row)).map(Kind::adds))?;
                stays.push(counts && adds);
                if counts
                    && !adds
                    && let Some(spot) = self.delete(codec, key)
                {
                    deleted.push(spot);
                    goes.push(row as u32);
                }
            }
            if !goes.is_empty() {
                let own = rows.project(codec.columns())?;
                let schema = own.schema();
                self.deleted_keys.push(detached(&schema, &[take_record_batch(&own, &UInt32Array::from(goes))?])?);
            }
            left.push(filter_record_batch(rows, &BooleanArray::from(stays))?);
        }
        self.tell_deleted(deleted)?;
        Ok(left)
    }

    /// Tells the feed what the deleted rows were.
    fn tell_deleted(&mut self, mut deleted: Vec<Spot>) -> Result<()> {
        deleted.sort_by_key(|spot| (spot.chunk, spot.row));
        for spots in deleted.chunk_by(|a, b| a.chunk == b.chunk) {
            if let Some(held) = spots.first().and_then(|spot| self.chunks.get(&spot.chunk)) {
                let rows: Vec<u32> = spots.iter().map(|spot| spot.row).collect();
                self.fresh.deleted.push(take_record_batch(&held.chunk.rows, &UInt32Array::from(rows))?);
            }
        }
        Ok(())
    }

    /// Deletes the row of a key; `None` when there is none.
    fn delete(&mut self, codec: &KeyCodec, key: &[u8]) -> Option<Spot> {
        let (hash, chunks) = (codec.hash(key), &self.chunks);
        let same = |spot: &Spot| spot.hash == hash && chunks.get(&spot.chunk).is_some_and(|held| held.chunk.key(spot.row as usize) == key);
        let (spot, _) = self.map.find_entry(hash, same).ok()?.remove();
        if let Some(held) = self.chunks.get_mut(&spot.chunk) {
            held.delete(spot.row as usize);
        }
        if self.touched.last() != Some(&spot.chunk) {
            self.touched.push(spot.chunk);
        }
        self.changed = true;
        Some(spot)
    }

    /// Brings the chunks into order (merge, compact, expire by `now`, the table's greatest event time, shrink).
    pub fn tidy(&mut self, now: i64) -> Result<()> {
        self.merge_tail()?;
        self.compact()?;
        self.expire(now)?;
        self.shrink();
        Ok(())
    }

    /// The chunks as they are, if anything changed since the last call.
    pub fn view(&mut self) -> Option<Vec<ChunkView>> {
        std::mem::take(&mut self.changed).then(|| self.chunks.values_mut().map(Held::view).collect())
    }

    /// The rows absorbed since the last call, superseded ones left out.
    pub fn take_fresh(&mut self) -> Fresh {
        std::mem::take(&mut self.fresh)
    }

    /// Memory of all chunks, in bytes.
    pub fn bytes(&self) -> usize {
        self.chunks.values().map(|held| held.chunk.bytes + held.deleted.len() * 8).sum::<usize>() + self.map.allocation_size()
    }

    /// Makes `blocks` hold what the chunks hold: new chunks are pushed (oldest first), those that are gone are taken out.
    /// A row that was superseded needs no record of it: the later row is in a later block, and wins on a restore. The keys of
    /// deleted rows go to `deleted`.
    pub fn checkpoint(&mut self, blocks: &BlockTable, deleted: Option<&BlockTable>) -> Result<()> {
        let mut keys = std::mem::take(&mut self.deleted_keys);
        if let (Some(deleted), Some(codec)) = (deleted, self.codec.clone()) {
            // A key that came back is in a later block than its deletion need be.
            for rows in &mut keys {
                let encoded = codec.encode(rows.columns())?;
                let absent: BooleanArray = (0..rows.num_rows()).map(|row| Some(!self.holds(&codec, encoded.row(row).data()))).collect();
                *rows = filter_record_batch(rows, &absent)?;
            }
            keys.retain(|rows| rows.num_rows() > 0);
            let carried: Vec<(BlockId, Block)> = deleted.blocks();
            let count = keys.iter().chain(carried.iter().map(|(_, block)| &block.rows)).map(RecordBatch::num_rows).sum::<usize>();
            if count > DELETED_KEYS + self.map.len() / 2 {
                let holed: Vec<u32> = self.chunks.iter().filter(|(_, held)| held.dead > 0).map(|(number, _)| *number).collect();
                for number in holed {
                    if self.chunks.get(&number).is_some_and(|held| held.live() == 0) {
                        self.drop_chunk(number)
                    } else {
                        self.rewrite(number, None)?
                    }
                }
                keys.clear();
                deleted.replace_all(None);
            }
        }
        for id in self.gone.drain(..) {
            blocks.remove(id);
        }
        for held in self.chunks.values_mut().filter(|held| held.block.is_none()) {
            held.block = Some(blocks.push(self.next_block, held.chunk.rows.clone()));
        }
        if let (Some(deleted), false) = (deleted, keys.is_empty()) {
            deleted.push(self.next_block + 1, detached(deleted.schema(), &keys)?);
        }
        self.next_block += 2;
        Ok(())
    }

    /// Is there a row of this key?
    fn holds(&self, codec: &KeyCodec, key: &[u8]) -> bool {
        let hash = codec.hash(key);
        let same =
            |spot: &Spot| spot.hash == hash && self.chunks.get(&spot.chunk).is_some_and(|held| held.chunk.key(spot.row as usize) == key);
        self.map.find(hash, same).is_some()
    }

    fn insert(&mut self, rows: RecordBatch, block: Option<BlockId>) -> Result<u32> {
        let number = self.chunks.last_key_value().map_or(0, |(last, _)| last + 1);
        let chunk = Chunk::new(rows, self.spec.time_column, self.codec.as_deref())?;
        self.chunks.insert(number, Held::new(chunk, block));
        self.changed = true;
        if let Some(codec) = self.codec.clone() {
            self.claim(&codec, number);
        }
        Ok(number)
    }

    /// Points the keys of chunk `number` at its rows; rows that held them before are deleted.
    fn claim(&mut self, codec: &KeyCodec, number: u32) {
        let Some(chunk) = self.chunks.get(&number).map(|held| held.chunk.clone()) else { return };
        self.map.reserve(chunk.rows.num_rows(), |spot| spot.hash);
        for row in 0..chunk.rows.num_rows() {
            let key = chunk.key(row);
            let hash = codec.hash(key);
            let spot = Spot { hash, chunk: number, row: row as u32 };
            let chunks = &self.chunks;
            let same =
                |other: &Spot| other.hash == hash && chunks.get(&other.chunk).is_some_and(|held| held.chunk.key(other.row as usize) == key);
            match self.map.entry(hash, same, |spot| spot.hash) {
                Entry::Vacant(vacant) => {
                    vacant.insert(spot);
                }
                Entry::Occupied(mut occupied) => {
                    let old = std::mem::replace(occupied.get_mut(), spot);
                    if let Some(held) = self.chunks.get_mut(&old.chunk) {
                        held.delete(old.row as usize);
                        if self.touched.last() != Some(&old.chunk) {
                            self.touched.push(old.chunk);
                        }
                    }
                }
            }
        }
    }

    /// Merges the newest chunks while the last is at least half the size of the one before it.
    fn merge_tail(&mut self) -> Result<()> {
        loop {
            let mut newest = self.chunks.iter().rev();
            let (Some((last, b)), Some((before, a))) = (newest.next(), newest.next()) else { return Ok(()) };
            let (last, before) = (*last, *before);
            if b.live() * 2 < a.live() || !self.may_merge(a, b) {
                return Ok(());
            }
            self.rewrite(before, Some(last))?;
        }
    }

    fn may_merge(&self, a: &Held, b: &Held) -> bool {
        let span = match (a.chunk.times, b.chunk.times) {
            (Some(a), Some(b)) => a.1.max(b.1).saturating_sub(a.0.min(b.0)),
            _ => 0,
        };
        // Rows that leave together stay together: a chunk goes only when its newest row may go.
        let span_allowed = self.spec.retention_micros.is_none_or(|retention| span <= retention / RETENTION_STEPS);
        !a.sealed() && !b.sealed() && a.live() + b.live() <= CHUNK_ROWS && a.chunk.bytes + b.chunk.bytes <= CHUNK_BYTES && span_allowed
    }

    /// Rewrites chunks that are more than half deleted.
    fn compact(&mut self) -> Result<()> {
        self.touched.sort_unstable();
        self.touched.dedup();
        let sparse = |held: &Held| held.dead * 2 > held.rows();
        let due: Vec<u32> =
            self.touched.iter().copied().filter(|n| self.chunks.get(n).is_some_and(sparse)).take(COMPACTIONS_PER_CUT).collect();
        for number in &due {
            self.changed = true;
            if self.chunks.get(number).is_some_and(|held| held.live() == 0) {
                self.drop_chunk(*number);
                continue;
            }
            // Beside a small neighbour it makes one chunk with it.
            let next = self.chunks.range(number + 1..).next().map(|(next, _)| *next);
            let with = next.filter(|next| match (self.chunks.get(number), self.chunks.get(next)) {
                (Some(a), Some(b)) => self.may_merge_compacted(a, b),
                _ => false,
            });
            self.rewrite(*number, with)?;
        }
        self.touched.retain(|n| !due.contains(n) && self.chunks.get(n).is_some_and(sparse));
        Ok(())
    }

    fn may_merge_compacted(&self, a: &Held, b: &Held) -> bool {
        b.live() <= a.live() * 2 && a.live() + b.live() <= CHUNK_ROWS / 2 && self.may_merge(a, b)
    }

    /// Puts the live rows of `number` (and of `with`, its newer neighbour) into one new chunk under `number`.
    fn rewrite(&mut self, number: u32, with: Option<u32>) -> Result<()> {
        let mut parts = Vec::with_capacity(2);
        let mut spots: Vec<(u32, u32)> = Vec::new();
        for n in std::iter::once(number).chain(with) {
            if let Some(held) = self.chunks.get_mut(&n) {
                let (rows, old) = held.alive()?;
                parts.push(rows);
                if self.codec.is_some() {
                    spots.extend(old.into_iter().map(|row| (n, row)));
                }
            }
        }
        let chunk = Chunk::new(detached(&self.spec.schema, &parts)?, self.spec.time_column, self.codec.as_deref())?;
        if let Some(codec) = &self.codec {
            for (row, (old_chunk, old_row)) in spots.into_iter().enumerate() {
                let hash = codec.hash(chunk.key(row));
                let here = |spot: &Spot| spot.chunk == old_chunk && spot.row == old_row;
                if let Some(spot) = self.map.find_mut(hash, here) {
                    // Rows only move down, so a spot pointed anew is never taken for one still to be pointed.
                    *spot = Spot { hash, chunk: number, row: row as u32 };
                }
            }
        }
        for n in std::iter::once(number).chain(with) {
            if let Some(held) = self.chunks.remove(&n) {
                self.gone.extend(held.block);
            }
        }
        self.chunks.insert(number, Held::new(chunk, None));
        self.changed = true;
        Ok(())
    }

    /// Drops what lies before the retention: whole chunks, and of an upsert table single rows too.
    fn expire(&mut self, now: i64) -> Result<()> {
        let Some(retention) = self.spec.retention_micros else { return Ok(()) };
        // The limit moves in steps that depend on event time alone, so that a restart drops the same rows.
        let step = (retention / RETENTION_STEPS).max(1);
        let limit = now.saturating_sub(retention).div_euclid(step).saturating_mul(step);
        if limit <= self.expired_to {
            return Ok(());
        }
        self.expired_to = limit;
        let old: Vec<u32> = self.chunks.iter().filter(|(_, h)| h.chunk.times.is_some_and(|t| t.1 < limit)).map(|(n, _)| *n).collect();
        for number in old {
            self.drop_chunk(number);
        }
        if self.codec.is_some() {
            let mixed: Vec<u32> = self.chunks.iter().filter(|(_, h)| h.chunk.times.is_some_and(|t| t.0 < limit)).map(|(n, _)| *n).collect();
            for number in mixed {
                self.expire_rows(number, limit)?;
            }
        }
        Ok(())
    }

    fn expire_rows(&mut self, number: u32, limit: i64) -> Result<()> {
        let (Some(codec), Some(column)) = (self.codec.clone(), self.spec.time_column) else { return Ok(()) };
        let Some(held) = self.chunks.get_mut(&number) else { return Ok(()) };
        let chunk = held.chunk.clone();
        let micros = match chunk.rows.column(column).data_type() {
            DataType::Timestamp(_, zone) => cast(chunk.rows.column(column), &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?,
            _ => return Ok(()),
        };
        let micros = cast(&micros, &DataType::Int64)?;
        let micros = micros.as_primitive::<Int64Type>();
        for row in 0..chunk.rows.num_rows() {
            if !micros.is_null(row) && micros.value(row) < limit && !held.is_deleted(row) {
                held.delete(row);
                forget(&mut self.map, codec.hash(chunk.key(row)), number, row);
                self.changed = true;
            }
        }
        self.touched.push(number);
        Ok(())
    }

    /// Drops the oldest chunks while there is more than the size cap allows.
    fn shrink(&mut self) {
        let Some(most) = self.spec.max_bytes else { return };
        let mut bytes = self.bytes();
        while bytes > most && self.chunks.len() > 1 {
            let Some((number, held)) = self.chunks.first_key_value() else { return };
            bytes -= held.chunk.bytes.min(bytes);
            let number = *number;
            self.drop_chunk(number);
        }
    }

    fn drop_chunk(&mut self, number: u32) {
        let Some(held) = self.chunks.remove(&number) else { return };
        self.gone.extend(held.block);
        self.changed = true;
        if let Some(codec) = &self.codec {
            for row in (0..held.rows()).filter(|row| !held.is_deleted(*row)) {
                forget(&mut self.map, codec.hash(held.chunk.key(row)), number, row);
            }
        }
    }
}

fn forget(map: &mut HashTable<Spot>, hash: u64, chunk: u32, row: usize) {
    if let Ok(entry) = map.find_entry(hash, |spot| spot.chunk == chunk && spot.row as usize == row) {
        entry.remove();
    }
}
