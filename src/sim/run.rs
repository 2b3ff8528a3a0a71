//! A run: nodes link up, then load and faults, then the liveness phase, then a little longer so
//! that attacks show their effect.

use std::time::Duration;

use super::event::{Event, START};
use super::event::{Glimpse, describe};
use super::world::World;
use crate::crypto::Digest;
use crate::protocol::Time;
use crate::report::{Recording, Violation};
use crate::scenario::{EXERCISE, Fault, FaultKind, LINGER, Latency, Ppm, Scenario, Start};

/// Longest time that honest nodes may take to get linked.
const LINKING: Duration = Duration::from_secs(60);
/// Time in place of [`LINGER`] in a run without liars, so that quiet is seen: the oracle asserts it
/// from 2 s on.
const QUIET: Duration = Duration::from_secs(4);
/// Interval between the oracle's checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// With more nodes than this, an all-honest run stops as soon as everything is delivered.
const LARGE: usize = 1000;

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until every honest node has a link.
    Linking,
    /// Load and faults are on.
    Running,
    /// All faults are over: everything must be delivered everywhere within `settle`.
    Settling,
    /// Everything is delivered everywhere; attacks go on a little longer.
    Lingering,
    /// The run has ended; no more events are processed.
    Over,
}

/// Whether no frame takes longer than half a second. Scenarios with a fault that slows links down
/// never qualify, as frames delayed by it arrive long after it is over.
pub(super) fn is_calm(scenario: &Scenario) -> bool {
    let net = &scenario.net;
    let slows = |fault: &Fault| {
        matches!(fault.kind, FaultKind::Loss(_) | FaultKind::Delay(_) | FaultKind::Cap(_))
    };
    let slowest = match &net.latency {
        Latency::Constant(one_way) => *one_way,
        Latency::Uniform { max, .. } | Latency::LongTailed { max, .. } => *max,
        Latency::Normal { mean, sd } => mean.saturating_add(sd.saturating_mul(6)),
        Latency::Regions { matrix, .. } => {
            matrix.iter().flatten().max().copied().unwrap_or_default()
        }
    };
    !scenario.faults.iter().any(slows)
        && net.loss == Ppm(0)
        && net.bandwidth.is_none()
        && slowest.saturating_add(net.jitter) <= Duration::from_millis(500)
}

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Simulated time since the start.
    pub now: Duration,
    /// Estimated simulated time at which the current phase ends.
    pub until: Duration,
    /// Events processed so far, all nodes together.
    pub events: u64,
    /// Deliveries of published messages at honest nodes so far.
    pub delivered: u64,
    /// Number of deliveries expected in total, as far as is known.
    pub expected: u64,
    /// The phase that events are processed in.
    pub phase: Phase,
}

/// A simulated run. The same scenario and seed give the same events on any host.
pub struct Sim {
    pub(super) world: World,
    phase: Phase,
    /// When the current phase may end next.
    until: Time,
    ends: Time,
    extended: bool,
    /// When everything had been delivered everywhere.
    lingers: Time,
}

