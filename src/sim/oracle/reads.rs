//! Reads: what peers make a node read from its disk. R7.

use std::collections::BTreeMap;

use super::facts::{Fact, Facts};
use super::links::Links;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time, Token};
use crate::wire::limits::{MAX_BODY, MAX_READS_PER_PEER, SERVE_BYTE_BURST, SERVE_BYTES_PER_S};
use crate::wire::{Frame, Want};

/// A want that came, and whether the node has begun to read for it.
#[derive(Debug)]
struct Open {
    want: Want,
    reading: bool,
}

/// Wants that are open, reads under way, and what was read for whom.
#[derive(Debug, Default)]
pub(super) struct Reads {
    open: BTreeMap<LinkId, Vec<Open>>,
    /// For which node and peer, by node.
    under_way: BTreeMap<(usize, Token), u32>,
    /// Bytes read, by node and peer, that count still, times a million; and when that was.
    read: BTreeMap<(usize, u32), (u64, Time)>,
}

impl Reads {
    /// A request came to that end.
    pub fn asked(&mut self, end: LinkId, frame: &[u8]) {
        if let Ok(Frame::Request(request)) = Frame::decode(frame) {
            let open = |want: &Want| Open { want: *want, reading: false };
            self.open.entry(end).or_default().extend(request.wants.iter().map(open));
        }
    }

    /// A reply, or a missing, is sent there; its ticket comes first.
    pub fn answered(&mut self, end: LinkId, frame: &[u8]) {
        let ticket = frame.get(2..6).and_then(|bytes| bytes.try_into().ok());
        let ticket = ticket.map(u32::from_be_bytes);
        if let Some(open) = self.open.get_mut(&end)
            && let Some(place) = open.iter().position(|open| Some(open.want.ticket) == ticket)
        {
            open.remove(place);
        }
    }

    /// The link is gone there.
    pub fn down(&mut self, end: LinkId) {
        self.open.remove(&end);
    }

    /// A node begins to read a batch: each want is read for at most once. Of several that ask for
    /// the same, it is read for the one that had the least so far.
    pub fn begins(
        &mut self,
        (now, node, token): (Time, usize, Token),
        (author, seq): (&PublicKey, u64),
        links: &Links,
        facts: &mut Facts,
    ) {
        facts.count(Fact::Reads);
        let fits =
            |open: &Open| !open.reading && open.want.author == *author && open.want.seq == seq;
        let of_node = |end: &LinkId| {
            links.end(*end).filter(|held| held.node as usize == node).map(|held| held.peer)
        };
        let asking = self.open.iter().filter(|(_, open)| open.iter().any(fits));
        let least = asking
            .filter_map(|(end, _)| Some((*end, of_node(end)?)))
            .min_by_key(|(_, peer)| self.read.get(&(node, *peer)).map_or(0, |(level, _)| *level));
        let Some((end, peer)) = least else {
            return facts.broken("R7", now, Some(node), || {
                format!("reads slot {seq} of {author}, which nobody asks for")
            });
        };
        let wants = self.open.get_mut(&end).map(Vec::as_mut_slice).unwrap_or_default();
        if let Some(open) = wants.iter_mut().find(|open| fits(open)) {
            open.reading = true;
        }
        self.under_way.insert((node, token), peer);
    }

    /// It was read: so many bytes of a body.
    pub fn read(&mut self, now: Time, node: usize, token: Token, bytes: usize, facts: &mut Facts) {
        facts.add(Fact::BytesRead, bytes as u64);
        let Some(peer) = self.under_way.remove(&(node, token)) else { return };
        let (level, then) = self.read.entry((node, peer)).or_default();
        let micros = u64::try_from(now.since(*then).as_micros()).unwrap_or(u64::MAX);
        *level = level
            .saturating_sub(micros.saturating_mul(SERVE_BYTES_PER_S))
            .saturating_add((bytes as u64).saturating_mul(1_000_000));
        *then = now;
        let most = SERVE_BYTE_BURST + (MAX_READS_PER_PEER * MAX_BODY) as u64 + 1;
        if *level > most * 1_000_000 {
            facts.broken("R7", now, Some(node), || {
                format!("reads more than {most} bytes and what time adds for node {peer}")
            });
        }
    }

    /// A node that starts again reads nothing, and has forgotten what it read.
    pub fn restarted(&mut self, node: usize) {
        self.under_way.retain(|(of, _), _| *of != node);
        self.read.retain(|(of, _), _| *of != node);
    }
}
