//! Links at work: dialling, writing, receiving, closing. Frames that wait to be written and chunks
//! that are not read yet are bounded, as in `src/net/outbox.rs` and `src/net/inbox.rs`; a liar has
//! no bounded outbox.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::link::{Chunk, RECEIVE_WINDOW, other, segments};
use super::world::World;
use crate::adversary::Actor;
use crate::crypto::PublicKey;
use crate::protocol::{Down, Input, LinkId, micros};
use crate::wire::Class;
use crate::wire::limits::{INBOX_BYTES, INBOX_FRAMES, MAX_FRAME, MIN_FRAME};

/// Waits between the attempts of a dial that gets no answer. TCP repeats its first segment after 1
/// and 3 s (RFC 6298), and the dialler of the real node gives up after 5 s.
const TRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(2)];
/// Least time for one raw write of a liar: a system call and a little work.
const LIAR_WRITE: Duration = Duration::from_micros(20);

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

    pub(super) fn dial(&mut self, node: usize, peer: &PublicKey) {
        let Some(to) = self.node_of(peer) else { return };
        let (out, back) = (self.one_way(node, to), self.one_way(to, node));
        let event = Event::Dialled {
            from: node as u32,
            start: self.hosts[node].start,
            to: to as u32,
            trial: 0,
        };
        // The handshakes of TCP and TLS take a round trip each.
        self.queue.put(self.now.after((out + back) * 2), node as u32, event);
    }

    pub(super) fn dialled(&mut self, from: usize, to: usize, trial: u32) {
        let silent = self.impairments.cut(from, to) || self.hosts[to].paused;
        if silent && let Some(wait) = TRIES.get(trial as usize) {
            let start = self.hosts[from].start;
            let (from, to, trial) = (from as u32, to as u32, trial + 1);
            let event = Event::Dialled { from, start, to, trial };
            return self.queue.put(self.now.after(*wait), from, event);
        }
        #[cfg(test)]
        let silent = silent || self.defects.apart(from, to);
        if silent || !self.hosts[to].lives() {
            return self.deliver(from, Input::DialFailed { peer: self.hosts[to].key });
        }
        self.link(from, to);
    }

    /// A link that `from` dialled is up. Returns the dialler's end.
    pub(super) fn link(&mut self, from: usize, to: usize) -> LinkId {
        let peer = self.hosts[to].key;
        let (out, back) = (self.one_way(from, to), self.one_way(to, from));
        let (near, far) = self.links.add((from, out), (to, back), self.now);
        self.hosts[from].links.push(near);
        self.hosts[to].links.push(far);
        for (end, node, peer) in [(near, from, to), (far, to, from)] {
            if self.hosts[node].honest {
                self.oracle.link_up(end, node, peer);
            }
        }
        // The dialler may send while its last handshake flight is still on its way.
        let accepted = Input::LinkUp { link: far, peer: self.hosts[from].key, dialled: false };
        self.schedule(to, out, accepted);
        self.deliver(from, Input::LinkUp { link: near, peer, dialled: true });
        near
    }

    /// Latency between two nodes, faults included.
    fn one_way(&self, from: usize, to: usize) -> Duration {
        let base = self.scenario.net.one_way(from, to, self.seed);
        let all =
            base.saturating_add(self.impairments.conditions(&self.scenario.net, from, to).delay);
        // In whole microseconds, as in [`Endpoint`], so that a link is up before its first frame
        // arrives.
        Duration::from_micros(micros(all))
    }

    pub(super) fn transmit(&mut self, from: LinkId, chunk: Chunk) {
        let now = self.now;
        let to = other(from);
        let Some(peer) = self.links.get(to).map(|end| end.owner as usize) else { return };
        let Some(end) = self.links.up(from) else { return };
        let owner = end.owner as usize;
        let conditions = self.impairments.conditions(&self.scenario.net, owner, peer);
        let one_way = u64::from(end.latency).saturating_add(micros(conditions.delay));
        let fate = segments(chunk.length(), one_way, &conditions, &mut self.dice);
        if fate.broken {
            return self.break_off(from);
        }
        self.recorder.count_segments(&fate);
        let pace = end.rare.as_ref().and_then(|rare| rare.pace);
        let pace = [pace, conditions.bandwidth].into_iter().flatten().min();
        let mut takes = pace.map_or(Duration::ZERO, |pace| {
            let bytes = (chunk.length() + fate.extra) as u64;
            Duration::from_micros(bytes.saturating_mul(1_000_000).div_ceil(pace.max(1)))
        });
        if matches!(chunk, Chunk::Bytes(_)) {
            takes = takes.max(LIAR_WRITE);
        }
        let done = end.busy.max(now).after(takes);
        end.busy = done;
        let jitter = self.dice.up_to(conditions.jitter);
        let travels = one_way.saturating_add(jitter).saturating_add(fate.late);
        let arrives = done.after(Duration::from_micros(travels)).max(end.last);
        end.last = arrives;
        if self.hosts[owner].floods {
            end.rare().unwritten += 1;
            self.queue.put(done, owner as u32, Event::Written { end: from });
        }
        self.queue.put(arrives, peer as u32, Event::Chunk { to, chunk });
    }

    /// A write is done. A flooding liar is told after its last one.
    pub(super) fn written(&mut self, id: LinkId) {
        let full = self.is_full(other(id));
        let owner = self.links.get(id).map_or(0, |end| end.owner as usize);
        if self.hosts[owner].honest {
            return self.write_on(id);
        }
        let Some(end) = self.links.up(id) else { return };
        let owner = end.owner as usize;
        let rare = end.rare();
        rare.unwritten = rare.unwritten.saturating_sub(1);
        if rare.unwritten > 0 || full {
            rare.blocked |= full;
            return;
        }
        let now = self.now;
        if let Some(Actor::Liar(liar)) = &mut self.hosts[owner].actor {
            liar.drained(now, id);
            self.settle(owner);
            self.schedule_wake(owner, false);
        }
    }

    /// A chunk arrives at an end of a link.
    pub(super) fn arrive(&mut self, to: LinkId, chunk: Chunk) {
        let stays = self.stays(to);
        let owner = self.links.get(to).map_or(0, |end| end.owner as usize);
        let busy = !stays && self.is_busy(owner);
        let Some(end) = self.links.up(to) else { return };
        if stays || busy || end.rare.as_ref().is_some_and(|rare| !rare.held.is_empty()) {
            let rare = end.rare();
            rare.held_bytes += chunk.length();
            rare.held.push_back(chunk);
            if busy {
                self.line_up(owner, to);
            }
            return;
        }
        self.take_in(to, chunk);
    }

    /// Whether chunks that arrive at an end must be held back.
    pub(super) fn stays(&self, to: LinkId) -> bool {
        let (Some(end), Some(from)) = (self.links.get(to), self.links.get(other(to))) else {
            return true;
        };
        let (owner, sender) = (end.owner as usize, from.owner as usize);
        !end.reading || self.hosts[owner].paused || self.impairments.cut(owner, sender)
    }

    /// Hands a chunk to the owner of the end.
    fn take_in(&mut self, to: LinkId, chunk: Chunk) {
        let Some(end) = self.links.up(to) else { return };
        let owner = end.owner as usize;
        self.hosts[owner].bytes += chunk.length() as u64;
        let plain = end.rare.as_ref().is_none_or(|rare| rare.buffer.is_empty() && !rare.broken);
        match chunk {
            Chunk::Frame(bytes) if plain => self.hand_frame(owner, to, bytes),
            Chunk::Frame(bytes) => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let rare = end.rare();
                rare.buffer.extend_from_slice(&length.to_be_bytes());
                rare.buffer.extend_from_slice(&bytes);
                self.parse(owner, to);
            }
            Chunk::Bytes(bytes) => {
                end.rare().buffer.extend_from_slice(&bytes);
                self.parse(owner, to);
            }
            Chunk::Fin => self.lose(to),
        }
    }

    fn hand_frame(&mut self, owner: usize, link: LinkId, bytes: Arc<[u8]>) {
        // An honest node's first frame is its hello; the first frame of a liar counts as one too.
        if let Some(end) = self.links.up(link).filter(|end| !end.greeted) {
            end.greeted = true;
            let host = &mut self.hosts[owner];
            host.ready += 1;
            if host.ready == 1 && host.honest {
                self.linked += 1;
            }
        }
        #[cfg(test)]
        if self.defects.hides(owner, &bytes) {
            return;
        }
        self.deliver(owner, Input::Frame { link, bytes });
    }

    /// Splits the bytes received so far into frames.
    fn parse(&mut self, owner: usize, link: LinkId) {
        loop {
            let Some(end) = self.links.up(link) else { return };
            let rare = end.rare();
            if rare.broken {
                return rare.buffer.clear();
            }
            let Some((length, rest)) = rare.buffer.split_first_chunk::<4>() else { return };
            let length = u32::from_be_bytes(*length);
            if !(MIN_FRAME..=MAX_FRAME).contains(&(length as usize)) {
                rare.broken = true;
                return self.deliver(owner, Input::Oversize { link, length });
            }
            let Some(frame) = rest.get(..length as usize) else { return };
            let frame: Arc<[u8]> = frame.into();
            rare.buffer.drain(..4 + length as usize);
            self.hand_frame(owner, link, frame);
        }
    }

    /// A liar stops or resumes reading from a link.
    pub(super) fn read_or_not(&mut self, link: LinkId, reading: bool) {
        if let Some(end) = self.links.up(link) {
            end.reading = reading;
            if reading {
                self.release(link, Duration::ZERO);
            }
        }
    }

    /// Schedules the release of the chunks held back at an end. Until then they stay queued, so
    /// that no chunk arriving meanwhile overtakes them.
    pub(super) fn release(&mut self, to: LinkId, after: Duration) {
        let Some(end) = self.links.up(to) else { return };
        let owner = end.owner;
        if end.rare.as_ref().is_some_and(|rare| !rare.held.is_empty()) {
            self.queue.put(self.now.after(after), owner, Event::Released { to });
        }
    }

    /// Takes in chunks that were held back, in order, until something holds them back again.
    pub(super) fn released(&mut self, to: LinkId) {
        let owner = self.links.get(to).map_or(0, |end| end.owner as usize);
        if self.stays(to) || self.line_up(owner, to) {
            return;
        }
        while !self.stays(to) && self.take_held(to) {}
        self.made_room(to);
    }

    /// Takes in the first chunk held at an end; returns whether there was one.
    pub(super) fn take_held(&mut self, to: LinkId) -> bool {
        let rare = self.links.up(to).and_then(|end| end.rare.as_mut());
        let Some((rare, chunk)) = rare.and_then(|rare| {
            let chunk = rare.held.pop_front()?;
            Some((rare, chunk))
        }) else {
            return false;
        };
        rare.held_bytes = rare.held_bytes.saturating_sub(chunk.length());
        self.take_in(to, chunk);
        true
    }

    /// Chunks held at an end were taken in: the other end may go on writing.
    pub(super) fn made_room(&mut self, to: LinkId) {
        if self.is_full(to) {
            return;
        }
        // The news of free room takes one latency, as any data does.
        let back = self.links.get(to).map_or(0, |end| u64::from(end.latency));
        let at = self.now.after(Duration::from_micros(back));
        let from = other(to);
        let Some(end) = self.links.up(from) else { return };
        let owner = end.owner;
        if let Some(rare) = end.rare.as_mut().filter(|rare| rare.blocked) {
            rare.blocked = false;
            rare.unwritten += 1;
            self.queue.put(at, owner, Event::Written { end: from });
        }
    }

    /// The owner closes a link: data sent before still arrives.
    pub(super) fn close(&mut self, node: usize, link: LinkId) {
        self.write_rest(link);
        let Some(last) = self.links.up(link).map(|end| end.last) else { return };
        self.take_down(link);
        self.schedule(node, Duration::ZERO, Input::LinkDown { link, cause: Down::Closed });
        self.say_end(link, last);
    }

    /// Tells the other end that a link is over, after everything sent on it.
    pub(super) fn say_end(&mut self, link: LinkId, last: crate::protocol::Time) {
        let Some(peer) = self.links.get(other(link)).map(|end| end.owner) else { return };
        let latency = self.links.get(link).map_or(0, |end| u64::from(end.latency));
        let at = self.now.after(Duration::from_micros(latency)).max(last);
        self.queue.put(at, peer, Event::Chunk { to: other(link), chunk: Chunk::Fin });
    }

    /// The network breaks a link; the writer's operating system notices first.
    fn break_off(&mut self, link: LinkId) {
        self.recorder.count("links_broken", 1);
        let Some(last) = self.links.up(link).map(|end| end.last) else { return };
        if let Some(owner) = self.take_down(link) {
            self.schedule(owner, Duration::ZERO, Input::LinkDown { link, cause: Down::Lost });
            self.say_end(link, last);
        }
    }

    /// Marks an end as down; returns its owner.
    pub(super) fn take_down(&mut self, link: LinkId) -> Option<usize> {
        let end = self.links.up(link)?;
        end.up = false;
        let (owner, greeted) = (end.owner as usize, end.greeted);
        end.rare = None;
        let host = &mut self.hosts[owner];
        if let Some(at) = host.links.iter().position(|held| *held == link) {
            host.links.swap_remove(at);
        }
        if greeted {
            host.ready -= 1;
            if host.ready == 0 && host.honest {
                self.linked -= 1;
            }
        }
        if self.hosts[owner].honest {
            self.oracle.link_down(link);
        }
        Some(owner)
    }
}
