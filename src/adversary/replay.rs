//! `replay`: sends old messages again, also from before a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Context;
use super::lie::Lie;
use super::value::Chance;
use crate::protocol::LinkId;
use crate::wire::{Batch, Frame, Push};

/// Messages sent at once on a new link.
const BURST: usize = 4;
/// How long ago a message must have been seen to count as old.
const OLD: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Replay {
    next: BTreeMap<LinkId, usize>,
}

impl Replay {
    fn send(&mut self, ctx: &mut Context, link: LinkId) {
        // Use half of the credit at most: replays should be rejected as known, not as too many.
        if !ctx.has_half(link) {
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
}

impl Lie for Replay {
    fn needs_old(&self) -> bool {
        true
    }

    fn every(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }

    fn act(&mut self, ctx: &mut Context, link: LinkId, fresh: bool, chance: Chance) {
        for _ in 0..if fresh { BURST } else { 1 } {
            if ctx.takes(chance) {
                self.send(ctx, link);
            }
        }
    }

    fn down(&mut self, link: LinkId) {
        self.next.remove(&link);
    }
}
