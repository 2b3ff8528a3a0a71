//! Frames that a link's reader has read and the driver has not taken yet. Bounded: while the inbox
//! is full the reader does not read, and TCP holds the peer back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::queue::lock;
use crate::protocol::Down;
use crate::wire::limits::{INBOX_BYTES, INBOX_FRAMES};

/// An item that a link passes to the driver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A frame without its length prefix.
    Frame(Arc<[u8]>),
    /// A length prefix that no frame may have; nothing after it was read.
    Oversize(u32),
    /// The link has ended; this is its last item.
    End(Down),
}

#[derive(Default)]
struct State {
    items: VecDeque<Incoming>,
    bytes: usize,
    paused: bool,
    discard: bool,
}

/// The queue between one link's reader and the driver.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    room: Notify,
}

impl Incoming {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len(),
            Self::Oversize(_) | Self::End(_) => 0,
        }
    }
}

impl Inbox {
    /// Waits until a frame of `length` bytes fits and reading is not paused; `false` once frames
    /// are no longer wanted. Only the reader calls it, so a frame that fitted still fits once it is
    /// read.
    pub(super) async fn room(&self, length: usize) -> bool {
        loop {
            {
                let state = lock(&self.state);
                if state.discard {
                    return false;
                }
                let fits = state.items.len() < INBOX_FRAMES && state.bytes + length <= INBOX_BYTES;
                if !state.paused && (fits || state.items.is_empty()) {
                    return true;
                }
            }
            self.room.notified().await;
        }
    }

    /// Adds an item; returns whether the inbox was empty, so that the driver must be told.
    pub(super) fn push(&self, item: Incoming) -> bool {
        let mut state = lock(&self.state);
        if state.discard && !matches!(item, Incoming::End(_)) {
            return false;
        }
        state.bytes += item.bytes();
        state.items.push_back(item);
        state.items.len() == 1
    }

    /// Size of the next item in bytes.
    pub(super) fn peek(&self) -> Option<usize> {
        lock(&self.state).items.front().map(Incoming::bytes)
    }

    pub(super) fn pop(&self) -> Option<Incoming> {
        let item = {
            let mut state = lock(&self.state);
            let item = state.items.pop_front()?;
            state.bytes -= item.bytes();
            item
        };
        self.room.notify_one();
        Some(item)
    }

    /// Resumes (`reading`) or pauses reading. A frame that is being read is still completed.
    pub(super) fn pause(&self, reading: bool) {
        lock(&self.state).paused = !reading;
        self.room.notify_one();
    }

    /// Discards what is queued and what will come, except for [`Incoming::End`].
    pub(super) fn discard(&self) {
        {
            let mut state = lock(&self.state);
            state.discard = true;
            state.items.retain(|item| matches!(item, Incoming::End(_)));
            state.bytes = 0;
        }
        self.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn frame(length: usize) -> Incoming {
        Incoming::Frame(vec![0; length].into())
    }

    async fn has_room(inbox: &Inbox, length: usize) -> bool {
        timeout(Duration::from_millis(20), inbox.room(length)).await.is_ok()
    }

    #[tokio::test]
    async fn a_full_inbox_stops_the_reader_until_something_is_taken() {
        let inbox = Inbox::default();
        assert!(inbox.push(frame(INBOX_BYTES - 10)));
        assert!(!has_room(&inbox, 11).await);
        assert!(has_room(&inbox, 10).await);
        assert!(!inbox.push(frame(10)));
        inbox.pop();
        assert!(has_room(&inbox, 11).await);
        for _ in 0..INBOX_FRAMES - 1 {
            inbox.push(frame(1));
        }
        assert!(!has_room(&inbox, 1).await);
    }

    #[tokio::test]
    async fn pausing_and_discarding() {
        let inbox = Inbox::default();
        inbox.pause(false);
        assert!(!has_room(&inbox, 1).await);
        inbox.pause(true);
        assert!(has_room(&inbox, 1).await);
        inbox.push(frame(3));
        inbox.push(Incoming::End(Down::Lost));
        inbox.discard();
        assert!(!inbox.room(1).await);
        assert!(!inbox.push(frame(3)));
        assert_eq!(inbox.pop(), Some(Incoming::End(Down::Lost)));
        assert_eq!(inbox.pop(), None);
    }
}
