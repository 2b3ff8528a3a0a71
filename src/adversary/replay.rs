//! `replay`: sends old messages again, also from before a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Context;
use super::pacer::Pacer;
use super::spec::Chance;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::PUSH_FRAMES;
use crate::wire::{Batch, Class, Frame, Push};

/// Messages sent at once on a new link.
const BURST: usize = 4;
/// How long ago a message must have been seen to count as old.
const OLD: Duration = Duration::from_millis(500);

pub(super) struct Replay {
    pacer: Pacer,
    next: BTreeMap<LinkId, usize>,
}

impl Replay {
    pub(super) fn new() -> Self {
        Self { pacer: Pacer::new(Duration::from_millis(100)), next: BTreeMap::new() }
    }

    pub(super) fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        for (link, fresh) in self.pacer.due(ctx) {
            for _ in 0..if fresh { BURST } else { 1 } {
                if ctx.takes(chance) {
                    self.send(ctx, link);
                }
            }
        }
    }

    fn send(&mut self, ctx: &mut Context, link: LinkId) {
        // Use half of the credit at most: replays should be rejected as known, not as too many.
        let room = |ctx: &mut Context| {
            let under_way = ctx.links.get_mut(link)?.ledger.under_way(Class::Push);
            (under_way < PUSH_FRAMES / 2).then_some(())
        };
        if room(ctx).is_none() {
            return;
        }
        let old = ctx.memory.kept().partition_point(|kept| kept.at.after(OLD) <= ctx.now);
        if old == 0 {
            return;
        }
        let next = self.next.entry(link).or_default();
        let kept = &ctx.memory.kept()[*next % old];
        *next = next.wrapping_add(1);
        let (id, batch) = (kept.id, Batch::clone(&kept.batch));
        let frame = Frame::Push(Box::new(Push { hops: 2, batch })).encode();
        // Twice: the peer may have had it from others only, so that the first copy from here is not
        // a replay yet.
        for _ in 0..2 {
            ctx.send_raw(("replay", "push"), link, &frame, Some(id));
        }
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.pacer.down(link);
        self.next.remove(&link);
    }

    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        self.pacer.deadline(ctx)
    }
}
