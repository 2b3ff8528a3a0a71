//! What a node reports about itself: plain values, all taken at one moment.

use std::collections::BTreeMap;

use super::{Ban, LinkId, Reason, Time};
use crate::crypto::PublicKey;
use crate::wire::BatchId;

/// Counters since the start; they never decrease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages published by this node.
    pub published: u64,
    /// Messages delivered by this node, its own included.
    pub delivered: u64,
    /// Batches received that were known already.
    pub duplicates: u64,
    /// Rejections by reason, copies and knocks included.
    pub rejected: BTreeMap<Reason, u64>,
    /// How many of the rejections are plain copies.
    pub copies: u64,
    /// Delivered messages by claimed hops, 0 to 15; the last entry counts 15 and more.
    pub hops: [u64; 16],
    /// Frames not sent for lack of credit or queue room, by class name.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Signatures given to the checkers.
    pub checks: u64,
    /// Ranges of slots given up because no reachable member had them.
    pub given_up: u64,
    /// Damaged rows of the store.
    pub damaged: u64,
}

/// A link, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The id by which frames and logs name it.
    pub link: LinkId,
    /// Whether this node dialled; else the peer did.
    pub dialled: bool,
    /// Whether this node chose the link and pushes to it, rather than visiting or having been
    /// chosen.
    pub chosen: bool,
    /// Whether the peer's hello came.
    pub ready: bool,
    /// When the link came up.
    pub since: Time,
    /// Frames received since it came up.
    pub frames_in: u64,
    /// Frames sent since it came up.
    pub frames_out: u64,
    /// Bytes of the frames received.
    pub bytes_in: u64,
    /// Bytes of the frames sent.
    pub bytes_out: u64,
    /// Batches from the link whose signatures are being checked.
    pub unverified: u64,
    /// This node's wants that the peer has not answered.
    pub open_wants: u64,
    /// Batches that this link delivered first.
    pub first_deliveries: u64,
    /// Batches from this link that were known already.
    pub duplicates: u64,
    /// Frames without news for which credit is still withheld.
    pub owed: u64,
}

/// A member other than this node, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Key of the member.
    pub peer: PublicKey,
    /// The ready link to it, if there is one.
    pub link: Option<LinkView>,
    /// Its last ban, expired or not.
    pub ban: Option<Ban>,
    /// Failed dials in a row.
    pub failed_dials: u32,
    /// Rejections of its frames and links since the start, by reason; plain copies are not counted.
    pub rejected: BTreeMap<Reason, u64>,
}

/// An author's lane, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Key of the author, a member or not.
    pub author: PublicKey,
    /// The highest slot below which every slot is held, pruned or in a hole.
    pub tip: u64,
    /// The id of the batch in the tip's slot; zeros if that slot is not held.
    pub tip_id: BatchId,
    /// Slots held above the tip.
    pub above: u64,
    /// Highest slot whose payload is pruned; 0 if none.
    pub floor: u64,
    /// Whether two ids in one slot, or a broken chain, were seen: the author equivocated.
    pub conflicted: bool,
}

/// The state of a node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Key of this node.
    pub key: PublicKey,
    /// The time of the snapshot.
    pub now: Time,
    /// Every other member, in the order of their keys.
    pub peers: Vec<PeerView>,
    /// The lanes that are not empty, in the order of their keys.
    pub lanes: Vec<LaneView>,
    /// Messages waiting to be signed.
    pub waiting: u64,
    /// Totals since the node started.
    pub counters: Counters,
}

impl Snapshot {
    /// How many links are ready, that is, the peer's hello came.
    pub fn ready_links(&self) -> usize {
        self.peers.iter().filter(|p| p.link.as_ref().is_some_and(|l| l.ready)).count()
    }

    /// How many bans are in force.
    pub fn bans(&self) -> usize {
        self.peers.iter().filter(|p| p.ban.is_some_and(|ban| ban.until > self.now)).count()
    }
}

/// Called with a collection's name, its number of entries and its limit.
pub(super) type Note<'a> = &'a mut dyn FnMut(&'static str, usize, usize);
