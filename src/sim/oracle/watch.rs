//! The oracle's calls, and who of its parts hears of what.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::Checks;
use super::dials::Dials;
use super::facts::{Fact, Facts};
use super::frames::Frames;
use super::keys::Keys;
use super::level::Level;
use super::links::Links;
use super::quiet::Quiet;
use super::reads::Reads;
use super::set::NodeSet;
use super::shown::Shown;
use super::slots::{Holds, Slots};
use super::step::{Cause, Step, blames_honest, count_row, within_limits};
use crate::crypto::{PublicKey, Signature};
use crate::protocol::{Config, Input, LinkId, Network, Node, Output, Record, StoredBatch, Time};
use crate::report::Violation;
use crate::wire::{BatchId, Class, Kind, SignedSlot};

/// In networks of at most so many nodes collections are counted at every step.
const SMALL: usize = 31;
/// In larger ones, those of at most so many nodes at a checkpoint, each in its turn.
const COUNTED_AT_ONCE: usize = 1000;
/// Batches that honest nodes send each other may be this much beside a multiple of those that they
/// deliver, for each of them: what is under way to a node when it dies, or comes from two at once.
const SENT_SLACK: u64 = 4 << 20;
/// Bytes of a push beside the body.
const BATCH_OVERHEAD: usize = 2 + 1 + 160 + 64 + 4;
/// Copies of a delivered batch beside one for each chosen link: what is asked for twice.
const SENT_BESIDE: u64 = 2;

/// Watches the honest nodes of one run. See the module.
#[derive(Debug)]
pub struct Oracle {
    keys: Keys,
    facts: Facts,
    slots: Slots,
    checks: Checks,
    frames: Frames,
    links: Links,
    dials: Dials,
    reads: Reads,
    step: Step,
    shown: Shown,
    level: Level,
    /// Links that a node chooses, and pushes to.
    fan_out: u64,
    quiet: Quiet,
    checkpoints: usize,
}

impl Oracle {
    /// Of a run on that network: who is honest and who has which key, by the world's node numbers.
    pub fn new(network: &Network, honest: Vec<bool>, keys: Vec<PublicKey>) -> Self {
        let nodes = honest.len();
        Self {
            keys: Keys::new(network, honest, keys),
            facts: Facts::default(),
            slots: Slots::default(),
            checks: Checks::new(nodes),
            frames: Frames::default(),
            links: Links::new(nodes),
            dials: Dials::new(Config::default().links),
            reads: Reads::default(),
            step: Step::default(),
            shown: Shown::default(),
            level: Level::vouched_by(if nodes <= SMALL { network.f() + 1 } else { 0 }),
            fan_out: 3,
            quiet: Quiet::default(),
            checkpoints: 0,
        }
    }

    /// What nodes of this run choose as links, 3 if nothing is said, and how much longer it may
    /// take in this network until who comes back is level, or all have what a liar showed.
    pub fn expect(&mut self, fan_out: usize, slack: Duration) {
        self.dials.choosing(fan_out);
        self.fan_out = fan_out as u64;
        self.level.allow(slack);
        self.slots.allow(slack);
    }

    /// An input is about to be handed to an honest node.
    pub fn before(&mut self, now: Time, node: usize, input: &Input, of: &Node) {
        let cause = match input {
            Input::LinkUp { link, dialled, .. } => {
                self.links.dialled(*link, *dialled);
                if *dialled {
                    self.dials.up(*link, node, now);
                }
                Cause::LinkUp(*link)
            }
            Input::Frame { link, bytes } => {
                match bytes.get(1).and_then(|kind| Kind::from_byte(*kind)) {
                    Some(Kind::Hello) => self.links.greeted(*link),
                    Some(Kind::Request) => self.reads.asked(node, *link, bytes, &self.links),
                    _ => {}
                }
                self.shown.frame(now, node, bytes, &self.keys, &self.checks);
                Cause::Frame(*link)
            }
            Input::Read { token, batch } => {
                let bytes = batch.as_ref().map_or(0, |stored| stored.batch.body.len());
                self.reads.read(now, node, *token, bytes, &mut self.facts);
                Cause::Other
            }
            Input::LinkDown { link, .. } => {
                self.reads.down(node, *link);
                Cause::Other
            }
            Input::Oversize { link, .. } => Cause::Frame(*link),
            Input::Checked { .. } => Cause::Checked,
            _ => Cause::Other,
        };
        self.step.begin(cause, node, of, self.keys.nodes() <= SMALL);
    }

