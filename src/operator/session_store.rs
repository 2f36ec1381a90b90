//! Open sessions per key, and the pieces they are made of.
//!
//! ```text
//!  key ──▶ slot ──▶ sessions by start: [09:00 … 09:20] [10:02 … 10:30]
//!                       │ pieces              │
//!                       ▼                     ▼
//!            block 0: ■ □ ■ ■      block 1: ■ ■ □      delta (block 2): ■ ■        □ = of a session that has closed
//! ```
//! A piece is what an operator keeps of some rows of one session (their partial aggregates; or a row as it is). New pieces
//! gather in the delta, which is sealed into an immutable block when a session closes and at checkpoints. Bridging two
//! sessions joins their lists of pieces; a closing session gathers its pieces from the blocks, for all that close at once.
//! A block goes when its last piece has gone; many or hollow blocks are merged.
//!
//! **Restart.** A stored block does not say which of its pieces are closed: each block carries the watermark of the last
//! closing before it (as its slice). Replaying pieces in that order, closing in between, gives exactly the open sessions;
//! therefore a delta never spans a closing, and merging blocks moves all pieces of a session together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::state::{BlockId, BlockTable, StateHandles};
use crate::time::{Watermark, Window};

/// More blocks than this are merged, smallest first.
const MAX_BLOCKS: usize = 32;
/// Closed pieces that may stay in blocks beyond the number of open ones.
const MAX_HOLLOW: usize = 64 * 1024;
/// A delta of this many pieces is sealed.
const MAX_DELTA: usize = 64 * 1024;

/// Where a piece lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    block: u32,
    row: u32,
}

/// What the pieces of an operator are made of.
pub(crate) trait Pieces {
    /// The pieces of the delta, by number, as rows of the state table; the delta is empty then. `spans` has first and
    /// last event time of each.
    fn seal(&mut self, spans: &[(i64, i64)]) -> Result<RecordBatch>;

    /// Boils pieces down; `sessions` numbers the session of each row (ascending from 0). Returns rows with their sessions.
    fn merge(&self, pieces: RecordBatch, sessions: Vec<usize>) -> Result<(RecordBatch, Vec<usize>)>;

    /// First and last event time of each of these pieces.
    fn spans(&self, pieces: &RecordBatch) -> Result<(Int64Array, Int64Array)>;
}

#[derive(Debug)]
struct Session {
    start: i64,
    /// Event time of the last row: the session ends a gap later.
    last: i64,
    pieces: Vec<Piece>,
}

/// A session that has closed.
#[derive(Debug)]
pub(crate) struct Closed {
    /// From the first row to a gap after the last.
    pub(crate) window: Window,
    slot: u32,
    pieces: Vec<Piece>,
}

#[derive(Debug, Default)]
struct Slot {
    /// By start; no two touch.
    sessions: Vec<Session>,
    /// When this slot must be looked at; `None` if it has no sessions. Entries of `due` with another time are stale.
    due: Option<i64>,
}

#[derive(Debug)]
struct PieceBlock {
    rows: RecordBatch,
    /// Slot of each piece (of a closed one: perhaps of another key by now).
    slots: Vec<u32>,
    live: usize,
    /// Watermark of the last closing before its pieces came in.
    closed_at: i64,
    /// Its place in the state table, once a checkpoint has passed.
    id: Option<BlockId>,
}

/// What became of the rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Rows that were taken, ascending.
    pub(crate) rows: Vec<u32>,
    /// The piece (of the delta) of each of `rows`.
    pub(crate) pieces: Vec<usize>,
    /// Pieces of the delta now.
    pub(crate) total: usize,
    /// The row that began each new piece, in the order of their numbers.
    pub(crate) began: Vec<u32>,
    /// Rows that came too late, ascending.
    pub(crate) late: Vec<u32>,
}

