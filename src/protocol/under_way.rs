//! Slots below tips that were asked for and not answered yet.
//!
//! A slot gets turns. In a turn one member is asked and, if that takes long, as many more as make
//! `f + 1`. Then the slot rests until its next turn, whatever is still open, so that other slots
//! get theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::io::LinkId;
use super::time::Time;

/// A request to one member for one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub link: LinkId,
    pub member: u32,
    /// Whether the member had said that it lacks the slot.
    pub again: bool,
    pub at: Time,
}

/// A slot that some member was asked for. Forgotten once no request is open.
#[derive(Debug, Default)]
struct Slot {
    open: Vec<Ask>,
    /// How many members were asked in this turn.
    asked: usize,
    rests: bool,
}

impl Slot {
    fn last(&self) -> Time {
        self.open.last().map_or(Time::default(), |ask| ask.at)
    }
}

/// The open requests for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Members that have not answered.
    pub members: usize,
    /// When the last member was asked.
    pub last: Time,
    /// Whether the slot's turn is over.
    pub rests: bool,
}

/// All slots that are being asked for.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// Keyed by author and slot.
    slots: BTreeMap<(u32, u64), Slot>,
    resting: usize,
}

impl UnderWay {
    /// How many slots are asked for, resting ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many slots have their turn now.
    pub(super) fn turns(&self) -> usize {
        self.slots.len() - self.resting
    }

    /// The open requests for a slot; `None` if there are none.
    pub(super) fn get(&self, author: u32, seq: u64) -> Option<Open> {
        let slot = self.slots.get(&(author, seq))?;
        Some(Open { members: slot.open.len(), last: slot.last(), rests: slot.rests })
    }

    /// The slots that have their turn, as author and slot.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (u32, u64)> {
        self.slots.iter().filter(|(_, slot)| !slot.rests).map(|(at, _)| *at)
    }

    pub(super) fn in_turn_of(&self, author: u32) -> Vec<u64> {
        let all = self.slots.range((author, 0)..=(author, u64::MAX));
        all.filter(|(_, slot)| !slot.rests).map(|((_, seq), _)| *seq).collect()
    }

    pub(super) fn is_asked(&self, author: u32, seq: u64, member: u32) -> bool {
        let slot = self.slots.get(&(author, seq));
        slot.is_some_and(|slot| slot.open.iter().any(|ask| ask.member == member))
    }

    /// For each member asked for slots of an author: how many are open, and whether any of them is
    /// one that it had lacked.
    pub(super) fn asked_of(&self, author: u32) -> BTreeMap<u32, (usize, bool)> {
        let mut asked: BTreeMap<u32, (usize, bool)> = BTreeMap::new();
        let slots = self.slots.range((author, 0)..=(author, u64::MAX));
        for ask in slots.flat_map(|(_, slot)| &slot.open) {
            let (open, again) = asked.entry(ask.member).or_default();
            (*open, *again) = (*open + 1, *again || ask.again);
        }
        asked
    }

    pub(super) fn by_link(&self) -> BTreeMap<LinkId, usize> {
        let mut open = BTreeMap::new();
        for ask in self.slots.values().flat_map(|slot| &slot.open) {
            *open.entry(ask.link).or_default() += 1;
        }
        open
    }

    /// How many slots a link is asked for.
    pub(super) fn on(&self, link: LinkId) -> usize {
        self.slots.values().flat_map(|slot| &slot.open).filter(|ask| ask.link == link).count()
    }

    /// Notes a request for a slot. If the slot rested, its next turn begins.
    pub(super) fn asks(&mut self, slot: (u32, u64), ask: Ask) {
        let slot = self.slots.entry(slot).or_default();
        if std::mem::take(&mut slot.rests) {
            (slot.asked, self.resting) = (0, self.resting - 1);
        }
        slot.open.push(ask);
        slot.asked += 1;
    }

    /// Ends the turn of each slot that `most` members were asked for, the last at least `patience`
    /// ago.
    pub(super) fn end_turns(&mut self, most: usize, patience: Duration, now: Time) {
        let over = |slot: &&mut Slot| slot.asked >= most && now.since(slot.last()) >= patience;
        self.slots.values_mut().filter(over).for_each(|slot| slot.rests = true);
        self.count();
    }

    /// Ends a slot's turn, if it has one.
    pub(super) fn rests(&mut self, author: u32, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&(author, seq)) {
            self.resting += usize::from(!std::mem::replace(&mut slot.rests, true));
        }
    }

    /// Closes a request: the member answered, or was not asked after all.
    pub(super) fn closed(&mut self, author: u32, seq: u64, member: u32) {
        if let Some(slot) = self.slots.get_mut(&(author, seq)) {
            slot.open.retain(|ask| ask.member != member);
            if slot.open.is_empty() {
                self.found(author, seq);
            }
        }
    }

    /// Forgets a slot that came from any source.
    pub(super) fn found(&mut self, author: u32, seq: u64) {
        let slot = self.slots.remove(&(author, seq));
        self.resting -= usize::from(slot.is_some_and(|slot| slot.rests));
    }

    pub(super) fn forget_lane(&mut self, author: u32) {
        self.slots.retain(|(of, _), _| *of != author);
        self.count();
    }

    /// Forgets a link. Returns author and member of each request that had been open for `open_for`.
    pub(super) fn link_down(
        &mut self,
        link: LinkId,
        open_for: Duration,
        now: Time,
    ) -> BTreeSet<(u32, u32)> {
        let mut silent = BTreeSet::new();
        self.slots.retain(|(author, _), slot| {
            slot.open.retain(|ask| {
                if ask.link == link && now.since(ask.at) >= open_for {
                    silent.insert((*author, ask.member));
                }
                ask.link != link
            });
            !slot.open.is_empty()
        });
        self.count();
        silent
    }

    fn count(&mut self) {
        self.resting = self.slots.values().filter(|slot| slot.rests).count();
    }
}
