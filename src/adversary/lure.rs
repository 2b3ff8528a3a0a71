//! Tells links of batches by name in place of sending them, so that they ask: what `promise` and
//! `false-floor` have in common. Within the links' credit: to be refused is not the point.

use std::collections::{BTreeMap, VecDeque};

use super::context::{Context, Disposition, Sending};
use crate::protocol::LinkId;
use crate::wire::limits::MAX_ANNOUNCED;
use crate::wire::{Announce, Class, Frame, Kind, List, SlotId};

/// Ids that wait for credit on a link; the oldest go first.
const MOST: usize = 512;

#[derive(Default)]
pub(super) struct Lure {
    waiting: BTreeMap<LinkId, VecDeque<SlotId>>,
}

impl Lure {
    /// Names a batch to a link with the next [`Lure::flush`].
    pub fn name(&mut self, link: LinkId, item: SlotId) {
        let waiting = self.waiting.entry(link).or_default();
        if waiting.contains(&item) {
            return;
        }
        waiting.push_back(item);
        if waiting.len() > MOST {
            waiting.pop_front();
        }
    }

    /// Names a foreign batch in place of a push of it, which is swallowed.
    pub fn instead(&mut self, ctx: &Context, sending: Sending) -> Disposition {
        let Frame::Push(push) = &sending.frame else { return Disposition::Sent(sending) };
        let (author, seq) = (push.batch.header.author, push.batch.header.seq);
        if author == ctx.identity.public() {
            return Disposition::Sent(sending);
        }
        self.name(sending.link, SlotId { author, seq, id: push.batch.id() });
        Disposition::Swallowed
    }

    /// Sends what waits, as far as credit goes.
    pub fn flush(&mut self, ctx: &mut Context, what: (&'static str, &'static str)) {
        for (link, waiting) in &mut self.waiting {
            while !waiting.is_empty() && ctx.fits(*link, Class::Announce, Kind::Announce.max_len())
            {
                let most = waiting.len().min(MAX_ANNOUNCED);
                let Some(items) = List::new(waiting.drain(..most).collect()) else { break };
                let first = items.first().map(|item| item.id);
                let frame = Frame::Announce(Announce { items }).encode();
                ctx.send_raw(what, *link, &frame, first);
            }
        }
    }

    pub fn down(&mut self, link: LinkId) {
        self.waiting.remove(&link);
    }
}
