//! A map from slots to values for slots that arrive nearly in order: one lane's window.

use std::collections::VecDeque;

/// Ascending by slot. A network has a lane for each author, so a lane with few slots must cost few
/// bytes, less than a B-tree's node. Insertion is at the end except for late slots.
#[derive(Debug)]
pub(super) struct Window<T> {
    slots: VecDeque<(u64, Box<T>)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new() }
    }
}

impl<T> Window<T> {
    fn place(&self, seq: u64) -> Result<usize, usize> {
        // Usually it is the last slot or a new one above it.
        match self.slots.back() {
            None => Err(0),
            Some((last, _)) if *last < seq => Err(self.slots.len()),
            Some((last, _)) if *last == seq => Ok(self.slots.len() - 1),
            Some(_) => self.slots.binary_search_by_key(&seq, |(seq, _)| *seq),
        }
    }

    pub(super) fn get(&self, seq: u64) -> Option<&T> {
        self.slots.get(self.place(seq).ok()?).map(|(_, value)| &**value)
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut T> {
        let place = self.place(seq).ok()?;
        self.slots.get_mut(place).map(|(_, value)| &mut **value)
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.place(seq).is_ok()
    }

    /// Fills a slot, replacing what was there.
    pub(super) fn insert(&mut self, seq: u64, value: T) {
        let value = Box::new(value);
        match self.place(seq) {
            Ok(place) => self.slots[place].1 = value,
            Err(place) => self.slots.insert(place, (seq, value)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The lowest filled slot above this one.
    pub(super) fn first_above(&self, seq: u64) -> Option<u64> {
        self.iter_above(seq).next().map(|(seq, _)| seq)
    }

    /// The highest filled slot at or below `seq`.
    pub(super) fn last_upto(&self, seq: u64) -> Option<(u64, &T)> {
        let upto = self.slots.len() - self.above(seq);
        self.slots.get(upto.checked_sub(1)?).map(|(seq, value)| (*seq, &**value))
    }

    /// The filled slots above this one, ascending.
    pub(super) fn iter_above(&self, seq: u64) -> impl Iterator<Item = (u64, &T)> {
        let upto = self.slots.len() - self.above(seq);
        self.slots.range(upto..).map(|(seq, value)| (*seq, &**value))
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<T> {
        let place = self.place(seq).ok()?;
        self.slots.remove(place).map(|(_, value)| *value)
    }

    /// How many slots above this one are filled.
    pub(super) fn above(&self, seq: u64) -> usize {
        let upto = match self.place(seq) {
            Ok(place) => place + 1,
            Err(place) => place,
        };
        self.slots.len() - upto
    }

    /// Empties every slot up to and including `upto`.
    pub(super) fn forget(&mut self, upto: u64) {
        while self.slots.front().is_some_and(|(seq, _)| *seq <= upto) {
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, 0u64..40), 0..200)) {
            let (mut window, mut map) = (Window::default(), BTreeMap::new());
            for (number, (what, seq)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        window.insert(seq, number);
                        map.insert(seq, number);
                    }
                    2 if seq % 5 == 0 => {
                        window.forget(seq);
                        map.retain(|held, _| *held > seq);
                    }
                    3 if seq % 3 == 0 => prop_assert_eq!(window.remove(seq), map.remove(&seq)),
                    _ => prop_assert_eq!(window.get_mut(seq), map.get_mut(&seq)),
                }
                prop_assert_eq!(window.get(seq), map.get(&seq));
                prop_assert_eq!(window.contains(seq), map.contains_key(&seq));
                prop_assert_eq!(window.len(), map.len());
                let above: Vec<u64> = window.iter_above(seq).map(|(seq, _)| seq).collect();
                prop_assert!(above.iter().eq(map.range(seq + 1..).map(|(seq, _)| seq)));
                prop_assert_eq!(window.above(seq), map.range(seq + 1..).count());
                let next = map.range(seq + 1..).next().map(|(s, _)| *s);
                prop_assert_eq!(window.first_above(seq), next);
                let below = map.range(..=seq).next_back().map(|(s, v)| (*s, v));
                prop_assert_eq!(window.last_upto(seq), below);
            }
        }
    }
}
