//! `promise`: announces batches before any other node, existing and invented ones, and answers no
//! request.
//!
//! A node that asks announcers in the order of their announcements waits for it without an answer.
//! Otherwise it keeps its links: it answers comparisons, stays within credit, and pushes its own
//! batches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt as _;

use super::context::{Context, Disposition, Sending, relays};
use super::lie::Lie;
use super::pacer::Rate;
use super::value::Chance;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::MAX_ANNOUNCED;
use crate::wire::{Announce, Class, Frame, Kind, List, SlotId};

/// Most ids that wait for credit on a link; the oldest are dropped first.
const MOST: usize = 512;
/// Most invented ids at once; ids that are due beyond that are skipped.
const BURST: u32 = 64;
/// Shortest wait between two bursts of ids.
const GRAIN: Duration = Duration::from_millis(10);
/// Invented ids are in the next slots of an author, at most this far above its highest.
const AHEAD: u64 = 4;

pub(super) struct Promise {
    rate: Rate,
    lure: Lure,
}

impl Promise {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: Rate::new(rate, BURST, GRAIN), lure: Lure::default() }
    }
}

impl Lie for Promise {
    fn filters(&self, kind: Kind) -> bool {
        relays(kind) || kind == Kind::Missing
    }

    fn outgoing(&mut self, ctx: &mut Context, mut sending: Sending, chance: Chance) -> Disposition {
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

    fn hears(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Push | Kind::Reply)
    }

    /// Announces an arriving batch on all other links at once, before the node has checked it.
    fn heard(&mut self, ctx: &mut Context, from: LinkId, frame: &Frame, chance: Option<Chance>) {
        let Some(chance) = chance else { return };
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

    fn heeds_credit(&self) -> bool {
        true
    }

    fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        self.lure.flush(ctx, ("promise", "known"));
        let mut count = 0;
        while self.rate.is_due(ctx.now) {
            self.rate.step();
            count += 1;
        }
        self.rate.rest(ctx.now);
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

    fn deadline(&self, ctx: &Context) -> Option<Time> {
        self.rate.deadline(ctx)
    }

    fn down(&mut self, link: LinkId) {
        self.lure.down(link);
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

/// Announces batches instead of sending them, so that peers ask for them. Stays within the links'
/// credit, as exceeding it is not the point. `false-floor` has one too.
#[derive(Default)]
pub(super) struct Lure {
    waiting: BTreeMap<LinkId, VecDeque<SlotId>>,
}

impl Lure {
    /// Queues a batch to be announced on a link by the next [`Lure::flush`].
    pub(super) fn name(&mut self, link: LinkId, item: SlotId) {
        let waiting = self.waiting.entry(link).or_default();
        if waiting.contains(&item) {
            return;
        }
        waiting.push_back(item);
        if waiting.len() > MOST {
            waiting.pop_front();
        }
    }

    /// Swallows the push of a foreign batch and queues an announcement of it instead.
    pub(super) fn instead(&mut self, ctx: &Context, sending: Sending) -> Disposition {
        let Frame::Push(push) = &sending.frame else { return Disposition::Sent(sending) };
        let (author, seq) = (push.batch.header.author, push.batch.header.seq);
        if author == ctx.identity.public() {
            return Disposition::Sent(sending);
        }
        self.name(sending.link, SlotId { author, seq, id: push.batch.id() });
        Disposition::Swallowed
    }

    /// Sends the queued announcements, as far as credit allows.
    pub(super) fn flush(&mut self, ctx: &mut Context, what: (&'static str, &'static str)) {
        for (link, waiting) in &mut self.waiting {
            while !waiting.is_empty() && ctx.fits(*link, Class::Announce, Kind::Announce.max_len())
            {
                let most = waiting.len().min(MAX_ANNOUNCED);
                let Some(items) = List::new(waiting.drain(..most).collect()) else { break };
                let first = items.first().map(|item| item.id);
                let frame = Frame::Announce(Announce { items }).encode();
                ctx.send_raw(what, *link, &frame, first);
            }
        }
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.waiting.remove(&link);
    }
}
