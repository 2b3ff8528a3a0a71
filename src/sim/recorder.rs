//! The recorder: what is written down while a run goes on.

use std::collections::{BTreeMap, VecDeque};

use super::link::Fate;
use crate::protocol::{Record, StoredBatch, Ticket, Time};
use crate::report::{Arrival, BatchRecord};
use crate::scenario::FaultEvent;
use crate::wire::BatchId;

/// A message that was handed to a publisher, or that no publisher accepted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Posted {
    pub author: u32,
    /// When it was due.
    pub at: Time,
    pub size: u32,
    /// Its batch and its index in that batch, once the batch is signed.
    pub position: Option<(u32, u32)>,
    pub acknowledged: bool,
    /// Its publisher failed or died before it answered.
    pub excused: bool,
}

/// What was recorded so far. Times are absolute until the run is over.
#[derive(Default)]
pub(super) struct Recorder {
    /// When load and faults began; `None` before.
    pub zero: Option<Time>,
    pub posts: Vec<Posted>,
    pub batches: Vec<BatchRecord>,
    pub arrivals: Vec<Arrival>,
    /// Indices into `arrivals` of deliveries that were undone.
    pub undone: Vec<u32>,
    pub counted: BTreeMap<&'static str, u64>,
    pub fault_events: Vec<FaultEvent>,
    /// Node numbers of the publishers of each load.
    pub publishers: Vec<Vec<usize>>,
    /// Batches of honest authors held by honest nodes that are up, summed over those nodes.
    pub held: u64,
    /// Batches of honest authors that were delivered at some honest node.
    pub signed: u64,
    /// Messages that were acknowledged.
    pub published: u64,
    /// Deliveries of messages of honest authors, for the progress bar only.
    pub delivered: u64,
    /// Messages that wait for an answer or are yet to be posted.
    pub waiting: u64,
    /// Loads that are not finished.
    pub loads: usize,
    ids: BTreeMap<BatchId, u32>,
    /// Whether a batch was delivered at an honest node, by batch index.
    seen: Vec<bool>,
    tickets: BTreeMap<(usize, Ticket), u32>,
}

impl Recorder {
    /// Counts an event whose occurrence shows that the run tested something.
    pub(super) fn count(&mut self, what: &'static str, by: u64) {
        if by > 0 {
            *self.counted.entry(what).or_default() += by;
        }
    }

    pub(super) fn count_segments(&mut self, fate: &Fate) {
        if *fate != Fate::default() {
            self.count("retransmissions", fate.lost);
            self.count("duplicated_segments", fate.doubled);
            self.count("reordered_segments", fate.overtaken);
        }
    }

    /// A node signs a batch, which contains the posts that have waited longest.
    pub(super) fn signed(&mut self, node: usize, stored: &StoredBatch, posted: &mut VecDeque<u32>) {
        let header = &stored.batch.header;
        let count = (header.count as usize).min(posted.len());
        let posts: Vec<u32> = posted.drain(..count).collect();
        let batch = self.batch(stored, Some(node as u32));
        for (index, post) in posts.iter().enumerate() {
            // The position is set here; the post counts as taken once the node acknowledges it.
            self.posts[*post as usize].position = Some((batch, index as u32));
        }
        self.batches[batch as usize].posts = posts;
    }

    pub(super) fn batch(&mut self, stored: &StoredBatch, author: Option<u32>) -> u32 {
        if let Some(known) = self.ids.get(&stored.id) {
            return *known;
        }
        let index = self.batches.len() as u32;
        let seq = stored.batch.header.seq;
        self.ids.insert(stored.id, index);
        self.batches.push(BatchRecord { id: stored.id, author, seq, posts: Vec::new() });
        self.seen.push(false);
        index
    }

    pub(super) fn first_seen(&mut self, batch: u32) -> bool {
        !std::mem::replace(&mut self.seen[batch as usize], true)
    }

    /// A node accepted a message and will answer.
    pub(super) fn taken(&mut self, node: usize, ticket: Ticket, at: Time, size: usize) -> u32 {
        let post = self.posts.len() as u32;
        let (author, size) = (node as u32, size as u32);
        self.posts.push(Posted { author, at, size, ..Posted::default() });
        self.tickets.insert((node, ticket), post);
        post
    }

    /// No publisher accepted a message.
    pub(super) fn refuse(&mut self, node: usize, at: Time, size: usize) {
        let (author, size) = (node as u32, size as u32);
        self.posts.push(Posted { author, at, size, ..Posted::default() });
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A node acknowledged a message as published.
    pub(super) fn acknowledged(&mut self, node: usize, ticket: Ticket) {
        let Some(post) = self.tickets.remove(&(node, ticket)) else { return };
        let post = &mut self.posts[post as usize];
        post.acknowledged = true;
        self.published += 1;
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A message could not be written and its client was told: it counts neither as refused nor as
    /// expected.
    pub(super) fn failed(&mut self, node: usize, ticket: Ticket) {
        if let Some(post) = self.tickets.remove(&(node, ticket)) {
            self.posts[post as usize].excused = true;
            self.waiting = self.waiting.saturating_sub(1);
            self.count("failed_posts", 1);
        }
    }

    /// A publisher died: messages it had not answered count neither as refused nor as expected.
    pub(super) fn died(&mut self, node: usize) {
        let range = (node, Ticket(0))..=(node, Ticket(u64::MAX));
        let open: Vec<(usize, Ticket)> = self.tickets.range(range).map(|(k, _)| *k).collect();
        for key in open {
            if let Some(post) = self.tickets.remove(&key) {
                self.posts[post as usize].excused = true;
                self.waiting = self.waiting.saturating_sub(1);
                self.count("unanswered_posts", 1);
            }
        }
    }

    /// Undoes the deliveries of batches that a node lost, and counts them under `name`.
    pub(super) fn forget(&mut self, node: usize, lost: &[Record], name: &'static str) {
        for record in lost {
            let Record::Batch(stored) = record else { continue };
            let Some(batch) = self.ids.get(&stored.id) else { continue };
            let host = self
                .arrivals
                .iter()
                .rposition(|arrival| arrival.node as usize == node && arrival.batch == *batch);
            if let Some(host) = host {
                self.undone.push(host as u32);
                self.count(name, 1);
            }
        }
    }

    /// Undoes all deliveries at a node.
    pub(super) fn forget_all(&mut self, node: usize) {
        let of_node = |(_, arrival): &(usize, &Arrival)| arrival.node as usize == node;
        let all = self.arrivals.iter().enumerate().filter(of_node);
        self.undone.extend(all.map(|(at, _)| at as u32));
    }
}
