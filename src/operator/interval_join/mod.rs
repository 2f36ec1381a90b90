//! Interval join: pairs rows of two inputs with equal keys whose event times are within an interval of each other.
//!
//! ```text
//!  row of one side ──probe──▶ chain of its key on the other side ──▶ rows within the interval ──▶ pairs, by columns
//!        └──keep──▶ time slice of its own side, until the watermark passes the end of its interval:
//!                   then, where the join is outer or anti and no match was found, it is emitted alone, once
//! ```
//! Both ends of the interval are inclusive. A row is never dropped for being late: it still meets the rows that are
//! there, and is kept only if the other side can bring a match. Read `side.rs` for what is kept.

mod chains;
mod side;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

use self::chains::Chains;
use self::side::{Side, key_columns};
use crate::error::Result;
use crate::operator::event_time::{refuse_late, refuse_null_times};
use crate::operator::identity::{expr_identity, types_identity};
use crate::operator::joined::{Joined, take_columns};
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NO_SLOT, NullKeys};
use crate::operator::spoken;
use crate::operator::{Distribution, Input, OUTPUT_ROWS, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::{Length, MICROS_PER_SECOND, Watermark};

/// State is forgotten in slices of the interval's length divided by this.
const SLICES: i64 = 8;

/// Describes an interval join of input 0 (left) and input 1 (right).
#[derive(Debug)]
pub struct IntervalJoinSpec {
    /// Schema of the left rows.
    pub left: SchemaRef,
    /// Schema of the right rows.
    pub right: SchemaRef,
    /// INNER, LEFT, RIGHT, FULL, LEFT SEMI, LEFT ANTI (and their right forms).
    pub join_type: JoinType,
    /// Key columns: `left[i] = right[i]`; NULL never matches. May be empty.
    pub left_keys: Vec<usize>,
    /// See `left_keys`.
    pub right_keys: Vec<usize>,
    /// Event-time column of the left rows.
    pub left_time: usize,
    /// Event-time column of the right rows.
    pub right_time: usize,
    /// `right.time - left.time >= lower`, microseconds, inclusive.
    pub lower_micros: i64,
    /// `right.time - left.time <= upper`, microseconds, inclusive.
    pub upper_micros: i64,
    /// What else must hold, over left columns then right columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Which of the joined columns leave, and in which order: positions in left columns then right columns (SEMI/ANTI:
    /// in those of the kept side). `None` = all. Columns that nobody reads are never gathered.
    pub projection: Option<Vec<usize>>,
    /// Schema of the output: the joined columns after `projection`.
    pub schema: SchemaRef,
}

impl IntervalJoinSpec {
    fn joined(&self) -> Result<Joined> {
        let projection = self.projection.as_deref();
        Joined::new(self.join_type, &self.left, &self.right, projection, self.filter.as_ref(), self.schema.clone())
    }

    fn interval(&self) -> Interval {
        Interval { lower: self.lower_micros, upper: self.upper_micros }
    }
}

/// `right.time - left.time`, microseconds, both ends inclusive.
#[derive(Debug, Clone, Copy)]
struct Interval {
    lower: i64,
    upper: i64,
}

impl Interval {
    /// How long after its time a row may still be needed; also what the watermark is held back by: whichever time column
    /// a reader of the result goes by, no row is behind the watermark passed on.
    fn reach(self) -> i64 {
        self.upper.max(self.lower.saturating_neg()).max(0)
    }

    /// How much later than a row of `side` the rows of the other side are that it pairs with: at least, at most.
    fn seen_from(self, side: usize) -> (i64, i64) {
        if side == 0 { (self.lower, self.upper) } else { (self.upper.saturating_neg(), self.lower.saturating_neg()) }
    }

    /// Per side the time before which rows can match nothing any more. At the end of the input that is all of them.
    fn limits(self, mark: Watermark) -> [i64; 2] {
        match mark {
            Watermark::MAX => [i64::MAX; 2],
            Watermark(at) => [0, 1].map(|side| at.saturating_sub(self.seen_from(side).1)),
        }
    }
}

impl OperatorSpec for IntervalJoinSpec {
    fn name(&self) -> &'static str {
        "interval join"
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self
            .left_keys
            .iter()
            .zip(&self.right_keys)
            .map(|(l, r)| format!("{} = {}", self.left.field(*l).name(), self.right.field(*r).name()))
            .collect();
        let (left, right) = (self.left.field(self.left_time).name(), self.right.field(self.right_time).name());
        let filter = self.filter.as_ref().map(|filter| format!(" and {}", spoken::expression(filter))).unwrap_or_default();
        format!(
            "{} on [{}], right {right} - left {left} from {} to {}{filter}",
            self.join_type,
            keys.join(", "),
            Length(self.lower_micros),
            Length(self.upper_micros)
        )
    }

    fn identity(&self) -> String {
        format!(
            "interval join {} left {} keys {:?} time {} right {} keys {:?} time {} within {}..={} filter {}",
            self.join_type,
            types_identity(&self.left),
            self.left_keys,
            self.left_time,
            types_identity(&self.right),
            self.right_keys,
            self.right_time,
            Length(self.lower_micros),
            Length(self.upper_micros),
            self.filter.as_ref().map(expr_identity).unwrap_or_default(),
        )
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, input: Input) -> Distribution {
        let keys = if input == 0 { &self.left_keys } else { &self.right_keys };
        if keys.is_empty() { Distribution::Single } else { Distribution::ByKey(keys.clone()) }
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let joined = self.joined()?;
        let types: Vec<_> = self.left_keys.iter().map(|key| self.left.field(*key).data_type().clone()).collect();
        let mut index = KeyIndex::new(&types, NullKeys::MatchNothing)?;
        let width = (self.interval().reach() / SLICES).max(MICROS_PER_SECOND);
        let mut side = |side, name, schema, keys| Side::open(name, schema, keys, width, joined.tracks(side), &mut index, state);
        let left = side(0, "left", &self.left, (&self.left_keys, self.left_time))?;
        let right = side(1, "right", &self.right, (&self.right_keys, self.right_time))?;
        let mut sides = [left, right];
        let mark = KeptMark::open(state)?;
        sides.iter_mut().zip(self.interval().limits(mark.get())).for_each(|(side, limit)| side.limit = limit);
        Ok(Box::new(IntervalJoin { joined, mark, sides, index, key_types: types, interval: self.interval(), swept: 0, slots: Vec::new() }))
    }
}

