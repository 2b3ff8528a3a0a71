//! Chooses whose frame is next: deficit round robin over links (Shreedhar and Varghese, 1995).
//!
//! Each round adds a quantum to what a link may spend. A frame costs its bytes and a fixed sum, as
//! handling a short frame is work too. A link that floods gets its share and no more; a link that
//! sends little waits one round at most.

use std::collections::{BTreeSet, VecDeque};

use super::LinkId;

/// Quantum that each round adds to a link's deficit counter, in bytes.
const QUANTUM: u64 = 8 << 10;
/// Fixed cost of a frame beside its bytes.
const FRAME_COST: u64 = 512;

/// The links with frames waiting, each with its deficit counter.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin {
    active: VecDeque<(LinkId, u64)>,
    members: BTreeSet<LinkId>,
}

impl RoundRobin {
    /// Adds a link with frames waiting. Must be called when its queue becomes non-empty; has no
    /// effect on a link that is active already.
    pub(crate) fn activate(&mut self, link: LinkId) {
        if self.members.insert(link) {
            self.active.push_back((link, 0));
        }
    }

    /// Whether no link has frames waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Returns the link whose turn it is, already charged for its next frame; `None` if no link has
    /// a frame. `next` returns the size of a link's next frame in bytes, or `None` if it has none,
    /// which removes it from the round.
    pub(crate) fn turn(&mut self, next: impl Fn(LinkId) -> Option<usize>) -> Option<LinkId> {
        loop {
            let (link, left) = self.active.front_mut()?;
            let Some(bytes) = next(*link) else {
                self.members.remove(link);
                self.active.pop_front();
                continue;
            };
            let cost = FRAME_COST.saturating_add(bytes as u64);
            if *left >= cost {
                *left -= cost;
                return Some(*link);
            }
            *left = left.saturating_add(QUANTUM);
            self.active.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_flooder_gets_its_share_by_cost_and_no_more() {
        let queues = RefCell::new(BTreeMap::from([
            (LinkId(1), vec![1_000_000_usize; 50]), // floods with large frames
            (LinkId(2), vec![0; 10_000]),           // floods with small ones
            (LinkId(3), vec![1_000; 100]),          // is honest
        ]));
        let mut round_robin = RoundRobin::default();
        for link in 1..=3 {
            round_robin.activate(LinkId(link));
        }
        let mut spent = BTreeMap::new();
        let peek = |link| queues.borrow()[&link].last().copied();
        while peek(LinkId(3)).is_some() {
            let link = round_robin.turn(peek).expect("there is more");
            let bytes = queues.borrow_mut().get_mut(&link).and_then(Vec::pop).expect("a frame");
            *spent.entry(link).or_insert(0) += bytes as u64 + FRAME_COST;
        }
        let honest = spent[&LinkId(3)];
        for flooder in [1, 2] {
            let spent = spent.get(&LinkId(flooder)).copied().unwrap_or(0);
            assert!(spent <= honest + QUANTUM, "{flooder}: {spent} of {honest}");
        }
        // Nobody is forgotten, and the round ends when all is served.
        while let Some(link) = round_robin.turn(peek) {
            queues.borrow_mut().get_mut(&link).and_then(Vec::pop);
        }
        assert!(queues.borrow().values().all(Vec::is_empty));
    }

    #[test]
    fn an_empty_link_leaves_and_comes_back_without_savings() {
        let mut round_robin = RoundRobin::default();
        round_robin.activate(LinkId(1));
        assert_eq!(round_robin.turn(|_| Some(1)), Some(LinkId(1)));
        assert_eq!(round_robin.turn(|_| None), None);
        round_robin.activate(LinkId(1));
        round_robin.activate(LinkId(1));
        assert_eq!(round_robin.active, [(LinkId(1), 0)]);
    }
}
