//! Credit: a sender may have one window of frames and bytes in flight, and the receiver reports
//! what it has consumed. Both sides count the same frames, so an honest sender never exceeds the
//! window, and a frame beyond it proves a lie.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::Time;
use crate::protocol::time::{Bucket, Rate};
use crate::wire::{Class, Grant};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    frames: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// One class, as seen by its sender.
#[derive(Debug, Default)]
pub(super) struct Sending {
    sent: Sum,
    consumed: Sum,
}

impl Sending {
    /// Whether a frame of that many bytes fits the window.
    pub(super) fn fits(&self, class: Class, bytes: u64) -> bool {
        self.fit(class, 1, bytes)
    }

    /// Whether `frames` frames of at most `bytes` bytes each fit the window.
    pub(super) fn fit(&self, class: Class, frames: u64, bytes: u64) -> bool {
        class.window().is_none_or(|(most, window)| {
            (self.sent.frames - self.consumed.frames).saturating_add(frames) <= most
                && (self.sent.bytes - self.consumed.bytes)
                    .saturating_add(bytes.saturating_mul(frames))
                    <= window
        })
    }

    /// Counts a sent frame. Returns its number, from 1.
    pub(super) fn send(&mut self, bytes: u64) -> u64 {
        self.sent.add(bytes);
        self.sent.frames
    }

    /// How many frames the receiver has consumed.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.frames
    }

    /// Applies the receiver's report. It must report more frames than before, and no more than was
    /// sent.
    pub(super) fn grant(&mut self, grant: &Grant) -> Result<(), &'static str> {
        if grant.frames > self.sent.frames || grant.bytes > self.sent.bytes {
            return Err("credit for more than was sent");
        }
        if grant.frames <= self.consumed.frames || grant.bytes < self.consumed.bytes {
            return Err("credit that grants nothing new");
        }
        self.consumed = Sum { frames: grant.frames, bytes: grant.bytes };
        Ok(())
    }
}

/// One class, as seen by its receiver.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    received: Sum,
    consumed: Sum,
    reported: Sum,
}

impl Receiving {
    /// Counts a received frame. Returns `false` if it exceeds the window.
    pub(super) fn receive(&mut self, class: Class, bytes: u64) -> bool {
        self.received.add(bytes);
        class.window().is_none_or(|(frames, window)| {
            // Credit that was consumed but not reported is unknown to the sender. Counting it here
            // can only excuse a liar by that much, and never blames an honest sender.
            self.received.frames - self.consumed.frames <= frames
                && self.received.bytes - self.consumed.bytes <= window
        })
    }

    /// Counts a frame that was handled.
    pub(super) fn consume(&mut self, bytes: u64) {
        self.consumed.add(bytes);
    }

    /// Whether there is anything to report, and how urgently.
    pub(super) fn due(&self, class: Class) -> Granted {
        let (frames, bytes) = class.window().unwrap_or((u64::MAX, u64::MAX));
        let (new_frames, new_bytes) = (
            self.consumed.frames - self.reported.frames,
            self.consumed.bytes - self.reported.bytes,
        );
        match (new_frames, new_frames * 2 >= frames || new_bytes * 2 >= bytes) {
            (0, _) => Granted::Nothing,
            (_, false) => Granted::Later,
            (_, true) => Granted::Now,
        }
    }

    /// The report, marked as sent; `None` if there is nothing new.
    pub(super) fn report(&mut self, class: Class) -> Option<Grant> {
        (self.consumed.frames > self.reported.frames).then(|| {
            self.reported = self.consumed;
            Grant { class: class as u8, frames: self.consumed.frames, bytes: self.consumed.bytes }
        })
    }
}

/// Whether credit is due to be sent, ordered by urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::protocol) enum Granted {
    /// Nothing was consumed since the last report.
    Nothing,
    /// Something was consumed; the report may wait a little.
    Later,
    /// Half a window was consumed: the sender may soon be blocked.
    Now,
}

/// The idle work that a peer has caused, and the frames whose credit is withheld for it, oldest
/// first; at most a window of them.
#[derive(Debug, Default)]
pub(super) struct Idle {
    pub spent: Bucket,
    owed: VecDeque<(Class, u64, u64)>,
}

impl Idle {
    /// Starts with what the peer has used up on earlier links.
    pub(super) fn after(spent: Bucket) -> Self {
        Self { spent, owed: VecDeque::new() }
    }

    /// Charges a frame's cost. Returns whether the frame earns credit at once; if not,
    /// [`Idle::release`] grants it later. A frame that costs nothing never waits.
    pub(super) fn settle(
        &mut self,
        rate: Rate,
        now: Time,
        (class, bytes, cost): (Class, u64, u64),
    ) -> bool {
        let at_once = cost == 0 || (self.owed.is_empty() && self.spent.take(rate, now, cost));
        if !at_once {
            self.owed.push_back((class, bytes, cost));
        }
        at_once
    }

    /// How long until the oldest waiting frame earns its credit; `None` if none waits.
    pub(super) fn wait(&self, rate: Rate, now: Time) -> Option<Duration> {
        self.owed.front().map(|(_, _, cost)| self.spent.wait(rate, now, *cost))
    }

    /// Takes the oldest waiting frame (class and bytes), if its cost can be paid now.
    pub(super) fn release(&mut self, rate: Rate, now: Time) -> Option<(Class, u64)> {
        let (class, bytes, cost) = self.owed.front().copied()?;
        if !self.spent.take(rate, now, cost) {
            return None;
        }
        self.owed.pop_front();
        Some((class, bytes))
    }

    /// How many frames wait for their credit.
    pub(super) fn waiting(&self) -> usize {
        self.owed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_sender_is_never_over_and_a_liar_is_at_once() {
        let (mut here, mut there) = (Sending::default(), Receiving::default());
        let class = Class::Push;
        let (window, _) = class.window().expect("credited");
        for _ in 0..10 {
            while here.fits(class, 100) {
                here.send(100);
                assert!(there.receive(class, 100));
            }
            for _ in 0..window / 2 {
                there.consume(100);
            }
            assert_eq!(there.due(class), Granted::Now);
            here.grant(&there.report(class).expect("something")).expect("sound");
        }
        while here.fits(class, 100) {
            here.send(100);
            assert!(there.receive(class, 100));
        }
        assert!(!there.receive(class, 100), "one more than the window");
    }

    #[test]
    fn credit_must_advance_and_stay_within_what_was_sent() {
        let mut here = Sending::default();
        here.send(10);
        let grant = |frames, bytes| Grant { class: 5, frames, bytes };
        for bad in [grant(0, 0), grant(2, 10), grant(1, 11), grant(u64::MAX, 0), grant(0, u64::MAX)]
        {
            assert!(here.grant(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(here.grant(&grant(1, 10)), Ok(()));
        assert!(here.grant(&grant(1, 10)).is_err(), "twice the same");
        assert!(here.grant(&grant(1, 9)).is_err());
    }

    #[test]
    fn bytes_are_a_window_too() {
        let class = Class::Push;
        let (_, bytes) = class.window().expect("credited");
        let mut here = Sending::default();
        assert!(
            here.fits(class, bytes) && !here.fits(class, bytes + 1) && !here.fits(class, u64::MAX)
        );
        here.send(bytes);
        assert!(!here.fits(class, 1));
        let mut there = Receiving::default();
        assert!(there.receive(class, bytes) && !there.receive(class, 1));
    }
}
