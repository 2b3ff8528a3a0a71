//! What a node shows of itself: plain values, taken at one moment.

use std::collections::BTreeMap;

use super::{Ban, LinkId, Reason, Time};
use crate::crypto::PublicKey;
use crate::wire::BatchId;

/// Counters since the start; each only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages published here.
    pub published: u64,
    /// Messages delivered here, own ones too.
    pub delivered: u64,
    /// Copies of known batches that came.
    pub duplicates: u64,
    /// Rejections by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// How many of those are plain copies.
    pub copies: u64,
    /// Deliveries of messages by claimed hops, 0 to 15; the last stands for more.
    pub hops: [u64; 16],
    /// Frames that were not sent for want of credit or room, by class name.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Signature checks asked for.
    pub checks: u64,
    /// Ranges of slots that were given up: nobody who could be reached had them.
    pub given_up: u64,
    /// Rows of the store that were damaged.
    pub damaged: u64,
}

/// A link, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Its name.
    pub link: LinkId,
    /// Whether we dialled.
    pub dialled: bool,
    /// Whether we chose it (and push to it), rather than visit or be chosen.
    pub chosen: bool,
    /// Whether its hello came.
    pub ready: bool,
    /// Since when.
    pub since: Time,
    /// Frames received on it.
    pub frames_in: u64,
    /// Frames sent on it.
    pub frames_out: u64,
    /// Bytes received on it.
    pub bytes_in: u64,
    /// Bytes sent on it.
    pub bytes_out: u64,
    /// Statements of it that are being checked.
    pub unverified: u64,
    /// Wants that it has not answered.
    pub open_wants: u64,
    /// Batches that came from it first.
    pub first_deliveries: u64,
    /// Known batches that came from it.
    pub duplicates: u64,
    /// Useless frames that credit is still withheld for.
    pub owed: u64,
}

/// A member other than this node, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: PublicKey,
    /// Its link, if there is one.
    pub link: Option<LinkView>,
    /// Its last ban, expired or not.
    pub ban: Option<Ban>,
    /// Failed dials in a row.
    pub failed_dials: u32,
    /// Rejections of its frames since the start, by reason.
    pub rejected: BTreeMap<Reason, u64>,
}

/// An author's lane, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Whose.
    pub author: PublicKey,
    /// Highest slot below which all but the holes is held or pruned.
    pub tip: u64,
    /// Its id; zeros if it is not held.
    pub tip_id: BatchId,
    /// Slots held above the tip.
    pub above: u64,
    /// Highest slot whose payload is pruned.
    pub floor: u64,
    /// Whether two ids in one slot, or a broken chain, were seen.
    pub conflicted: bool,
}

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Who.
    pub key: PublicKey,
    /// When.
    pub now: Time,
    /// Every other member, in the order of keys.
    pub peers: Vec<PeerView>,
    /// Lanes that are not empty, in the order of keys.
    pub lanes: Vec<LaneView>,
    /// Messages waiting to be signed.
    pub waiting: u64,
    /// Counters.
    pub counters: Counters,
}

impl Snapshot {
    /// Links whose hello came.
    pub fn ready_links(&self) -> usize {
        self.peers.iter().filter(|p| p.link.as_ref().is_some_and(|l| l.ready)).count()
    }

    /// Bans in force.
    pub fn bans(&self) -> usize {
        self.peers.iter().filter(|p| p.ban.is_some_and(|ban| ban.until > self.now)).count()
    }
}

/// Takes a collection's name, its entries and its limit.
pub(super) type Note<'a> = &'a mut dyn FnMut(&'static str, usize, usize);
