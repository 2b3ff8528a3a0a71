//! `delay`: relays frames late.

use std::collections::VecDeque;
use std::time::Duration;

use super::context::{Context, Disposition, Effect, Sending, relays};
use super::lie::Lie;
use super::value::Chance;
use crate::protocol::{LinkId, StoredBatch, Time};
use crate::wire::{BatchId, Frame, Kind};

/// Most frames held.
const MOST: usize = 4096;
/// Most bytes held.
const MOST_BYTES: usize = 4 << 20;

pub(super) struct Delay {
    by: Duration,
    held: VecDeque<(Time, Sending)>,
    bytes: usize,
}

impl Delay {
    pub(super) fn new(by: Duration) -> Self {
        Self { by, held: VecDeque::new(), bytes: 0 }
    }

    fn take(&mut self) -> Option<(Time, Sending)> {
        let (due, sending) = self.held.pop_front()?;
        self.bytes -= sending.bytes.len();
        Some((due, sending))
    }
}

impl Lie for Delay {
    fn filters(&self, kind: Kind) -> bool {
        relays(kind)
    }

    fn outgoing(&mut self, ctx: &mut Context, sending: Sending, chance: Chance) -> Disposition {
        let own = ctx.identity.public();
        let (detail, ids): (_, Vec<BatchId>) = match &sending.frame {
            Frame::Push(push) if push.batch.header.author != own => ("push", vec![push.batch.id()]),
            Frame::Reply(reply) if reply.batch.header.author != own => {
                ("reply", vec![reply.batch.id()])
            }
            Frame::Announce(announce) => {
                let foreign = announce.items.iter().filter(|item| item.author != own);
                ("announce", foreign.map(|item| item.id).collect())
            }
            _ => return Disposition::Sent(sending),
        };
        if ids.is_empty() || !ctx.takes(chance) {
            return Disposition::Sent(sending);
        }
        for id in ids {
            ctx.record(("delay", detail), sending.link, Some(&sending.bytes), Some(id), 1);
        }
        self.bytes += sending.bytes.len();
        self.held.push_back((ctx.now.after(self.by), sending));
        while self.held.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, lost)) = self.take() else { break };
            ctx.swallow(lost.link, lost.frame.kind().class(), lost.bytes.len());
        }
        Disposition::Held
    }

    fn on_batch(&self, ctx: &mut Context, stored: &StoredBatch) {
        ctx.record_kept_back("delay", stored);
    }

    /// What is held is sent when it is due, come what may.
    fn stops_when_inactive(&self) -> bool {
        false
    }

    /// Sends the frames that were held long enough, on links that are still up.
    fn tick(&mut self, ctx: &mut Context, _chance: Chance) {
        while self.held.front().is_some_and(|(due, _)| *due <= ctx.now) {
            let Some((_, sending)) = self.take() else { break };
            if ctx.links.is_up(sending.link) {
                ctx.acts.push_back(Effect::Node(sending.into_output()));
            }
        }
    }

    fn down(&mut self, link: LinkId) {
        self.held.retain(|(_, sending)| sending.link != link);
        self.bytes = self.held.iter().map(|(_, sending)| sending.bytes.len()).sum();
    }

    fn deadline(&self, _ctx: &Context) -> Option<Time> {
        self.held.front().map(|(due, _)| *due)
    }
}
