//! The oracle's entry points, and which of its parts each call goes to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::{Checks, Shown};
use super::facts::{Fact, Facts};
use super::frames::Frames;
use super::level::Level;
use super::links::{Dials, Links};
use super::nodes::{Keys, NodeSet};
use super::quiet::Quiet;
use super::reads::Reads;
use super::slots::{Holds, Slots};
use super::step::{Cause, Step, blames_honest, count_row, within_limits};
use crate::crypto::{PublicKey, Signature};
use crate::protocol::{Config, Input, LinkId, Network, Node, Output, Record, StoredBatch, Time};
use crate::report::Violation;
use crate::wire::{BatchId, Class, Kind, SignedSlot};

/// Up to this many nodes, the entries of all collections are counted at every step.
const SMALL: usize = 31;
/// Above [`SMALL`], at most this many nodes are counted per checkpoint, in turn.
const COUNTED_AT_ONCE: usize = 1000;
/// Bytes per node by which the batches sent between honest nodes may exceed a multiple of those
/// delivered: batches in flight to a node that dies, or sent by two nodes at once.
const SENT_SLACK: u64 = 4 << 20;
/// Size of a push without its body, in bytes.
const BATCH_OVERHEAD: usize = 2 + 1 + 160 + 64 + 4;
/// Copies of a delivered batch allowed on top of one per chosen link: batches requested twice.
const SENT_BESIDE: u64 = 2;

/// Watches the honest nodes of one run; see the module documentation.
#[derive(Debug)]
pub(crate) struct Oracle {
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
    /// Number of links that a node chooses and pushes to.
    fan_out: u64,
    quiet: Quiet,
    checkpoints: usize,
}

