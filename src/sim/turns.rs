//! Turns of busy nodes, as in the driver of the real node: one thread handles frames, link by link
//! in turn, and then answers; two workers check signatures; links are held back while too many
//! checks or reads are pending.

use std::time::Duration;

use super::event::Event;
use super::link::Chunk;
use super::world::World;
use crate::protocol::{Input, LinkId};
use crate::wire::limits::{TURN_ANSWERS, TURN_FRAMES};

impl World {
    /// Whether an input must wait until its node is free; if so, it is queued.
    pub(super) fn must_wait(&mut self, node: usize, input: &Input) -> bool {
        let (now, Some(cpu)) = (self.now, &mut self.hosts[node].cpu) else { return false };
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

    /// Charges an input to its node's processor.
    pub(super) fn charge(&mut self, node: usize, input: &Input) {
        let (now, Some(cpu)) = (self.now, &mut self.hosts[node].cpu) else { return };
        match input {
            Input::Checked { .. } => cpu.checking = cpu.checking.saturating_sub(1),
            Input::Read { .. } => cpu.reading = cpu.reading.saturating_sub(1),
            _ => {}
        }
        let bytes = if let Input::Frame { bytes, .. } = input { bytes.len() } else { 0 };
        cpu.charge(now, bytes);
    }

    /// How long a check that a node requests now takes.
    pub(super) fn check_done_after(&mut self, node: usize) -> Duration {
        let (now, usual) = (self.now, self.check_takes);
        self.hosts[node].cpu.as_mut().map_or(usual, |cpu| cpu.check_done(now).since(now))
    }

    /// A node requests a read.
    pub(super) fn count_read(&mut self, node: usize) {
        if let Some(cpu) = &mut self.hosts[node].cpu {
            cpu.reading += 1;
        }
    }

    /// A node's timer is due. Returns whether the wake-up must wait.
    pub(super) fn wake_waits(&mut self, node: usize) -> bool {
        let (now, Some(cpu)) = (self.now, &mut self.hosts[node].cpu) else { return false };
        if cpu.is_idle(now) {
            return false;
        }
        cpu.woken = true;
        self.plan_turn(node);
        true
    }

    /// Whether chunks that arrive at a node must wait in the inbox because the node is busy.
    pub(super) fn is_busy(&self, node: usize) -> bool {
        let cpu = self.hosts[node].cpu.as_ref();
        cpu.is_some_and(|cpu| !cpu.is_idle(self.now) || cpu.is_congested())
    }

    /// A chunk waits in an inbox. Returns whether the node has a simulated processor.
    pub(super) fn line_up(&mut self, node: usize, link: LinkId) -> bool {
        let Some(cpu) = &mut self.hosts[node].cpu else { return false };
        cpu.active.activate(link);
        self.plan_turn(node);
        true
    }

    /// Schedules a turn if any input waits.
    pub(super) fn plan_turn(&mut self, node: usize) {
        let (now, host) = (self.now, &mut self.hosts[node]);
        let start = host.start;
        let Some(cpu) = host.cpu.as_mut().filter(|cpu| cpu.turn_at.is_none()) else { return };
        let waits =
            cpu.woken || !cpu.answers.is_empty() || (!cpu.active.is_empty() && !cpu.is_congested());
        if waits && !host.paused {
            let at = cpu.free_at.max(now);
            cpu.turn_at = Some(at);
            self.queue.put(at, node as u32, Event::Turn { node: node as u32, start });
        }
    }

    /// A node takes the next waiting input.
    pub(super) fn turn(&mut self, node: usize, start: u32) {
        let host = &mut self.hosts[node];
        let Some(cpu) = host.cpu.as_mut().filter(|_| host.start == start) else { return };
        cpu.turn_at = None;
        if host.paused {
            return;
        }
        if cpu.free_at > self.now {
            return self.plan_turn(node); // it was given another input meanwhile
        }
        if std::mem::take(&mut cpu.woken) {
            self.wake_now(node);
            return self.plan_turn(node);
        }
        let frames = cpu.frames_left > 0 && !cpu.is_congested();
        if !(frames && self.take_frame(node)) {
            let Some(cpu) = &mut self.hosts[node].cpu else { return };
            match cpu.answers.pop_front() {
                Some(answer) if cpu.answers_left > 0 => {
                    cpu.answers_left -= 1;
                    self.hand(node, answer);
                }
                answer => {
                    answer.into_iter().for_each(|answer| cpu.answers.push_front(answer));
                    (cpu.frames_left, cpu.answers_left) = (TURN_FRAMES, TURN_ANSWERS);
                }
            }
        }
        self.plan_turn(node);
    }

    /// Takes in the next frame of the link whose turn it is. Returns whether there was one.
    fn take_frame(&mut self, node: usize) -> bool {
        let Some(mut cpu) = self.hosts[node].cpu.take() else { return false };
        let link = cpu.active.turn(|link| {
            let held = self.links.get(link)?.rare.as_ref()?.held.front().map(Chunk::length);
            held.filter(|_| !self.stays(link))
        });
        cpu.frames_left = cpu.frames_left.saturating_sub(1);
        self.hosts[node].cpu = Some(cpu);
        let Some(link) = link else { return false };
        self.take_held(link);
        self.made_room(link);
        true
    }
}
