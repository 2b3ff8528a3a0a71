//! The node itself: carries facts between the parts.

use std::sync::Arc;

use super::{
    Config, Counters, Input, Network, Output, PublishError, Restored, Snapshot, Ticket, Time, Timer,
};
use crate::crypto::Identity;
use crate::wire::{Batch, Entry};

/// A node: a state machine. Order of calls, asserted in debug builds: after `new`, `handle`, `publish`
/// or `submit`, call `poll` until it gives `None`; then ask `deadline`, and hand in `Wake` at that time.
pub struct Node {
    identity: Identity,
    now: Time,
}

impl Node {
    /// A node with what a start found on disk. The same arguments and inputs give the same outputs.
    pub fn new(
        identity: Identity,
        network: Arc<Network>,
        config: Config,
        restored: Restored,
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let _ = (network, config, restored, seed);
        Self { identity, now }
    }

    /// What the world did. Never fails: nothing that a peer does is the caller's fault.
    pub fn handle(&mut self, now: Time, input: Input) {
        let _ = input;
        self.now = now;
    }

    /// Takes a message for publication; answered by `Output::Published` once it is synced.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        let _ = (now, entry);
        Ok(Ticket(0))
    }

    /// Takes a batch that an author signed elsewhere; answered by `Output::Submitted`.
    ///
    /// # Errors
    /// `MemberKey` if its author is a member, `OverQuota` if too much waits.
    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        let _ = (now, batch);
        Ok(Ticket(0))
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When to hand in `Wake`, and why; changes with every input.
    pub fn deadline(&self) -> Option<(Time, Timer)> {
        None
    }

    /// The node at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            key: self.identity.public(),
            now: self.now,
            peers: vec![],
            lanes: vec![],
            waiting: 0,
            counters: Counters::default(),
        }
    }
}
