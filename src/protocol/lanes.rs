//! Lanes: for each author the slots 1, 2, 3…, what is in them, and what is missing.
//!
//! Dedup stands on them and has no time-out: a slot at or below the tip is known for ever. Per lane
//! the highest slot without a gap (the tip), a window above it, and the ids of recent slots below
//! it are kept; authors that never spoke cost nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;
use super::window::Window;
use super::{Note, RestoredLane, Time};
use crate::crypto::{Digest, PublicKey, Signature};
use crate::wire::limits::{RECENT, WINDOW};
use crate::wire::{BatchId, SignedSlot, Tip};

const LEAF_DOMAIN: &[u8; 16] = b"loyal/lane/v2\0\0\0";

/// Where a batch would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into an empty slot.
    Empty,
    /// Into a slot that holds one other id: equivocation, to be kept and relayed once.
    Second,
    /// Nowhere: that id is there already.
    Known,
    /// Nowhere: two other ids are there already.
    Full,
    /// Nowhere: so far below the tip that ids are no longer kept.
    Below,
    /// Nowhere: its payload was pruned.
    Pruned,
    /// Nowhere: above the window; we may be the one behind.
    TooFar,
}

#[derive(Clone, Debug)]
struct Slot {
    id: BatchId,
    rest: Digest,
    signature: Signature,
    second: Option<BatchId>,
    at: Time,
    /// Members, by key number, that sent this id.
    givers: Vec<u32>,
}

/// One author's lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    tip: u64,
    tip_id: Option<BatchId>,
    floor: u64,
    slots: Window<Slot>,
    /// Two ids were seen in one slot.
    split: bool,
    /// A batch was seen that does not name the id of the slot before.
    unchained: bool,
    /// Floors that members claim, by key number: see [`Lanes::claim_floor`].
    floor_claims: BTreeMap<u32, u64>,
}

impl Lane {
    /// Highest slot without a gap.
    pub fn tip(&self) -> u64 {
        self.tip
    }

    /// Its id; `None` while nothing is held, or where the tip itself was pruned by all.
    pub fn tip_id(&self) -> Option<BatchId> {
        self.tip_id
    }

    /// Highest slot whose payload is pruned.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Slots held above the tip.
    pub fn above(&self) -> usize {
        self.slots.above(self.tip)
    }

    /// Whether two ids in one slot, or a broken chain, were seen.
    pub fn conflicted(&self) -> bool {
        self.split || self.unchained
    }

    /// The highest slot held.
    pub fn highest(&self) -> u64 {
        self.slots.last().map_or(self.tip, |seq| seq.max(self.tip))
    }

    fn place(&self, seq: u64, id: &BatchId) -> Place {
        if seq > self.tip.saturating_add(WINDOW) {
            return Place::TooFar;
        }
        match self.slots.get(seq) {
            None if seq > self.tip => Place::Empty,
            None if seq <= self.floor => Place::Pruned,
            None => Place::Below,
            Some(slot) if slot.id == *id || slot.second == Some(*id) => Place::Known,
            Some(slot) if slot.second.is_none() => Place::Second,
            Some(_) => Place::Full,
        }
    }

    /// What of it two nodes compare: the tip, and the slots held above it; zeros if there is
    /// nothing. Of a lane with two ids in a slot, the tip's id does not count, and neither do those
    /// of such a slot above it: nodes may differ in which came first.
    fn leaf(&self, key: &PublicKey) -> Digest {
        if self.tip == 0 && self.above() == 0 {
            return Digest::ZERO;
        }
        let tip_id = self.tip_id.filter(|_| !self.split).unwrap_or(Digest::ZERO);
        let mut bytes = Vec::with_capacity(72 + 40 * self.above());
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&self.tip.to_be_bytes());
        bytes.extend_from_slice(&tip_id.0);
        for (seq, slot) in self.slots.iter_above(self.tip) {
            let id = if slot.second.is_some() { Digest::ZERO } else { slot.id };
            bytes.extend_from_slice(&seq.to_be_bytes());
            bytes.extend_from_slice(&id.0);
        }
        Digest::of(&[LEAF_DOMAIN, &bytes])
    }

    fn advance(&mut self) {
        while let Some(slot) = self.slots.get(self.tip + 1) {
            self.tip += 1;
            self.tip_id = Some(slot.id);
        }
        self.slots.forget(self.tip.saturating_sub(RECENT));
    }
}

