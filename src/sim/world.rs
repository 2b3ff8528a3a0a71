//! The world: nodes, links and disks under one event queue. The loop here stands in for
//! sockets, threads and SQLite; the nodes and the adversaries are those of the real processes.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Glimpse, RunDigest};
use super::host::Host;
use super::link::{Chunk, Impairments, Links};
use super::oracle::Oracle;
use super::queue::Queue;
use super::recorder::Recorder;
use super::signatures::Signatures;
use crate::adversary::{Actor, Effect, Spec};
use crate::crypto::{Identity, PublicKey};
use crate::protocol::{Config, Down, Input, LinkId, Network, Output, Time};
use crate::scenario::{Dice, Scenario};
use crate::wire::Batch;

/// How long a worker takes for a signature check: the measured 45 µs and a turn of the loop.
pub(super) const CHECK: Duration = Duration::from_micros(60);
/// A node whose deadline has not moved is not woken again sooner than this: as in the driver.
const WAKE_GAP: Duration = Duration::from_micros(200);
/// In place of the node number of a key without a node.
pub(super) const NOBODY: u32 = u32::MAX;

/// The whole state of a simulated run.
pub(super) struct World {
    pub now: Time,
    pub seed: u64,
    pub scenario: Scenario,
    pub network: Arc<Network>,
    /// Node number of each key of the network file, by the key's index there, or [`NOBODY`].
    pub numbers: Vec<u32>,
    pub config: Config,
    pub cast: Vec<Option<Spec>>,
    pub identities: Vec<Identity>,
    pub decoys: Vec<Batch>,
    pub queue: Queue<Event>,
    pub hosts: Vec<Host>,
    pub links: Links,
    pub dice: Dice,
    pub digest: RunDigest,
    pub signatures: Signatures,
    /// How long signature checks and synced writes take where no simulated processor says so.
    pub check_takes: Duration,
    pub sync_takes: Duration,
    pub impairments: Impairments,
    pub recorder: Recorder,
    pub oracle: Oracle,
    /// Number of events so far.
    pub events: u64,
    pub last: Option<Glimpse>,
    /// Number of honest nodes that are up, and how many of them have a ready link.
    pub living: usize,
    pub linked: usize,
    /// What a test wants to be wrong with the run.
    #[cfg(test)]
    pub defects: super::defects::Defects,
}

impl World {
    /// The last event in words.
    pub(super) fn in_words(&self) -> String {
        let words = self.last.map(|last| last.in_words(self.now, &self.links));
        words.unwrap_or_else(|| "no event yet".into())
    }

    /// Schedules an input of a node after a delay.
    pub(super) fn schedule(&mut self, node: usize, after: Duration, input: Input) {
        let start = self.hosts[node].start;
        let event = Event::Input { node: node as u32, start, input };
        self.queue.put(self.now.after(after), node as u32, event);
    }

