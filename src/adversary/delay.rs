//! `delay`: relays late.

use std::collections::VecDeque;
use std::time::Duration;

use super::act::Act;
use super::spec::Chance;
use super::stage::{Fate, Sending, Stage};
use crate::protocol::{LinkId, Time};
use crate::wire::{BatchId, Frame};

/// Most frames that are held.
const MOST: usize = 4096;
/// Most bytes that are held.
const MOST_BYTES: usize = 4 << 20;

pub(super) struct Delay {
    by: Duration,
    held: VecDeque<(Time, Sending)>,
    bytes: usize,
}

impl Delay {
    pub fn new(by: Duration) -> Self {
        Self { by, held: VecDeque::new(), bytes: 0 }
    }

    pub fn outgoing(&mut self, stage: &mut Stage, sending: Sending, chance: Chance) -> Fate {
        let own = stage.identity.public();
        let (detail, ids): (_, Vec<BatchId>) = match &sending.frame {
            Frame::Push(push) if push.batch.header.author != own => ("push", vec![push.batch.id()]),
            Frame::Reply(reply) if reply.batch.header.author != own => {
                ("reply", vec![reply.batch.id()])
            }
            Frame::Announce(announce) => {
                let foreign = announce.items.iter().filter(|item| item.author != own);
                ("announce", foreign.map(|item| item.id).collect())
            }
            _ => return Fate::Sent(sending),
        };
        if ids.is_empty() || !stage.takes(chance) {
            return Fate::Sent(sending);
        }
        for id in ids {
            stage.record(("delay", detail), sending.link, Some(&sending.bytes), Some(id), 1);
        }
        self.bytes += sending.bytes.len();
        self.held.push_back((stage.now.after(self.by), sending));
        while self.held.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, lost)) = self.take() else { break };
            stage.swallow(lost.link, lost.frame.kind().class(), lost.bytes.len());
        }
        Fate::Held
    }

    fn take(&mut self) -> Option<(Time, Sending)> {
        let (due, sending) = self.held.pop_front()?;
        self.bytes -= sending.bytes.len();
        Some((due, sending))
    }

    /// Sends what was held long enough, on links that are still there.
    pub fn tick(&mut self, stage: &mut Stage) {
        while self.held.front().is_some_and(|(due, _)| *due <= stage.now) {
            let Some((_, sending)) = self.take() else { break };
            if stage.links.is_up(sending.link) {
                stage.acts.push_back(Act::Node(sending.into_output()));
            }
        }
    }

    pub fn down(&mut self, link: LinkId) {
        self.held.retain(|(_, sending)| sending.link != link);
        self.bytes = self.held.iter().map(|(_, sending)| sending.bytes.len()).sum();
    }

    pub fn deadline(&self) -> Option<Time> {
        self.held.front().map(|(due, _)| *due)
    }
}
