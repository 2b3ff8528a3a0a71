//! The publisher: queues messages and turns them into batches.
//!
//! On an idle node a message is signed at once and alone. On a busy node, queued messages share one
//! signature, one row and one sync: a batch is signed only while fewer than two batches are
//! unacknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use super::{LinkId, Note, Ticket, Time, Token};
use crate::wire::Entry;
use crate::wire::limits::{
    ENTRY_OVERHEAD, MAX_ENTRIES, MAX_SHARED_BODY, MAX_UNACKNOWLEDGED, MAX_WAITING,
    MAX_WAITING_BYTES,
};

/// After this long a batch counts as acknowledged anyway: a stalled neighbour must not stall this
/// node.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum State {
    Writing(Token),
    /// Sent as these frames, by link and push number; acknowledged when any of them is consumed.
    Sent {
        frames: Vec<(LinkId, u64)>,
        until: Time,
    },
}

/// This node's messages on their way into batches.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    waiting: VecDeque<(Ticket, Entry)>,
    bytes: usize,
    under_way: Vec<State>,
}

fn size(entry: &Entry) -> usize {
    entry.topic.len() + entry.payload.len() + ENTRY_OVERHEAD
}

impl Publisher {
    pub(super) fn has_room(&self, entry: &Entry) -> bool {
        self.waiting.len() < MAX_WAITING
            && (self.waiting.is_empty() || self.bytes + size(entry) <= MAX_WAITING_BYTES)
    }

    pub(super) fn push(&mut self, ticket: Ticket, entry: Entry) {
        self.bytes += size(&entry);
        self.waiting.push_back((ticket, entry));
    }

    pub(super) fn occupy(&self, note: Note) {
        note("publisher.waiting", self.waiting.len(), MAX_WAITING);
        note("publisher.bytes", self.bytes, MAX_WAITING_BYTES);
        note("publisher.under_way", self.under_way.len(), MAX_UNACKNOWLEDGED);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a batch may be signed now, apart from quotas: none is being written (the next batch
    /// names the id of the last one), and fewer than two are unacknowledged.
    pub(super) fn may_sign(&self) -> bool {
        !self.waiting.is_empty()
            && self.under_way.len() < MAX_UNACKNOWLEDGED
            && !self.under_way.iter().any(|state| matches!(state, State::Writing(_)))
    }

    /// Length in bytes of the next batch's body.
    pub(super) fn next_size(&self) -> usize {
        self.fitting().1
    }

    fn fitting(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for (_, entry) in self.waiting.iter().take(MAX_ENTRIES) {
            let more = bytes + size(entry);
            if count > 0 && more > MAX_SHARED_BODY {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        (count, bytes)
    }

    /// Takes the messages of the next batch.
    pub(super) fn take(&mut self) -> (Vec<Ticket>, Vec<Entry>) {
        let (count, bytes) = self.fitting();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.waiting.drain(..count).unzip()
    }

    /// Notes that a batch was signed and is being written.
    pub(super) fn writing(&mut self, token: Token) {
        self.under_way.push(State::Writing(token));
    }

    /// Forgets a batch that could not be written.
    pub(super) fn failed(&mut self, token: Token) {
        self.under_way.retain(|state| !matches!(state, State::Writing(t) if *t == token));
    }

    /// Notes that a batch was written and pushed in these frames.
    pub(super) fn sent(&mut self, token: Token, frames: Vec<(LinkId, u64)>, now: Time) {
        if frames.is_empty() {
            return self.failed(token); // no neighbour to wait for
        }
        let writing = |state: &&mut State| matches!(state, State::Writing(t) if *t == token);
        if let Some(state) = self.under_way.iter_mut().find(writing) {
            *state = State::Sent { frames, until: now.after(PATIENCE) };
        }
    }

    /// Notes that a link has consumed that many of this node's pushes.
    pub(super) fn acknowledged(&mut self, link: LinkId, consumed: u64) {
        self.under_way.retain(|state| match state {
            State::Sent { frames, .. } => {
                !frames.iter().any(|(l, number)| *l == link && *number <= consumed)
            }
            State::Writing(_) => true,
        });
    }

    /// Stops waiting for neighbours that are too slow.
    pub(super) fn expire(&mut self, now: Time) {
        self.under_way.retain(|state| !matches!(state, State::Sent { until, .. } if *until <= now));
    }

    /// When [`Publisher::expire`] next has an effect on waiting messages.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        let waits = self.under_way.iter().filter_map(|state| match state {
            State::Sent { until, .. } => Some(*until),
            State::Writing(_) => None,
        });
        waits.min().filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry { topic: String::new(), payload: vec![0; bytes] }
    }

    #[test]
    fn idle_alone_busy_together() {
        let mut publisher = Publisher::default();
        publisher.push(Ticket(0), entry(10));
        assert!(publisher.may_sign());
        assert_eq!(publisher.take().0.len(), 1);
        publisher.writing(Token(1));
        for i in 0..600 {
            publisher.push(Ticket(i), entry(10));
        }
        assert!(!publisher.may_sign(), "the one before is being written");
        publisher.sent(Token(1), vec![(LinkId(1), 7)], Time(0));
        assert!(publisher.may_sign());
        assert_eq!(publisher.take().0.len(), 256);
        publisher.writing(Token(2));
        publisher.sent(Token(2), vec![(LinkId(1), 8)], Time(0));
        assert!(!publisher.may_sign(), "two are unacknowledged");
        publisher.acknowledged(LinkId(1), 7);
        assert!(publisher.may_sign());
        publisher.expire(Time(0).after(PATIENCE));
        assert!(publisher.under_way.is_empty());
    }

    #[test]
    fn a_long_payload_travels_alone() {
        let mut publisher = Publisher::default();
        for bytes in [10, 1 << 20, 10] {
            publisher.push(Ticket(0), entry(bytes));
        }
        let sizes: Vec<usize> = (0..3).map(|_| publisher.take().1.len()).collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert_eq!(publisher.bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut publisher = Publisher::default();
        let mut taken = 0;
        while publisher.has_room(&entry(0)) {
            publisher.push(Ticket(0), entry(0));
            taken += 1;
        }
        assert_eq!(taken, MAX_WAITING);
    }
}
