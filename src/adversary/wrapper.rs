//! The wrapper: passes inputs and outputs of an honest node through the behaviours of a liar.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;

use super::attempts::Attempts;
use super::context::{Context, Disposition, Effect, Sending};
use super::flood::FIRST_TICKET;
use super::kinds::Behaviour;
use super::lie::ActiveLie;
use super::links::Links;
use super::memory::Memory;
use super::spec::Spec;
use crate::crypto::{Digest, Identity};
use crate::protocol::{
    Input, LaneView, LinkId, Network, Node, Output, PublishError, Record, Snapshot, Ticket, Time,
    Token,
};
use crate::wire::{Batch, Class, Entry, Frame, Kind};

/// First token of the wrapper's own reads; the node's own tokens count up from 0.
const FIRST_TOKEN: u64 = 1 << 63;
/// Slots of each lane that are read back after a start.
const OLD_SLOTS: u64 = 8;
/// Most slots read back after a start, over all lanes.
const OLD_READS: u64 = 256;
/// Interval at which the node is asked for the tip of its own lane.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most grants of credit for swallowed frames per input.
const MOST_ROUNDS: usize = 1024;

/// A malicious node. The order of calls is that of [`Node`]: call [`Adversary::poll`] until it
/// returns `None` after each mutation, and once right after `new`.
pub struct Adversary {
    node: Node,
    ctx: Context,
    at_work: Vec<ActiveLie>,
    looked: Time,
    look: bool,
}

impl Adversary {
    /// Wraps a node. `decoys` are batches that honest members signed for another network; without
    /// any, a forger signs one itself. The same arguments and inputs give the same actions.
    pub fn new(
        node: Node,
        identity: Identity,
        network: Arc<Network>,
        spec: Spec,
        decoys: Vec<Batch>,
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let lanes = node.lanes();
        let start = |behaviour: &Behaviour| behaviour.start(&network, &seed);
        let mut at_work: Vec<ActiveLie> = spec.behaviours.iter().flat_map(start).collect();
        at_work.sort_by_key(|behaviour| behaviour.rank);
        let ctx = Context {
            now,
            own_tip: node.tip(&identity.public()),
            identity,
            network,
            decoys,
            rng: ChaCha8Rng::from_seed(Digest::of(&[b"loyal/liar/rng/1", &seed]).0),
            memory: Memory::of(&lanes),
            links: Links::default(),
            attempts: Attempts::new(spec.kinds()),
            acts: VecDeque::new(),
            first_link: None,
        };
        let mut new = Self { node, ctx, at_work, looked: now, look: false };
        if new.at_work.iter().any(|behaviour| behaviour.lie.needs_old()) {
            new.read_back(&lanes);
        }
        new.pump();
        new
    }

    /// Reads the newest batches of every lane from the store.
    fn read_back(&mut self, lanes: &[LaneView]) {
        let mut token = FIRST_TOKEN;
        for back in (0..OLD_SLOTS).rev() {
            for lane in lanes {
                let seq = lane.tip.saturating_sub(back);
                if seq <= lane.floor || token >= FIRST_TOKEN + OLD_READS {
                    continue;
                }
                let read = Output::Read { token: Token(token), author: lane.author, seq, id: None };
                self.ctx.acts.push_back(Effect::Node(read));
                token += 1;
            }
        }
    }

