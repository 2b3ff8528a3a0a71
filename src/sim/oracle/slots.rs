//! Slots: who signed what in them, and who delivered it. I1, I2, I6, C1, L1, L2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::facts::{Fact, Facts};
use super::keys::Keys;
use super::set::NodeSet;
use super::shown::Shown;
use crate::crypto::{PublicKey, Signature};
use crate::protocol::{Record, StoredBatch, Time, Verified};
use crate::wire::limits::{AUTHOR_BATCHES_PER_S, AUTHOR_BYTES_PER_S, RESTART_BATCHES, WINDOW};
use crate::wire::{Batch, BatchId};

/// A slot of an author that lies, or of one that is no node, is everywhere this long after its
/// first delivery: a window of slots at the rate that an author's quota grants, and as much again;
/// and as long as all that was delivered of the author takes under its quota, as it may have shown
/// each node other slots. An honest author's are once the liveness phase is over.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(2 * WINDOW.div_ceil(AUTHOR_BATCHES_PER_S));
/// Bytes of batches that are recognised without hashing them again.
const RECOGNISED: usize = 16 << 20;

#[derive(Debug, Default)]
struct Slot {
    author: u32,
    seq: u64,
    /// Ids that its author, an honest node, signed; but for those that a crash lost before they
    /// were safe.
    signed: Vec<BatchId>,
    /// The one that it holds, and must not contradict.
    own: Option<BatchId>,
    /// Bytes of the body that was delivered first.
    bytes: u64,
    /// Batches that it counts for in its author's quota.
    counts: u64,
    /// The id that was delivered first.
    first: Option<BatchId>,
    /// When.
    since: Time,
    /// Whether another one was delivered elsewhere.
    conflict: bool,
    /// Whether its honest author told its client that it is published.
    published: bool,
    delivered: NodeSet,
    /// Who wrote another batch of it down after that, where there are two.
    second: NodeSet,
}

/// What a node's disk has of an author's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Held {
    /// Its first batch can be read.
    Readable,
    /// Nothing, and nothing would be kept: newer slots have taken its room.
    Passed,
    /// Nothing, and there is room.
    Nothing,
}

/// What a node's disk has of an author's slot.
pub(super) type Holds<'a> = &'a dyn Fn(usize, &PublicKey, u64) -> Held;

/// All slots that anybody signed or delivered.
#[derive(Debug, Default)]
pub(super) struct Slots {
    index: BTreeMap<(u32, u64), usize>,
    slots: Vec<Slot>,
    /// Slot and node of deliveries that a crash undid.
    undone: BTreeSet<(usize, usize)>,
    /// Nothing of a liar's slots is late that soon after links were missing.
    unsettled: Time,
    /// How much longer it may take in this network.
    slack: Duration,
    recognised: BTreeMap<Signature, (Arc<Verified<Batch>>, BatchId)>,
    bytes: usize,
}

/// Who lacks a slot: the first, how many others; and how many that can no longer have it.
#[derive(Default)]
struct Lacking {
    first: Option<usize>,
    others: usize,
    skipped: u64,
}

impl Slot {
    /// What its author signed is gone before it was safe.
    fn forget_own(&mut self, id: &BatchId) {
        self.signed.retain(|signed| signed != id);
        self.own = self.own.filter(|own| own != id);
    }
}

impl Slots {
    /// An author's slots that one node delivered; the last one in two batches, or not.
    #[cfg(test)]
    pub fn of(author: u32, seqs: &[u64], node: usize, conflict: bool) -> Self {
        let mut slots = Self::default();
        for seq in seqs {
            let at = slots.slot(author, *seq);
            slots.slots[at].delivered.insert(node);
            slots.slots[at].conflict = conflict && seqs.last() == Some(seq);
        }
        slots
    }

    fn slot(&mut self, author: u32, seq: u64) -> usize {
        *self.index.entry((author, seq)).or_insert_with(|| {
            self.slots.push(Slot { author, seq, ..Slot::default() });
            self.slots.len() - 1
        })
    }

    /// The id of a batch by our own arithmetic; `None` if its body is not the one signed.
    fn id_of(&mut self, batch: &Arc<Verified<Batch>>) -> Option<BatchId> {
        if let Some((known, id)) = self.recognised.get(&batch.signature)
            && (Arc::ptr_eq(known, batch) || known == batch)
        {
            return Some(*id);
        }
        let id = batch.content_matches().then(|| batch.id())?;
        self.bytes += batch.body.len() + size_of::<Batch>();
        if self.bytes > RECOGNISED {
            self.recognised.clear();
            self.bytes = batch.body.len();
        }
        self.recognised.insert(batch.signature, (batch.clone(), id));
        Some(id)
    }