    /// An honest node wants this done.
    pub fn output(&mut self, now: Time, node: usize, output: &Output) {
        match output {
            Output::Send { link, kind, class, frame } => {
                self.sends(now, node, *link, (*kind, *class), frame);
            }
            Output::Deliver(delivery) => {
                self.quiet.disturb(now);
                let bytes = (delivery.stored.batch.body.len() + BATCH_OVERHEAD) as u64;
                self.facts.add(Fact::BatchBytesDelivered, bytes);
                self.slots.delivered(now, node, &delivery.stored, &self.keys, &mut self.facts);
            }
            Output::Check { key, statement, signature, .. } => {
                let links = self.links.of(node);
                let asked = (key, &**statement, signature);
                self.checks.asked((now, node, links), &self.keys, asked, &mut self.facts);
            }
            Output::Write { record, .. } => self.writes(now, node, record, output),
            Output::Close { link, .. } => {
                if self.step.displaces(*link, &self.links) {
                    let what = || "an inbound link made it close one to another peer".to_owned();
                    self.facts.broken("O2", now, Some(node), what);
                }
                self.blames(now, node, output);
                self.links.closed(*link);
                self.dials.gone(*link);
                self.reads.down(node, *link);
            }
            Output::Read { token, author, seq, .. } => {
                self.reads.begins((now, node, *token), (author, *seq), &mut self.facts);
            }
            Output::Published { seq, .. } => self.slots.published(node, *seq),
            _ => {}
        }
        self.step.output(output, self.is_own(node, output));
    }

    fn is_own(&self, node: usize, output: &Output) -> bool {
        let Output::Write { record: Record::Batch(stored), .. } = output else { return false };
        self.signs(node, stored)
    }

    fn signs(&self, node: usize, stored: &StoredBatch) -> bool {
        stored.from.is_none() && self.keys.is(node, &stored.batch.header.author)
    }

    fn writes(&mut self, now: Time, node: usize, record: &Record, output: &Output) {
        match record {
            Record::Batch(stored) if self.signs(node, stored) => {
                self.quiet.ends();
                self.checks.signed(node, &stored.batch);
                self.slots.signed(now, node, stored, &self.shown, &mut self.facts);
            }
            Record::Batch(stored) => {
                if self.slots.written(node, stored, &self.keys) {
                    self.quiet.disturb(now);
                }
            }
            Record::Holes { author, tip, holes } => {
                let slots = holes.iter().map(|hole| (hole.to - hole.from).saturating_add(1));
                let slots = slots.fold(0, u64::saturating_add);
                self.quiet.holes(node, *author, (slots, *tip));
            }
            Record::Ban(_) => {
                self.facts.count(Fact::Bans);
                self.blames(now, node, output);
            }
            Record::Rejection(row) => count_row(row, &mut self.facts),
        }
    }

    fn blames(&mut self, now: Time, node: usize, output: &Output) {
        if let Some(peer) = blames_honest(output, &self.keys, &self.links) {
            self.facts.broken("A5", now, Some(node), || format!("blames honest node {peer}"));
        }
    }