/// The running join.
struct IntervalJoin {
    joined: Joined,
    mark: KeptMark,
    sides: [Side; 2],
    /// Slots of keys, shared by both sides.
    index: KeyIndex,
    key_types: Vec<DataType>,
    interval: Interval,
    /// The slot that was last looked at for whether its key can be released.
    swept: u32,
    /// Slots of the rows of the batch at hand.
    slots: Vec<u32>,
}

/// A batch that has come in, and the pairs found for it.
struct Arrival {
    side: usize,
    batch: RecordBatch,
    /// Per row whether it has found a match; empty where nobody asks.
    matched: Vec<bool>,
    /// Rows that came behind their limit on this side: per row whether it has been in a pair. Empty where none did.
    paired_late: Vec<bool>,
    /// Candidate pairs: row of the batch, address on the other side.
    rows: Vec<u32>,
    addresses: Vec<u32>,
}

impl Operator for IntervalJoin {
    fn on_batch(&mut self, input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, times) = refuse_null_times(batch, self.sides[input].time, out)?;
        let times = times.values();
        self.index.intern(&key_columns(&batch, &self.sides[input].keys), batch.num_rows(), &mut self.slots)?;
        let slots = std::mem::take(&mut self.slots);
        self.sides.iter_mut().for_each(|side| side.chains.reserve(self.index.len()));

