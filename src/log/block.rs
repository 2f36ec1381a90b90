//! Blocks: how records lie in the log. One appended batch makes one block a partition (cut at [`BLOCK_BYTES`]).
//!
//! ```text
//! block   "ELB1" | count u32 | crc32 of these 8 bytes u32 | record …
//! record  crc32 of all that follows, started with the record's number in the block u32
//!         | timestamp i64 | value length u32 | key length u32 | headers length u32 | value | key | headers
//! headers (name length u32 | value length u32 | name | value) …
//! ```
//! All numbers are little-endian; a length of `u32::MAX` is an absent value or key. A block knows no offsets: it gets
//! them when it is made visible, so rows staged by a sink are written once. Reading hands out ranges of the block
//! instead of copies; a million records are a few thousand look-ups.

use bytes::Bytes;

use super::records::Records;

/// A block is closed once it holds this many bytes: large enough for one read to be worth a trip, small enough to wait for.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// Largest record (value, key and headers), in bytes.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

const MAGIC: &[u8; 4] = b"ELB1";
const HEADER: usize = 12;
const RECORD_HEADER: usize = 24;
const ABSENT: u32 = u32::MAX;

/// A record to append.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Payload; `None` = tombstone.
    pub value: Option<&'a [u8]>,
    /// Key, which also chooses the partition where none is named.
    pub key: Option<&'a [u8]>,
    /// Microseconds since 1970.
    pub timestamp: i64,
    /// What travels beside it.
    pub headers: &'a [(String, Bytes)],
}

impl<'a> Record<'a> {
    /// A record of `value` at `timestamp` (microseconds since 1970), without key and headers.
    pub fn new(value: &'a [u8], timestamp: i64) -> Self {
        Record { value: Some(value), key: None, timestamp, headers: &[] }
    }

    /// With this key.
    pub fn keyed(self, key: &'a [u8]) -> Self {
        Record { key: Some(key), ..self }
    }

    /// Bytes of value, key and headers.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
        self.value.map_or(0, <[u8]>::len) + self.key.map_or(0, <[u8]>::len) + headers
    }
}

/// A block being filled.
#[derive(Debug)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    count: u32,
    min_time: i64,
    max_time: i64,
}

/// A finished block with what its index entry needs to know.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    /// Smallest and largest timestamp of its records, microseconds since 1970.
    pub(super) min_time: i64,
    pub(super) max_time: i64,
}

impl BlockBuilder {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(MAGIC);
        bytes.resize(HEADER, 0);
        BlockBuilder { bytes, count: 0, min_time: i64::MAX, max_time: i64::MIN }
    }

    /// Appends a record no larger than [`MAX_RECORD_BYTES`].
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let start = self.bytes.len();
        let length = |bytes: Option<&[u8]>| bytes.map_or(ABSENT, |b| b.len() as u32);
        let headers: usize = record.headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
        self.bytes.reserve(RECORD_HEADER + record.size());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&record.timestamp.to_le_bytes());
        self.bytes.extend_from_slice(&length(record.value).to_le_bytes());
        self.bytes.extend_from_slice(&length(record.key).to_le_bytes());
        self.bytes.extend_from_slice(&(headers as u32).to_le_bytes());
        self.bytes.extend_from_slice(record.value.unwrap_or_default());
        self.bytes.extend_from_slice(record.key.unwrap_or_default());
        for (name, value) in record.headers {
            self.bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
        }
        let crc = checksum(self.count, &self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.count += 1;
        self.min_time = self.min_time.min(record.timestamp);
        self.max_time = self.max_time.max(record.timestamp);
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(mut self) -> Block {
        self.bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[..8]);
        self.bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        Block { bytes: self.bytes, count: self.count, min_time: self.min_time, max_time: self.max_time }
    }
}

fn checksum(number: u32, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(number);
    hasher.update(record);
    hasher.finalize()
}

/// Where a block is damaged, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Number of the record in its block.
    pub(super) record: u32,
    pub(super) what: &'static str,
}

