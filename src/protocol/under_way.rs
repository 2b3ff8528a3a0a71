//! Slots below tips that are asked for and not answered.
//!
//! A slot has a turn: it is asked of one member and, if that takes long, of as many more as make
//! `f + 1`. Then it rests, whatever is still open, until its next turn, so that others have theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::io::LinkId;
use super::time::Time;

/// A member that was asked for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub link: LinkId,
    pub member: u32,
    /// Whether it had said that it lacks it.
    pub again: bool,
    pub at: Time,
}

/// A slot that somebody was asked for. It is forgotten once nothing is open.
#[derive(Debug, Default)]
struct Slot {
    open: Vec<Ask>,
    /// How many were asked in this turn.
    asked: usize,
    rests: bool,
}

impl Slot {
    fn last(&self) -> Time {
        self.open.last().map_or(Time::default(), |ask| ask.at)
    }
}

/// What is open of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Members that have not answered.
    pub members: usize,
    /// When the last was asked.
    pub last: Time,
    /// Whether its turn is over.
    pub rests: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// By author and slot.
    slots: BTreeMap<(u32, u64), Slot>,
    resting: usize,
}

impl UnderWay {
    /// Slots that are asked for, resting ones too.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Slots that have their turn.
    pub fn turns(&self) -> usize {
        self.slots.len() - self.resting
    }

    /// What is open of a slot.
    pub fn get(&self, author: u32, seq: u64) -> Option<Open> {
        let slot = self.slots.get(&(author, seq))?;
        Some(Open { members: slot.open.len(), last: slot.last(), rests: slot.rests })
    }

    /// Slots that have their turn: author and slot.
    pub fn in_turn(&self) -> impl Iterator<Item = (u32, u64)> {
        self.slots.iter().filter(|(_, slot)| !slot.rests).map(|(at, _)| *at)
    }

    /// Those of an author, ascending.
    pub fn in_turn_of(&self, author: u32) -> Vec<u64> {
        let all = self.slots.range((author, 0)..=(author, u64::MAX));
        all.filter(|(_, slot)| !slot.rests).map(|((_, seq), _)| *seq).collect()
    }

    /// Whether a member is asked for a slot and has not answered.
    pub fn is_asked(&self, author: u32, seq: u64, member: u32) -> bool {
        let slot = self.slots.get(&(author, seq));
        slot.is_some_and(|slot| slot.open.iter().any(|ask| ask.member == member))
    }

    /// Members that are asked for slots of an author: for how many, and whether for one that they
    /// lacked.
    pub fn asked_of(&self, author: u32) -> BTreeMap<u32, (usize, bool)> {
        let mut asked: BTreeMap<u32, (usize, bool)> = BTreeMap::new();
        let slots = self.slots.range((author, 0)..=(author, u64::MAX));
        for ask in slots.flat_map(|(_, slot)| &slot.open) {
            let (open, again) = asked.entry(ask.member).or_default();
            (*open, *again) = (*open + 1, *again || ask.again);
        }
        asked
    }

    /// Slots that each link is asked for.
    pub fn by_link(&self) -> BTreeMap<LinkId, usize> {
        let mut open = BTreeMap::new();
        for ask in self.slots.values().flat_map(|slot| &slot.open) {
            *open.entry(ask.link).or_default() += 1;
        }
        open
    }

    /// Slots that a link is asked for.
    pub fn on(&self, link: LinkId) -> usize {
        self.slots.values().flat_map(|slot| &slot.open).filter(|ask| ask.link == link).count()
    }

    /// A member was asked for a slot; if that rested, its next turn begins.
    pub fn asks(&mut self, slot: (u32, u64), ask: Ask) {
        let slot = self.slots.entry(slot).or_default();
        if std::mem::take(&mut slot.rests) {
            (slot.asked, self.resting) = (0, self.resting - 1);
        }
        slot.open.push(ask);
        slot.asked += 1;
    }

    /// Ends the turns of slots that so many were asked for, the last of them a patience ago.
    pub fn end_turns(&mut self, most: usize, patience: Duration, now: Time) {
        let over = |slot: &&mut Slot| slot.asked >= most && now.since(slot.last()) >= patience;
        self.slots.values_mut().filter(over).for_each(|slot| slot.rests = true);
        self.count();
    }

    /// A slot's turn is over, if it has one.
    pub fn rests(&mut self, author: u32, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&(author, seq)) {
            self.resting += usize::from(!std::mem::replace(&mut slot.rests, true));
        }
    }

    /// A member was not asked after all, or has answered.
    pub fn closed(&mut self, author: u32, seq: u64, member: u32) {
        if let Some(slot) = self.slots.get_mut(&(author, seq)) {
            slot.open.retain(|ask| ask.member != member);
            if slot.open.is_empty() {
                self.found(author, seq);
            }
        }
    }

    /// A slot came, from wherever.
    pub fn found(&mut self, author: u32, seq: u64) {
        let slot = self.slots.remove(&(author, seq));
        self.resting -= usize::from(slot.is_some_and(|slot| slot.rests));
    }

    /// Nothing is missing of a lane any more.
    pub fn forget_lane(&mut self, author: u32) {
        self.slots.retain(|(of, _), _| *of != author);
        self.count();
    }

    /// Forgets a link. Gives authors and members of what was open for so long.
    pub fn link_down(
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
