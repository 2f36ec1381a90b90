//! The running operator: puts events in order, evaluates the conditions of all rules, numbers the events of each key, lets
//! every rule's executor work, and emits what they found.

use std::collections::HashMap;

use ahash::RandomState;
use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray, UInt32Array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::operator::event_time::{micros, refuse_late, refuse_null_times};
use crate::operator::expressions::Failures;
use crate::operator::kept_mark::KeptMark;
use crate::operator::keys::{KeyIndex, NullKeys};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::{Emitter, int64s};
use crate::operator::pattern::conditions::Conditions;
use crate::operator::pattern::executor::{Executor, Found, Loaded, Outcome, Overflowed, Rows, Saved, SavedEvents, What};
use crate::operator::pattern::kept_rows::{Handle, KeptRows, NO_ROW};
use crate::operator::pattern::spec::{Find, Order, Overflow, Rule};
use crate::operator::pattern::timers::Timers;
use crate::operator::pending::Pending;
use crate::operator::{Counted, Input, OUTPUT_ROWS, Operator, Output};
use crate::state::{BlockTable, StateHandles};
use crate::time::Watermark;

/// A rule at work.
struct Running {
    name: String,
    /// Name and shape, as in checkpoints.
    identity: String,
    overflow: Overflow,
    executor: Box<dyn Executor>,
    /// None: the executor makes its rows itself.
    emit: Option<Emitter>,
    on_timeout: Option<Emitter>,
    /// How many runs it has dropped: told when the number has doubled.
    dropped: u64,
    told: u64,
}

/// The running operator.
pub(super) struct Patterns {
    input: SchemaRef,
    schema: SchemaRef,
    keys: Vec<usize>,
    time: usize,
    then_by: Vec<(usize, SortOptions)>,
    order: Order,
    mark: KeptMark,
    pending: Pending,
    index: KeyIndex,
    conditions: Conditions,
    rules: Vec<Running>,
    /// By slot: how many events the key has had while it had state.
    numbers: Vec<u64>,
    holders: Vec<u32>,
    kept: KeptRows,
    timers: Timers,
    /// Keys, rule, key's event count, state as numbers.
    states: BlockTable,
    /// Keys, number, time, event.
    events: BlockTable,
}

/// What marks the end of the key columns in the state tables.
const STATE_COLUMNS: usize = 3;
const EVENT_COLUMNS: usize = 2;

