//! Reads from disk that peers cause a node to make. Checks R7.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::facts::{Fact, Facts, Leaky};
use super::links::Links;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time, Token};
use crate::wire::limits::{MAX_BODY, MAX_READS_PER_PEER, SERVE_BYTE_BURST, SERVE_BYTES_PER_S};
use crate::wire::{Frame, Want};

/// An open want, and whether the node has begun a read for it.
#[derive(Debug)]
struct Open {
    want: Want,
    reading: bool,
}

/// Open wants of one link. They count until the node itself is told that the link is gone, as
/// frames in its inbox are handled before that.
#[derive(Debug)]
struct Asked {
    peer: u32,
    wants: Vec<Open>,
}

/// A read: its slot, and the peer it is attributed to until the answer shows for whom it was.
#[derive(Clone, Copy, Debug)]
struct Reading {
    peer: u32,
    author: PublicKey,
    seq: u64,
    bytes: usize,
}

/// Open wants, reads under way, and how much was read for each peer.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// By node and its end of the link.
    open: BTreeMap<(usize, LinkId), Asked>,
    under_way: BTreeMap<(usize, Token), Reading>,
    /// By node: the last batch read and not yet answered. The next answer about its slot shows for
    /// which peer it was read.
    came: BTreeMap<usize, Reading>,
    /// Bytes read, by node and peer.
    read: BTreeMap<(usize, u32), Leaky>,
}

/// The range of all ends of a node's links.
fn links_of(node: usize) -> RangeInclusive<(usize, LinkId)> {
    (node, LinkId(0))..=(node, LinkId(u64::MAX))
}

impl Reads {
    /// A request arrived at this end.
    pub(super) fn asked(&mut self, node: usize, end: LinkId, frame: &[u8], links: &Links) {
        if let Ok(Frame::Request(request)) = Frame::decode(frame) {
            // The end may already be gone in the simulator.
            let peer = links.end(end).map_or(u32::MAX, |held| held.peer);
            let open = |want: &Want| Open { want: *want, reading: false };
            let asked = self.open.entry((node, end)).or_insert(Asked { peer, wants: Vec::new() });
            asked.wants.extend(request.wants.iter().map(open));
        }
    }

    /// A reply or a missing frame is sent from this end; both start with the ticket.
    pub(super) fn answered(
        &mut self,
        (now, node, end): (Time, usize, LinkId),
        frame: &[u8],
        facts: &mut Facts,
    ) {
        let ticket = frame.get(2..6).and_then(|bytes| bytes.try_into().ok());
        let ticket = ticket.map(u32::from_be_bytes);
        if let Some(asked) = self.open.get_mut(&(node, end))
            && let Some(place) = asked.wants.iter().position(|o| Some(o.want.ticket) == ticket)
        {
            let (gone, peer) = (asked.wants.remove(place), asked.peer);
            self.release(node, &gone);
            let of_it =
                |read: &&Reading| read.author == gone.want.author && read.seq == gone.want.seq;
            if let Some(read) = self.came.get(&node).filter(of_it).copied() {
                self.came.remove(&node);
                self.charge(now, node, Reading { peer, ..read }, facts);
            }
        }
    }

    /// The node is told that a link is gone, or closes it.
    pub(super) fn down(&mut self, node: usize, end: LinkId) {
        let Some(asked) = self.open.remove(&(node, end)) else { return };
        asked.wants.iter().for_each(|gone| self.release(node, gone));
    }

    /// A want is closed. If several links asked for its slot, the read made for it may have been
    /// attributed to another one of them.
    fn release(&mut self, node: usize, gone: &Open) {
        if gone.reading {
            return;
        }
        let (author, seq) = (gone.want.author, gone.want.seq);
        let same = |o: &&mut Open| o.reading && o.want.author == author && o.want.seq == seq;
        let mut others = self.open.range_mut(links_of(node));
        if let Some(other) = others.find_map(|(_, asked)| asked.wants.iter_mut().find(same)) {
            other.reading = false;
        }
    }

    /// A node begins to read a batch. Each want may cause at most one read. If several peers want
    /// the slot, the read is attributed to the one with the lowest bucket level.
    pub(super) fn begins(
        &mut self,
        (now, node, token): (Time, usize, Token),
        (author, seq): (&PublicKey, u64),
        facts: &mut Facts,
    ) {
        facts.count(Fact::Reads);
        let fits =
            |open: &Open| !open.reading && open.want.author == *author && open.want.seq == seq;
        let ends = self.open.range_mut(links_of(node)).map(|(_, asked)| asked);
        let least = ends
            .filter(|asked| asked.wants.iter().any(fits))
            .min_by_key(|asked| self.read.get(&(node, asked.peer)).map_or(0, |read| read.level));
        let Some(asked) = least else {
            return facts.broken("R7", now, Some(node), || {
                format!("reads slot {seq} of {author}, which no peer requested")
            });
        };
        if let Some(open) = asked.wants.iter_mut().find(|open| fits(open)) {
            open.reading = true;
        }
        let reading = Reading { peer: asked.peer, author: *author, seq, bytes: 0 };
        self.under_way.insert((node, token), reading);
    }

    /// A read is done; `bytes` is the length of the body.
    pub(super) fn read(
        &mut self,
        now: Time,
        node: usize,
        token: Token,
        bytes: usize,
        facts: &mut Facts,
    ) {
        facts.add(Fact::BytesRead, bytes as u64);
        let Some(read) = self.under_way.remove(&(node, token)) else { return };
        // A read that is still unanswered had no peer left to answer.
        if let Some(before) = self.came.insert(node, Reading { bytes, ..read }) {
            self.charge(now, node, before, facts);
        }
    }

    /// Charges a read to the peer it was made for.
    fn charge(&mut self, now: Time, node: usize, read: Reading, facts: &mut Facts) {
        let sum = self.read.entry((node, read.peer)).or_default();
        let most = SERVE_BYTE_BURST + (MAX_READS_PER_PEER * MAX_BODY) as u64 + 1;
        if sum.overflows(now, SERVE_BYTES_PER_S, read.bytes as u64, most) {
            facts.broken("R7", now, Some(node), || {
                format!(
                    "reads for node {} beyond the burst of {most} bytes and the rate",
                    read.peer
                )
            });
        }
    }

    /// A node starts again: it reads nothing and has forgotten what it read.
    pub(super) fn restarted(&mut self, node: usize) {
        self.open.retain(|(of, _), _| *of != node);
        self.under_way.retain(|(of, _), _| *of != node);
        self.read.retain(|(of, _), _| *of != node);
        self.came.remove(&node);
    }
}
