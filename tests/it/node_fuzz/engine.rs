//! A run: bytes become inputs, and outputs become answers that the world owes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use loyal::crypto::{PublicKey, Validity, check};
use loyal::protocol::{
    CloseWhy, Config, Down, Input, LinkId, Node, Output, Refusal, Restored, Ticket, Time, Token,
};
use loyal::wire::{BatchId, Entry, Frame};

use super::Bytes;
use super::disk::Disk;
use super::pool::{HONEST, MEMBERS, Pool, pool};
use super::rules::Rules;
use super::speak;
use super::wire::Wire;

/// The most steps of one run.
const MOST_STEPS: usize = 6000;
/// The most outputs of one input.
const MOST_OUTPUTS: usize = 20_000;
/// The most wakes at one moment.
const MOST_WAKES: usize = 300;
/// The most links to one member that are up at once.
const MOST_LINKS: usize = 3;

/// What a run breaks on purpose, to show that the rules notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing: the control.
    Not,
    /// The node is told that every signature is good.
    Verdicts,
    /// The rules hear every delivery twice.
    Deliveries,
    /// The rules hear every frame twice.
    Frames,
}

/// Counts of what happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Inputs handed to the node.
    pub inputs: u64,
    /// Frames that the node sent.
    pub frames: u64,
    /// Batches that it delivered.
    pub delivered: u64,
    /// Wants answered to the node with a batch.
    pub served: u64,
    /// Peers that it banned.
    pub bans: u64,
    /// Crashes, power cuts included.
    pub crashes: u64,
    /// Messages that it published.
    pub published: u64,
}

type Check = (Token, PublicKey, Box<[u8; 120]>, loyal::crypto::Signature);

struct Engine {
    pool: &'static Pool,
    node: Node,
    now: Time,
    starts: u8,
    disk: Disk,
    rules: Rules,
    broken: Broken,
    links: BTreeMap<LinkId, Wire>,
    next_link: u64,
    dials: Vec<PublicKey>,
    checks: VecDeque<Check>,
    reads: VecDeque<(Token, PublicKey, u64, Option<BatchId>)>,
    submitted: BTreeMap<Ticket, (PublicKey, u64)>,
    stats: Stats,
}

/// Runs a script: its bytes choose the inputs, one after another.
///
/// # Errors
/// Names the rule that the node broke.
pub(crate) fn run(script: &[u8], broken: Broken) -> Result<Stats, String> {
    let mut bytes = Bytes::new(script);
    let mut engine = Engine::new(broken);
    engine.outputs()?;
    // A run begins with three links that are up already, or with none.
    let cold = bytes.byte() > 200;
    for peer in (1..usize::from(MEMBERS)).filter(|_| !cold) {
        engine.link_up(peer, peer % 2 == 1)?;
        let link = LinkId(engine.next_link);
        engine.say_all(link, vec![speak::hello(engine.pool, peer as u8)])?;
    }
    for _ in 0..MOST_STEPS {
        if bytes.is_over() {
            break;
        }
        engine.step(&mut bytes)?;
    }
    // Everything that the node waits for is answered, and time passes.
    engine.answer_all()?;
    engine.pass(Duration::from_secs(3))?;
    engine.answer_all()?;
    Ok(engine.stats)
}

impl Engine {
    fn new(broken: Broken) -> Self {
        let (pool, now) = (pool(), Time(1_000_000_000));
        Self {
            pool,
            node: start(pool, Restored::default(), 0, now),
            now,
            starts: 0,
            disk: Disk::default(),
            rules: Rules::default(),
            broken,
            links: BTreeMap::new(),
            next_link: 0,
            dials: Vec::new(),
            checks: VecDeque::new(),
            reads: VecDeque::new(),
            submitted: BTreeMap::new(),
            stats: Stats::default(),
        }
    }

    fn own(&self) -> PublicKey {
        self.pool.identities[0].public()
    }

    fn give(&mut self, input: Input) -> Result<(), String> {
        self.stats.inputs += 1;
        self.node.handle(self.now, input);
        self.outputs()
    }

