//! One author's lane: its tip, slots, holes, and what members claim about it.

use super::claims::{Claim, Claims};
use super::holes::Holes;
use super::window::Window;
use crate::crypto::{Digest, PublicKey, Signature};
use crate::protocol::{Hole, RestoredSlot, Time};
use crate::wire::limits::{MAX_HOLES, RECENT, TIP_HOLES, WINDOW};
use crate::wire::{BatchId, Lacked, SignedSlot};

const LEAF_DOMAIN: &[u8; 16] = b"loyal/lane/v3\0\0\0";

/// Where a batch would go in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Admission {
    /// Into an empty slot.
    Empty,
    /// Into a slot that holds one other id: equivocation. The batch is kept and relayed once.
    Second,
    /// Refused: that id is held already.
    Known,
    /// Refused: two other ids are held already.
    Full,
    /// Refused: so far below the tip that ids are no longer kept.
    Below,
    /// Refused: at or below the floor.
    Pruned,
    /// Refused: above the window, or in a hole that may not be split. This node may be the one
    /// behind.
    TooFar,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub id: BatchId,
    pub rest: Digest,
    pub signature: Signature,
    pub second: Option<BatchId>,
    pub at: Time,
    /// The slot that its batch follows: see [`crate::wire::Header::base`].
    pub base: u64,
    /// Whether the signature was checked since the start; data read from disk may be corrupt.
    pub checked: bool,
    /// Whether the signature was found bad and the row is being examined.
    pub doubted: bool,
    /// Not named to others before this time, because a read of it failed.
    pub unnamed: Time,
    /// Key numbers of the members that sent this id.
    pub senders: Vec<u32>,
}

impl Slot {
    /// A slot with one unchecked batch that no member is known to have sent.
    fn held(id: BatchId, rest: Digest, signature: Signature) -> Self {
        let (at, unnamed) = (Time(0), Time(0));
        let (second, checked, doubted) = (None, false, false);
        let (base, senders) = (0, Vec::new());
        Self { id, rest, signature, second, at, base, checked, doubted, unnamed, senders }
    }
}

/// A verified batch to put into a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Filling {
    pub id: BatchId,
    /// `Header::rest` of the batch.
    pub rest: Digest,
    pub signature: Signature,
    /// The slot that the batch follows.
    pub base: u64,
    /// The id that the batch names for slot `base`.
    pub prev: BatchId,
    /// When the batch was delivered.
    pub at: Time,
    /// Key number of the member that sent it; `None` for a batch published here.
    pub sender: Option<u32>,
}

/// An author's signature for a slot, whether the slot is held or not.
#[derive(Clone, Copy, Debug)]
struct Proof {
    seq: u64,
    rest: Digest,
    signature: Signature,
}

/// One author's lane: what is in its slots, and which slots are missing.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Lane {
    pub(super) tip: u64,
    pub(super) tip_id: Option<BatchId>,
    pub(super) floor: u64,
    /// Missing slots at or below the tip.
    pub(super) holes: Holes,
    /// The slots held above the tip, and the recent ones at and below it.
    pub(super) slots: Window<Slot>,
    /// Whether two ids were seen in one slot.
    pub(super) split: bool,
    /// Whether a batch was seen whose `prev` is not the id of the slot that it follows.
    pub(super) unchained: bool,
    /// Whether a restart header may be held above the tip.
    pub(super) restarts: bool,
    /// The highest slot for which a signature by the author was checked.
    heard: u64,
    /// The highest such signature that is kept.
    proof: Option<Proof>,
    /// The highest slot that was ever given up.
    pub(super) given_up: u64,
    claims: Claims,
}

impl Lane {
    /// The tip: the highest slot below which every slot is held, pruned or in a hole.
    pub(crate) fn tip(&self) -> u64 {
        self.tip
    }

    /// The tip's id; `None` while nothing is held, or if the tip's own slot is missing.
    pub(crate) fn tip_id(&self) -> Option<BatchId> {
        self.tip_id
    }

    /// The highest slot whose payload is pruned; 0 if none.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// How many slots are held above the tip.
    pub(crate) fn above(&self) -> usize {
        self.slots.above(self.tip)
    }

    /// Whether no slot is missing below the highest slot held.
    pub(crate) fn is_whole(&self) -> bool {
        self.holes.is_empty() && self.above() == 0
    }

    /// The floor to show to others: every slot up to this one is pruned or given up.
    pub(crate) fn out_of_reach(&self) -> u64 {
        let next = self.floor.saturating_add(1);
        let gone = self.holes.ranges().iter().find(|hole| hole.gone && hole.from <= next);
        gone.map_or(self.floor, |hole| hole.to.max(self.floor)).min(self.tip)
    }

