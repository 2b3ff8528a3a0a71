//! One honest node among members that the test plays, driven by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{answer, batch, chain, entry, extend, hello, identity, list, network};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{
    Ban, CloseWhy, Config, Down, Durability, Hole, Input, LinkId, Network, Node, Output, Reason,
    Record, Refusal, Rejection, Restored, RestoredLane, StoredBatch, Time,
};
use crate::wire::{
    Announce, Batch, BatchId, Class, Compare, Credit, Frame, Grant, Push, RangeHash, SlotId,
};

/// One node under attack, member 0, among members that the test plays.
pub(crate) struct Victim {
    pub(crate) node: Node,
    pub(crate) network: Arc<Network>,
    pub(crate) now: Time,
    /// Frames that the node sent and that the test has not looked at yet.
    pub(crate) sent: VecDeque<(LinkId, Frame)>,
    /// Frames and bytes that the node sent, by link and class.
    pub(crate) spent: BTreeMap<(LinkId, Class), (u64, u64)>,
    /// How many of those frames the test granted credit for.
    pub(crate) granted: BTreeMap<(LinkId, Class), u64>,
    /// Frames and bytes for which the node granted credit.
    pub(crate) consumed: BTreeMap<(LinkId, u8), (u64, u64)>,
    /// Links and classes for which the test grants no credit.
    pub(crate) misers: BTreeSet<(LinkId, Class)>,
    pub(crate) dials: Vec<PublicKey>,
    pub(crate) closed: Vec<(LinkId, CloseWhy)>,
    pub(crate) delivered: Vec<BatchId>,
    pub(crate) rows: Vec<StoredBatch>,
    /// Batches in the order of their writes, with the durability that the node asked for.
    pub(crate) writes: Vec<(BatchId, Durability)>,
    pub(crate) log: Vec<Rejection>,
    pub(crate) submitted: Vec<Result<BatchId, Refusal>>,
    /// Whether every dial fails.
    pub(crate) alone: bool,
    /// The tip and the holes that were last written for each author.
    pub(crate) holes: BTreeMap<PublicKey, (u64, Vec<Hole>)>,
    /// How many records of holes were written.
    pub(crate) hole_records: u64,
    /// Slots and ids of rows that the node asked the store to look at.
    pub(crate) doubts: Vec<(u64, BatchId)>,
    /// Whether checks and writes wait for [`Victim::answer`].
    pub(crate) slow: bool,
    pub(crate) waiting: VecDeque<Input>,
    /// Whether reads find nothing.
    pub(crate) unreadable: bool,
    /// Bytes of bodies that the node read from disk.
    pub(crate) read: u64,
    pub(crate) bans: Vec<Ban>,
    /// How many of the node's dials succeeded; numbers their links.
    pub(crate) met: u64,
}

impl Victim {
    /// A victim among `members` members, itself included; the identities after them belong to
    /// `authors` authors.
    pub(crate) fn among(members: u16, authors: u16) -> Self {
        Self::with(members, authors, Restored::default())
    }

    /// The same, with lanes that a start found in the store.
    pub(crate) fn with_lanes(members: u16, authors: u16, lanes: Vec<RestoredLane>) -> Self {
        Self::with(members, authors, Restored { lanes, bans: vec![] })
    }

    /// The same, with all that a start found in the store.
    pub(crate) fn with(members: u16, authors: u16, restored: Restored) -> Self {
        let (network, now) = (network(members, authors), Time(1_000_000));
        let config = Config::default();
        let node = Node::new(identity(0), network.clone(), config, restored, [1; 32], now);
        let mut victim = Self {
            node,
            network,
            now,
            sent: VecDeque::new(),
            spent: BTreeMap::new(),
            granted: BTreeMap::new(),
            consumed: BTreeMap::new(),
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
            met: 0,
        };
        victim.drain();
        victim
    }