    fn outputs(&mut self) -> Result<(), String> {
        for _ in 0..MOST_OUTPUTS {
            let Some(output) = self.node.poll() else {
                return self.rules.settled(&self.node);
            };
            self.output(output)?;
        }
        Err(format!("more than {MOST_OUTPUTS} outputs of one input"))
    }

    fn output(&mut self, output: Output) -> Result<(), String> {
        let own = self.own();
        match output {
            Output::Dial { peer } => self.dials.push(peer),
            Output::Send { link, kind, class, frame } => {
                let decoded = Frame::decode(&frame).map_err(|why| format!("it sends {why}"))?;
                if decoded.kind() != kind || kind.class() != class {
                    return Err(format!("a {kind:?} that is called otherwise"));
                }
                let times = 1 + usize::from(self.broken == Broken::Frames);
                let wire = self.links.get_mut(&link).ok_or("it sends on no link")?;
                for _ in 0..times {
                    wire.hear(&decoded, frame.len(), self.pool)
                        .map_err(|why| format!("{why}, in {decoded:?}"))?;
                }
                self.stats.frames += 1;
                self.stats.served += u64::from(matches!(decoded, Frame::Reply(_)));
                self.rules.say(&decoded, own, &self.disk)?;
            }
            Output::Close { link, why } => {
                let wire = self.links.get_mut(&link).ok_or("it closes no link")?;
                wire.closed = true;
                if wire.peer == HONEST && matches!(why, CloseWhy::Blamed(_) | CloseWhy::Banned) {
                    return Err(format!("an honest peer's link is closed: {why:?}"));
                }
            }
            Output::Check { token, key, statement, signature } => {
                self.checks.push_back((token, key, statement, signature));
            }
            Output::Write { token, record, durability } => {
                let ban = matches!(record, loyal::protocol::Record::Ban(_));
                self.stats.bans += u64::from(ban);
                self.rules.write(&record, durability, own, self.pool)?;
                self.disk.hand_in(token, record, durability);
            }
            Output::Read { token, author, seq, id } => {
                self.reads.push_back((token, author, seq, id));
            }
            Output::Doubt { token, author, seq, id } => {
                self.reads.push_back((token, author, seq, Some(id)));
            }
            Output::Deliver(stored) => {
                let times = 1 + usize::from(self.broken == Broken::Deliveries);
                for _ in 0..times {
                    self.rules.deliver(&stored, self.pool)?;
                }
                self.stats.delivered += 1;
            }
            Output::Published { id, seq, .. } => {
                if !self.disk.is_safe(&own, seq, &id.batch) {
                    return Err(format!("slot {seq} is acknowledged and not synced"));
                }
                self.stats.published += 1;
            }
            Output::PublishFailed { .. } => {}
            Output::Submitted { ticket, result } => self.submitted(ticket, result)?,
        }
        Ok(())
    }

    fn submitted(
        &mut self,
        ticket: Ticket,
        result: Result<BatchId, Refusal>,
    ) -> Result<(), String> {
        // A refusal may come before the ticket is known here.
        let Some((author, seq)) = self.submitted.remove(&ticket) else {
            return if result.is_err() { Ok(()) } else { Err("acknowledged at once".into()) };
        };
        match result {
            Ok(id) if !self.disk.is_safe(&author, seq, &id) => {
                Err(format!("a submission in slot {seq} is acknowledged and not synced"))
            }
            _ => Ok(()),
        }
    }

    fn link_up(&mut self, peer: usize, dialled: bool) -> Result<(), String> {
        let key = self.pool.identities[peer].public();
        if dialled {
            self.dials.retain(|dialled| *dialled != key);
        }
        let up = self.links.values().filter(|wire| wire.peer == peer).count();
        if up >= MOST_LINKS {
            return Ok(());
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, Wire::new(peer));
        self.give(Input::LinkUp { link, peer: key, dialled })
    }

