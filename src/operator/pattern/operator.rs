//! The running operator: puts events in order, evaluates the conditions of all rules, numbers the events of each key, lets
//! every rule's executor work, and emits what they found.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, Result};
use crate::operator::event_time::{micros, refuse_late, refuse_null_times};
use crate::operator::expressions::Failures;
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::Emitter;
use crate::operator::pattern::conditions::Conditions;
use crate::operator::pattern::executor::{Executor, Found, Outcome, Overflowed, Rows, What};
use crate::operator::pattern::holders::Holders;
use crate::operator::pattern::kept_rows::{Handle, KeptRows};
use crate::operator::pattern::kept_state::{KeptState, PENDING, columns_by_name};
use crate::operator::pattern::spec::{Find, Order, Overflow, Rule};
use crate::operator::pattern::timers::Timers;
use crate::operator::pending::Pending;
use crate::operator::{Counted, Input, OUTPUT_ROWS, Operator, Output};
use crate::state::{BlockTable, StateHandles};
use crate::time::Watermark;

/// A rule at work.
pub(super) struct Running {
    name: String,
    /// Name and shape, as in checkpoints.
    pub(super) identity: String,
    overflow: Overflow,
    pub(super) executor: Box<dyn Executor>,
    /// None: the executor makes its rows itself.
    emit: Option<Emitter>,
    on_timeout: Option<Emitter>,
    /// How many runs it has dropped: told when the number has doubled.
    dropped: u64,
    told: u64,
}

/// The running operator.
pub(super) struct Patterns {
    pub(super) input: SchemaRef,
    schema: SchemaRef,
    pub(super) keys: Vec<usize>,
    pub(super) time: usize,
    then_by: Vec<(usize, SortOptions)>,
    order: Order,
    mark: KeptMark,
    pending: Pending,
    pub(super) index: KeyIndex,
    conditions: Conditions,
    pub(super) rules: Vec<Running>,
    /// By slot: how many events the key has had while it had state; not counted where nobody asks.
    pub(super) numbers: Vec<u64>,
    numbered: bool,
    pub(super) holders: Holders,
    pub(super) kept: KeptRows,
    pub(super) timers: Timers,
    pub(super) tables: KeptState,
}

impl Patterns {
    /// Opens the operator with what a checkpoint holds of it.
    pub(super) fn open(spec: &PatternSpec, state: &mut StateHandles) -> Result<Self> {
        let key_types: Vec<DataType> = spec.keys.iter().map(|key| spec.input.field(*key).data_type().clone()).collect();
        let tables = KeptState::open(spec, state)?;
        let by_name = |table: BlockTable| if spec.group.is_some() { columns_by_name(table) } else { Ok(table) };
        let time = spec.time;
        let due = |rows: &RecordBatch| Ok(micros(rows.column(time))?.values().to_vec());
        let pending = by_name(state.table(PENDING, spec.rows(), spec.keys.clone())?)?;
        let pending = Pending::open(pending, spec.seq, due)?;
        let mut conditions = Conditions::new(spec.input.clone());
        let mut rules = Vec::new();
        for (number, rule) in spec.rules.iter().enumerate() {
            rules.push(running(number as u32, rule, spec, &mut conditions)?);
        }
        let numbered = rules.iter().any(|rule| rule.executor.asks_for_numbers());
        let mut patterns = Patterns {
            input: spec.input.clone(),
            schema: spec.schema.clone(),
            keys: spec.keys.clone(),
            time,
            then_by: spec.then_by.iter().map(|tie| (tie.column, tie.options)).collect(),
            order: spec.order,
            mark: KeptMark::open(state)?,
            pending,
            index: KeyIndex::new(&key_types, NullKeys::AreAGroup)?,
            conditions,
            rules,
            numbers: Vec::new(),
            numbered,
            holders: Holders::default(),
            kept: KeptRows::new(&spec.input),
            timers: Timers::new(),
            tables,
        };
        patterns.restore()?;
        Ok(patterns)
    }

