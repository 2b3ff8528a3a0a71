//! Processors: the time that inputs cost a node, and the inputs that wait meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::{Input, RoundRobin, Time};
use crate::wire::limits::{TURN_ANSWERS, TURN_FRAMES, WAITING_CHECKS, WAITING_READS};

/// Time of an input without its bytes: a turn of the loop, decoding, table lookups.
const INPUT: Duration = Duration::from_micros(3);
/// Bytes hashed per microsecond: 1 GB/s.
const HASHED_PER_US: u64 = 1000;

/// A node's processor, and the inputs that wait for it.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    /// Time that a worker takes for a signature check.
    pub check: Duration,
    /// When the node has finished the inputs taken so far.
    pub free_at: Time,
    pub workers: [Time; 2],
    pub checking: usize,
    pub reading: usize,
    pub answers: VecDeque<Input>,
    /// Links with waiting frames.
    pub active: RoundRobin,
    /// The node's timer is due.
    pub woken: bool,
    /// When the next turn is scheduled.
    pub turn_at: Option<Time>,
    pub frames_left: usize,
    pub answers_left: usize,
}

impl Cpu {
    /// A processor whose workers take this long for a check.
    pub(super) fn new(check: Duration) -> Self {
        Self { check, frames_left: TURN_FRAMES, answers_left: TURN_ANSWERS, ..Self::default() }
    }

    /// The process died: drops all waiting inputs.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.check);
    }

    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.free_at <= now && !self.woken && self.answers.is_empty() && self.active.is_empty()
    }

    pub(super) fn charge(&mut self, now: Time, bytes: usize) {
        let hashing = Duration::from_micros(bytes as u64 / HASHED_PER_US);
        self.free_at = self.free_at.max(now).after(INPUT + hashing);
    }

    pub(super) fn is_congested(&self) -> bool {
        self.checking >= WAITING_CHECKS || self.reading >= WAITING_READS
    }

    /// When a check requested now is done.
    pub(super) fn check_done(&mut self, now: Time) -> Time {
        self.checking += 1;
        let worker = usize::from(self.workers[1] < self.workers[0]);
        let done = self.workers[worker].max(now).after(self.check);
        self.workers[worker] = done;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::LinkId;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn inputs_and_checks_take_their_time() {
        let mut cpu = Cpu::new(US * 45);
        assert!(cpu.is_idle(Time(100)));
        cpu.charge(Time(100), 50_000);
        assert!(!cpu.is_idle(Time(152)) && cpu.is_idle(Time(153)));
        cpu.charge(Time(120), 0);
        assert_eq!(cpu.free_at, Time(156));
        let done: Vec<u64> = (0..5).map(|_| cpu.check_done(Time(200)).0).collect();
        assert_eq!(done, [245, 245, 290, 290, 335], "by two workers");
        assert!(!cpu.is_congested());
        while cpu.checking < WAITING_CHECKS {
            cpu.check_done(Time(200));
        }
        assert!(cpu.is_congested());
        cpu.reset();
        assert!(cpu.is_idle(Time(0)) && !cpu.is_congested());
    }

    #[test]
    fn links_take_turns_by_cost() {
        let mut cpu = Cpu::default();
        let (large, small) = (LinkId(1), LinkId(2));
        cpu.active.activate(large);
        cpu.active.activate(small);
        let lengths = |link| Some(if link == large { 1 << 20 } else { 100 });
        let turns: Vec<LinkId> = (0..1000).filter_map(|_| cpu.active.turn(lengths)).collect();
        let of_large = turns.iter().filter(|link| **link == large).count();
        assert!((0..=1).contains(&of_large), "{of_large} of a thousand");
        assert_eq!(cpu.active.turn(|_| None), None);
        assert!(cpu.active.is_empty());
    }
}
