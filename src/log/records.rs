//! What a read hands out: records of one partition in columns, payloads left where they lie.

use bytes::Bytes;

/// Consecutive records of one partition. The vectors are parallel: one entry a record, in the order of offsets.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Holds all payloads (and the bytes between them).
    pub data: Bytes,
    /// Start and end of the payload in `data`; `None` = tombstone.
    pub values: Vec<Option<(u32, u32)>>,
    /// Offsets in the partition, without gaps.
    pub offsets: Vec<i64>,
    /// Microseconds since 1970.
    pub timestamps: Vec<i64>,
    /// Keys.
    pub keys: Vec<Option<Bytes>>,
    /// Headers.
    pub headers: Vec<Vec<(String, Bytes)>>,
}

impl Records {
    /// How many.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Payload of the record at `index` of these.
    pub fn value(&self, index: usize) -> Option<Bytes> {
        self.values[index].map(|(start, end)| self.data.slice(start as usize..end as usize))
    }

    /// The offset after the last of them; `None` when there are none.
    pub fn next_offset(&self) -> Option<i64> {
        self.offsets.last().map(|last| last + 1)
    }
}
