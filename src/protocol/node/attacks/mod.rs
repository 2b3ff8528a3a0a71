//! Attacks on one honest node by members that hold real keys and say whatever helps them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::crypto::{Digest, Identity, PublicKey, check};
use crate::protocol::{
    Ban, CloseWhy, Config, Durability, Hole, Input, LinkId, Member, Network, Output, Reason,
    Record, Refusal, Rejection, Restored, Role, StoredBatch, Time,
};
use crate::wire::limits::VERSION;
use crate::wire::{
    Announce, Batch, BatchId, Class, Compare, Credit, Differ, Entry, Frame, Grant, Hello, Instance,
    Lacked, List, Missing, Push, Reply, SlotId, Want, WhyMissing,
};

mod answering;
mod asking_again;
mod comparing;
mod cut_off;
mod differing;
mod full;
mod given_up;
mod holding_up;
mod linking;
mod recovering;
mod searching;
mod serving;
mod starving;
mod submitting;
mod trouble;

/// One node under attack, member 0, among members that the test plays.
struct Victim {
    node: Node,
    network: Arc<Network>,
    now: Time,
    /// Frames that the node sent and that the test has not looked at yet.
    sent: VecDeque<(LinkId, Frame)>,
    /// Frames and bytes that the node sent, by link and class.
    spent: BTreeMap<(LinkId, Class), (u64, u64)>,
    granted: BTreeMap<(LinkId, Class), u64>,
    /// Links and classes for which the test grants no credit.
    misers: BTreeSet<(LinkId, Class)>,
    dials: Vec<PublicKey>,
    closed: Vec<(LinkId, CloseWhy)>,
    delivered: Vec<BatchId>,
    rows: Vec<StoredBatch>,
    /// Batches in the order of their writes, with the durability that the node asked for.
    writes: Vec<(BatchId, Durability)>,
    log: Vec<Rejection>,
    submitted: Vec<Result<BatchId, Refusal>>,
    /// Whether every dial fails.
    alone: bool,
    /// The tip and the holes that were last written for each author.
    holes: BTreeMap<PublicKey, (u64, Vec<Hole>)>,
    /// How many records of holes were written.
    hole_records: u64,
    /// Slots and ids of rows that the node asked the store to look at.
    doubts: Vec<(u64, BatchId)>,
    /// Whether checks and writes wait for [`Victim::answer`].
    slow: bool,
    waiting: VecDeque<Input>,
    /// Whether reads find nothing.
    unreadable: bool,
    /// Bytes of bodies that the node read from disk.
    read: u64,
    bans: Vec<Ban>,
}

