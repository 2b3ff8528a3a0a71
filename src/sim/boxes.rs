//! Queues of a link: frames that wait to be written, and chunks that have arrived and are not read
//! yet. Both are bounded, as in `src/net/outbox.rs` and `src/net/inbox.rs`; a liar has no bounded
//! outbox.

use super::event::Event;
use super::link::{Chunk, RECEIVE_WINDOW, Rare, other};
use super::world::World;
use crate::protocol::LinkId;
use crate::wire::Class;
use crate::wire::limits::{INBOX_BYTES, INBOX_FRAMES, OUTBOX_BYTES};

/// Bytes that a frame counts for in an outbox beside its length.
const OVERHEAD: usize = 64;

impl Rare {
    /// Queues a frame. Returns the number of frames dropped: the newest ones of the least important
    /// classes, or the frame itself.
    fn queue(&mut self, class: Class, chunk: Chunk) -> u64 {
        let mut dropped = 0;
        let cost = chunk.length() + OVERHEAD;
        while self.outbox_bytes + cost > OUTBOX_BYTES {
            dropped += 1;
            let classes = self.outbox.iter().enumerate().map(|(at, (class, _))| (*class, at));
            let Some((least, at)) = classes.max().filter(|(least, _)| *least > class) else {
                return dropped;
            };
            debug_assert!(least > class);
            if let Some((_, victim)) = self.outbox.remove(at) {
                self.outbox_bytes -= victim.length() + OVERHEAD;
            }
        }
        self.outbox_bytes += cost;
        self.outbox.push_back((class, chunk));
        dropped
    }

    fn next_out(&mut self) -> Option<Chunk> {
        let (_, chunk) = self.outbox.pop_front()?;
        self.outbox_bytes -= chunk.length() + OVERHEAD;
        Some(chunk)
    }
}

impl World {
    /// Whether so much is unread at an end that its peer's writes must wait.
    pub(super) fn is_full(&self, end: LinkId) -> bool {
        let Some(end) = self.links.get(end) else { return false };
        let Some(rare) = &end.rare else { return false };
        let inbox = if self.hosts[end.owner as usize].honest { INBOX_BYTES } else { 0 };
        rare.held_bytes > RECEIVE_WINDOW + inbox
            || (rare.held.len() > INBOX_FRAMES && rare.held_bytes > RECEIVE_WINDOW)
    }

    /// Writes a frame to a link, or queues it behind others.
    pub(super) fn send(&mut self, from: LinkId, class: Class, chunk: Chunk) {
        let full = self.is_full(other(from));
        let now = self.now;
        let Some(end) = self.links.up(from) else { return };
        let owner = end.owner as usize;
        let queued = end.rare.as_ref().is_some_and(|rare| !rare.outbox.is_empty());
        if !self.hosts[owner].honest || !(full || queued || end.busy > now) {
            return self.transmit(from, chunk);
        }
        let busy = end.busy;
        let rare = end.rare();
        let dropped = rare.queue(class, chunk);
        if full {
            rare.blocked = true;
        } else if !std::mem::replace(&mut rare.writing, true) {
            self.queue.put(busy.max(now), owner as u32, Event::Written { end: from });
        }
        self.recorder.count("outbox_dropped", dropped);
    }

    /// An honest node's last write is done, or there is room again at the other end.
    pub(super) fn write_on(&mut self, from: LinkId) {
        if let Some(end) = self.links.up(from) {
            end.rare().writing = false;
        }
        loop {
            let full = self.is_full(other(from));
            let now = self.now;
            let Some(end) = self.links.up(from) else { return };
            let (busy, owner) = (end.busy, end.owner);
            let rare = end.rare();
            if rare.outbox.is_empty() {
                return;
            }
            if full {
                rare.blocked = true;
                return;
            }
            if busy > now {
                rare.writing = true;
                return self.queue.put(busy, owner, Event::Written { end: from });
            }
            let Some(chunk) = rare.next_out() else { return };
            self.transmit(from, chunk);
        }
    }

    /// A link is being closed: everything queued is still written.
    pub(super) fn write_rest(&mut self, from: LinkId) {
        while let Some(chunk) =
            self.links.up(from).and_then(|end| end.rare.as_mut()).and_then(|rare| rare.next_out())
        {
            self.transmit(from, chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_outbox_drops_the_newest_of_what_matters_least() {
        let chunk = |length: usize| Chunk::Frame(vec![0; length - 4 - OVERHEAD].into());
        let half = OUTBOX_BYTES / 2;
        let mut rare = Rare::default();
        assert_eq!(rare.queue(Class::Reply, chunk(half)), 0);
        assert_eq!(rare.queue(Class::Announce, chunk(half)), 0);
        assert_eq!(rare.queue(Class::Reply, chunk(100)), 1, "it is itself what is dropped");
        assert_eq!(rare.queue(Class::Push, chunk(half)), 1);
        let classes: Vec<Class> = rare.outbox.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [Class::Announce, Class::Push]);
        assert_eq!(rare.queue(Class::Link, chunk(100)), 1);
        let classes: Vec<Class> = rare.outbox.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [Class::Announce, Class::Link]);
        while rare.next_out().is_some() {}
        assert_eq!(rare.outbox_bytes, 0);
    }
}
