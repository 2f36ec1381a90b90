//! Conditions over aggregates: each slides with the events of its key, a whole batch at a time; the events of the windows
//! are kept for what a match tells.
//!
//! ```text
//!  candidates ──▶ frames by key: sum, count, … of (t - over, t] ──▶ condition, once a batch ──▶ fires where it begins to hold
//! ```

use std::collections::VecDeque;

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::error::{Error, Result};
use crate::operator::expressions::{Failures, evaluate};
use crate::operator::frame::choose::{column_of, needs_no_argument};
use crate::operator::frame::column::{Column, SortedRows, Ties};
use crate::operator::frame::nth::Nth;
use crate::operator::frame::{Frame, WhichRow};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::{columns_of, truth};
use crate::operator::pattern::binding::{Binding, End, Expr, bindings_schema};
use crate::operator::pattern::conditions::{ConditionId, Conditions};
use crate::operator::pattern::executor::{Executor, Found, Loaded, Overflowed, Rows, Saved, Shared, What};
use crate::operator::pattern::kept_rows::{Handle, KeptRows};
use crate::operator::pattern::row_set::any_of;
use crate::operator::pattern::spec::{AggregateRule, Bounds, Overflow, Rule};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;
/// What an event in a window takes, beside its row.
const EVENT_BYTES: usize = size_of::<(i64, Handle)>();
/// Restored events are fed to the frames in pieces of this many.
const FEED_ROWS: usize = 8192;

/// The window of a key.
#[derive(Debug, Default)]
struct Window {
    events: VecDeque<(i64, Handle)>,
    /// Did the condition hold at the last of them?
    held: bool,
}

/// What the condition reads behind the columns of the event.
struct Bound {
    /// None: the value for the event itself.
    frame: Option<Box<dyn Column>>,
    args: Vec<Expr>,
    data_type: DataType,
}

/// An aggregate rule at work.
pub(super) struct Aggregated {
    rule: u32,
    name: String,
    when: Option<ConditionId>,
    over: i64,
    bound: Vec<Bound>,
    having: Expr,
    /// Columns of the input that the condition and the arguments read.
    columns: Vec<usize>,
    /// The input's columns, then what is bound.
    schema: SchemaRef,
    each: bool,
    bounds: Bounds,
    keys: HashMap<u32, Window, RandomState>,
    /// One more than the largest slot so far.
    slot_count: usize,
    /// In all windows.
    events: usize,
    /// Keys whose restored events the frames have not seen.
    unfed: Vec<u32>,
    failed: bool,
}

impl Aggregated {
    /// A condition over aggregates of the input of `spec`; what it asks of each event becomes part of `conditions`.
    pub(super) fn new(
        number: u32,
        rule: &Rule,
        aggregate: &AggregateRule,
        spec: &PatternSpec,
        conditions: &mut Conditions,
    ) -> Result<Self> {
        if aggregate.over_micros <= 0 {
            return Err(Error::input("`over` of an aggregate must be a time longer than nothing"));
        }
        let bindings = &aggregate.having.bindings;
        let bound = bindings.iter().map(|binding| Bound::new(binding, aggregate.over_micros, &spec.input)).collect::<Result<Vec<_>>>()?;
        let mut columns = columns_of(bound.iter().flat_map(|bound| &bound.args).chain([&aggregate.having.expr]));
        columns.retain(|column| *column < spec.input.fields().len());
        Ok(Aggregated {
            rule: number,
            name: rule.name.clone(),
            when: aggregate.when.as_ref().map(|when| conditions.add(when)),
            over: aggregate.over_micros,
            bound,
            having: aggregate.having.expr.clone(),
            columns,
            schema: bindings_schema(&spec.input, spec.time, bindings)?,
            each: aggregate.each,
            bounds: rule.bounds,
            keys: HashMap::with_hasher(RandomState::with_seeds(31, 32, 33, 34)),
            slot_count: 0,
            events: 0,
            unfed: Vec::new(),
            failed: false,
        })
    }

    /// The events enter their windows: their columns, then what is bound for each.
    fn enter(&mut self, rows: &RecordBatch, times: &[i64], slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.slot_count = slots.iter().map(|slot| *slot as usize + 1).fold(self.slot_count, usize::max);
        let sorted = SortedRows { times, slots, slot_count: self.slot_count, ties: Ties::InTurn };
        let mut columns = rows.columns().to_vec();
        for bound in &mut self.bound {
            columns.push(bound.compute(&sorted, rows, &self.name)?);
        }
        Ok(columns)
    }

