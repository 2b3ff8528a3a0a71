//! One behaviour at work: what it is, and when it shows.

use super::censor::Censor;
use super::delay::Delay;
use super::drop::Drop;
use super::flood::Flood;
use super::forge::Forge;
use super::malformed::Malformed;
use super::replay::Replay;
use super::spec::{Behaviour, Chance, Kind, When};
use super::stage::{Fate, Sending, Stage};
use super::stall::Stall;
use super::tamper::Tamper;
use crate::protocol::{LinkId, Network, StoredBatch, Time};

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
        };
        Self { when: behaviour.when, body }
    }

    /// Where it stands among the behaviours that a frame goes through: nothing that is swallowed is
    /// altered, and nothing is delayed before it is final.
    pub fn order(&self) -> u8 {
        match self.body {
            Body::Drop(_) => 0,
            Body::Censor(_) => 1,
            Body::Tamper(_) => 2,
            Body::Delay(_) => 3,
            _ => 4,
        }
    }

    /// Whether it needs to see what the node sends.
    pub fn filters(&self) -> bool {
        self.order() < 4
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
            Body::Drop(_) | Body::Censor(_) => {}
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
        if !stage.active(self.when) {
            return Fate::Sent(sending);
        }
        let chance = self.when.chance();
        match &mut self.body {
            Body::Drop(drop) => drop.outgoing(stage, sending, chance),
            Body::Censor(censor) => censor.outgoing(stage, sending, chance),
            Body::Tamper(tamper) => tamper.outgoing(stage, sending, chance),
            Body::Delay(delay) => delay.outgoing(stage, sending, chance),
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
            Body::Drop(_) | Body::Censor(_) => {}
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
            Body::Drop(_) | Body::Censor(_) => None,
        };
        own.into_iter().chain(stage.next_change(self.when)).min()
    }
}