    fn link_down(&mut self, link: LinkId) -> Result<(), String> {
        let Some(wire) = self.links.remove(&link) else { return Ok(()) };
        let cause = if wire.closed { Down::Closed } else { Down::Lost };
        self.give(Input::LinkDown { link, cause })
    }

    /// Sends a frame's bytes to the node on a link.
    fn say(&mut self, link: LinkId, frame: &[u8]) -> Result<(), String> {
        self.give(Input::Frame { link, bytes: frame.into() })
    }

    /// Sends frames to the node on a link as far as credit allows; beyond it only if `anyway`, for
    /// a liar.
    fn say_all(&mut self, link: LinkId, frames: Vec<Frame>) -> Result<(), String> {
        for frame in frames {
            let bytes = frame.encode();
            let Some(wire) = self.links.get_mut(&link) else { return Ok(()) };
            if !wire.may_say(&frame, bytes.len()) {
                continue;
            }
            wire.say(&frame, bytes.len());
            self.say(link, &bytes)?;
        }
        Ok(())
    }

    fn pick_link(&self, bytes: &mut Bytes) -> Option<LinkId> {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        bytes.pick(&links).copied()
    }

    fn step(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        match bytes.byte() % 32 {
            what @ 0..=18 => self.speak(what, bytes),
            19 => self.raw(bytes),
            20 | 21 => self.answer_all(),
            22 => self.answer_check(bytes.byte()),
            23 => self.answer_write(bytes.byte() < 170),
            24 => self.answer_read(bytes),
            25 => self.pass(Duration::from_millis(1 + u64::from(bytes.byte()))),
            26 => self.pass(Duration::from_millis(50 * (1 + u64::from(bytes.byte())))),
            27 => self.publish(bytes),
            28 => self.submit(bytes),
            29 => self.relink(bytes),
            30 => self.store_event(bytes),
            _ => self.be_honest(bytes),
        }
    }

    fn speak(&mut self, what: u8, bytes: &mut Bytes) -> Result<(), String> {
        let Some(link) = self.pick_link(bytes) else { return self.relink(bytes) };
        let Some(wire) = self.links.get_mut(&link) else { return Ok(()) };
        if !wire.said_hello && wire.peer == HONEST {
            return Ok(());
        }
        let Some(frame) = speak::frame(what, bytes, self.pool, wire) else { return Ok(()) };
        let encoded = frame.encode();
        let reckless = wire.peer != HONEST && bytes.byte() == 255;
        if !reckless && !wire.may_say(&frame, encoded.len()) {
            return Ok(());
        }
        wire.say(&frame, encoded.len());
        self.say(link, &encoded)
    }

    /// Sends bytes that are not a frame or only nearly one, or a length that no frame has.
    fn raw(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let Some(link) = self.pick_link(bytes) else { return Ok(()) };
        let Some(wire) = self.links.get_mut(&link).filter(|wire| wire.peer != HONEST) else {
            return Ok(());
        };
        let mut frame = match bytes.byte() {
            0..=39 => return self.give(Input::Oversize { link, length: u32::MAX }),
            40..=79 => {
                let length = bytes.below(64);
                [&[2, bytes.byte() % 11][..], bytes.some(length)].concat()
            }
            _ => {
                let what = bytes.byte() % 19;
                let Some(frame) = speak::frame(what, bytes, self.pool, wire) else { return Ok(()) };
                frame.encode()
            }
        };
        if frame.len() > 4 && bytes.byte() > 60 {
            let at = (usize::from(bytes.byte()) * 256 + usize::from(bytes.byte())) % frame.len();
            frame[at] ^= 1 << (bytes.byte() % 8);
        }
        // If the bytes happen to be a frame, they count as that frame.
        if let Ok(decoded) = Frame::decode(&frame) {
            let _ = wire.say(&decoded, frame.len());
        }
        self.say(link, &frame)
    }

