//! What a liar may do, and a lie with its times and its pace.

use std::time::Duration;

use super::context::{Context, Disposition, Sending};
use super::pacer::Pacer;
use super::value::{Chance, When};
use crate::protocol::{LinkId, StoredBatch, Time};
use crate::wire::{Frame, Kind};

/// What a behaviour does. Unless a method says otherwise, it is called only while the behaviour is
/// active; `chance` is the probability with which it takes each opportunity.
pub(super) trait Lie: Send + Sync {
    /// Whether it needs to see outgoing frames of that kind.
    fn filters(&self, _kind: Kind) -> bool {
        false
    }

    /// Decides on an outgoing frame of a kind that [`Lie::filters`] accepts.
    fn outgoing(&mut self, _ctx: &mut Context, sending: Sending, _chance: Chance) -> Disposition {
        Disposition::Sent(sending)
    }

    /// Called in place of [`Lie::outgoing`] while it is not active: the frame is sent unchanged.
    fn passed(&mut self, _sending: &Sending) {}

    /// Whether it needs to see incoming frames of that kind.
    fn hears(&self, _kind: Kind) -> bool {
        false
    }

    /// Shows it an incoming frame, before the node receives it; without a chance while it is not
    /// active.
    fn heard(
        &mut self,
        _ctx: &mut Context,
        _link: LinkId,
        _frame: &Frame,
        _chance: Option<Chance>,
    ) {
    }

    /// The node wrote a batch of another author that it received from a peer.
    fn on_batch(&self, _ctx: &mut Context, _stored: &StoredBatch) {}

    /// Whether it adds frames but stays within credit, so that it is not banned for exceeding it.
    fn heeds_credit(&self) -> bool {
        false
    }

    /// Whether it needs batches from before the start.
    fn needs_old(&self) -> bool {
        false
    }

    /// How often it acts on each link; `None` if it never does.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Acts on a link: once when the link becomes ready (`fresh`), then at each interval.
    fn act(&mut self, _ctx: &mut Context, _link: LinkId, _fresh: bool, _chance: Chance) {}

    /// Does whatever else is due.
    fn tick(&mut self, _ctx: &mut Context, _chance: Chance) {}

    /// Undoes what it began. Called in place of `act` and `tick` while it is not active.
    fn stop(&mut self, _ctx: &mut Context) {}

    /// Whether it stops acting while it is not active.
    fn stops_when_inactive(&self) -> bool {
        true
    }

    /// When it wants its next [`Lie::tick`].
    fn deadline(&self, _ctx: &Context) -> Option<Time> {
        None
    }

    /// Everything given for a link is written. Called whether active or not.
    fn drained(&mut self, _link: LinkId) {}

    /// A link is gone. Called whether active or not.
    fn down(&mut self, _link: LinkId) {}
}

/// A lie with its times and its pace.
pub(super) struct ActiveLie {
    when: When,
    pub rank: u8,
    pacer: Option<Pacer>,
    pub lie: Box<dyn Lie>,
}

impl ActiveLie {
    pub(super) fn new(when: When, rank: u8, lie: Box<dyn Lie>) -> Self {
        Self { when, rank, pacer: lie.every().map(Pacer::new), lie }
    }

    /// The chance of its opportunities; `None` while it is not active.
    fn chance(&self, ctx: &Context) -> Option<Chance> {
        ctx.active(self.when).then(|| self.when.chance())
    }

    /// See [`Lie::heard`].
    pub(super) fn heard(&mut self, ctx: &mut Context, link: LinkId, frame: &Frame) {
        let chance = self.chance(ctx);
        self.lie.heard(ctx, link, frame, chance);
    }

    /// Acts on its own, as time passes rather than as frames come.
    pub(super) fn tick(&mut self, ctx: &mut Context) {
        if !self.acts(ctx) {
            return self.lie.stop(ctx);
        }
        let chance = self.when.chance();
        let due = self.pacer.as_mut().map(|pacer| pacer.due(ctx)).unwrap_or_default();
        for (link, fresh) in due {
            self.lie.act(ctx, link, fresh, chance);
        }
        self.lie.tick(ctx, chance);
    }

    fn acts(&self, ctx: &Context) -> bool {
        ctx.active(self.when) || !self.lie.stops_when_inactive()
    }

    /// See [`Lie::on_batch`].
    pub(super) fn on_batch(&self, ctx: &mut Context, stored: &StoredBatch) {
        if stored.batch.header.author != ctx.identity.public() && ctx.active(self.when) {
            self.lie.on_batch(ctx, stored);
        }
    }

    /// See [`Lie::outgoing`].
    pub(super) fn outgoing(&mut self, ctx: &mut Context, sending: Sending) -> Disposition {
        let Some(chance) = self.chance(ctx) else {
            self.lie.passed(&sending);
            return Disposition::Sent(sending);
        };
        self.lie.outgoing(ctx, sending, chance)
    }

    /// Forgets a link that is gone.
    pub(super) fn down(&mut self, link: LinkId) {
        self.pacer.iter_mut().for_each(|pacer| pacer.down(link));
        self.lie.down(link);
    }

    /// When it wants its next [`ActiveLie::tick`].
    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        let paced = self.pacer.as_ref().and_then(|pacer| pacer.deadline(ctx));
        let own = paced.into_iter().chain(self.lie.deadline(ctx)).filter(|_| self.acts(ctx));
        own.chain(ctx.next_change(self.when)).min()
    }
}
