//! What checkpoints hold of the operator, and how it comes back.
//!
//! | table | one row |
//! |---|---|
//! | `rules` | key, rule by name and shape, the key's event count, the state of both as numbers |
//! | `events` | key, number, time, event: what the states of a key refer to |
//! | `known rules` | a rule that runs, by name and shape, whether it holds state or not |
//! | `history rules`, `history events` | the same of rules that have caught up, until they are put beside the others |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::error::Result;
use crate::operator::event_time::micros;
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::int64s;
use crate::operator::pattern::executor::{Loaded, Outcome, Saved, SavedEvents};
use crate::operator::pattern::holders::group_of;
use crate::operator::pattern::kept_rows::{Handle, NO_ROW};
use crate::operator::pattern::operator::Patterns;
use crate::state::{BlockId, BlockTable, StateHandles};

/// The tables' names.
pub(super) const RULES: &str = "rules";
pub(super) const EVENTS: &str = "events";
pub(super) const PENDING: &str = "pending";
pub(super) const KNOWN: &str = "known rules";
pub(super) const PAST_RULES: &str = "history rules";
pub(super) const PAST_EVENTS: &str = "history events";

/// What marks the end of the key columns in the tables.
const STATE_COLUMNS: usize = 3;
const EVENT_COLUMNS: usize = 2;

/// Checkpoints whose files the blocks at hand may lie in: blocks of older ones are written anew, so that what is still
/// needed of a file does not keep all of it for ever.
const MOST_FILES: usize = 8;

/// The tables.
#[derive(Debug)]
pub(super) struct KeptState {
    states: BlockTable,
    events: BlockTable,
    /// By group of keys: its blocks.
    groups: Vec<Group>,
    /// Number of the checkpoint at hand.
    checkpoint: u64,
    /// States and events of rules that have caught up.
    past: Option<(BlockTable, BlockTable)>,
}

impl KeptState {
    /// Opens the tables; of rules that come and go it is noted which run.
    pub(super) fn open(spec: &PatternSpec, state: &mut StateHandles) -> Result<Self> {
        let key_fields: Vec<Field> = spec.keys.iter().map(|key| spec.input.field(*key).clone()).collect();
        let keys: Vec<usize> = (0..spec.keys.len()).collect();
        let mut fields = key_fields.clone();
        fields.push(Field::new("$rule", DataType::Utf8View, false));
        fields.push(Field::new("$count", DataType::Int64, false));
        fields.push(Field::new("$state", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, false))), false));
        let of_states = Arc::new(Schema::new(fields));
        let mut fields = key_fields;
        fields.push(Field::new("$number", DataType::Int64, false));
        fields.push(Field::new("$time", DataType::Int64, false));
        fields.extend(spec.input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
        let of_events = Arc::new(Schema::new(fields));

        let past = if state.restores(PAST_RULES) {
            let events = state.table(PAST_EVENTS, of_events.clone(), keys.clone())?;
            Some((state.table(PAST_RULES, of_states.clone(), keys.clone())?, events))
        } else {
            None
        };
        let (states, mut events) = (state.table(RULES, of_states, keys.clone())?, state.table(EVENTS, of_events, keys)?);
        if spec.group.is_some() {
            events = columns_by_name(events)?;
            let known = state.shared_table(KNOWN, Arc::new(Schema::new(vec![Field::new("rule", DataType::Utf8View, false)])));
            let rules = StringViewArray::from_iter_values(spec.rules.iter().map(|rule| spec.identity_of(rule)));
            known.replace_all(Some(RecordBatch::try_new(known.schema().clone(), vec![Arc::new(rules)])?));
        }
        Ok(KeptState { states, events, groups: Vec::new(), checkpoint: 0, past })
    }

    /// Begins a checkpoint: which groups are to be written.
    fn begin(&mut self, mut changed: Vec<bool>) -> Vec<bool> {
        if self.checkpoint == 0 {
            // What was restored lay in groups of its own.
            self.states.replace_all(None);
            self.events.replace_all(None);
            changed.fill(true);
        }
        self.checkpoint += 1;
        self.groups.resize_with(changed.len(), Group::default);
        let mut written: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (number, group) in self.groups.iter().enumerate().filter(|(number, group)| !changed[*number] && group.states.is_some()) {
            written.entry(group.written).or_default().push(number);
        }
        while written.len() >= MOST_FILES {
            written.pop_first().into_iter().flat_map(|(_, groups)| groups).for_each(|group| changed[group] = true);
        }
        changed
    }

    /// Puts rows into the place of a group's.
    fn put(&mut self, group: usize, rows: Option<(RecordBatch, RecordBatch)>) {
        let group = &mut self.groups[group];
        group.states.take().into_iter().for_each(|block| self.states.remove(block));
        group.events.take().into_iter().for_each(|block| self.events.remove(block));
        if let Some((states, events)) = rows {
            group.written = self.checkpoint;
            group.states = Some(self.states.push(0, states));
            group.events = (events.num_rows() > 0).then(|| self.events.push(0, events));
        }
    }

    fn all(&self) -> Vec<(BlockTable, BlockTable)> {
        std::iter::once((self.states.clone(), self.events.clone())).chain(self.past.clone()).collect()
    }
}