/// The open sessions of one operator instance.
pub(crate) struct Sessions {
    gap: i64,
    /// Does every row make a piece of its own?
    row_pieces: bool,
    keys: KeyIndex,
    slots: Vec<Slot>,
    /// (time, slot): nothing of the slot closes before.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    mark: KeptMark,
    /// The watermark at which sessions closed last.
    closed_at: i64,
    table: BlockTable,
    blocks: BTreeMap<u32, PieceBlock>,
    /// Number the delta will have as a block.
    delta: u32,
    /// Slot, first and last event time of each piece of the delta.
    delta_slots: Vec<u32>,
    delta_spans: Vec<(i64, i64)>,
    /// Slots of the rows at hand; kept for its memory.
    slots_of_rows: Vec<u32>,
}

impl Sessions {
    /// Opens the state tables; `keys` are the key columns of a piece, in the order of the exchange.
    pub(crate) fn open(
        state: &mut StateHandles,
        schema: SchemaRef,
        keys: Vec<usize>,
        gap: i64,
        row_pieces: bool,
        pieces: &impl Pieces,
    ) -> Result<Self> {
        let types: Vec<_> = keys.iter().map(|key| schema.field(*key).data_type().clone()).collect();
        let mut sessions = Sessions {
            gap,
            row_pieces,
            keys: KeyIndex::new(&types, NullKeys::AreAGroup)?,
            slots: Vec::new(),
            due: BinaryHeap::new(),
            mark: KeptMark::open(state)?,
            closed_at: i64::MIN,
            table: state.table("sessions", schema, keys)?,
            blocks: BTreeMap::new(),
            delta: 0,
            delta_slots: Vec::new(),
            delta_spans: Vec::new(),
            slots_of_rows: Vec::new(),
        };
        sessions.replay(pieces)?;
        Ok(sessions)
    }

    /// Builds the open sessions from the restored blocks.
    fn replay(&mut self, pieces: &impl Pieces) -> Result<()> {
        let mut blocks = self.table.blocks();
        blocks.sort_by_key(|(id, block)| (block.slice, *id));
        for (id, block) in blocks {
            if block.slice > self.closed_at {
                let closed = self.closing(block.slice);
                self.release(&closed);
                self.closed_at = block.slice;
            }
            let keys: Vec<ArrayRef> = self.table.key_columns().iter().map(|key| block.rows.column(*key).clone()).collect();
            let mut slots = Vec::new();
            self.keys.intern(&keys, block.rows.num_rows(), &mut slots)?;
            self.slots.resize_with(self.keys.len(), Slot::default);
            let (starts, lasts) = pieces.spans(&block.rows)?;
            for (row, slot) in slots.iter().enumerate() {
                let piece = Piece { block: self.delta, row: row as u32 };
                place(&mut self.slots[*slot as usize], *slot, &mut self.due, self.gap, (starts.value(row), lasts.value(row)))
                    .pieces
                    .push(piece);
            }
            let live = slots.len();
            self.blocks.insert(self.delta, PieceBlock { rows: block.rows, slots, live, closed_at: block.slice, id: Some(id) });
            self.delta += 1;
        }
        // What has closed since the last block was begun is not to be joined by what comes in from now on.
        let closed = self.closing(self.mark.get().0);
        self.release(&closed);
        self.closed_at = self.closed_at.max(self.mark.get().0);
        Ok(())
    }

    /// The watermark reached.
    pub(crate) fn mark(&self) -> Watermark {
        self.mark.get()
    }