    /// Does the condition hold at each of these events? They enter their windows.
    fn judge(&mut self, rows: &RecordBatch, times: &[i64], slots: &[u32]) -> Result<BooleanArray> {
        let columns = self.enter(rows, times, slots)?;
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        truth(&self.having, &RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Shows restored events to the frames, which are not part of what is saved.
    fn feed(&mut self, kept: &KeptRows) -> Result<()> {
        let unfed = std::mem::take(&mut self.unfed);
        let of_key = |slot: u32| self.keys.get(&slot).map(|window| window.events.iter().map(move |(time, event)| (slot, *time, *event)));
        let events: Vec<(u32, i64, Handle)> = unfed.into_iter().filter_map(of_key).flatten().collect();
        for piece in events.chunks(FEED_ROWS) {
            let handles: Vec<Handle> = piece.iter().map(|(_, _, event)| *event).collect();
            let times: Vec<i64> = piece.iter().map(|(_, time, _)| *time).collect();
            let slots: Vec<u32> = piece.iter().map(|(slot, _, _)| *slot).collect();
            self.enter(&kept.gather_columns(&handles, &self.columns)?, &times, &slots)?;
        }
        Ok(())
    }

    /// Puts an event into the window of its key and takes out what has left it, and fires where the condition begins to hold.
    fn slide(&mut self, row: u32, rows: &Rows<'_>, holds: bool, shared: &mut Shared<'_>) {
        let (slot, time) = (rows.slots[row as usize], rows.times[row as usize]);
        let window = match self.keys.entry(slot) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                shared.hold(slot);
                shared.timers.set(Timer { at: time.saturating_add(self.over), rule: self.rule, slot });
                entry.insert(Window::default())
            }
        };
        let start = time.saturating_sub(self.over);
        while let Some((_, event)) = window.events.pop_front_if(|(old, _)| *old <= start) {
            self.events -= 1;
            shared.kept.release(event);
        }
        // An event before that has left the window counts as none.
        let held = window.held && !window.events.is_empty();
        window.events.push_back((time, shared.kept.keep(row)));
        self.events += 1;
        window.held = holds;
        if holds && (self.each || !held) {
            let taken = window.events.iter().map(|(_, event)| (0, *event)).collect();
            window.events.iter().for_each(|(_, event)| shared.kept.hold(*event));
            shared.found.push(Found { rule: self.rule, what: What::Match, time, taken });
        }
    }

    /// Keeps the bound, once a batch: `candidates` are about to enter.
    fn make_room(&mut self, candidates: &mut Vec<u32>, rows: &Rows<'_>, shared: &mut Shared<'_>) {
        let Some(max_bytes) = self.bounds.max_bytes else { return };
        let most = max_bytes / EVENT_BYTES;
        if self.events + candidates.len() <= most {
            return;
        }
        let overflowed = |row: u32| Overflowed { rule: self.rule, slot: rows.slots[row as usize], dropped: 1 };
        match self.bounds.overflow {
            Overflow::FailRule => {
                shared.overflowed.extend(candidates.first().map(|row| overflowed(*row)));
                self.failed = true;
            }
            Overflow::DropNewest => {
                let room = most.saturating_sub(self.events).min(candidates.len());
                shared.overflowed.extend(candidates.drain(room..).map(overflowed));
            }
            Overflow::DropOldest => {
                for row in candidates.iter() {
                    let slot = rows.slots[*row as usize];
                    if self.events + candidates.len() <= most {
                        break;
                    }
                    // With its ties: the frames forget by time.
                    let Some(window) = self.keys.get_mut(&slot) else { continue };
                    let Some((oldest, _)) = window.events.front().copied() else { continue };
                    let mut dropped = 0;
                    while let Some((_, event)) = window.events.pop_front_if(|(time, _)| *time <= oldest) {
                        shared.kept.release(event);
                        dropped += 1;
                    }
                    self.events -= dropped;
                    self.bound.iter_mut().for_each(|bound| bound.forget_before(slot, oldest.saturating_add(1)));
                    shared.overflowed.push(Overflowed { rule: self.rule, slot, dropped: dropped as u64 });
                }
            }
        }
    }

    fn clear(&mut self, shared: &mut Shared<'_>) {
        self.events = 0;
        for (slot, window) in self.keys.drain() {
            window.events.iter().for_each(|(_, event)| shared.kept.release(*event));
            self.bound.iter_mut().for_each(|bound| bound.forget_before(slot, i64::MAX));
            shared.release(slot);
        }
    }
}

impl Bound {
    fn new(binding: &Binding, over_micros: i64, input: &SchemaRef) -> Result<Self> {
        // (t - over, t]: the far end is not part of it.
        let frame = Frame::Range(over_micros - 1);
        Ok(match binding {
            Binding::Row { end: End::Last, skip: 0, value, .. } => {
                Bound { frame: None, args: vec![value.clone()], data_type: value.data_type(input)? }
            }
            Binding::Row { end: End::First, skip, value, .. } => {
                let data_type = value.data_type(input)?;
                let first = Nth::new(WhichRow::FromFirst(*skip as u64 + 1), false, frame, &data_type);
                Bound { frame: Some(Box::new(first)), args: vec![value.clone()], data_type }
            }
            Binding::Aggregate { function, .. } => {
                if !function.order_bys().is_empty() {
                    let name = function.name();
                    return Err(Error::input(format!("{name}: the events of a window are in order of time; leave out the ORDER BY")));
                }
                let args = if needs_no_argument(function, frame) { Vec::new() } else { function.expressions() };
                let types = args.iter().map(|arg| arg.data_type(input)).collect::<Result<Vec<_>, _>>()?;
                let column = column_of(function, frame, &types, false);
                Bound { frame: Some(column), args, data_type: function.field().data_type().clone() }
            }
            other => return Err(Error::bug(format!("{other:?} is not for a condition over a window"))),
        })
    }