    /// Whether two ids in one slot, or a broken chain, were seen.
    pub(crate) fn conflicted(&self) -> bool {
        self.split || self.unchained
    }

    /// The missing slots at or below the tip.
    pub(crate) fn holes(&self) -> &Holes {
        &self.holes
    }

    /// Every slot up to this one is held, pruned or given up.
    pub(crate) fn solid(&self) -> u64 {
        self.holes.first_open().map_or(self.tip, |open| open - 1)
    }

    /// More than `f` members hold, gave up or have pruned every slot up to this one.
    pub(crate) fn vouched(&self) -> u64 {
        self.claims.passed()
    }

    /// Whether more than `f` members claim to hold a slot, so that it has passed the quota of an
    /// honest node. Slots below a member's claimed floor do not count as held by it, and slots up
    /// to the highest one given up are never vouched for, as members count those as solid too.
    pub(crate) fn vouches(&self, seq: u64) -> bool {
        self.given_up < seq && self.claims.hold(seq)
    }

    /// Whether the author is known to have signed slots so far ahead that new ones may soon fall
    /// outside the window.
    pub(crate) fn lies_far_behind(&self) -> bool {
        self.heard() > self.tip.saturating_add(WINDOW / 2)
    }

    /// Gives up missing slots, after every reachable member was asked. Returns whether any were
    /// given up.
    pub(super) fn give_up(&mut self, from: u64, to: u64) -> bool {
        let highest = self.holes.give_up(from, to);
        self.given_up = self.given_up.max(highest.unwrap_or(0));
        highest.is_some()
    }