    /// Looks at rows in order.
    fn look_at(&mut self, rows: &RecordBatch, times: &[i64], out: &mut Output) -> Result<()> {
        // What orders them is no part of the events.
        let events: Vec<usize> = (0..self.input.fields().len()).collect();
        let batch = &rows.project(&events)?;
        let mut failures = Failures::default();
        let sets = self.conditions.evaluate(batch, &mut failures)?;
        if let Some(others) = out.refuse_failed(batch, &failures)? {
            let times: Vec<i64> = times.iter().zip(others.values()).filter(|(_, kept)| *kept).map(|(time, _)| *time).collect();
            return self.look_at(&filter_record_batch(rows, &others)?, &times, out);
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).clone()).collect();
        let mut slots = Vec::new();
        self.index.intern(&keys, batch.num_rows(), &mut slots)?;
        self.grow();
        let mut numbers = Vec::new();
        if self.numbered {
            numbers.extend(slots.iter().map(|slot| {
                let number = &mut self.numbers[*slot as usize];
                *number += 1;
                *number
            }));
        }
        self.kept.begin(batch);
        let rows = Rows { batch, times, slots: &slots, numbers: &numbers, sets: &sets };
        let mut outcome = Outcome::default();
        for rule in &mut self.rules {
            let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
            rule.executor.on_rows(&rows, &mut shared)?;
        }
        self.hand_on(outcome, out)?;
        self.kept.end()?;
        for slot in &slots {
            match self.holders.any(*slot) {
                // The count of its events is part of a key's state.
                true => self.holders.touch(*slot),
                false => self.forget_key(*slot),
            }
        }
        Ok(())
    }

    pub(super) fn grow(&mut self) {
        let len = self.index.len();
        if self.numbers.len() < len {
            self.numbers.resize(len, 0);
            self.holders.grow(len);
        }
    }

    /// Lets what is due happen.
    fn look_at_timers(&mut self, now: i64, out: &mut Output) -> Result<()> {
        let mut outcome = Outcome::default();
        let mut slots = Vec::new();
        loop {
            let due = self.timers.due(now);
            if due.is_empty() {
                break;
            }
            for of_rule in due.chunk_by(|a, b| a.rule == b.rule) {
                let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
                self.rules[of_rule[0].rule as usize].executor.on_timers(of_rule, now, &mut shared)?;
            }
            for timer in due {
                self.holders.touch(timer.slot);
                slots.push(timer.slot);
            }
        }
        if now == i64::MAX {
            for rule in &mut self.rules {
                let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
                slots.extend(rule.executor.slots());
                rule.executor.at_end(&mut shared)?;
            }
        }
        self.hand_on(outcome, out)?;
        self.forget_keys(&slots);
        Ok(())
    }

    /// Forgets those of the keys that no rule holds state of.
    pub(super) fn forget_keys(&mut self, slots: &[u32]) {
        for slot in slots {
            if !self.holders.any(*slot) {
                self.forget_key(*slot);
            }
        }
    }

    fn forget_key(&mut self, slot: u32) {
        // Where there is no key all events have the same one.
        if !self.keys.is_empty() {
            self.index.release(slot);
            self.numbers[slot as usize] = 0;
        }
    }

    /// Emits and tells what the executors have brought about.
    fn hand_on(&mut self, outcome: Outcome, out: &mut Output) -> Result<()> {
        let Outcome { found, overflowed, emitted } = outcome;
        emitted.into_iter().for_each(|batch| out.emit(batch));
        self.emit(found, out)?;
        self.tell(overflowed, out)
    }

    /// Emits what was found, by rule, in order of time: by its times it is judged which alerts of a key are held back.
    fn emit(&mut self, mut found: Vec<Found>, out: &mut Output) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let kind = |found: &Found| (found.rule, matches!(found.what, What::Timeout));
        found.sort_by_key(|found| (found.rule, found.time, kind(found)));
        for same in found.chunk_by(|a, b| kind(a) == kind(b)) {
            let (rule, timeout) = kind(&same[0]);
            let rule = &self.rules[rule as usize];
            let emitter = if timeout { rule.on_timeout.as_ref() } else { rule.emit.as_ref() };
            let Some(emitter) = emitter else { continue };
            for some in same.chunks(OUTPUT_ROWS) {
                let taken: Vec<&[(u16, Handle)]> = some.iter().map(|found| found.taken.as_slice()).collect();
                let times: Vec<i64> = some.iter().map(|found| found.time).collect();
                out.emit(emitter.rows(&taken, &times, &self.kept, &self.schema)?);
            }
        }
        for (_, event) in found.iter().flat_map(|found| &found.taken) {
            self.kept.release(*event);
        }
        Ok(())
    }

    /// Counts and logs bounds that were reached, naming rule and key.
    fn tell(&mut self, overflowed: Vec<Overflowed>, out: &mut Output) -> Result<()> {
        for Overflowed { rule, slot, dropped } in overflowed {
            let rule = &mut self.rules[rule as usize];
            rule.dropped += dropped;
            out.count(Counted { name: "eagre_rule_runs_dropped_total", rule: rule.name.clone(), count: dropped });
            if rule.dropped < 2 * rule.told {
                continue;
            }
            rule.told = rule.dropped;
            let key = self.index.keys(&[slot])?;
            let key: Vec<String> =
                key.iter().map(|column| arrow::util::display::array_value_to_string(column, 0)).collect::<Result<_, _>>()?;
            let (overflow, rule, dropped, key) = (rule.overflow, &rule.name, rule.dropped, key.join(", "));
            match overflow {
                Overflow::FailRule => tracing::error!(rule, key, "the rule went over its bound and has stopped; its runs are gone"),
                Overflow::DropOldest => {
                    tracing::warn!(rule, key, dropped, "the rule is at its bound; the oldest runs of the key were dropped")
                }
                Overflow::DropNewest => {
                    tracing::warn!(rule, key, dropped, "the rule is at its bound; the newest runs of the key were dropped")
                }
            }
        }
        Ok(())
    }
}

