//! `censor`: relays nothing of the authors named.

use std::collections::BTreeSet;

use super::context::{Context, Disposition, Sending};
use super::filter::swallow;
use super::spec::{Author, Chance};
use crate::crypto::PublicKey;
use crate::protocol::Network;

pub(super) struct Censor {
    authors: BTreeSet<PublicKey>,
}

impl Censor {
    /// Authors that the network file does not list are left out, as none of their batches is ever
    /// seen.
    pub(super) fn new(authors: &[Author], network: &Network) -> Self {
        Self { authors: authors.iter().filter_map(|author| author.resolve(network)).collect() }
    }

    pub(super) fn hides(&self, author: &PublicKey) -> bool {
        self.authors.contains(author)
    }

    pub(super) fn outgoing(
        &self,
        ctx: &mut Context,
        sending: Sending,
        chance: Chance,
    ) -> Disposition {
        swallow(ctx, "censor", sending, |ctx, author| self.hides(author) && ctx.takes(chance))
    }
}
