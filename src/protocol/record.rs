//! What the node stores, and what it finds again at start.

use std::sync::Arc;

use super::{CountsAs, Reason, Time};
use crate::crypto::{Digest, PublicKey, Signature, Validity, check};
use crate::wire::{Batch, BatchId, Header, SignedSlot};

/// A value whose signature and content were checked. Only verified values are stored, delivered or
/// relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl Verified<Batch> {
    /// The batch, if `verdict` is good and its body matches the signed content digest.
    pub fn new(batch: Batch, verdict: Validity) -> Option<Self> {
        (verdict.is_good() && batch.content_matches()).then_some(Self(batch))
    }

    /// Wraps a batch that this node has just signed. Not for batches read from disk: see
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

/// A batch as it is stored: one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch<B = Arc<Verified<Batch>>> {
    /// The batch's id, kept so that it need not be hashed again.
    pub id: BatchId,
    /// The batch: a verified one, unless it is a [`DiskRow`].
    pub batch: B,
    /// Links that it crossed to get here, as the last sender claims; 0 for a batch published here.
    pub hops: u8,
    /// The neighbour that delivered it first; `None` for a batch published here.
    pub from: Option<PublicKey>,
    /// When this node delivered it.
    pub delivered_at: Time,
    /// Whether it is the slot's first batch, which is the one delivered. A second one is kept only
    /// as evidence.
    pub first: bool,
}

/// A row as read from disk; nothing in it is trusted.
pub type DiskRow = StoredBatch<Batch>;

impl StoredBatch {
    /// Whether it is a batch of this slot.
    pub(crate) fn is_of(&self, author: &PublicKey, seq: u64) -> bool {
        self.batch.header.author == *author && self.batch.header.seq == seq
    }

    /// Returns the row if it is still what was written: its id matches the header, its network is
    /// `network`, its body matches the content digest, and the author's signature is good. Serving
    /// a row with a flipped bit would get this node blamed by the receiver. Costs one signature
    /// check and one hash of the body.
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

/// A ban of a member; kept across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Key of the banned member.
    pub peer: PublicKey,
    /// The reason of the rejection that caused it.
    pub reason: Reason,
    /// When the ban began, by this node's clock.
    pub at: Time,
    /// When it ends; the term doubles with each strike, up to a maximum.
    pub until: Time,
    /// How many bans the peer has had, this one included.
    pub strikes: u32,
}

/// One row of the rejection log. Its text is bounded in length; `topic` comes from a peer and must
/// be escaped before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// When it happened; for folded rows, the first time.
    pub at: Time,
    /// Why it was refused, which also says whose fault it was.
    pub reason: Reason,
    /// The neighbour that sent it; `None` if it came through the node's own API.
    pub link: Option<PublicKey>,
    /// The author named by the frame; unverified unless `proven`.
    pub author: Option<PublicKey>,
    /// Whether the author's signature over the refused statement was checked and is good.
    pub proven: bool,
    /// The slot named by the frame.
    pub seq: Option<u64>,
    /// The id computed from the header, or the id named by the frame.
    pub id: Option<BatchId>,
    /// The topic of the batch's first message.
    pub topic: Option<String>,
    /// The hops claimed by the frame.
    pub hops: Option<u8>,
    /// Length of the frame in bytes; 4 if only a length prefix came, 0 if nothing did.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame without its length prefix, or of the prefix if only that came; zeros if
    /// nothing came.
    pub frame: Digest,
    /// The first bytes of what `frame` covers, at most 64.
    pub head: Vec<u8>,
    /// The frame, cut off after [`Rejection::MOST_BYTES`]; for folded rows, the first frame. `None`
    /// where no whole frame came, as for a link of a banned peer.
    pub bytes: Option<Arc<[u8]>>,
    /// How it counts: lie, refusal, copy or knock.
    pub counts_as: CountsAs,
    /// How many equal rejections this row stands for.
    pub count: u64,
}

impl Rejection {
    /// Most bytes of a frame that a rejection keeps.
    pub const MOST_BYTES: usize = 4096;

    /// A rejection of which nothing else is known; counts once.
    pub fn bare(at: Time, reason: Reason, link: Option<PublicKey>, counts_as: CountsAs) -> Self {
        Self {
            at,
            reason,
            link,
            author: None,
            proven: false,
            seq: None,
            id: None,
            topic: None,
            hops: None,
            size: 0,
            detail: String::new(),
            frame: Digest::ZERO,
            head: vec![],
            bytes: None,
            counts_as,
            count: 1,
        }
    }
}

