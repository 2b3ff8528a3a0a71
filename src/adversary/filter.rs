//! Swallows what a node relays of some authors: shared by `drop`, `censor`, `gap` and `restart`.

use super::context::{Context, Disposition, Sending};
use crate::crypto::PublicKey;
use crate::wire::{Announce, Frame, Lacked, List, Missing, SlotId, WhyMissing};

/// Swallows pushes and announcements of authors for which `unwanted` returns `true`, and answers
/// requests for their batches as unknown: a peer that never answered would be taken for stalling.
pub(super) fn swallow(
    ctx: &mut Context,
    kind: &'static str,
    mut sending: Sending,
    mut unwanted: impl FnMut(&mut Context, &PublicKey) -> bool,
) -> Disposition {
    match &sending.frame {
        Frame::Push(push) => {
            if !unwanted(ctx, &push.batch.header.author) {
                return Disposition::Sent(sending);
            }
            let id = push.batch.id();
            ctx.record((kind, "push"), sending.link, None, Some(id), 1);
            Disposition::Swallowed
        }
        Frame::Reply(reply) => {
            if !unwanted(ctx, &reply.batch.header.author) {
                return Disposition::Sent(sending);
            }
            let (ticket, id) = (reply.ticket, reply.batch.id());
            sending.rewrite(Frame::Missing(Missing {
                ticket,
                why: WhyMissing::Unknown,
                floor: 0,
                next: 0,
                lacked: Lacked::default(),
            }));
            ctx.record((kind, "reply"), sending.link, None, Some(id), 1);
            Disposition::Sent(sending)
        }
        Frame::Announce(announce) => {
            let (gone, left): (Vec<SlotId>, Vec<SlotId>) =
                announce.items.iter().partition(|item| unwanted(ctx, &item.author));
            for item in &gone {
                ctx.record((kind, "announce"), sending.link, None, Some(item.id), 1);
            }
            if gone.is_empty() {
                return Disposition::Sent(sending);
            }
            let Some(items) = List::new(left) else { return Disposition::Swallowed };
            sending.rewrite(Frame::Announce(Announce { items }));
            Disposition::Sent(sending)
        }
        _ => Disposition::Sent(sending),
    }
}
