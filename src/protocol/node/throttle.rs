//! A link that brings nothing new is slowed down and never blamed; one that stays within its
//! allowance of useless work is not even slowed down.

use std::sync::Arc;

use super::Node;
use super::frames::cost;
use crate::crypto::{Digest, Identity, check};
use crate::protocol::{
    Config, Input, LinkId, Member, Network, Output, Reason, Record, Restored, Role, Time,
};
use crate::wire::limits::{IDLE_WORK_BURST, IDLE_WORK_PER_S, VERSION};
use crate::wire::{
    Announce, Batch, Class, Entry, Frame, Grant, Hello, Instance, List, Push, Request, SlotId, Want,
};

const LINK: LinkId = LinkId(1);
const SECONDS: u64 = 5;

/// A node and a raw peer that keeps count of its own credit.
struct Stand {
    node: Node,
    network: Arc<Network>,
    now: u64,
    sent: (u64, u64),
    granted: (u64, u64),
    /// The class of the frame that is sent in a flood.
    class: Class,
    missing: u64,
    banned: bool,
}

fn identity(i: u8) -> Identity {
    Identity::from_seed(&[i + 1; 32])
}

impl Stand {
    fn new() -> Self {
        let member = |i: u8| Member {
            key: identity(i).public(),
            name: format!("n{i}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        };
        let network = Network::new([1; 32], (0..4).map(member).collect()).expect("sound");
        let network = Arc::new(network);
        let (config, restored) = (Config::default(), Restored::default());
        let node =
            Node::new(identity(0), network.clone(), config, restored, [5; 32], Time(1_000_000));
        let (sent, granted) = ((0, 0), (0, 0));
        let mut stand = Self {
            node,
            network,
            now: 1_000_000,
            sent,
            granted,
            class: Class::Push,
            missing: 0,
            banned: false,
        };
        stand.drain();
        let peer = identity(1).public();
        stand.give(Input::LinkUp { link: LINK, peer, dialled: false });
        let (version, network) = (VERSION.into(), stand.network.id());
        stand.frame(&Frame::Hello(Hello { version, network, instance: Instance([9; 16]) }));
        stand
    }

    fn give(&mut self, input: Input) {
        self.node.handle(Time(self.now), input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut answers = Vec::new();
        while let Some(output) = self.node.poll() {
            match output {
                Output::Send { frame, .. } => self.hear(&frame),
                Output::Check { token, key, statement, signature } => {
                    let verdict = check(&key, &statement[..], &signature);
                    answers.push(Input::Checked { token, verdict });
                }
                Output::Write { record: Record::Ban(_), .. } => self.banned = true,
                _ => {}
            }
        }
        answers.into_iter().for_each(|answer| self.give(answer));
    }

    fn hear(&mut self, frame: &[u8]) {
        match Frame::decode(frame) {
            Ok(Frame::Credit(credit)) => {
                for Grant { class, frames, bytes } in credit.grants.iter() {
                    if *class == self.class as u8 {
                        self.granted = (*frames, *bytes);
                    }
                }
            }
            Ok(Frame::Missing(_)) => self.missing += 1,
            _ => {}
        }
    }

    fn frame(&mut self, frame: &Frame) {
        self.give(Input::Frame { link: LINK, bytes: frame.encode().into() });
    }

    /// Sends a frame `per_ms` times each millisecond, as far as credit allows, for [`SECONDS`].
    /// Returns how often it was sent.
    fn flood(&mut self, frame: &Frame, per_ms: u64) -> u64 {
        let class = frame.kind().class();
        self.class = class;
        let (frames, bytes) = class.window().expect("a class with credit");
        let length = frame.encode().len() as u64;
        let mut count = 0;
        for _ in 0..SECONDS * 1000 {
            for _ in 0..per_ms {
                let room = self.sent.0 - self.granted.0 < frames
                    && self.sent.1 - self.granted.1 + length <= bytes;
                if room {
                    self.sent = (self.sent.0 + 1, self.sent.1 + length);
                    self.frame(frame);
                    count += 1;
                }
            }
            self.now += 1000;
            while self.node.deadline().is_some_and(|(due, _)| due.0 <= self.now) {
                self.give(Input::Wake);
            }
        }
        assert!(!self.banned, "nobody is banned for a lack of news");
        count
    }

    /// A push of a batch that the node knows already.
    fn copy(&mut self, length: usize) -> Frame {
        self.push(1, length)
    }

    fn push(&mut self, seq: u64, length: usize) -> Frame {
        let entry = Entry { topic: String::new(), payload: vec![1; length] };
        let network = self.network.id();
        let prev = if seq == 1 { Digest::ZERO } else { Digest([1; 32]) };
        let batch = Batch::sign(&identity(2), network, seq, prev, 0, &[entry]);
        Frame::Push(Box::new(Push { hops: 1, batch: batch.expect("fits") }))
    }
}

fn bound(cost: u64, class: Class) -> u64 {
    let (window, _) = class.window().expect("credited");
    (IDLE_WORK_BURST + IDLE_WORK_PER_S * SECONDS) / cost + window + 1
}

#[test]
fn a_flood_of_copies_earns_credit_at_its_rate() {
    let mut stand = Stand::new();
    let copy = stand.copy(100);
    let count = stand.flood(&copy, 100);
    assert!(count <= bound(1, Class::Push), "{count} copies");
    assert!(count >= IDLE_WORK_PER_S * SECONDS, "{count}: it is slowed down, not cut off");
    let rejected = stand.node.snapshot().counters.rejected;
    assert!(rejected.keys().all(|reason| *reason == Reason::Replayed), "{rejected:?}");
}

#[test]
fn what_honest_redundancy_costs_is_not_slowed_down() {
    let mut stand = Stand::new();
    let copy = stand.copy(100);
    let per_second = IDLE_WORK_PER_S - 1;
    assert!(stand.flood(&copy, 1) >= per_second * SECONDS);
}

#[test]
fn floods_of_invented_ids_and_of_requests_are_slowed_down() {
    let mut stand = Stand::new();
    let author = identity(2).public();
    let invented = |i: u64| SlotId { author, seq: 1 + i, id: Digest([i as u8 + 1; 32]) };
    let items = List::new((0..128).map(invented).collect()).expect("few");
    let count = stand.flood(&Frame::Announce(Announce { items }), 20);
    assert!(count <= bound(cost::announce(128, true), Class::Announce), "{count} announcements");

    let mut stand = Stand::new();
    let want = |ticket| Want { ticket, author, seq: 1, id: None };
    let wants = List::new((0..16).map(want).collect()).expect("few");
    let count = stand.flood(&Frame::Request(Request { wants }), 20);
    assert!(count <= bound(cost::request(16), Class::Request), "{count} requests");
}

/// Long copies, and long batches that are too far ahead, are charged for their bytes.
#[test]
fn useless_bytes_are_slowed_down_as_well_as_useless_frames() {
    const LENGTH: usize = 64 << 10;
    for seq in [1, 5000] {
        let mut stand = Stand::new();
        let push = stand.push(seq, LENGTH);
        let count = stand.flood(&push, 1);
        assert!(count <= bound(cost::copy(LENGTH), Class::Push), "{count} of 64 KiB");
        let rejected = stand.node.snapshot().counters.rejected;
        let known = [Reason::Replayed, Reason::TooFarAhead];
        assert!(rejected.keys().all(|reason| known.contains(reason)), "{rejected:?}");
    }
}

/// A peer that sends more copies than it may is still heard in all other classes.
#[test]
fn a_link_whose_copies_are_slowed_down_is_not_starved_of_the_rest() {
    let mut stand = Stand::new();
    let copy = stand.copy(64 << 10);
    stand.flood(&copy, 1);
    let author = identity(2).public();
    stand.missing = 0;
    for ticket in 0..100 {
        let want = Want { ticket, author, seq: 9, id: None };
        let wants = List::new(vec![want]).expect("one");
        stand.frame(&Frame::Request(Request { wants }));
        stand.now += 1000;
        while stand.node.deadline().is_some_and(|(due, _)| due.0 <= stand.now) {
            stand.give(Input::Wake);
        }
    }
    assert_eq!((stand.missing, stand.banned), (100, false), "requests have a credit of their own");
    let link = stand.node.links.get(LINK).expect("up");
    assert!(link.owed() > 0, "credit for the copies is withheld meanwhile");
}