    /// Puts rows into sessions. A row is late if its session would have closed already: one that falls into a session
    /// still open is not, and whether it does is judged by the rows before it.
    pub(crate) fn place(&mut self, keys: &[ArrayRef], times: &[i64]) -> Result<Placed> {
        let mut slots = std::mem::take(&mut self.slots_of_rows);
        self.keys.intern(keys, times.len(), &mut slots)?;
        self.slots.resize_with(self.keys.len().max(self.slots.len()), Slot::default);
        let mut placed = Placed::default();
        let mut piece_of_row = vec![usize::MAX; times.len()];
        let least = times.iter().min().map_or(i64::MAX, |least| least + self.gap);
        let mut waiting: Vec<(u32, i64, u32)> = Vec::with_capacity(times.len());
        if self.mark.get().passed(least) {
            for (row, (slot, ts)) in slots.iter().zip(times).enumerate() {
                if self.mark.get().passed(ts + self.gap) {
                    self.place_sorted(&mut waiting, &mut piece_of_row, &mut placed.began);
                    if !touches(&self.slots[*slot as usize], self.gap, *ts) {
                        placed.late.push(row as u32);
                        continue;
                    }
                }
                waiting.push((*slot, *ts, row as u32));
            }
        } else {
            waiting.extend(slots.iter().zip(times).enumerate().map(|(row, (slot, ts))| (*slot, *ts, row as u32)));
        }
        self.place_sorted(&mut waiting, &mut piece_of_row, &mut placed.began);
        for row in &placed.late {
            let slot = slots[*row as usize];
            if self.slots[slot as usize].sessions.is_empty() {
                self.keys.release(slot);
            }
        }
        for (row, piece) in piece_of_row.into_iter().enumerate().filter(|(_, piece)| *piece != usize::MAX) {
            placed.rows.push(row as u32);
            placed.pieces.push(piece);
        }
        placed.total = self.delta_slots.len();
        self.slots_of_rows = slots;
        Ok(placed)
    }

    /// Puts (slot, time, row)s into sessions, each run of rows no more than a gap apart at once.
    fn place_sorted(&mut self, rows: &mut Vec<(u32, i64, u32)>, piece_of_row: &mut [usize], began: &mut Vec<u32>) {
        rows.sort_unstable();
        for run in rows.chunk_by(|a, b| a.0 == b.0 && b.1 - a.1 <= self.gap) {
            let (Some(&(slot, first, row)), Some(&(_, last, _))) = (run.first(), run.last()) else { continue };
            let session = place(&mut self.slots[slot as usize], slot, &mut self.due, self.gap, (first, last));
            if self.row_pieces {
                for (_, ts, row) in run {
                    piece_of_row[*row as usize] = self.delta_slots.len();
                    session.pieces.push(Piece { block: self.delta, row: self.delta_slots.len() as u32 });
                    self.delta_slots.push(slot);
                    self.delta_spans.push((*ts, *ts));
                    began.push(*row);
                }
                continue;
            }
            let piece = match session.pieces.iter().rev().find(|piece| piece.block == self.delta) {
                Some(piece) => {
                    let span = &mut self.delta_spans[piece.row as usize];
                    *span = (span.0.min(first), span.1.max(last));
                    piece.row as usize
                }
                None => {
                    session.pieces.push(Piece { block: self.delta, row: self.delta_slots.len() as u32 });
                    self.delta_slots.push(slot);
                    self.delta_spans.push((first, last));
                    began.push(row);
                    self.delta_slots.len() - 1
                }
            };
            run.iter().for_each(|(_, _, row)| piece_of_row[*row as usize] = piece);
        }
        rows.clear();
    }

    /// Seals the delta if it has become large.
    pub(crate) fn relieve(&mut self, pieces: &mut impl Pieces) -> Result<()> {
        if self.delta_slots.len() >= MAX_DELTA {
            self.seal(pieces)?;
            self.tidy(pieces)?;
        }
        Ok(())
    }

    /// Closes sessions up to `mark`, by end, then start. Their pieces can be gathered until `release`.
    pub(crate) fn advance(&mut self, mark: Watermark, pieces: &mut impl Pieces) -> Result<Vec<Closed>> {
        self.mark.advance(mark);
        let mut closed = self.closing(mark.0);
        if !closed.is_empty() {
            self.seal(pieces)?;
            self.closed_at = mark.0;
            closed.sort_by_key(|session| (session.window.end, session.window.start, session.slot));
        }
        Ok(closed)
    }

