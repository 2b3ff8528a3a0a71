//! Slots: which batches were signed in each, and which nodes delivered them. Checks I1, I2, I6, C1,
//! L1 and L2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::checks::Shown;
use super::facts::{Fact, Facts};
use super::nodes::{Keys, NodeSet};
use crate::crypto::{PublicKey, Signature};
use crate::protocol::{Record, StoredBatch, Time, Verified};
use crate::wire::limits::{AUTHOR_BATCHES_PER_S, AUTHOR_BYTES_PER_S, RESTART_BATCHES, WINDOW};
use crate::wire::{Batch, BatchId};

/// A slot of a lying author, or of an author without a node, must be everywhere this long after its
/// first delivery: twice the time that the author's quota takes for a window of slots.
/// [`Slots::patience`] adds the time that the quota takes for everything delivered of the author,
/// which may have shown different slots to different nodes. Slots of honest authors are due at the
/// end of the liveness phase.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(2 * WINDOW.div_ceil(AUTHOR_BATCHES_PER_S));
/// Total size of the batches whose ids are cached, so that they are not hashed again, in bytes.
const RECOGNISED: usize = 16 << 20;

#[derive(Debug, Default)]
struct Slot {
    author: u32,
    seq: u64,
    /// Ids that its author, an honest node, signed, without those that a crash lost before they
    /// were safe.
    signed: Vec<BatchId>,
    /// The signed id that the author holds and must not contradict.
    own: Option<BatchId>,
    /// Length of the body that was delivered first.
    bytes: u64,
    /// Number of batches that the slot counts for in its author's quota.
    counts: u64,
    /// The id that was delivered first.
    first: Option<BatchId>,
    /// Time of the first delivery.
    since: Time,
    /// Whether a batch with another id was delivered at some node.
    conflict: bool,
    /// Whether its author, if honest, told a client that it is published.
    published: bool,
    delivered: NodeSet,
    /// Nodes that wrote the slot again after delivering it, in a slot with two batches.
    second: NodeSet,
}

/// What a node's disk holds of an author's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Held {
    /// The first batch of the slot can be read.
    Readable,
    /// Nothing, and the slot would not be kept: newer slots have taken the room.
    Passed,
    /// Nothing, but there is room for the slot.
    Nothing,
}

/// Reports what a node's disk holds of an author's slot.
pub(super) type Holds<'a> = &'a dyn Fn(usize, &PublicKey, u64) -> Held;

/// All slots that a node signed or delivered.
#[derive(Debug, Default)]
pub(super) struct Slots {
    index: BTreeMap<(u32, u64), usize>,
    slots: Vec<Slot>,
    /// Slot index and node of each delivery that a crash, a bad row or a lost disk undid.
    undone: BTreeSet<(usize, usize)>,
    /// Links may have been missing until this time; the slots of liars are due counted from here.
    unsettled: Time,
    /// Extra time allowed in slow networks.
    slack: Duration,
    recognised: BTreeMap<Signature, (Arc<Verified<Batch>>, BatchId)>,
    bytes: usize,
}

/// Nodes that lack a slot: the first one, the number of others, and the number that can no longer
/// get it.
#[derive(Default)]
struct Lacking {
    first: Option<usize>,
    others: usize,
    skipped: u64,
}

impl Slot {
    /// Forgets an id that its author signed but lost before it was safe.
    fn forget_own(&mut self, id: &BatchId) {
        self.signed.retain(|signed| signed != id);
        self.own = self.own.filter(|own| own != id);
    }
}

