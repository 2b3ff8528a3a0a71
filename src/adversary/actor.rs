//! What runs at a host, simulated or real: a node, or the wrapper that makes it malicious.

use super::attempts::Attempts;
use super::context::Effect;
use super::wrapper::Adversary;
use crate::protocol::{Input, LinkId, Node, PublishError, Snapshot, Ticket, Time};
use crate::wire::{Batch, Entry};

/// An honest or a malicious node. The order of calls is that of [`Node`].
pub enum Actor {
    /// A node that follows the protocol.
    Honest(Box<Node>),
    /// A node wrapped in malicious behaviours.
    Liar(Box<Adversary>),
}

impl Actor {
    /// Whether a liar's wrapper is around the node.
    pub fn is_liar(&self) -> bool {
        matches!(self, Self::Liar(_))
    }

    /// See [`Node::handle`]; a liar's outputs are those of its wrapper.
    pub fn handle(&mut self, now: Time, input: Input) {
        match self {
            Self::Honest(node) => node.handle(now, input),
            Self::Liar(liar) => liar.handle(now, input),
        }
    }

    /// See [`Node::conclude`]: the node stops, and what it has not written yet is to be written.
    pub fn conclude(&mut self) {
        match self {
            Self::Honest(node) => node.conclude(),
            Self::Liar(_) => {} // the rejections of a liar are never read
        }
    }

    /// See [`Adversary::drained`]; does nothing for an honest node.
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

    /// The honest node, or the one that a liar wraps.
    pub fn node(&self) -> &Node {
        match self {
            Self::Honest(node) => node,
            Self::Liar(liar) => liar.node(),
        }
    }

    /// The next effect to carry out, or `None` if there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        match self {
            Self::Honest(node) => node.poll().map(Effect::Node),
            Self::Liar(liar) => liar.poll(),
        }
    }

    /// When to hand in [`Input::Wake`]; may change with every call.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Honest(node) => node.deadline().map(|(at, _)| at),
            Self::Liar(liar) => liar.deadline(),
        }
    }

    /// A snapshot of the node, or of the one that a liar wraps.
    pub fn snapshot(&self) -> Snapshot {
        self.node().snapshot()
    }

    /// The attempts of a liar so far; `None` for an honest node.
    pub fn attempts(&self) -> Option<&Attempts> {
        match self {
            Self::Honest(_) => None,
            Self::Liar(liar) => Some(liar.attempts()),
        }
    }
}