/// All lanes that are not empty, by key number.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<u32, Lane>,
    /// Hashes over them.
    tree: Tree,
    /// Lanes whose hash is to be made anew.
    stale: BTreeSet<u32>,
}

/// What is put into a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    /// The batch.
    pub id: BatchId,
    /// Its header's digest.
    pub rest: Digest,
    /// Its author's signature.
    pub signature: Signature,
    /// What it names as the batch before it.
    pub prev: BatchId,
    /// When.
    pub at: Time,
    /// Which member sent it, by key number.
    pub giver: Option<u32>,
}

impl Lanes {
    /// The lanes that a start found.
    pub fn restore(found: &[RestoredLane], number_of: impl Fn(&PublicKey) -> Option<u32>) -> Self {
        let mut lanes = Self::default();
        for restored in found {
            let Some(author) = number_of(&restored.author) else { continue };
            let lane = lanes.lanes.entry(author).or_default();
            lane.floor = restored.floor;
            // No slot is missing below this one: nothing above tip + WINDOW is ever taken.
            let highest = restored.slots.last().map_or(restored.floor, |slot| slot.seq);
            lane.tip = restored.floor.max(highest.saturating_sub(WINDOW + RECENT));
            for slot in &restored.slots {
                match lane.slots.get_mut(slot.seq) {
                    None => {
                        let (id, rest, signature) = (slot.id, slot.rest, slot.signature);
                        let (second, at, givers) = (None, Time(0), Vec::new());
                        let filled = Slot { id, rest, signature, second, at, givers };
                        lane.slots.insert(slot.seq, filled);
                    }
                    Some(held) => {
                        held.second = Some(slot.id);
                        lane.split = true;
                    }
                }
            }
            lane.tip_id = lane.slots.get(lane.tip).map(|slot| slot.id);
            lane.advance();
        }
        lanes
    }

    /// An author's lane, if it ever spoke.
    pub fn get(&self, author: u32) -> Option<&Lane> {
        self.lanes.get(&author)
    }

    /// How full it is, with its limits: `keys` in the network, `members` of them with a node.
    pub fn occupy(&self, note: Note, keys: usize, members: usize) {
        let kept = WINDOW as usize + RECENT as usize;
        let (mut slots, mut fullest, mut claims) = (0, 0, 0);
        for lane in self.lanes.values() {
            slots += lane.slots.len();
            fullest = fullest.max(lane.slots.len());
            claims += lane.floor_claims.len();
        }
        note("lanes", self.lanes.len(), keys);
        note("lanes.slots", slots, self.lanes.len() * kept);
        note("lanes.fullest", fullest, kept);
        note("lanes.claims", claims, self.lanes.len() * members);
        note("lanes.stale", self.stale.len(), self.lanes.len());
        self.tree.occupy(note, self.lanes.len());
    }

