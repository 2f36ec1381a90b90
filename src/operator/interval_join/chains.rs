//! Per key the stored rows of one side, in the order they came: lists threaded through one vector of 16-byte links.

use crate::operator::keys::NO_SLOT;

/// End of a chain.
const NONE: u32 = u32::MAX;

/// A stored row in its key's chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    ts: i64,
    /// Where the row store has it.
    address: u32,
    next: u32,
}

/// First and last link of a key.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Ends { first: NONE, last: NONE }
    }
}

/// The chains of one side, by key slot.
#[derive(Debug)]
pub(super) struct Chains {
    links: Vec<Link>,
    /// First of the unused links.
    free: u32,
    ends: Vec<Ends>,
}

impl Chains {
    pub(super) fn new() -> Self {
        Chains { links: Vec::new(), free: NONE, ends: Vec::new() }
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>() + self.ends.capacity() * size_of::<Ends>()
    }

    /// Makes room for slots below `slots`.
    pub(super) fn reserve(&mut self, slots: usize) {
        if self.ends.len() < slots {
            self.ends.resize(slots, Ends::default());
        }
    }

    /// Appends a row to the chain of `slot`; a row without a slot can match nothing and is not kept here.
    pub(super) fn push(&mut self, slot: u32, ts: i64, address: u32) {
        if slot == NO_SLOT {
            return;
        }
        let link = Link { ts, address, next: NONE };
        let at = if self.free == NONE {
            self.links.push(link);
            self.links.len() as u32 - 1
        } else {
            let at = self.free;
            self.free = std::mem::replace(&mut self.links[at as usize], link).next;
            at
        };
        let ends = &mut self.ends[slot as usize];
        if ends.last == NONE {
            ends.first = at;
        } else {
            self.links[ends.last as usize].next = at;
        }
        ends.last = at;
    }

    /// Calls `hit` with the address of each row of `slot` whose time is within `from..=to`, until it returns false. Rows
    /// before `limit` are dead: they are unlinked on the way (`from >= limit`).
    pub(super) fn probe(&mut self, slot: u32, limit: i64, from: i64, to: i64, mut hit: impl FnMut(u32) -> bool) {
        let Some(ends) = self.ends.get_mut(slot as usize) else { return };
        let (mut before, mut at) = (NONE, ends.first);
        while at != NONE {
            let link = self.links[at as usize];
            if link.ts < limit {
                match before {
                    NONE => ends.first = link.next,
                    _ => self.links[before as usize].next = link.next,
                }
                if ends.last == at {
                    ends.last = before;
                }
                self.links[at as usize].next = self.free;
                self.free = at;
            } else {
                if link.ts >= from && link.ts <= to && !hit(link.address) {
                    return;
                }
                before = at;
            }
            at = link.next;
        }
    }

    /// Unlinks the dead rows at the front of a chain. Is it empty then?
    pub(super) fn trim(&mut self, slot: u32, limit: i64) -> bool {
        let Some(ends) = self.ends.get_mut(slot as usize) else { return true };
        while ends.first != NONE && self.links[ends.first as usize].ts < limit {
            let at = ends.first;
            ends.first = std::mem::replace(&mut self.links[at as usize].next, self.free);
            self.free = at;
        }
        if ends.first == NONE {
            ends.last = NONE;
        }
        ends.first == NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(chains: &mut Chains, slot: u32, limit: i64, from: i64, to: i64) -> Vec<u32> {
        let mut all = Vec::new();
        chains.probe(slot, limit, from, to, |address| {
            all.push(address);
            true
        });
        all
    }

    #[test]
    fn probing_finds_what_is_in_the_interval_and_unlinks_the_dead_wherever_they_are() {
        let mut chains = Chains::new();
        chains.reserve(2);
        for (address, ts) in [5, 1, 7, 2, 9].into_iter().enumerate() {
            chains.push(0, ts, address as u32);
        }
        chains.push(1, 5, 77);
        assert_eq!(hits(&mut chains, 0, 0, 2, 7), [0, 2, 3]);
        assert_eq!(hits(&mut chains, 0, 3, 3, 9), [0, 2, 4]);
        chains.push(0, 4, 10);
        assert_eq!(hits(&mut chains, 0, 3, 3, 9), [0, 2, 4, 10], "an unlinked link is used again");
        assert_eq!(chains.links.len(), 6);
        assert_eq!(hits(&mut chains, 0, 10, 10, 99), [] as [u32; 0]);
        chains.push(0, 11, 20);
        assert_eq!(hits(&mut chains, 0, 10, 10, 99), [20], "a chain that ran empty begins anew");
        assert!(chains.trim(1, 6));
        assert!(!chains.trim(0, 11));
    }
}
