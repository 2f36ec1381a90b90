//! Which keys have state, and where it has changed: keys lie in groups by their slots, and a checkpoint writes those groups
//! anew in which something has happened.
//!
//! ```text
//!  slots   0 … 1023 │ 1024 … 2047 │ 2048 …       slots are dealt out as keys come: keys that went quiet together
//!  changed    no    │     yes     │  no            lie together
//! ```

/// Keys of a group: a power of two.
const GROUP_BITS: u32 = 10;

/// Per slot: how many rules hold state of the key.
#[derive(Debug, Default)]
pub(super) struct Holders {
    counts: Vec<u32>,
    /// By group: has something changed since it was asked last?
    changed: Vec<bool>,
}

/// The group of a slot.
pub(super) fn group_of(slot: u32) -> usize {
    (slot >> GROUP_BITS) as usize
}

impl Holders {
    /// There are slots up to `len`.
    pub(super) fn grow(&mut self, len: usize) {
        if self.counts.len() < len {
            self.counts.resize(len, 0);
            self.changed.resize(len.div_ceil(1 << GROUP_BITS), false);
        }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Does any rule hold state of the key?
    pub(super) fn any(&self, slot: u32) -> bool {
        self.counts[slot as usize] > 0
    }

    /// A rule begins to hold state of a key.
    pub(super) fn hold(&mut self, slot: u32) {
        self.counts[slot as usize] += 1;
        self.touch(slot);
    }

    /// A rule holds no state of a key any more.
    pub(super) fn release(&mut self, slot: u32) {
        self.counts[slot as usize] -= 1;
        self.touch(slot);
    }

    /// The state of a key has changed.
    pub(super) fn touch(&mut self, slot: u32) {
        self.changed[group_of(slot)] = true;
    }

    /// Which groups have changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<bool> {
        let groups = self.changed.len();
        std::mem::replace(&mut self.changed, vec![false; groups])
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.counts.len() * size_of::<u32>() + self.changed.len()
    }
}
