//! Requests of the node that are not answered yet (checks, writes, reads), and the wants that it
//! serves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Note, StoredBatch, Ticket, Time, Token};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_READS, REQUEST_FRAMES};
use crate::wire::{Batch, BatchId, Class, Tip, Want};

/// A received frame, kept while its peer may still be blamed for it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub link: LinkId,
    pub peer: PublicKey,
    /// Key number of the peer.
    pub number: u32,
    pub bytes: Arc<[u8]>,
}

/// Who waits for the verdict on a batch.
#[derive(Debug)]
pub(super) enum Source {
    /// A neighbour, with the class that the frame was charged to; `None` for a reply.
    Link {
        from: Received,
        hops: u8,
        charged: Option<Class>,
        /// Whether the batch was found missing by a comparison, so that it is no news to those
        /// compared with.
        found: bool,
    },
    /// An author's client, through this node's own API.
    Client(Ticket),
}

/// What a signature check is for.
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
    /// A tip found on disk at start.
    Restored {
        author: u32,
        seq: u64,
        id: BatchId,
    },
}

impl Checking {
    /// Whether a client waits for the verdict.
    pub(super) fn is_submitted(&self) -> bool {
        let of_client = |source: &Source| matches!(source, Source::Client(_));
        matches!(self, Self::Batch { sources, .. } if sources.iter().any(of_client))
    }
}

/// A batch that is sent only after it is synced.
#[derive(Debug)]
pub(super) struct Writing {
    pub author: u32,
    pub stored: Option<StoredBatch>,
    /// The tickets to answer when the write ends.
    pub tickets: Vec<Ticket>,
    /// Whether this node signed the batch.
    pub own: bool,
}

impl Writing {
    pub(super) fn submitted(author: u32, ticket: Ticket) -> Self {
        Self { author, stored: None, tickets: vec![ticket], own: false }
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Asked {
    pub link: LinkId,
    /// Length of the request frame in bytes.
    pub bytes: usize,
    /// Tickets of the request that are not answered yet.
    pub open: Vec<u32>,
    /// How many wants the request had.
    pub wants: usize,
}

/// A want that waits to be served with a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub request: u64,
    pub want: Want,
    pub author: u32,
}

/// A read from the store for a want.
#[derive(Debug)]
pub(super) struct Reading {
    pub peer: PublicKey,
    pub waiting: Waiting,
}

/// All requests that are being served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    pub requests: BTreeMap<u64, Asked>,
    /// Wants of each link in order of arrival; no queue is empty.
    pub queues: BTreeMap<LinkId, VecDeque<Waiting>>,
    pub reads: BTreeMap<Token, Reading>,
    /// The link served last; the next turn goes to the link after it.
    pub turn: Option<LinkId>,
    /// When the rate next allows a waiting link to be served.
    pub due: Option<Time>,
}

impl Serving {
    /// Reports how full the tables are, with limits for `links` links.
    pub(super) fn occupy(&self, note: Note, links: usize) {
        let waiting = self.queues.values().map(VecDeque::len).max().unwrap_or(0);
        note("serving.requests", self.requests.len(), links * REQUEST_FRAMES as usize);
        note("serving.queues", self.queues.len(), links);
        note("serving.waiting", waiting, MAX_OPEN_WANTS);
        note("serving.reads", self.reads.len(), MAX_READS);
    }

    /// Forgets the requests of a link. Reads in progress still count against its peer.
    pub(super) fn link_down(&mut self, link: LinkId) {
        self.requests.retain(|_, asked| asked.link != link);
        self.queues.remove(&link);
    }

    /// Tickets of a link's wants that are not answered yet.
    pub(super) fn open_of(&self, link: LinkId) -> Vec<u32> {
        let of_link = self.requests.values().filter(|asked| asked.link == link);
        of_link.flat_map(|asked| &asked.open).copied().collect()
    }

    pub(super) fn reading_for(&self, peer: &PublicKey) -> usize {
        self.reads.values().filter(|reading| reading.peer == *peer).count()
    }

    /// The links that wait, starting with the one after the link served last.
    pub(super) fn turns(&self) -> Vec<LinkId> {
        let (mut turns, mut first): (Vec<LinkId>, Vec<LinkId>) =
            self.queues.keys().partition(|link| Some(**link) > self.turn);
        turns.append(&mut first);
        turns
    }

    pub(super) fn take(&mut self, link: LinkId) -> Option<Waiting> {
        let queue = self.queues.get_mut(&link)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&link);
        }
        first
    }
}
