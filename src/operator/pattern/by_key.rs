//! What a rule keeps of keys, found by their slots. The states lie in one list without gaps; the table only knows where, so
//! that a look-up touches little memory however many rules and keys there are.

use ahash::RandomState;
use hashbrown::HashTable;

/// States by slot.
#[derive(Debug)]
pub(super) struct ByKey<T> {
    /// Slot to place in the list.
    places: HashTable<u32>,
    random: RandomState,
    states: Vec<(u32, T)>,
}

impl<T> ByKey<T> {
    /// None yet.
    pub(super) fn new() -> Self {
        ByKey { places: HashTable::new(), random: RandomState::with_seeds(21, 22, 23, 24), states: Vec::new() }
    }

    /// The place of a key's state; it holds until a state is removed.
    pub(super) fn find(&self, slot: u32) -> Option<usize> {
        self.places.find(self.random.hash_one(slot), |place| self.states[*place as usize].0 == slot).map(|place| *place as usize)
    }

    /// The state of a key.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.find(slot).map(|place| self.at(place))
    }

    /// The state at a place.
    pub(super) fn at(&self, place: usize) -> &T {
        &self.states[place].1
    }

    /// The state at a place, if there is that place.
    pub(super) fn get_at(&self, place: usize) -> Option<&T> {
        self.states.get(place).map(|(_, state)| state)
    }

    /// The state at a place.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.states[place].1
    }

    /// Adds the state of a key that has none; returns its place.
    pub(super) fn insert(&mut self, slot: u32, state: T) -> usize {
        let ByKey { places, random, states } = self;
        let place = states.len();
        states.push((slot, state));
        places.insert_unique(random.hash_one(slot), place as u32, |place| random.hash_one(states[*place as usize].0));
        place
    }

    /// Removes the state at a place, which the last one takes.
    pub(super) fn remove(&mut self, place: usize) -> T {
        let ByKey { places, random, states } = self;
        let hash = |place: usize| random.hash_one(states[place].0);
        let last = states.len() - 1;
        if let Ok(entry) = places.find_entry(hash(place), |other| *other as usize == place) {
            entry.remove();
        }
        if let Some(moved) = places.find_mut(hash(last), |other| *other as usize == last) {
            *moved = place as u32;
        }
        states.swap_remove(place).1
    }

    /// The keys that have a state, ascending.
    pub(super) fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.states.iter().map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        slots
    }

    /// Takes all states.
    pub(super) fn take_all(&mut self) -> Vec<(u32, T)> {
        self.places.clear();
        std::mem::take(&mut self.states)
    }

    /// Memory of table and list, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.states.len() * (size_of::<(u32, T)>() + size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn states_are_found_while_others_come_and_go() {
        let (mut states, mut expected) = (ByKey::new(), BTreeMap::new());
        let mut seed = 5_u64;
        for step in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (seed >> 40) as u32 % 300;
            match states.find(slot) {
                Some(place) if seed >> 33 & 1 == 0 => assert_eq!(Some(states.remove(place)), expected.remove(&slot)),
                Some(place) => *states.at_mut(place) += *expected.entry(slot).and_modify(|n| *n *= 2).or_insert(0) - *states.at(place),
                None => {
                    let place = states.insert(slot, step);
                    assert_eq!((*states.at(place), expected.insert(slot, step)), (step, None));
                }
            }
            assert_eq!(states.states.len(), expected.len());
        }
        assert!((0..300).all(|slot| states.get(slot) == expected.get(&slot)));
        assert!(states.slots().iter().eq(expected.keys()));
        assert_eq!(states.take_all().len(), expected.len());
        assert!(states.find(0).is_none());
    }
}
