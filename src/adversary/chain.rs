//! A liar's own lane, signed faster than its quota: genuine batches for a flood.

use std::collections::VecDeque;

use super::context::Context;
use crate::wire::limits::WINDOW;
use crate::wire::{Batch, BatchId};

/// Own batches above the tip that the wrapped node knows of; at most [`WINDOW`], as peers accept no
/// more.
#[derive(Default)]
pub(super) struct Chain {
    batches: VecDeque<(BatchId, Batch)>,
}

impl Chain {
    /// Drops the batches that the wrapped node knows by now; all of them if its lane took another
    /// branch.
    fn trim(&mut self, (tip, tip_id): (u64, BatchId)) {
        let Some(first) = self.batches.front().map(|(_, batch)| batch.header.seq) else { return };
        if first > tip {
            let goes_on = self.batches.front().is_some_and(|(_, b)| b.header.prev == tip_id);
            if first > tip + 1 || !goes_on {
                self.batches.clear();
            }
            return;
        }
        let known = usize::try_from(tip - first).unwrap_or(usize::MAX);
        if self.batches.get(known).is_some_and(|(id, _)| *id == tip_id) {
            self.batches.drain(..=known);
        } else {
            self.batches.clear();
        }
    }

    /// The batch of slot `next`, signed now if needed, and the slot to continue with. If `next` is
    /// outside of the window that peers accept, starts again above the tip.
    pub(super) fn get(&mut self, ctx: &mut Context, next: u64) -> Option<(BatchId, Batch, u64)> {
        self.trim(ctx.own_tip);
        let (tip, tip_id) = ctx.own_tip;
        let inside = (tip.saturating_add(1)..=tip.saturating_add(WINDOW)).contains(&next);
        let seq = if inside { next } else { tip.checked_add(1)? };
        loop {
            let (last, prev) =
                self.batches.back().map_or((tip, tip_id), |(id, batch)| (batch.header.seq, *id));
            if last >= seq {
                break;
            }
            let (entry, network) = (ctx.entry(), ctx.network.id());
            let now = ctx.now.0;
            let batch = Batch::sign(&ctx.identity, network, last + 1, prev, now, &[entry]).ok()?;
            self.batches.push_back((batch.id(), batch));
        }
        let at = usize::try_from(seq - tip - 1).ok()?;
        let (id, batch) = self.batches.get(at)?;
        Some((*id, batch.clone(), seq + 1))
    }
}