    pub(crate) fn give(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.node.poll() {
            self.waiting.extend(answer(&output));
            self.hear(output);
        }
        if !self.slow {
            self.answer();
        }
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Send { link, frame, class, .. } => {
                let spent = self.spent.entry((link, class)).or_default();
                *spent = (spent.0 + 1, spent.1 + frame.len() as u64);
                let frame = Frame::decode(&frame).expect("honest");
                if let Frame::Credit(credit) = &frame {
                    let grant = |grant: &Grant| ((link, grant.class), (grant.frames, grant.bytes));
                    self.consumed.extend(credit.grants.iter().map(grant));
                }
                self.sent.push_back((link, frame));
            }
            Output::Write { record, durability, .. } => match record {
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
            },
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
    pub(crate) fn answer(&mut self) {
        while let Some(input) = self.waiting.pop_front() {
            self.node.handle(self.now, input);
            self.drain();
        }
    }

    /// Lets time pass. `react` sees each frame that the node sends, and may answer it.
    pub(crate) fn run(&mut self, ms: u64, mut react: impl FnMut(&mut Self, LinkId, Frame)) {
        let end = self.now.after(Duration::from_millis(ms));
        loop {
            while let Some((link, frame)) = self.sent.pop_front() {
                self.grant(link, frame.kind().class());
                react(self, link, frame);
            }
            if !self.wake(end) {
                break;
            }
        }
        self.now = end;
    }

    /// Lets time pass, and looks at nothing that the node sends.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        while self.wake(end) {}
        self.now = end;
    }

    /// Wakes the node, if it asked for that by `end`.
    fn wake(&mut self, end: Time) -> bool {
        let due = self.node.deadline().map(|(due, _)| due).filter(|due| *due <= end);
        if let Some(due) = due {
            self.now = self.now.max(due);
            self.give(Input::Wake);
        }
        due.is_some()
    }

    /// Grants credit for all frames of a class that the node sent, once for each new total.
    fn grant(&mut self, link: LinkId, class: Class) {
        if class.window().is_some()
            && !self.misers.contains(&(link, class))
            && let Some(spent) = self.spent.get(&(link, class)).copied()
            && self.granted.insert((link, class), spent.0) != Some(spent.0)
        {
            self.credit(link, class, spent);
        }
    }

    /// Runs until `count` batches are delivered, for at most `seconds`. Returns how long that took.
    pub(crate) fn deliver(
        &mut self,
        count: usize,
        seconds: u64,
        mut react: impl FnMut(&mut Self, LinkId, Frame),
    ) -> Duration {
        let began = self.now;
        while self.delivered.len() < count && self.now.since(began).as_secs() < seconds {
            self.run(20, &mut react);
        }
        self.now.since(began)
    }

    /// Makes every dial fail from now on.
    pub(crate) fn leave_alone(&mut self) {
        self.alone = true;
        for peer in std::mem::take(&mut self.dials) {
            self.give(Input::DialFailed { peer });
        }
    }
}

/// Links, and what members say on them.
impl Victim {
    /// Links member `n` to the victim; the link has the number `n`.
    pub(crate) fn link(&mut self, n: u16) -> LinkId {
        self.link_as(n, LinkId(u64::from(n)))
    }

    pub(crate) fn links(&mut self, members: impl IntoIterator<Item = u16>) -> Vec<LinkId> {
        members.into_iter().map(|n| self.link(n)).collect()
    }

    pub(crate) fn link_as(&mut self, n: u16, link: LinkId) -> LinkId {
        self.give(Input::LinkUp { link, peer: identity(n).public(), dialled: false });
        self.hello(link, n as u8);
        link
    }

    /// A link that the victim dialled comes up.
    pub(crate) fn dialled(&mut self, link: LinkId, peer: PublicKey) {
        self.give(Input::LinkUp { link, peer, dialled: true });
        self.hello(link, 1);
    }

    pub(crate) fn hello(&mut self, link: LinkId, instance: u8) {
        self.say(link, &hello(&self.network, instance));
    }

    pub(crate) fn lose(&mut self, link: LinkId) {
        self.give(Input::LinkDown { link, cause: Down::Lost });
    }

    pub(crate) fn say(&mut self, link: LinkId, frame: &Frame) {
        self.give(Input::Frame { link, bytes: frame.encode().into() });
    }

    pub(crate) fn push(&mut self, link: LinkId, batch: &Batch) {
        self.say(link, &Frame::Push(Box::new(Push { hops: 1, batch: batch.clone() })));
    }

