//! The links of the wrapped node, as the wrapper sees them.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Ledger;
use crate::crypto::PublicKey;
use crate::protocol::LinkId;
use crate::wire::{Class, Credit};

pub(super) struct Link {
    pub peer: PublicKey,
    pub hello_sent: bool,
    pub hello_got: bool,
    pub ledger: Ledger,
}

/// All links that are up. Bounded by the number of links that the driver allows: one or two per
/// member.
#[derive(Default)]
pub(super) struct Links {
    up: BTreeMap<LinkId, Link>,
    readied: u64,
    /// Links on which the node may be owed credit for swallowed frames.
    owing: BTreeSet<LinkId>,
}

impl Links {
    pub(super) fn up(&mut self, link: LinkId, peer: PublicKey) {
        let fresh = Link { peer, hello_sent: false, hello_got: false, ledger: Ledger::default() };
        self.up.insert(link, fresh);
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.up.remove(&link);
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.up.get_mut(&link)
    }

    pub(super) fn is_up(&self, link: LinkId) -> bool {
        self.up.contains_key(&link)
    }

    pub(super) fn peer(&self, link: LinkId) -> Option<PublicKey> {
        self.up.get(&link).map(|link| link.peer)
    }

    /// Records a hello that was sent or received. Returns whether it made the link ready.
    pub(super) fn hello(&mut self, link: LinkId, sent: bool) -> bool {
        let Some(link) = self.up.get_mut(&link) else { return false };
        let before = link.hello_sent && link.hello_got;
        if sent {
            link.hello_sent = true;
        } else {
            link.hello_got = true;
        }
        let now = !before && link.hello_sent && link.hello_got;
        self.readied += u64::from(now);
        now
    }

    /// Links on which both sides sent a hello.
    pub(super) fn ready(&self) -> impl Iterator<Item = LinkId> {
        self.up.iter().filter(|(_, link)| link.hello_sent && link.hello_got).map(|(id, _)| *id)
    }

    /// Number of links that became ready since the start.
    pub(super) fn readied(&self) -> u64 {
        self.readied
    }

    /// Frames or bytes of the node will never be sent.
    pub(super) fn swallowed(&mut self, link: LinkId, class: Class, frames: u64, bytes: usize) {
        if let Some(up) = self.up.get_mut(&link) {
            up.ledger.swallowed(class, frames, bytes);
            self.owing.insert(link);
        }
    }

    /// A link on which the node is owed credit, and that credit.
    pub(super) fn owed(&mut self) -> Option<(LinkId, Credit)> {
        while let Some(id) = self.owing.pop_first() {
            let credit = self.up.get_mut(&id).and_then(|link| link.ledger.owed());
            if let Some(credit) = credit {
                return Some((id, credit));
            }
        }
        None
    }
}