/// The blocks of a group of keys.
#[derive(Debug, Default)]
struct Group {
    states: Option<BlockId>,
    events: Option<BlockId>,
    /// The checkpoint that wrote them.
    written: u64,
}

/// The columns of some states and events, row by row.
#[derive(Default)]
struct States {
    slots: Vec<u32>,
    rules: Vec<usize>,
    counts: Vec<i64>,
    words: Vec<i64>,
    lengths: Vec<usize>,
    event_slots: Vec<u32>,
    numbers: Vec<i64>,
    events: Vec<Handle>,
}

impl States {
    fn add(&mut self, slot: u32, rule: usize, count: u64, mut words: Vec<i64>) {
        self.slots.push(slot);
        self.rules.push(rule);
        self.counts.push(count as i64);
        self.lengths.push(words.len());
        self.words.append(&mut words);
    }

    fn hold_on(&mut self, slot: u32, events: SavedEvents) {
        self.event_slots.extend(events.handles.iter().map(|_| slot));
        self.numbers.extend(0..events.handles.len() as i64);
        self.events.extend(events.handles);
    }
}

impl Patterns {
    /// Puts the state of keys into the tables, those groups of keys in which something has changed.
    pub(super) fn save(&mut self) -> Result<()> {
        let changed = self.tables.begin(self.holders.take_changed());
        // By slot: what the rules hold, and the events that they hold on to.
        let mut keys: BTreeMap<u32, (Vec<(usize, Vec<i64>)>, SavedEvents)> = BTreeMap::new();
        for (number, rule) in self.rules.iter().enumerate() {
            for slot in rule.executor.slots().into_iter().filter(|slot| changed[group_of(*slot)]) {
                let (states, events) = keys.entry(slot).or_default();
                let mut saved = Saved { words: Vec::new(), events };
                rule.executor.save(slot, &mut saved);
                states.push((number, saved.words));
            }
        }
        let mut keys = keys.into_iter().peekable();
        for group in (0..changed.len()).filter(|group| changed[*group]) {
            let mut states = States::default();
            while let Some((slot, (of_rules, events))) = keys.next_if(|(slot, _)| group_of(*slot) == group) {
                for (rule, words) in of_rules {
                    states.add(slot, rule, self.numbers[slot as usize], words);
                }
                states.hold_on(slot, events);
            }
            let rows = if states.slots.is_empty() { None } else { Some(self.rows(states)?) };
            self.tables.put(group, rows);
        }
        Ok(())
    }