    pub(super) fn node_of(&self, key: &PublicKey) -> Option<usize> {
        let number = self.network.index_of(key)?;
        let node = self.numbers.get(number as usize).filter(|node| **node != NOBODY)?;
        Some(*node as usize)
    }

    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Input { node, start, input } => {
                // If a link broke before its owner was told of it, the owner never hears of it, as
                // no event would end it.
                let gone =
                    matches!(input, Input::LinkUp { link, .. } if self.links.up(link).is_none());
                if self.hosts[node as usize].start == start && !gone {
                    self.deliver(node as usize, input);
                }
            }
            Event::Synced { node, start, token } => {
                let host = &mut self.hosts[node as usize];
                if host.start == start {
                    host.disk.sync(token);
                    self.tell_of_disk(node as usize);
                    self.deliver(node as usize, Input::Written { token });
                }
            }
            Event::Again { node, start } => self.again(node as usize, start),
            Event::Turn { node, start } => self.turn(node as usize, start),
            Event::Wake { node, at } => self.wake(node as usize, at),
            Event::Chunk { to, chunk } => self.arrive(to, chunk),
            Event::Released { to } => self.released(to),
            Event::Written { end } => self.written(end),
            Event::Dialled { from, start, to, trial } => {
                if self.hosts[from as usize].start == start {
                    self.dialled(from as usize, to as usize, trial);
                }
            }
            Event::Begin { node } => self.begin(node as usize),
            Event::Fault { event } => self.apply_fault(event as usize),
            Event::Post { load, k, since } => self.post(load as usize, k, since),
            Event::Checkpoint => self.checkpoint(),
            Event::Phase => {}
        }
    }

    fn wake(&mut self, node: usize, at: Time) {
        let host = &mut self.hosts[node];
        if host.wake != Some(at) || host.paused {
            return;
        }
        if !self.wake_waits(node) {
            self.wake_now(node);
        }
    }

    /// Wakes a node if its timer is still due.
    pub(super) fn wake_now(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.wake = None;
        match host.deadline() {
            Some(due) if due <= self.now => self.deliver(node, Input::Wake),
            _ => self.schedule_wake(node, false),
        }
    }

    /// Hands an input to the node on a host, or queues it while the node is paused or busy.
    pub(super) fn deliver(&mut self, node: usize, input: Input) {
        let host = &mut self.hosts[node];
        if host.paused {
            let (node, start) = (node as u32, host.start);
            return host.waiting.push(Event::Input { node, start, input });
        }
        if !self.must_wait(node, &input) {
            self.hand(node, input);
        }
    }

    /// Hands an input over without waiting.
    pub(super) fn hand(&mut self, node: usize, input: Input) {
        self.charge(node, &input);
        let (now, host) = (self.now, &mut self.hosts[node]);
        let woken = matches!(input, Input::Wake);
        if let Some(Actor::Honest(honest)) = &host.actor {
            self.oracle.before(now, node, &input, honest);
        }
        match (&mut host.actor, input) {
            (Some(actor), input) => actor.handle(now, input),
            (None, Input::Frame { link, bytes }) => host.hear(link, &bytes),
            _ => {}
        }
        self.settle(node);
        self.schedule_wake(node, woken);
        self.plan_turn(node);
    }

    /// Carries out the outputs of a node until there are none left.
    pub(super) fn settle(&mut self, node: usize) {
        while let Some(act) = self.hosts[node].actor.as_mut().and_then(Actor::poll) {
            match act {
                #[cfg(test)]
                Effect::Node(output) if self.defects.ignores(&output) => {}
                Effect::Node(output) => {
                    #[cfg(not(test))]
                    self.tell_oracle(node, &output);
                    #[cfg(test)]
                    for heard in self.defects.heard(self.now, node, &output) {
                        self.tell_oracle(node, &heard);
                    }
                    self.carry_out(node, output);
                }
                Effect::Raw { link, bytes } => self.transmit(link, Chunk::Bytes(bytes)),
                Effect::Pause { link, reading } => self.read_or_not(link, reading),
                Effect::Pace { link, bytes_per_s } => {
                    if let Some(end) = self.links.up(link) {
                        end.rare().pace = bytes_per_s;
                    }
                }
            }
        }
        if let Some(Actor::Honest(honest)) = &self.hosts[node].actor {
            self.oracle.after(self.now, node, honest);
        }
    }

    /// The oracle hears an output of a node.
    fn tell_oracle(&mut self, node: usize, output: &Output) {
        if self.hosts[node].honest {
            self.judge_acknowledgement(node, output);
            self.oracle.output(self.now, node, output);
        }
    }

    /// Makes sure that a node is woken in time.
    pub(super) fn schedule_wake(&mut self, node: usize, woken: bool) {
        let host = &mut self.hosts[node];
        let Some(due) = host.deadline() else { return };
        let soonest = if woken { self.now.after(WAKE_GAP) } else { self.now };
        let at = due.max(soonest);
        if host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.queue.put(at, node as u32, Event::Wake { node: node as u32, at });
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { link, class, frame, .. } => self.send(link, class, Chunk::Frame(frame)),
            Output::Dial { peer } => self.dial(node, &peer),
            Output::Close { link, .. } => self.close(node, link),
            Output::Check { token, key, statement, signature } => {
                let verdict = self.signatures.check(&key, &statement, &signature);
                self.oracle.checked(self.now, &key, &statement, &signature, verdict.is_good());
                #[cfg(test)]
                let verdict = self.defects.verdict.unwrap_or(verdict);
                let takes = self.check_done_after(node);
                self.schedule(node, takes, Input::Checked { token, verdict });
            }
            Output::Write { token, record, durability } => {
                self.write(node, token, record, durability);
            }
            Output::Read { token, author, seq, id } => self.read(node, token, (author, seq, id)),
            Output::Doubt { token, author, seq, id } => {
                self.read(node, token, (author, seq, Some(id)));
            }
            Output::Deliver(stored) => self.delivered(node, &stored),
            Output::Published { ticket, .. } => self.recorder.acknowledged(node, ticket),
            Output::PublishFailed { ticket } => self.recorder.failed(node, ticket),
            Output::Submitted { ticket, result } => {
                self.hosts[node].submitted.push((ticket, result))
            }
        }
    }

    pub(super) fn checkpoint(&mut self) {
        if self.impairments.any() || self.hosts.iter().any(|host| host.paused) {
            self.oracle.unsettled(self.now);
        }
        let hosts = &self.hosts;
        let living = hosts.iter().enumerate().filter(|(_, host)| !host.paused);
        let honest = living.filter_map(|(node, host)| match &host.actor {
            Some(Actor::Honest(honest)) => Some((node, &**honest)),
            _ => None,
        });
        let holds = |node: usize, author: &PublicKey, seq| hosts[node].disk.held(*author, seq);
        self.oracle.checkpoint(self.now, honest, &holds);
    }

    /// Takes a link's end down and tells its owner.
    pub(super) fn lose(&mut self, end: LinkId) {
        let Some(owner) = self.take_down(end) else { return };
        self.deliver(owner, Input::LinkDown { link: end, cause: Down::Lost });
    }
}
