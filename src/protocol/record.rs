//! What the node wants kept, and what a start finds again.

use std::sync::Arc;

use super::{CountsAs, Reason, Time};
use crate::crypto::{Digest, PublicKey, Signature, Verdict, check};
use crate::wire::{Batch, BatchId, SignedSlot};

/// A value whose signature and content were checked. Only this reaches store, delivery and relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl Verified<Batch> {
    /// The batch, if the verdict on its signature is good and its body is the one signed.
    pub fn new(batch: Batch, verdict: Verdict) -> Option<Self> {
        (verdict.is_good() && batch.content_matches()).then_some(Self(batch))
    }

    /// A batch that this node has just signed. What comes from a disk is no such thing: see
    /// [`StoredBatch::from_disk`].
    pub fn trusted(batch: Batch) -> Self {
        Self(batch)
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A batch as it is kept: one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The batch's id, so that nobody hashes it again.
    pub id: BatchId,
    /// The batch.
    pub batch: Arc<Verified<Batch>>,
    /// Links that it crossed to come here, as the last sender claims; 0 for an own batch.
    pub hops: u8,
    /// The neighbour that it came from first; `None` for a batch that was published here.
    pub from: Option<PublicKey>,
    /// When it was delivered here.
    pub delivered_at: Time,
    /// Whether it is the slot's first batch, which is delivered; a second one is kept as evidence
    /// only.
    pub first: bool,
}

/// A row as a disk gave it back: nothing of it is believed.
#[derive(Clone, Debug)]
pub struct DiskRow {
    /// The id that it is kept under.
    pub id: BatchId,
    /// The batch that it holds.
    pub batch: Batch,
    /// See [`StoredBatch::hops`].
    pub hops: u8,
    /// See [`StoredBatch::from`].
    pub from: Option<PublicKey>,
    /// See [`StoredBatch::delivered_at`].
    pub delivered_at: Time,
    /// See [`StoredBatch::first`].
    pub first: bool,
}

impl StoredBatch {
    /// The row, if it is still what was written: its id is the header's, of this network, its body
    /// the one that the header names, and its author signed it. One flipped bit, and whoever gets
    /// it would blame this node. Takes as long as a signature check, and a hash of the body.
    pub fn from_disk(row: DiskRow, network: &Digest) -> Option<Self> {
        let DiskRow { id, batch, hops, from, delivered_at, first } = row;
        let header = &batch.header;
        if header.network != *network || header.id() != id || batch.check_shape().is_err() {
            return None;
        }
        let verdict = check(&header.author, &header.statement(), &batch.signature);
        let batch = Arc::new(Verified::new(batch, verdict)?);
        Some(Self { id, batch, hops, from, delivered_at, first })
    }
}

/// A ban of a member, kept across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub peer: PublicKey,
    /// What for.
    pub reason: Reason,
    /// Since when.
    pub at: Time,
    /// Until when.
    pub until: Time,
    /// How many bans this peer has had, this one included.
    pub strikes: u32,
}

/// One row of the rejection log. Text in it is bounded; `topic` is a peer's word: escape before
/// printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// When, of the first if several are folded.
    pub at: Time,
    /// Why.
    pub reason: Reason,
    /// The neighbour that sent it; `None` for what came through the node's own API.
    pub link: Option<PublicKey>,
    /// The author that it names: a claim, unless it is proven.
    pub author: Option<PublicKey>,
    /// Whether the author's own signature over what is refused was checked and is good.
    pub proven: bool,
    /// The slot that it names.
    pub seq: Option<u64>,
    /// The id that it would have.
    pub id: Option<BatchId>,
    /// The topic of its first message.
    pub topic: Option<String>,
    /// The hops that it claims.
    pub hops: Option<u8>,
    /// Bytes of the frame.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame, without the length prefix.
    pub frame: Digest,
    /// The frame's first bytes, at most 64.
    pub head: Vec<u8>,
    /// The frame, cut off after [`Rejection::MOST_BYTES`]; the first one's if several are folded.
    /// `None` where no frame came, as for a link under a ban.
    pub bytes: Option<Arc<[u8]>>,
    /// How it counts.
    pub counts_as: CountsAs,
    /// Equal rejections that this row stands for.
    pub count: u64,
}

impl Rejection {
    /// Bytes of its frame that a rejection keeps at most.
    pub const MOST_BYTES: usize = 4096;
}

/// A range of slots below a lane's tip that a node does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// First slot.
    pub from: u64,
    /// Last slot.
    pub to: u64,
    /// Whether it is given up: pruned by others or void, as far as could be asked. What is offered
    /// all the same is still taken.
    pub gone: bool,
}

/// What the node wants kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A batch, own or another's.
    Batch(StoredBatch),
    /// A lane's tip and its holes below it, in place of those that are kept; slots that are kept as
    /// batches count as held whatever a hole says. Readers are told of a hole that is gone.
    Holes {
        /// Whose lane.
        author: PublicKey,
        /// The highest slot below which all slots but the holes are held or pruned.
        tip: u64,
        /// Ascending, at most `MAX_HOLES`.
        holes: Vec<Hole>,
    },
    /// A ban.
    Ban(Ban),
    /// A row of the rejection log.
    Rejection(Box<Rejection>),
}

