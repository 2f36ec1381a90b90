//! Keys of the log's keyspaces. A key says what it is (first byte) and whose (the topic's or sink's name), so that the
//! journal can be read without any other table: that is how damage gets its topic and offset.
//!
//! ```text
//! index   t<topic>                                    definition (JSON)
//!         p<topic>\0<partition u32>                   where the partition starts and ends
//!         r<topic>\0<partition u32><base offset i64>  a block of visible records: its place, or itself when small
//!         k<sink>                                     what the sink has committed (JSON)
//!         s<sink>\0<stage u64><number u32>            a block staged by a sink: durable, not visible
//! blocks  b<id u64>                                   a block, kept apart from the index so that no compaction moves it
//! ```
//! Numbers are big-endian, so keys sort as records do. The first bytes `e` (streams), `i` (ids seen) and `n` (positions)
//! are kept free for the event store.

use crate::error::{Error, Result};

/// Longest name of a topic or sink.
const MAX_NAME: usize = 200;

pub(super) const TOPIC: u8 = b't';
pub(super) const SINK: u8 = b'k';
const PARTITION: u8 = b'p';
const RECORDS: u8 = b'r';
const STAGED: u8 = b's';
const BLOCK: u8 = b'b';

/// A topic's name: letters, digits, `.`, `_`, `-`, as in Kafka; so it never holds the byte 0 that ends it in a key.
pub fn check_topic_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !fits(*c)) {
        Some(c) => Err(Error::input(format!("topic name '{name}' holds {c:?}; expected letters, digits, '.', '_' and '-'"))),
        None if name.is_empty() || name.len() > MAX_NAME => {
            Err(Error::input(format!("topic name '{name}' has {} characters; expected 1 to {MAX_NAME}", name.len())))
        }
        None => Ok(()),
    }
}

/// A sink's id: any text without the byte 0.
pub(super) fn check_sink_id(sink: &str) -> Result<()> {
    if sink.is_empty() || sink.len() > 4 * MAX_NAME || sink.contains('\0') {
        return Err(Error::bug(format!("sink id {sink:?} is empty, too long or holds a zero byte")));
    }
    Ok(())
}

fn named(tag: u8, name: &str, ended: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 14);
    key.push(tag);
    key.extend_from_slice(name.as_bytes());
    if ended {
        key.push(0);
    }
    key
}

pub(super) fn topic(name: &str) -> Vec<u8> {
    named(TOPIC, name, false)
}

pub(super) fn sink(name: &str) -> Vec<u8> {
    named(SINK, name, false)
}

pub(super) fn partition(topic: &str, partition: u32) -> Vec<u8> {
    let mut key = named(PARTITION, topic, true);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Prefix of all blocks of a partition.
pub(super) fn records_of(topic: &str, partition: u32) -> Vec<u8> {
    let mut key = named(RECORDS, topic, true);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// The block of a partition that begins at `base`.
pub(super) fn records(topic: &str, partition: u32, base: i64) -> Vec<u8> {
    let mut key = records_of(topic, partition);
    key.extend_from_slice(&base.to_be_bytes());
    key
}

/// Topic, partition and base offset of a key made by [`records`].
pub(super) fn parse_records(key: &[u8]) -> Option<(&str, u32, i64)> {
    let rest = key.strip_prefix(&[RECORDS])?;
    let (name, numbers) = rest.split_at_checked(memchr::memchr(0, rest)?)?;
    let numbers: &[u8; 13] = numbers.try_into().ok()?;
    let [_, p0, p1, p2, p3, base @ ..] = *numbers;
    Some((std::str::from_utf8(name).ok()?, u32::from_be_bytes([p0, p1, p2, p3]), i64::from_be_bytes(base)))
}

/// Prefix of all that a sink has staged.
pub(super) fn staged_by(sink: &str) -> Vec<u8> {
    named(STAGED, sink, true)
}

/// Prefix of one stage.
pub(super) fn stage(sink: &str, stage: u64) -> Vec<u8> {
    let mut key = staged_by(sink);
    key.extend_from_slice(&stage.to_be_bytes());
    key
}

pub(super) fn staged(sink: &str, stage_id: u64, number: u32) -> Vec<u8> {
    let mut key = stage(sink, stage_id);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Stage and number of a key made by [`staged`].
pub(super) fn parse_staged(key: &[u8]) -> Option<(u64, u32)> {
    let numbers: &[u8; 12] = key.last_chunk()?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, number @ ..] = *numbers;
    Some((u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u32::from_be_bytes(number)))
}

pub(super) fn block(id: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = id.to_be_bytes();
    [BLOCK, a, b, c, d, e, f, g, h]
}

/// Id of a key made by [`block`].
pub(super) fn parse_block(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[BLOCK])?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_parse_back() {
        let key = records("orders", 3, 258);
        assert_eq!(parse_records(&key), Some(("orders", 3, 258)));
        assert!(key < records("orders", 3, 259) && records("orders", 3, i64::MAX) < records("orders", 4, 0));
        assert!(records("a", 0, 0) < records("a.b", 0, 0), "a topic whose name begins another's stays apart");
        assert!(!records("a.b", 0, 0).starts_with(&records_of("a", 0)));
        assert_eq!(parse_staged(&staged("run/out", 7, 9)), Some((7, 9)));
        assert_eq!(parse_block(&block(300)), Some(300));
        assert_eq!(parse_records(&topic("orders")), None);
    }

    #[test]
    fn a_topic_name_is_refused_by_its_bad_character() {
        assert!(check_topic_name("orders.v1_x-2").is_ok());
        assert_eq!(
            check_topic_name("my topic").unwrap_err().to_string(),
            "topic name 'my topic' holds ' '; expected letters, digits, '.', '_' and '-'"
        );
        assert!(check_topic_name("").is_err());
    }
}
