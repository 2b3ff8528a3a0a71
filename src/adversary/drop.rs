//! `drop`: relays nothing, or not everything.

use super::filter::swallow;
use super::spec::Chance;
use super::stage::{Fate, Sending, Stage};

pub(super) struct Drop {
    pub p: Chance,
}

impl Drop {
    pub fn outgoing(&self, stage: &mut Stage, sending: Sending, chance: Chance) -> Fate {
        let own = stage.identity.public();
        swallow(stage, "drop", sending, |stage, author| {
            *author != own && stage.takes(chance) && stage.takes(self.p)
        })
    }
}