    fn answer_check(&mut self, which: u8) -> Result<(), String> {
        let place = usize::from(which) % self.checks.len().max(1);
        let Some((token, key, statement, signature)) = self.checks.remove(place) else {
            return Ok(());
        };
        let good = self.pool.is_good(&key, &statement, &signature);
        let one = &self.pool.batches[0];
        let lie = self.broken == Broken::Verdicts;
        // Only the real check can produce a verdict.
        let verdict: Validity = if good || lie {
            check(&one.header.author, &one.header.statement(), &one.signature)
        } else {
            check(&key, &statement[..], &signature)
        };
        let seq = statement[80..88].try_into().map_or(0, u64::from_be_bytes);
        self.rules.proved(good && key == self.own(), seq);
        self.give(Input::Checked { token, verdict })
    }

    fn answer_write(&mut self, well: bool) -> Result<(), String> {
        match self.disk.finish(well) {
            Some((token, _, true)) => self.give(Input::Written { token }),
            Some((token, record, false)) => {
                self.rules.not_written(&record);
                self.give(Input::WriteFailed { token })
            }
            None => Ok(()),
        }
    }

    fn answer_read(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let place = bytes.below(self.reads.len());
        let Some((token, author, seq, id)) = self.reads.remove(place) else { return Ok(()) };
        let found = self.disk.read(author, seq, id);
        let rotten = bytes.byte() > 220;
        match found {
            Some(stored) if rotten => {
                self.lose(author, seq, stored.id)?;
                self.give(Input::Read { token, batch: None })
            }
            found => self.give(Input::Read { token, batch: found.map(Box::new) }),
        }
    }

    fn lose(&mut self, author: PublicKey, seq: u64, id: BatchId) -> Result<(), String> {
        self.disk.lose(author, seq, &id);
        self.rules.lost(author, seq);
        self.give(Input::Damaged { author, seq, id })
    }

    fn answer_all(&mut self) -> Result<(), String> {
        for _ in 0..MOST_OUTPUTS {
            if !self.checks.is_empty() {
                self.answer_check(0)?;
            } else if self.disk.waiting() > 0 {
                self.answer_write(true)?;
            } else if !self.reads.is_empty() {
                self.answer_read(&mut Bytes::new(&[]))?;
            } else {
                return Ok(());
            }
        }
        Err("it asks without end".into())
    }

    /// Lets time pass, with a wake at each deadline.
    fn pass(&mut self, by: Duration) -> Result<(), String> {
        let end = self.now.after(by);
        let mut wakes = 0;
        while let Some((due, _)) = self.node.deadline().filter(|(due, _)| *due <= end) {
            wakes = if due > self.now { 0 } else { wakes + 1 };
            if wakes > MOST_WAKES {
                return Err(format!("time stands still: {:?}", self.node.deadline()));
            }
            self.now = self.now.max(due);
            self.give(Input::Wake)?;
        }
        self.now = end;
        Ok(())
    }

    fn publish(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let size = [0, 20, 300, 70_000, 1 << 20, (1 << 20) + 1][bytes.below(6)];
        for _ in 0..1 + bytes.below(4) {
            let entry = Entry { topic: "t".into(), payload: vec![bytes.byte(); size] };
            let _ = self.node.publish(self.now, entry);
            self.outputs()?;
        }
        Ok(())
    }

    fn submit(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let author = self.pool.identities[usize::from(MEMBERS)].public();
        let of: Vec<_> = self.pool.batches.iter().filter(|b| b.header.author == author).collect();
        let number = bytes.byte();
        // Mostly the batch that comes next.
        let tip = self.node.tip(&author).0;
        let next = self.pool.find(&author, tip.saturating_add(1), None);
        let Some(mut batch) = next.filter(|_| number < 150).or(bytes.pick(&of).copied()).cloned()
        else {
            return Ok(());
        };
        match bytes.byte() {
            250.. => batch.signature = loyal::crypto::Signature([1; 64]),
            240..=249 => batch.header.content = BatchId::ZERO,
            230..=239 => batch = self.pool.batches[0].clone(),
            _ => {}
        }
        let slot = (batch.header.author, batch.header.seq);
        if let Ok(ticket) = self.node.submit(self.now, batch) {
            self.submitted.insert(ticket, slot);
        }
        self.outputs()
    }

