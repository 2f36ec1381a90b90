//! An immutable run of rows of a live table, with the key index that look-ups use.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, MutableArrayData, RecordBatch, StructArray, make_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;

use crate::error::{Error, Result};
use crate::table::spec::TableSpec;
use crate::time::MICROS_PER_MILLI;

/// Most rows of a chunk: a chunk this full is sealed and never merged again.
pub const CHUNK_ROWS: usize = 65_536;
/// Most bytes of a chunk before it counts as sealed.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Turns primary keys into comparable bytes and hashes; shared by the writers and readers of one table.
#[derive(Debug)]
pub struct KeyCodec {
    /// Positions of the key's columns in the table's schema.
    columns: Vec<usize>,
    converter: RowConverter,
    random: ahash::RandomState,
}

impl KeyCodec {
    /// The codec of a table; `None` for an append table.
    pub fn of(spec: &TableSpec) -> Result<Option<Self>> {
        if spec.primary_key.is_empty() {
            return Ok(None);
        }
        let fields = spec.primary_key.iter().map(|c| SortField::new(spec.schema.field(*c).data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        Ok(Some(KeyCodec { columns: spec.primary_key.clone(), converter, random: ahash::RandomState::new() }))
    }

    /// Positions of the key's columns in the table's schema, in key order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Encodes key columns (in key order).
    pub fn encode(&self, keys: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(keys)?)
    }

    /// Encodes the keys of whole rows of the table.
    pub fn encode_rows(&self, rows: &RecordBatch) -> Result<Rows> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|c| rows.column(*c).clone()).collect();
        self.encode(&keys)
    }

    /// Hash of an encoded key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.random.hash_one(key)
    }
}

/// Rows that never change again.
#[derive(Debug)]
pub struct Chunk {
    /// The rows, in the table's schema, owning their buffers.
    pub rows: RecordBatch,
    /// Least and greatest event time in microseconds; `None` without a time column or without times.
    pub times: Option<(i64, i64)>,
    /// The encoded keys of an upsert table.
    pub keys: Option<Rows>,
    /// Memory held, in bytes.
    pub bytes: usize,
    /// Key -> rows, built at the first look-up: a table that nobody looks up in pays nothing.
    index: OnceLock<HashTable<u32>>,
}

impl Chunk {
    /// Seals `rows`; keys are encoded where the table has a primary key.
    pub fn new(rows: RecordBatch, time_column: Option<usize>, codec: Option<&KeyCodec>) -> Result<Self> {
        let times = time_column.map(|c| time_range(rows.column(c))).transpose()?.flatten();
        let keys = codec.map(|codec| codec.encode_rows(&rows)).transpose()?;
        let bytes = rows.get_array_memory_size() + keys.as_ref().map_or(0, Rows::size);
        Ok(Chunk { rows, times, keys, bytes, index: OnceLock::new() })
    }

    /// The encoded key of `row`; empty in a table without key.
    pub fn key(&self, row: usize) -> &[u8] {
        self.keys.as_ref().map_or(&[], |keys| keys.row(row).data())
    }

    /// The row that holds `key` and is not deleted. Constant time, after the first call of a chunk.
    pub fn find(&self, codec: &KeyCodec, hash: u64, key: &[u8], deleted: Option<&BooleanBuffer>) -> Option<usize> {
        let index = self.index.get_or_init(|| {
            let mut index = HashTable::with_capacity(self.rows.num_rows());
            for row in 0..self.rows.num_rows() {
                index.insert_unique(codec.hash(self.key(row)), row as u32, |row| codec.hash(self.key(*row as usize)));
            }
            index
        });
        index.find(hash, |row| self.key(*row as usize) == key && !deleted.is_some_and(|d| d.value(*row as usize))).map(|row| *row as usize)
    }
}

/// A chunk as one snapshot sees it.
#[derive(Debug, Clone)]
pub struct ChunkView {
    /// The rows.
    pub chunk: Arc<Chunk>,
    /// Rows that are gone (set bit = deleted); `None` = all rows live.
    pub deleted: Option<BooleanBuffer>,
    /// Rows that are not deleted.
    pub live: usize,
}

/// Least and greatest value of a timestamp (or Int64) column in microseconds; `None` when it holds none.
pub fn time_range(times: &ArrayRef) -> Result<Option<(i64, i64)>> {
    use arrow::compute::{max, min};
    let (least, greatest, unit) = match times.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            (min(times), max(times), 1)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = times.as_primitive::<TimestampMillisecondType>();
            (min(times), max(times), MICROS_PER_MILLI)
        }
        other => return Err(Error::bug(format!("a time column of type {other}; expected TIMESTAMP in ms or us"))),
    };
    Ok(least.zip(greatest).map(|(least, greatest)| (least.saturating_mul(unit), greatest.saturating_mul(unit))))
}

/// Joins batches into one that owns its buffers, so that no chunk of input and no larger batch is kept alive by it.
pub fn detached(schema: &arrow::datatypes::SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let joined = arrow::compute::concat_batches(schema, batches)?;
    let columns = joined.columns().iter().map(detach).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn detach(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let whole = array.as_struct();
            let columns = whole.columns().iter().map(detach).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, whole.nulls().cloned(), whole.len())?)
        }
        DataType::List(field) => {
            let own = copied(array)?;
            let list = own.as_list::<i32>();
            Arc::new(ListArray::try_new(field.clone(), list.offsets().clone(), detach(list.values())?, list.nulls().cloned())?)
        }
        DataType::Map(field, sorted) => {
            let own = copied(array)?;
            let map = own.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = detach(&entries)?;
            Arc::new(MapArray::try_new(field.clone(), map.offsets().clone(), entries.as_struct().clone(), map.nulls().cloned(), *sorted)?)
        }
        // A slice of something much larger: only the slice is kept.
        _ if array.get_buffer_memory_size() > 2 * array.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 2) + 1024 => {
            copied(array)?
        }
        _ => array.clone(),
    })
}

fn copied(array: &ArrayRef) -> Result<ArrayRef> {
    let data = array.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, array.len());
    copy.try_extend(0, 0, array.len())?;
    Ok(make_array(copy.freeze()))
}
