//! `censor`: relays nothing of some authors.

use std::collections::BTreeSet;

use super::filter::swallow;
use super::spec::{Author, Chance};
use super::stage::{Fate, Sending, Stage};
use crate::crypto::PublicKey;
use crate::protocol::Network;

pub(super) struct Censor {
    authors: BTreeSet<PublicKey>,
}

impl Censor {
    /// Authors that the network file does not list are never seen, and left out.
    pub fn new(authors: &[Author], network: &Network) -> Self {
        Self { authors: authors.iter().filter_map(|author| author.resolve(network)).collect() }
    }

    pub fn hides(&self, author: &PublicKey) -> bool {
        self.authors.contains(author)
    }

    pub fn outgoing(&self, stage: &mut Stage, sending: Sending, chance: Chance) -> Fate {
        swallow(stage, "censor", sending, |stage, author| self.hides(author) && stage.takes(chance))
    }
}
