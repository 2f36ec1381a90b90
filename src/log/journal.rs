//! The scan of fjall's journal before fjall opens it.
//!
//! fjall cuts its journal at the first entry it cannot read, wherever that is. For a log that is not good enough: what
//! lies behind a damaged entry had been acknowledged. So each journal file is read here first:
//!
//! ```text
//! batch   1 | items u32 | sequence number u64   item …   3 | xxh3 of the items u64 | "FJL" 3
//! item    2 | value type u8 | compression u8 | keyspace u64 | key length u16 | value length u32 | stored length u32 | key | value
//!         4 | keyspace u64                                                     (all numbers little-endian)
//! file    batch batch … batch [the batch being written when the process died] zeros up to the file's size
//! ```
//! The log waits for the disk after each batch before it writes the next, so only the last batch of the newest file can
//! be incomplete. That is a *torn tail*: nobody was told that it is stored, and it is cut off here. Anything else that
//! does not read is *damage*, and nothing is touched: a sound batch behind the bad place, a bad place in an older file,
//! a sequence number that does not grow, or a last batch that was written to its end and yet fails its checksum.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{index, keys};
use crate::error::{Error, Place, Result};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";
const START_BYTES: usize = 13;
const ITEM_BYTES: usize = 21;
const CLEAR_BYTES: usize = 9;
const END_BYTES: usize = 13;
/// What a disk writes in one go: a batch that was interrupted by a power failure misses whole sectors.
const SECTOR_BYTES: usize = 512;

/// A torn tail that was cut off: a batch that nobody had been told is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The journal file.
    pub journal: PathBuf,
    /// Bytes kept.
    pub kept_bytes: u64,
    /// Bytes cut off, not counting the zeros that fill up the file.
    pub cut_bytes: u64,
}

/// Checks all journals of the database in `dir` and cuts off a torn tail. Damage is [`crate::error::Kind::Corrupt`].
pub(super) fn check(dir: &Path) -> Result<Option<TornTail>> {
    let cannot = |e: std::io::Error| Error::failed(format!("cannot read the log in {}", dir.display())).because(e);
    if !dir.try_exists().map_err(cannot)? {
        return Ok(None);
    }
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|e| e == "jnl") {
            let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok());
            let number = number.ok_or_else(|| Error::corrupt(format!("{} is no journal of the log", path.display())))?;
            journals.push((number, path));
        }
    }
    journals.sort();
    let newest = journals.len().saturating_sub(1);
    let mut seen = Seen::default();
    for (n, (_, path)) in journals.into_iter().enumerate() {
        let bytes = std::fs::read(&path).map_err(|e| Error::failed(format!("cannot read {}", path.display())).because(e))?;
        match scan(&bytes, n == newest, &mut seen) {
            Scan::Sound => {}
            Scan::Torn { kept, end } => {
                let torn = TornTail { journal: path, kept_bytes: kept as u64, cut_bytes: (end - kept) as u64 };
                cut(&torn)?;
                tracing::warn!(journal = %torn.journal.display(), kept_bytes = torn.kept_bytes, cut_bytes = torn.cut_bytes,
                    "the log ended in a batch that was being written when the process died; it had not been acknowledged and is cut off");
                return Ok(Some(torn));
            }
            Scan::Damaged { at, what, place } => {
                let place = place.map_or_else(|| Place::thing("log"), |(topic, partition, offset)| Place::record(topic, partition, offset));
                return Err(Error::corrupt(format!(
                    "the log's journal {} is damaged at byte {at}: {what}; nothing was changed: restore the data directory from a copy",
                    path.display()
                ))
                .at(place));
            }
        }
    }
    Ok(None)
}

fn cut(torn: &TornTail) -> Result<()> {
    let cut = || -> std::io::Result<()> {
        let file = std::fs::File::options().write(true).open(&torn.journal)?;
        file.set_len(torn.kept_bytes)?;
        file.sync_all()
    };
    cut().map_err(|e| Error::failed(format!("cannot cut the torn end off {}", torn.journal.display())).because(e))
}