impl Sim {
    /// Creates a run without processing any event. Memory grows with the number of nodes, links and
    /// messages. The scenario must be one that `Scenario::parse` accepts.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self::of(World::new(scenario, seed))
    }

    pub(super) fn of(mut world: World) -> Self {
        world.queue.put_global(START.after(CHECKPOINT), Event::Checkpoint);
        let until = START.after(LINKING);
        let (phase, extended, lingers) = (Phase::Linking, false, START);
        let start = world.scenario.mesh.start;
        let mut sim = Self { world, phase, until, ends: until, extended, lingers };
        match start {
            Start::Linked => sim.world.queue.put_global(until, Event::Phase),
            Start::Cold => sim.begin(START),
        }
        sim
    }

    /// Processes one event; returns `false` once the run is over.
    pub fn step(&mut self) -> bool {
        if self.phase == Phase::Over {
            return false;
        }
        let Some((at, event)) = self.world.queue.take() else {
            self.phase = Phase::Over;
            return false;
        };
        self.world.now = at;
        self.world.events += 1;
        describe(&mut self.world.digest, at, &event);
        let checkpoint = matches!(event, Event::Checkpoint);
        self.world.last = Some(Glimpse::of(&event));
        self.world.dispatch(event);
        if checkpoint {
            self.world.queue.put_global(at.after(CHECKPOINT), Event::Checkpoint);
        }
        self.turn(checkpoint);
        true
    }

    /// Ends the phase if it may end. At a `checkpoint` the costlier conditions are checked too.
    fn turn(&mut self, checkpoint: bool) {
        let now = self.world.now;
        match self.phase {
            Phase::Linking => {
                let all = self.world.living == self.world.linked;
                let started = now > START.after(Duration::from_millis(50));
                if (all && started) || now >= self.until {
                    self.begin(now);
                }
            }
            Phase::Running if now >= self.ends => self.settle(),
            Phase::Settling if self.complete() || (checkpoint && self.world.is_level()) => {
                self.linger(now)
            }
            Phase::Settling if now >= self.until => self.stop(),
            Phase::Lingering if now >= self.until => {
                let missing = !self.complete() && !self.world.is_level();
                if missing && now < self.ends.after(self.world.scenario.settle) {
                    self.settle(); // a rotten row was found meanwhile, and is fetched again
                } else if !self.extended && self.world.unexercised() {
                    self.extended = true;
                    self.until = now.after(EXERCISE);
                    self.world.queue.put_global(self.until, Event::Phase);
                } else if self.world.awaits(self.lingers) {
                    // Slots that liars showed to some nodes must reach all, even once the liars are
                    // gone.
                    self.world.send_liars_away();
                    self.until = now.after(CHECKPOINT);
                    self.world.queue.put_global(self.until, Event::Phase);
                } else {
                    self.stop();
                }
            }
            _ => {}
        }
    }

    /// Starts the load and the faults: times of the scenario count from `zero`.
    fn begin(&mut self, zero: Time) {
        let world = &mut self.world;
        self.phase = Phase::Running;
        self.ends = zero.after(world.scenario.ends(world.seed));
        world.queue.put_global(self.ends, Event::Phase);
        world.start_clock(zero);
    }

    fn settle(&mut self) {
        self.phase = Phase::Settling;
        self.until = self.ends.after(self.world.scenario.settle);
        self.world.queue.put_global(self.until, Event::Phase);
    }

    fn linger(&mut self, now: Time) {
        let world = &mut self.world;
        let honest = world.cast.iter().all(Option::is_none);
        if honest && world.hosts.len() > LARGE {
            return self.stop();
        }
        if is_calm(&world.scenario) {
            world.oracle.quiet(now);
        }
        self.phase = Phase::Lingering;
        self.lingers = now;
        self.until = now.after(if honest { QUIET } else { LINGER });
        world.queue.put_global(self.until, Event::Phase);
    }

    /// Ends the run, with the oracle's last checks.
    pub fn stop(&mut self) {
        self.phase = Phase::Over;
        self.world.finish_watching();
    }

    /// Whether everything is delivered everywhere.
    fn complete(&self) -> bool {
        let (world, recorder) = (&self.world, &self.world.recorder);
        recorder.loads == 0
            && recorder.waiting == 0
            && recorder.held == recorder.signed.saturating_mul(world.living as u64)
    }

    /// How far the run has got.
    pub fn progress(&self) -> Progress {
        let recorder = &self.world.recorder;
        let bound = match self.phase {
            Phase::Linking | Phase::Running => self.ends.max(self.world.now),
            _ => self.until,
        };
        Progress {
            now: self.world.now.since(START),
            until: bound.since(START),
            events: self.world.events,
            delivered: recorder.delivered,
            expected: recorder.published.saturating_mul(self.world.living as u64),
            phase: self.phase,
        }
    }

    /// The run digest: a digest over every event so far.
    pub fn digest(&self) -> Digest {
        self.world.digest.digest()
    }

    /// The last event, in words.
    pub fn event(&self) -> String {
        self.world.in_words()
    }

    /// What the oracle has seen so far.
    pub fn violations(&self) -> &[Violation] {
        self.world.oracle.violations()
    }

    /// The recording of the run, finished or not. The caller fills in what the run cost.
    pub fn finish(self) -> Recording {
        let digest = self.digest();
        self.world.recording(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_hopeless_network_do_not_pile_up() {
        let text = "name = 'x'\nduration = '30s'\n[mesh]\nnodes = 7\n[net]\nloss = 0.99\n";
        let mut sim = Sim::new(&Scenario::parse(text, &[]).expect("a scenario"), 7);
        while sim.step() {}
        let resources = sim.violations().iter().filter(|one| one.invariant.starts_with('R'));
        assert_eq!(resources.count(), 0);
        assert!(sim.world.recorder.counted.get("links_broken").is_some_and(|broken| *broken > 100));
    }
}