    /// The pieces of closed sessions, and for each row the number of its session in `closed`.
    pub(crate) fn gather(&self, closed: &[Closed]) -> Result<(RecordBatch, Vec<usize>)> {
        let pieces = closed.iter().flat_map(|session| session.pieces.iter().copied());
        let of = closed.iter().enumerate().flat_map(|(number, session)| std::iter::repeat_n(number, session.pieces.len()));
        Ok((self.rows(pieces)?, of.collect()))
    }

    /// Forgets closed sessions.
    pub(crate) fn release(&mut self, closed: &[Closed]) {
        for session in closed {
            self.drop_pieces(&session.pieces);
            if self.slots[session.slot as usize].sessions.is_empty() {
                self.keys.release(session.slot);
            }
        }
    }

    /// Memory of what is in no state table: keys, sessions and blocks since the last checkpoint.
    pub(crate) fn bytes(&self) -> usize {
        let fresh = self.blocks.values().filter(|block| block.id.is_none());
        let rows: usize = fresh.map(|block| block.rows.get_array_memory_size()).sum();
        let pieces: usize = self.blocks.values().map(|block| block.slots.len()).sum::<usize>() + self.delta_slots.len();
        let each = size_of::<Piece>() + size_of::<u32>() + size_of::<(i64, i64)>();
        rows + pieces * each + self.slots.len() * (size_of::<Slot>() + size_of::<Session>()) + self.keys.bytes()
    }

    /// A checkpoint: everything lies in blocks of the table then.
    pub(crate) fn keep(&mut self, pieces: &mut impl Pieces) -> Result<()> {
        self.mark.keep()?;
        self.seal(pieces)?;
        self.tidy(pieces)?;
        for block in self.blocks.values_mut().filter(|block| block.id.is_none()) {
            block.id = Some(self.table.push(block.closed_at, block.rows.clone()));
        }
        Ok(())
    }

