//! Lanes: for each author the slots 1, 2, 3…, what is in them, and which are missing.
//!
//! Dedup relies on lanes and never expires: a slot at or below the tip that is in no hole is known
//! forever. A lane keeps its tip, a window of slots above it, the holes below it and the ids of
//! recent slots. Authors that never published cost nothing.

mod claims;
mod holes;
mod lane;
mod set_hash;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use self::holes::Holes;
pub(super) use self::lane::{Admission, Filling, Lane};
use super::tree::Tree;
use super::{Hole, Note, RestoredLane, Time};
use crate::crypto::{Digest, PublicKey};
use crate::wire::limits::{MAX_HOLES, RECENT, WINDOW};
use crate::wire::{BatchId, Header, Lacked, SignedSlot, SlotId, Tip};

/// All lanes that are not empty, by key number.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<u32, Lane>,
    /// Lanes whose holes changed and must be written.
    changed: BTreeSet<u32>,
    /// Lanes whose only change is that some holes were given up; their record may wait.
    given_up: BTreeSet<u32>,
    /// Lanes whose tip moved on others' word, and where it moved from. Their record may wait until
    /// a batch is written so far above that a start would take the missing slots for held.
    unwritten: BTreeMap<u32, u64>,
    /// Lanes with changed holes that the node has not been told of yet.
    moved: BTreeSet<u32>,
    /// Lanes that have holes.
    holed: BTreeSet<u32>,
    /// Hashes over all lanes.
    tree: Tree,
    /// Lanes whose hash must be recomputed.
    stale: BTreeSet<u32>,
}

impl Lanes {
    /// Restores the lanes found at start. Lanes of unknown keys are ignored.
    pub(super) fn restore(
        found: &[RestoredLane],
        number_of: impl Fn(&PublicKey) -> Option<u32>,
    ) -> Self {
        let mut lanes = Self::default();
        for restored in found {
            let Some(author) = number_of(&restored.author) else { continue };
            let lane = lanes.lanes.entry(author).or_default();
            lane.floor = restored.floor;
            // Below this slot only the holes are missing: a slot above tip + WINDOW is accepted
            // only after a record of the holes that it makes.
            let highest = restored.slots.last().map_or(restored.floor, |slot| slot.seq);
            let known = highest.saturating_sub(WINDOW + RECENT);
            lane.tip = restored.floor.max(known).max(restored.tip);
            lane.holes = Holes::restore(&restored.holes, restored.floor, lane.tip);
            let gone = lane.holes.ranges().iter().filter(|hole| hole.gone);
            lane.given_up = gone.map(|hole| hole.to).max().unwrap_or(0);
            for slot in &restored.slots {
                lane.restore_slot(slot);
            }
            lane.tip_id = lane.slots.get(lane.tip).map(|slot| slot.id);
            if lane.tip_id.is_none() && restored.tip == lane.tip && lane.tip > restored.floor {
                lane.holes.lose(lane.tip);
            }
            if lane.advance() {
                lanes.record(author); // the node stopped before it wrote those holes
            }
            lanes.note(author);
        }
        lanes
    }

    /// Notes that a lane changed: its hash is stale, and it may have gained or lost holes.
    fn note(&mut self, author: u32) {
        self.stale.insert(author);
        let holed = self.lanes.get(&author).is_some_and(|lane| !lane.holes.is_empty());
        match holed {
            true => self.holed.insert(author),
            false => self.holed.remove(&author),
        };
    }

    /// Notes that a lane has holes that must be written.
    fn record(&mut self, author: u32) {
        self.changed.insert(author);
        self.moved.insert(author);
    }

    /// Notes that a lane has new holes whose record may wait; `tip` is its tip before the change.
    fn record_later(&mut self, author: u32, tip: u64) {
        self.unwritten.entry(author).or_insert(tip);
        self.moved.insert(author);
    }

    /// An author's lane; `None` if the author never published.
    pub(super) fn get(&self, author: u32) -> Option<&Lane> {
        self.lanes.get(&author)
    }

