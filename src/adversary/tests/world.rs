//! A world of honest nodes and liars: links take one millisecond, checks and writes are answered at
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stand::{decoys, liar};
use crate::adversary::{Actor, Adversary, Effect};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::testing::{answer, entry, identity, network, node};
use crate::protocol::{
    Down, Input, LinkId, Output, Reason, Record, Rejection, Restored, StoredBatch, Time,
};
use crate::wire::limits::MAX_FRAME;

enum Event {
    Input(Input),
    Drained(LinkId),
}

pub(super) struct World {
    pub peers: Vec<Actor>,
    pub now: u64,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    names: u64,
    pub ends: BTreeMap<LinkId, (usize, usize)>,
    pub stores: Vec<BTreeMap<Digest, StoredBatch>>,
    pub delivered: Vec<BTreeSet<Digest>>,
    pub rows: Vec<Vec<Rejection>>,
    pub bans: Vec<BTreeSet<PublicKey>>,
    pub paused: BTreeSet<LinkId>,
    pub paced: BTreeSet<LinkId>,
    /// Frames that liars sent, without length prefix, with the time and the link.
    pub lies: Vec<(u64, LinkId, Arc<[u8]>)>,
}

impl World {
    /// A world of `n` nodes. The last ones are liars with these SPECs.
    pub(super) fn new(n: usize, specs: &[&str]) -> Self {
        let members = u16::try_from(n).expect("few");
        let network = network(members, 0);
        let honest = members - specs.len() as u16;
        let node = |i| Actor::Honest(Box::new(node(i, &network, Restored::default())));
        let mut peers: Vec<Actor> = (0..honest).map(node).collect();
        for (i, spec) in (honest..).zip(specs) {
            peers.push(Actor::Liar(Box::new(liar(i, &network, spec, decoys(&[0, 1])))));
        }
        let mut world = Self {
            peers,
            now: 0,
            queue: BTreeMap::new(),
            names: 0,
            ends: BTreeMap::new(),
            stores: vec![BTreeMap::new(); n],
            delivered: vec![BTreeSet::new(); n],
            rows: vec![Vec::new(); n],
            bans: vec![BTreeSet::new(); n],
            paused: BTreeSet::new(),
            paced: BTreeSet::new(),
            lies: Vec::new(),
        };
        (0..n).for_each(|i| world.drain(i));
        world
    }

    pub(super) fn liar(&self, i: usize) -> &Adversary {
        match &self.peers[i] {
            Actor::Liar(liar) => liar,
            Actor::Honest(_) => panic!("node {i} is honest"),
        }
    }

    fn later(&mut self, by: u64, peer: usize, event: Event) {
        self.names += 1;
        self.queue.insert((self.now + by, self.names), (peer, event));
    }

    fn drain(&mut self, i: usize) {
        let mut given = BTreeSet::new();
        loop {
            match self.peers[i].poll() {
                None => break,
                Some(Effect::Node(output)) => {
                    if let Output::Send { link, frame, .. } = &output {
                        given.insert(*link);
                        if self.peers[i].is_liar() {
                            self.lies.push((self.now, *link, frame.clone()));
                        }
                    }
                    self.act(i, output);
                }
                Some(Effect::Raw { link, bytes }) => {
                    given.insert(link);
                    self.raw(i, link, &bytes);
                }
                Some(Effect::Pause { link, reading: false }) => drop(self.paused.insert(link)),
                Some(Effect::Pause { link, reading: true }) => drop(self.paused.remove(&link)),
                Some(Effect::Pace { link, bytes_per_s: Some(_) }) => drop(self.paced.insert(link)),
                Some(Effect::Pace { link, bytes_per_s: None }) => drop(self.paced.remove(&link)),
            }
        }
        if self.peers[i].is_liar() {
            given.into_iter().for_each(|link| self.later(1000, i, Event::Drained(link)));
        }
    }

