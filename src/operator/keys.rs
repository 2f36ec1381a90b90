//! Interned keys: every distinct key gets a small number, its *slot*, so that what is kept per key can lie in plain vectors.
//!
//! ```text
//!  key columns of a batch ──hash──▶ table ──▶ slot of each row       slots of released keys are dealt out again
//! ```
//!
//! One text or integer column goes by its values; all other keys by their row encoding (slower, and correct for any type).

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray, StringViewBuilder};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::{Error, Result};

/// The slot of a row whose key is NULL where NULL matches nothing.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// What a NULL in a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullKeys {
    /// It equals nothing, not even another NULL: such rows get [`NO_SLOT`] (joins).
    MatchNothing,
    /// It is a value like any other (PARTITION BY).
    AreAGroup,
}

/// A text key: up to 12 bytes lie in the view itself.
#[derive(Debug, Default)]
struct Text {
    view: u128,
    /// The whole text if it is longer than that.
    long: Box<[u8]>,
}

#[derive(Debug)]
enum Keys {
    /// No key columns: all rows have the same key.
    None,
    Int(Vec<i64>),
    Text(Vec<Text>),
    Rows(RowConverter, Vec<Box<[u8]>>),
}

/// Bytes that a key of several columns takes, about.
const ROW_KEY_BYTES: usize = 32;

/// Deals slots to keys.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    types: Vec<DataType>,
    nulls: NullKeys,
    keys: Keys,
    slots: Slots,
    /// Slot of the NULL key where it is a group and keys are single values.
    null_slot: Option<u32>,
}

/// The part of the index that does not depend on the type of key.
#[derive(Debug)]
struct Slots {
    random: RandomState,
    table: HashTable<u32>,
    /// Hash of each slot's key.
    hashes: Vec<u64>,
    /// Per slot: does it have a key now?
    used: Vec<bool>,
    /// Slots without one.
    free: Vec<u32>,
}

impl Slots {
    /// The slot of a key that hashes to `hash`; `same` compares with the key of a slot, `store` puts a new key into its slot.
    fn slot<K: Default>(&mut self, keys: &mut Vec<K>, hash: u64, same: impl Fn(&K) -> bool, new: impl FnOnce() -> K) -> u32 {
        let hashes = &self.hashes;
        match self.table.entry(hash, |slot| same(&keys[*slot as usize]), |slot| hashes[*slot as usize]) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let slot = self.free.pop().unwrap_or(hashes.len() as u32);
                entry.insert(slot);
                put(&mut self.hashes, slot, hash);
                put(&mut self.used, slot, true);
                put(keys, slot, new());
                slot
            }
        }
    }

    /// A slot that no look-up finds.
    fn unlisted(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or(self.hashes.len() as u32);
        put(&mut self.hashes, slot, 0);
        put(&mut self.used, slot, true);
        slot
    }
}

fn put<T: Default>(list: &mut Vec<T>, slot: u32, value: T) {
    let slot = slot as usize;
    if list.len() <= slot {
        list.resize_with(slot + 1, T::default);
    }
    list[slot] = value;
}