    /// Handles an input, as [`Node::handle`] does.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.ctx.now = now;
        if let Some(input) = self.incoming(input) {
            self.node.handle(now, input);
        }
        self.turn();
    }

    /// Everything given for a link has been written, so a flood may go on. Call it once whenever a
    /// link runs out of data to write.
    pub fn drained(&mut self, now: Time, link: LinkId) {
        self.ctx.now = now;
        self.at_work.iter_mut().for_each(|behaviour| behaviour.lie.drained(link));
        self.turn();
    }

    /// See [`Node::publish`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        self.ctx.now = now;
        let result = self.node.publish(now, entry);
        self.turn();
        result
    }

    /// See [`Node::submit`].
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        self.ctx.now = now;
        let result = self.node.submit(now, batch);
        self.turn();
        result
    }

    /// The next effect to carry out, or `None` if there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        self.ctx.acts.pop_front()
    }

    /// When to hand in [`Input::Wake`]; may change with every call.
    pub fn deadline(&self) -> Option<Time> {
        let own = self.at_work.iter().filter_map(|behaviour| behaviour.deadline(&self.ctx));
        own.chain(self.node.deadline().map(|(at, _)| at)).min()
    }

    /// The honest node that is wrapped.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A snapshot of the honest node.
    pub fn snapshot(&self) -> Snapshot {
        self.node.snapshot()
    }

    /// The attempts made so far.
    pub fn attempts(&self) -> &Attempts {
        &self.ctx.attempts
    }

    /// Filters and rewrites an input; `None` if the node must not receive it.
    fn incoming(&mut self, input: Input) -> Option<Input> {
        match input {
            Input::LinkUp { link, peer, .. } => {
                self.ctx.links.up(link, peer);
                self.ctx.first_link.get_or_insert(self.ctx.now);
            }
            Input::LinkDown { link, .. } => self.forget(link),
            Input::Frame { link, bytes } => {
                self.heard(link, &bytes);
                return self.incoming_frame(link, bytes);
            }
            Input::Read { token, batch } if token.0 >= FIRST_TOKEN => {
                if let Some(stored) = batch {
                    self.ctx.memory.keep(&self.ctx.network, stored.delivered_at, &stored);
                }
                return None;
            }
            // The deadline may have been the wrapper's alone.
            Input::Wake => {
                self.node.deadline().filter(|(at, _)| *at <= self.ctx.now)?;
            }
            _ => {}
        }
        Some(input)
    }

    fn incoming_frame(&mut self, link: LinkId, bytes: Arc<[u8]>) -> Option<Input> {
        let same = Input::Frame { link, bytes: bytes.clone() };
        let kind = bytes.get(1).and_then(|kind| Kind::from_byte(*kind));
        match kind {
            Some(Kind::Hello) => {
                let network = self.ctx.network.id();
                if matches!(Frame::decode(&bytes), Ok(Frame::Hello(h)) if h.network == network) {
                    self.look |= self.ctx.links.hello(link, false);
                }
                Some(same)
            }
            Some(Kind::Credit) => {
                let Ok(Frame::Credit(credit)) = Frame::decode(&bytes) else { return Some(same) };
                let Some(up) = self.ctx.links.get_mut(link) else { return Some(same) };
                let credit = up.ledger.translate(&credit)?;
                Some(Input::Frame { link, bytes: Frame::Credit(credit).encode().into() })
            }
            // Both kinds start with the ticket. Answers to the requests of a flood are not for the
            // node.
            Some(Kind::Missing | Kind::Reply) => {
                let ticket = bytes.get(2..6).and_then(|ticket| ticket.try_into().ok());
                let flooded = ticket.map(u32::from_be_bytes).is_some_and(|t| t >= FIRST_TICKET);
                (!flooded).then_some(same)
            }
            _ => Some(same),
        }
    }

    /// Shows a frame to the behaviours that need to see its kind.
    fn heard(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(kind) = bytes.get(1).and_then(|kind| Kind::from_byte(*kind)) else { return };
        if !self.at_work.iter().any(|behaviour| behaviour.lie.hears(kind)) {
            return;
        }
        let Ok(frame) = Frame::decode(bytes) else { return };
        for behaviour in self.at_work.iter_mut().filter(|behaviour| behaviour.lie.hears(kind)) {
            behaviour.heard(&mut self.ctx, link, &frame);
        }
    }

    fn forget(&mut self, link: LinkId) {
        self.ctx.links.down(link);
        self.at_work.iter_mut().for_each(|behaviour| behaviour.down(link));
    }

    /// Drains the node's outputs, then lets every behaviour do what is due.
    fn turn(&mut self) {
        self.pump();
        if self.look || self.ctx.now >= self.looked.after(LOOK_EVERY) {
            (self.look, self.looked) = (false, self.ctx.now);
            self.ctx.own_tip = self.node.tip(&self.ctx.identity.public());
        }
        for behaviour in &mut self.at_work {
            behaviour.tick(&mut self.ctx);
        }
    }

    fn pump(&mut self) {
        for _ in 0..MOST_ROUNDS {
            while let Some(output) = self.node.poll() {
                self.output(output);
            }
            let Some((link, credit)) = self.ctx.links.owed() else { return };
            let bytes = Frame::Credit(credit).encode().into();
            self.node.handle(self.ctx.now, Input::Frame { link, bytes });
        }
        while let Some(output) = self.node.poll() {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { link, kind, class, frame } => self.send(link, kind, class, frame),
            Output::Close { link, .. } => {
                self.forget(link);
                self.ctx.acts.push_back(Effect::Node(output));
            }
            Output::Write { record: Record::Batch(ref stored), .. } => {
                let at = self.ctx.now;
                self.ctx.memory.keep(&self.ctx.network, at, stored);
                if stored.from.is_some() {
                    self.at_work
                        .iter()
                        .for_each(|behaviour| behaviour.on_batch(&mut self.ctx, stored));
                }
                self.ctx.acts.push_back(Effect::Node(output));
            }
            _ => self.ctx.acts.push_back(Effect::Node(output)),
        }
    }

    fn send(&mut self, link: LinkId, kind: Kind, class: Class, bytes: Arc<[u8]>) {
        let same = |bytes| Effect::Node(Output::Send { link, kind, class, frame: bytes });
        if kind == Kind::Hello {
            self.look |= self.ctx.links.hello(link, true);
        }
        let heeds = self.at_work.iter().any(|behaviour| behaviour.lie.heeds_credit());
        let over = heeds && !self.ctx.fits(link, class, bytes.len());
        if let Some(up) = self.ctx.links.get_mut(link) {
            up.ledger.sent(class, bytes.len());
        }
        if over {
            // The node does not know about the frames added beside its own.
            return self.ctx.swallow(link, class, bytes.len());
        }
        if !self.at_work.iter().any(|behaviour| behaviour.lie.filters(kind)) {
            return self.ctx.acts.push_back(same(bytes));
        }
        let Ok(frame) = Frame::decode(&bytes) else {
            return self.ctx.acts.push_back(same(bytes));
        };
        let length = bytes.len();
        match self.filter(Sending { link, frame, bytes }) {
            Disposition::Sent(sending) => {
                let less = length.saturating_sub(sending.bytes.len());
                if less > 0 {
                    self.ctx.links.swallowed(link, class, 0, less);
                }
                self.ctx.acts.push_back(Effect::Node(sending.into_output()));
            }
            Disposition::Swallowed => self.ctx.swallow(link, class, length),
            Disposition::Held => {}
        }
    }

    fn filter(&mut self, mut sending: Sending) -> Disposition {
        for behaviour in &mut self.at_work {
            // An earlier behaviour may have replaced it by a frame of another kind.
            if !behaviour.lie.filters(sending.frame.kind()) {
                continue;
            }
            match behaviour.outgoing(&mut self.ctx, sending) {
                Disposition::Sent(next) => sending = next,
                done => return done,
            }
        }
        Disposition::Sent(sending)
    }
}
