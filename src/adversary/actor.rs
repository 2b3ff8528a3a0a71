//! What runs at a host, in both worlds: a node, or a malicious wrapper round one.

use super::attempts::Attempts;
use super::effect::Effect;
use super::wrapper::Adversary;
use crate::protocol::{Input, LinkId, Node, PublishError, Snapshot, Ticket, Time};
use crate::wire::{Batch, Entry};

/// A node or a malicious one. The order of calls is that of [`Node`].
pub enum Actor {
    /// A node.
    Honest(Box<Node>),
    /// A malicious one.
    Liar(Box<Adversary>),
}

impl Actor {
    /// Whether it is malicious.
    pub fn is_liar(&self) -> bool {
        matches!(self, Self::Liar(_))
    }

    /// See [`Node::handle`].
    pub fn handle(&mut self, now: Time, input: Input) {
        match self {
            Self::Honest(node) => node.handle(now, input),
            Self::Liar(liar) => liar.handle(now, input),
        }
    }

    /// The node stops: what it still keeps to itself is to be written.
    pub fn conclude(&mut self) {
        match self {
            Self::Honest(node) => node.conclude(),
            Self::Liar(_) => {} // nobody reads what it refused
        }
    }

    /// See [`Adversary::drained`]; a node has no need of it.
    pub fn drained(&mut self, now: Time, link: LinkId) {
        match self {
            Self::Honest(_) => {}
            Self::Liar(liar) => liar.drained(now, link),
        }
    }

    /// See [`Node::publish`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        match self {
            Self::Honest(node) => node.publish(now, entry),
            Self::Liar(liar) => liar.publish(now, entry),
        }
    }

    /// See [`Node::submit`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        match self {
            Self::Honest(node) => node.submit(now, batch),
            Self::Liar(liar) => liar.submit(now, batch),
        }
    }

    /// The node itself, or the one that a liar wraps.
    pub fn node(&self) -> &Node {
        match self {
            Self::Honest(node) => node,
            Self::Liar(liar) => liar.node(),
        }
    }

    /// The next thing that it wants done, until there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        match self {
            Self::Honest(node) => node.poll().map(Effect::Node),
            Self::Liar(liar) => liar.poll(),
        }
    }

    /// When to hand in `Wake`; changes with every call.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Honest(node) => node.deadline().map(|(at, _)| at),
            Self::Liar(liar) => liar.deadline(),
        }
    }

    /// The node at this moment, or the one that a liar wraps.
    pub fn snapshot(&self) -> Snapshot {
        self.node().snapshot()
    }

    /// What a liar tried so far.
    pub fn attempts(&self) -> Option<&Attempts> {
        match self {
            Self::Honest(_) => None,
            Self::Liar(liar) => Some(liar.attempts()),
        }
    }
}
