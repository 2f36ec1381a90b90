//! Which messages a queue may deliver again, though the state has counted them already.
//!
//! ```text
//!  delivered ──▶ counted (in a checkpoint) ──▶ acknowledged ──▶ one confirmation later: forgotten
//!                    │ the connection breaks, or the process dies before the acknowledgement
//!                    └─▶ awaited: the next redelivery of this id is dropped, once
//! ```
//! A queue cannot be read from an offset: what is not acknowledged comes again, and RabbitMQ promises to say so: a
//! message that is not marked as redelivered has never been seen. Ids are counted, not only known: who publishes two
//! messages under one id gets two rows, and both may be delivered again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Ids that may be delivered again, of one queue.
#[derive(Debug, Default)]
pub struct Redelivery {
    /// Number of the record (from 0, over all runs) -> its id.
    counted: BTreeMap<i64, Arc<str>>,
    /// Of those, the ones whose connection has gone: id -> numbers.
    awaited: HashMap<Arc<str>, VecDeque<i64>>,
    /// Deliveries of this connection, in order: tag -> number.
    delivered: VecDeque<(u64, i64)>,
    /// Acknowledged with the last confirmation. A broker that is killed may forget an acknowledgement.
    acknowledged: Vec<i64>,
}

impl Redelivery {
    /// As a checkpoint kept it: ids of records before number `count`.
    pub fn restored(ids: Vec<String>, count: i64) -> Self {
        let mut redelivery = Redelivery::default();
        let first = count - ids.len() as i64;
        for (number, id) in (first..).zip(ids) {
            let id: Arc<str> = id.into();
            redelivery.awaited.entry(id.clone()).or_default().push_back(number);
            redelivery.counted.insert(number, id);
        }
        redelivery
    }

    /// A message with an id is delivered under `tag`; it would be record `number`. False: it has been counted already.
    pub fn is_new(&mut self, id: &str, redelivered: bool, tag: u64, number: i64) -> bool {
        if redelivered
            && let Some(numbers) = self.awaited.get_mut(id)
            && let Some(earlier) = numbers.pop_front()
        {
            if numbers.is_empty() {
                self.awaited.remove(id);
            }
            self.delivered.push_back((tag, earlier));
            return false;
        }
        self.counted.insert(number, id.into());
        self.delivered.push_back((tag, number));
        true
    }

    /// All deliveries up to `tag` are acknowledged, and the broker has said so.
    pub fn acknowledged(&mut self, tag: u64) {
        for number in std::mem::take(&mut self.acknowledged) {
            self.forget(number);
        }
        while let Some((_, number)) = self.delivered.pop_front_if(|(delivered, _)| *delivered <= tag) {
            self.acknowledged.push(number);
        }
    }

    /// The connection is gone: what was delivered over it comes again.
    pub fn disconnected(&mut self) {
        let acknowledged = std::mem::take(&mut self.acknowledged).into_iter();
        for number in acknowledged.chain(std::mem::take(&mut self.delivered).into_iter().map(|(_, number)| number)) {
            if let Some(id) = self.counted.get(&number) {
                self.awaited.entry(id.clone()).or_default().push_back(number);
            }
        }
    }

    /// Keeps at most `most` ids, the youngest: those of many crashes in a row must not grow without end.
    pub fn bound(&mut self, most: usize) {
        while self.counted.len() > most {
            let Some((number, _)) = self.counted.first_key_value() else { return };
            self.forget(*number);
        }
    }

    /// Ids of the records before number `count`, oldest first.
    pub fn ids(&self, count: i64) -> impl Iterator<Item = &str> {
        self.counted.range(..count).map(|(_, id)| id.as_ref())
    }

    fn forget(&mut self, number: i64) {
        let Some(id) = self.counted.remove(&number) else { return };
        if let Some(numbers) = self.awaited.get_mut(&id) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.awaited.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(redelivery: &Redelivery, count: i64) -> Vec<&str> {
        redelivery.ids(count).collect()
    }

    #[test]
    fn what_comes_again_over_a_new_connection_is_dropped_once() {
        let mut ours = Redelivery::default();
        assert!(ours.is_new("a", false, 1, 0) && ours.is_new("b", false, 2, 1));
        assert!(ours.is_new("a", false, 3, 2), "one connection: two messages");
        ours.disconnected();
        assert!(!ours.is_new("a", true, 1, 3) && !ours.is_new("b", true, 2, 3) && !ours.is_new("a", true, 3, 3));
        assert!(ours.is_new("a", true, 4, 3), "a third message, which somebody else had seen");
    }

    #[test]
    fn a_message_that_nobody_has_seen_is_no_redelivery_whatever_its_id() {
        let mut ours = Redelivery::restored(vec!["always the same".into()], 1);
        assert!(ours.is_new("always the same", false, 1, 1));
        assert!(!ours.is_new("always the same", true, 2, 2));
    }

    #[test]
    fn a_checkpoint_keeps_what_was_counted_before_it() {
        let mut ours = Redelivery::default();
        for (tag, id) in (1..).zip(["a", "b", "c"]) {
            ours.is_new(id, false, tag, tag as i64 - 1);
        }
        assert_eq!(ids(&ours, 2), ["a", "b"]);
        // Dropping a redelivery behind the barrier takes nothing away from what the barrier keeps.
        ours.disconnected();
        ours.is_new("a", true, 1, 3);
        assert_eq!(ids(&ours, 2), ["a", "b"]);

        let mut restored = Redelivery::restored(vec!["a".into(), "b".into()], 2);
        assert!(restored.is_new("c", true, 1, 2) && !restored.is_new("b", true, 2, 3) && !restored.is_new("a", true, 3, 3));
        assert_eq!(ids(&restored, 3), ["a", "b", "c"]);
    }

    #[test]
    fn an_acknowledged_id_is_forgotten_one_confirmation_later() {
        let mut ours = Redelivery::default();
        for (tag, id) in (1..).zip(["a", "b", "c"]) {
            ours.is_new(id, false, tag, tag as i64 - 1);
        }
        ours.acknowledged(2);
        assert_eq!(ids(&ours, 3), ["a", "b", "c"]);
        ours.disconnected();
        assert!(!ours.is_new("b", true, 1, 3), "a broker that was killed had forgotten the acknowledgement");

        let mut ours = Redelivery::default();
        for (tag, id) in (1..).zip(["a", "b", "c"]) {
            ours.is_new(id, false, tag, tag as i64 - 1);
        }
        ours.acknowledged(2);
        ours.acknowledged(3);
        assert_eq!(ids(&ours, 3), ["c"]);
        ours.acknowledged(3);
        assert!(ids(&ours, 3).is_empty());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut ours = Redelivery::restored(["a", "b", "c"].map(str::to_owned).to_vec(), 10);
        ours.bound(2);
        assert_eq!(ids(&ours, 10), ["b", "c"]);
        assert!(ours.is_new("a", true, 1, 10) && !ours.is_new("b", true, 2, 11));
    }
}
