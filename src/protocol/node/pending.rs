//! Questions that the node asked and that are not answered yet: checks, writes, reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Note, StoredBatch, Ticket, Time, Token};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_READS, REQUEST_FRAMES};
use crate::wire::{Batch, BatchId, Class, Tip, Want};

/// A frame that came, for as long as somebody may have to answer for it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub link: LinkId,
    pub peer: PublicKey,
    /// The peer's key number.
    pub number: u32,
    pub bytes: Arc<[u8]>,
}

/// Who waits for a verdict on a batch.
#[derive(Debug)]
pub(super) enum Source {
    /// A neighbour; with the class that its frame was charged to, if any.
    Link {
        from: Received,
        hops: u8,
        charged: Option<Class>,
        /// Whether it was found missing by comparing, and is no news to those who compared.
        found: bool,
    },
    /// An author's client, through our own API.
    Client(Ticket),
}

/// What is being checked.
#[derive(Debug)]
pub(super) enum Checking {
    Batch {
        batch: Box<Batch>,
        id: BatchId,
        author: u32,
        sources: Vec<Source>,
    },
    Tip {
        tip: Tip,
        author: u32,
        from: Received,
    },
    /// A tip that a start found on disk.
    Restored {
        author: u32,
        seq: u64,
        id: BatchId,
    },
}

impl Checking {
    /// Whether a client waits for it.
    pub fn is_submitted(&self) -> bool {
        let of_client = |source: &Source| matches!(source, Source::Client(_));
        matches!(self, Self::Batch { sources, .. } if sources.iter().any(of_client))
    }
}

/// What is being written before it leaves.
#[derive(Debug)]
pub(super) struct Writing {
    pub author: u32,
    pub stored: Option<StoredBatch>,
    /// Whose answers wait for it.
    pub tickets: Vec<Ticket>,
    /// Whether this node signed it.
    pub own: bool,
}

impl Writing {
    pub fn submitted(author: u32, ticket: Ticket) -> Self {
        Self { author, stored: None, tickets: vec![ticket], own: false }
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Asked {
    pub link: LinkId,
    /// Bytes of the request frame.
    pub bytes: usize,
    /// Tickets in it that are not answered yet.
    pub open: Vec<u32>,
    /// Wants in it.
    pub wants: usize,
}

/// A want that a batch may answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub request: u64,
    pub want: Want,
    pub author: u32,
}

/// A read of the store for a want.
#[derive(Debug)]
pub(super) struct Reading {
    pub peer: PublicKey,
    pub waiting: Waiting,
}

/// Requests that are being served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    pub requests: BTreeMap<u64, Asked>,
    /// Of each link, wants in the order in which they came; none is empty.
    pub queues: BTreeMap<LinkId, VecDeque<Waiting>>,
    pub reads: BTreeMap<Token, Reading>,
    /// The link that was served last: the next one's turn comes after it.
    pub turn: Option<LinkId>,
    /// When a link that wants wait for may be served again.
    pub due: Option<Time>,
}

impl Serving {
    /// How full it is, with its limits for so many links.
    pub fn occupy(&self, note: Note, links: usize) {
        let waiting = self.queues.values().map(VecDeque::len).max().unwrap_or(0);
        note("serving.requests", self.requests.len(), links * REQUEST_FRAMES as usize);
        note("serving.queues", self.queues.len(), links);
        note("serving.waiting", waiting, MAX_OPEN_WANTS);
        note("serving.reads", self.reads.len(), MAX_READS);
    }

    /// Forgets what a link asked for. What is being read for it still counts as that.
    pub fn link_down(&mut self, link: LinkId) {
        self.requests.retain(|_, asked| asked.link != link);
        self.queues.remove(&link);
    }

    /// When something can be served that cannot be now.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Tickets of a link's wants that are not answered yet.
    pub fn open_of(&self, link: LinkId) -> Vec<u32> {
        let of_link = self.requests.values().filter(|asked| asked.link == link);
        of_link.flat_map(|asked| &asked.open).copied().collect()
    }

    pub fn reading_for(&self, peer: &PublicKey) -> usize {
        self.reads.values().filter(|reading| reading.peer == *peer).count()
    }

    /// The links that wait, beginning after the one that had the last turn.
    pub fn turns(&self) -> Vec<LinkId> {
        let (mut turns, mut first): (Vec<LinkId>, Vec<LinkId>) =
            self.queues.keys().partition(|link| Some(**link) > self.turn);
        turns.append(&mut first);
        turns
    }

    pub fn take(&mut self, link: LinkId) -> Option<Waiting> {
        let queue = self.queues.get_mut(&link)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&link);
        }
        first
    }
}
