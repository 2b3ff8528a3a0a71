//! Fixtures for the tests of all modules: identities from small seeds, networks of them, signed
//! batches, and a machine that answers a node truthfully.

mod victim;

use std::fmt::Debug;
use std::sync::Arc;

pub(crate) use victim::Victim;

use crate::crypto::{Digest, Identity, check};
use crate::protocol::{
    Config, CountsAs, Input, Member, Network, Node, Output, Reason, Rejection, Restored,
    RestoredSlot, Role, StoredBatch, Time, Verified,
};
use crate::wire::limits::VERSION;
use crate::wire::{Batch, BatchId, Entry, Frame, Hello, Instance, List};

pub(crate) fn identity(n: impl TryInto<u16, Error: Debug>) -> Identity {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.try_into().expect("few").to_be_bytes());
    Identity::from_seed(&seed)
}

/// Identity `n` as a member called `n0`, `n1`, …, at an address where no process listens.
pub(crate) fn member(n: u16) -> Member {
    Member {
        key: identity(n).public(),
        name: format!("n{n}"),
        role: Role::Member,
        gossip: Some(([127, 0, 0, 1], 1).into()),
    }
}

/// Identity `n` as an author that is not a member.
pub(crate) fn author(n: u16) -> Member {
    Member { role: Role::Author, gossip: None, ..member(n) }
}

pub(crate) fn network_of(keys: impl IntoIterator<Item = Member>) -> Arc<Network> {
    Arc::new(Network::new([3; 32], keys.into_iter().collect()).expect("sound"))
}

/// A network of identities: the first ones are members, and those after them authors.
pub(crate) fn network(members: u16, authors: u16) -> Arc<Network> {
    network_of((0..members).map(member).chain((members..members + authors).map(author)))
}

/// A node that starts at time 0.
pub(crate) fn node(n: u16, network: &Arc<Network>, restored: Restored) -> Node {
    Node::new(identity(n), network.clone(), Config::default(), restored, [n as u8; 32], Time(0))
}

pub(crate) fn entry(topic: &str, payload: impl AsRef<[u8]>) -> Entry {
    Entry { topic: topic.into(), payload: payload.as_ref().to_vec() }
}

/// A batch of one message, signed by identity `author`.
pub(crate) fn batch(
    author: impl TryInto<u16, Error: Debug>,
    network: Digest,
    seq: u64,
    prev: BatchId,
    payload: impl AsRef<[u8]>,
) -> Batch {
    let entries = [entry("t", payload)];
    Batch::sign(&identity(author), network, seq, prev, 5, &entries).expect("fits")
}

/// A chain of batches, from slot 1 to `count`.
pub(crate) fn chain(author: u16, network: Digest, count: u64) -> Vec<Batch> {
    let mut all = vec![];
    extend(&mut all, author, network, count);
    all
}

/// Appends batches to a chain, up to slot `last`.
fn extend(chain: &mut Vec<Batch>, author: u16, network: Digest, last: u64) {
    let end = chain.last().map(|batch| (batch.header.seq, batch.id()));
    let (before, mut prev) = end.unwrap_or((0, Digest::ZERO));
    for seq in before + 1..=last {
        chain.push(batch(author, network, seq, prev, "x"));
        prev = chain[chain.len() - 1].id();
    }
}

/// What a store keeps of a batch.
pub(crate) fn stored(batch: Batch) -> StoredBatch {
    StoredBatch {
        id: batch.id(),
        batch: Arc::new(Verified::trusted(batch)),
        hops: 0,
        from: None,
        delivered_at: Time(0),
        first: true,
    }
}

/// What a start finds of a batch.
pub(crate) fn restored(batch: &Batch) -> RestoredSlot {
    RestoredSlot {
        seq: batch.header.seq,
        base: batch.header.base,
        id: batch.id(),
        rest: batch.header.rest(),
        signature: batch.signature,
        first: true,
    }
}

/// A row of the rejection log that says nothing but why, and has the frame.
pub(crate) fn rejection(reason: Reason, frame: &[u8]) -> Rejection {
    Rejection {
        at: Time(0),
        reason,
        link: None,
        author: None,
        proven: false,
        seq: None,
        id: None,
        topic: None,
        hops: None,
        size: frame.len() as u64,
        detail: String::new(),
        frame: Digest::of(&[frame]),
        head: vec![],
        bytes: Some(Arc::from(frame)),
        counts_as: CountsAs::of(reason, false),
        count: 1,
    }
}

/// A hello; `instance` stands for one start of a member's process.
pub(crate) fn hello(network: &Network, instance: u8) -> Frame {
    let network = network.id();
    Frame::Hello(Hello { version: VERSION.into(), network, instance: Instance([instance; 16]) })
}

pub(crate) fn list<T, const MIN: usize, const MAX: usize>(items: Vec<T>) -> List<T, MIN, MAX> {
    List::new(items).expect("within bounds")
}

/// The answer to a check or a write, of a machine on which every write works.
pub(crate) fn answer(output: &Output) -> Option<Input> {
    match output {
        Output::Check { token, key, statement, signature } => {
            let verdict = check(key, &statement[..], signature);
            Some(Input::Checked { token: *token, verdict })
        }
        Output::Write { token, .. } => Some(Input::Written { token: *token }),
        _ => None,
    }
}
