//! Announces batches instead of sending them, so that peers ask for them: shared by `promise` and
//! `false-floor`. Stays within the links' credit, as exceeding it is not the point.

use std::collections::{BTreeMap, VecDeque};

use super::context::{Context, Disposition, Sending};
use crate::protocol::LinkId;
use crate::wire::limits::MAX_ANNOUNCED;
use crate::wire::{Announce, Class, Frame, Kind, List, SlotId};

/// Most ids that wait for credit on a link; the oldest are dropped first.
const MOST: usize = 512;

#[derive(Default)]
pub(super) struct Lure {
    waiting: BTreeMap<LinkId, VecDeque<SlotId>>,
}

impl Lure {
    /// Queues a batch to be announced on a link by the next [`Lure::flush`].
    pub(super) fn name(&mut self, link: LinkId, item: SlotId) {
        let waiting = self.waiting.entry(link).or_default();
        if waiting.contains(&item) {
            return;
        }
        waiting.push_back(item);
        if waiting.len() > MOST {
            waiting.pop_front();
        }
    }

    /// Swallows the push of a foreign batch and queues an announcement of it instead.
    pub(super) fn instead(&mut self, ctx: &Context, sending: Sending) -> Disposition {
        let Frame::Push(push) = &sending.frame else { return Disposition::Sent(sending) };
        let (author, seq) = (push.batch.header.author, push.batch.header.seq);
        if author == ctx.identity.public() {
            return Disposition::Sent(sending);
        }
        self.name(sending.link, SlotId { author, seq, id: push.batch.id() });
        Disposition::Swallowed
    }

    /// Sends the queued announcements, as far as credit allows.
    pub(super) fn flush(&mut self, ctx: &mut Context, what: (&'static str, &'static str)) {
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

    pub(super) fn down(&mut self, link: LinkId) {
        self.waiting.remove(&link);
    }
}
