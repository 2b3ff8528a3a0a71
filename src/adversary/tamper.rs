//! `tamper`: relays batches with payload, header or signature altered, in turn.
//!
//! Most of what it relays arrives after a genuine copy and is ignored as known. So it also pushes
//! the newest batch again with its header altered, under an id that no node knows yet.

use std::time::Duration;

use rand::RngExt as _;

use super::context::{Context, Disposition, Sending, relays};
use super::lie::Lie;
use super::value::Chance;
use crate::protocol::LinkId;
use crate::wire::{Batch, Blob, Frame, Kind, Push, encode_body};

const VARIANTS: [&str; 3] = ["payload", "header", "signature"];
const EVERY: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Tamper {
    next: usize,
}

impl Tamper {
    /// Alters a batch without changing its length. Returns the name of the variant.
    fn alter(&mut self, ctx: &mut Context, batch: &mut Batch) -> &'static str {
        let variant = self.next;
        self.next = (self.next + 1) % VARIANTS.len();
        match variant {
            0 if alter_payload(ctx, batch) => VARIANTS[0],
            2 => {
                let bit = ctx.rng.random_range(0..512);
                batch.signature.0[bit / 8] ^= 1 << (bit % 8);
                VARIANTS[2]
            }
            _ => {
                alter_header(ctx, batch);
                VARIANTS[1]
            }
        }
    }
}

impl Lie for Tamper {
    fn filters(&self, kind: Kind) -> bool {
        relays(kind)
    }

    fn outgoing(&mut self, ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
        let own = ctx.identity.public();
        let mut frame = sending.frame.clone();
        let batch = match &mut frame {
            Frame::Push(push) => &mut push.batch,
            Frame::Reply(reply) => &mut reply.batch,
            _ => return Disposition::Sent(sending),
        };
        if batch.header.author == own || !ctx.takes(chance) {
            return Disposition::Sent(sending);
        }
        let detail = self.alter(ctx, batch);
        let id = batch.id();
        ctx.falsify(("tamper", detail), sending, frame, Some(id))
    }

    fn every(&self) -> Option<Duration> {
        Some(EVERY)
    }

    fn act(&mut self, ctx: &mut Context, link: LinkId, _fresh: bool, chance: Chance) {
        if ctx.takes(chance) {
            push_altered(ctx, link);
        }
    }
}

fn alter_header(ctx: &mut Context, batch: &mut Batch) {
    if batch.header.seq > 1 && ctx.rng.random() {
        batch.header.prev.0[ctx.rng.random_range(0..32)] ^= 1;
    } else {
        batch.header.created_at ^= 1 << ctx.rng.random_range(0..20);
    }
}

/// Pushes the newest batch of another author with its header altered, within half of the credit.
fn push_altered(ctx: &mut Context, link: LinkId) {
    let own = ctx.identity.public();
    if !ctx.has_half(link) {
        return;
    }
    let newest = ctx.memory.kept().iter().rev().find(|kept| kept.batch.header.author != own);
    let Some(mut batch) = newest.map(|kept| Batch::clone(&kept.batch)) else { return };
    alter_header(ctx, &mut batch);
    let id = batch.id();
    let frame = Frame::Push(Box::new(Push { hops: 2, batch })).encode();
    ctx.send_raw(("tamper", VARIANTS[1]), link, &frame, Some(id));
}

/// Flips a bit of the first non-empty payload; returns `false` if all are empty.
fn alter_payload(ctx: &mut Context, batch: &mut Batch) -> bool {
    let Ok(mut entries) = batch.entries() else { return false };
    let Some(entry) = entries.iter_mut().find(|entry| !entry.payload.is_empty()) else {
        return false;
    };
    let at = ctx.rng.random_range(0..entry.payload.len());
    entry.payload[at] ^= 1 << ctx.rng.random_range(0..8);
    let Some(body) = encode_body(&entries).ok().and_then(Blob::new) else { return false };
    batch.body = body;
    true
}