        let arrival = self.probe(input, batch, times, &slots, out)?;
        self.keep(arrival, times, &slots, out)?;
        self.release_keys(slots.len() / 4 + 16);
        self.slots = slots;
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark.advance(mark);
        for (side, limit) in self.interval.limits(mark).into_iter().enumerate() {
            let expired = self.sides[side].expire(limit, self.joined.emits_unmatched(side))?;
            for addresses in expired.chunks(OUTPUT_ROWS) {
                let columns = self.sides[side].rows.gather(addresses, self.joined.columns(side))?;
                out.emit(self.joined.emit_one_side(side, columns, addresses.len())?);
            }
            self.sides[side].forget();
        }
        if self.index.len() > 1 && self.sides.iter().all(|side| side.rows.is_empty()) {
            self.index = KeyIndex::new(&self.key_types, NullKeys::MatchNothing)?;
            self.sides.iter_mut().for_each(|side| side.chains = Chains::new());
        }
        Ok(match mark {
            Watermark::MAX | Watermark::MIN => mark,
            Watermark(at) => Watermark(at.saturating_sub(self.interval.reach())),
        })
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        self.mark.keep()?;
        self.sides.iter_mut().try_for_each(Side::checkpoint)
    }

    fn state_bytes(&self) -> usize {
        self.index.bytes() + self.sides.iter().map(Side::bytes_outside).sum::<usize>()
    }
}

impl IntervalJoin {
    /// Finds and emits the pairs of a batch with the stored rows of the other side.
    ///
    /// A late row still pairs with what is there: with rows whose own interval the watermark has not passed.
    fn probe(&mut self, side: usize, batch: RecordBatch, times: &[i64], slots: &[u32], out: &mut Output) -> Result<Arrival> {
        let other = 1 - side;
        let (least, most) = self.interval.seen_from(side);
        let matched = vec![false; if self.joined.tracks(side) { batch.num_rows() } else { 0 }];
        let behind = times.iter().any(|ts| *ts < self.sides[side].limit);
        let paired_late = vec![false; if behind { batch.num_rows() } else { 0 }];
        let mut arrival = Arrival { side, batch, matched, paired_late, rows: Vec::new(), addresses: Vec::new() };
        // One match settles a row of which only itself is emitted, unless candidates may still fail the condition.
        let first_only = self.joined.kept() == Some(side) && !self.joined.has_filter();
        let settles = self.joined.kept() == Some(other);
        for (row, (slot, ts)) in slots.iter().zip(times).enumerate().filter(|(_, (slot, _))| **slot != NO_SLOT) {
            let Side { chains, limit, matches, .. } = &mut self.sides[other];
            let from = ts.saturating_add(least).max(*limit);
            chains.probe(*slot, *limit, from, ts.saturating_add(most), |address| {
                if settles && matches.as_ref().is_some_and(|matches| matches.has(address)) {
                    return true;
                }
                arrival.rows.push(row as u32);
                arrival.addresses.push(address);
                !first_only
            });
            if arrival.rows.len() >= OUTPUT_ROWS {
                self.emit_pairs(&mut arrival, out)?;
            }
        }
        self.emit_pairs(&mut arrival, out)?;
        Ok(arrival)
    }

