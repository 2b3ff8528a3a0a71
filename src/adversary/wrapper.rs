//! The wrapper: an honest node's inputs and outputs, with the behaviours in between.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Attempts, Spec};
use crate::crypto::Identity;
use crate::protocol::{Input, LinkId, Network, Node, Output, PublishError, Snapshot, Ticket, Time};
use crate::wire::{Batch, Entry};

/// What a malicious node wants done.
#[derive(Clone, Debug)]
pub enum Act {
    /// What its honest node wants done, as it is or rewritten.
    Node(Output),
    /// Bytes for a link's stream as they are, length prefix included; after what was given before.
    Raw {
        /// Where.
        link: LinkId,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// Read from a link, or no longer.
    Pause {
        /// Which.
        link: LinkId,
        /// Whether to read.
        reading: bool,
    },
    /// Write to a link at no more than so many bytes a second; `None` lifts it.
    Pace {
        /// Which.
        link: LinkId,
        /// The limit.
        bytes_per_s: Option<u64>,
    },
}

/// A malicious node. The order of calls is that of [`Node`]: after each mutation, [`Adversary::poll`]
/// until it gives `None`.
pub struct Adversary {
    node: Node,
    attempts: Attempts,
    acts: VecDeque<Act>,
}

impl Adversary {
    /// Wraps a node. `decoys` are batches that honest members signed for another network; without them
    /// a forger signs one itself. The same arguments and inputs give the same acts.
    pub fn new(
        node: Node,
        identity: Identity,
        network: Arc<Network>,
        spec: Spec,
        decoys: Vec<Batch>,
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let _ = (identity, network, decoys, seed, now);
        Self { node, attempts: Attempts::new(spec.kinds()), acts: VecDeque::new() }
    }

    /// What the world did.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.node.handle(now, input);
        self.pump();
    }

    /// Everything that was given for that link has been written: a flood may go on.
    pub fn drained(&mut self, now: Time, link: LinkId) {
        let _ = (now, link);
    }

    /// As [`Node::publish`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        let result = self.node.publish(now, entry);
        self.pump();
        result
    }

    /// As [`Node::submit`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        let result = self.node.submit(now, batch);
        self.pump();
        result
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When to hand in `Wake`; changes with every call.
    pub fn deadline(&self) -> Option<Time> {
        self.node.deadline().map(|(at, _)| at)
    }

    /// The honest node at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.node.snapshot()
    }

    /// What was tried so far.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    fn pump(&mut self) {
        while let Some(output) = self.node.poll() {
            self.acts.push_back(Act::Node(output));
        }
    }
}