impl KeyIndex {
    /// An empty index of keys of these column types.
    pub(crate) fn new(types: &[DataType], nulls: NullKeys) -> Result<Self> {
        let keys = match types {
            [] => Keys::None,
            [DataType::Utf8View] => Keys::Text(Vec::new()),
            [DataType::Int64 | DataType::Int32 | DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, _)] => {
                Keys::Int(Vec::new())
            }
            _ => Keys::Rows(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?, Vec::new()),
        };
        let slots = Slots {
            random: RandomState::with_seeds(5, 6, 7, 8),
            table: HashTable::new(),
            hashes: Vec::new(),
            used: Vec::new(),
            free: Vec::new(),
        };
        Ok(KeyIndex { types: types.to_vec(), nulls, keys, slots, null_slot: None })
    }

    /// Memory held, in bytes, about: the texts of long keys are not looked at.
    pub(crate) fn bytes(&self) -> usize {
        let each = match &self.keys {
            Keys::None => 0,
            Keys::Int(_) => size_of::<i64>(),
            Keys::Text(_) => size_of::<Text>(),
            Keys::Rows(..) => size_of::<Box<[u8]>>() + ROW_KEY_BYTES,
        };
        // Hash, table entry and whether it is used.
        self.slots.hashes.len() * (each + size_of::<u64>() + 2 * size_of::<u32>() + 1)
    }

    /// One more than the largest slot dealt out so far.
    pub(crate) fn len(&self) -> usize {
        if matches!(self.keys, Keys::None) { 1 } else { self.slots.hashes.len() }
    }

    /// Puts the slot of each row's key into `slots`; keys not seen before get one.
    pub(crate) fn intern(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        slots.clear();
        slots.reserve(rows);
        let nulls = match (&self.keys, columns) {
            // A NULL that is a group is part of the row encoding.
            (Keys::Rows(..), _) if self.nulls == NullKeys::AreAGroup => None,
            _ => columns.iter().fold(None, |all, column| NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref())),
        };
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let (index, null_slot, kind) = (&mut self.slots, &mut self.null_slot, self.nulls);
        let mut slot_of_null = |index: &mut Slots| match kind {
            NullKeys::MatchNothing => NO_SLOT,
            NullKeys::AreAGroup => *null_slot.get_or_insert_with(|| index.unlisted()),
        };
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match (&mut self.keys, columns) {
            (Keys::None, _) => slots.resize(rows, 0),
            (Keys::Int(keys), [column]) => {
                let mut each = |value: i64, row: usize| {
                    let slot = if is_null(row) {
                        slot_of_null(index)
                    } else {
                        let hash = index.random.hash_one(value);
                        index.slot(keys, hash, |key| *key == value, || value)
                    };
                    slots.push(slot);
                };
                match column.data_type() {
                    DataType::Int32 => {
                        column.as_primitive::<Int32Type>().values().iter().enumerate().for_each(|(row, v)| each(i64::from(*v), row))
                    }
                    _ => int64_values(column)?.iter().enumerate().for_each(|(row, v)| each(*v, row)),
                }
            }
            (Keys::Text(keys), [column]) => {
                let column: &StringViewArray = column
                    .as_string_view_opt()
                    .ok_or_else(|| Error::bug(format!("a text key must be Utf8View, not {}", column.data_type())))?;
                for (row, view) in column.views().iter().enumerate() {
                    let slot = if is_null(row) {
                        slot_of_null(index)
                    } else if (*view as u32) <= 12 {
                        let hash = index.random.hash_one(*view);
                        index.slot(keys, hash, |key| key.view == *view, || Text { view: *view, long: Box::default() })
                    } else {
                        let text = column.value(row).as_bytes();
                        // Length and first bytes; where the text lies is no part of the key.
                        let head = *view & u128::from(u64::MAX);
                        let hash = index.random.hash_one(text);
                        index.slot(keys, hash, |key| key.view == head && *key.long == *text, || Text { view: head, long: text.into() })
                    };
                    slots.push(slot);
                }
            }
            (Keys::Rows(converter, keys), _) => {
                let encoded = converter.convert_columns(columns)?;
                for (row, key) in encoded.iter().enumerate() {
                    let slot = if is_null(row) {
                        slot_of_null(index)
                    } else {
                        let key = key.as_ref();
                        let hash = index.random.hash_one(key);
                        index.slot(keys, hash, |other| **other == *key, || key.into())
                    };
                    slots.push(slot);
                }
            }
            (Keys::Int(_) | Keys::Text(_), _) => {
                return Err(Error::bug(format!("an index of single keys was given {} key columns", columns.len())));
            }
        }
        Ok(())
    }

    /// The keys of `slots` (all in use), as columns.
    pub(crate) fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let value = |slot: &u32| (self.null_slot != Some(*slot)).then_some(*slot as usize);
        Ok(match &self.keys {
            Keys::None => Vec::new(),
            Keys::Int(keys) => {
                let values: Int64Array = slots.iter().map(|slot| value(slot).map(|at| keys[at])).collect();
                vec![cast(&values, &self.types[0])?]
            }
            Keys::Text(keys) => {
                let mut texts = StringViewBuilder::with_capacity(slots.len());
                for slot in slots {
                    let Some(key) = value(slot).map(|at| &keys[at]) else {
                        texts.append_null();
                        continue;
                    };
                    let inline = key.view.to_le_bytes();
                    let bytes = if key.long.is_empty() { &inline[4..4 + key.view as u32 as usize] } else { &key.long[..] };
                    texts.append_value(std::str::from_utf8(bytes).map_err(|error| Error::bug("a text key is no UTF-8").because(error))?);
                }
                vec![Arc::new(texts.finish())]
            }
            Keys::Rows(converter, keys) => {
                let parser = converter.parser();
                converter.convert_rows(slots.iter().map(|slot| parser.parse(&keys[*slot as usize])))?
            }
        })
    }

    /// Forgets the key of `slot`, if it has one; the slot may be dealt to another key.
    pub(crate) fn release(&mut self, slot: u32) {
        let in_use = self.slots.used.get_mut(slot as usize).is_some_and(std::mem::take);
        if !in_use {
            return;
        }
        match &mut self.keys {
            Keys::None | Keys::Int(_) => {}
            Keys::Text(keys) => put(keys, slot, Text::default()),
            Keys::Rows(_, keys) => put(keys, slot, Box::default()),
        }
        if self.null_slot == Some(slot) {
            self.null_slot = None;
        } else if let Ok(entry) = self.slots.table.find_entry(self.slots.hashes[slot as usize], |other| *other == slot) {
            entry.remove();
        }
        self.slots.free.push(slot);
    }
}