    /// Emits the candidate pairs that meet the condition, and notes who has found a match.
    fn emit_pairs(&mut self, arrival: &mut Arrival, out: &mut Output) -> Result<()> {
        let (side, other) = (arrival.side, 1 - arrival.side);
        let mut rows = UInt32Array::from(std::mem::take(&mut arrival.rows));
        let mut addresses = std::mem::take(&mut arrival.addresses);
        if rows.is_empty() {
            return Ok(());
        }
        if self.joined.has_filter() {
            let own = take_columns(&arrival.batch, self.joined.filter_columns(side), &rows)?;
            let stored = self.sides[other].rows.gather(&addresses, self.joined.filter_columns(other))?;
            if let Some(mask) = self.joined.passing(in_order(side, own, stored), rows.len(), out)? {
                addresses = addresses.into_iter().zip(mask.values()).filter(|(_, pass)| *pass).map(|(address, _)| address).collect();
                rows = filter(&rows, &mask)?.as_primitive::<UInt32Type>().clone();
            }
        }
        if !arrival.paired_late.is_empty() {
            rows.values().iter().for_each(|row| arrival.paired_late[*row as usize] = true);
        }
        if !arrival.matched.is_empty() {
            rows.values().iter().for_each(|row| arrival.matched[*row as usize] = true);
        }
        if let Some(matches) = &mut self.sides[other].matches {
            if self.joined.emits_matched(other) {
                addresses.retain(|address| matches.mark(*address));
            } else {
                addresses.iter().for_each(|address| _ = matches.mark(*address));
            }
        }
        for from in (0..addresses.len()).step_by(OUTPUT_ROWS) {
            let addresses = &addresses[from..addresses.len().min(from + OUTPUT_ROWS)];
            if self.joined.emits_pairs() {
                let own = take_columns(&arrival.batch, self.joined.columns(side), &rows.slice(from, addresses.len()))?;
                let stored = self.sides[other].rows.gather(addresses, self.joined.columns(other))?;
                out.emit(self.joined.emit(in_order(side, own, stored).map(Some), addresses.len())?);
            } else if self.joined.emits_matched(other) {
                let stored = self.sides[other].rows.gather(addresses, self.joined.columns(other))?;
                out.emit(self.joined.emit_one_side(other, stored, addresses.len())?);
            }
        }
        Ok(())
    }

    /// Stores the rows that may still match (or are to be padded later) and emits those that are settled already.
    fn keep(&mut self, arrival: Arrival, times: &[i64], slots: &[u32], out: &mut Output) -> Result<()> {
        let Arrival { side, batch, matched, paired_late, .. } = arrival;
        let has_match = |row: usize| matched.get(row) == Some(&true);
        let emits_matched = self.joined.emits_matched(side);
        let emits_unmatched = self.joined.emits_unmatched(side);
        let (limit, mark) = (self.sides[side].limit, self.mark.get());
        let (mut kept, mut settled, mut late) = (Vec::with_capacity(times.len()), Vec::new(), Vec::new());
        for (row, (ts, slot)) in times.iter().zip(slots).enumerate() {
            // Only pairs ask for a row again once it has matched.
            let done = has_match(row) && !self.joined.emits_pairs();
            let open = *ts >= limit && (*slot != NO_SLOT || emits_unmatched);
            if open && !done {
                kept.push(row as u32);
            } else if if has_match(row) { emits_matched } else { emits_unmatched } {
                settled.push(row as u32);
            } else if *ts < limit.min(mark.0) && *slot != NO_SLOT && paired_late.get(row) == Some(&false) {
                late.push(row as u32);
            }
        }
        let pairs = late.len() as u64;
        refuse_late(&batch, late, pairs, || format!("all that the row could be joined with is forgotten: the watermark is {mark}"), out)?;
        if !settled.is_empty() {
            let columns = take_columns(&batch, self.joined.columns(side), &settled.clone().into())?;
            out.emit(self.joined.emit_one_side(side, columns, settled.len())?);
        }
        self.sides[side].keep(&batch, kept, slots, times, &matched)
    }

    /// Looks at the next `count` slots, round and round: a key without rows on either side is released. Spread over the
    /// batches so that many keys never make one of them slow.
    fn release_keys(&mut self, count: usize) {
        let slots = self.index.len();
        for _ in 0..count.min(slots) {
            self.swept = if self.swept as usize + 1 < slots { self.swept + 1 } else { 0 };
            let [left, right] = &mut self.sides;
            let (left, right) = (left.chains.trim(self.swept, left.limit), right.chains.trim(self.swept, right.limit));
            if left && right {
                self.index.release(self.swept);
            }
        }
    }
}

/// Left, then right.
fn in_order<T>(side: usize, own: T, other: T) -> [T; 2] {
    if side == 0 { [own, other] } else { [other, own] }
}
