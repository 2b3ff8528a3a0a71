//! Requests of the node that are not answered yet (checks, writes, reads), the wants that it
//! serves, and the newest batches in memory, for neighbours that request what was just announced to
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Note, StoredBatch, Ticket, Time, Token};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_READS, REQUEST_FRAMES};
use crate::wire::{Batch, BatchId, Class, Tip, Want};

/// Most client batches that may be under check or being written at once.
pub(super) const MAX_SUBMITTED: usize = 256;

/// A received frame, kept while its peer may still be blamed for it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub link: LinkId,
    pub peer: PublicKey,
    /// Key number of the peer.
    pub number: u32,
    pub bytes: Arc<[u8]>,
}

/// Where a batch came from that is being checked, and who waits for the verdict.
#[derive(Debug)]
pub(super) enum Origin {
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
        origins: Vec<Origin>,
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
        let of_client = |origin: &Origin| matches!(origin, Origin::Client(_));
        matches!(self, Self::Batch { origins, .. } if origins.iter().any(of_client))
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
pub(super) struct OpenRequest {
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
    pub requests: BTreeMap<u64, OpenRequest>,
    /// Wants of each link in order of arrival; no queue is empty.
    pub queues: BTreeMap<LinkId, VecDeque<Waiting>>,
    pub reads: BTreeMap<Token, Reading>,
    /// The link served last; the next turn goes to the link after it.
    pub turn: Option<LinkId>,
    /// When the rate next allows a waiting link to be served.
    pub due: Option<Time>,
}

impl Serving {
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

const MAX_BYTES: usize = 2 << 20;
const MAX_BATCHES: usize = 512;

/// Batches by id; the oldest is evicted first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    batches: BTreeMap<BatchId, StoredBatch>,
    order: VecDeque<BatchId>,
    bytes: usize,
}

impl Cache {
    /// Adds a batch, and evicts the oldest beyond the limits.
    pub(super) fn insert(&mut self, stored: StoredBatch) {
        let (id, bytes) = (stored.id, stored.batch.body.len());
        if self.batches.insert(id, stored).is_none() {
            self.order.push_back(id);
            self.bytes += bytes;
        }
        while self.bytes > MAX_BYTES || self.order.len() > MAX_BATCHES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.batches.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(gone.batch.body.len());
            }
        }
    }

    pub(super) fn remove(&mut self, id: &BatchId) {
        if let Some(gone) = self.batches.remove(id) {
            self.bytes = self.bytes.saturating_sub(gone.batch.body.len());
            self.order.retain(|other| other != id);
        }
    }

    pub(super) fn occupy(&self, note: Note) {
        note("cache", self.batches.len().max(self.order.len()), MAX_BATCHES);
        note("cache.bytes", self.bytes, MAX_BYTES);
    }

    pub(super) fn get(&self, id: &BatchId) -> Option<&StoredBatch> {
        self.batches.get(id)
    }
}