    pub(crate) fn push_all<'a>(
        &mut self,
        link: LinkId,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) {
        batches.into_iter().for_each(|batch| self.push(link, batch));
    }

    pub(crate) fn announce(&mut self, link: LinkId, batches: &[Batch]) {
        let item = |b: &Batch| SlotId { author: b.header.author, seq: b.header.seq, id: b.id() };
        self.announce_slots(link, batches.iter().map(item));
    }

    pub(crate) fn announce_slots(&mut self, link: LinkId, slots: impl Iterator<Item = SlotId>) {
        for some in slots.collect::<Vec<_>>().chunks(128) {
            self.say(link, &Frame::Announce(Announce { items: list(some.to_vec()) }));
        }
    }

    pub(crate) fn compare(&mut self, link: LinkId, ticket: u32, ranges: Vec<RangeHash>) {
        self.say(link, &Frame::Compare(Compare { ticket, ranges: list(ranges) }));
    }

    /// Says how many frames and bytes of a class the member has consumed in all.
    pub(crate) fn credit(&mut self, link: LinkId, class: Class, (frames, bytes): (u64, u64)) {
        let grants = list(vec![Grant { class: class as u8, frames, bytes }]);
        self.say(link, &Frame::Credit(Credit { grants }));
    }
}

/// Batches.
impl Victim {
    pub(crate) fn batch(
        &self,
        author: u16,
        seq: u64,
        prev: BatchId,
        payload: impl AsRef<[u8]>,
    ) -> Batch {
        batch(author, self.network.id(), seq, prev, payload)
    }

    /// A batch that follows one that nobody has.
    pub(crate) fn stray(&self, author: u16, seq: u64) -> Batch {
        self.batch(author, seq, Digest([1; 32]), "x")
    }

    /// A restart header: a batch that voids the slots between `base` and its own.
    pub(crate) fn restart(&self, author: u16, seq: u64, base: (u64, BatchId)) -> Batch {
        let (network, entries) = (self.network.id(), [entry("", "again")]);
        Batch::sign_after(&identity(author), network, seq, base, 9, &entries).expect("fits")
    }

    pub(crate) fn chain(&self, author: u16, count: u64) -> Vec<Batch> {
        chain(author, self.network.id(), count)
    }

    /// Appends batches to a chain, up to slot `last`.
    pub(crate) fn extend(&self, chain: &mut Vec<Batch>, author: u16, last: u64) {
        extend(chain, author, self.network.id(), last);
    }

    pub(crate) fn publish(&mut self) {
        self.node.publish(self.now, entry("", "new")).expect("room");
        self.drain();
    }

    pub(crate) fn submit(&mut self, batch: &Batch) {
        self.node.submit(self.now, batch.clone()).expect("room");
        self.drain();
    }

    /// Takes a batch from the store.
    pub(crate) fn damage(&mut self, batch: &Batch) {
        let (author, seq, id) = (batch.header.author, batch.header.seq, batch.id());
        self.rows.retain(|row| row.id != id);
        self.give(Input::Damaged { author, seq, id });
    }
}

/// What came of it.
impl Victim {
    /// The reason for which member `n` was banned, if it was.
    pub(crate) fn blamed(&self, n: u16) -> Option<Reason> {
        let peer = identity(n).public();
        self.bans.iter().find(|ban| ban.peer == peer).map(|ban| ban.reason)
    }

    /// The place of identity `n` in the network.
    pub(crate) fn index(&self, n: u16) -> u32 {
        self.network.index_of(&identity(n).public()).expect("known")
    }

    /// The tip of an author's lane.
    pub(crate) fn tip(&self, author: u16) -> u64 {
        self.node.tip(&identity(author).public()).0
    }

    /// The holes that were last written for an author.
    pub(crate) fn holes_of(&self, author: u16) -> &[Hole] {
        self.holes.get(&identity(author).public()).map_or(&[], |(_, holes)| holes)
    }

    /// The slots and bases of the batches that the node signed itself.
    pub(crate) fn own(&self) -> Vec<(u64, u64)> {
        let own = self.rows.iter().filter(|row| row.from.is_none());
        own.map(|row| (row.batch.header.seq, row.batch.header.base)).collect()
    }
}
