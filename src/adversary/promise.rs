//! `promise`: announces batches before any other node, existing and invented ones, and answers no
//! request.
//!
//! A node that asks announcers in the order of their announcements waits for it without an answer.
//! Otherwise it keeps its links: it answers comparisons, stays within credit, and pushes its own
//! batches.

use std::time::Duration;

use rand::RngExt as _;

use super::context::{Context, Disposition, Sending};
use super::lure::Lure;
use super::spec::Chance;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time};
use crate::wire::{Announce, Frame, List, SlotId};

/// Most invented ids at once; ids that are due beyond that are skipped.
const BURST: u32 = 64;
/// Shortest wait between two bursts of ids.
const GRAIN: Duration = Duration::from_millis(10);
/// Invented ids are in the next slots of an author, at most this far above its highest.
const AHEAD: u64 = 4;

pub(super) struct Promise {
    every: Duration,
    due: Option<Time>,
    wake: Option<Time>,
    lure: Lure,
}

impl Promise {
    pub(super) fn new(rate: u32) -> Self {
        let every = Duration::from_micros(1_000_000 / u64::from(rate.max(1)));
        Self { every, due: None, wake: None, lure: Lure::default() }
    }

    /// Announces an arriving batch on all other links at once, before the node has checked it.
    pub(super) fn heard(&mut self, ctx: &mut Context, from: LinkId, frame: &Frame, chance: Chance) {
        let batch = match frame {
            Frame::Push(push) => &push.batch,
            Frame::Reply(reply) => &reply.batch,
            _ => return,
        };
        let (author, seq) = (batch.header.author, batch.header.seq);
        if ctx.network.index_of(&author).is_none() || !ctx.takes(chance) {
            return;
        }
        let item = SlotId { author, seq, id: batch.id() };
        let others: Vec<LinkId> = ctx.links.ready().filter(|link| *link != from).collect();
        others.into_iter().for_each(|link| self.lure.name(link, item));
        self.lure.flush(ctx, ("promise", "first"));
    }

    pub(super) fn outgoing(
        &mut self,
        ctx: &mut Context,
        mut sending: Sending,
        chance: Chance,
    ) -> Disposition {
        match &sending.frame {
            Frame::Push(_) => self.lure.instead(ctx, sending),
            Frame::Announce(announce) => {
                let own = ctx.identity.public();
                let (own, others): (Vec<SlotId>, Vec<SlotId>) =
                    announce.items.iter().partition(|item| item.author == own);
                others.into_iter().for_each(|item| self.lure.name(sending.link, item));
                let Some(items) = List::new(own) else { return Disposition::Swallowed };
                sending.rewrite(Frame::Announce(Announce { items }));
                Disposition::Sent(sending)
            }
            Frame::Reply(_) | Frame::Missing(_) if ctx.takes(chance) => {
                let id = match &sending.frame {
                    Frame::Reply(reply) => Some(reply.batch.id()),
                    _ => None,
                };
                ctx.record(("promise", "no_answer"), sending.link, None, id, 1);
                Disposition::Swallowed
            }
            _ => Disposition::Sent(sending),
        }
    }

    pub(super) fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        self.lure.flush(ctx, ("promise", "known"));
        let due = self.due.get_or_insert(ctx.now);
        let mut count = 0;
        while *due <= ctx.now && count < BURST {
            *due = due.after(self.every.max(Duration::from_micros(1)));
            count += 1;
        }
        if count == BURST {
            *due = (*due).max(ctx.now);
        }
        self.wake = Some((*due).max(ctx.now.after(GRAIN)));
        let links: Vec<LinkId> = ctx.links.ready().collect();
        for link in links {
            for _ in 0..count {
                if ctx.takes(chance)
                    && let Some(item) = invent(ctx)
                {
                    self.lure.name(link, item);
                }
            }
        }
        self.lure.flush(ctx, ("promise", "invented"));
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.lure.down(link);
    }

    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        ctx.links.ready().next().and(self.wake)
    }
}

/// An invented id in a slot that another author is about to fill.
fn invent(ctx: &mut Context) -> Option<SlotId> {
    let own = ctx.identity.public();
    let keys = ctx.network.clone();
    let others: Vec<PublicKey> =
        keys.keys().iter().map(|key| key.key).filter(|key| *key != own).collect();
    let author = ctx.pick(&others)?;
    let ahead = ctx.rng.random_range(1..=AHEAD);
    let seq = ctx.memory.tip(&author).seq.saturating_add(ahead);
    Some(SlotId { author, seq, id: ctx.invented_id() })
}