    /// Merges blocks when they have become many or hollow.
    pub(crate) fn tidy(&mut self, pieces: &mut impl Pieces) -> Result<()> {
        let (rows, live) = self.blocks.values().fold((0, 0), |(rows, live), block| (rows + block.slots.len(), live + block.live));
        let mut chosen: Vec<u32> = self.blocks.iter().filter(|(_, block)| 2 * block.live < block.slots.len()).map(|(n, _)| *n).collect();
        if self.blocks.len() > MAX_BLOCKS {
            let mut by_size: Vec<(usize, u32)> = self.blocks.iter().map(|(number, block)| (block.live, *number)).collect();
            by_size.sort_unstable();
            chosen.extend(by_size.iter().take(MAX_BLOCKS / 2).map(|(_, number)| *number));
        } else if rows <= 2 * live + MAX_HOLLOW {
            return Ok(());
        }
        self.seal(pieces)?;
        chosen.sort_unstable();
        chosen.dedup();
        let mut slots: Vec<u32> =
            chosen.iter().filter_map(|number| self.blocks.get(number)).flat_map(|block| block.slots.iter().copied()).collect();
        slots.sort_unstable();
        slots.dedup();
        // All pieces of a session move together.
        let is_chosen = |piece: &Piece| chosen.binary_search(&piece.block).is_ok();
        let (mut moved, mut of, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for slot in slots {
            for (index, session) in self.slots[slot as usize].sessions.iter().enumerate() {
                if session.pieces.iter().any(is_chosen) {
                    moved.extend_from_slice(&session.pieces);
                    of.extend(std::iter::repeat_n(owners.len(), session.pieces.len()));
                    owners.push((slot, index));
                }
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let (rows, of) = pieces.merge(self.rows(moved.iter().copied())?, of)?;
        for (slot, index) in &owners {
            self.slots[*slot as usize].sessions[*index].pieces.clear();
        }
        for (row, owner) in of.iter().enumerate() {
            let (slot, index) = owners[*owner];
            self.slots[slot as usize].sessions[index].pieces.push(Piece { block: self.delta, row: row as u32 });
        }
        let slots: Vec<u32> = of.iter().map(|owner| owners[*owner].0).collect();
        self.insert_block(rows, slots);
        self.drop_pieces(&moved);
        Ok(())
    }

    fn seal(&mut self, pieces: &mut impl Pieces) -> Result<()> {
        if self.delta_slots.is_empty() {
            return Ok(());
        }
        let spans = std::mem::take(&mut self.delta_spans);
        let slots = std::mem::take(&mut self.delta_slots);
        let rows = pieces.seal(&spans)?;
        self.insert_block(rows, slots);
        Ok(())
    }

    fn insert_block(&mut self, rows: RecordBatch, slots: Vec<u32>) {
        let live = slots.len();
        self.blocks.insert(self.delta, PieceBlock { rows, slots, live, closed_at: self.closed_at, id: None });
        self.delta += 1;
    }

    fn drop_pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let Some(block) = self.blocks.get_mut(&piece.block) else { continue };
            block.live -= 1;
            if block.live == 0 {
                if let Some(id) = block.id {
                    self.table.remove(id);
                }
                self.blocks.remove(&piece.block);
            }
        }
    }

    /// Rows of the given pieces, in their order.
    fn rows(&self, pieces: impl Iterator<Item = Piece>) -> Result<RecordBatch> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
        let mut places = Vec::new();
        for piece in pieces {
            let number = match numbers.get(&piece.block) {
                Some(number) => *number,
                None => {
                    let block = self.blocks.get(&piece.block).ok_or_else(|| Error::bug("a session lost a block of its state"))?;
                    batches.push(&block.rows);
                    numbers.insert(piece.block, batches.len() - 1);
                    batches.len() - 1
                }
            };
            places.push((number, piece.row as usize));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(self.table.schema().clone()));
        }
        Ok(interleave_record_batch(&batches, &places)?)
    }

    /// Takes the sessions that end at or before `mark` out of their slots.
    fn closing(&mut self, mark: i64) -> Vec<Closed> {
        let mut closed = Vec::new();
        while let Some(&Reverse((time, slot))) = self.due.peek().filter(|Reverse((time, _))| *time <= mark) {
            self.due.pop();
            let list = &mut self.slots[slot as usize];
            if list.due != Some(time) {
                continue;
            }
            // Sessions do not touch, so they end in the order in which they start.
            let ended = list.sessions.partition_point(|session| session.last + self.gap <= mark);
            closed.extend(list.sessions.drain(..ended).map(|session| Closed {
                window: Window { start: session.start, end: session.last + self.gap },
                slot,
                pieces: session.pieces,
            }));
            list.due = list.sessions.first().map(|session| session.last + self.gap);
            if let Some(time) = list.due {
                self.due.push(Reverse((time, slot)));
            }
        }
        closed
    }
}

/// Does a row at `ts` fall into (or touch) an open session?
fn touches(slot: &Slot, gap: i64, ts: i64) -> bool {
    let first = slot.sessions.partition_point(|session| session.last + gap < ts);
    slot.sessions.get(first).is_some_and(|session| session.start <= ts + gap)
}

/// The session that rows from `first` to `last` (no more than a gap apart) belong to: a new one, or the sessions they
/// touch, made one.
fn place<'a>(
    list: &'a mut Slot,
    slot: u32,
    due: &mut BinaryHeap<Reverse<(i64, u32)>>,
    gap: i64,
    (first, last): (i64, i64),
) -> &'a mut Session {
    let from = list.sessions.partition_point(|session| session.last + gap < first);
    let to = from + list.sessions[from..].partition_point(|session| session.start <= last + gap);
    if from == to {
        list.sessions.insert(from, Session { start: first, last, pieces: Vec::new() });
        if list.due.is_none_or(|time| time > last + gap) {
            list.due = Some(last + gap);
            due.push(Reverse((last + gap, slot)));
        }
    } else {
        let bridged: Vec<Session> = list.sessions.drain(from + 1..to).collect();
        let session = &mut list.sessions[from];
        session.start = session.start.min(first);
        session.last = session.last.max(last);
        for other in bridged {
            session.last = session.last.max(other.last);
            session.pieces.extend(other.pieces);
        }
    }
    &mut list.sessions[from]
}