fn running(number: u32, rule: &Rule, spec: &PatternSpec, conditions: &mut Conditions) -> Result<Running> {
    let names = rule.find.labels();
    let emitter = |emission| Emitter::new(emission, &spec.input, spec.time, &names);
    let named = |error: Error| error.at(crate::error::Place::thing(format!("rule {}", rule.name)));
    Ok(Running {
        name: rule.name.clone(),
        identity: spec.identity_of(rule),
        overflow: rule.bounds.overflow,
        executor: super::executor_of(number, rule, spec, conditions).map_err(named)?,
        emit: if matches!(rule.find, Find::Rows(_)) { None } else { Some(emitter(&rule.emit)?) },
        on_timeout: rule.on_timeout.as_ref().map(|timeout| emitter(&timeout.emit)).transpose()?,
        dropped: 0,
        told: 0,
    })
}

impl Operator for Patterns {
    fn on_batch(&mut self, _input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let (batch, times) = refuse_null_times(batch, self.time, out)?;
        let mark = self.mark.get();
        let (batch, times) = if times.values().iter().all(|time| mark <= Watermark(*time)) {
            (batch, times.values().to_vec())
        } else {
            let in_time = |row: &u32| mark <= Watermark(times.value(*row as usize));
            let (kept, late): (Vec<u32>, Vec<u32>) = (0..batch.num_rows() as u32).partition(in_time);
            let pairs = late.len() as u64;
            refuse_late(&batch, late, pairs, || format!("patterns were decided up to the watermark {mark}"), out)?;
            let times = kept.iter().map(|row| times.value(*row as usize)).collect();
            (take_record_batch(&batch, &UInt32Array::from(kept))?, times)
        };
        match self.order {
            Order::EventTime => self.pending.add(batch, times),
            Order::Arrival if batch.num_rows() == 0 => Ok(()),
            Order::Arrival => self.look_at(&batch, &times, out),
        }
    }

    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        self.mark.advance(mark);
        let mut due = self.pending.take_before(mark.0)?;
        // All rows of one time fall due together.
        due.order_ties(&self.then_by)?;
        let mut from = 0;
        while from < due.len() {
            let to = due.len().min(from + OUTPUT_ROWS);
            let rows = due.rows(from..to)?;
            self.look_at(&rows, &due.times[from..to], out)?;
            from = to;
        }
        self.look_at_timers(mark.0, out)?;
        if mark == Watermark::MAX {
            return Ok(mark);
        }
        let open = self.rules.iter().filter_map(|rule| rule.executor.open_since()).min();
        Ok(open.map_or(mark, |time| mark.min(Watermark(time))))
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        self.mark.keep()?;
        self.pending.checkpoint()?;
        self.save()
    }

    fn state_bytes(&self) -> usize {
        let rules: usize = self.rules.iter().map(|rule| rule.executor.bytes()).sum();
        let keys = self.numbers.len() * size_of::<u64>() + self.holders.bytes();
        self.index.bytes() + keys + self.pending.bytes_outside() + self.kept.bytes() + rules
    }
}