    fn raw(&mut self, i: usize, link: LinkId, bytes: &[u8]) {
        let (length, frame) = bytes.split_first_chunk::<4>().expect("a prefix");
        let length = u32::from_be_bytes(*length);
        let Some(to) = self.other(i, link) else { return };
        if length as usize > MAX_FRAME {
            return self.later(1000, to, Event::Input(Input::Oversize { link, length }));
        }
        assert_eq!(length as usize, frame.len(), "raw frames are complete");
        self.lies.push((self.now, link, frame.into()));
        self.later(1000, to, Event::Input(Input::Frame { link, bytes: frame.into() }));
    }

    fn other(&self, i: usize, link: LinkId) -> Option<usize> {
        self.ends.get(&link).map(|(a, b)| if *a == i { *b } else { *a })
    }

    fn act(&mut self, i: usize, output: Output) {
        match output {
            Output::Dial { peer } => {
                let j = (0..self.peers.len()).find(|j| identity(*j).public() == peer);
                let j = j.expect("a member");
                self.names += 1;
                let link = LinkId(self.names);
                self.ends.insert(link, (i, j));
                self.later(500, i, Event::Input(Input::LinkUp { link, peer, dialled: true }));
                let peer = identity(i).public();
                self.later(500, j, Event::Input(Input::LinkUp { link, peer, dialled: false }));
            }
            Output::Send { link, frame, .. } => {
                if let Some(to) = self.other(i, link) {
                    self.later(1000, to, Event::Input(Input::Frame { link, bytes: frame }));
                }
            }
            Output::Close { link, .. } => {
                if let Some((a, b)) = self.ends.remove(&link) {
                    for end in [a, b] {
                        let down = Input::LinkDown { link, cause: Down::Lost };
                        self.later(1000, end, Event::Input(down));
                    }
                }
            }
            Output::Check { .. } => {
                let answer = answer(&output).expect("a verdict");
                self.later(50, i, Event::Input(answer));
            }
            Output::Write { token, record, .. } => {
                match record {
                    Record::Batch(stored) => drop(self.stores[i].insert(stored.id, stored)),
                    Record::Ban(ban) => drop(self.bans[i].insert(ban.peer)),
                    Record::Rejection(row) => self.rows[i].push(*row),
                    Record::Holes { .. } => {}
                }
                self.later(300, i, Event::Input(Input::Written { token }));
            }
            Output::Read { token, author, seq, .. } => {
                let found = self.stores[i]
                    .values()
                    .find(|s| s.batch.header.author == author && s.batch.header.seq == seq);
                let batch = found.cloned().map(Box::new);
                self.later(300, i, Event::Input(Input::Read { token, batch }));
            }
            Output::Doubt { .. } => {}
            Output::Deliver(stored) => {
                assert!(self.delivered[i].insert(stored.id), "delivered twice");
            }
            Output::Published { .. } | Output::Submitted { .. } | Output::PublishFailed { .. } => {}
        }
    }

    fn hand(&mut self, i: usize, event: Event) {
        let now = Time(self.now);
        match event {
            Event::Input(input) => self.peers[i].handle(now, input),
            Event::Drained(link) => self.peers[i].drained(now, link),
        }
        self.drain(i);
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms * 1000;
        loop {
            let wake = |i: usize| self.peers[i].deadline();
            let next_wake =
                (0..self.peers.len()).filter_map(|i| Some((wake(i)?.0.max(self.now), i))).min();
            let next_event = self.queue.first_key_value().map(|((time, _), _)| *time);
            match (next_event, next_wake) {
                (Some(time), wake) if wake.is_none_or(|(w, _)| time <= w) && time <= end => {
                    let ((time, _), (i, event)) = self.queue.pop_first().expect("there is one");
                    self.now = time;
                    self.hand(i, event);
                }
                (_, Some((time, i))) if time <= end => {
                    self.now = time;
                    self.hand(i, Event::Input(Input::Wake));
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(super) fn publish(&mut self, i: usize, text: &str) {
        let now = Time(self.now);
        self.peers[i].publish(now, entry("t", text)).expect("there is room");
        self.drain(i);
    }

    /// How often honest node `i` refused something for a reason.
    pub(super) fn refused(&self, i: usize, reason: Reason) -> u64 {
        self.rows[i].iter().filter(|row| row.reason == reason).map(|row| row.count).sum()
    }
}
