//! From key to task: a row's key hashes to one of 128 shards, shards are dealt to tasks in ranges.
//!
//! The hash is never stored, only keys are: a restore hashes again, so the function may change between versions.

use std::hash::{BuildHasher, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// Number of shards the key space is cut into; an upper bound on the useful parallelism.
pub const SHARDS: usize = 128;

/// Deals rows to tasks by the hash of their key columns.
#[derive(Debug)]
pub struct Sharder {
    tasks: usize,
    random: ahash::RandomState,
    hashes: Vec<u64>,
}

impl Sharder {
    /// Deals to `tasks` tasks (1 to [`SHARDS`]).
    pub fn new(tasks: usize) -> Self {
        Sharder { tasks: tasks.clamp(1, SHARDS), random: ahash::RandomState::with_seeds(1, 2, 3, 4), hashes: Vec::new() }
    }

    /// The task of each row. No key columns: task 0.
    pub fn tasks_of(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        self.hash(keys, rows)?;
        Ok(self.hashes.iter().map(|hash| task_of_shard(shard_of_hash(*hash), self.tasks)).collect())
    }

    /// Row indices per task, in row order.
    pub fn split(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<UInt32Array>> {
        self.hash(keys, rows)?;
        let mut parts: Vec<Vec<u32>> = vec![Vec::with_capacity(rows / self.tasks + 16); self.tasks];
        for (row, hash) in self.hashes.iter().enumerate() {
            parts[task_of_shard(shard_of_hash(*hash), self.tasks)].push(row as u32);
        }
        Ok(parts.into_iter().map(UInt32Array::from).collect())
    }

    /// The indices of the rows that belong to `task`.
    pub fn rows_of_task(&mut self, keys: &[ArrayRef], rows: usize, task: usize) -> Result<UInt32Array> {
        let tasks = self.tasks_of(keys, rows)?;
        Ok(tasks.iter().enumerate().filter(|(_, t)| **t == task).map(|(row, _)| row as u32).collect::<Vec<_>>().into())
    }

    fn hash(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        self.hashes.clear();
        self.hashes.resize(rows, 0);
        for key in keys {
            self.hash_column(key)?;
        }
        Ok(())
    }

    fn hash_column(&mut self, key: &ArrayRef) -> Result<()> {
        let random = &self.random;
        let hashes = &mut self.hashes;
        macro_rules! each {
            ($array:expr, $hash:expr) => {{
                let array = $array;
                for (row, slot) in hashes.iter_mut().enumerate() {
                    let value = if array.is_null(row) { 0 } else { $hash(array.value(row)) };
                    *slot = slot.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value;
                }
            }};
        }
        let text = |v: &str| random.hash_one(v.as_bytes());
        let int = |v: i64| random.hash_one(v);
        match key.data_type() {
            DataType::Utf8View => each!(key.as_string_view(), text),
            DataType::Utf8 => each!(key.as_string::<i32>(), text),
            DataType::LargeUtf8 => each!(key.as_string::<i64>(), text),
            DataType::Int64 => each!(key.as_primitive::<Int64Type>(), int),
            DataType::Int32 => each!(key.as_primitive::<Int32Type>(), |v: i32| random.hash_one(i64::from(v))),
            DataType::Timestamp(TimeUnit::Microsecond, _) => each!(key.as_primitive::<TimestampMicrosecondType>(), int),
            DataType::Timestamp(TimeUnit::Millisecond, _) => each!(key.as_primitive::<TimestampMillisecondType>(), int),
            other => {
                // Every other type by its row encoding: slower, and the same for equal values.
                let converter = RowConverter::new(vec![SortField::new(other.clone())])?;
                let encoded = converter.convert_columns(std::slice::from_ref(key))?;
                for (slot, row) in hashes.iter_mut().zip(encoded.iter()) {
                    let mut hasher = random.build_hasher();
                    hasher.write(row.as_ref());
                    *slot = slot.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ hasher.finish();
                }
            }
        }
        Ok(())
    }
}

fn shard_of_hash(hash: u64) -> usize {
    (hash >> 57) as usize
}

/// The task that owns `shard` when there are `tasks`.
pub fn task_of_shard(shard: usize, tasks: usize) -> usize {
    shard * tasks / SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringArray, StringViewArray};
    use std::sync::Arc;

    #[test]
    fn equal_text_goes_to_the_same_task_whatever_its_encoding() {
        let words: Vec<String> = (0..500).map(|i| format!("customer-{i}-with-a-long-name")).collect();
        let view: ArrayRef = Arc::new(StringViewArray::from_iter_values(&words));
        let flat: ArrayRef = Arc::new(StringArray::from_iter_values(&words));
        let mut sharder = Sharder::new(3);
        let a = sharder.tasks_of(&[view], 500).unwrap();
        let b = sharder.tasks_of(&[flat], 500).unwrap();
        assert_eq!(a, b);
        for task in 0..3 {
            let share = a.iter().filter(|t| **t == task).count();
            assert!((100..=240).contains(&share), "task {task} got {share} of 500");
        }
    }

    #[test]
    fn every_shard_has_exactly_one_task() {
        for tasks in 1..=SHARDS {
            let owners: std::collections::BTreeSet<_> = (0..SHARDS).map(|s| task_of_shard(s, tasks)).collect();
            assert_eq!(owners.len(), tasks);
        }
    }
}
