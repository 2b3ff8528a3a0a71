//! `false-differ`: lies in comparisons, both in answers and in questions. None of the lies is
//! provable: the tips it shows are signed, and the ranges lie within those asked about.

use std::collections::BTreeMap;

use rand::RngExt as _;

use super::context::{Context, Disposition, Sending};
use super::lie::Lie;
use super::value::Chance;
use crate::crypto::PublicKey;
use crate::protocol::LinkId;
use crate::wire::limits::{MAX_ABOVE, MAX_RANGES, MAX_TIPS, RANGE_FANOUT, REPAIR_FRAMES};
use crate::wire::{Differ, Frame, Kind, List, RangeHash, SlotId, Tip};

const VARIANTS: [&str; 5] = ["agree", "ranges", "stale", "above", "many"];

#[derive(Default)]
pub(super) struct FalseDiffer {
    /// Comparisons whose answers peers wait for, by ticket; no more than credit allows.
    asked: BTreeMap<LinkId, BTreeMap<u32, Vec<RangeHash>>>,
    count: usize,
}

impl Lie for FalseDiffer {
    fn filters(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Differ | Kind::Compare)
    }

    fn outgoing(&mut self, ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
        let (link, ticket) = match &sending.frame {
            Frame::Differ(differ) => (sending.link, differ.ticket),
            Frame::Compare(_) => return question(ctx, sending, chance),
            _ => return Disposition::Sent(sending),
        };
        let asked = self.asked.get_mut(&link).and_then(|asked| asked.remove(&ticket));
        let Some(asked) = asked.filter(|_| ctx.takes(chance)) else {
            return Disposition::Sent(sending);
        };
        self.count = self.count.wrapping_add(1);
        let variant = self.count % VARIANTS.len();
        let Some(differ) = answer(ctx, variant, ticket, &asked) else {
            return Disposition::Sent(sending);
        };
        ctx.falsify(("false-differ", VARIANTS[variant]), sending, Frame::Differ(differ), None)
    }

    fn hears(&self, kind: Kind) -> bool {
        kind == Kind::Compare
    }

    fn heard(&mut self, _: &mut Context, link: LinkId, frame: &Frame, _: Option<Chance>) {
        let Frame::Compare(compare) = frame else { return };
        let asked = self.asked.entry(link).or_default();
        asked.insert(compare.ticket, compare.ranges.to_vec());
        while asked.len() as u64 > REPAIR_FRAMES {
            asked.pop_first();
        }
    }

    fn down(&mut self, link: LinkId) {
        self.asked.remove(&link);
    }
}

/// Asks about invented hashes, so that the answer names everything in the range.
fn question(ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
    let Frame::Compare(compare) = &sending.frame else { return Disposition::Sent(sending) };
    if !ctx.takes(chance) || ctx.rng.random_range(0..2) == 0 {
        return Disposition::Sent(sending);
    }
    let mut compare = compare.clone();
    let invent = |range: &RangeHash| RangeHash { hash: ctx.invented_id(), ..*range };
    let Some(ranges) = List::new(compare.ranges.iter().map(invent).collect()) else {
        return Disposition::Sent(sending);
    };
    compare.ranges = ranges;
    ctx.falsify(("false-differ", "question"), sending, Frame::Compare(compare), None)
}

fn answer(ctx: &mut Context, variant: usize, ticket: u32, asked: &[RangeHash]) -> Option<Differ> {
    let authors = authors(ctx, asked);
    let (mut ranges, mut tips, mut above) = (Vec::new(), Vec::new(), Vec::new());
    match variant {
        0 => {}
        1 => ranges = invented_ranges(ctx, asked),
        2 => tips = old_tips(ctx, &authors, false),
        3 => above = invented_slots(ctx, &authors),
        _ => {
            tips = old_tips(ctx, &authors, true);
            above = invented_slots(ctx, &authors);
        }
    }
    tips.truncate(MAX_TIPS);
    above.truncate(MAX_ABOVE);
    Some(Differ {
        ticket,
        ranges: List::new(ranges)?,
        tips: List::new(tips)?,
        above: List::new(above)?,
    })
}

/// The authors of the ranges asked about, in order; no more than an answer can name.
fn authors(ctx: &Context, asked: &[RangeHash]) -> Vec<PublicKey> {
    let keys = ctx.network.keys();
    let of = |range: &RangeHash| {
        let (start, end) = (range.start as usize, (range.end as usize).min(keys.len()));
        keys.get(start..end).unwrap_or_default().iter().map(|key| key.key).take(MAX_TIPS)
    };
    asked.iter().flat_map(of).take(MAX_TIPS).collect()
}

/// The blocks below the ranges asked about, with hashes that never agree.
fn invented_ranges(ctx: &mut Context, asked: &[RangeHash]) -> Vec<RangeHash> {
    let mut ranges = Vec::new();
    for range in asked {
        let width = range.end.saturating_sub(range.start);
        let mut step = 1_u32;
        while step.saturating_mul(RANGE_FANOUT) < width {
            step = step.saturating_mul(RANGE_FANOUT);
        }
        let starts = (range.start..range.end).step_by(step as usize).filter(|_| width > 1);
        for start in starts.take(MAX_RANGES.saturating_sub(ranges.len())) {
            let end = start.saturating_add(step).min(range.end);
            ranges.push(RangeHash { start, end, hash: ctx.invented_id() });
        }
    }
    ranges
}

/// Tips of these authors that they really signed: for each the oldest one remembered, or the
/// newest.
fn old_tips(ctx: &mut Context, authors: &[PublicKey], newest: bool) -> Vec<Tip> {
    let mut tips = Vec::new();
    for author in authors {
        let mut of = ctx.memory.kept().iter().filter(|k| k.batch.header.author == *author);
        let kept = if newest { of.next_back() } else { of.next() };
        let Some(slot) = kept.map(|kept| kept.batch.signed_slot()) else { continue };
        let (solid, floor) = if newest { (slot.seq, 0) } else { (0, 0) };
        tips.push(Tip { slot, solid, floor, holes: ctx.invented_id() });
    }
    tips
}

/// Slots above the authors' tips, with invented ids.
fn invented_slots(ctx: &mut Context, authors: &[PublicKey]) -> Vec<SlotId> {
    let mut slots = Vec::new();
    let each = (MAX_ABOVE / authors.len().max(1)).clamp(1, 8) as u64;
    for author in authors {
        let tip = ctx.memory.tip(author).seq;
        for ahead in 1..=each {
            let far = ctx.rng.random_range(0..4) == 0;
            let seq = tip.saturating_add(ahead + if far { 900 } else { 0 });
            slots.push(SlotId { author: *author, seq, id: ctx.invented_id() });
        }
    }
    slots.sort_unstable();
    slots.dedup_by_key(|slot| (slot.author, slot.seq));
    slots
}