    /// The value for each of the rows, which enter the frame.
    fn compute(&mut self, sorted: &SortedRows<'_>, rows: &RecordBatch, rule: &str) -> Result<ArrayRef> {
        let mut failures = Failures::default();
        let args = self.args.iter().map(|arg| evaluate(arg, rows, &mut failures)).collect::<Result<Vec<_>>>()?;
        if let Some((_, error)) = failures.iter().next() {
            return Err(Error::failed(format!("rule {rule}: what is aggregated fails on an event: {error}")));
        }
        let values = match &mut self.frame {
            Some(column) => column.compute(sorted, &args)?,
            None => args[0].clone(),
        };
        Ok(if *values.data_type() == self.data_type { values } else { cast(&values, &self.data_type)? })
    }

    fn forget_before(&mut self, slot: u32, limit: i64) {
        if let Some(column) = &mut self.frame {
            column.forget_before(slot, limit);
        }
    }
}

/// Some rows of a batch, with only `columns` filled in.
fn some_rows(batch: &RecordBatch, rows: &[u32], columns: &[usize], schema: SchemaRef) -> Result<RecordBatch> {
    let indices = UInt32Array::from(rows.to_vec());
    let taken = batch.columns().iter().enumerate().map(|(at, column)| match columns.contains(&at) {
        true if rows.len() == batch.num_rows() => Ok(column.clone()),
        true => Ok(take(column, &indices, None)?),
        false => Ok(new_null_array(column.data_type(), rows.len())),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema, taken.collect::<Result<_>>()?, &options)?)
}

impl Executor for Aggregated {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        if self.failed {
            return Ok(());
        }
        self.feed(shared.kept)?;
        let mut candidates = Vec::new();
        match self.when.map(|id| &rows.sets[id]) {
            None => candidates.extend(0..rows.slots.len() as u32),
            Some(set) => any_of(std::iter::once(set), rows.slots.len(), &mut candidates),
        }
        self.make_room(&mut candidates, rows, shared);
        if self.failed {
            self.clear(shared);
            return Ok(());
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let times: Vec<i64> = candidates.iter().map(|row| rows.times[*row as usize]).collect();
        let slots: Vec<u32> = candidates.iter().map(|row| rows.slots[*row as usize]).collect();
        let batch = some_rows(rows.batch, &candidates, &self.columns, shared.kept.schema().clone())?;
        let holds = self.judge(&batch, &times, &slots)?;
        for (row, holds) in candidates.into_iter().zip(holds.values()) {
            self.slide(row, rows, holds, shared);
        }
        Ok(())
    }

    fn on_timers(&mut self, timers: &[Timer], now: i64, shared: &mut Shared<'_>) -> Result<()> {
        let start = now.saturating_sub(self.over);
        for Timer { slot, .. } in timers.iter().copied() {
            let last = self.keys.get(&slot).and_then(|window| window.events.back()).map(|(time, _)| *time);
            if let Some(last) = last.filter(|last| *last > start) {
                shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
            } else if let Some(window) = self.keys.remove(&slot) {
                self.events -= window.events.len();
                window.events.iter().for_each(|(_, event)| shared.kept.release(*event));
                self.bound.iter_mut().for_each(|bound| bound.forget_before(slot, i64::MAX));
                shared.release(slot);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        // The frames hold about as much of an event as the window does.
        self.keys.len() * size_of::<(u32, Window)>() + self.events * EVENT_BYTES * (1 + self.bound.len())
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.keys.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// Version, held, then per event its time and the event.
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(window) = self.keys.get(&slot) else { return };
        [VERSION, i64::from(window.held), window.events.len() as i64].into_iter().for_each(|word| to.word(word));
        for (time, event) in &window.events {
            to.word(*time);
            to.event(*event);
        }
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of rule '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let mut window = Window { events: VecDeque::new(), held: from.word()? != 0 };
        for _ in 0..from.count()? {
            let (time, event) = (from.word()?, from.event()?);
            shared.kept.hold(event);
            window.events.push_back((time, event));
        }
        self.events += window.events.len();
        let last = window.events.back().map_or(i64::MIN, |(time, _)| *time);
        shared.hold(slot);
        shared.timers.set(Timer { at: last.saturating_add(self.over), rule: self.rule, slot });
        self.keys.insert(slot, window);
        self.unfed.push(slot);
        Ok(())
    }
}
