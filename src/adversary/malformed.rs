//! `malformed`: sends complete frames that no honest encoder produces.

use std::time::Duration;

use rand::RngExt as _;

use super::context::Context;
use super::lie::Lie;
use super::pacer::Cycle;
use super::value::Chance;
use crate::crypto::Digest;
use crate::protocol::LinkId;
use crate::wire::limits::VERSION;
use crate::wire::{Compare, Frame, List, Push, RangeHash};

const VARIANTS: [&str; 5] =
    ["truncated", "overlong", "non_canonical", "wrong_version", "bit_flipped"];

pub(super) struct Malformed(Cycle);

impl Malformed {
    pub(super) fn new() -> Self {
        Self(Cycle::new(VARIANTS.len(), true))
    }
}

impl Lie for Malformed {
    fn every(&self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }

    fn act(&mut self, ctx: &mut Context, link: LinkId, fresh: bool, chance: Chance) {
        let Some(peer) = ctx.links.peer(link) else { return };
        // One more than a round: the first one ends the link, and the next link starts with
        // another.
        for _ in 0..if fresh { VARIANTS.len() + 1 } else { 1 } {
            if !ctx.takes(chance) {
                continue;
            }
            let variant = self.0.next(peer);
            if let Some(frame) = malform(ctx, variant) {
                ctx.send_raw(("malformed", VARIANTS[variant]), link, &frame, None);
            }
        }
    }
}

/// A frame that is wrong in one way. It is complete and its length prefix fits, as an incomplete
/// frame looks like a lost link and proves nothing.
fn malform(ctx: &mut Context, variant: usize) -> Option<Vec<u8>> {
    let own = ctx.identity.clone();
    let batch = ctx.next_batch(own.public(), &own)?;
    let mut frame = Frame::Push(Box::new(Push { hops: 1, batch })).encode();
    match variant {
        0 => frame.truncate(ctx.rng.random_range(2..frame.len())),
        1 => {
            let more = ctx.rng.random_range(1..64);
            frame.extend(ctx.random(more));
        }
        2 => frame = unordered(ctx)?,
        3 => {
            let version: u8 = ctx.rng.random();
            frame[0] = if version == VERSION { 0 } else { version };
        }
        _ => {
            // After version, kind and hops, where every bit matters.
            let bit = ctx.rng.random_range(3 * 8..frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
    Some(frame)
}

/// A comparison whose ranges are in the wrong order.
fn unordered(ctx: &mut Context) -> Option<Vec<u8>> {
    let range = |start| RangeHash { start, end: start + 1, hash: Digest::ZERO };
    let start = ctx.rng.random_range(0..1 << 16);
    let ranges = List::new(vec![range(start + 1), range(start)])?;
    Some(Frame::Compare(Compare { ticket: 1, ranges }).encode())
}
