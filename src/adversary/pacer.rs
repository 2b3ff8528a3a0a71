//! When to act on each link: as soon as it is ready, then at a steady pace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::Context;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time};

/// Paces actions on all ready links at one interval, and acts on new links at once.
pub(super) struct Pacer {
    every: Duration,
    next: Time,
    greeted: BTreeSet<LinkId>,
    readied: u64,
}

impl Pacer {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, next: Time(0), greeted: BTreeSet::new(), readied: 0 }
    }

    /// Links to act on now, and whether each is new.
    pub(super) fn due(&mut self, ctx: &Context) -> Vec<(LinkId, bool)> {
        let is_time = ctx.now >= self.next;
        if !is_time && self.readied == ctx.links.readied() {
            return Vec::new();
        }
        self.readied = ctx.links.readied();
        let mut due = Vec::new();
        for link in ctx.links.ready() {
            let fresh = self.greeted.insert(link);
            if fresh || is_time {
                due.push((link, fresh));
            }
        }
        if is_time {
            self.next = ctx.now.after(self.every);
        }
        due
    }

    pub(super) fn down(&mut self, link: LinkId) {
        self.greeted.remove(&link);
    }

    /// When to call [`Pacer::due`] again; `None` if no link is ready.
    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        ctx.links.ready().next().map(|_| self.next)
    }
}

/// Takes steps at a rate, and skips those that come due while too many are.
pub(super) struct Rate {
    every: Duration,
    /// Most steps at once.
    burst: u32,
    /// Shortest wait until the next steps.
    grain: Duration,
    due: Option<Time>,
    taken: u32,
    wake: Option<Time>,
}

impl Rate {
    pub(super) fn new(per_s: u32, burst: u32, grain: Duration) -> Self {
        let every = interval(per_s);
        Self { every, burst, grain, due: None, taken: 0, wake: None }
    }

    /// Whether a step is due, and not too many were taken since the last rest.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        *self.due.get_or_insert(now) <= now && self.taken < self.burst
    }

    /// Takes a step that is due.
    pub(super) fn step(&mut self) {
        self.due = self.due.map(|due| due.after(self.every));
        self.taken += 1;
    }

    /// Ends the steps that are taken at once.
    pub(super) fn rest(&mut self, now: Time) {
        let due = self.due.unwrap_or(now);
        let due = if self.taken == self.burst { due.max(now) } else { due };
        (self.due, self.taken) = (Some(due), 0);
        self.wake = Some(due.max(now.after(self.grain)));
    }

    /// When to ask again; `None` if no link is ready.
    pub(super) fn deadline(&self, ctx: &Context) -> Option<Time> {
        ctx.links.ready().next().and(self.wake)
    }
}

/// The time between two events at a rate, at least a microsecond.
pub(super) fn interval(per_s: u32) -> Duration {
    Duration::from_micros(1_000_000 / u64::from(per_s.max(1))).max(Duration::from_micros(1))
}

/// Position of each peer in a cycle of variants. It outlives the peer's links; bounded by the
/// members.
pub(super) struct Cycle {
    pub length: usize,
    /// Peers start one variant apart instead of all at the first.
    apart: bool,
    next: BTreeMap<PublicKey, usize>,
}

impl Cycle {
    pub(super) fn new(length: usize, apart: bool) -> Self {
        Self { length, apart, next: BTreeMap::new() }
    }

    /// Continues one past a variant that the peer has surely judged, when it comes back.
    pub(super) fn go_on_after(&mut self, peer: PublicKey, variant: usize) {
        self.next.insert(peer, (variant + 1) % self.length);
    }

    /// The next variant for a peer.
    pub(super) fn next(&mut self, peer: PublicKey) -> usize {
        let start = if self.apart { self.next.len() } else { 0 };
        let next = self.next.entry(peer).or_insert(start % self.length);
        let variant = *next;
        *next = (variant + 1) % self.length;
        variant
    }
}