    /// A node writes a batch of its own: it has signed it. Nothing leaves before that write is
    /// safe, so that a slot whose batch a crash lost may be signed again. So may one whose row the
    /// disk lost afterwards, unless the node was shown that it had signed it, or a later one.
    pub fn signed(
        &mut self,
        now: Time,
        node: usize,
        stored: &StoredBatch,
        shown: &Shown,
        facts: &mut Facts,
    ) {
        let Some(id) = self.id_of(&stored.batch) else { return };
        let Ok(author) = u32::try_from(node) else { return };
        let seq = stored.batch.header.seq;
        let slot = self.slot(author, seq);
        let slot = &mut self.slots[slot];
        if !slot.signed.contains(&id) {
            if let Some(other) = slot.signed.first() {
                let what = || format!("signs {id} as its slot {seq}, after {other}");
                if slot.own.is_some() {
                    facts.broken("C1", now, Some(node), what);
                } else if shown.knows(now, node, seq) {
                    facts.broken("I6", now, Some(node), what);
                } else {
                    facts.count(Fact::SignedAnew);
                }
            }
            slot.signed.push(id);
            facts.count(Fact::Signed);
        }
        slot.own = Some(id);
    }

    /// An own batch could not be written, and never leaves.
    pub fn unwritten(&mut self, node: usize, stored: &StoredBatch) {
        let Ok(author) = u32::try_from(node) else { return };
        let slot = self.slot(author, stored.batch.header.seq);
        self.slots[slot].forget_own(&stored.id);
    }

    /// A node told a client that a message of its own is published.
    pub fn published(&mut self, node: usize, seq: u64) {
        if let Ok(author) = u32::try_from(node) {
            let slot = self.slot(author, seq);
            self.slots[slot].published = true;
        }
    }

    /// A node delivered a batch.
    pub fn delivered(
        &mut self,
        now: Time,
        node: usize,
        stored: &StoredBatch,
        keys: &Keys,
        facts: &mut Facts,
    ) {
        facts.count(Fact::Delivered);
        let (author, seq) = (stored.batch.header.author, stored.batch.header.seq);
        let id = self.id_of(&stored.batch).filter(|id| *id == stored.id);
        let (Some(number), Some(id)) = (keys.number(&author), id) else {
            let what = || format!("delivered slot {seq} of {author}, which is not what it says");
            return facts.broken("I1", now, Some(node), what);
        };
        let at = self.slot(number, seq);
        let slot = &mut self.slots[at];
        if keys.is_honest(number) && !slot.signed.contains(&id) {
            let what = || format!("delivered {id} as slot {seq} of {author}, who never signed it");
            facts.broken("I1", now, Some(node), what);
        }
        if !slot.delivered.insert(node) {
            let what = || format!("delivered slot {seq} of {author} twice, now {id}");
            facts.broken("I2", now, Some(node), what);
        } else if self.undone.remove(&(at, node)) {
            facts.count(Fact::RedeliveredAfterCrash);
        }
        if number as usize == node && slot.signed.contains(&id) {
            slot.own = Some(id);
        }
        match slot.first {
            None => {
                (slot.first, slot.since) = (Some(id), now);
                slot.bytes = stored.batch.body.len() as u64;
                let restarts = stored.batch.header.restarts();
                slot.counts = if restarts { RESTART_BATCHES } else { 1 };
            }
            Some(first) if first != id && !slot.conflict => {
                slot.conflict = true;
                facts.count(Fact::ConflictingSlots);
            }
            Some(_) => {}
        }
    }

    /// A node writes a batch down. Gives whether it is news though the slot was delivered before.
    pub fn written(&mut self, node: usize, stored: &StoredBatch, keys: &Keys) -> bool {
        let header = &stored.batch.header;
        let Some(number) = keys.number(&header.author) else { return false };
        let at = self.slot(number, header.seq);
        let slot = &mut self.slots[at];
        slot.conflict && slot.delivered.contains(node) && slot.second.insert(node)
    }