impl Oracle {
    /// An oracle for a run on `network`. `honest` and `keys` are indexed by node number.
    pub(crate) fn new(network: &Network, honest: Vec<bool>, keys: Vec<PublicKey>) -> Self {
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

    /// Sets the number of links that a node chooses (3 by default), and the extra time allowed in
    /// this network for a returning node to catch up and for a liar's slots to reach all nodes.
    pub(crate) fn expect(&mut self, fan_out: usize, slack: Duration) {
        self.dials.choosing(fan_out);
        self.fan_out = fan_out as u64;
        self.level.allow(slack);
        self.slots.allow(slack);
    }

    /// Call before an input is handed to an honest node.
    pub(crate) fn before(&mut self, now: Time, node: usize, input: &Input, of: &Node) {
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

    pub(crate) fn output(&mut self, now: Time, node: usize, output: &Output) {
        match output {
            Output::Send { link, kind, class, frame } => {
                self.sends(now, node, *link, (*kind, *class), frame);
            }
            Output::Deliver(stored) => {
                self.quiet.disturb(now);
                let bytes = (stored.batch.body.len() + BATCH_OVERHEAD) as u64;
                self.facts.add(Fact::BatchBytesDelivered, bytes);
                self.slots.delivered(now, node, stored, &self.keys, &mut self.facts);
            }
            Output::Check { key, statement, signature, .. } => {
                let links = self.links.of(node);
                let asked = (key, &**statement, signature);
                self.checks.asked((now, node, links), &self.keys, asked, &mut self.facts);
            }
            Output::Write { record, .. } => self.writes(now, node, record, output),
            Output::Close { link, .. } => {
                if self.step.displaces(*link, &self.links) {
                    let what = || "an inbound link made it close a link to another peer".to_owned();
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
            let what = || format!("sends a {} frame although there is no news", kind.name());
            self.facts.broken("L5", now, Some(node), what);
        }
    }

    /// Call once all outputs of the node are drained.
    pub(crate) fn after(&mut self, now: Time, node: usize, of: &Node) {
        self.step.end(now, node, of, &mut self.facts);
    }

    /// The verdict of the simulator's own signature check. Call before the node is told.
    pub(crate) fn checked(
        &mut self,
        now: Time,
        key: &PublicKey,
        statement: &[u8; SignedSlot::STATEMENT],
        signature: &Signature,
        good: bool,
    ) {
        let what = (key, statement, signature);
        if !self.checks.checked(&self.keys, what, good, &mut self.facts) {
            let what = || format!("two verdicts on one signature of {key}; now good: {good}");
            self.facts.broken("I4", now, None, what);
        }
    }

    /// A batch was put on a node's disk, with a signature that was checked.
    pub(crate) fn preloaded(&mut self, now: Time, node: usize, stored: &StoredBatch) {
        let header = &stored.batch.header;
        let (statement, signature) = (header.statement(), &stored.batch.signature);
        self.checked(now, &header.author, &statement, signature, true);
        self.slots.delivered(now, node, stored, &self.keys, &mut self.facts);
    }

    /// A link is up at one end; the id of the other end differs in the last bit. Ends of liars are
    /// not kept.
    pub(crate) fn link_up(&mut self, end: LinkId, node: usize, peer: usize) {
        if u32::try_from(node).is_ok_and(|node| self.keys.is_honest(node)) {
            self.links.up(end, node, peer);
        }
    }

    pub(crate) fn link_down(&mut self, end: LinkId) {
        self.links.down(end);
        self.dials.gone(end);
    }

    /// A fault may keep links between honest nodes down until `until`: O1 allows that time plus its
    /// own bound. [`Oracle::crashed`] and [`Oracle::restarted`] imply a call of this.
    pub(crate) fn unsettled(&mut self, until: Time) {
        self.level.unsettled();
        self.slots.unsettled(until);
        self.links.unsettled(until);
        self.quiet.ends();
    }

    /// An honest node crashed and lost its unsynced writes.
    pub(crate) fn crashed(&mut self, now: Time, node: usize, lost: &[Record]) {
        self.facts.count(Fact::Crashes);
        self.slots.gone(node, lost, &self.keys, Some(&mut self.facts));
        self.unsettled(now);
        self.level.died(now, node);
    }

    /// An honest node lost its whole disk.
    pub(crate) fn wiped(&mut self, node: usize) {
        self.slots.wiped(node);
        self.shown.forgets(node);
    }

    /// Safe rows of an honest node turned out bad and were set aside.
    pub(crate) fn damaged(&mut self, node: usize, rows: &[Record]) {
        self.slots.gone(node, rows, &self.keys, None);
        self.shown.forgets(node);
        self.quiet.ends();
    }

    /// A record of an honest node could not be written.
    pub(crate) fn unwritten(&mut self, node: usize, record: &Record) {
        if let Record::Batch(stored) = record
            && self.signs(node, stored)
        {
            self.slots.unwritten(node, stored);
        }
    }

    /// I5: an honest node acknowledged a batch that is not safe on its disk.
    pub(crate) fn acknowledged_unsafe(&mut self, now: Time, node: usize, id: &BatchId) {
        let what = || format!("acknowledges {id} before it is safe on its disk");
        self.facts.broken("I5", now, Some(node), what);
    }

    /// An honest node can be reached again after the time `away`.
    pub(crate) fn back(&mut self, now: Time, node: usize, away: Duration) {
        self.level.back(now, node, away);
    }

    /// An honest node runs again after a crash.
    pub(crate) fn restarted(&mut self, now: Time, node: usize) {
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
    /// In a run without liars, only heartbeats are allowed from two seconds later on, until
    /// something is published or fails again. A delivery also allows two seconds of traffic: an
    /// author that crashed may find a batch on its disk that no other node has.
    pub(crate) fn quiet(&mut self, now: Time) {
        if self.keys.all_honest() {
            self.quiet.begins(now);
        }
    }

    /// Call about once per simulated second, with the honest nodes that are up and what they can
    /// read.
    pub(crate) fn checkpoint<'a>(
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

    /// Whether everything that honest authors published is at all honest nodes that are up, as far
    /// as they can still get it.
    pub(crate) fn is_level(&self, up: &[bool], holds: Holds<'_>) -> bool {
        self.slots.is_level(&self.honest(up), (&self.keys, holds))
    }

    /// Whether a liar's slot from before `before` is missing at some of those nodes but not due
    /// yet.
    pub(crate) fn awaits(&self, now: Time, before: Time, up: &[bool], holds: Holds<'_>) -> bool {
        self.slots.awaits(now, before, &self.honest(up), (&self.keys, holds))
    }

    /// Ends the run, after the liveness phase. `up` is indexed by node number.
    pub(crate) fn end(&mut self, now: Time, up: &[bool], holds: Holds<'_>) {
        let up = self.honest(up);
        self.slots.end(now, &up, (&self.keys, holds), &mut self.facts);
        let (sent, delivered) =
            (self.facts.of(Fact::BatchBytesSent), self.facts.of(Fact::BatchBytesDelivered));
        let slack = (self.keys.nodes() as u64).saturating_mul(SENT_SLACK);
        let most = (self.fan_out + SENT_BESIDE).saturating_mul(delivered).saturating_add(slack);
        if sent > most {
            self.facts.broken("R6", now, None, || {
                format!("honest nodes sent each other {sent} bytes to deliver {delivered} bytes")
            });
        }
    }

    /// Violations in the order in which they were seen, at most 100.
    pub(crate) fn violations(&self) -> &[Violation] {
        self.facts.violations()
    }

    /// Counters by name, with `broken.INVARIANT` for each invariant that was violated.
    pub(crate) fn counted(&self) -> BTreeMap<String, u64> {
        self.facts.counted()
    }
}
