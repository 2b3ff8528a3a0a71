//! Relaying: passes on what is news, as pushes to the chosen links and as announcements to the
//! others.

use std::sync::Arc;

use super::state::Node;
use crate::protocol::{LinkId, StoredBatch};
use crate::wire::{Announce, Class, Frame, Kind, List, SlotId};

/// How a batch is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// News: pushed to the chosen links, announced to the others.
    Push,
    /// Only announced: it was found missing here, and others may lack it or have given it up.
    Announce,
}

impl Node {
    /// Pushes a batch to the chosen links with credit, and announces it to all other links except
    /// `holders`. Returns link and number of each push. Links that get the same frame share its
    /// bytes.
    pub(super) fn relay_batch(
        &mut self,
        stored: &StoredBatch,
        holders: &[LinkId],
        spread: Spread,
    ) -> Vec<(LinkId, u64)> {
        let header = &stored.batch.header;
        let item = SlotId { author: header.author, seq: header.seq, id: stored.id };
        let frame: Arc<[u8]> = Frame::push(stored.hops.saturating_add(1), &stored.batch).into();
        let links: Vec<(LinkId, bool)> = self
            .links
            .ready()
            .filter(|(id, _)| !holders.contains(id))
            .map(|(id, link)| {
                let push = spread == Spread::Push && link.chosen();
                (id, push && link.may_send(Class::Push, frame.len()))
            })
            .collect();
        let (mut pushed, mut name) = (Vec::new(), None);
        for (link, push) in links {
            if push {
                let number = self.send_bytes(link, Kind::Push, frame.clone());
                pushed.extend(number.map(|number| (link, number)));
            } else if self.may_announce(link) && !self.relay.is_announcing(link) {
                let name: &Arc<[u8]> = name.get_or_insert_with(|| {
                    let items =
                        List::new(vec![item]).map(|items| Frame::Announce(Announce { items }));
                    items.map_or_else(Vec::new, |frame| frame.encode()).into()
                });
                self.send_bytes(link, Kind::Announce, name.clone());
            } else if !self.relay.announce(link, item) {
                *self.counters.dropped.entry(Class::Announce.name()).or_default() += 1;
            }
        }
        pushed
    }

    /// Whether a link has credit for an announcement of full length.
    fn may_announce(&self, link: LinkId) -> bool {
        let longest = Kind::Announce.max_len();
        self.links.get(link).is_some_and(|held| held.may_send(Class::Announce, longest))
    }

    /// Sends the announcements that waited for credit.
    pub(super) fn flush_announcements(&mut self) {
        for link in self.relay.announcing() {
            while self.may_announce(link) {
                let Some(items) = List::new(self.relay.take_announcement(link)) else { break };
                self.send(link, &Frame::Announce(Announce { items }));
            }
        }
    }
}