/// What the batches read so far have told, over all files.
#[derive(Debug, Default)]
struct Seen {
    /// Sequence number of the last batch.
    sequence: Option<u64>,
    /// Topic, partition and end offset of the last block of visible records.
    end: Option<(String, u32, i64)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Scan {
    Sound,
    Torn { kept: usize, end: usize },
    Damaged { at: usize, what: &'static str, place: Option<(String, u32, i64)> },
}

fn scan(bytes: &[u8], newest: bool, seen: &mut Seen) -> Scan {
    let end = without_zeros(bytes);
    let mut position = 0;
    while position < end {
        let (batch, fault) = match read_batch(bytes, position) {
            Ok(batch) if seen.sequence.is_some_and(|last| batch.sequence <= last) => {
                (batch, "the sequence number of a batch does not grow")
            }
            Ok(batch) if !batch.sound => (batch, "a batch fails its checksum"),
            Ok(batch) => {
                seen.sequence = Some(batch.sequence);
                if let Some((topic, partition, base, count)) = batch.last_records(bytes) {
                    seen.end = Some((topic.to_owned(), partition, base + i64::from(count)));
                }
                position = batch.end;
                continue;
            }
            Err(fault) => (Batch::unread(position), fault),
        };
        let sound_after = next_sound_batch(bytes, position + 1, end, seen.sequence);
        let written_to_its_end = (batch.end > position && batch.end <= end) || bytes[..end].ends_with(TRAILER);
        let whole = written_to_its_end && !has_hole(&bytes[position..end]);
        if newest && sound_after.is_none() && !whole {
            return Scan::Torn { kept: position, end };
        }
        // The bad batch often still tells where it belongs; else it is what follows the last good one.
        let place = batch.first_records(bytes).map(|(topic, partition, base, _)| (topic.to_owned(), partition, base));
        let place = place.or_else(|| seen.end.take()).or_else(|| {
            let after = read_batch(bytes, sound_after?).ok()?;
            after.first_records(bytes).map(|(topic, partition, base, _)| (topic.to_owned(), partition, base))
        });
        return Scan::Damaged { at: position, what: fault, place };
    }
    Scan::Sound
}

/// A batch whose structure reads (its end may not).
struct Batch {
    sequence: u64,
    /// Its checksum holds.
    sound: bool,
    /// Where keys of its items lie, each with where the value lies.
    items: Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>,
    /// Where it ends.
    end: usize,
}

impl Batch {
    fn unread(at: usize) -> Self {
        Batch { sequence: 0, sound: false, items: Vec::new(), end: at }
    }

    /// Topic, partition, base offset and count of its blocks of visible records.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> impl DoubleEndedIterator<Item = (&'a str, u32, i64, u32)> {
        self.items.iter().filter_map(|(key, value)| {
            let (topic, partition, base) = keys::parse_records(&bytes[key.clone()])?;
            Some((topic, partition, base, index::count_of(&bytes[value.clone()])))
        })
    }

    fn first_records<'a>(&'a self, bytes: &'a [u8]) -> Option<(&'a str, u32, i64, u32)> {
        self.records(bytes).next()
    }

    fn last_records<'a>(&'a self, bytes: &'a [u8]) -> Option<(&'a str, u32, i64, u32)> {
        self.records(bytes).next_back()
    }
}

/// Reads the batch that begins at `start`; an error when its structure does not read.
fn read_batch(bytes: &[u8], start: usize) -> Result<Batch, &'static str> {
    const CUT: &str = "a batch is cut off";
    let head = bytes.get(start..start + START_BYTES).ok_or(CUT)?;
    if head[0] != START {
        return Err("no batch begins here");
    }
    let count = u32_at(head, 1);
    let sequence = u64_at(head, 5);
    let mut items = Vec::new();
    let mut position = start + START_BYTES;
    for _ in 0..count {
        match bytes.get(position) {
            Some(&ITEM) => {
                let head = bytes.get(position..position + ITEM_BYTES).ok_or(CUT)?;
                let key = position + ITEM_BYTES..position + ITEM_BYTES + usize::from(u16::from_le_bytes([head[11], head[12]]));
                let value = key.end..key.end + u32_at(head, 17) as usize;
                position = value.end;
                if position > bytes.len() {
                    return Err(CUT);
                }
                items.push((key, value));
            }
            Some(&CLEAR) => position += CLEAR_BYTES,
            Some(_) => return Err("an entry of no known kind"),
            None => return Err(CUT),
        }
    }
    let tail = bytes.get(position..position + END_BYTES).ok_or(CUT)?;
    let ended = tail[0] == END && tail[9..] == *TRAILER;
    let sound = ended && count > 0 && xxh3_64(&bytes[start + START_BYTES..position]) == u64_at(tail, 1);
    Ok(Batch { sequence, sound, items, end: position + END_BYTES })
}

/// Where the first sound batch at or after `from` begins. A sequence number that does not grow is none of ours: it
/// would be a journal that somebody stored as a record.
fn next_sound_batch(bytes: &[u8], from: usize, end: usize, last_sequence: Option<u64>) -> Option<usize> {
    let candidates = memchr::memchr_iter(START, bytes.get(from..end)?).map(|at| from + at);
    candidates.into_iter().find(|at| {
        // Cheap refusals first: most bytes 1 are no batch.
        let plausible = bytes.get(*at..at + START_BYTES + 1).is_some_and(|head| {
            matches!(head[START_BYTES], ITEM | CLEAR) && head[3] == 0 && head[4] == 0 && head[11] == 0 && head[12] == 0
        });
        plausible && read_batch(bytes, *at).is_ok_and(|batch| batch.sound && last_sequence.is_none_or(|last| batch.sequence > last))
    })
}

