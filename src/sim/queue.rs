//! The event queue: every node receives its events in order of time, and events of equal time in
//! the order in which they were put in.
//!
//! Nothing that a node does reaches another sooner than the least latency of the network: the
//! *lookahead* of conservative simulation (Chandy and Misra 1979). So the events of a window no
//! longer than that are taken node by node instead of in order of time across nodes. No node can
//! tell (except for the order of two senders within one microsecond, which is deterministic all the
//! same), and a node's memory is loaded once for all its events in the window. Events that concern
//! every node (a fault, a checkpoint, the end of a phase) end a window.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::protocol::Time;

/// Width of a bucket, as a power of two of microseconds.
const BUCKET: u32 = 8;
/// Longest window, in microseconds: the events of a longer one no longer fit the cache.
const MAX_WINDOW: u64 = 100_000;

/// Node, time, insertion number, and index of the event in `slots`.
type Entry = (u32, u64, u64, u32);

/// Pending events; across nodes they are ordered by time only up to the lookahead.
pub(super) struct Queue<E> {
    /// Events of the current window, in reverse order.
    window: Vec<Entry>,
    /// Events put into the current window after it was opened.
    extra: BinaryHeap<Reverse<Entry>>,
    /// The current window holds events before this time.
    end: u64,
    /// Events after the current window by bucket, unsorted within each.
    later: BTreeMap<u64, Vec<Entry>>,
    /// Events that concern every node.
    global: BTreeSet<(u64, u64, u32)>,
    lookahead: u64,
    /// Node and time of the event taken last; `None` if that event concerned every node.
    taken: Option<(u32, u64)>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    next: u64,
}

impl<E> Queue<E> {
    /// An empty queue. An event put in for another node than that of the event taken last must be
    /// at least `lookahead` microseconds later than that event. With a lookahead of 0, events are
    /// taken in order of time across all nodes.
    pub(super) fn new(lookahead: u64) -> Self {
        Self {
            window: Vec::new(),
            extra: BinaryHeap::new(),
            end: 0,
            later: BTreeMap::new(),
            global: BTreeSet::new(),
            lookahead: lookahead.min(MAX_WINDOW),
            taken: None,
            slots: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }

    fn keep(&mut self, event: E) -> (u64, u32) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.slots[slot as usize] = Some(event);
        self.next += 1;
        (self.next, slot)
    }

    /// Puts in an event of one node's.
    pub(super) fn put(&mut self, at: Time, node: u32, event: E) {
        debug_assert!(self.keeps_distance(at.0, node), "an event for node {node} comes too soon");
        let (number, slot) = self.keep(event);
        let entry = (if self.lookahead == 0 { 0 } else { node }, at.0, number, slot);
        if at.0 < self.end {
            self.extra.push(Reverse(entry));
        } else {
            self.later.entry(at.0 >> BUCKET).or_default().push(entry);
        }
    }

    /// Whether another node's event is far enough away.
    fn keeps_distance(&self, at: u64, node: u32) -> bool {
        self.lookahead == 0
            || self.taken.is_none_or(|(taken, now)| {
                taken == node || at >= now.saturating_add(self.lookahead)
            })
    }

    /// Puts in an event that concerns every node: all earlier events of all nodes are taken first.
    pub(super) fn put_global(&mut self, at: Time, event: E) {
        let (number, slot) = self.keep(event);
        self.global.insert((at.0, number, slot));
    }

    /// Removes and returns the next event, with its time.
    pub(super) fn take(&mut self) -> Option<(Time, E)> {
        if self.window.is_empty() && self.extra.is_empty() {
            let first = self.later.first_key_value();
            let first = first.and_then(|(_, entries)| entries.iter().map(|entry| entry.1).min());
            let global = self.global.first().copied();
            if let Some((at, _, slot)) = global.filter(|(at, ..)| first.is_none_or(|f| *at <= f)) {
                self.global.pop_first();
                self.taken = None;
                return Some((Time(at), self.release(slot)?));
            }
            self.open(first?, global.map(|(at, ..)| at));
        }
        let extra = match (self.window.last(), self.extra.peek()) {
            (Some(entry), Some(Reverse(extra))) => extra < entry,
            (entry, _) => entry.is_none(),
        };
        let (node, at, _, slot) = match extra {
            true => self.extra.pop().map(|Reverse(entry)| entry),
            false => self.window.pop(),
        }?;
        self.taken = Some((node, at));
        Some((Time(at), self.release(slot)?))
    }