/// Appends the records `skip..` of a block to `into`; the first record of the block has offset `base`. `at` is where
/// the block's bytes begin in `into.data`, which must already hold them. Every checksum is verified, skipped records too.
pub(super) fn decode(at: usize, length: usize, count: u32, base: i64, skip: u32, into: &mut Records) -> Result<(), Damage> {
    let damage = |record: u32, what: &'static str| Damage { record, what };
    let data = into.data.clone();
    let block = &data[at..at + length];
    let header = block.get(..HEADER).ok_or(damage(0, "block shorter than its header"))?;
    if &header[..4] != MAGIC || u32_at(header, 4) != count || u32_at(header, 8) != crc32fast::hash(&header[..8]) {
        return Err(damage(0, "block header does not match its checksum or its index entry"));
    }
    let wanted = count.saturating_sub(skip) as usize;
    into.offsets.reserve(wanted);
    into.timestamps.reserve(wanted);
    into.values.reserve(wanted);
    into.keys.reserve(wanted);
    into.headers.reserve(wanted);
    let mut position = HEADER;
    for number in 0..count {
        let head = block.get(position..position + RECORD_HEADER).ok_or(damage(number, "record is cut off"))?;
        let timestamp = i64::from_le_bytes([head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11]]);
        let (value, key, headers) = (u32_at(head, 12), u32_at(head, 16), u32_at(head, 20) as usize);
        let (value_len, key_len) = (present(value), present(key));
        let body = position + RECORD_HEADER;
        let end = body.saturating_add(value_len).saturating_add(key_len).saturating_add(headers);
        let checked = block.get(position + 4..end).ok_or(damage(number, "record is cut off"))?;
        if u32_at(head, 0) != checksum(number, checked) {
            return Err(damage(number, "record does not match its checksum"));
        }
        if number >= skip {
            let from = at + body;
            into.offsets.push(base + i64::from(number));
            into.timestamps.push(timestamp);
            into.values.push((value != ABSENT).then_some((from as u32, (from + value_len) as u32)));
            let after_value = from + value_len;
            into.keys.push((key != ABSENT).then(|| data.slice(after_value..after_value + key_len)));
            into.headers.push(match headers {
                0 => Vec::new(),
                _ => decode_headers(&data.slice(after_value + key_len..at + end))
                    .ok_or(damage(number, "record headers do not fit their length"))?,
            });
        }
        position = end;
    }
    if position != block.len() { Err(damage(count, "bytes follow the last record")) } else { Ok(()) }
}

/// The number of the first record at or after `time` (microseconds since 1970); `None` when all are before it.
pub(super) fn first_at(block: &[u8], time: i64) -> Option<u32> {
    let mut position = HEADER;
    let mut number = 0;
    while let Some(head) = block.get(position..position + RECORD_HEADER) {
        if i64::from_le_bytes([head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11]]) >= time {
            return Some(number);
        }
        position += RECORD_HEADER + present(u32_at(head, 12)) + present(u32_at(head, 16)) + u32_at(head, 20) as usize;
        number += 1;
    }
    None
}

fn present(length: u32) -> usize {
    if length == ABSENT { 0 } else { length as usize }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn decode_headers(bytes: &Bytes) -> Option<Vec<(String, Bytes)>> {
    let mut headers = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let head = bytes.get(position..position + 8)?;
        let (name, value) = (u32_at(head, 0) as usize, u32_at(head, 4) as usize);
        let at = position + 8;
        let text = std::str::from_utf8(bytes.get(at..at + name)?).ok()?.to_owned();
        bytes.get(at + name..at + name + value)?;
        headers.push((text, bytes.slice(at + name..at + name + value)));
        position = at + name + value;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        let mut builder = BlockBuilder::new();
        builder.push(&Record::new(b"one", 10));
        builder.push(&Record { value: None, key: Some(b"k"), timestamp: 5, headers: &[("h".into(), Bytes::from_static(b"v"))] });
        builder.push(&Record::new(b"", 30).keyed(b""));
        builder.finish()
    }

    fn read(bytes: Vec<u8>, skip: u32) -> Result<Records, Damage> {
        let mut records = Records { data: Bytes::from(bytes), ..Records::default() };
        let length = records.data.len();
        decode(0, length, 3, 100, skip, &mut records).map(|()| records)
    }

    #[test]
    fn records_come_back_with_absent_and_empty_told_apart() {
        let records = read(block().bytes, 0).unwrap();
        assert_eq!(records.offsets, [100, 101, 102]);
        assert_eq!(records.timestamps, [10, 5, 30]);
        assert_eq!(records.value(0).as_deref(), Some(&b"one"[..]));
        assert_eq!((records.value(1), records.value(2).as_deref()), (None, Some(&b""[..])));
        assert_eq!(records.keys, [None, Some(Bytes::from_static(b"k")), Some(Bytes::new())]);
        assert_eq!(records.headers[1], [("h".to_string(), Bytes::from_static(b"v"))]);
        assert_eq!(read(block().bytes, 2).unwrap().offsets, [102]);
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let good = block().bytes;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(bad, 0).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(read(good[..length].to_vec(), 0).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn the_first_record_at_a_time_is_found_in_record_order() {
        let bytes = block().bytes;
        assert_eq!((first_at(&bytes, 0), first_at(&bytes, 11), first_at(&bytes, 31)), (Some(0), Some(2), None));
    }
}
