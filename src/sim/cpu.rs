//! Processors: what a node's inputs cost it, and what waits meanwhile. As the driver of a real node
//! does it: one thread takes frames, link by link in turn, and then answers; two workers check
//! signatures; links are held back while too much is asked of checks or the disk.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::ends::Piece;
use super::world::{Event, World};
use crate::protocol::{Input, LinkId, Time};

/// What an input costs beside its bytes: a turn of the loop, decoding, tables.
const INPUT: Duration = Duration::from_micros(3);
/// Bytes that are hashed in a microsecond: a gigabyte a second.
const HASHED_PER_US: u64 = 1000;
/// Most of each that one turn of the driver takes.
const FRAMES: u32 = 64;
const ANSWERS: u32 = 256;
/// Checks, and reads, that may wait before links are held back.
const FULL_CHECKS: usize = 1024;
const FULL_READS: usize = 4096;
/// What a link may spend a round, and what a frame costs beside its bytes.
const QUANTUM: u64 = 8 << 10;
const FRAME_COST: u64 = 512;

/// A node's processor, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    /// What a check takes a worker.
    check: Duration,
    /// When the node is done with what it has.
    free_at: Time,
    workers: [Time; 2],
    checking: usize,
    reading: usize,
    answers: VecDeque<Input>,
    /// Links whose frames wait, with what each has left to spend.
    active: VecDeque<(LinkId, u64)>,
    members: BTreeSet<LinkId>,
    /// The timer is due.
    woken: bool,
    /// When the next turn is.
    turn_at: Option<Time>,
    frames_left: u32,
    answers_left: u32,
}

impl Cpu {
    /// One whose workers take so long for a check.
    pub fn new(check: Duration) -> Self {
        Self { check, frames_left: FRAMES, answers_left: ANSWERS, ..Self::default() }
    }

    /// The process died: nothing waits any more.
    pub fn reset(&mut self) {
        *self = Self::new(self.check);
    }

    fn is_idle(&self, now: Time) -> bool {
        self.free_at <= now && !self.woken && self.answers.is_empty() && self.active.is_empty()
    }

    fn charge(&mut self, now: Time, bytes: usize) {
        let hashing = Duration::from_micros(bytes as u64 / HASHED_PER_US);
        self.free_at = self.free_at.max(now).after(INPUT + hashing);
    }

    fn is_congested(&self) -> bool {
        self.checking >= FULL_CHECKS || self.reading >= FULL_READS
    }

    /// When a check that is asked for now is done.
    fn check_done(&mut self, now: Time) -> Time {
        self.checking += 1;
        let worker = usize::from(self.workers[1] < self.workers[0]);
        let done = self.workers[worker].max(now).after(self.check);
        self.workers[worker] = done;
        done
    }

    fn activate(&mut self, link: LinkId) {
        if self.members.insert(link) {
            self.active.push_back((link, 0));
        }
    }

    /// The link whose turn it is: deficit round robin, as in `src/net/fair.rs`.
    fn next_link(&mut self, next: impl Fn(LinkId) -> Option<usize>) -> Option<LinkId> {
        loop {
            let (link, left) = self.active.front_mut()?;
            let Some(bytes) = next(*link) else {
                self.members.remove(link);
                self.active.pop_front();
                continue;
            };
            let cost = FRAME_COST + bytes as u64;
            if *left >= cost {
                *left -= cost;
                return Some(*link);
            }
            *left += QUANTUM;
            self.active.rotate_left(1);
        }
    }
}

impl World {
    /// Whether an input must wait until its node is done with others; it is kept then.
    pub(super) fn must_wait(&mut self, node: usize, input: &Input) -> bool {
        let (now, Some(cpu)) = (self.now, &mut self.places[node].cpu) else { return false };
        match input {
            Input::Checked { .. }
            | Input::Read { .. }
            | Input::Written { .. }
            | Input::WriteFailed { .. }
            | Input::Pruned { .. }
            | Input::Damaged { .. }
                if !cpu.is_idle(now) =>
            {
                cpu.answers.push_back(input.clone());
                self.plan_turn(node);
                true
            }
            _ => false,
        }
    }

    /// An input is handed to its node, which is busy with it for a while.
    pub(super) fn charge(&mut self, node: usize, input: &Input) {
        let (now, Some(cpu)) = (self.now, &mut self.places[node].cpu) else { return };
        match input {
            Input::Checked { .. } => cpu.checking = cpu.checking.saturating_sub(1),
            Input::Read { .. } => cpu.reading = cpu.reading.saturating_sub(1),
            _ => {}
        }
        let bytes = if let Input::Frame { bytes, .. } = input { bytes.len() } else { 0 };
        cpu.charge(now, bytes);
    }

