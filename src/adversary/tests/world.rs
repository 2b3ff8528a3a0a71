//! A liar by itself, with links that the test plays.

use std::sync::Arc;

use crate::adversary::{Adversary, Effect, Spec};
use crate::crypto::{Digest, Identity, check};
use crate::protocol::{
    Config, Input, LinkId, Member, Network, Node, Output, Reason, Record, Restored, RestoredLane,
    RestoredSlot, Role, StoredBatch, Time, Verified,
};
use crate::wire::limits::VERSION;
use crate::wire::{Batch, Entry, Frame, Hello, Instance, Push};

pub(super) fn identity(i: usize) -> Identity {
    Identity::from_seed(&[u8::try_from(i).expect("few") + 1; 32])
}

pub(super) fn entry(text: &str) -> Entry {
    Entry { topic: "t".into(), payload: text.as_bytes().to_vec() }
}

pub(super) fn network(n: usize) -> Arc<Network> {
    let members = (0..n).map(|i| Member {
        key: identity(i).public(),
        name: format!("n{i}"),
        role: Role::Member,
        gossip: Some(([127, 0, 0, 1], 1).into()),
    });
    Arc::new(Network::new([1; 32], members.collect()).expect("sound"))
}

pub(super) fn node(i: usize, network: &Arc<Network>, restored: Restored) -> Node {
    let seed = [u8::try_from(i).expect("few"); 32];
    Node::new(identity(i), network.clone(), Config::default(), restored, seed, Time(0))
}

/// The lane of `author` as a start finds it, with `slots` slots, and its batches.
pub(super) fn lane(network: &Network, author: usize, slots: u64) -> (RestoredLane, Vec<Batch>) {
    let mut prev = Digest::ZERO;
    let mut lane = RestoredLane::new(identity(author).public());
    let mut batches = Vec::new();
    for seq in 1..=slots {
        let text = entry(&format!("old {seq}"));
        let batch = Batch::sign(&identity(author), network.id(), seq, prev, 1, &[text]);
        let batch = batch.expect("signs");
        let (id, rest, signature) = (batch.id(), batch.header.rest(), batch.signature);
        lane.slots.push(RestoredSlot { seq, base: seq - 1, id, rest, signature, first: true });
        prev = id;
        batches.push(batch);
    }
    (lane, batches)
}

/// A batch by each of `authors`, signed for another network.
pub(super) fn decoys(authors: &[usize]) -> Vec<Batch> {
    let sign = |i: &usize| {
        let elsewhere = Digest([77; 32]);
        Batch::sign(&identity(*i), elsewhere, 1, Digest::ZERO, 1, &[entry("decoy")]).expect("signs")
    };
    authors.iter().map(sign).collect()
}

pub(super) fn liar(i: usize, network: &Arc<Network>, spec: &str, decoys: Vec<Batch>) -> Adversary {
    let spec: Spec = spec.parse().expect("a good SPEC");
    let node = node(i, network, Restored::default());
    Adversary::new(node, identity(i), network.clone(), spec, decoys, [7; 32], Time(0))
}

/// The reason for which a fresh honest node, member 0, refuses a frame that member `from` sends it.
pub(super) fn judge(network: &Arc<Network>, from: usize, bytes: &[u8]) -> Option<Reason> {
    let (mut node, link) = (node(0, network, Restored::default()), LinkId(1));
    let mut found = None;
    let hello = Frame::Hello(Hello {
        version: u16::from(VERSION),
        network: network.id(),
        instance: Instance([9; 16]),
    });
    let peer = identity(from).public();
    while node.poll().is_some() {}
    let mut inputs = vec![
        Input::Frame { link, bytes: bytes.into() },
        Input::Frame { link, bytes: hello.encode().into() },
        Input::LinkUp { link, peer, dialled: false },
    ];
    while let Some(input) = inputs.pop() {
        node.handle(Time(1), input);
        while let Some(output) = node.poll() {
            match output {
                Output::Check { token, key, statement, signature } => {
                    let verdict = check(&key, &statement[..], &signature);
                    inputs.push(Input::Checked { token, verdict });
                }
                Output::Write { record: Record::Rejection(row), .. } => {
                    found = found.or(Some(row.reason));
                }
                _ => {}
            }
        }
    }
    found
}

