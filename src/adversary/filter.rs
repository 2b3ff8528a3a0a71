//! Swallows what a node relays of some authors: what `drop` and `censor` have in common.

use super::stage::{Fate, Sending, Stage};
use crate::crypto::PublicKey;
use crate::wire::{Announce, Frame, Lacked, List, Missing, SlotId, WhyMissing};

/// Swallows pushes and announcements of batches that `unwanted` says it of, and answers requests
/// for them as if they were unknown: a peer that never answered would be taken for a staller.
pub(super) fn swallow(
    stage: &mut Stage,
    kind: &'static str,
    mut sending: Sending,
    mut unwanted: impl FnMut(&mut Stage, &PublicKey) -> bool,
) -> Fate {
    match &sending.frame {
        Frame::Push(push) => {
            if !unwanted(stage, &push.batch.header.author) {
                return Fate::Sent(sending);
            }
            let id = push.batch.id();
            stage.record((kind, "push"), sending.link, None, Some(id), 1);
            Fate::Swallowed
        }
        Frame::Reply(reply) => {
            if !unwanted(stage, &reply.batch.header.author) {
                return Fate::Sent(sending);
            }
            let (ticket, id) = (reply.ticket, reply.batch.id());
            sending.rewrite(Frame::Missing(Missing {
                ticket,
                why: WhyMissing::Unknown,
                floor: 0,
                next: 0,
                lacked: Lacked::default(),
            }));
            stage.record((kind, "reply"), sending.link, None, Some(id), 1);
            Fate::Sent(sending)
        }
        Frame::Announce(announce) => {
            let (gone, left): (Vec<SlotId>, Vec<SlotId>) =
                announce.items.iter().partition(|item| unwanted(stage, &item.author));
            for item in &gone {
                stage.record((kind, "announce"), sending.link, None, Some(item.id), 1);
            }
            if gone.is_empty() {
                return Fate::Sent(sending);
            }
            let Some(items) = List::new(left) else { return Fate::Swallowed };
            sending.rewrite(Frame::Announce(Announce { items }));
            Fate::Sent(sending)
        }
        _ => Fate::Sent(sending),
    }
}
