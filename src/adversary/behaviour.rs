//! One behaviour at work: what it is, and when it shows.

use super::censor::Censor;
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
use super::spec::{Behaviour, Chance, Kind, When};
use super::stage::{Fate, Sending, Stage};
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
    pub fn new(behaviour: &Behaviour, network: &Network, seed: &[u8; 32]) -> Self {
        let body = match &behaviour.kind {
            Kind::Forge => Body::Forge(Box::new(Forge::new(seed))),
            Kind::Tamper => Body::Tamper(Tamper::new()),
            Kind::Drop { p } => Body::Drop(Drop { p: *p }),
            Kind::Censor { authors } => Body::Censor(Censor::new(authors, network)),
            Kind::Delay { by } => Body::Delay(Delay::new(*by)),
            Kind::Replay => Body::Replay(Replay::new()),
            Kind::Flood { rate, what } => Body::Flood(Flood::new(*what, *rate)),
            Kind::Malformed => Body::Malformed(Malformed::new()),
            Kind::Stall => Body::Stall(Stall::new()),
            Kind::Promise { rate } => Body::Promise(Promise::new(*rate)),
            Kind::Gap { every, rate, size } => Body::Gap(Gap::new(*every, *rate, *size)),
            Kind::FalseFloor => Body::FalseFloor(FalseFloor::default()),
            Kind::FalseDiffer => Body::FalseDiffer(FalseDiffer::default()),
            Kind::FalseCredit { what } => Body::FalseCredit(FalseCredit::new(*what)),
            Kind::Restart { rate } => Body::Restart(Restart::new(*rate)),
        };
        Self { when: behaviour.when, body }
    }

    /// Where it stands among the behaviours that a frame goes through: nothing that is swallowed is
    /// altered, and nothing is delayed before it is final.
    pub fn order(&self) -> u8 {
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

    /// Whether it needs to see frames of that kind that the node sends.
    pub fn filters(&self, kind: wire::Kind) -> bool {
        let relays = matches!(kind, wire::Kind::Push | wire::Kind::Reply | wire::Kind::Announce);
        match self.body {
            Body::Drop(_) | Body::Censor(_) | Body::Tamper(_) | Body::Delay(_) => relays,
            Body::Gap(_) | Body::Restart(_) => relays,
            Body::Promise(_) => relays || kind == wire::Kind::Missing,
            Body::FalseFloor(_) => {
                use wire::Kind::{Differ, Missing, Push, Reply};
                matches!(kind, Push | Reply | Missing | Differ)
            }
            Body::FalseDiffer(_) => matches!(kind, wire::Kind::Differ | wire::Kind::Compare),
            Body::FalseCredit(_) => kind == wire::Kind::Credit,
            _ => false,
        }
    }

    /// Whether it needs to see frames of that kind that come.
    pub fn hears(&self, kind: wire::Kind) -> bool {
        match self.body {
            Body::Promise(_) => matches!(kind, wire::Kind::Push | wire::Kind::Reply),
            Body::FalseFloor(_) => kind == wire::Kind::Request,
            Body::FalseDiffer(_) => kind == wire::Kind::Compare,
            _ => false,
        }
    }

    /// Whether it adds frames and must stay within credit, or it would be banned for that alone.
    pub fn heeds_credit(&self) -> bool {
        use Body::{FalseFloor, Gap, Promise, Restart};
        matches!(self.body, Promise(_) | Gap(_) | FalseFloor(_) | Restart(_))
    }

    /// A frame came, before the node hears of it.
    pub fn heard(&mut self, stage: &mut Stage, link: LinkId, frame: &Frame) {
        let (active, chance) = (stage.active(self.when), self.when.chance());
        match &mut self.body {
            Body::Promise(promise) if active => promise.heard(stage, link, frame, chance),
            Body::FalseFloor(false_floor) => false_floor.heard(link, frame),
            Body::FalseDiffer(false_differ) => false_differ.heard(link, frame),
            _ => {}
        }
    }

    /// Whether it needs batches from before the start.
    pub fn needs_old(&self) -> bool {
        match &self.body {
            Body::Forge(_) | Body::Replay(_) => true,
            Body::Flood(flood) => flood.repeats(),
            _ => false,
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, stage: &mut Stage) {
        let (active, chance) = (stage.active(self.when), self.when.chance());
        match &mut self.body {
            Body::Delay(delay) => delay.tick(stage),
            Body::Stall(stall) => stall.tick(stage, active, chance),
            _ if !active => {}
            Body::Forge(forge) => forge.tick(stage, chance),
            Body::Replay(replay) => replay.tick(stage, chance),
            Body::Flood(flood) => flood.tick(stage, chance),
            Body::Malformed(malformed) => malformed.tick(stage, chance),
            Body::Tamper(tamper) => tamper.tick(stage, chance),
            Body::Promise(promise) => promise.tick(stage, chance),
            Body::Gap(gap) => gap.tick(stage, chance),
            Body::FalseFloor(false_floor) => false_floor.tick(stage),
            Body::Restart(restart) => restart.tick(stage, chance),
            Body::Drop(_) | Body::Censor(_) => {}
            Body::FalseDiffer(_) | Body::FalseCredit(_) => {}
        }
    }

    /// A batch came that is news.
    pub fn came(&self, stage: &mut Stage, stored: &StoredBatch) {
        let author = stored.batch.header.author;
        if author == stage.identity.public() || !stage.active(self.when) {
            return;
        }
        match &self.body {
            Body::Drop(drop) if drop.p == Chance::ALWAYS => stage.record_kept_back("drop", stored),
            Body::Censor(censor) if censor.hides(&author) => {
                stage.record_kept_back("censor", stored);
            }
            Body::Delay(_) => stage.record_kept_back("delay", stored),
            _ => {}
        }
    }

    /// Decides on a push, a reply or an announcement.
    pub fn outgoing(&mut self, stage: &mut Stage, sending: Sending) -> Fate {
        let chance = self.when.chance();
        if !stage.active(self.when) {
            if let Body::FalseCredit(false_credit) = &mut self.body {
                false_credit.honestly(&sending);
            }
            return Fate::Sent(sending);
        }
        match &mut self.body {
            Body::Drop(drop) => drop.outgoing(stage, sending, chance),
            Body::Censor(censor) => censor.outgoing(stage, sending, chance),
            Body::Tamper(tamper) => tamper.outgoing(stage, sending, chance),
            Body::Delay(delay) => delay.outgoing(stage, sending, chance),
            Body::Promise(promise) => promise.outgoing(stage, sending, chance),
            Body::Gap(gap) => gap.outgoing(stage, sending, chance),
            Body::FalseFloor(false_floor) => false_floor.outgoing(stage, sending, chance),
            Body::FalseDiffer(false_differ) => false_differ.outgoing(stage, sending, chance),
            Body::FalseCredit(false_credit) => false_credit.outgoing(stage, sending, chance),
            Body::Restart(restart) => restart.outgoing(stage, sending, chance),
            _ => Fate::Sent(sending),
        }
    }

    /// All that was given for a link is written.
    pub fn drained(&mut self, link: LinkId) {
        if let Body::Flood(flood) = &mut self.body {
            flood.drained(link);
        }
    }

    /// A link is gone.
    pub fn down(&mut self, link: LinkId) {
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

    /// When it wants to be asked again.
    pub fn deadline(&self, stage: &Stage) -> Option<Time> {
        let own = match &self.body {
            Body::Delay(delay) => delay.deadline(),
            _ if !stage.active(self.when) => None,
            Body::Forge(forge) => forge.deadline(stage),
            Body::Replay(replay) => replay.deadline(stage),
            Body::Flood(flood) => flood.deadline(),
            Body::Malformed(malformed) => malformed.deadline(stage),
            Body::Stall(stall) => stall.deadline(stage),
            Body::Tamper(tamper) => tamper.deadline(stage),
            Body::Promise(promise) => promise.deadline(stage),
            Body::Gap(gap) => gap.deadline(stage),
            Body::Restart(restart) => restart.deadline(stage),
            Body::Drop(_) | Body::Censor(_) => None,
            Body::FalseFloor(_) | Body::FalseDiffer(_) | Body::FalseCredit(_) => None,
        };
        own.into_iter().chain(stage.next_change(self.when)).min()
    }
}