/// The values of a column of 64-bit integers or timestamps.
fn int64_values(column: &ArrayRef) -> Result<&[i64]> {
    Ok(match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().values(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => column.as_primitive::<TimestampMicrosecondType>().values(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => column.as_primitive::<TimestampMillisecondType>().values(),
        other => return Err(Error::bug(format!("an integer key must be a 64-bit integer or timestamp, not {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn slots(index: &mut KeyIndex, columns: &[ArrayRef]) -> Vec<u32> {
        let mut slots = Vec::new();
        index.intern(columns, columns[0].len(), &mut slots).unwrap();
        slots
    }

    #[test]
    fn equal_keys_share_a_slot_for_every_kind_of_key() {
        let long = "a text longer than a view can hold";
        let other = "a text longer than a view can HOLD";
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), Some(long), None, Some("x"), Some(long), Some(other), None]));
        let flat: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some(long), None, Some("x"), Some(long), Some(other), None]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(1), Some(2), Some(3), None]));
        for keys in [vec![text.clone()], vec![flat.clone()], vec![ints.clone()], vec![ints, text]] {
            let types: Vec<DataType> = keys.iter().map(|k| k.data_type().clone()).collect();
            let mut grouped = KeyIndex::new(&types, NullKeys::AreAGroup).unwrap();
            assert_eq!(slots(&mut grouped, &keys), [0, 1, 2, 0, 1, 3, 2], "{types:?}");
            let back = grouped.keys(&[0, 1, 2, 0, 1, 3, 2]).unwrap();
            assert_eq!(back, keys, "keys come back as they were given");
            let mut joined = KeyIndex::new(&types, NullKeys::MatchNothing).unwrap();
            assert_eq!(slots(&mut joined, &keys), [0, 1, NO_SLOT, 0, 1, 2, NO_SLOT], "{types:?}");
        }
    }

    #[test]
    fn a_released_slot_goes_to_the_next_new_key_and_the_old_key_is_forgotten() {
        let keys = |values: Vec<Option<&str>>| -> Vec<ArrayRef> { vec![Arc::new(StringViewArray::from(values))] };
        let mut index = KeyIndex::new(&[DataType::Utf8View], NullKeys::AreAGroup).unwrap();
        assert_eq!(slots(&mut index, &keys(vec![Some("a"), Some("b"), None])), [0, 1, 2]);
        index.release(1);
        index.release(2);
        assert_eq!(slots(&mut index, &keys(vec![Some("c"), Some("a"), Some("b"), None])), [2, 0, 1, 3]);
        assert_eq!(index.len(), 4);
    }
}
