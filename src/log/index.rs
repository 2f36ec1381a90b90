//! Entries of the index: where a block of records lies, and the bounds of its partition.

use super::block::Block;

/// Blocks up to this size lie in the index itself, so that records appended one by one are read by one scan.
pub(super) const INLINE_BYTES: usize = 4096;

const VERSION: u8 = 1;
const HEADER: usize = 38;
const INLINE: u8 = 1;
const APART: u8 = 2;

/// What the index knows of a block.
///
/// ```text
/// version u8 | count u32 | smallest timestamp i64 | largest timestamp i64 | bytes u32
/// | 1 = the block follows, 2 = it lies apart u8 | its id u64 | crc32 of all these u32 | the block, if here
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) count: u32,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    /// Bytes of the block.
    pub(super) bytes: u32,
    pub(super) lies: Lies<'a>,
}

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies<'a> {
    /// Behind the entry.
    Here(&'a [u8]),
    /// Among the blocks, under this id.
    Apart(u64),
}

impl<'a> Entry<'a> {
    /// The entry of `block`, which lies here when small, else under `id`.
    pub(super) fn of(block: &'a Block, id: u64) -> Self {
        let lies = if block.bytes.len() <= INLINE_BYTES { Lies::Here(&block.bytes) } else { Lies::Apart(id) };
        Entry { count: block.count, min_time: block.min_time, max_time: block.max_time, bytes: block.bytes.len() as u32, lies }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.push(VERSION);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.min_time.to_le_bytes());
        out.extend_from_slice(&self.max_time.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        let (kind, id, here): (u8, u64, &[u8]) = match self.lies {
            Lies::Here(block) => (INLINE, 0, block),
            Lies::Apart(id) => (APART, id, &[]),
        };
        out.push(kind);
        out.extend_from_slice(&id.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(here);
        out
    }

    /// `None` when the bytes are no entry of this version.
    pub(super) fn decode(value: &'a [u8]) -> Option<Self> {
        let (header, rest) = value.split_at_checked(HEADER)?;
        let number = |at: usize| Some(i64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let small = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        if header[0] != VERSION || small(HEADER - 4)? != crc32fast::hash(&header[..HEADER - 4]) {
            return None;
        }
        let bytes = small(21)?;
        let lies = match header[25] {
            INLINE if rest.len() == bytes as usize => Lies::Here(rest),
            APART if rest.is_empty() => Lies::Apart(number(26)? as u64),
            _ => return None,
        };
        Some(Entry { count: small(1)?, min_time: number(5)?, max_time: number(13)?, bytes, lies })
    }
}

/// How many records an entry counts, without checking it: for messages about damage.
pub(super) fn count_of(value: &[u8]) -> u32 {
    value.get(1..5).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Bounds of a partition. Written with every batch, beside the blocks: so a missing block is noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Offset of the first record still there.
    pub(super) start: i64,
    /// Offset that the next record will get.
    pub(super) end: i64,
    /// Bytes of its blocks.
    pub(super) bytes: u64,
}

impl Bounds {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` when the bytes are no bounds of this version.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; 29] = value.try_into().ok()?;
        let number = |at: usize| Some(i64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
        if value[0] != VERSION || value[25..] != crc32fast::hash(&value[..25]).to_le_bytes() {
            return None;
        }
        Some(Bounds { start: number(1)?, end: number(9)?, bytes: number(17)? as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_bounds_come_back_and_damage_does_not() {
        let entry = Entry { count: 3, min_time: -5, max_time: 9, bytes: 2, lies: Lies::Here(b"xy") };
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        let apart = Entry { bytes: 70_000, lies: Lies::Apart(8), ..entry };
        assert_eq!(Entry::decode(&apart.encode()), Some(apart));
        assert_eq!(count_of(&apart.encode()), 3);
        let bounds = Bounds { start: 1, end: 5, bytes: 77 };
        let mut encoded = bounds.encode();
        assert_eq!(Bounds::decode(&encoded), Some(bounds));
        encoded[9] ^= 1;
        assert_eq!(Bounds::decode(&encoded), None);
    }
}
