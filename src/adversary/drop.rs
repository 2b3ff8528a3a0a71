//! `drop`: relays nothing of other authors, or only a part.

use super::context::{Context, Disposition, Sending};
use super::filter::swallow;
use super::spec::Chance;

pub(super) struct Drop {
    pub p: Chance,
}

impl Drop {
    pub(super) fn outgoing(
        &self,
        ctx: &mut Context,
        sending: Sending,
        chance: Chance,
    ) -> Disposition {
        let own = ctx.identity.public();
        swallow(ctx, "drop", sending, |ctx, author| {
            *author != own && ctx.takes(chance) && ctx.takes(self.p)
        })
    }
}