    /// All lanes, ascending by key number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes.iter().map(|(author, lane)| (*author, lane))
    }

    /// Highest slot without a gap; 0 if none.
    pub fn tip(&self, author: u32) -> u64 {
        self.lanes.get(&author).map_or(0, Lane::tip)
    }

    /// Slots up to this one passed an honest node's quota once: enough members hold them.
    pub fn vouched(&self, _author: u32) -> u64 {
        0
    }

    /// Where a batch would go.
    pub fn place(&self, author: u32, seq: u64, id: &BatchId) -> Place {
        match self.lanes.get(&author) {
            Some(lane) => lane.place(seq, id),
            None => Lane::default().place(seq, id),
        }
    }

    /// Whether the slot holds any batch, or is below those that are kept.
    pub fn filled(&self, author: u32, seq: u64) -> bool {
        self.lanes.get(&author).is_some_and(|lane| seq <= lane.tip || lane.slots.contains(seq))
    }

    /// Whether `prev` is one of the ids known in the slot before; `None` if that is not known.
    pub fn chained(&self, author: u32, seq: u64, prev: &BatchId) -> Option<bool> {
        let slot = self.lanes.get(&author)?.slots.get(seq.checked_sub(1)?)?;
        Some(slot.id == *prev || slot.second == Some(*prev))
    }

    /// Fills a slot with a verified batch; says whether the lane is in conflict for the first time.
    /// The caller has asked for the place: it is `Empty` or `Second`.
    pub fn fill(&mut self, author: u32, seq: u64, filling: Filling) -> bool {
        let unchained = self.chained(author, seq, &filling.prev) == Some(false);
        let lane = self.lanes.entry(author).or_default();
        let second = match lane.slots.get_mut(seq) {
            None => {
                let slot = Slot {
                    id: filling.id,
                    rest: filling.rest,
                    signature: filling.signature,
                    second: None,
                    at: filling.at,
                    givers: filling.giver.into_iter().collect(),
                };
                lane.slots.insert(seq, slot);
                false
            }
            Some(held) => {
                held.second = Some(filling.id);
                true
            }
        };
        let news = (second || unchained) && !lane.conflicted();
        lane.split |= second;
        lane.unchained |= unchained;
        lane.advance();
        self.touch(author);
        news
    }

    /// Notes that a member sent a batch that is known. Says whether that is worth a line in the
    /// log: it sent this one before, or the batch is old news to everybody.
    pub fn given_again(&mut self, author: u32, seq: u64, giver: u32, stale_before: Time) -> bool {
        let Some(slot) = self.lanes.get_mut(&author).and_then(|lane| lane.slots.get_mut(seq))
        else {
            return true;
        };
        let again = slot.givers.contains(&giver);
        if !again {
            slot.givers.push(giver);
        }
        again || slot.at < stale_before
    }

    /// The slots that are missing up to `to`, within the window, lowest first, at most `most`.
    pub fn missing(&self, author: u32, to: u64, most: usize) -> Vec<u64> {
        let tip = self.tip(author);
        let to = to.min(tip.saturating_add(WINDOW));
        (tip + 1..=to).filter(|seq| !self.filled(author, *seq)).take(most).collect()
    }

    /// The lowest slot above `seq` that is held and not pruned; 0 if there is none.
    pub fn next_held(&self, author: u32, seq: u64) -> u64 {
        let Some(lane) = self.lanes.get(&author) else { return 0 };
        let next = seq.max(lane.floor).saturating_add(1);
        if next <= lane.tip { next } else { lane.slots.next(next).unwrap_or(0) }
    }

    /// The first id in a slot, if ids of that slot are still kept.
    pub fn id_at(&self, author: u32, seq: u64) -> Option<BatchId> {
        Some(self.lanes.get(&author)?.slots.get(seq)?.id)
    }

    /// The signed tip, if it is still kept.
    pub fn signed_tip(&self, author: u32, key: PublicKey) -> Option<Tip> {
        let lane = self.lanes.get(&author)?;
        let held = lane.slots.get(lane.tip)?;
        let (rest, signature) = (held.rest, held.signature);
        let slot = SignedSlot { author: key, seq: lane.tip, rest, signature };
        Some(Tip { slot, solid: lane.tip, floor: lane.floor })
    }

    /// Notes that our own payloads of an author were pruned up to `floor`: slots that are held.
    pub fn raise_floor(&mut self, author: u32, floor: u64) {
        if let Some(lane) = self.lanes.get_mut(&author) {
            lane.floor = lane.floor.max(floor.min(lane.tip));
        }
    }

    /// Notes that a member has pruned an author's slots up to `floor`. When `f + 1` members say so
    /// of a slot that we lack, one of them is honest, and the payload is gone: the lane goes on
    /// above.
    pub fn claim_floor(&mut self, author: u32, member: u32, floor: u64, f: usize) {
        let lane = self.lanes.entry(author).or_default();
        let claim = lane.floor_claims.entry(member).or_default();
        *claim = (*claim).max(floor);
        let mut claims: Vec<u64> = lane.floor_claims.values().copied().collect();
        claims.sort_unstable_by(|a, b| b.cmp(a));
        let Some(agreed) = claims.get(f).copied() else { return };
        if agreed > lane.tip {
            lane.tip = agreed;
            lane.tip_id = lane.slots.get(agreed).map(|slot| slot.id);
            lane.floor = agreed;
            lane.advance();
            self.touch(author);
        }
    }

    /// Lanes of keys `start..end` in which something is held.
    pub fn spoken(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes
            .range(start..end.max(start))
            .map(|(a, lane)| (*a, lane))
            .filter(|(_, l)| l.tip > 0 || l.above() > 0)
    }

    /// Says how many keys the network has: hashes are made of all lanes.
    pub fn set_keys(&mut self, keys: u32) {
        self.tree = Tree::new(keys);
        self.stale = self.lanes.keys().copied().collect();
    }

    /// A lane's tip, or what is above it, is another.
    fn touch(&mut self, author: u32) {
        self.stale.insert(author);
    }

    /// Makes the hashes of what has changed since the last time.
    pub fn rehash(&mut self, key_of: impl Fn(u32) -> PublicKey) {
        let stale = std::mem::take(&mut self.stale);
        let leaf = |author: u32| Some((author, self.lanes.get(&author)?.leaf(&key_of(author))));
        self.tree.set(stale.into_iter().filter_map(leaf));
    }

    /// How many hashes were made.
    #[cfg(test)]
    pub fn hashed(&self) -> u64 {
        self.tree.hashed
    }

    /// The hash over the lanes of a block of keys: see [`Tree`]. As of the last [`Lanes::rehash`].
    pub fn hash(&self, start: u32, end: u32) -> Digest {
        self.tree.hash(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling(id: u8, prev: u8) -> Filling {
        Filling {
            id: Digest([id; 32]),
            rest: Digest::ZERO,
            signature: Signature([0; 64]),
            prev: Digest([prev; 32]),
            at: Time(0),
            giver: Some(1),
        }
    }

    #[test]
    fn slots_fill_in_any_order_and_the_tip_follows() {
        let mut lanes = Lanes::default();
        assert!(!lanes.fill(0, 3, filling(3, 2)));
        assert!(!lanes.fill(0, 1, filling(1, 0)));
        assert_eq!((lanes.tip(0), lanes.missing(0, 9, 3)), (1, vec![2, 4, 5]));
        assert!(!lanes.fill(0, 2, filling(2, 1)));
        assert_eq!(lanes.tip(0), 3);
        assert_eq!(lanes.place(0, 3, &Digest([3; 32])), Place::Known);
        assert_eq!(lanes.place(0, 4, &Digest([4; 32])), Place::Empty);
        assert_eq!(lanes.place(0, 3 + WINDOW, &Digest([4; 32])), Place::Empty);
        assert_eq!(lanes.place(0, 4 + WINDOW, &Digest([4; 32])), Place::TooFar);
        assert_eq!(lanes.place(0, u64::MAX, &Digest([4; 32])), Place::TooFar);
        assert_eq!(lanes.missing(0, u64::MAX, usize::MAX).len() as u64, WINDOW);
    }

    #[test]
    fn a_second_id_is_taken_once_and_marks_the_lane() {
        let mut lanes = Lanes::default();
        assert!(!lanes.fill(0, 1, filling(1, 0)));
        assert_eq!(lanes.place(0, 1, &Digest([9; 32])), Place::Second);
        assert!(lanes.fill(0, 1, filling(9, 0)));
        assert_eq!(lanes.place(0, 1, &Digest([8; 32])), Place::Full);
        assert_eq!(lanes.chained(0, 2, &Digest([9; 32])), Some(true));
        assert_eq!(lanes.chained(0, 2, &Digest([8; 32])), Some(false));
        assert!(!lanes.fill(0, 2, filling(2, 8)), "the lane was in conflict already");
    }

    #[test]
    fn old_slots_are_known_without_their_ids() {
        let mut lanes = Lanes::default();
        for seq in 1..=RECENT + 10 {
            lanes.fill(0, seq, filling(1, 1));
        }
        assert_eq!(lanes.place(0, 5, &Digest([7; 32])), Place::Below);
        assert_eq!(lanes.lanes[&0].slots.len() as u64, RECENT);
    }

    #[test]
    fn a_floor_needs_one_more_claim_than_there_are_liars() {
        let mut lanes = Lanes::default();
        lanes.claim_floor(0, 1, u64::MAX, 1);
        lanes.claim_floor(0, 1, u64::MAX, 1);
        assert_eq!(lanes.tip(0), 0, "one liar moves nothing, however often it says so");
        lanes.claim_floor(0, 2, 40, 1);
        assert_eq!((lanes.tip(0), lanes.place(0, 40, &Digest::ZERO)), (40, Place::Pruned));
    }
}
