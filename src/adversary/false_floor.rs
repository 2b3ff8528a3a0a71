//! `false-floor`: claims that batches it holds are pruned, and lies about floors wherever one is
//! stated: in answers to wants and in its tips.

use std::collections::BTreeMap;

use rand::RngExt as _;

use super::context::{Context, Disposition, Sending};
use super::lie::Lie;
use super::promise::Lure;
use super::value::Chance;
use crate::crypto::PublicKey;
use crate::protocol::LinkId;
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_TIPS};
use crate::wire::{Frame, Kind, Lacked, List, Missing, Tip, WhyMissing};

const VARIANTS: [&str; 9] =
    ["huge", "exact", "above", "growing", "shrinking", "below", "next", "lacked", "busy"];

#[derive(Default)]
pub(super) struct FalseFloor {
    lure: Lure,
    /// Open wants of peers by ticket; at most as many as a link may have open.
    asked: BTreeMap<LinkId, BTreeMap<u32, (PublicKey, u64)>>,
    count: u64,
}

impl FalseFloor {
    fn lie(&self, ctx: &mut Context, variant: usize, seq: u64) -> (WhyMissing, u64, u64) {
        let more = ctx.rng.random_range(1..1000);
        let pruned = |floor, next| (WhyMissing::Pruned, floor, next);
        match variant {
            0 => pruned(u64::MAX, 0),
            1 => pruned(seq, seq.saturating_add(1)),
            2 => pruned(seq.saturating_add(more), 0),
            3 => pruned(seq.saturating_add(self.count), seq.saturating_add(self.count + 1)),
            4 => pruned(seq.saturating_add((1_000_000_u64).saturating_sub(self.count)), u64::MAX),
            5 => pruned(seq.saturating_sub(more.min(2)), seq),
            6 => (WhyMissing::Unknown, 0, seq.saturating_add(more)),
            7 => (WhyMissing::Unknown, 0, seq.saturating_add(1)),
            _ => (WhyMissing::Busy, u64::MAX, seq.saturating_add(1)),
        }
    }
}

impl Lie for FalseFloor {
    fn filters(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Push | Kind::Reply | Kind::Missing | Kind::Differ)
    }

    fn outgoing(&mut self, ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
        let link = sending.link;
        let (ticket, id) = match &sending.frame {
            Frame::Push(_) => return self.lure.instead(ctx, sending),
            Frame::Reply(reply) => (reply.ticket, Some(reply.batch.id())),
            Frame::Missing(missing) => (missing.ticket, None),
            Frame::Differ(_) => return differ(ctx, sending, chance),
            _ => return Disposition::Sent(sending),
        };
        let want = self.asked.get_mut(&link).and_then(|asked| asked.remove(&ticket));
        let Some((author, seq)) = want else { return Disposition::Sent(sending) };
        if author == ctx.identity.public() || !ctx.takes(chance) {
            return Disposition::Sent(sending);
        }
        self.count = self.count.wrapping_add(1);
        let place = usize::try_from(self.count % VARIANTS.len() as u64).unwrap_or(0);
        let (why, floor, next) = self.lie(ctx, place, seq);
        let lacked = Lacked(if VARIANTS[place] == "lacked" { [255; 32] } else { [0; 32] });
        let missing = Frame::Missing(Missing { ticket, why, floor, next, lacked });
        ctx.falsify(("false-floor", VARIANTS[place]), sending, missing, id)
    }

    fn hears(&self, kind: Kind) -> bool {
        kind == Kind::Request
    }

    fn heard(&mut self, _: &mut Context, link: LinkId, frame: &Frame, _: Option<Chance>) {
        let Frame::Request(request) = frame else { return };
        let asked = self.asked.entry(link).or_default();
        for want in request.wants.iter() {
            asked.insert(want.ticket, (want.author, want.seq));
            if asked.len() > MAX_OPEN_WANTS {
                asked.pop_first();
            }
        }
    }

    fn heeds_credit(&self) -> bool {
        true
    }

    fn tick(&mut self, ctx: &mut Context, _chance: Chance) {
        self.lure.flush(ctx, ("false-floor", "announce"));
    }

    fn down(&mut self, link: LinkId) {
        self.lure.down(link);
        self.asked.remove(&link);
    }
}

/// Sends tips that claim to hold everything or nothing, or to have pruned any part, within what
/// is allowed in a tip.
fn differ(ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
    let Frame::Differ(differ) = &sending.frame else { return Disposition::Sent(sending) };
    if differ.tips.is_empty() || !ctx.takes(chance) {
        return Disposition::Sent(sending);
    }
    let mut differ = differ.clone();
    let lie = |tip: &Tip, ctx: &mut Context| {
        let seq = tip.slot.seq;
        let (solid, floor) = match ctx.rng.random_range(0..4) {
            0 => (seq, seq),
            1 => (seq, 0),
            2 => (0, seq),
            _ => (ctx.rng.random_range(0..=seq), ctx.rng.random_range(0..=seq)),
        };
        Tip { solid, floor, ..*tip }
    };
    let tips: Vec<Tip> = differ.tips.iter().map(|tip| lie(tip, ctx)).collect();
    let Some(tips) = List::<Tip, 0, MAX_TIPS>::new(tips) else {
        return Disposition::Sent(sending);
    };
    differ.tips = tips;
    ctx.falsify(("false-floor", "tip"), sending, Frame::Differ(differ), None)
}