/// Length without the zeros at the end (a new journal is 64 MiB of them).
fn without_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let zeros: usize = bytes.rchunks(ZEROS.len()).take_while(|chunk| **chunk == ZEROS[..chunk.len()]).map(<[u8]>::len).sum();
    bytes[..bytes.len() - zeros].iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)
}

/// Does a whole sector of zeros lie in there, as when the disk wrote later sectors but not this one?
fn has_hole(bytes: &[u8]) -> bool {
    let mut zeros = 0;
    for byte in bytes {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        if zeros == SECTOR_BYTES {
            return true;
        }
    }
    false
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, Record, append};

    /// The journal of a log with some appends, without the zeros at its end, and where its batches begin.
    fn journal() -> (Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        {
            let log = Log::open(dir.path()).unwrap();
            let topic = log.create_topic("orders", 2, None).unwrap();
            for n in 0..4_usize {
                let mut batch = append::Batch::default();
                let long = "long".repeat(n % 2 * 1100);
                batch.push(&topic, 1, &Record::new(b"first", 0)).unwrap();
                batch.push(&topic, 1, &Record::new(long.as_bytes(), 0)).unwrap();
                batch.push(&topic, 0, &Record::new(b"other", 0)).unwrap();
                log.append(batch).unwrap();
            }
        }
        let mut bytes = std::fs::read(dir.path().join("db/0.jnl")).unwrap();
        bytes.truncate(without_zeros(&bytes));
        let mut starts = Vec::new();
        let mut position = 0;
        while position < bytes.len() {
            starts.push(position);
            position = read_batch(&bytes, position).unwrap().end;
        }
        (bytes, starts)
    }

    fn scan_newest(bytes: &[u8]) -> Scan {
        scan(bytes, true, &mut Seen::default())
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_off() {
        let (bytes, starts) = journal();
        let last = starts[starts.len() - 1];
        assert_eq!(scan_newest(&bytes), Scan::Sound);
        for cut in last + 1..bytes.len() {
            let torn = Scan::Torn { kept: last, end: without_zeros(&bytes[..cut]) };
            assert_eq!(scan_newest(&bytes[..cut]), torn, "cut at {cut}");
            let mut filled = bytes[..cut].to_vec();
            filled.resize(bytes.len() + 5000, 0);
            assert_eq!(scan_newest(&filled), torn, "cut at {cut}, zeros behind");
            assert!(matches!(scan(&bytes[..cut], false, &mut Seen::default()), Scan::Damaged { .. }), "not in an older file");
        }
        assert_eq!(scan_newest(&bytes[..last]), Scan::Sound);
    }

    #[test]
    fn a_batch_that_misses_a_sector_is_torn_only_when_it_is_the_last() {
        let (mut bytes, starts) = journal();
        let last = starts[starts.len() - 1];
        bytes[last + 600..last + 600 + SECTOR_BYTES].fill(0);
        assert_eq!(scan_newest(&bytes), Scan::Torn { kept: last, end: bytes.len() });
        let (mut bytes, starts) = journal();
        let earlier = starts[starts.len() - 3];
        bytes[earlier + 600..earlier + 600 + SECTOR_BYTES].fill(0);
        assert!(matches!(scan_newest(&bytes), Scan::Damaged { .. }));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_damage_with_topic_and_offset() {
        let (bytes, starts) = journal();
        let mut places = std::collections::BTreeSet::new();
        for at in 0..bytes.len() {
            let start = starts[starts.partition_point(|s| *s <= at) - 1];
            if (5..START_BYTES).contains(&(at - start)) {
                // The sequence number has no checksum; that it grows is all that is known of it.
                continue;
            }
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let Scan::Damaged { at: found, place, .. } = scan_newest(&bad) else { panic!("byte {at}") };
            assert_eq!(found, start, "byte {at}");
            places.extend(place);
        }
        let told: Vec<_> = places.iter().filter(|(topic, ..)| topic == "orders").map(|(_, p, o)| (*p, *o)).collect();
        assert!([(0, 0), (1, 2), (1, 4), (1, 6)].iter().all(|p| told.contains(p) || told.contains(&(0, p.1 / 2))), "{told:?}");
    }

    #[test]
    fn a_journal_stored_as_a_record_is_no_batch() {
        let (bytes, starts) = journal();
        let last = starts[starts.len() - 1];
        // A batch being written whose record is an older journal.
        let mut torn = bytes[..last + START_BYTES + 1].to_vec();
        torn.extend_from_slice(&bytes[..last]);
        torn.push(7);
        assert!(matches!(scan_newest(&torn), Scan::Torn { kept, .. } if kept == last));
    }
}