/// How safe a write must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, power cuts included.
    Synced,
    /// In the next group commit; a power cut may lose it, `kill -9` may not once it is answered.
    Lazy,
}

/// One slot that a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredSlot {
    /// The slot.
    pub seq: u64,
    /// The slot that it follows.
    pub base: u64,
    /// The batch in it.
    pub id: BatchId,
    /// `Header::rest` of that batch.
    pub rest: Digest,
    /// The author's signature.
    pub signature: Signature,
    /// Whether it is the slot's first batch.
    pub first: bool,
}

impl RestoredSlot {
    /// Whether the id is that of a statement which this author signed in this network: what a start
    /// finds is believed no more than what a neighbour says.
    pub fn is_signed(&self, author: PublicKey, network: &Digest) -> bool {
        let Self { seq, rest, signature, .. } = *self;
        let slot = SignedSlot { author, seq, rest, signature };
        slot.id(network) == self.id
            && check(&author, &slot.statement(network), &signature).is_good()
    }
}

/// One author's lane that a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredLane {
    /// Whose lane.
    pub author: PublicKey,
    /// The tip of the last `Record::Holes` of it; 0 if there is none.
    pub tip: u64,
    /// Its holes, ascending, at most `MAX_HOLES`, less the slots that are held and those up to the
    /// floor; all at or below the higher of `tip` and the highest slot less `WINDOW + RECENT`.
    /// After an unclean end or a damaged row also what turned out to be missing there.
    pub holes: Vec<Hole>,
    /// Everything at or below this slot was held and its payload pruned; 0 if nothing.
    pub floor: u64,
    /// The newest slots, ascending by `(seq, first before second)`: at least all above the highest
    /// slot less `WINDOW + RECENT`. Below them, and up to `tip`, no slot but the holes is
    /// missing, as a node never takes a slot that lies more than `WINDOW` above its tip. Ids are
    /// those of the rows' headers; signatures are checked where a slot may be the lane's tip, which
    /// is shown to others: where the slot after it is not held.
    pub slots: Vec<RestoredSlot>,
}

impl RestoredLane {
    /// A lane of which nothing was found.
    pub fn new(author: PublicKey) -> Self {
        Self { author, tip: 0, holes: Vec::new(), floor: 0, slots: Vec::new() }
    }
}

/// Everything that a start found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Lanes, in any order, of keys of the network.
    pub lanes: Vec<RestoredLane>,
    /// The last ban of each peer, expired ones too: terms double across restarts.
    pub bans: Vec<Ban>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Identity;
    use crate::wire::{Blob, Entry};

    fn row() -> DiskRow {
        let entry = Entry { topic: "t".into(), payload: vec![1, 2, 3] };
        let (author, network) = (Identity::from_seed(&[3; 32]), Digest([8; 32]));
        let batch = Batch::sign(&author, network, 2, Digest([1; 32]), 5, &[entry]);
        let batch = batch.expect("signs");
        let (id, delivered_at) = (batch.id(), Time(9));
        DiskRow { id, batch, hops: 1, from: None, delivered_at, first: true }
    }

    #[test]
    fn what_comes_from_a_disk_is_what_was_written_or_nothing() {
        let network = Digest([8; 32]);
        assert!(StoredBatch::from_disk(row(), &network).is_some());
        assert!(StoredBatch::from_disk(row(), &Digest([9; 32])).is_none(), "of another network");
        let damage: [fn(&mut DiskRow); 9] = [
            |row| row.id.0[5] ^= 1,
            |row| row.batch.header.author.0[5] ^= 1,
            |row| row.batch.header.seq ^= 1,
            |row| row.batch.header.base ^= 1,
            |row| row.batch.header.prev.0[5] ^= 1,
            |row| row.batch.header.created_at ^= 1,
            |row| row.batch.header.content.0[5] ^= 1,
            |row| row.batch.signature.0[40] ^= 1,
            |row| {
                let mut body = row.batch.body.to_vec();
                body[9] ^= 1;
                row.batch.body = Blob::new(body).expect("short");
            },
        ];
        for (number, damage) in damage.into_iter().enumerate() {
            let mut bad = row();
            damage(&mut bad);
            assert!(StoredBatch::from_disk(bad, &network).is_none(), "{number}");
        }
        let DiskRow { id, batch, .. } = row();
        let (rest, signature) = (batch.header.rest(), batch.signature);
        let slot = RestoredSlot { seq: 2, base: 1, id, rest, signature, first: true };
        let author = batch.header.author;
        assert!(slot.is_signed(author, &network));
        assert!(!slot.is_signed(author, &Digest([9; 32])));
        assert!(!RestoredSlot { seq: 3, ..slot }.is_signed(author, &network));
        let signature = Signature([0; 64]);
        assert!(!RestoredSlot { signature, ..slot }.is_signed(author, &network));
    }
}
