//! The state machine that the driver drives: a node, or a malicious wrapper round one.

use crate::adversary::{Act, Adversary, Attempts};
use crate::protocol::{Input, LinkId, Node, PublishError, Snapshot, Ticket, Time};
use crate::wire::{Batch, Entry};

/// Who is driven.
pub(super) enum Actor {
    Honest(Box<Node>),
    Liar(Box<Adversary>),
}

impl Actor {
    pub fn is_liar(&self) -> bool {
        matches!(self, Self::Liar(_))
    }

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

    pub fn drained(&mut self, now: Time, link: LinkId) {
        match self {
            Self::Honest(_) => {}
            Self::Liar(liar) => liar.drained(now, link),
        }
    }

    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        match self {
            Self::Honest(node) => node.publish(now, entry),
            Self::Liar(liar) => liar.publish(now, entry),
        }
    }

    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        match self {
            Self::Honest(node) => node.submit(now, batch),
            Self::Liar(liar) => liar.submit(now, batch),
        }
    }

    pub fn poll(&mut self) -> Option<Act> {
        match self {
            Self::Honest(node) => node.poll().map(Act::Node),
            Self::Liar(liar) => liar.poll(),
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Honest(node) => node.deadline().map(|(at, _)| at),
            Self::Liar(liar) => liar.deadline(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        match self {
            Self::Honest(node) => node.snapshot(),
            Self::Liar(liar) => liar.snapshot(),
        }
    }

    pub fn attempts(&self) -> Option<Attempts> {
        match self {
            Self::Honest(_) => None,
            Self::Liar(liar) => Some(liar.attempts().clone()),
        }
    }
}
