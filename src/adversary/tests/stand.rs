//! One liar driven by hand, and what an honest node makes of its frames.

use std::sync::Arc;

use crate::adversary::{Adversary, Effect, Spec};
use crate::crypto::Digest;
use crate::protocol::testing::{Victim, answer, batch, chain, hello, identity, network, node};
use crate::protocol::{Input, LinkId, Network, Output, Reason, Restored, Time};
use crate::wire::limits::MAX_FRAME;
use crate::wire::{Batch, Frame, Push};

/// The member that lies.
pub(super) const LIAR: u16 = 3;

/// A batch by each of `authors`, signed for another network.
pub(super) fn decoys(authors: &[u16]) -> Vec<Batch> {
    let sign = |i: &u16| batch(*i, Digest([77; 32]), 1, Digest::ZERO, "decoy");
    authors.iter().map(sign).collect()
}

pub(super) fn liar(n: u16, network: &Arc<Network>, spec: &str, decoys: Vec<Batch>) -> Adversary {
    let spec: Spec = spec.parse().expect("a good SPEC");
    let node = node(n, network, Restored::default());
    Adversary::new(node, identity(n), network.clone(), spec, decoys, [7; 32], Time(0))
}

/// The reason for which a fresh honest node refuses a frame that the liar sends it.
pub(super) fn judge(network: &Network, bytes: &[u8]) -> Option<Reason> {
    let mut victim = Victim::among(u16::try_from(network.n()).expect("few"), 0);
    let link = victim.link(LIAR);
    victim.give(Input::Frame { link, bytes: bytes.into() });
    victim.log.first().map(|row| row.reason)
}

/// A liar with one ready link to each of some peers.
pub(super) struct Stand {
    pub liar: Adversary,
    pub network: Arc<Network>,
    pub links: Vec<LinkId>,
    pub acts: Vec<Effect>,
    pub now: Time,
}

impl Stand {
    /// A liar without decoys among this many members.
    pub(super) fn new(members: u16, spec: &str, peers: &[u16]) -> Self {
        let network = network(members, 0);
        Self::of(liar(LIAR, &network, spec, vec![]), network, peers)
    }

    pub(super) fn of(mut liar: Adversary, network: Arc<Network>, peers: &[u16]) -> Self {
        while liar.poll().is_some() {}
        let now = Time(1000);
        let mut stand = Self { liar, network, links: Vec::new(), acts: Vec::new(), now };
        // No other member can be reached, so the liar chooses exactly the links below.
        for absent in (0..).take(stand.network.n()).filter(|n| !peers.contains(n)) {
            stand.hand(Input::DialFailed { peer: identity(absent).public() });
        }
        for peer in peers {
            stand.link(*peer);
        }
        stand
    }

    pub(super) fn link(&mut self, peer: u16) -> LinkId {
        let link = LinkId(100 + self.links.len() as u64);
        self.links.push(link);
        self.hand(Input::LinkUp { link, peer: identity(peer).public(), dialled: true });
        self.say(link, &hello(&self.network, peer as u8));
        link
    }

    pub(super) fn hand(&mut self, input: Input) {
        self.liar.handle(self.now, input);
        self.drain();
    }

    pub(super) fn say(&mut self, link: LinkId, frame: &Frame) {
        self.hand(Input::Frame { link, bytes: frame.encode().into() });
    }

    /// Hands in a genuine batch from a peer.
    pub(super) fn push(&mut self, link: LinkId, batch: &Batch) {
        self.say(link, &Frame::Push(Box::new(Push { hops: 1, batch: batch.clone() })));
    }

    pub(super) fn chain(&self, author: u16, count: u64) -> Vec<Batch> {
        chain(author, self.network.id(), count)
    }

    pub(super) fn judge(&self, bytes: &[u8]) -> Option<Reason> {
        judge(&self.network, bytes)
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
        let mut answers = Vec::new();
        while let Some(act) = self.liar.poll() {
            answers.extend(if let Effect::Node(output) = &act { answer(output) } else { None });
            self.acts.push(act);
        }
        answers.into_iter().for_each(|answer| self.hand(answer));
    }

    /// Takes the raw bytes written so far, with length prefixes.
    pub(super) fn raw(&mut self) -> Vec<(LinkId, Arc<[u8]>)> {
        let acts = std::mem::take(&mut self.acts);
        let raw = |act| {
            let Effect::Raw { link, bytes } = act else { return None };
            let (length, frame) = bytes.split_first_chunk::<4>().expect("a prefix");
            let length = u32::from_be_bytes(*length) as usize;
            assert!(length > MAX_FRAME || length == frame.len(), "raw frames are complete");
            Some((link, bytes))
        };
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