    /// Whether somebody who delivered one of a slot's two batches has yet to get the other.
    pub fn awaits_second(&self) -> bool {
        let lacks = |slot: &&Slot| slot.delivered.without(&slot.second).next().is_some();
        self.slots.iter().filter(|slot| slot.conflict).any(|slot| lacks(&slot))
    }

    /// Slots above the tips of a node's lanes that it never delivered though it delivered a later
    /// one of the same author: at most a window for each.
    pub fn skipped_by(&self, node: usize, keys: &Keys, tip: impl Fn(&PublicKey) -> u64) -> u64 {
        let mut above: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| slot.delivered.contains(node)) {
            let Some(tip) = keys.key(slot.author).map(&tip).filter(|tip| slot.seq > *tip) else {
                continue;
            };
            let (last, delivered) = above.entry(slot.author).or_default();
            (*last, *delivered) = ((*last).max(slot.seq - tip), *delivered + 1);
        }
        let skipped = |(last, delivered): &(u64, u64)| last.saturating_sub(*delivered).min(WINDOW);
        above.values().map(skipped).fold(0, u64::saturating_add)
    }

    /// A crash lost those writes: the deliveries that rested on them are undone.
    pub fn lost(&mut self, node: usize, lost: &[Record], keys: &Keys, facts: &mut Facts) {
        for record in lost {
            let Record::Batch(stored) = record else { continue };
            let header = &stored.batch.header;
            let Some(author) = keys.number(&header.author).filter(|_| stored.first) else {
                continue;
            };
            let at = self.slot(author, header.seq);
            if author as usize == node {
                match stored.from {
                    None => self.slots[at].forget_own(&stored.id),
                    // It had lost it before, and got it again from others.
                    Some(_) => self.slots[at].own = None,
                }
            }
            if self.slots[at].delivered.remove(node) {
                self.undone.insert((at, node));
                facts.count(Fact::LostUnsynced);
            }
        }
    }

    /// Rows that were safe were set aside: the same, but what was signed in them may have left.
    pub fn damaged(&mut self, node: usize, rows: &[Record], keys: &Keys) {
        for record in rows {
            let Record::Batch(stored) = record else { continue };
            let header = &stored.batch.header;
            let Some(author) = keys.number(&header.author).filter(|_| stored.first) else {
                continue;
            };
            let at = self.slot(author, header.seq);
            if author as usize == node {
                self.slots[at].own = None;
            }
            if self.slots[at].delivered.remove(node) {
                self.undone.insert((at, node));
            }
        }
    }

    /// A node lost all rows.
    pub fn wiped(&mut self, node: usize) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.author as usize == node {
                // What was acknowledged was safe; who else has it, L2 asks.
                (slot.own, slot.published) = (None, false);
            }
            if slot.delivered.remove(node) {
                self.undone.insert((at, node));
            }
        }
    }

    /// Who of those that are up lacks a slot that another can still give. An author has what it
    /// signed: a crash between the sync and its answer leaves it in its store, never to be
    /// delivered there. What every honest node that is up has pruned, nobody can have, and no node
    /// has room for what is older than all that it keeps: those are skipped.
    fn lacking(&self, slot: &Slot, up: &NodeSet, (keys, holds): (&Keys, Holds<'_>)) -> Lacking {
        let own = |node: &usize| *node == slot.author as usize && slot.own.is_some();
        let mut lacking = up.without(&slot.delivered).filter(|node| !own(node)).peekable();
        let key = keys.key(slot.author).filter(|_| lacking.peek().is_some());
        let Some(key) = key else { return Lacking::default() };
        let held = |node: usize| holds(node, key, slot.seq);
        let nobody = NodeSet::default();
        let given = up.without(&nobody).any(|node| held(node) == Held::Readable);
        let (missing, skipped): (Vec<usize>, Vec<usize>) =
            lacking.partition(|node| given && held(*node) != Held::Passed);
        let (first, others) = (missing.first().copied(), missing.len().saturating_sub(1));
        Lacking { first, others, skipped: skipped.len() as u64 }
    }

    /// Whether so many of those that are up can give a slot, but at least one.
    fn is_given(
        &self,
        slot: &Slot,
        by: usize,
        up: &NodeSet,
        (keys, holds): (&Keys, Holds<'_>),
    ) -> bool {
        let (Some(key), nobody) = (keys.key(slot.author), NodeSet::default()) else {
            return false;
        };
        let gives = |node: &usize| holds(*node, key, slot.seq) == Held::Readable;
        up.without(&nobody).filter(gives).take(by.max(1)).count() >= by.max(1)
    }

    /// The first of the honest authors' slots, first delivered in that time, that a node lacks
    /// while so many others can give it: author, slot, and how many more.
    pub fn lacks(
        &self,
        node: usize,
        (after, until): (Time, Time),
        up: &NodeSet,
        (keys, holds, by): (&Keys, Holds<'_>, usize),
    ) -> Option<(u32, u64, usize)> {
        let mut lacking = self.slots.iter().filter(|slot| {
            keys.is_honest(slot.author)
                && (after..=until).contains(&slot.since)
                && slot.delivered.meets(up)
                && !slot.delivered.contains(node)
                && !(slot.author as usize == node && slot.own.is_some())
                && self.lacking(slot, up, (keys, holds)).first.is_some()
                && self.is_given(slot, by, up, (keys, holds))
        });
        let first = lacking.next()?;
        Some((first.author, first.seq, lacking.count()))
    }

    /// Whether every honest author's slot that one of those delivered is at all of them, as far as
    /// it can be.
    pub fn is_level(&self, up: &NodeSet, (keys, holds): (&Keys, Holds<'_>)) -> bool {
        let of_honest = self.slots.iter().filter(|slot| keys.is_honest(slot.author));
        let mut held = of_honest.filter(|slot| slot.delivered.meets(up));
        held.all(|slot| self.lacking(slot, up, (keys, holds)).first.is_none())
    }

    /// When the slots of each author that lies are due after their first delivery.
    fn patience(&self, keys: &Keys) -> BTreeMap<u32, Duration> {
        let mut all: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| !keys.is_honest(slot.author)) {
            let (slots, bytes) = all.entry(slot.author).or_default();
            (*slots, *bytes) = (*slots + slot.counts, *bytes + slot.bytes);
        }
        let takes = |(slots, bytes): (u64, u64)| {
            let quota = (slots / AUTHOR_BATCHES_PER_S).max(bytes / AUTHOR_BYTES_PER_S);
            EVERYWHERE_WITHIN + Duration::from_secs(quota) + self.slack
        };
        all.into_iter().map(|(author, all)| (author, takes(all))).collect()
    }

    /// In networks that are slow it may take so much longer.
    pub fn allow(&mut self, slack: Duration) {
        self.slack = slack;
    }

    /// Links between honest nodes may have been missing until now.
    pub fn unsettled(&mut self, until: Time) {
        self.unsettled = self.unsettled.max(until);
    }

    /// Whether a liar's slot from before that time is not everywhere yet, and not due either.
    pub fn awaits(
        &self,
        now: Time,
        before: Time,
        up: &NodeSet,
        (keys, holds): (&Keys, Holds<'_>),
    ) -> bool {
        let patience = self.patience(keys);
        self.slots.iter().any(|slot| {
            let due = |p: &Duration| now < slot.since.max(self.unsettled).after(*p);
            let due = patience.get(&slot.author).is_some_and(due);
            due && slot.since <= before
                && slot.delivered.meets(up)
                && self.lacking(slot, up, (keys, holds)).first.is_some()
        })
    }

    /// The run is over: L1 and L2 for the honest nodes that are up. A slot that only its author, or
    /// only nodes that are down, ever had is nobody's to deliver while those are down.
    pub fn end(&self, now: Time, up: &NodeSet, of: (&Keys, Holds<'_>), facts: &mut Facts) {
        let (keys, patience) = (of.0, self.patience(of.0));
        for slot in &self.slots {
            let author = slot.author as usize;
            let published = slot.published && up.contains(author);
            let within = patience.get(&slot.author).copied().unwrap_or_default();
            let due = slot.since.max(self.unsettled).after(within);
            let due = keys.is_honest(slot.author) || now >= due;
            let delivered = due && slot.delivered.meets(up);
            if !published && !delivered {
                continue;
            }
            let Lacking { first, others, skipped } = self.lacking(slot, up, of);
            facts.add(Fact::Skipped, skipped);
            let Some(first) = first else { continue };
            let seq = slot.seq;
            let rule = if published { "L1" } else { "L2" };
            facts.broken(rule, now, Some(first), || {
                format!("never delivered slot {seq} of node {author}, as {others} others")
            });
        }
    }
}
