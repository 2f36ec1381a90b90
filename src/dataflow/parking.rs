//! Ordered parking (`'dead-letter.ordered'='true'`): behind a record that was refused the later records of its key wait in
//! the dead letters, until it has been mended and sent again.
//!
//! ```text
//!  5: refused ──▶ dead letter          waiting of the key: 5
//!  9: parked  ──▶ dead letter                              5 9
//!  `eagre replay dead-letters` sends both again:
//!  51 (was 5) ──▶ goes through                             9
//!  52         ──▶ parked: it came before 9 was through     9 52
//!  53 (was 9) ──▶ goes through                             52
//!  a further replay: 54 (was 52) goes through              the key is released
//! ```
//! The source itself decides, from nothing but the records in their order: a record that was sent again says at which
//! offset it came for the first time ([`Replayed`]), and goes through only if that is the first of those that wait. So it
//! is of no matter when letters are sent, how many of them, in which order, or what comes between them: a key's records go
//! through in the order in which they first came. What waits is part of the checkpoint, beside the position of the
//! partition, and so always fits the letters of that checkpoint.
//!
//! Only records with a key wait, and only what the scan refuses (undecodable, without or ahead of time, a failing
//! expression) makes others wait. A record that is skipped (`'format.on-error'='skip'`) makes nobody wait.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dataflow::replayed::Replayed;
use crate::error::{Error, Result};
use crate::format::Beside;

/// Records of a partition that may wait: they are listed in every checkpoint.
const MOST_WAITING: usize = 100_000;

/// Which records of a partition wait: by key, the offsets at which they first came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(String, Vec<i64>)>", try_from = "Vec<(String, Vec<i64>)>")]
pub struct Parking {
    keys: BTreeMap<Bytes, BTreeSet<i64>>,
    /// All of them together.
    waiting: usize,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes its way.
    Goes,
    /// It waits behind the record that first came at this offset.
    Waits(i64),
}

impl Parking {
    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are parked.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The record at `offset` comes, with what travels beside it; `refused`: it is to become a dead letter of its own.
    pub fn judge(&mut self, offset: i64, beside: &Beside, refused: bool) -> Result<Verdict> {
        let Some(key) = &beside.key else { return Ok(Verdict::Goes) };
        let replayed = Replayed::of(&beside.headers);
        let came = replayed.as_ref().map_or(offset, |replayed| replayed.first_offset);
        let Some(waiting) = self.keys.get_mut(key) else {
            if refused {
                self.keys.insert(key.clone(), BTreeSet::from([came]));
                self.waiting += 1;
            }
            return Ok(Verdict::Goes);
        };
        let first = waiting.first().copied().unwrap_or(came);
        if replayed.is_some() && came == first {
            // Refused once more it stays the first.
            if !refused {
                waiting.remove(&first);
                self.waiting -= 1;
                if waiting.is_empty() {
                    self.keys.remove(key);
                }
            }
            return Ok(Verdict::Goes);
        }
        self.waiting += usize::from(waiting.insert(came));
        if self.waiting > MOST_WAITING {
            return Err(Error::failed(format!(
                "more than {MOST_WAITING} records wait behind refused ones of their keys: send them again with `eagre replay dead-letters`, \
                 or set 'dead-letter.ordered' = 'false', which lets later ones go on"
            )));
        }
        Ok(Verdict::Waits(first))
    }
}

impl From<Parking> for Vec<(String, Vec<i64>)> {
    fn from(parking: Parking) -> Self {
        parking.keys.into_iter().map(|(key, offsets)| (STANDARD.encode(key), offsets.into_iter().collect())).collect()
    }
}

impl TryFrom<Vec<(String, Vec<i64>)>> for Parking {
    type Error = base64::DecodeError;

    fn try_from(kept: Vec<(String, Vec<i64>)>) -> std::result::Result<Self, Self::Error> {
        let mut parking = Parking::default();
        for (key, offsets) in kept {
            parking.waiting += offsets.len();
            parking.keys.insert(STANDARD.decode(key)?.into(), offsets.into_iter().collect());
        }
        Ok(parking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(key: &str, first: Option<i64>) -> Beside {
        let mut beside = Beside { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..Beside::default() };
        if let Some(first_offset) = first {
            Replayed { letter: "l".into(), attempt: 1, first_offset }.put(&mut beside.headers).unwrap();
        }
        beside
    }

    #[test]
    fn a_key_goes_through_in_the_order_in_which_it_first_came_whatever_is_sent_when() {
        let mut parking = Parking::default();
        let mut judge = |offset: i64, first: Option<i64>, refused: bool| parking.judge(offset, &came("k", first), refused).unwrap();
        assert_eq!(judge(4, None, false), Verdict::Goes);
        assert_eq!(judge(5, None, true), Verdict::Goes, "it is a letter of its own");
        assert_eq!(judge(9, None, false), Verdict::Waits(5));
        assert_eq!(judge(11, None, true), Verdict::Waits(5), "refused or not, it waits");
        // Only the second is sent: it is not its turn.
        assert_eq!(judge(50, Some(9), false), Verdict::Waits(5));
        // The first is still refused, the others wait on.
        assert_eq!(judge(51, Some(5), true), Verdict::Goes);
        assert_eq!(judge(52, Some(9), false), Verdict::Waits(5));
        // Mended: one after the other, and what comes between them waits behind them.
        assert_eq!(judge(53, Some(5), false), Verdict::Goes);
        assert_eq!(judge(54, None, false), Verdict::Waits(9));
        assert_eq!(judge(55, Some(9), false), Verdict::Goes);
        assert_eq!(judge(56, Some(11), false), Verdict::Goes);
        assert_eq!(judge(57, None, false), Verdict::Waits(54));
        assert_eq!(judge(58, Some(54), false), Verdict::Goes);
        assert_eq!(judge(59, Some(57), false), Verdict::Goes);
        assert_eq!(judge(60, None, false), Verdict::Goes, "the key is released");
        assert!(parking.is_empty() && parking.waiting == 0);
    }

    #[test]
    fn other_keys_and_records_without_one_go_on_and_what_waits_outlives_a_restart() {
        let mut parking = Parking::default();
        parking.judge(5, &came("a", None), true).unwrap();
        assert_eq!(parking.judge(6, &came("b", None), false).unwrap(), Verdict::Goes);
        assert_eq!(parking.judge(7, &Beside::default(), true).unwrap(), Verdict::Goes);
        assert_eq!(parking.judge(8, &Beside::default(), false).unwrap(), Verdict::Goes);
        let text = serde_json::to_string(&parking).unwrap();
        assert_eq!(text, r#"[["YQ==",[5]]]"#);
        let mut again: Parking = serde_json::from_str(&text).unwrap();
        assert_eq!((&again, again.keys()), (&parking, 1));
        assert_eq!(again.judge(9, &came("a", None), false).unwrap(), Verdict::Waits(5));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut parking = Parking::default();
        parking.judge(0, &came("k", None), true).unwrap();
        let told = (1..=MOST_WAITING as i64).find_map(|offset| parking.judge(offset, &came("k", None), false).err()).unwrap().to_string();
        assert!(told.contains("100000 records wait") && told.contains("eagre replay dead-letters"), "{told}");
    }
}