    fn sends(
        &mut self,
        now: Time,
        node: usize,
        link: LinkId,
        (kind, class): (Kind, Class),
        frame: &std::sync::Arc<[u8]>,
    ) {
        self.facts.count(Fact::FramesSent);
        if let Some(why) = self.frames.judge((kind, class), frame, &self.keys, &self.checks) {
            self.facts.broken("I4", now, Some(node), || format!("sends {why}"));
        }
        let to = self.links.end(link).map(|end| end.peer);
        if matches!(kind, Kind::Push | Kind::Reply) && to.is_some_and(|to| self.keys.is_honest(to))
        {
            self.facts.add(Fact::BatchBytesSent, frame.len() as u64);
        }
        if kind == Kind::Reply {
            self.links.serves(now, link, frame.len(), &mut self.facts);
        }
        if matches!(kind, Kind::Reply | Kind::Missing) {
            self.reads.answered((now, node, link), frame, &mut self.facts);
        }
        let to = to.and_then(|to| usize::try_from(to).ok());
        let of = (self.keys.nodes(), &self.slots, &self.keys);
        if !self.quiet.allows(now, (node, to), kind, of) {
            let what = || format!("sends a {} frame though nothing is new", kind.name());
            self.facts.broken("L5", now, Some(node), what);
        }
    }

    /// All outputs of the node are drained.
    pub fn after(&mut self, now: Time, node: usize, of: &Node) {
        self.step.end(now, node, of, &mut self.facts);
    }

    /// What the world's own check of a signature found: to be told before the node is.
    pub fn checked(
        &mut self,
        now: Time,
        key: &PublicKey,
        statement: &[u8; SignedSlot::STATEMENT],
        signature: &Signature,
        good: bool,
    ) {
        let what = (key, statement, signature);
        if !self.checks.checked(&self.keys, what, good, &mut self.facts) {
            let what = || format!("two verdicts on one signature of {key}, now good: {good}");
            self.facts.broken("I4", now, None, what);
        }
    }

    /// A link is up at one end; the other end has the name with the last bit changed. Those of
    /// liars are not kept.
    pub fn link_up(&mut self, end: LinkId, node: usize, peer: usize) {
        if u32::try_from(node).is_ok_and(|node| self.keys.is_honest(node)) {
            self.links.up(end, node, peer);
        }
    }

    /// It is down there.
    pub fn link_down(&mut self, end: LinkId) {
        self.links.down(end);
        self.dials.gone(end);
    }

    /// Links between honest nodes may be missing until then, as a fault makes them: O1 waits for
    /// that and its own bound more. [`Oracle::crashed`] and [`Oracle::restarted`] say so by
    /// themselves.
    pub fn unsettled(&mut self, until: Time) {
        self.level.unsettled();
        self.slots.unsettled(until);
        self.links.unsettled(until);
        self.quiet.ends();
    }

    /// An honest node is gone at once, and the writes that were not synced with it.
    pub fn crashed(&mut self, now: Time, node: usize, lost: &[Record]) {
        self.facts.count(Fact::Crashes);
        self.slots.lost(node, lost, &self.keys, &mut self.facts);
        self.unsettled(now);
        self.level.died(now, node);
    }

    /// An honest node lost all that was on its disk.
    pub fn wiped(&mut self, node: usize) {
        self.slots.wiped(node);
        self.shown.forgets(node);
    }

    /// Rows that were safe at an honest node are bad, and set aside.
    pub fn damaged(&mut self, node: usize, rows: &[Record]) {
        self.slots.damaged(node, rows, &self.keys);
        self.shown.forgets(node);
        self.quiet.ends();
    }

    /// A record of an honest node cannot be written.
    pub fn unwritten(&mut self, node: usize, record: &Record) {
        if let Record::Batch(stored) = record
            && self.signs(node, stored)
        {
            self.slots.unwritten(node, stored);
        }
    }

    /// I5: an honest node acknowledges a batch that is not safe on its disk.
    pub fn acknowledged_unsafe(&mut self, now: Time, node: usize, id: &BatchId) {
        let what = || format!("acknowledges {id}, which is not safe on its disk");
        self.facts.broken("I5", now, Some(node), what);
    }

