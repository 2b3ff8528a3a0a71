//! The event queue: ordered by time, then by the order in which events were put in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::protocol::Time;

/// Microseconds of a bucket, as a power of two: 256 µs hold some hundred events of a large run.
const BUCKET: u32 = 8;

/// When, which in the order put in, and where the event is.
type Entry = (u64, u64, u32);

/// Events to come, in two tiers as a ladder queue has them (Tang, Goh, Thng 2005): a heap of the
/// bucket at hand, which stays in the processor's cache, and unsorted buckets of what comes later.
/// Entries are small and events stay where they are put.
pub(super) struct Queue<E> {
    /// Entries of buckets up to `current`, that one included.
    heap: BinaryHeap<Reverse<Entry>>,
    current: u64,
    later: BTreeMap<u64, Vec<Reverse<Entry>>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    next: u64,
}

impl<E> Queue<E> {
    /// Nothing to come.
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            current: 0,
            later: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }

    /// Puts an event in.
    pub fn put(&mut self, at: Time, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.slots[slot as usize] = Some(event);
        let entry = Reverse((at.0, self.next, slot));
        self.next += 1;
        let bucket = at.0 >> BUCKET;
        if bucket <= self.current {
            self.heap.push(entry);
        } else {
            self.later.entry(bucket).or_default().push(entry);
        }
    }

    /// The next event.
    pub fn take(&mut self) -> Option<(Time, E)> {
        if self.heap.is_empty() {
            let (bucket, entries) = self.later.pop_first()?;
            self.current = bucket;
            self.heap = BinaryHeap::from(entries);
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let event = self.slots[slot as usize].take()?;
        self.free.push(slot);
        Some((Time(at), event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::dice::Dice;

    #[test]
    fn events_come_by_time_and_then_in_the_order_put_in() {
        for far in [1, 1000] {
            let mut queue = Queue::new();
            for (at, name) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (4, 'e')] {
                queue.put(Time(at * far), name);
            }
            let mut order = String::new();
            while let Some((_, name)) = queue.take() {
                order.push(name);
                if name == 'b' {
                    queue.put(Time(5 * far), 'f'); // takes the place that b left, and comes last
                }
            }
            assert_eq!(order, "bdeacf");
        }
    }

    #[test]
    fn it_is_the_same_as_sorting() {
        let (mut queue, mut dice) = (Queue::new(), Dice::new(7));
        let (mut taken, mut put, mut now) = (Vec::new(), Vec::new(), 0);
        for number in 0..20_000u64 {
            let span = [10, 1_000, 1_000_000][dice.below(3) as usize];
            let at = now + dice.below(span);
            queue.put(Time(at), number);
            put.push((at, number));
            if dice.below(3) > 0
                && let Some((time, number)) = queue.take()
            {
                assert!(time.0 >= now);
                now = time.0;
                taken.push((time.0, number));
            }
        }
        while let Some((time, number)) = queue.take() {
            taken.push((time.0, number));
        }
        put.sort_unstable();
        assert_eq!(taken, put);
    }
}