    fn release(&mut self, slot: u32) -> Option<E> {
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// Opens the window that begins with the event at `first`.
    fn open(&mut self, first: u64, global: Option<u64>) {
        let end = first.saturating_add(self.lookahead.max(1));
        self.end = global.map_or(end, |global| end.min(global));
        while let Some(bucket) = self.later.first_entry() {
            if *bucket.key() << BUCKET >= self.end {
                break;
            }
            let (key, entries) = bucket.remove_entry();
            let end = self.end;
            let (now, left): (Vec<Entry>, _) = entries.into_iter().partition(|e| e.1 < end);
            self.window.extend(now);
            if !left.is_empty() {
                self.later.insert(key, left);
                break;
            }
        }
        self.window.sort_unstable_by(|a, b| b.cmp(a));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Dice;

    #[test]
    fn events_come_by_time_and_then_in_the_order_put_in() {
        for (far, lookahead) in [(1, 0), (1000, 0), (1, 3), (1000, 900)] {
            let mut queue = Queue::new(lookahead);
            for (at, name) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (4, 'e')] {
                queue.put(Time(at * far), 7, name);
            }
            let mut order = String::new();
            while let Some((_, name)) = queue.take() {
                order.push(name);
                if name == 'b' {
                    queue.put(Time(5 * far), 7, 'f'); // takes b's place, and comes last
                }
            }
            assert_eq!(order, "bdeacf");
        }
    }

    #[test]
    fn an_event_for_all_comes_between_what_is_before_it_and_after_it() {
        let mut queue = Queue::new(100);
        for (at, node) in [(10, 2), (20, 1), (30, 2), (40, 1)] {
            queue.put(Time(at), node, at);
        }
        queue.put_global(Time(30), 0);
        let order: Vec<u64> = std::iter::from_fn(|| queue.take()).map(|(_, at)| at).collect();
        assert_eq!(order, [20, 10, 0, 40, 30], "node by node on either side");
    }

    /// Nodes answer each other with at least the lookahead in between, as a network does; what each
    /// hears, and when, must not depend on the window.
    fn heard(lookahead: u64) -> (Vec<Vec<(u64, u64)>>, bool) {
        const LATENCY: u64 = 700;
        let mut queue = Queue::new(lookahead);
        let mut heard = vec![Vec::new(); 5];
        for node in 0..5 {
            queue.put(Time(u64::from(node) * 13), node, (node, u64::from(node)));
        }
        while let Some((at, (node, word))) = queue.take() {
            heard[node as usize].push((at.0, word));
            let mut dice = Dice::new(word << 8 ^ at.0);
            if at.0 < 14_000 {
                let to = dice.below(5) as u32;
                queue.put(Time(at.0 + LATENCY + dice.below(900)), to, (to, dice.next()));
                if dice.below(3) == 0 {
                    queue.put(Time(at.0 + dice.below(50)), node, (node, dice.next() | 1));
                }
            }
        }
        let in_order = heard.iter().all(|of| of.is_sorted_by_key(|(at, _)| *at));
        // In one and the same microsecond, either of two senders may come first.
        heard.iter_mut().for_each(|of| of.sort_unstable());
        (heard, in_order)
    }

    #[test]
    fn no_node_can_tell_how_wide_the_window_is() {
        let (exact, in_order) = heard(0);
        assert!(in_order && exact.iter().map(Vec::len).sum::<usize>() > 300);
        for lookahead in [1, 100, 700] {
            assert_eq!(heard(lookahead), (exact.clone(), true), "{lookahead}");
        }
    }

    /// What reaches another node sooner than was said stops a debug build.
    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "comes too soon")]
    fn a_window_wider_than_the_latency_is_refused() {
        heard(7_000);
    }
}