/// A range of slots below a lane's tip that the node does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// First slot of the range, from 1.
    pub from: u64,
    /// Last slot of the range, itself included.
    pub to: u64,
    /// Whether the range is given up: every member that could be asked has pruned it or never had
    /// it, or a restart header voids it. A batch offered for it later is still accepted.
    pub gone: bool,
}

/// What the node wants stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A batch of any author, this node's included.
    Batch(StoredBatch),
    /// A lane's tip and the holes below it; replaces the previous record of the lane. A slot stored
    /// as a batch counts as held whatever a hole says. Readers are told of holes that are gone.
    Holes {
        /// The author of the lane.
        author: PublicKey,
        /// The highest slot below which every slot is held, pruned or in a hole.
        tip: u64,
        /// Ascending, at most `MAX_HOLES`.
        holes: Vec<Hole>,
    },
    /// A new or changed ban of a member.
    Ban(Ban),
    /// A row of the rejection log.
    Rejection(Box<Rejection>),
}

/// How durable a write must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk; survives a power cut.
    Synced,
    /// In the next group commit. Once answered it survives `kill -9`, but not necessarily a power
    /// cut.
    Lazy,
}

/// One slot found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredSlot {
    /// The slot in the author's lane, from 1.
    pub seq: u64,
    /// The slot that its batch follows.
    pub base: u64,
    /// The id of its batch.
    pub id: BatchId,
    /// `Header::rest` of that batch.
    pub rest: Digest,
    /// The author's signature over [`SignedSlot::statement`].
    pub signature: Signature,
    /// Whether it is the slot's first batch.
    pub first: bool,
}

impl RestoredSlot {
    pub(crate) fn of(header: &Header, id: BatchId, signature: Signature, first: bool) -> Self {
        Self { seq: header.seq, base: header.base, id, rest: header.rest(), signature, first }
    }

    /// Whether the id belongs to a statement that `author` signed in `network`. What is found on
    /// disk is trusted no more than what a neighbour sends.
    pub fn is_signed(&self, author: PublicKey, network: &Digest) -> bool {
        let Self { seq, rest, signature, .. } = *self;
        let slot = SignedSlot { author, seq, rest, signature };
        slot.id(network) == self.id
            && check(&author, &slot.statement(network), &signature).is_good()
    }
}

/// One author's lane as found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredLane {
    /// The author of the lane.
    pub author: PublicKey,
    /// The tip in the lane's last `Record::Holes`; 0 if there is none.
    pub tip: u64,
    /// The holes, ascending, at most `MAX_HOLES`, without slots that are held or at or below the
    /// floor. All lie at or below `max(tip, highest slot − (WINDOW + RECENT))`. After an unclean
    /// stop or a damaged row this includes the slots found missing there.
    pub holes: Vec<Hole>,
    /// Every slot at or below this one was held and its payload is pruned; 0 if none.
    pub floor: u64,
    /// The newest slots, ascending by `(seq, first before second)`: at least all above the highest
    /// slot less `WINDOW + RECENT`. Below those, and up to `tip`, only the holes are missing,
    /// because a node never accepts a slot more than `WINDOW` above its tip. Ids come from the
    /// rows' headers. Signatures are checked where a slot may be the lane's tip, which is shown to
    /// others, that is, where the next slot is not held.
    pub slots: Vec<RestoredSlot>,
}

impl RestoredLane {
    /// A lane of which nothing was found.
    pub fn new(author: PublicKey) -> Self {
        Self { author, tip: 0, holes: Vec::new(), floor: 0, slots: Vec::new() }
    }
}

/// Everything found on disk at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The lanes of keys of the network, in any order.
    pub lanes: Vec<RestoredLane>,
    /// The last ban of each peer, expired ones included: ban terms double across restarts.
    pub bans: Vec<Ban>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{batch, restored};
    use crate::wire::Blob;

    fn row() -> DiskRow {
        let batch = batch(3, Digest([8; 32]), 2, Digest([1; 32]), [1, 2, 3]);
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
        let batch = row().batch;
        let (slot, author) = (restored(&batch), batch.header.author);
        assert!(slot.is_signed(author, &network));
        assert!(!slot.is_signed(author, &Digest([9; 32])));
        assert!(!RestoredSlot { seq: 3, ..slot }.is_signed(author, &network));
        let signature = Signature([0; 64]);
        assert!(!RestoredSlot { signature, ..slot }.is_signed(author, &network));
    }
}
