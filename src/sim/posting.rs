//! The load: hands messages to their publishers when they are due, and records deliveries.

use std::time::Duration;

use super::event::Event;
use super::world::World;
use crate::crypto::PublicKey;
use crate::protocol::{PublishError, StoredBatch, Ticket, Time};
use crate::report::Arrival;
use crate::scenario::{LOAD_TOPIC, POST_RETRY_MAX, POST_TIMEOUT};
use crate::wire::Entry;

impl World {
    /// Records that a node delivers a batch.
    pub(super) fn delivered(&mut self, node: usize, stored: &StoredBatch) {
        let author = self.node_of(&stored.batch.header.author);
        let from = stored.from.as_ref().and_then(|key: &PublicKey| self.node_of(key));
        let batch = self.recorder.batch(stored, author.map(|author| author as u32));
        self.recorder.arrivals.push(Arrival {
            node: node as u32,
            batch,
            at: self.now.0,
            hops: stored.hops,
            from: from.map(|from| from as u32),
        });
        let genuine = author.is_some_and(|author| self.hosts[author].honest);
        if genuine && self.hosts[node].honest {
            if self.recorder.first_seen(batch) {
                self.recorder.signed += 1;
            }
            self.hosts[node].held += 1;
            self.recorder.held += 1;
            self.recorder.delivered += self.recorder.batches[batch as usize].posts.len() as u64;
        }
    }

    /// A message of a load is due.
    pub(super) fn post(&mut self, load: usize, k: u64, since: Option<Time>) {
        if since.is_none() {
            self.plan_next(load, k);
        }
        let due = since.unwrap_or(self.now);
        let publishers = &self.recorder.publishers[load];
        let count = publishers.len();
        let turn = usize::try_from(k % count.max(1) as u64).unwrap_or(0);
        let in_turn = (0..count).map(|i| publishers[(turn + i) % count]);
        // A publisher that is down is skipped, as a client would do.
        let lives = |node: &usize| self.hosts[*node].lives() && !self.hosts[*node].paused;
        let Some(node) = in_turn.clone().find(lives) else {
            return self.put_off(load, k, due, POST_RETRY_MAX);
        };
        let size = self.scenario.loads[load].size;
        let entry = Entry { topic: LOAD_TOPIC.into(), payload: payload(load, k, size) };
        match self.publish(node, entry, due) {
            Some(Ok(_)) => {}
            Some(Err(PublishError::OverQuota { retry_after })) => {
                self.put_off(load, k, due, retry_after.min(POST_RETRY_MAX));
            }
            _ => self.recorder.refuse(node, due, size),
        }
    }

    /// Hands a message that was due at `due` to a node; `None` if the node is down.
    pub(super) fn publish(
        &mut self,
        node: usize,
        entry: Entry,
        due: Time,
    ) -> Option<Result<Ticket, PublishError>> {
        let (now, size) = (self.now, entry.payload.len());
        let answer = self.hosts[node].actor.as_mut()?.publish(now, entry);
        if let Ok(ticket) = answer {
            let post = self.recorder.taken(node, ticket, due, size);
            self.hosts[node].posted.push_back(post);
        }
        self.settle(node);
        self.schedule_wake(node, false);
        Some(answer)
    }

    fn plan_next(&mut self, load: usize, k: u64) {
        let zero = self.recorder.zero.unwrap_or(self.now);
        match self.scenario.due(&self.scenario.loads[load], k + 1) {
            Some(due) => {
                self.recorder.waiting += 1;
                let event = Event::Post { load: load as u32, k: k + 1, since: None };
                self.queue.put_global(zero.after(due), event);
            }
            None => self.recorder.loads -= 1,
        }
    }

    fn put_off(&mut self, load: usize, k: u64, since: Time, wait: Duration) {
        if self.now.since(since) >= POST_TIMEOUT {
            let node = self.recorder.publishers[load].first().copied().unwrap_or(0);
            let size = self.scenario.loads[load].size;
            return self.recorder.refuse(node, since, size);
        }
        let event = Event::Post { load: load as u32, k, since: Some(since) };
        self.queue.put_global(self.now.after(wait.max(Duration::from_millis(1))), event);
    }
}

/// A payload that differs from all others of the run, as far as its length allows.
fn payload(load: usize, k: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("message {k} of load {load} ").into_bytes();
    bytes.resize(size.max(bytes.len()), b'.');
    bytes.truncate(size);
    bytes
}