    /// An honest node can be reached again, after so long.
    pub fn back(&mut self, now: Time, node: usize, away: Duration) {
        self.level.back(now, node, away);
    }

    /// It runs again.
    pub fn restarted(&mut self, now: Time, node: usize, _of: &Node) {
        self.facts.count(Fact::Restarts);
        self.links.restarted(node);
        self.reads.restarted(node);
        self.step.restarted(node);
        self.checks.restarted(node);
        self.shown.restarted(node);
        self.unsettled(now);
        self.level.restarted(now, node);
    }

    /// Everything is delivered, all faults are over, and no frame takes longer than half a second.
    /// Where nobody lies, traffic stops from two seconds later on, but for heartbeats; until
    /// something is published or fails again. A delivery is news for two seconds too: an author
    /// that crashed may find a batch on its disk that nobody has.
    pub fn quiet(&mut self, now: Time) {
        if self.keys.all_honest() {
            self.quiet.begins(now);
        }
    }

    /// Every simulated second or so: the honest nodes that are up, and what they can read.
    pub fn checkpoint<'a>(
        &mut self,
        now: Time,
        nodes: impl Iterator<Item = (usize, &'a Node)>,
        holds: Holds<'_>,
    ) {
        let turns = self.keys.nodes().div_ceil(COUNTED_AT_ONCE).max(1);
        let mut up = NodeSet::default();
        for (node, of) in nodes {
            up.insert(node);
            if node % turns == self.checkpoints % turns {
                within_limits(now, node, of, &mut self.facts);
            }
        }
        self.checkpoints = self.checkpoints.wrapping_add(1);
        self.links.checkpoint(now, &up, &self.keys, &mut self.facts);
        self.dials.checkpoint(now, &up, &mut self.facts);
        let of = (&self.slots, &self.keys, holds);
        self.level.checkpoint(now, &up, of, &mut self.facts);
    }

    fn honest(&self, up: &[bool]) -> NodeSet {
        let honest = |node: &usize| u32::try_from(*node).is_ok_and(|n| self.keys.is_honest(n));
        (0..up.len()).filter(|node| up[*node]).filter(honest).collect()
    }

    /// Whether all that honest authors published is at all honest nodes that are up, as far as it
    /// can be.
    pub fn is_level(&self, up: &[bool], holds: Holds<'_>) -> bool {
        self.slots.is_level(&self.honest(up), (&self.keys, holds))
    }

    /// Whether a liar's slot from before that time is not at all of them yet, and not due either.
    pub fn awaits(&self, now: Time, before: Time, up: &[bool], holds: Holds<'_>) -> bool {
        self.slots.awaits(now, before, &self.honest(up), (&self.keys, holds))
    }

    /// The run is over, liveness phase included; who is up, by node number, and what they can read.
    pub fn end(&mut self, now: Time, up: &[bool], holds: Holds<'_>) {
        let up = self.honest(up);
        self.slots.end(now, &up, (&self.keys, holds), &mut self.facts);
        let (sent, delivered) =
            (self.facts.of(Fact::BatchBytesSent), self.facts.of(Fact::BatchBytesDelivered));
        let slack = (self.keys.nodes() as u64).saturating_mul(SENT_SLACK);
        let most = (self.fan_out + SENT_BESIDE).saturating_mul(delivered).saturating_add(slack);
        if sent > most {
            self.facts.broken("R6", now, None, || {
                format!("honest nodes sent each other {sent} bytes to deliver {delivered}")
            });
        }
    }

    /// Whatever did not hold, in the order in which it was seen; at most a hundred.
    pub fn violations(&self) -> &[Violation] {
        self.facts.violations()
    }

    /// What was counted, by name; with `broken.INVARIANT` for each invariant that broke.
    pub fn counted(&self) -> BTreeMap<String, u64> {
        self.facts.counted()
    }
}