    /// How long a check takes that a node asks for now: that of the world, or what its workers
    /// need.
    pub(super) fn check_takes(&mut self, node: usize, usual: Duration) -> Duration {
        let now = self.now;
        self.places[node].cpu.as_mut().map_or(usual, |cpu| cpu.check_done(now).since(now))
    }

    /// A node asks for a read.
    pub(super) fn count_read(&mut self, node: usize) {
        if let Some(cpu) = &mut self.places[node].cpu {
            cpu.reading += 1;
        }
    }

    /// A node's timer is due; says whether that must wait.
    pub(super) fn wake_waits(&mut self, node: usize) -> bool {
        let (now, Some(cpu)) = (self.now, &mut self.places[node].cpu) else { return false };
        if cpu.is_idle(now) {
            return false;
        }
        cpu.woken = true;
        self.plan_turn(node);
        true
    }

    /// Whether what comes to an end must wait in its inbox: its node is busy.
    pub(super) fn is_busy(&self, node: usize) -> bool {
        let cpu = self.places[node].cpu.as_ref();
        cpu.is_some_and(|cpu| !cpu.is_idle(self.now) || cpu.is_congested())
    }

    /// Something waits in an inbox of a node that has a processor; says whether it has one.
    pub(super) fn line_up(&mut self, node: usize, link: LinkId) -> bool {
        let Some(cpu) = &mut self.places[node].cpu else { return false };
        cpu.activate(link);
        self.plan_turn(node);
        true
    }

    /// Sees to it that what waits is taken.
    pub(super) fn plan_turn(&mut self, node: usize) {
        let (now, place) = (self.now, &mut self.places[node]);
        let start = place.start;
        let Some(cpu) = place.cpu.as_mut().filter(|cpu| cpu.turn_at.is_none()) else { return };
        let waits =
            cpu.woken || !cpu.answers.is_empty() || (!cpu.active.is_empty() && !cpu.is_congested());
        if waits && !place.paused {
            let at = cpu.free_at.max(now);
            cpu.turn_at = Some(at);
            self.queue.put(at, node as u32, Event::Turn { node: node as u32, start });
        }
    }

    /// A node takes the next thing that waits.
    pub(super) fn turn(&mut self, node: usize, start: u32) {
        let place = &mut self.places[node];
        let Some(cpu) = place.cpu.as_mut().filter(|_| place.start == start) else { return };
        cpu.turn_at = None;
        if place.paused {
            return;
        }
        if cpu.free_at > self.now {
            return self.plan_turn(node); // it was given something else meanwhile
        }
        if std::mem::take(&mut cpu.woken) {
            self.wake_now(node);
            return self.plan_turn(node);
        }
        let frames = cpu.frames_left > 0 && !cpu.is_congested();
        if !(frames && self.take_frame(node)) {
            let Some(cpu) = &mut self.places[node].cpu else { return };
            match cpu.answers.pop_front() {
                Some(answer) if cpu.answers_left > 0 => {
                    cpu.answers_left -= 1;
                    self.hand(node, answer);
                }
                answer => {
                    answer.into_iter().for_each(|answer| cpu.answers.push_front(answer));
                    (cpu.frames_left, cpu.answers_left) = (FRAMES, ANSWERS);
                }
            }
        }
        self.plan_turn(node);
    }

    /// Takes in the next frame of the link whose turn it is.
    fn take_frame(&mut self, node: usize) -> bool {
        let Some(mut cpu) = self.places[node].cpu.take() else { return false };
        let link = cpu.next_link(|link| {
            let held = self.ends.get(link)?.rare.as_ref()?.held.front().map(Piece::length);
            held.filter(|_| !self.stays(link))
        });
        cpu.frames_left = cpu.frames_left.saturating_sub(1);
        self.places[node].cpu = Some(cpu);
        let Some(link) = link else { return false };
        self.take_held(link);
        self.made_room(link);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        while cpu.checking < FULL_CHECKS {
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
        cpu.activate(large);
        cpu.activate(small);
        let lengths = |link| Some(if link == large { 1 << 20 } else { 100 });
        let turns: Vec<LinkId> = (0..1000).filter_map(|_| cpu.next_link(lengths)).collect();
        let of_large = turns.iter().filter(|link| **link == large).count();
        assert!((0..=1).contains(&of_large), "{of_large} of a thousand");
        assert_eq!(cpu.next_link(|_| None), None);
        assert!(cpu.active.is_empty() && cpu.members.is_empty());
    }
}
