//! The event queue: ordered by time, then by the order in which events were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::protocol::Time;

/// Events to come. Entries of the heap are small and events stay where they are put, so that
/// sifting moves 24 bytes a step.
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    next: u64,
}

impl<E> Queue<E> {
    /// Nothing to come.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), next: 0 }
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
        self.heap.push(Reverse((at.0, self.next, slot)));
        self.next += 1;
    }

    /// The next event.
    pub fn take(&mut self) -> Option<(Time, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let event = self.slots[slot as usize].take()?;
        self.free.push(slot);
        Some((Time(at), event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_put_in() {
        let mut queue = Queue::new();
        for (at, name) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (4, 'e')] {
            queue.put(Time(at), name);
        }
        let mut order = String::new();
        while let Some((_, name)) = queue.take() {
            order.push(name);
            if name == 'b' {
                queue.put(Time(5), 'f'); // takes the place that b left, and still comes last
            }
        }
        assert_eq!(order, "bdeacf");
    }
}
