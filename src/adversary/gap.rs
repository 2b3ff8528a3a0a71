//! `gap`: publishes a lane with some slots left out, and shows each of the others to one link only.
//! In total that may exceed its quota, though no single link sees more than the quota.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt as _;

use super::context::Context;
use super::lie::Lie;
use super::pacer::Rate;
use super::value::Chance;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::WINDOW;
use crate::wire::{Batch, BatchId, Class, Entry, Frame};

/// Most slots signed at once; slots that are due beyond that are skipped.
const BURST: u32 = 64;
/// Shortest wait between bursts, and the wait before links without room are tried again.
const GRAIN: Duration = Duration::from_millis(5);
/// Most batches left out and kept, to be shown late.
const MOST_HIDDEN: usize = 256;
/// Largest payload of a batch that is kept, in bytes.
const MOST_BYTES: usize = 4096;
/// A batch left out is shown once the lane is this many slots above it.
const LATE: u64 = WINDOW / 2;

pub(super) struct Gap {
    leave_out: u64,
    size: usize,
    rate: Rate,
    /// The last slot signed, and its id.
    head: (u64, BatchId),
    hidden: VecDeque<Batch>,
}

impl Gap {
    pub(super) fn new(every: u32, rate: u32, size: usize) -> Self {
        Self {
            leave_out: u64::from(every.max(2)),
            size,
            rate: Rate::new(rate, BURST, GRAIN),
            head: (0, BatchId::ZERO),
            hidden: VecDeque::new(),
        }
    }

    /// Signs the next slot and shows it to one link or to none. Returns whether a link had room.
    fn publish(&mut self, ctx: &mut Context) -> bool {
        let (last, prev) = self.head;
        let Some(seq) = last.checked_add(1) else { return false };
        let links: Vec<LinkId> = ctx.links.ready().collect();
        let length = self.size + 512;
        let turn = usize::try_from(seq % links.len().max(1) as u64).unwrap_or(0);
        let (before, after) = links.split_at_checked(turn).unwrap_or_default();
        let free: Vec<LinkId> = after
            .iter()
            .chain(before)
            .copied()
            .filter(|link| ctx.fits(*link, Class::Push, length))
            .collect();
        let Some(link) = free.first().copied() else { return false };
        let payload = ctx.random(self.size);
        let entry = Entry { topic: "gap".into(), payload };
        let (network, now) = (ctx.network.id(), ctx.now.0);
        let Ok(batch) = Batch::sign(&ctx.identity, network, seq, prev, now, &[entry]) else {
            return false;
        };
        self.head = (seq, batch.id());
        if seq.is_multiple_of(self.leave_out) {
            if self.size <= MOST_BYTES {
                self.hidden.push_back(batch);
            }
            if self.hidden.len() > MOST_HIDDEN {
                self.hidden.pop_front();
            }
        } else {
            show(ctx, "slot", link, &batch);
        }
        let oldest = self.hidden.front().map(|batch| batch.header.seq);
        if oldest.is_some_and(|oldest| oldest.saturating_add(LATE) < seq)
            && let Some(batch) = self.hidden.pop_front()
        {
            let last = free.len() - 1;
            let link = free[ctx.rng.random_range(0..=last)];
            if ctx.fits(link, Class::Push, length) {
                show(ctx, "late", link, &batch);
            }
        }
        true
    }
}

impl Lie for Gap {
    fn heeds_credit(&self) -> bool {
        true
    }

    fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        if ctx.own_tip.0 > self.head.0 {
            self.head = ctx.own_tip;
            self.hidden.clear();
        }
        while self.rate.is_due(ctx.now) {
            if ctx.takes(chance) && !self.publish(ctx) {
                break; // no link has room
            }
            self.rate.step();
        }
        self.rate.rest(ctx.now);
    }

    fn deadline(&self, ctx: &Context) -> Option<Time> {
        self.rate.deadline(ctx)
    }
}

fn show(ctx: &mut Context, detail: &'static str, link: LinkId, batch: &Batch) {
    ctx.send_raw(("gap", detail), link, &Frame::push(1, batch), Some(batch.id()));
}
