//! Lanes: for each author the slots 1, 2, 3…, what is in them, and what is missing.
//!
//! Dedup stands on them and has no time-out: a slot at or below the tip that is in no hole is known
//! for ever. Per lane the tip, a window above it, the holes below it and the ids of recent slots
//! are kept; authors that never spoke cost nothing.

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
    /// Lanes whose holes changed and are to be written down.
    changed: BTreeSet<u32>,
    /// Lanes whose holes only changed in that some were given up.
    given_up: BTreeSet<u32>,
    /// Lanes whose tips moved on others' word, and from where: that may wait until a batch is
    /// written which lies so far above that a start would take what is missing for held.
    unwritten: BTreeMap<u32, u64>,
    /// Lanes with holes of which the node has not heard.
    moved: BTreeSet<u32>,
    /// Lanes with holes.
    holed: BTreeSet<u32>,
    /// Hashes over them.
    tree: Tree,
    /// Lanes whose hash is to be made anew.
    stale: BTreeSet<u32>,
}

impl Lanes {
    /// The lanes that a start found.
    pub fn restore(found: &[RestoredLane], number_of: impl Fn(&PublicKey) -> Option<u32>) -> Self {
        let mut lanes = Self::default();
        for restored in found {
            let Some(author) = number_of(&restored.author) else { continue };
            let lane = lanes.lanes.entry(author).or_default();
            lane.floor = restored.floor;
            // Below this one no slot is missing but the holes: nothing above tip + WINDOW is taken
            // without a record of the holes that it makes.
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
                lanes.record(author); // a crash came before the record of those holes
            }
            lanes.note(author);
        }
        lanes
    }

    /// A lane has changed: its hash is stale, and it may have holes or none any more.
    fn note(&mut self, author: u32) {
        self.stale.insert(author);
        let holed = self.lanes.get(&author).is_some_and(|lane| !lane.holes.is_empty());
        match holed {
            true => self.holed.insert(author),
            false => self.holed.remove(&author),
        };
    }

    /// A lane has holes that must be written down.
    fn record(&mut self, author: u32) {
        self.changed.insert(author);
        self.moved.insert(author);
    }

    /// A lane whose tip was there has holes that may wait for that.
    fn record_later(&mut self, author: u32, tip: u64) {
        self.unwritten.entry(author).or_insert(tip);
        self.moved.insert(author);
    }

    /// An author's lane, if it ever spoke.
    pub fn get(&self, author: u32) -> Option<&Lane> {
        self.lanes.get(&author)
    }

    /// How full it is, with its limits: `keys` in the network, `members` of them with a node.
    pub fn occupy(&self, note: Note, keys: usize, members: usize) {
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

    /// All lanes, ascending by key number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes.iter().map(|(author, lane)| (*author, lane))
    }

    /// Lanes with holes, ascending by key number.
    pub fn holed(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.holed.iter().filter_map(|author| Some((*author, self.lanes.get(author)?)))
    }

    /// Highest slot below which all but the holes is held or pruned; 0 if none.
    pub fn tip(&self, author: u32) -> u64 {
        self.lanes.get(&author).map_or(0, Lane::tip)
    }

    /// Whether a slot is one that more than `f` members vouch for: see [`Lane::vouches`].
    pub fn vouches(&self, author: u32, seq: u64) -> bool {
        self.lanes.get(&author).is_some_and(|lane| lane.vouches(seq))
    }

    /// Where a batch would go.
    pub fn admission(&self, author: u32, seq: u64, id: &BatchId) -> Admission {
        match self.lanes.get(&author) {
            Some(lane) => lane.admission(seq, id),
            None => Lane::default().admission(seq, id),
        }
    }

    /// The same of a batch whose header is here: a restart whose base is reached fits however far
    /// above it is.
    pub fn admission_of(&self, author: u32, header: &Header, id: &BatchId) -> Admission {
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

    /// Whether the slot holds any batch, or is below those that are kept and in no hole.
    pub fn filled(&self, author: u32, seq: u64) -> bool {
        self.lanes.get(&author).is_some_and(|lane| {
            lane.slots.contains(seq) || (seq <= lane.tip && !lane.holes.contains(seq))
        })
    }

    /// Whether `prev` is one of the ids known in the slot `base`; `None` if that is not known.
    pub fn chained(&self, author: u32, base: u64, prev: &BatchId) -> Option<bool> {
        let slot = self.lanes.get(&author)?.slots.get(base)?;
        Some(slot.id == *prev || slot.second == Some(*prev))
    }

    /// Makes room for a verified restart header: what it voids becomes a hole. Gives whether it
    /// fits now.
    pub fn make_room(&mut self, author: u32, header: &Header) -> bool {
        let lane = self.lanes.entry(author).or_default();
        let reached = header.restarts() && header.base <= lane.tip && header.seq - 1 > lane.tip;
        if reached && lane.pass_void(header.seq - 1) {
            self.record(author);
            self.note(author);
        }
        self.admission(author, header.seq, &header.id()) != Admission::TooFar
    }

    /// Moves a lane's tip up to a slot that is known to be signed, over what is missing.
    pub fn jump(&mut self, author: u32, to: u64) {
        let lane = self.lanes.entry(author).or_default();
        let tip = lane.tip;
        if lane.jump(to) {
            lane.advance();
            self.record_later(author, tip);
            self.note(author);
        }
    }

    /// The same of the node's own lane, whatever room there is for holes: no slot up to there may
    /// be signed again. Where there is none, the lowest are forgotten.
    pub fn jump_own(&mut self, author: u32, to: u64) {
        let lane = self.lanes.entry(author).or_default();
        if lane.tip >= to {
            return;
        }
        while lane.tip < to && (lane.jump(to) || lane.holes.drop_lowest()) {}
        lane.advance();
        self.record(author);
        self.note(author);
    }

    /// The same on the word of too few: see [`Lane::pass`].
    pub fn pass(&mut self, author: u32, to: u64) {
        let lane = self.lanes.entry(author).or_default();
        let tip = lane.tip;
        if lane.pass(to) {
            lane.advance();
            self.record_later(author, tip);
            self.note(author);
        }
    }

    /// Fills a slot with a verified batch; says whether the lane is in conflict for the first time.
    /// The caller has asked for the admission: it is `Empty` or `Second`.
    pub fn fill(&mut self, author: u32, seq: u64, filling: Filling) -> bool {
        let unchained = self.chained(author, filling.base, &filling.prev) == Some(false);
        let lane = self.lanes.entry(author).or_default();
        let second = lane.put(seq, &filling);
        let news = (second || unchained) && !lane.conflicted();
        lane.split |= second;
        lane.unchained |= unchained;
        lane.prove(seq, filling.rest, filling.signature);
        lane.holes.fill(seq);
        if lane.tip == seq && !second {
            lane.tip_id = Some(filling.id); // it was lost, or passed
        }
        if lane.advance() {
            self.record(author);
        }
        self.note(author);
        news
    }

    /// Forgets a batch whose row is damaged: its slot is missing again. Zeros stand for whatever
    /// the slot held: nothing of it is kept. Gives whether it was held.
    pub fn lose(&mut self, author: u32, seq: u64, id: &BatchId) -> bool {
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
        // Nothing is taken at or below the floor: it is no hole either.
        if lane.floor < seq && seq <= lane.tip && lane.holes.lose(seq) {
            self.record(author);
        }
        self.note(author);
        true
    }

    /// Notes that a member sent a batch that is known. Says whether that is worth a line in the
    /// log: it sent this one before, or the batch is old news to everybody.
    pub fn given_again(&mut self, author: u32, seq: u64, sender: u32, stale_before: Time) -> bool {
        let Some(slot) = self.lanes.get_mut(&author).and_then(|lane| lane.slots.get_mut(seq))
        else {
            return true;
        };
        let again = slot.senders.contains(&sender);
        if !again {
            slot.senders.push(sender);
        }
        again || slot.at < stale_before
    }

    /// The slots that are missing above the tip and up to `to`, within the window, lowest first, at
    /// most `most`.
    pub fn missing(&self, author: u32, to: u64, most: usize) -> Vec<u64> {
        let tip = self.tip(author);
        let to = to.min(tip.saturating_add(WINDOW));
        (tip.saturating_add(1)..=to).filter(|seq| !self.filled(author, *seq)).take(most).collect()
    }

    /// The first id in a slot, if ids of that slot are still kept.
    pub fn id_at(&self, author: u32, seq: u64) -> Option<BatchId> {
        Some(self.lanes.get(&author)?.slots.get(seq)?.id)
    }

    /// Whether the ids of a slot are still kept and an id is none of them.
    pub fn is_other(&self, author: u32, seq: u64, id: &BatchId) -> bool {
        let slot = self.lanes.get(&author).and_then(|lane| lane.slots.get(seq));
        slot.is_some_and(|slot| slot.id != *id && slot.second != Some(*id))
    }

    /// The lowest slot above this one that can be served, 0 if none; and which above that cannot.
    pub fn next_held(&self, author: u32, seq: u64) -> (u64, Lacked) {
        match self.lanes.get(&author).map(|lane| (lane, lane.next_held(seq))) {
            Some((lane, next)) if next > 0 => (next, lane.lacked_above(next)),
            _ => (0, Lacked::default()),
        }
    }

    /// The tip as it is shown to others, if a signature is known that was checked since the start.
    pub fn signed_tip(&self, author: u32, key: PublicKey) -> Option<Tip> {
        let lane = self.lanes.get(&author)?;
        let (slot, checked) = lane.shown(key)?;
        let (solid, floor) = (lane.solid().min(slot.seq), lane.out_of_reach().min(slot.seq));
        checked.then(|| Tip { slot, solid, floor, holes: lane.holes.digest() })
    }

    /// What would be shown as the tip, if a start found it and nobody checked it yet.
    pub fn unchecked_tip(&self, author: u32, key: PublicKey) -> Option<SignedSlot> {
        let lane = self.lanes.get(&author)?;
        let (slot, checked) = lane.shown(key)?;
        let doubted = lane.slots.get(slot.seq).is_some_and(|held| held.doubted);
        (!checked && !doubted).then_some(slot)
    }

    /// A slot's signature is bad: whether its row is, too, is being looked at.
    pub fn doubt(&mut self, author: u32, seq: u64) {
        let slot = self.lanes.get_mut(&author).and_then(|lane| lane.slots.get_mut(seq));
        if let Some(slot) = slot {
            slot.doubted = true;
        }
    }

    /// A slot could not be read. A full store drops payloads above the tip, too, for ever; one that
    /// cannot write for the moment has them a little later. It is not named to others for as long
    /// as it has been held, within these bounds.
    pub fn unreadable(
        &mut self,
        author: u32,
        seq: u64,
        now: Time,
        (least, most): (Duration, Duration),
    ) {
        let slot = self.lanes.get_mut(&author).and_then(|lane| lane.slots.get_mut(seq));
        if let Some(slot) = slot {
            slot.unnamed = now.after(now.since(slot.at).clamp(least, most));
        }
    }

    /// A slot's signature was checked.
    pub fn checked(&mut self, author: u32, seq: u64) {
        let slot = self.lanes.get_mut(&author).and_then(|lane| lane.slots.get_mut(seq));
        if let Some(slot) = slot {
            slot.checked = true;
        }
    }

    /// The slots held above a lane's tip that can be given, both ids of those that have two,
    /// ascending.
    pub fn above(&self, author: u32, key: PublicKey, now: Time) -> impl Iterator<Item = SlotId> {
        let above = self.lanes.get(&author).map(|lane| lane.slots.iter_above(lane.tip));
        let above = above.into_iter().flatten().filter(move |(_, slot)| slot.unnamed <= now);
        above.flat_map(move |(seq, slot)| {
            let mut ids = [Some(slot.id), slot.second];
            ids.sort_unstable();
            ids.into_iter().flatten().map(move |id| SlotId { author: key, seq, id })
        })
    }

    /// Notes that our own payloads of an author were pruned up to `floor`: there is no room for
    /// what is missing below, and the tip moves up to it.
    pub fn raise_floor(&mut self, author: u32, floor: u64) {
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

    /// A slot signed by the author was checked.
    pub fn prove(&mut self, author: u32, slot: &SignedSlot) {
        let lane = self.lanes.entry(author).or_default();
        lane.prove(slot.seq, slot.rest, slot.signature);
    }

    /// Whether a lane's highest slot with a signature that was checked is this one.
    pub fn proves(&self, author: u32, slot: &SignedSlot) -> bool {
        self.lanes.get(&author).is_some_and(|lane| lane.proves(slot))
    }

    /// A signature of the author for that slot was checked.
    pub fn hear(&mut self, author: u32, seq: u64) {
        self.lanes.entry(author).or_default().hear(seq);
    }

    /// Takes what a member says of its own lane: see [`Lane::claim`]. Nothing is believed above the
    /// highest slot that the author is known to have signed.
    pub fn claim(&mut self, author: u32, member: u32, solid: u64, floor: u64, f: usize) {
        let Some(lane) = self.lanes.get_mut(&author) else { return };
        let tip = lane.tip;
        if lane.claim(member, solid, floor, f) {
            self.record_later(author, tip);
            self.note(author);
        }
    }

    /// Gives up missing slots: all who can be reached were asked. Gives whether there were any, and
    /// room to say so.
    pub fn give_up(&mut self, author: u32, from: u64, to: u64) -> bool {
        let gave_up = self.lanes.get_mut(&author).is_some_and(|lane| lane.give_up(from, to));
        if gave_up {
            self.given_up.insert(author);
        }
        gave_up
    }

    /// Whether a record of holes waits: some were given up, or passed by a tip. A start that does
    /// not know of it only asks for them once more.
    pub fn has_waiting(&self) -> bool {
        !(self.given_up.is_empty() && self.unwritten.is_empty())
    }

    /// A batch of an author is about to be written into a slot. If the lane's tip has moved, and
    /// the slot is beyond the window of where it was, the record of its holes waits no longer: a
    /// start believes that nothing else is missing so far below the highest slot that it finds.
    pub fn precede(&mut self, author: u32, seq: u64) {
        let beyond = |tip: &u64| seq > tip.saturating_add(WINDOW);
        if self.unwritten.get(&author).is_some_and(beyond) {
            self.unwritten.remove(&author);
            self.changed.insert(author);
        }
    }

    /// Lanes whose tips have moved over missing slots, or have new holes; and their tips.
    pub fn take_moved(&mut self) -> Vec<(u32, u64)> {
        let moved = std::mem::take(&mut self.moved);
        moved.into_iter().map(|author| (author, self.tip(author))).collect()
    }

    /// Lanes whose holes are to be written down: author, tip, holes. Those that may wait, too, or
    /// not.
    pub fn take_changed(&mut self, waiting: bool) -> Vec<(u32, u64, Vec<Hole>)> {
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

    /// Lanes of keys `start..end` in which anything is held.
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