impl Patterns {
    /// Opens the operator with what a checkpoint holds of it.
    pub(super) fn open(spec: &PatternSpec, state: &mut StateHandles) -> Result<Self> {
        let key_fields: Vec<Field> = spec.keys.iter().map(|key| spec.input.field(*key).clone()).collect();
        let key_types: Vec<DataType> = key_fields.iter().map(|field| field.data_type().clone()).collect();
        let key_positions: Vec<usize> = (0..spec.keys.len()).collect();
        let mut fields = key_fields.clone();
        fields.push(Field::new("$rule", DataType::Utf8View, false));
        fields.push(Field::new("$count", DataType::Int64, false));
        fields.push(Field::new("$state", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, false))), false));
        let by_name = |table: BlockTable| if spec.group.is_some() { columns_by_name(table) } else { Ok(table) };
        let states = state.table("rules", Arc::new(Schema::new(fields)), key_positions.clone())?;
        let mut fields = key_fields;
        fields.push(Field::new("$number", DataType::Int64, false));
        fields.push(Field::new("$time", DataType::Int64, false));
        fields.extend(spec.input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
        let events = by_name(state.table("events", Arc::new(Schema::new(fields)), key_positions)?)?;

        let time = spec.time;
        let due = |rows: &RecordBatch| Ok(micros(rows.column(time))?.values().to_vec());
        let pending = by_name(state.table("pending", spec.rows(), spec.keys.clone())?)?;
        let pending = Pending::open(pending, spec.seq, due)?;
        let mut conditions = Conditions::new(spec.input.clone());
        let mut rules = Vec::new();
        for (number, rule) in spec.rules.iter().enumerate() {
            rules.push(running(number as u32, rule, spec, &mut conditions)?);
        }
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
            holders: Vec::new(),
            kept: KeptRows::new(&spec.input),
            timers: Timers::new(),
            states,
            events,
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
        let mut numbers = Vec::with_capacity(slots.len());
        for slot in &slots {
            let number = &mut self.numbers[*slot as usize];
            *number += 1;
            numbers.push(*number);
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
        self.forget_keys(&slots);
        Ok(())
    }

    fn grow(&mut self) {
        let len = self.index.len();
        if self.numbers.len() < len {
            self.numbers.resize(len, 0);
            self.holders.resize(len, 0);
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
            for timer in due {
                let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
                self.rules[timer.rule as usize].executor.on_timer(timer.slot, now, &mut shared)?;
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
    fn forget_keys(&mut self, slots: &[u32]) {
        if self.keys.is_empty() {
            return;
        }
        for slot in slots {
            if self.holders[*slot as usize] == 0 {
                self.index.release(*slot);
                self.numbers[*slot as usize] = 0;
            }
        }
    }

    /// Emits and tells what the executors have brought about.
    fn hand_on(&mut self, outcome: Outcome, out: &mut Output) -> Result<()> {
        let Outcome { found, overflowed, emitted } = outcome;
        emitted.into_iter().for_each(|batch| out.emit(batch));
        self.emit(found, out)?;
        self.tell(overflowed, out)
    }

    /// Emits what was found, by rule, in order of time.
    fn emit(&mut self, mut found: Vec<Found>, out: &mut Output) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let kind = |found: &Found| (found.rule, matches!(found.what, What::Timeout));
        found.sort_by_key(|found| (kind(found), found.time));
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

    /// Puts the state of all keys into the tables.
    fn save(&self) -> Result<()> {
        // By slot: what the rules hold, and the events that they hold on to.
        let mut keys: std::collections::BTreeMap<u32, (Vec<(usize, Vec<i64>)>, SavedEvents)> = std::collections::BTreeMap::new();
        for (number, rule) in self.rules.iter().enumerate() {
            for slot in rule.executor.slots() {
                let (states, events) = keys.entry(slot).or_default();
                let mut saved = Saved { words: Vec::new(), events };
                rule.executor.save(slot, &mut saved);
                states.push((number, saved.words));
            }
        }
        let (mut slots, mut rules, mut counts, mut words, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut event_slots, mut numbers, mut times, mut handles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (slot, (states, events)) in keys {
            for (rule, mut state) in states {
                slots.push(slot);
                rules.push(self.rules[rule].identity.as_str());
                counts.push(self.numbers[slot as usize] as i64);
                lengths.push(state.len());
                words.append(&mut state);
            }
            for (number, handle) in events.handles.into_iter().enumerate() {
                event_slots.push(slot);
                numbers.push(number as i64);
                times.push(self.kept.time(handle));
                handles.push(handle);
            }
        }
        let item = Arc::new(Field::new_list_field(DataType::Int64, false));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), int64s(words), None)?;
        let mut columns = self.index.keys(&slots)?;
        columns.extend([Arc::new(StringViewArray::from_iter_values(rules)) as ArrayRef, int64s(counts), Arc::new(list)]);
        let rows = RecordBatch::try_new(self.states.schema().clone(), columns)?;
        self.states.replace_all((!slots.is_empty()).then_some(rows));
        let mut columns = self.index.keys(&event_slots)?;
        columns.extend([int64s(numbers), int64s(times)]);
        columns.extend(self.kept.gather(&handles)?.columns().iter().cloned());
        let rows = RecordBatch::try_new(self.events.schema().clone(), columns)?;
        self.events.replace_all((!event_slots.is_empty()).then_some(rows));
        Ok(())
    }

    /// Takes the state of the keys out of the tables. The state of a rule that is no more, or of another shape, is left.
    fn restore(&mut self) -> Result<()> {
        let keys = self.keys.len();
        let mut events: HashMap<(u32, i64), Handle, RandomState> = HashMap::default();
        for (_, block) in self.events.blocks() {
            let slots = self.intern(&block.rows)?;
            let number = block.rows.column(keys).as_primitive::<Int64Type>();
            let times = block.rows.column(keys + 1).as_primitive::<Int64Type>();
            let rows = RecordBatch::try_new(self.input_nullable(), block.rows.columns()[keys + EVENT_COLUMNS..].to_vec())?;
            self.kept.begin(&rows);
            for (row, slot) in slots.iter().enumerate() {
                let handle = self.kept.keep(row as u32, times.value(row));
                events.insert((*slot, number.value(row)), handle);
            }
            self.kept.end()?;
        }
        for (_, block) in self.states.blocks() {
            let slots = self.intern(&block.rows)?;
            let names = block.rows.column(keys).as_string_view();
            let counts = block.rows.column(keys + 1).as_primitive::<Int64Type>();
            let states = block.rows.column(keys + STATE_COLUMNS - 1).as_list::<i32>();
            for (row, slot) in slots.iter().enumerate() {
                let Some(rule) = self.rules.iter_mut().find(|rule| rule.identity == names.value(row)) else { continue };
                self.numbers[*slot as usize] = counts.value(row) as u64;
                let words: Int64Array = states.value(row).as_primitive::<Int64Type>().clone();
                let of_key: Vec<Handle> = (0..).map_while(|number| events.get(&(*slot, number)).copied()).collect();
                // Nothing comes of putting state back.
                let mut outcome = Outcome::default();
                let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
                rule.executor.load(*slot, &mut Loaded { words: words.values().iter(), events: &of_key }, &mut shared)?;
            }
        }
        for handle in events.into_values().filter(|handle| *handle != NO_ROW) {
            self.kept.release(handle);
        }
        let unused: Vec<u32> = (0..self.holders.len() as u32).collect();
        self.forget_keys(&unused);
        Ok(())
    }

    fn intern(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let mut slots = Vec::new();
        self.index.intern(&rows.columns()[..self.keys.len()], rows.num_rows(), &mut slots)?;
        self.grow();
        Ok(slots)
    }

    fn input_nullable(&self) -> SchemaRef {
        let fields: Vec<Field> = self.input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        Arc::new(Schema::new(fields))
    }
}

/// Gives restored rows the columns of today's schema, each by its name: rules that have come since read others.
fn columns_by_name(table: BlockTable) -> Result<BlockTable> {
    for (id, block) in table.blocks() {
        if block.rows.schema_ref().fields() == table.schema().fields() {
            continue;
        }
        let rows = block.rows.num_rows();
        let columns = table.schema().fields().iter().map(|field| match block.rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => column.clone(),
            _ => new_null_array(field.data_type(), rows),
        });
        let rows = RecordBatch::try_new(table.schema().clone(), columns.collect())?;
        table.remove(id);
        table.push(block.slice, rows);
    }
    Ok(table)
}

/// A shape with columns by their names in place of their positions.
fn shape_by_name(shape: &str, input: &Schema) -> String {
    let mut named = String::with_capacity(shape.len());
    let mut rest = shape;
    while let Some(at) = rest.find('@') {
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        named.push_str(&rest[..=at]);
        let number = &rest[at + 1..at + 1 + digits];
        match number.parse::<usize>() {
            Ok(column) if column < input.fields().len() => named.push_str(input.field(column).name()),
            // What is bound stands behind the columns, however many those are.
            Ok(column) => named.push_str(&format!("${}", column - input.fields().len())),
            Err(_) => named.push_str(number),
        }
        rest = &rest[at + 1 + digits..];
    }
    named + rest
}

fn running(number: u32, rule: &Rule, spec: &PatternSpec, conditions: &mut Conditions) -> Result<Running> {
    let names = rule.find.labels();
    let emitter = |emission| Emitter::new(emission, &spec.input, spec.time, &names);
    let named = |error: Error| error.at(crate::error::Place::thing(format!("rule {}", rule.name)));
    Ok(Running {
        name: rule.name.clone(),
        identity: match &spec.group {
            Some(_) => format!("{} {}", rule.name, shape_by_name(&rule.shape(), &spec.input)),
            None => format!("{} {}", rule.name, rule.shape()),
        },
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
        let in_time = |row: u32| mark <= Watermark(times.value(row as usize));
        let (kept, late): (Vec<u32>, Vec<u32>) = (0..batch.num_rows() as u32).partition(|row| in_time(*row));
        let (batch, times) = if late.is_empty() {
            (batch, times.values().to_vec())
        } else {
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
        let keys = self.numbers.len() * (size_of::<u64>() + size_of::<u32>());
        self.index.bytes() + keys + self.pending.bytes_outside() + self.kept.bytes() + rules
    }
}
