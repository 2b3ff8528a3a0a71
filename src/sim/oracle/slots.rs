//! Slots: who signed what in them, and who delivered it. I1, I2, C1, L1, L2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::facts::{Fact, Facts};
use super::keys::Keys;
use super::set::NodeSet;
use crate::crypto::Signature;
use crate::protocol::{Record, StoredBatch, Time, Verified};
use crate::wire::limits::{AUTHOR_BATCHES_PER_S, WINDOW};
use crate::wire::{Batch, BatchId};

/// A slot of an author that lies, or of one that is no node, is everywhere this long after its
/// first delivery: a window of slots at the rate that an author's quota grants, and as much again.
/// An honest author's are once the liveness phase is over.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(2 * WINDOW.div_ceil(AUTHOR_BATCHES_PER_S));
/// Bytes of batches that are recognised without hashing them again.
const RECOGNISED: usize = 16 << 20;

#[derive(Debug, Default)]
struct Slot {
    author: u32,
    seq: u64,
    /// Ids that its author, an honest node, signed.
    signed: Vec<BatchId>,
    /// The id that was delivered first.
    first: Option<BatchId>,
    /// When.
    since: Time,
    /// Whether another one was delivered elsewhere.
    conflict: bool,
    /// Whether its honest author told its client that it is published.
    published: bool,
    delivered: NodeSet,
}

/// All slots that anybody signed or delivered.
#[derive(Debug, Default)]
pub(super) struct Slots {
    index: BTreeMap<(u32, u64), usize>,
    slots: Vec<Slot>,
    /// Slot and node of deliveries that a crash undid.
    undone: BTreeSet<(usize, usize)>,
    recognised: BTreeMap<Signature, (Arc<Verified<Batch>>, BatchId)>,
    bytes: usize,
}

impl Slots {
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
    /// safe, so that a slot whose batch a crash lost may be signed again, and no other.
    pub fn signed(&mut self, now: Time, node: usize, stored: &StoredBatch, facts: &mut Facts) {
        let Some(id) = self.id_of(&stored.batch) else { return };
        let Ok(author) = u32::try_from(node) else { return };
        let seq = stored.batch.header.seq;
        let slot = self.slot(author, seq);
        let signed = &mut self.slots[slot].signed;
        if !signed.contains(&id) {
            if let Some(other) = signed.first() {
                let what = || format!("signs {id} as its slot {seq}, after {other}");
                facts.broken("C1", now, Some(node), what);
            }
            signed.push(id);
            facts.count(Fact::Signed);
        }
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
        match slot.first {
            None => (slot.first, slot.since) = (Some(id), now),
            Some(first) if first != id && !slot.conflict => {
                slot.conflict = true;
                facts.count(Fact::ConflictingSlots);
            }
            Some(_) => {}
        }
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
                self.slots[at].signed.retain(|id| *id != stored.id);
            }
            if self.slots[at].delivered.remove(node) {
                self.undone.insert((at, node));
                facts.count(Fact::LostUnsynced);
            }
        }
    }

    /// The run is over: L1 and L2 for the honest nodes that are up. A slot that only its author, or
    /// only nodes that are down, ever had is nobody's to deliver while those are down. An author
    /// has what it signed: a crash between the sync and its answer leaves it in its store,
    /// never to be delivered there.
    pub fn end(&self, now: Time, up: &NodeSet, keys: &Keys, facts: &mut Facts) {
        for slot in &self.slots {
            let author = slot.author as usize;
            let published = slot.published && up.contains(author);
            let due = keys.is_honest(slot.author) || now >= slot.since.after(EVERYWHERE_WITHIN);
            let delivered = due && slot.delivered.meets(up);
            if !published && !delivered {
                continue;
            }
            let own = |node: &usize| *node == author && !slot.signed.is_empty();
            let mut lacking = up.without(&slot.delivered).filter(|node| !own(node));
            let Some(first) = lacking.next() else { continue };
            let others = lacking.count();
            let seq = slot.seq;
            let rule = if published { "L1" } else { "L2" };
            facts.broken(rule, now, Some(first), || {
                format!("never delivered slot {seq} of node {author}, as {others} others")
            });
        }
    }
}
