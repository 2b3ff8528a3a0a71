//! Keeps back what the node would relay: `drop` the batches of all other authors, or a share of
//! them; `censor` those of the named authors. `gap` and `restart` sign the node's own lane
//! themselves, so what the node says of that lane is kept back too.

use std::collections::BTreeSet;

use super::context::{Context, Disposition, Sending, relays};
use super::lie::Lie;
use super::value::Chance;
use crate::crypto::PublicKey;
use crate::protocol::StoredBatch;
use crate::wire::{Announce, Frame, Kind, Lacked, List, Missing, SlotId, WhyMissing};

pub(super) enum Swallow {
    /// `drop`, with this chance.
    Others(Chance),
    /// `censor`.
    These(BTreeSet<PublicKey>),
    /// The behaviour of this name.
    Own(&'static str),
}

impl Swallow {
    fn name(&self) -> &'static str {
        match self {
            Self::Others(_) => "drop",
            Self::These(_) => "censor",
            Self::Own(name) => name,
        }
    }

    fn unwanted(&self, ctx: &mut Context, author: &PublicKey, chance: Chance) -> bool {
        let own = *author == ctx.identity.public();
        match self {
            Self::Others(p) => !own && ctx.takes(chance) && ctx.takes(*p),
            Self::These(authors) => authors.contains(author) && ctx.takes(chance),
            Self::Own(_) => own && ctx.takes(chance),
        }
    }
}

impl Lie for Swallow {
    fn filters(&self, kind: Kind) -> bool {
        relays(kind)
    }

    /// Swallows pushes and announcements of unwanted authors, and answers requests for their
    /// batches as unknown: a peer that never answered would be taken for stalling.
    fn outgoing(&mut self, ctx: &mut Context, mut sending: Sending, chance: Chance) -> Disposition {
        let (kind, link) = (self.name(), sending.link);
        match &sending.frame {
            Frame::Push(push) if self.unwanted(ctx, &push.batch.header.author, chance) => {
                ctx.record((kind, "push"), link, None, Some(push.batch.id()), 1);
                return Disposition::Swallowed;
            }
            Frame::Reply(reply) if self.unwanted(ctx, &reply.batch.header.author, chance) => {
                let ticket = reply.ticket;
                ctx.record((kind, "reply"), link, None, Some(reply.batch.id()), 1);
                sending.rewrite(Frame::Missing(Missing {
                    ticket,
                    why: WhyMissing::Unknown,
                    floor: 0,
                    next: 0,
                    lacked: Lacked::default(),
                }));
            }
            Frame::Announce(announce) => {
                let (gone, left): (Vec<SlotId>, Vec<SlotId>) = announce
                    .items
                    .iter()
                    .partition(|item| self.unwanted(ctx, &item.author, chance));
                for item in &gone {
                    ctx.record((kind, "announce"), link, None, Some(item.id), 1);
                }
                if !gone.is_empty() {
                    let Some(items) = List::new(left) else { return Disposition::Swallowed };
                    sending.rewrite(Frame::Announce(Announce { items }));
                }
            }
            _ => {}
        }
        Disposition::Sent(sending)
    }

    fn on_batch(&self, ctx: &mut Context, stored: &StoredBatch) {
        let all = match self {
            Self::Others(p) => *p == Chance::ALWAYS,
            Self::These(authors) => authors.contains(&stored.batch.header.author),
            Self::Own(_) => false,
        };
        if all {
            ctx.record_kept_back(self.name(), stored);
        }
    }
}
