//! What the handle of a store and its threads share: questions, and the way of their answers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::log::Overflow;
use super::quarantine::Suspect;
use crate::protocol::{Durability, Input, Record, Rejection, Token};

/// Called with the answer to each `write` and `read`, once, and with `Input::Pruned` and
/// `Input::Damaged` as they happen, on a thread of the store or of whoever opens it. It must not
/// block, and must not call the store.
pub type Answer = Box<dyn Fn(Input) + Send>;

/// What the threads and the handle share.
pub(super) struct Shared {
    pub(super) answer: Mutex<Answer>,
    /// Questions that are not answered yet.
    pub(super) queued: AtomicUsize,
    /// Lines of the rejection log that wait.
    pub(super) logged: AtomicUsize,
    /// Turns of the writer's loop.
    #[cfg(test)]
    pub(super) turns: AtomicUsize,
}

impl Shared {
    /// Answers one question.
    pub(super) fn answer(&self, input: Input) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.tell(input);
    }

    /// Says what nobody asked for.
    pub(super) fn tell(&self, input: Input) {
        let answer = self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answer(input);
    }
}

/// What the writer is asked to do.
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
    /// The wall clock is so far ahead of the node's, in microseconds.
    ClockStepped(i64),
    /// A reader found something that it could not believe.
    Doubt(Suspect),
    Close,
    #[cfg(test)]
    MaxPages(u32),
}
