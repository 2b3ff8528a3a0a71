//! `restart`: signs restart headers in its own lane, as an author that lost its store may: over
//! slots that it published, two on one base, far ahead. It also goes on showing batches that a
//! restart voided.

use std::collections::VecDeque;
use std::time::Duration;

use super::context::Context;
use super::lie::Lie;
use super::pacer::Rate;
use super::value::Chance;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::{MAX_SLOT, WINDOW};
use crate::wire::{Batch, BatchId, Class, Frame};

/// Most slots of its own that are remembered as bases.
const MOST: usize = 8;
/// Most steps taken at once; steps that are due beyond that are skipped.
const BURST: u32 = 16;
/// Shortest wait until the next steps.
const GRAIN: Duration = Duration::from_millis(5);

/// The steps, taken in this order and repeated.
const STEPS: [&str; 13] = [
    "slot", "slot", "aside", "aside", "aside", "void", "slot", "voided", "twins", "slot", "far",
    "orphan", "beyond",
];

pub(super) struct Restart {
    rate: Rate,
    step: usize,
    round: u64,
    /// The newest own slots of the branch being extended, oldest first.
    branch: VecDeque<(u64, BatchId)>,
    /// Batches shown to one link only and voided by a restart since.
    aside: VecDeque<Batch>,
}

impl Restart {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate: Rate::new(rate, BURST, GRAIN),
            step: 0,
            round: 0,
            branch: VecDeque::new(),
            aside: VecDeque::new(),
        }
    }

    fn take_step(&mut self, ctx: &mut Context) {
        let detail = STEPS[self.step];
        self.step += 1;
        if self.step == STEPS.len() {
            (self.step, self.round) = (0, self.round.wrapping_add(1));
        }
        let head = self.branch.back().copied().unwrap_or((0, BatchId::ZERO));
        let above = |by: u64| head.0.saturating_add(by);
        match detail {
            "slot" => drop(self.go_on(ctx, detail, above(1), head, Whom::All)),
            "aside" => {
                let whom = Whom::One(self.step);
                let batch = self.go_on(ctx, detail, above(1), head, whom);
                self.aside.extend(batch);
                if self.aside.len() > MOST {
                    self.aside.pop_front();
                }
            }
            "void" => {
                let base = self.back(3);
                drop(self.go_on(ctx, detail, above(1), base, Whom::All));
            }
            "voided" => {
                for batch in std::mem::take(&mut self.aside) {
                    show(ctx, detail, Whom::One(self.step + 1), &batch);
                }
            }
            "twins" => {
                let base = self.back(1);
                drop(self.go_on(ctx, detail, above(2), base, Whom::Half(0)));
                drop(self.go_on(ctx, detail, above(3), base, Whom::Half(1)));
            }
            "far" => {
                let seq = above(WINDOW / 4);
                drop(self.go_on(ctx, detail, seq, head, Whom::Half(self.step)));
            }
            "orphan" => {
                let base = (head.0.max(1), ctx.invented_id());
                let batch = sign(ctx, base.0.saturating_add(2), base);
                batch.iter().for_each(|batch| show(ctx, detail, Whom::All, batch));
            }
            _ => {
                let far = [above(5 * WINDOW), MAX_SLOT][usize::from(self.round % 2 == 1)];
                let batch = sign(ctx, far, head);
                batch.iter().for_each(|batch| show(ctx, detail, Whom::One(self.step), batch));
            }
        }
    }

    /// The slot `by` before the newest of the branch.
    fn back(&self, by: usize) -> (u64, BatchId) {
        let place = self.branch.len().checked_sub(by + 1);
        place.and_then(|place| self.branch.get(place)).copied().unwrap_or((0, BatchId::ZERO))
    }

    /// Signs a slot that extends the branch, and shows it.
    fn go_on(
        &mut self,
        ctx: &mut Context,
        detail: &'static str,
        seq: u64,
        base: (u64, BatchId),
        whom: Whom,
    ) -> Option<Batch> {
        let batch = sign(ctx, seq, base)?;
        self.branch.push_back((seq, batch.id()));
        if self.branch.len() > MOST {
            self.branch.pop_front();
        }
        show(ctx, detail, whom, &batch);
        Some(batch)
    }
}

impl Lie for Restart {
    fn heeds_credit(&self) -> bool {
        true
    }

    fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        if self.branch.is_empty() && ctx.own_tip.0 > 0 {
            self.branch.push_back(ctx.own_tip);
        }
        while self.rate.is_due(ctx.now) {
            self.rate.step();
            if ctx.takes(chance) && ctx.links.ready().next().is_some() {
                self.take_step(ctx);
            }
        }
        self.rate.rest(ctx.now);
    }

    fn deadline(&self, ctx: &Context) -> Option<Time> {
        self.rate.deadline(ctx)
    }
}

#[derive(Clone, Copy)]
enum Whom {
    All,
    Half(usize),
    One(usize),
}

fn sign(ctx: &mut Context, seq: u64, base: (u64, BatchId)) -> Option<Batch> {
    let (entry, network, now) = (ctx.entry(), ctx.network.id(), ctx.now.0);
    Batch::sign_after(&ctx.identity, network, seq, base, now, &[entry])
        .ok()
        .filter(|batch| batch.check_shape().is_ok())
}

/// Pushes a batch to the chosen links, as far as credit allows.
fn show(ctx: &mut Context, detail: &'static str, whom: Whom, batch: &Batch) {
    let frame = Frame::push(1, batch);
    let links: Vec<LinkId> = ctx.links.ready().collect();
    for (number, link) in links.iter().enumerate() {
        let chosen = match whom {
            Whom::All => true,
            Whom::Half(half) => number % 2 == half % 2,
            Whom::One(one) => number == one % links.len(),
        };
        if chosen && ctx.fits(*link, Class::Push, frame.len()) {
            ctx.send_raw(("restart", detail), *link, &frame, Some(batch.id()));
        }
    }
}
