//! Rules that must hold after every input, judged by what the node was seen to do. The node itself
//! is asked only how full it is.

use std::collections::{BTreeMap, BTreeSet};

use loyal::crypto::PublicKey;
use loyal::protocol::{Durability, Node, Record, StoredBatch};
use loyal::wire::{BatchId, Frame, SlotId};

use super::disk::Disk;
use super::pool::{HONEST, Pool};

/// What the node was seen to do.
#[derive(Default)]
pub(super) struct Rules {
    /// Slots that the node delivered, with their ids.
    delivered: BTreeMap<(PublicKey, u64), BatchId>,
    /// Ids that the node asked to have written, or found at its start.
    held: BTreeSet<BatchId>,
    /// The node's own slots that it signed.
    signed: BTreeMap<u64, BatchId>,
    /// The highest slot of its own for which the node was told that the signature is good.
    shown: u64,
    tips: BTreeMap<PublicKey, u64>,
    /// The newest rejection, as text for error messages.
    rejected: String,
}

type Verdict = Result<(), String>;

impl Rules {
    /// Notes that the check of a statement succeeded.
    pub(super) fn proved(&mut self, own: bool, seq: u64) {
        if own {
            self.shown = self.shown.max(seq);
        }
    }

    /// Judges a write that the node asks for.
    pub(super) fn write(
        &mut self,
        record: &Record,
        durability: Durability,
        own: PublicKey,
        pool: &Pool,
    ) -> Verdict {
        match record {
            Record::Batch(stored) => self.write_batch(stored, durability, own, pool),
            Record::Holes { tip, holes, .. } => {
                let apart = holes.windows(2).all(|two| two[0].to < two[1].from);
                let within = holes.iter().all(|hole| 0 < hole.from && hole.from <= hole.to);
                let below = holes.last().is_none_or(|hole| hole.to <= *tip);
                let few = holes.len() <= 2048;
                let sound = apart && within && below && few;
                if sound { Ok(()) } else { Err(format!("holes that cannot be: {record:?}")) }
            }
            Record::Ban(ban) => {
                let honest = pool.identities[HONEST].public();
                if ban.peer == honest || ban.peer == own {
                    let why = &self.rejected;
                    return Err(format!("somebody honest is banned: {ban:?}, for {why}"));
                }
                Ok(())
            }
            Record::Rejection(row) => {
                self.rejected.clone_from(&row.detail);
                let kept = row.bytes.as_deref().map_or(0, <[u8]>::len) <= 4096;
                let short = row.head.len() <= 64 && row.detail.len() <= 200;
                let bounded = kept && short && row.count > 0;
                if bounded { Ok(()) } else { Err(format!("an unbounded rejection: {row:?}")) }
            }
        }
    }

    fn write_batch(
        &mut self,
        stored: &StoredBatch,
        durability: Durability,
        own: PublicKey,
        pool: &Pool,
    ) -> Verdict {
        let header = &stored.batch.header;
        if !pool.is_sound(&stored.batch) || stored.id != stored.batch.id() {
            return Err(format!("what does not verify is kept: {header:?}"));
        }
        self.held.insert(stored.id);
        if header.author != own || stored.from.is_some() {
            return Ok(());
        }
        if durability != Durability::Synced {
            return Err("an own batch is not synced".into());
        }
        let before = self.signed.insert(header.seq, stored.id);
        if before.is_some_and(|before| before != stored.id) {
            return Err(format!("slot {} is signed twice", header.seq));
        }
        if header.seq <= self.shown {
            let shown = self.shown;
            return Err(format!("slot {} is signed, though it was shown {shown}", header.seq));
        }
        Ok(())
    }

    /// Notes that a write failed: an own batch never left the node, so its slot may be signed
    /// again.
    pub(super) fn not_written(&mut self, record: &Record) {
        if let Record::Batch(stored) = record {
            self.signed.retain(|_, id| *id != stored.id);
        }
    }

    /// Judges a delivery.
    pub(super) fn deliver(&mut self, stored: &StoredBatch, pool: &Pool) -> Verdict {
        let header = &stored.batch.header;
        if !pool.is_sound(&stored.batch) || stored.id != stored.batch.id() {
            return Err(format!("what does not verify is delivered: {header:?}"));
        }
        if !stored.first || !self.held.contains(&stored.id) {
            return Err(format!("delivered before it is written, or as a second: {header:?}"));
        }
        if self.delivered.insert((header.author, header.seq), stored.id).is_some() {
            return Err(format!("slot {} of {} is delivered twice", header.seq, header.author));
        }
        Ok(())
    }

    /// Judges a frame: each batch that the node sends must be its own and synced, or held.
    pub(super) fn say(&self, frame: &Frame, own: PublicKey, disk: &Disk) -> Verdict {
        let batch = match frame {
            Frame::Push(push) => &push.batch,
            Frame::Reply(reply) => &reply.batch,
            Frame::Announce(announce) => return self.all_held(&announce.items),
            Frame::Differ(differ) => return self.all_held(&differ.above),
            _ => return Ok(()),
        };
        let (seq, id) = (batch.header.seq, batch.id());
        if self.signed.get(&seq) == Some(&id) && !disk.is_safe(&own, seq, &id) {
            return Err(format!("own slot {seq} leaves before it is synced"));
        }
        self.all_held(&[SlotId { author: batch.header.author, seq, id }])
    }

    fn all_held(&self, items: &[SlotId]) -> Verdict {
        match items.iter().find(|item| !self.held.contains(&item.id)) {
            Some(item) => Err(format!("it names what it never held: {item:?}")),
            None => Ok(()),
        }
    }

    /// Notes that a row was set aside: its slot may be delivered once more.
    pub(super) fn lost(&mut self, author: PublicKey, seq: u64) {
        self.delivered.remove(&(author, seq));
    }

    /// Notes a crash: what was not on disk may come again.
    pub(super) fn crash(&mut self, own: PublicKey, disk: &Disk) {
        self.delivered.retain(|(author, seq), _| disk.knows(author, *seq));
        self.signed.retain(|seq, id| disk.is_safe(&own, *seq, id));
        self.held.extend(disk.rows().map(|stored| stored.id));
        self.tips.clear();
        // The node may have forgotten what it was shown and did not write down.
        self.shown = self.signed.last_key_value().map_or(0, |(seq, _)| *seq);
    }

    /// Judges the state of the node between two inputs.
    pub(super) fn settled(&mut self, node: &Node) -> Verdict {
        let mut over = None;
        node.occupy(&mut |name, entries, limit| {
            if entries > limit {
                over = Some(format!("{name} has {entries} of {limit}"));
            }
        });
        if let Some(over) = over {
            return Err(over);
        }
        for lane in node.lanes() {
            let before = self.tips.insert(lane.author, lane.tip);
            if before.is_some_and(|before| lane.tip < before) || lane.floor > lane.tip {
                return Err(format!("a tip or floor that cannot be, after {before:?}: {lane:?}"));
            }
        }
        Ok(())
    }
}