fn identity(n: u16) -> Identity {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

fn list<T, const MIN: usize, const MAX: usize>(items: Vec<T>) -> List<T, MIN, MAX> {
    List::new(items).expect("within bounds")
}

impl Victim {
    /// A victim among `members` members, itself included; the identities after them belong to
    /// `authors` authors.
    fn among(members: u16, authors: u16) -> Self {
        Self::with(members, authors, Restored::default())
    }

    /// The same, with what a start found in the store.
    fn with(members: u16, authors: u16, restored: Restored) -> Self {
        let key = |n: u16| Member {
            key: identity(n).public(),
            name: format!("n{n}"),
            role: if n < members { Role::Member } else { Role::Author },
            gossip: (n < members).then(|| ([127, 0, 0, 1], 1).into()),
        };
        let keys = (0..members + authors).map(key).collect();
        let network = Arc::new(Network::new([3; 32], keys).expect("sound"));
        let (config, now) = (Config::default(), Time(1_000_000));
        let node = Node::new(identity(0), network.clone(), config, restored, [1; 32], now);
        let mut victim = Self {
            node,
            network,
            now,
            sent: VecDeque::new(),
            spent: BTreeMap::new(),
            granted: BTreeMap::new(),
            misers: BTreeSet::new(),
            dials: vec![],
            closed: vec![],
            delivered: vec![],
            rows: vec![],
            writes: vec![],
            log: vec![],
            submitted: vec![],
            alone: false,
            holes: BTreeMap::new(),
            hole_records: 0,
            doubts: vec![],
            slow: false,
            waiting: VecDeque::new(),
            unreadable: false,
            read: 0,
            bans: vec![],
        };
        victim.drain();
        victim
    }

    fn give(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll() {
            match output {
                Output::Send { link, frame, class, .. } => {
                    let spent = self.spent.entry((link, class)).or_default();
                    *spent = (spent.0 + 1, spent.1 + frame.len() as u64);
                    self.sent.push_back((link, Frame::decode(&frame).expect("honest")));
                }
                Output::Check { token, key, statement, signature } => {
                    let verdict = check(&key, &statement[..], &signature);
                    self.waiting.push_back(Input::Checked { token, verdict });
                }
                Output::Write { token, record, durability } => {
                    match record {
                        Record::Batch(stored) => {
                            self.writes.push((stored.id, durability));
                            self.rows.retain(|row| row.id != stored.id);
                            self.rows.push(stored);
                        }
                        Record::Holes { author, tip, holes } => {
                            self.holes.insert(author, (tip, holes));
                            self.hole_records += 1;
                        }
                        Record::Ban(ban) => self.bans.push(ban),
                        Record::Rejection(row) => self.log.push(*row),
                    }
                    self.waiting.push_back(Input::Written { token });
                }
                Output::Read { token, author, seq, id } => {
                    let batch = self.row(author, seq, id).map(Box::new);
                    self.waiting.push_back(Input::Read { token, batch });
                }
                Output::Doubt { seq, id, .. } => self.doubts.push((seq, id)),
                Output::Dial { peer } => {
                    self.dials.push(peer);
                    if self.alone {
                        self.waiting.push_back(Input::DialFailed { peer });
                    }
                }
                Output::Close { link, why } => self.closed.push((link, why)),
                Output::Deliver(stored) => self.delivered.push(stored.id),
                Output::Submitted { result, .. } => self.submitted.push(result),
                _ => {}
            }
        }
        if !self.slow {
            self.answer();
        }
    }

    fn row(&mut self, author: PublicKey, seq: u64, id: Option<BatchId>) -> Option<StoredBatch> {
        let fits = |row: &&StoredBatch| {
            let header = &row.batch.header;
            header.author == author && header.seq == seq && id.is_none_or(|id| id == row.id)
        };
        let row = self.rows.iter().find(fits).filter(|_| !self.unreadable)?;
        self.read += row.batch.body.len() as u64;
        Some(row.clone())
    }

    /// Answers all checks, writes, reads and dials that are waiting.
    fn answer(&mut self) {
        while let Some(input) = self.waiting.pop_front() {
            self.node.handle(self.now, input);
            self.drain();
        }
    }

    /// Links member `n` to the victim; the link has the number `n`.
    fn link(&mut self, n: u16) -> LinkId {
        self.link_as(n, LinkId(u64::from(n)))
    }

    fn link_as(&mut self, n: u16, link: LinkId) -> LinkId {
        self.give(Input::LinkUp { link, peer: identity(n).public(), dialled: false });
        let network = self.network.id();
        let instance = Instance([n as u8; 16]);
        self.say(link, &Frame::Hello(Hello { version: VERSION.into(), network, instance }));
        link
    }

    fn say(&mut self, link: LinkId, frame: &Frame) {
        self.give(Input::Frame { link, bytes: frame.encode().into() });
    }

    /// Lets time pass. `react` sees each frame that the node sends, and may answer it.
    fn run(&mut self, ms: u64, mut react: impl FnMut(&mut Self, LinkId, Frame)) {
        let end = self.now.after(Duration::from_millis(ms));
        loop {
            while let Some((link, frame)) = self.sent.pop_front() {
                self.grant(link, frame.kind().class());
                react(self, link, frame);
            }
            match self.node.deadline() {
                Some((due, _)) if due <= end => {
                    self.now = self.now.max(due);
                    self.give(Input::Wake);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Grants credit for all frames of a class that the node sent, once for each new total.
    fn grant(&mut self, link: LinkId, class: Class) {
        if class.window().is_some()
            && !self.misers.contains(&(link, class))
            && let Some((frames, bytes)) = self.spent.get(&(link, class)).copied()
            && self.granted.insert((link, class), frames) != Some(frames)
        {
            let grants = list(vec![Grant { class: class as u8, frames, bytes }]);
            self.say(link, &Frame::Credit(Credit { grants }));
        }
    }

    fn batch(&self, author: u16, seq: u64, prev: BatchId, text: &str) -> Batch {
        let entry = Entry { topic: "t".into(), payload: text.as_bytes().to_vec() };
        Batch::sign(&identity(author), self.network.id(), seq, prev, 5, &[entry]).expect("fits")
    }

    fn chain(&self, author: u16, count: u64) -> Vec<Batch> {
        let mut prev = Digest::ZERO;
        let signed = |seq| {
            let batch = self.batch(author, seq, prev, "x");
            prev = batch.id();
            batch
        };
        (1..=count).map(signed).collect()
    }

    /// The reason for which member `n` was banned, if it was.
    fn blamed(&self, n: u16) -> Option<Reason> {
        let peer = identity(n).public();
        self.bans.iter().find(|ban| ban.peer == peer).map(|ban| ban.reason)
    }

    /// Answers a comparison: nothing differs.
    fn agree(&mut self, link: LinkId, asked: &Compare) {
        let (ticket, ranges, tips, above) =
            (asked.ticket, list(vec![]), list(vec![]), list(vec![]));
        self.say(link, &Frame::Differ(Differ { ticket, ranges, tips, above }));
    }

    fn announce(&mut self, link: LinkId, batches: &[Batch]) {
        let item = |b: &Batch| SlotId { author: b.header.author, seq: b.header.seq, id: b.id() };
        for some in batches.chunks(128) {
            let items = list(some.iter().map(item).collect());
            self.say(link, &Frame::Announce(Announce { items }));
        }
    }

    fn push(&mut self, link: LinkId, batch: &Batch) {
        self.say(link, &Frame::Push(Box::new(Push { hops: 1, batch: batch.clone() })));
    }

    fn reply(&mut self, link: LinkId, want: &Want, batches: &[Batch]) {
        let found =
            batches.iter().find(|b| b.header.author == want.author && b.header.seq == want.seq);
        let ticket = want.ticket;
        let answer = match found {
            Some(batch) => Frame::Reply(Box::new(Reply { ticket, hops: 1, batch: batch.clone() })),
            None => Frame::Missing(Missing {
                ticket,
                why: WhyMissing::Unknown,
                floor: 0,
                next: 0,
                lacked: Lacked::default(),
            }),
        };
        self.say(link, &answer);
    }
}