    /// The highest slot for which a signature by the author was checked.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.max(self.tip)
    }

    /// Up to which slot a member claims to hold, to have given up or to have pruned every slot; 0
    /// if that is not beyond this node's own lane.
    pub(crate) fn passed_by(&self, member: u32) -> u64 {
        self.claims.of(member).end().min(self.heard())
    }

    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// The highest held slot at or below the tip and its id; 0 and zeros if there is none.
    pub(crate) fn highest_known(&self) -> (u64, BatchId) {
        match self.tip_id {
            Some(id) => (self.tip, id),
            None => {
                self.slots.last_upto(self.tip).map_or((0, Digest::ZERO), |(s, slot)| (s, slot.id))
            }
        }
    }

    /// The highest slot held, or the tip if that is higher.
    pub(crate) fn highest(&self) -> u64 {
        self.slots.last_upto(u64::MAX).map_or(self.tip, |(seq, _)| seq.max(self.tip))
    }

    /// The lowest slot above `seq` that can be served; 0 if there is none.
    pub(crate) fn next_held(&self, seq: u64) -> u64 {
        let Some(above) = seq.max(self.floor).checked_add(1) else { return 0 };
        let next = self.holes.end_of(above);
        if next <= self.tip { next } else { self.slots.first_above(next - 1).unwrap_or(0) }
    }

    /// Which slots above `seq` cannot be served, up to the highest one that can.
    pub(crate) fn lacked_above(&self, seq: u64) -> Lacked {
        let mut lacked = Lacked::default();
        let last = seq.saturating_add(Lacked::SLOTS);
        for hole in self.holes.above(seq).take_while(|hole| hole.from <= last) {
            let from = hole.from.max(seq.saturating_add(1));
            (from..=hole.to.min(last)).for_each(|missing| lacked.mark(missing - seq));
        }
        let mut next = seq.max(self.tip).saturating_add(1);
        for (held, _) in self.slots.iter_above(next - 1) {
            (next..held.min(last.saturating_add(1))).for_each(|slot| lacked.mark(slot - seq));
            next = held.saturating_add(1);
            if next > last {
                break;
            }
        }
        lacked
    }

    /// The digest that two nodes compare: over the tip, the missing slots below it and the slots
    /// held above it; zeros if nothing is held. Where a slot has two ids, only its number counts,
    /// because nodes may differ in which id came first; the same goes for the tip of a lane with
    /// such a slot.
    pub(super) fn leaf(&self, key: &PublicKey) -> Digest {
        if self.tip == 0 && self.above() == 0 {
            return Digest::ZERO;
        }
        let tip_id = self.tip_id.filter(|_| !self.split).unwrap_or(Digest::ZERO);
        let mut bytes = Vec::with_capacity(104 + 40 * self.above());
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&self.tip.to_be_bytes());
        bytes.extend_from_slice(&tip_id.0);
        bytes.extend_from_slice(&self.holes.digest().0);
        for (seq, slot) in self.slots.iter_above(self.tip) {
            let id = if slot.second.is_some() { Digest::ZERO } else { slot.id };
            bytes.extend_from_slice(&seq.to_be_bytes());
            bytes.extend_from_slice(&id.0);
        }
        Digest::of(&[LEAF_DOMAIN, &bytes])
    }

    /// Adds a slot found at start. A second batch without its first is ignored: if it counted, the
    /// first would never be asked for.
    pub(super) fn restore_slot(&mut self, found: &RestoredSlot) {
        match self.slots.get_mut(found.seq) {
            None if !found.first => {}
            None => {
                let RestoredSlot { seq, base, id, rest, signature, .. } = *found;
                self.restarts |= base.saturating_add(1) < seq;
                self.slots.insert(seq, Slot { base, ..Slot::held(id, rest, signature) });
                self.holes.fill(seq);
            }
            Some(held) => {
                held.second = Some(found.id);
                self.split = true;
            }
        }
    }

    /// Puts a batch into its slot. Returns whether it is the second one there.
    pub(super) fn put(&mut self, seq: u64, filling: &Filling) -> bool {
        let Filling { id, rest, signature, base, at, sender, .. } = *filling;
        if let Some(held) = self.slots.get_mut(seq) {
            held.second = Some(id);
            return true;
        }
        self.restarts |= base.saturating_add(1) < seq;
        let (checked, senders) = (true, sender.into_iter().collect());
        let slot = Slot { base, at, checked, senders, ..Slot::held(id, rest, signature) };
        self.slots.insert(seq, slot);
        false
    }

    pub(super) fn admission(&self, seq: u64, id: &BatchId) -> Admission {
        if seq > self.tip.saturating_add(WINDOW) {
            return Admission::TooFar;
        }
        match self.slots.get(seq) {
            None if seq > self.tip => Admission::Empty,
            None if seq <= self.floor => Admission::Pruned,
            None if self.holes.may_fill(seq) => Admission::Empty,
            None if self.holes.contains(seq) => Admission::TooFar,
            None => Admission::Below,
            Some(slot) if slot.id == *id || slot.second == Some(*id) => Admission::Known,
            Some(slot) if slot.second.is_none() => Admission::Second,
            Some(_) => Admission::Full,
        }
    }

    /// Moves the tip up over held slots that leave no gap, and over slots that restart headers
    /// void. Returns whether holes were made.
    pub(super) fn advance(&mut self) -> bool {
        let mut holes = false;
        loop {
            while let Some(next) = self.tip.checked_add(1)
                && let Some(slot) = self.slots.get(next)
            {
                (self.tip, self.tip_id) = (next, Some(slot.id));
            }
            match self.next_restart() {
                Some(seq) if self.pass_void(seq - 1) => holes = true,
                _ => break,
            }
        }
        // Keep the highest slot held, however far below the tip: it represents the lane to others.
        let last = self.slots.last_upto(self.tip).map_or(0, |(seq, _)| seq);
        self.slots.forget(self.tip.saturating_sub(RECENT).min(last.saturating_sub(1)));
        if self.claims.len() > 0 {
            self.claims.forget(self.solid());
        }
        holes
    }

    /// The lowest restart header above the tip whose base is at or below the tip.
    fn next_restart(&mut self) -> Option<u64> {
        if !self.restarts {
            return None;
        }
        let restarts = |(seq, slot): &(u64, &Slot)| slot.base.saturating_add(1) < *seq;
        let mut above = self.slots.iter_above(self.tip).filter(restarts).peekable();
        self.restarts = above.peek().is_some();
        above.find(|(_, slot)| slot.base <= self.tip).map(|(seq, _)| seq)
    }

    /// Moves the tip up to `to`. Slots that are not held become holes, as long as there is room for
    /// more of them. Returns whether the tip moved.
    pub(super) fn jump(&mut self, to: u64) -> bool {
        let joins = self.joins(to) && self.holes.ends(self.tip) == Some(false);
        self.move_tip(to, MAX_HOLES.saturating_sub(self.holes.len()), joins)
    }

    /// Like [`Lane::jump`], for slots that a restart header voids. Stops where the holes below
    /// might no longer fit if every other missing slot were found, so that all nodes stop at the
    /// same slot.
    pub(super) fn pass_void(&mut self, to: u64) -> bool {
        let joins = self.joins(to);
        self.move_tip(to, self.room(), joins)
    }

    /// Like [`Lane::pass_void`], on the word of at most `f` members; does nothing without such
    /// room.
    pub(super) fn pass(&mut self, to: u64) -> bool {
        self.room() > 0 && self.pass_void(to)
    }

    /// How many holes may still be added below the tip.
    fn room(&self) -> usize {
        TIP_HOLES.saturating_sub(self.holes.may_become())
    }

    /// How far the tip may move so that the holes fit even if every second slot passed is found.
    pub(crate) fn fits(&self) -> u64 {
        self.tip.saturating_add(2 * self.room() as u64)
    }

    /// Whether slots passed above the tip adjoin a hole that ends at the tip. If there is no room
    /// for another hole and that one is gone, it is reopened so that both can merge.
    fn joins(&mut self, to: u64) -> bool {
        let Some(gone) = self.holes.ends(self.tip) else { return false };
        if gone && to > self.tip && self.holes.len() >= MAX_HOLES {
            self.holes.reopen_last();
        }
        true
    }

    fn move_tip(&mut self, to: u64, mut room: usize, mut joins: bool) -> bool {
        let before = self.tip;
        let held = self.slots.iter_above(before).map(|(seq, _)| seq);
        let held: Vec<u64> = held.take_while(|seq| *seq <= to).collect();
        for seq in held.into_iter().map(Some).chain([None]) {
            let Some(from) = self.tip.checked_add(1) else { break };
            let end = seq.map_or(to, |seq| seq - 1);
            if from <= end {
                if room == 0 && !joins {
                    break;
                }
                room = room.saturating_sub(usize::from(!joins));
                self.holes.push(Hole { from, to: end, gone: false });
            }
            (self.tip, joins) = (seq.unwrap_or(end.max(self.tip)), false);
        }
        if self.tip > before {
            self.tip_id = self.slots.get(self.tip).map(|slot| slot.id);
        }
        self.tip > before
    }

    /// Records that a signature by the author for a slot was checked.
    pub(super) fn hear(&mut self, seq: u64) {
        self.heard = self.heard.max(seq);
    }

    /// Whether this signature is the one kept.
    pub(super) fn proves(&self, slot: &SignedSlot) -> bool {
        let same = |proof: Proof| {
            (proof.seq, proof.rest, proof.signature) == (slot.seq, slot.rest, slot.signature)
        };
        self.proof.is_some_and(same)
    }

    /// Like [`Lane::hear`], and keeps the signature if it is the highest.
    pub(super) fn prove(&mut self, seq: u64, rest: Digest, signature: Signature) {
        self.hear(seq);
        if self.proof.is_none_or(|proof| proof.seq < seq) {
            self.proof = Some(Proof { seq, rest, signature });
        }
    }

    /// The signed slot to show as the lane's tip, and whether its signature was checked since the
    /// start: the tip's own slot; if that is not held, the kept proof at or above it; else the
    /// highest slot held. Others accept nothing far above what they know to be signed.
    pub(super) fn shown(&self, author: PublicKey) -> Option<(SignedSlot, bool)> {
        let signed = |seq, rest, signature| SignedSlot { author, seq, rest, signature };
        let held =
            |(seq, slot): (u64, &Slot)| (signed(seq, slot.rest, slot.signature), slot.checked);
        if let Some(slot) = self.slots.get(self.tip) {
            return Some(held((self.tip, slot)));
        }
        // A proof above the tip counts only if a slot is held there, or every node would ask for
        // that slot forever.
        let above = self.above() > 0;
        let fits = |proof: &Proof| proof.seq == self.tip || (above && proof.seq > self.tip);
        let proof = self.proof.filter(fits);
        let proven = proof.map(|proof| (signed(proof.seq, proof.rest, proof.signature), true));
        proven.or_else(|| self.slots.last_upto(u64::MAX).map(held))
    }

    /// Takes a member's claim about its lane, capped at the highest slot known to be signed. Moves
    /// the tip if more than `f` members claim that it lies far behind. Returns whether holes were
    /// made.
    pub(super) fn claim(&mut self, member: u32, solid: u64, floor: u64, f: usize) -> bool {
        let heard = self.heard();
        let (solid, floor) = (solid.min(heard), floor.min(heard));
        if solid.max(floor) <= self.solid() && solid <= self.vouched() {
            return false;
        }
        let pruned = self.claims.take(member, Claim { solid, floor }, f);
        // Within half a window, new batches still fit above the tip.
        let far = self.vouched() > self.tip.saturating_add(WINDOW / 2);
        let to = if far { self.vouched() } else { pruned };
        to > self.tip && self.jump(to) && {
            self.advance();
            true
        }
    }
}
