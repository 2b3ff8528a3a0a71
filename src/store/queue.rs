//! State shared by a store's handle and its threads, and the commands to the writer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::log::Overflow;
use super::quarantine::Suspect;
use crate::protocol::{Durability, Input, Record, Rejection, Token};

/// Called once with the answer to each `write` and `read`, and with `Input::Pruned` and
/// `Input::Damaged` when those happen. It runs on a thread of the store, or on the caller's in
/// `open`, `write` and `read`. It must not block and must not call the store.
pub type Answer = Box<dyn Fn(Input) + Send>;

/// State shared by the threads and the handle.
pub(super) struct Shared {
    pub(super) answer: Mutex<Answer>,
    /// Records and reads that are not answered yet.
    pub(super) queued: AtomicUsize,
    /// Lines of the rejection log that are not written yet.
    pub(super) logged: AtomicUsize,
    /// Number of turns of the writer's loop.
    #[cfg(test)]
    pub(super) turns: AtomicUsize,
}

impl Shared {
    pub(super) fn answer(&self, input: Input) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.tell(input);
    }

    /// Passes on an input that answers no request.
    pub(super) fn tell(&self, input: Input) {
        let answer = self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answer(input);
    }
}

pub(super) enum Command {
    Write {
        token: Token,
        record: Record,
        durability: Durability,
    },
    Log {
        token: Token,
        rejection: Box<Rejection>,
    },
    Overflow {
        token: Token,
        line: Overflow,
    },
    /// The wall clock is now this many microseconds ahead of the node's clock.
    ClockStepped(i64),
    /// A reader found a damaged row or slot.
    Doubt(Suspect),
    Close,
    #[cfg(test)]
    MaxPages(u32),
}