    /// Reports how full the lanes are, with limits: `keys` in the network, `members` that run a
    /// node.
    pub(super) fn occupy(&self, note: Note, keys: usize, members: usize) {
        let kept = WINDOW as usize + RECENT as usize;
        let (mut slots, mut fullest, mut claims, mut holes) = (0, 0, 0, 0);
        for lane in self.lanes.values() {
            slots += lane.slots.len();
            fullest = fullest.max(lane.slots.len());
            claims += lane.claims();
            holes = holes.max(lane.holes.len());
        }
        note("lanes", self.lanes.len(), keys);
        note("lanes.slots", slots, self.lanes.len() * kept);
        note("lanes.fullest", fullest, kept);
        note("lanes.claims", claims, self.lanes.len() * members);
        note("lanes.holes", holes, MAX_HOLES);
        let sets = [&self.holed, &self.changed, &self.given_up, &self.moved].map(BTreeSet::len);
        let most = sets.into_iter().max().unwrap_or(0).max(self.unwritten.len());
        note("lanes.holed", most, keys);
        note("lanes.stale", self.stale.len(), self.lanes.len());
        self.tree.occupy(note, self.lanes.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes.iter().map(|(author, lane)| (*author, lane))
    }

    pub(super) fn holed(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.holed.iter().filter_map(|author| Some((*author, self.lanes.get(author)?)))
    }

    /// An author's tip: see [`Lane::tip`]; 0 if the author has no lane.
    pub(super) fn tip(&self, author: u32) -> u64 {
        self.lanes.get(&author).map_or(0, Lane::tip)
    }

    /// Whether more than `f` members vouch for a slot: see [`Lane::vouches`].
    pub(super) fn vouches(&self, author: u32, seq: u64) -> bool {
        self.lanes.get(&author).is_some_and(|lane| lane.vouches(seq))
    }

    /// Where a batch would go in its author's lane.
    pub(super) fn admission(&self, author: u32, seq: u64, id: &BatchId) -> Admission {
        match self.lanes.get(&author) {
            Some(lane) => lane.admission(seq, id),
            None => Lane::default().admission(seq, id),
        }
    }

    /// Like [`Lanes::admission`], with the batch's header at hand: a restart header whose base is
    /// reached fits however far above the tip it is.
    pub(super) fn admission_of(&self, author: u32, header: &Header, id: &BatchId) -> Admission {
        match self.admission(author, header.seq, id) {
            Admission::TooFar if header.restarts() && header.seq > self.tip(author) => {
                match header.base <= self.tip(author) {
                    true => Admission::Empty,
                    false => Admission::TooFar,
                }
            }
            admission => admission,
        }
    }

    fn slot_mut(&mut self, author: u32, seq: u64) -> Option<&mut lane::Slot> {
        self.lanes.get_mut(&author)?.slots.get_mut(seq)
    }

    /// Whether the slot holds a batch, or lies at or below the tip outside every hole.
    pub(super) fn filled(&self, author: u32, seq: u64) -> bool {
        self.lanes.get(&author).is_some_and(|lane| {
            lane.slots.contains(seq) || (seq <= lane.tip && !lane.holes.contains(seq))
        })
    }

    /// Whether `prev` is one of the ids held in slot `base`; `None` if no id is kept for that slot.
    pub(super) fn chained(&self, author: u32, base: u64, prev: &BatchId) -> Option<bool> {
        let slot = self.lanes.get(&author)?.slots.get(base)?;
        Some(slot.id == *prev || slot.second == Some(*prev))
    }

    /// Makes room for a verified restart header by turning the slots that it voids into a hole.
    /// Returns whether the header fits now.
    pub(super) fn make_room(&mut self, author: u32, header: &Header) -> bool {
        let lane = self.lanes.entry(author).or_default();
        let reached = header.restarts() && header.base <= lane.tip && header.seq - 1 > lane.tip;
        if reached && lane.pass_void(header.seq - 1) {
            self.record(author);
            self.note(author);
        }
        self.admission(author, header.seq, &header.id()) != Admission::TooFar
    }

    /// Moves a lane's tip up to a slot that is known to be signed; missing slots become holes.
    pub(super) fn jump(&mut self, author: u32, to: u64) {
        self.move_tip(author, |lane| lane.jump(to));
    }

    /// Like [`Lanes::jump`], on the word of at most `f` members: see [`Lane::pass`].
    pub(super) fn pass(&mut self, author: u32, to: u64) {
        self.move_tip(author, |lane| lane.pass(to));
    }

    fn move_tip(&mut self, author: u32, moves: impl FnOnce(&mut Lane) -> bool) {
        let lane = self.lanes.entry(author).or_default();
        let tip = lane.tip;
        if moves(lane) {
            lane.advance();
            self.record_later(author, tip);
            self.note(author);
        }
    }

    /// Like [`Lanes::jump`], for this node's own lane: reaches `to` even if there is no room for
    /// holes, as no slot up to there may be signed again. The lowest holes are forgotten to make
    /// room.
    pub(super) fn jump_own(&mut self, author: u32, to: u64) {
        let lane = self.lanes.entry(author).or_default();
        if lane.tip >= to {
            return;
        }
        while lane.tip < to && (lane.jump(to) || lane.holes.drop_lowest()) {}
        lane.advance();
        self.record(author);
        self.note(author);
    }

    /// Fills a slot with a verified batch. The admission must be `Empty` or `Second`.
    pub(super) fn fill(&mut self, author: u32, seq: u64, filling: Filling) {
        let unchained = self.is_other(author, filling.base, &filling.prev);
        let lane = self.lanes.entry(author).or_default();
        let second = lane.put(seq, &filling);
        lane.split |= second;
        lane.unchained |= unchained;
        lane.prove(seq, filling.rest, filling.signature);
        lane.holes.fill(seq);
        if lane.tip == seq && !second {
            lane.tip_id = Some(filling.id); // the tip's slot was missing
        }
        if lane.advance() {
            self.record(author);
        }
        self.note(author);
    }

    /// Forgets a batch whose row is damaged, so that its slot is missing again. Zeros as `id` stand
    /// for every batch of the slot. Returns whether the batch was held.
    pub(super) fn lose(&mut self, author: u32, seq: u64, id: &BatchId) -> bool {
        let Some(lane) = self.lanes.get_mut(&author) else { return false };
        match lane.slots.get_mut(seq) {
            Some(slot) if slot.second == Some(*id) => {
                slot.second = None;
                self.stale.insert(author);
                return true;
            }
            Some(slot) if slot.id != *id && *id != Digest::ZERO => return false,
            None if seq > lane.tip || seq <= lane.floor => return false,
            _ => {}
        }
        lane.slots.remove(seq);
        // Nothing is accepted at or below the floor, so the slot does not become a hole.
        if lane.floor < seq && seq <= lane.tip && lane.holes.lose(seq) {
            self.record(author);
        }
        self.note(author);
        true
    }

    /// Notes that a member sent a known batch. Returns whether that deserves a line in the log: the
    /// member sent it before, or it was delivered before `stale_before`.
    pub(super) fn given_again(
        &mut self,
        author: u32,
        seq: u64,
        sender: u32,
        stale_before: Time,
    ) -> bool {
        let Some(slot) = self.slot_mut(author, seq) else { return true };
        let again = slot.senders.contains(&sender);
        if !again {
            slot.senders.push(sender);
        }
        again || slot.at < stale_before
    }

    /// The missing slots above the tip and up to `to`, within the window: the lowest `most`,
    /// ascending.
    pub(super) fn missing(&self, author: u32, to: u64, most: usize) -> Vec<u64> {
        let tip = self.tip(author);
        let to = to.min(tip.saturating_add(WINDOW));
        (tip.saturating_add(1)..=to).filter(|seq| !self.filled(author, *seq)).take(most).collect()
    }

    /// The first id in a slot, if the slot's ids are still kept.
    pub(super) fn id_at(&self, author: u32, seq: u64) -> Option<BatchId> {
        Some(self.lanes.get(&author)?.slots.get(seq)?.id)
    }

    /// Whether the ids of a slot are still kept and `id` is not among them.
    pub(super) fn is_other(&self, author: u32, seq: u64, id: &BatchId) -> bool {
        self.chained(author, seq, id) == Some(false)
    }

    /// The lowest slot above `seq` that can be served (0 if none), and which slots above that one
    /// cannot be served.
    pub(super) fn next_held(&self, author: u32, seq: u64) -> (u64, Lacked) {
        match self.lanes.get(&author).map(|lane| (lane, lane.next_held(seq))) {
            Some((lane, next)) if next > 0 => (next, lane.lacked_above(next)),
            _ => (0, Lacked::default()),
        }
    }

    /// The tip to show to others; `None` without a signature that was checked since the start.
    pub(super) fn signed_tip(&self, author: u32, key: PublicKey) -> Option<Tip> {
        let lane = self.lanes.get(&author)?;
        let (slot, checked) = lane.shown(key)?;
        let (solid, floor) = (lane.solid().min(slot.seq), lane.out_of_reach().min(slot.seq));
        checked.then(|| Tip { slot, solid, floor, holes: lane.holes.digest() })
    }

    /// The slot that would be shown as the tip, if its signature still needs a check after the
    /// start.
    pub(super) fn unchecked_tip(&self, author: u32, key: PublicKey) -> Option<SignedSlot> {
        let lane = self.lanes.get(&author)?;
        let (slot, checked) = lane.shown(key)?;
        let doubted = lane.slots.get(slot.seq).is_some_and(|held| held.doubted);
        (!checked && !doubted).then_some(slot)
    }

    /// Notes that a slot's signature is bad and that its row is being examined.
    pub(super) fn doubt(&mut self, author: u32, seq: u64) {
        if let Some(slot) = self.slot_mut(author, seq) {
            slot.doubted = true;
        }
    }

    /// Notes that a slot could not be read. A full store drops payloads above the tip for good; a
    /// store that is behind with its writes has them a little later. The slot is not named to
    /// others for as long again as it has been held, clamped to `least..=most`.
    pub(super) fn unreadable(
        &mut self,
        author: u32,
        seq: u64,
        now: Time,
        (least, most): (Duration, Duration),
    ) {
        if let Some(slot) = self.slot_mut(author, seq) {
            slot.unnamed = now.after(now.since(slot.at).clamp(least, most));
        }
    }

    /// Notes that a slot's signature was checked.
    pub(super) fn checked(&mut self, author: u32, seq: u64) {
        if let Some(slot) = self.slot_mut(author, seq) {
            slot.checked = true;
        }
    }

    /// The slots above a lane's tip that can be served, ascending; both ids of a slot that has two.
    pub(super) fn above(
        &self,
        author: u32,
        key: PublicKey,
        now: Time,
    ) -> impl Iterator<Item = SlotId> {
        let above = self.lanes.get(&author).map(|lane| lane.slots.iter_above(lane.tip));
        let above = above.into_iter().flatten().filter(move |(_, slot)| slot.unnamed <= now);
        above.flat_map(move |(seq, slot)| {
            let mut ids = [Some(slot.id), slot.second];
            ids.sort_unstable();
            ids.into_iter().flatten().map(move |id| SlotId { author: key, seq, id })
        })
    }

    /// Notes that this node pruned an author's payloads up to `floor`. Holes up to there are
    /// dropped, and the tip moves up to `floor` if it was lower.
    pub(super) fn raise_floor(&mut self, author: u32, floor: u64) {
        let Some(lane) = self.lanes.get_mut(&author) else { return };
        lane.floor = lane.floor.max(floor);
        let passed = lane.floor > lane.tip;
        if passed {
            (lane.tip, lane.tip_id) = (lane.floor, lane.slots.get(lane.floor).map(|s| s.id));
        }
        lane.holes.forget(lane.floor);
        lane.advance();
        if passed {
            self.record(author);
        }
        self.note(author);
    }

    /// Records and keeps a checked signature of the author for a slot.
    pub(super) fn prove(&mut self, author: u32, slot: &SignedSlot) {
        let lane = self.lanes.entry(author).or_default();
        lane.prove(slot.seq, slot.rest, slot.signature);
    }

    /// Whether `slot` is the highest checked signature kept for the lane.
    pub(super) fn proves(&self, author: u32, slot: &SignedSlot) -> bool {
        self.lanes.get(&author).is_some_and(|lane| lane.proves(slot))
    }

    /// Records that a signature by the author for a slot was checked.
    pub(super) fn hear(&mut self, author: u32, seq: u64) {
        self.lanes.entry(author).or_default().hear(seq);
    }

    /// Takes a member's claim about its own lane: see [`Lane::claim`]. Claims above the highest
    /// slot known to be signed are ignored.
    pub(super) fn claim(&mut self, author: u32, member: u32, solid: u64, floor: u64, f: usize) {
        let Some(lane) = self.lanes.get_mut(&author) else { return };
        let tip = lane.tip;
        if lane.claim(member, solid, floor, f) {
            self.record_later(author, tip);
            self.note(author);
        }
    }

    /// Gives up missing slots, after every reachable member was asked. Returns whether any were
    /// given up; none are if there is no room to split a hole.
    pub(super) fn give_up(&mut self, author: u32, from: u64, to: u64) -> bool {
        let gave_up = self.lanes.get_mut(&author).is_some_and(|lane| lane.give_up(from, to));
        if gave_up {
            self.given_up.insert(author);
        }
        gave_up
    }

    /// Whether a record of holes waits because some were given up or a tip passed them. A start
    /// that misses the record only asks for those slots once more.
    pub(super) fn has_waiting(&self) -> bool {
        !(self.given_up.is_empty() && self.unwritten.is_empty())
    }

    /// To be called before a batch of an author is written into a slot. If the tip has moved and
    /// the slot is beyond the window of where it was, the record of holes no longer waits: a start
    /// assumes that nothing else is missing that far below the highest slot it finds.
    pub(super) fn precede(&mut self, author: u32, seq: u64) {
        let beyond = |tip: &u64| seq > tip.saturating_add(WINDOW);
        if self.unwritten.get(&author).is_some_and(beyond) {
            self.unwritten.remove(&author);
            self.changed.insert(author);
        }
    }

    /// Takes the lanes with new holes, and their tips.
    pub(super) fn take_moved(&mut self) -> Vec<(u32, u64)> {
        let moved = std::mem::take(&mut self.moved);
        moved.into_iter().map(|author| (author, self.tip(author))).collect()
    }

    /// Takes the lanes whose holes are to be written: author, tip, holes. With `waiting`, also
    /// those whose record may wait.
    pub(super) fn take_changed(&mut self, waiting: bool) -> Vec<(u32, u64, Vec<Hole>)> {
        let mut changed = std::mem::take(&mut self.changed);
        if waiting {
            changed.append(&mut self.given_up);
            changed.extend(std::mem::take(&mut self.unwritten).into_keys());
        } else {
            self.given_up.retain(|author| !changed.contains(author));
            self.unwritten.retain(|author, _| !changed.contains(author));
        }
        let lane = |author| Some((author, self.lanes.get(&author)?));
        let record =
            |(author, lane): (u32, &Lane)| (author, lane.tip, lane.holes.ranges().to_vec());
        changed.into_iter().filter_map(lane).map(record).collect()
    }

    /// The lanes of keys `start..end` in which any slot is held.
    pub(super) fn spoken(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes
            .range(start..end.max(start))
            .map(|(a, lane)| (*a, lane))
            .filter(|(_, l)| l.tip > 0 || l.above() > 0)
    }

    /// Sets the number of keys of the network; all hashes will be recomputed.
    pub(super) fn set_keys(&mut self, keys: u32) {
        self.tree = Tree::new(keys);
        self.stale = self.lanes.keys().copied().collect();
    }

    pub(super) fn rehash(&mut self, key_of: impl Fn(u32) -> PublicKey) {
        let stale = std::mem::take(&mut self.stale);
        let leaf = |author: u32| Some((author, self.lanes.get(&author)?.leaf(&key_of(author))));
        self.tree.set(stale.into_iter().filter_map(leaf));
    }

    /// How many hashes were computed.
    #[cfg(test)]
    pub(super) fn hashed(&self) -> u64 {
        self.tree.hashed
    }

    /// The hash over the lanes of a block of keys (see [`Tree`]), as of the last [`Lanes::rehash`].
    pub(super) fn hash(&self, start: u32, end: u32) -> Digest {
        self.tree.hash(start, end)
    }
}