/// A liar with one ready link to each of some peers, driven by hand.
pub(super) struct Stand {
    pub liar: Adversary,
    pub links: Vec<LinkId>,
    pub acts: Vec<Effect>,
    pub now: Time,
}

impl Stand {
    pub(super) fn new(mut liar: Adversary, network: &Arc<Network>, peers: &[usize]) -> Self {
        while liar.poll().is_some() {}
        let mut stand = Self { liar, links: Vec::new(), acts: Vec::new(), now: Time(1000) };
        // No other member can be reached, so the liar chooses exactly the links below.
        for absent in (0..network.n()).filter(|i| !peers.contains(i)) {
            stand.hand(Input::DialFailed { peer: identity(absent).public() });
        }
        for peer in peers {
            stand.link(network, *peer);
        }
        stand
    }

    pub(super) fn link(&mut self, network: &Arc<Network>, peer: usize) -> LinkId {
        let link = LinkId(100 + self.links.len() as u64);
        self.links.push(link);
        let key = identity(peer).public();
        self.hand(Input::LinkUp { link, peer: key, dialled: true });
        let instance = Instance([u8::try_from(peer).expect("few"); 16]);
        let (version, network) = (u16::from(VERSION), network.id());
        let hello = Frame::Hello(Hello { version, network, instance });
        self.hand(Input::Frame { link, bytes: hello.encode().into() });
        link
    }

    pub(super) fn hand(&mut self, input: Input) {
        self.liar.handle(self.now, input);
        self.drain();
    }

    /// Hands in a genuine batch from a peer, and answers its check.
    pub(super) fn push(&mut self, link: LinkId, batch: Batch) {
        let frame = Frame::Push(Box::new(Push { hops: 1, batch }));
        self.hand(Input::Frame { link, bytes: frame.encode().into() });
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now.0 + ms * 1000;
        while let Some(at) = self.liar.deadline().filter(|at| at.0 <= end) {
            self.now = Time(at.0.max(self.now.0));
            self.hand(Input::Wake);
        }
        self.now = Time(end);
    }

    pub(super) fn drained(&mut self, link: LinkId) {
        self.liar.drained(self.now, link);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(act) = self.liar.poll() {
            match &act {
                Effect::Node(Output::Check { token, key, statement, signature }) => {
                    let verdict = check(key, &statement[..], signature);
                    let token = *token;
                    let rest: Vec<Effect> = std::iter::from_fn(|| self.liar.poll()).collect();
                    self.acts.extend(rest);
                    self.hand(Input::Checked { token, verdict });
                }
                Effect::Node(Output::Write { token, .. }) => {
                    let token = *token;
                    let rest: Vec<Effect> = std::iter::from_fn(|| self.liar.poll()).collect();
                    self.acts.extend(rest);
                    self.hand(Input::Written { token });
                }
                _ => {}
            }
            self.acts.push(act);
        }
    }

    /// Takes the raw bytes written so far, with length prefixes.
    pub(super) fn raw(&mut self) -> Vec<(LinkId, Arc<[u8]>)> {
        let acts = std::mem::take(&mut self.acts);
        let raw =
            |act| if let Effect::Raw { link, bytes } = act { Some((link, bytes)) } else { None };
        acts.into_iter().filter_map(raw).collect()
    }

    /// Takes the frames that the liar's inner node has sent so far.
    pub(super) fn sent(&mut self) -> Vec<(LinkId, Frame)> {
        let acts = std::mem::take(&mut self.acts);
        let sent = |act| match act {
            Effect::Node(Output::Send { link, frame, .. }) => {
                Some((link, Frame::decode(&frame).expect("an honest frame")))
            }
            _ => None,
        };
        acts.into_iter().filter_map(sent).collect()
    }
}

pub(super) fn stored(batch: Batch) -> StoredBatch {
    StoredBatch {
        id: batch.id(),
        batch: Arc::new(Verified::trusted(batch)),
        hops: 0,
        from: None,
        delivered_at: Time(0),
        first: true,
    }
}
