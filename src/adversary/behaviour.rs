//! One behaviour at work: its state, and when it is active.

use super::censor::Censor;
use super::context::{Context, Disposition, Sending};
use super::delay::Delay;
use super::drop::Drop;
use super::false_credit::FalseCredit;
use super::false_differ::FalseDiffer;
use super::false_floor::FalseFloor;
use super::flood::Flood;
use super::forge::Forge;
use super::gap::Gap;
use super::malformed::Malformed;
use super::promise::Promise;
use super::replay::Replay;
use super::restart::Restart;
use super::spec::{Behaviour, BehaviourKind, Chance, When};
use super::stall::Stall;
use super::tamper::Tamper;
use crate::protocol::{LinkId, Network, StoredBatch, Time};
use crate::wire::{self, Frame};

enum Body {
    Drop(Drop),
    Censor(Censor),
    Tamper(Tamper),
    Delay(Delay),
    Forge(Box<Forge>),
    Replay(Replay),
    Flood(Flood),
    Malformed(Malformed),
    Stall(Stall),
    Promise(Promise),
    Gap(Gap),
    FalseFloor(FalseFloor),
    FalseDiffer(FalseDiffer),
    FalseCredit(FalseCredit),
    Restart(Restart),
}

pub(super) struct AtWork {
    when: When,
    body: Body,
}

impl AtWork {
    pub(super) fn new(behaviour: &Behaviour, network: &Network, seed: &[u8; 32]) -> Self {
        let body = match &behaviour.kind {
            BehaviourKind::Forge => Body::Forge(Box::new(Forge::new(seed))),
            BehaviourKind::Tamper => Body::Tamper(Tamper::new()),
            BehaviourKind::Drop { p } => Body::Drop(Drop { p: *p }),
            BehaviourKind::Censor { authors } => Body::Censor(Censor::new(authors, network)),
            BehaviourKind::Delay { by } => Body::Delay(Delay::new(*by)),
            BehaviourKind::Replay => Body::Replay(Replay::new()),
            BehaviourKind::Flood { rate, what } => Body::Flood(Flood::new(*what, *rate)),
            BehaviourKind::Malformed => Body::Malformed(Malformed::new()),
            BehaviourKind::Stall => Body::Stall(Stall::new()),
            BehaviourKind::Promise { rate } => Body::Promise(Promise::new(*rate)),
            BehaviourKind::Gap { every, rate, size } => Body::Gap(Gap::new(*every, *rate, *size)),
            BehaviourKind::FalseFloor => Body::FalseFloor(FalseFloor::default()),
            BehaviourKind::FalseDiffer => Body::FalseDiffer(FalseDiffer::default()),
            BehaviourKind::FalseCredit { what } => Body::FalseCredit(FalseCredit::new(*what)),
            BehaviourKind::Restart { rate } => Body::Restart(Restart::new(*rate)),
        };
        Self { when: behaviour.when, body }
    }

    /// Rank among the behaviours that a frame passes through, lowest first: a frame that is
    /// swallowed is not altered, and a frame is final before it is delayed.
    pub(super) fn order(&self) -> u8 {
        match self.body {
            Body::Drop(_) => 0,
            Body::Censor(_) => 1,
            Body::Gap(_) | Body::Restart(_) => 2,
            Body::Promise(_) => 3,
            Body::FalseFloor(_) => 4,
            Body::FalseDiffer(_) => 5,
            Body::FalseCredit(_) => 6,
            Body::Tamper(_) => 7,
            Body::Delay(_) => 8,
            _ => 9,
        }
    }

    /// Whether it needs to see outgoing frames of that kind.
    pub(super) fn filters(&self, kind: wire::Kind) -> bool {
        let relays = matches!(kind, wire::Kind::Push | wire::Kind::Reply | wire::Kind::Announce);
        match self.body {
            Body::Drop(_) | Body::Censor(_) | Body::Tamper(_) | Body::Delay(_) => relays,
            Body::Gap(_) | Body::Restart(_) => relays,
            Body::Promise(_) => relays || kind == wire::Kind::Missing,
            Body::FalseFloor(_) => {
                use wire::Kind::{Differ, Missing, Push, Reply};
                matches!(kind, Push | Reply | Missing | Differ)
            }
            Body::FalseDiffer(_) => {
                matches!(kind, wire::Kind::Differ | wire::Kind::Compare)
            }
            Body::FalseCredit(_) => kind == wire::Kind::Credit,
            _ => false,
        }
    }

    /// Whether it needs to see incoming frames of that kind.
    pub(super) fn hears(&self, kind: wire::Kind) -> bool {
        match self.body {
            Body::Promise(_) => {
                matches!(kind, wire::Kind::Push | wire::Kind::Reply)
            }
            Body::FalseFloor(_) => kind == wire::Kind::Request,
            Body::FalseDiffer(_) => kind == wire::Kind::Compare,
            _ => false,
        }
    }

    /// Whether it adds frames but stays within credit, so that it is not banned for exceeding it.
    pub(super) fn heeds_credit(&self) -> bool {
        use Body::{FalseFloor, Gap, Promise, Restart};
        matches!(self.body, Promise(_) | Gap(_) | FalseFloor(_) | Restart(_))
    }

    /// Shows it an incoming frame, before the node receives it.
    pub(super) fn heard(&mut self, ctx: &mut Context, link: LinkId, frame: &Frame) {
        let (active, chance) = (ctx.active(self.when), self.when.chance());
        match &mut self.body {
            Body::Promise(promise) if active => promise.heard(ctx, link, frame, chance),
            Body::FalseFloor(false_floor) => false_floor.heard(link, frame),
            Body::FalseDiffer(false_differ) => false_differ.heard(link, frame),
            _ => {}
        }
    }

