//! A host: the node that runs there, its disk, and what is recorded about it.

use std::collections::BTreeMap;

use super::cpu::Cpu;
use super::disk::Disk;
use super::event::Event;
use crate::adversary::{Actor, Attempts};
use crate::crypto::{Digest, Identity, PublicKey};
use crate::protocol::{Ban, LinkId, Node, Reason, Refusal, Rejection, Shares, Ticket, Time};
use crate::wire::{BatchId, Frame};

/// Rows of a rejection log kept one by one; later ones are summed by link and reason.
const MAX_ROWS: usize = 4096;

/// Budget for the bytes of refused frames: in total, and its least and greatest share per node.
const FRAMES: usize = 64 << 20;
const LEAST: usize = 4 << 10;
const MOST: usize = 1 << 20;

/// A rejection log of bounded length.
#[derive(Default)]
pub(super) struct RejectionLog {
    /// Bytes of refused frames that may still be kept.
    room: usize,
    rows: Vec<Rejection>,
    sums: BTreeMap<(Option<PublicKey>, Reason), Rejection>,
}

impl RejectionLog {
    pub(super) fn push(&mut self, mut row: Rejection) {
        if let Some(bytes) = &row.bytes {
            match self.room.checked_sub(bytes.len()) {
                Some(left) if self.rows.len() < MAX_ROWS => self.room = left,
                _ => row.bytes = None,
            }
        }
        if self.rows.len() < MAX_ROWS {
            return self.rows.push(row);
        }
        let sum = self.sums.entry((row.link, row.reason));
        sum.and_modify(|sum| sum.count = sum.count.saturating_add(row.count)).or_insert(row);
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Rejection> {
        self.rows.iter().chain(self.sums.values())
    }
}

/// A host, which runs one node or one liar.
pub(super) struct Host {
    /// What runs on the host; `None` while it is down or not yet started, or if it is played by
    /// hand.
    pub actor: Option<Actor>,
    pub key: PublicKey,
    pub honest: bool,
    /// Whether it must be told when everything given for a link is written.
    pub floods: bool,
    /// How often it was started; answers to an earlier life are dropped.
    pub start: u32,
    /// When it is woken next; other wake-ups in the queue are stale.
    pub wake: Option<Time>,
    /// The process is suspended by a fault.
    pub paused: bool,
    /// It was a liar and left: at the end of the run, or because it is played by hand.
    pub left: bool,
    /// When it was last paused.
    pub paused_at: Option<Time>,
    /// Events that arrived while it was paused.
    pub waiting: Vec<Event>,
    pub disk: Disk,
    /// Its processor, if processor time is simulated.
    pub cpu: Option<Cpu>,
    /// Safe rows were lost, to rot or with the whole disk.
    pub lossy: bool,
    /// The host's ends of links that are up.
    pub links: Vec<LinkId>,
    /// Number of those ends on which a hello arrived.
    pub ready: u32,
    /// Bytes received on links since the run's zero.
    pub bytes: u64,
    /// Duplicate batches received in earlier lives.
    pub duplicates: u64,
    /// Batches of honest authors that it holds.
    pub held: u64,
    pub bans: Vec<Ban>,
    pub log: RejectionLog,
    /// Attempts of a liar in its earlier lives.
    pub tried: Vec<Attempts>,
    /// Messages that wait to be signed, in the order of their batches; indices into the posts.
    pub posted: std::collections::VecDeque<u32>,
    /// Answers to batches that were submitted.
    pub submitted: Vec<(Ticket, Result<BatchId, Refusal>)>,
    /// If it is played by hand: the frames that came and were not looked at yet.
    pub heard: Option<Vec<(LinkId, Frame)>>,
}

impl Host {
    pub(super) fn new(
        key: PublicKey,
        honest: bool,
        floods: bool,
        shares: Option<Shares>,
        cpu: Option<Cpu>,
        nodes: usize,
    ) -> Self {
        Self {
            actor: None,
            key,
            honest,
            floods,
            start: 0,
            wake: None,
            paused: false,
            left: false,
            waiting: Vec::new(),
            disk: Disk::new(shares),
            lossy: false,
            cpu,
            paused_at: None,
            links: Vec::new(),
            ready: 0,
            bytes: 0,
            duplicates: 0,
            held: 0,
            bans: Vec::new(),
            log: RejectionLog {
                room: (FRAMES / nodes.max(1)).clamp(LEAST, MOST),
                ..RejectionLog::default()
            },
            tried: Vec::new(),
            posted: std::collections::VecDeque::new(),
            submitted: Vec::new(),
            heard: None,
        }
    }

    /// Whether it is played by hand.
    pub(super) fn is_played(&self) -> bool {
        self.heard.is_some()
    }

    /// A frame came to a host on which no node runs: whoever plays it hears it.
    pub(super) fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        if let (Some(heard), Ok(frame)) = (&mut self.heard, Frame::decode(bytes)) {
            heard.push((link, frame));
        }
    }

    /// The node that runs there, or the one inside a liar.
    pub(super) fn node(&self) -> Option<&Node> {
        self.actor.as_ref().map(Actor::node)
    }

    /// When the node wants to be woken.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.actor.as_ref()?.deadline()
    }

    /// Whether the host is up.
    pub(super) fn lives(&self) -> bool {
        self.actor.is_some()
    }

    /// Duplicate batches received in all lives.
    pub(super) fn all_duplicates(&self) -> u64 {
        let now = self.node().map_or(0, |node| node.counters().duplicates);
        self.duplicates.saturating_add(now)
    }
}

/// A secret or seed of one node, distinct for each node, purpose and start.
pub(super) fn derive(purpose: &str, seed: u64, node: usize, start: u32) -> [u8; 32] {
    let parts: [&[u8]; 5] = [
        b"loyal/sim/v1",
        purpose.as_bytes(),
        &seed.to_be_bytes(),
        &(node as u64).to_be_bytes(),
        &start.to_be_bytes(),
    ];
    Digest::of(&parts).0
}

/// A node's key pair, derived from the seed.
pub(super) fn identity(seed: u64, node: usize) -> Identity {
    Identity::from_seed(&derive("identity", seed, node, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::CountsAs;

    #[test]
    fn a_log_keeps_so_many_bytes_of_frames_and_all_of_its_rows() {
        let mut log = RejectionLog { room: 10, ..RejectionLog::default() };
        let row = |bytes: usize| Rejection {
            bytes: Some(std::sync::Arc::from(vec![1; bytes])),
            ..Rejection::bare(Time(0), Reason::Malformed, None, CountsAs::Lie)
        };
        [6, 6, 4, 1].into_iter().for_each(|bytes| log.push(row(bytes)));
        let kept: Vec<_> = log.rows().map(|row| row.bytes.as_deref().map(<[u8]>::len)).collect();
        assert_eq!(kept, [Some(6), None, Some(4), None]);
        log.room = usize::MAX;
        (0..2 * MAX_ROWS).for_each(|_| log.push(row(1)));
        let rows = log.rows().fold((0, 0), |(n, all), row| (n + 1, all + row.count));
        assert_eq!(rows, (MAX_ROWS + 1, 2 * MAX_ROWS as u64 + 4));
        assert!(log.sums.values().all(|sum| sum.bytes.is_none()));
    }
}