    /// Brings links up and takes them down.
    fn relink(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let closed: Vec<LinkId> =
            self.links.iter().filter(|(_, wire)| wire.closed).map(|(link, _)| *link).collect();
        for link in closed {
            self.link_down(link)?;
        }
        match bytes.below(4) {
            0 => match self.dials.pop() {
                Some(peer) if bytes.byte() < 90 => self.give(Input::DialFailed { peer }),
                Some(peer) => {
                    let peer = self.pool.identities.iter().position(|i| i.public() == peer);
                    self.come_up(peer.unwrap_or(1), true, bytes)
                }
                None => Ok(()),
            },
            1 | 2 => {
                let peer = 1 + bytes.below(usize::from(MEMBERS) - 1);
                self.come_up(peer, false, bytes)
            }
            _ => match self.pick_link(bytes) {
                Some(link) => self.link_down(link),
                None => Ok(()),
            },
        }
    }

    fn come_up(&mut self, peer: usize, dialled: bool, bytes: &mut Bytes) -> Result<(), String> {
        let before = self.next_link;
        self.link_up(peer, dialled)?;
        let link = LinkId(self.next_link);
        if self.next_link == before || (peer != HONEST && bytes.byte() > 240) {
            return Ok(()); // it says no hello for now
        }
        let instance = bytes.byte() % 3;
        let hello = speak::hello(self.pool, peer as u8 + 16 * instance);
        self.say_all(link, vec![hello])
    }

    /// Events of the store: pruning, a damaged row, a crash.
    fn store_event(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let rows: Vec<(PublicKey, u64, BatchId)> = self
            .disk
            .rows()
            .map(|stored| (stored.batch.header.author, stored.batch.header.seq, stored.id))
            .collect();
        match bytes.byte() {
            0..=99 => {
                let Some((author, seq, _)) = bytes.pick(&rows).copied() else { return Ok(()) };
                let floor = seq.min(self.node.tip(&author).0);
                if floor == 0 {
                    return Ok(());
                }
                self.disk.prune(author, floor);
                self.give(Input::Pruned { author, floor })
            }
            100..=179 => {
                let Some((author, seq, id)) = bytes.pick(&rows).copied() else { return Ok(()) };
                self.lose(author, seq, id)
            }
            other => self.crash(other > 220),
        }
    }

    fn crash(&mut self, power_cut: bool) -> Result<(), String> {
        self.stats.crashes += 1;
        self.links.clear();
        self.dials.clear();
        self.checks.clear();
        self.reads.clear();
        self.submitted.clear();
        let restored = self.disk.crash(power_cut);
        let own = self.own();
        self.rules.crash(own, &self.disk);
        self.starts = self.starts.wrapping_add(1);
        self.now = self.now.after(Duration::from_millis(500));
        self.node = start(self.pool, restored, self.starts, self.now);
        self.outputs()
    }

    /// Makes the far end of a link answer everything that an honest node would.
    fn be_honest(&mut self, bytes: &mut Bytes) -> Result<(), String> {
        let Some(link) = self.pick_link(bytes) else { return Ok(()) };
        let Some(wire) = self.links.get(&link).filter(|wire| wire.said_hello) else {
            return Ok(());
        };
        let mut frames: Vec<Frame> = wire.credit().map(Frame::Credit).into_iter().collect();
        for want in wire.wants.values() {
            let answer = self.pool.find(&want.author, want.seq, want.id);
            frames.push(speak::honest_answer(want, answer));
        }
        frames.extend(wire.comparing.as_ref().map(|(ticket, asked)| {
            speak::honest_differ(self.pool, *ticket, asked, u64::from(bytes.byte() % 24) + 1)
        }));
        self.say_all(link, frames)
    }
}

fn start(pool: &Pool, restored: Restored, starts: u8, now: Time) -> Node {
    let network = Arc::new(pool.network.clone());
    let identity = pool.identities[0].clone();
    Node::new(identity, network, Config::default(), restored, [starts; 32], now)
}