    /// Whether it needs batches from before the start.
    pub(super) fn needs_old(&self) -> bool {
        match &self.body {
            Body::Forge(_) | Body::Replay(_) => true,
            Body::Flood(flood) => flood.repeats(),
            _ => false,
        }
    }

    /// Does whatever is due.
    pub(super) fn tick(&mut self, ctx: &mut Context) {
        let (active, chance) = (ctx.active(self.when), self.when.chance());
        match &mut self.body {
            Body::Delay(delay) => delay.tick(ctx),
            Body::Stall(stall) => stall.tick(ctx, active, chance),
            _ if !active => {}
            Body::Forge(forge) => forge.tick(ctx, chance),
            Body::Replay(replay) => replay.tick(ctx, chance),
            Body::Flood(flood) => flood.tick(ctx, chance),
            Body::Malformed(malformed) => malformed.tick(ctx, chance),
            Body::Tamper(tamper) => tamper.tick(ctx, chance),
            Body::Promise(promise) => promise.tick(ctx, chance),
            Body::Gap(gap) => gap.tick(ctx, chance),
            Body::FalseFloor(false_floor) => false_floor.tick(ctx),
            Body::Restart(restart) => restart.tick(ctx, chance),
            Body::Drop(_) | Body::Censor(_) => {}
            Body::FalseDiffer(_) | Body::FalseCredit(_) => {}
        }
    }

    /// The node wrote a batch that it received from a peer.
    pub(super) fn on_batch(&self, ctx: &mut Context, stored: &StoredBatch) {
        let author = stored.batch.header.author;
        if author == ctx.identity.public() || !ctx.active(self.when) {
            return;
        }
        match &self.body {
            Body::Drop(drop) if drop.p == Chance::ALWAYS => ctx.record_kept_back("drop", stored),
            Body::Censor(censor) if censor.hides(&author) => {
                ctx.record_kept_back("censor", stored);
            }
            Body::Delay(_) => ctx.record_kept_back("delay", stored),
            _ => {}
        }
    }

    /// Decides on an outgoing frame of a kind that [`AtWork::filters`] accepts.
    pub(super) fn outgoing(&mut self, ctx: &mut Context, sending: Sending) -> Disposition {
        let chance = self.when.chance();
        if !ctx.active(self.when) {
            if let Body::FalseCredit(false_credit) = &mut self.body {
                false_credit.honestly(&sending);
            }
            return Disposition::Sent(sending);
        }
        match &mut self.body {
            Body::Drop(drop) => drop.outgoing(ctx, sending, chance),
            Body::Censor(censor) => censor.outgoing(ctx, sending, chance),
            Body::Tamper(tamper) => tamper.outgoing(ctx, sending, chance),
            Body::Delay(delay) => delay.outgoing(ctx, sending, chance),
            Body::Promise(promise) => promise.outgoing(ctx, sending, chance),
            Body::Gap(gap) => gap.outgoing(ctx, sending, chance),
            Body::FalseFloor(false_floor) => false_floor.outgoing(ctx, sending, chance),
            Body::FalseDiffer(false_differ) => false_differ.outgoing(ctx, sending, chance),
            Body::FalseCredit(false_credit) => false_credit.outgoing(ctx, sending, chance),
            Body::Restart(restart) => restart.outgoing(ctx, sending, chance),
            _ => Disposition::Sent(sending),
        }
    }

    /// Everything given for a link is written.
    pub(super) fn drained(&mut self, link: LinkId) {
        if let Body::Flood(flood) = &mut self.body {
            flood.drained(link);
        }
    }

    /// A link is gone.
    pub(super) fn down(&mut self, link: LinkId) {
        match &mut self.body {
            Body::Delay(delay) => delay.down(link),
            Body::Forge(forge) => forge.down(link),
            Body::Replay(replay) => replay.down(link),
            Body::Flood(flood) => flood.down(link),
            Body::Malformed(malformed) => malformed.down(link),
            Body::Stall(stall) => stall.down(link),
            Body::Tamper(tamper) => tamper.down(link),
            Body::Promise(promise) => promise.down(link),
            Body::FalseFloor(false_floor) => false_floor.down(link),
            Body::FalseDiffer(false_differ) => false_differ.down(link),
            Body::FalseCredit(false_credit) => false_credit.down(link),
            Body::Drop(_) | Body::Censor(_) | Body::Gap(_) | Body::Restart(_) => {}
        }
    }

    /// When it wants its next [`AtWork::tick`].
    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        let own = match &self.body {
            Body::Delay(delay) => delay.deadline(),
            _ if !ctx.active(self.when) => None,
            Body::Forge(forge) => forge.deadline(ctx),
            Body::Replay(replay) => replay.deadline(ctx),
            Body::Flood(flood) => flood.deadline(),
            Body::Malformed(malformed) => malformed.deadline(ctx),
            Body::Stall(stall) => stall.deadline(ctx),
            Body::Tamper(tamper) => tamper.deadline(ctx),
            Body::Promise(promise) => promise.deadline(ctx),
            Body::Gap(gap) => gap.deadline(ctx),
            Body::Restart(restart) => restart.deadline(ctx),
            Body::Drop(_) | Body::Censor(_) => None,
            Body::FalseFloor(_) | Body::FalseDiffer(_) | Body::FalseCredit(_) => None,
        };
        own.into_iter().chain(ctx.next_change(self.when)).min()
    }
}
