//! Chunks that wait to be written to a link. Bounded in bytes: a full outbox drops the least
//! important chunks.
//!
//! Frames are written in the order in which they were queued. The windows of all credited classes
//! together are smaller than [`OUTBOX_BYTES`], so an honest node can only drop answers: a full
//! outbox never costs credit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::queue::lock;
use crate::wire::Class;
use crate::wire::limits::{OUTBOX_BYTES, OUTBOX_OVERHEAD};

/// Frames are combined into one write of up to this many bytes.
const GATHER: usize = 16 << 10;
/// Index of the queue of raw bytes, which are the least important; frames are queued by class.
const RAW: usize = 7;

/// One unit to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// A frame; its length prefix is added when it is written.
    Frame(Class, Arc<[u8]>),
    /// Bytes that a malicious node writes as they are.
    Raw(Arc<[u8]>),
}

impl Chunk {
    fn queue(&self) -> usize {
        match self {
            Self::Frame(class, _) => *class as usize,
            Self::Raw(_) => RAW,
        }
    }

    fn bytes(&self) -> &Arc<[u8]> {
        match self {
            Self::Frame(_, bytes) | Self::Raw(bytes) => bytes,
        }
    }

    fn cost(&self) -> usize {
        self.bytes().len().saturating_add(OUTBOX_OVERHEAD)
    }
}

/// What the writer does next.
pub(super) enum Next {
    /// Write these chunks and flush.
    Write(Vec<Chunk>),
    /// Wait for [`Outbox::work`].
    Wait,
    /// Stop: everything is written, and the outbox is closed.
    End,
}

#[derive(Default)]
struct State {
    /// One queue per class; the number is the order of arrival over all queues.
    queues: [VecDeque<(u64, Chunk)>; RAW + 1],
    next: u64,
    bytes: usize,
    closing: bool,
    pace: Option<u64>,
}

/// The queue between the driver and one link's writer.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    work: Notify,
}

impl State {
    fn front(&self) -> Option<usize> {
        let fronts = self.queues.iter().enumerate().filter_map(|(i, q)| Some((q.front()?.0, i)));
        fronts.min().map(|(_, queue)| queue)
    }

    fn pop(&mut self, limit: usize) -> Option<Chunk> {
        let queue = self.front()?;
        if self.queues[queue].front()?.1.bytes().len() > limit {
            return None;
        }
        let (_, chunk) = self.queues[queue].pop_front()?;
        self.bytes -= chunk.cost();
        Some(chunk)
    }
}

impl Outbox {
    /// Queues a chunk; returns the chunks that were dropped for it, which may be the chunk itself.
    pub(super) fn push(&self, chunk: Chunk) -> Vec<Chunk> {
        let mut dropped = vec![];
        {
            let mut state = lock(&self.state);
            if state.closing {
                return dropped;
            }
            while state.bytes.saturating_add(chunk.cost()) > OUTBOX_BYTES {
                // Drop the newest chunk of the least important class: the peer may have acted on
                // older ones.
                let least = state.queues.iter().rposition(|queue| !queue.is_empty()).unwrap_or(0);
                if least <= chunk.queue() {
                    dropped.push(chunk);
                    return dropped;
                }
                if let Some((_, victim)) = state.queues[least].pop_back() {
                    state.bytes -= victim.cost();
                    dropped.push(victim);
                }
            }
            let (queue, next) = (chunk.queue(), state.next);
            state.next += 1;
            state.bytes += chunk.cost();
            state.queues[queue].push_back((next, chunk));
        }
        self.work.notify_one();
        dropped
    }

    /// Takes what to write next: several small frames together, or a large one alone.
    pub(super) fn next(&self) -> Next {
        let mut state = lock(&self.state);
        let mut chunks = vec![];
        let mut gathered = 0;
        let mut limit = usize::MAX;
        while let Some(chunk) = state.pop(limit) {
            gathered += chunk.bytes().len() + 4;
            chunks.push(chunk);
            limit = GATHER.saturating_sub(gathered);
            if limit == 0 {
                break;
            }
        }
        match (chunks.is_empty(), state.closing) {
            (false, _) => Next::Write(chunks),
            (true, true) => Next::End,
            (true, false) => Next::Wait,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).bytes == 0
    }

    /// Waits until something is queued or the outbox is closed.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// Accepts nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        lock(&self.state).closing = true;
        self.work.notify_one();
    }

    /// Limits writing to this many bytes per second, or removes the limit.
    pub(super) fn set_pace(&self, bytes_per_s: Option<u64>) {
        lock(&self.state).pace = bytes_per_s;
    }

    /// The limit on writing in bytes per second, if any.
    pub(super) fn pace(&self) -> Option<u64> {
        lock(&self.state).pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::PUSH_BYTES;

    fn frame(class: Class, length: usize) -> Chunk {
        Chunk::Frame(class, vec![class as u8; length].into())
    }

    fn written(outbox: &Outbox) -> Vec<Chunk> {
        let mut all = vec![];
        while let Next::Write(mut chunks) = outbox.next() {
            all.append(&mut chunks);
        }
        all
    }

    #[test]
    fn frames_leave_in_order_small_ones_together() {
        let outbox = Outbox::default();
        let frames = [
            frame(Class::Reply, 10),
            frame(Class::Link, 20),
            frame(Class::Push, GATHER),
            frame(Class::Link, 1),
        ];
        for one in &frames {
            assert!(outbox.push(one.clone()).is_empty());
        }
        let Next::Write(first) = outbox.next() else { panic!("nothing to write") };
        assert_eq!(first, frames[..2]);
        assert_eq!(written(&outbox), frames[2..]);
        assert!(outbox.is_empty() && matches!(outbox.next(), Next::Wait));
        outbox.close();
        assert!(matches!(outbox.next(), Next::End));
    }

    #[test]
    fn a_full_outbox_drops_the_newest_of_what_matters_least() {
        let outbox = Outbox::default();
        let half = OUTBOX_BYTES / 2 - OUTBOX_OVERHEAD;
        assert!(outbox.push(frame(Class::Reply, half)).is_empty());
        assert!(outbox.push(frame(Class::Announce, half)).is_empty());
        // As important as the least important, or less: it is itself what is dropped.
        assert_eq!(outbox.push(frame(Class::Reply, 1)), [frame(Class::Reply, 1)]);
        assert_eq!(outbox.push(Chunk::Raw([1].into())), [Chunk::Raw([1].into())]);
        // More important: the reply goes.
        assert_eq!(outbox.push(frame(Class::Push, half)), [frame(Class::Reply, half)]);
        assert_eq!(outbox.push(frame(Class::Link, 1)), [frame(Class::Push, half)]);
        assert_eq!(written(&outbox), [frame(Class::Announce, half), frame(Class::Link, 1)]);
        assert!(outbox.is_empty());
        // Longer than all the room there is.
        assert_eq!(outbox.push(frame(Class::Link, OUTBOX_BYTES)).len(), 1);
    }

    #[test]
    fn what_credit_allows_fits_beside_the_answers() {
        let windows = Class::CREDITED.into_iter().filter_map(Class::window);
        let (frames, bytes) =
            windows.fold((0, 0), |(f, b), (frames, bytes)| (f + frames, b + bytes));
        assert!(bytes >= PUSH_BYTES);
        assert!(bytes + frames * OUTBOX_OVERHEAD as u64 + (64 << 10) < OUTBOX_BYTES as u64);
    }
}