impl Slots {
    /// Slots of one author, delivered at one node. With `conflict`, the last one is in conflict.
    #[cfg(test)]
    pub(super) fn of(author: u32, seqs: &[u64], node: usize, conflict: bool) -> Self {
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

    /// The id of a batch as computed here; `None` if its body is not the one that was signed.
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

    /// A node writes a batch of its own, which means that it signed it. Nothing is sent before that
    /// write is safe, so a slot whose batch was lost in a crash may be signed again. So may a slot
    /// whose row the disk lost later, unless the node was shown that it had signed that slot or a
    /// later one.
    pub(super) fn signed(
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
                let what = || format!("signs {id} for its slot {seq} after signing {other} for it");
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

    /// A node's own batch could not be written, and is never sent.
    pub(super) fn unwritten(&mut self, node: usize, stored: &StoredBatch) {
        let Ok(author) = u32::try_from(node) else { return };
        let slot = self.slot(author, stored.batch.header.seq);
        self.slots[slot].forget_own(&stored.id);
    }

    /// A node told a client that the message in its slot `seq` is published.
    pub(super) fn published(&mut self, node: usize, seq: u64) {
        if let Ok(author) = u32::try_from(node) {
            let slot = self.slot(author, seq);
            self.slots[slot].published = true;
        }
    }

    pub(super) fn delivered(
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
            let what = || format!("delivered slot {seq} of {author} with a wrong author or id");
            return facts.broken("I1", now, Some(node), what);
        };
        let at = self.slot(number, seq);
        let slot = &mut self.slots[at];
        if keys.is_honest(number) && !slot.signed.contains(&id) {
            let what =
                || format!("delivered {id} as slot {seq} of {author}, which never signed it");
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

    /// A node writes a batch. Returns whether it is the second batch of a slot delivered before.
    pub(super) fn written(&mut self, node: usize, stored: &StoredBatch, keys: &Keys) -> bool {
        let header = &stored.batch.header;
        let Some(number) = keys.number(&header.author) else { return false };
        let at = self.slot(number, header.seq);
        let slot = &mut self.slots[at];
        slot.conflict && slot.delivered.contains(node) && slot.second.insert(node)
    }

    /// Whether a node that delivered one of a slot's two batches still lacks the other.
    pub(super) fn awaits_second(&self) -> bool {
        let lacks = |slot: &&Slot| slot.delivered.without(&slot.second).next().is_some();
        self.slots.iter().filter(|slot| slot.conflict).any(|slot| lacks(&slot))
    }

    /// Number of slots above the tips of a node's lanes that it never delivered although it
    /// delivered a later slot of the same author; at most a window per lane.
    pub(super) fn skipped_by(
        &self,
        node: usize,
        keys: &Keys,
        tip: impl Fn(&PublicKey) -> u64,
    ) -> u64 {
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

    /// A crash lost writes of a node, or rows of it were set aside: the deliveries that depended on
    /// them are undone. What a crash lost was not sent; a batch signed in a row that was safe may
    /// have been, and then `lost` is `None`.
    pub(super) fn gone(
        &mut self,
        node: usize,
        rows: &[Record],
        keys: &Keys,
        mut lost: Option<&mut Facts>,
    ) {
        for record in rows {
            let Record::Batch(stored) = record else { continue };
            let header = &stored.batch.header;
            let Some(author) = keys.number(&header.author).filter(|_| stored.first) else {
                continue;
            };
            let at = self.slot(author, header.seq);
            if author as usize == node {
                match stored.from {
                    None if lost.is_some() => self.slots[at].forget_own(&stored.id),
                    // The node may have lost it before and got it back from a peer.
                    _ => self.slots[at].own = None,
                }
            }
            if self.slots[at].delivered.remove(node) {
                self.undone.insert((at, node));
                if let Some(facts) = &mut lost {
                    facts.count(Fact::LostUnsynced);
                }
            }
        }
    }

    /// A node lost its whole disk.
    pub(super) fn wiped(&mut self, node: usize) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.author as usize == node {
                // Acknowledged batches were safe; L2 checks that some other node has them.
                (slot.own, slot.published) = (None, false);
            }
            if slot.delivered.remove(node) {
                self.undone.insert((at, node));
            }
        }
    }

    /// Which nodes that are up lack a slot that another one can still give. The author has what it
    /// signed: after a crash between the sync and its answer, the batch is in its store but is
    /// never delivered there. Counted as skipped: a slot that every honest node that is up has
    /// pruned, and a slot older than everything a node has room for.
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

    /// Whether at least `by` nodes that are up can give a slot; `by` counts as at least 1.
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

    /// Slots of honest authors, first delivered in the given range of time, that a node lacks while
    /// at least `by` others can give them. Returns author and number of the first, and how many
    /// more there are.
    pub(super) fn lacks(
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

    /// Whether every slot of an honest author that a node in `up` delivered is at all of them, as
    /// far as they can still get it.
    pub(super) fn is_level(&self, up: &NodeSet, (keys, holds): (&Keys, Holds<'_>)) -> bool {
        let of_honest = self.slots.iter().filter(|slot| keys.is_honest(slot.author));
        let mut held = of_honest.filter(|slot| slot.delivered.meets(up));
        held.all(|slot| self.lacking(slot, up, (keys, holds)).first.is_none())
    }

    /// How long after its first delivery a slot of each lying author is due.
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

    /// Sets the extra time that is allowed in slow networks.
    pub(super) fn allow(&mut self, slack: Duration) {
        self.slack = slack;
    }

    /// Links between honest nodes may be missing until `until`.
    pub(super) fn unsettled(&mut self, until: Time) {
        self.unsettled = self.unsettled.max(until);
    }

    /// Whether a liar's slot first delivered by `before` is missing at some node but not due yet.
    pub(super) fn awaits(
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

    /// Ends the run: checks L1 and L2 for the honest nodes that are up. A slot that only its
    /// author, or only nodes that are down, ever had is not expected while those nodes are down.
    pub(super) fn end(&self, now: Time, up: &NodeSet, of: (&Keys, Holds<'_>), facts: &mut Facts) {
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
                format!("never delivered slot {seq} of node {author}, nor did {others} others")
            });
        }
    }
}