    /// States and events as rows of their tables.
    fn rows(&self, of: States) -> Result<(RecordBatch, RecordBatch)> {
        let item = Arc::new(Field::new_list_field(DataType::Int64, false));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths(of.lengths), int64s(of.words), None)?;
        let rules = of.rules.iter().map(|rule| self.rules[*rule].identity.as_str());
        let mut columns = self.index.keys(&of.slots)?;
        columns.extend([Arc::new(StringViewArray::from_iter_values(rules)) as ArrayRef, int64s(of.counts), Arc::new(list)]);
        let states = RecordBatch::try_new(self.tables.states.schema().clone(), columns)?;
        let mut columns = self.index.keys(&of.event_slots)?;
        let events = self.kept.gather(&of.events)?;
        columns.extend([int64s(of.numbers), Arc::new(micros(events.column(self.time))?)]);
        columns.extend(events.columns().iter().cloned());
        Ok((states, RecordBatch::try_new(self.tables.events.schema().clone(), columns)?))
    }

    /// Takes the state of the keys out of the tables. The state of a rule that is no more, or of another shape, is left.
    pub(super) fn restore(&mut self) -> Result<()> {
        let all = self.tables.all();
        // A rule that has caught up has counted the events of a key by itself: the highest count stands for all.
        for (states, _) in &all {
            for (_, block) in states.blocks() {
                let slots = self.intern(&block.rows)?;
                let counts = block.rows.column(self.keys.len() + 1).as_primitive::<Int64Type>();
                for (slot, count) in slots.into_iter().zip(counts.values()) {
                    let number = &mut self.numbers[slot as usize];
                    *number = (*number).max(*count as u64);
                }
            }
        }
        for (states, events) in &all {
            self.take_back(states, events)?;
        }
        if let Some((states, events)) = self.tables.past.take() {
            states.replace_all(None);
            events.replace_all(None);
        }
        let unused: Vec<u32> = (0..self.holders.len() as u32).collect();
        self.forget_keys(&unused);
        Ok(())
    }

    fn take_back(&mut self, states: &BlockTable, events: &BlockTable) -> Result<()> {
        let keys = self.keys.len();
        let mut known: HashMap<(u32, i64), Handle, RandomState> = HashMap::default();
        for (_, block) in events.blocks() {
            let slots = self.intern(&block.rows)?;
            let number = block.rows.column(keys).as_primitive::<Int64Type>();
            let rows = RecordBatch::try_new(self.input_nullable(), block.rows.columns()[keys + EVENT_COLUMNS..].to_vec())?;
            self.kept.begin(&rows);
            for (row, slot) in slots.iter().enumerate() {
                let handle = self.kept.keep(row as u32);
                known.insert((*slot, number.value(row)), handle);
            }
            self.kept.end()?;
        }
        let rules: HashMap<String, usize> = self.rules.iter().enumerate().map(|(number, rule)| (rule.identity.clone(), number)).collect();
        for (_, block) in states.blocks() {
            let slots = self.intern(&block.rows)?;
            let names = block.rows.column(keys).as_string_view();
            let counts = block.rows.column(keys + 1).as_primitive::<Int64Type>();
            let states = block.rows.column(keys + STATE_COLUMNS - 1).as_list::<i32>();
            for (row, slot) in slots.iter().enumerate() {
                let Some(number) = rules.get(names.value(row)) else { continue };
                let rule = &mut self.rules[*number];
                let words: Int64Array = states.value(row).as_primitive::<Int64Type>().clone();
                let of_key: Vec<Handle> = (0..).map_while(|number| known.get(&(*slot, number)).copied()).collect();
                let ahead = self.numbers[*slot as usize] - counts.value(row) as u64;
                // Nothing comes of putting state back.
                let mut outcome = Outcome::default();
                let mut shared = outcome.shared(&mut self.kept, &mut self.timers, &mut self.holders);
                rule.executor.load(*slot, &mut Loaded { words: words.values().iter(), events: &of_key, ahead }, &mut shared)?;
            }
        }
        for handle in known.into_values().filter(|handle| *handle != NO_ROW) {
            self.kept.release(handle);
        }
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
pub(super) fn columns_by_name(table: BlockTable) -> Result<BlockTable> {
    for (id, block) in table.blocks() {
        let known = block.rows.schema_ref().fields();
        if known == table.schema().fields() {
            continue;
        }
        let rows = block.rows.num_rows();
        let columns = table.schema().fields().iter().map(|field| {
            // A column of the events may be called as one of the table's own is, which has another type.
            let same = known.iter().position(|other| other.name() == field.name() && other.data_type() == field.data_type());
            same.map_or_else(|| new_null_array(field.data_type(), rows), |at| block.rows.column(at).clone())
        });
        let rows = RecordBatch::try_new(table.schema().clone(), columns.collect())?;
        table.remove(id);
        table.push(block.slice, rows);
    }
    Ok(table)
}
