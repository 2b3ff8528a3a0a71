//! A run: linking, load and faults, then the liveness phase, then a little longer for attacks to be
//! seen to their end.

use std::time::Duration;

use super::event::{Event, START};
use super::event::{Glimpse, describe};
use super::world::World;
use crate::crypto::Digest;
use crate::protocol::Time;
use crate::report::{Recording, Violation};
use crate::scenario::{Fault, FaultKind, Latency, Ppm, Scenario, Start};

/// How long honest nodes may take to get linked.
const LINKING: Duration = Duration::from_secs(60);
/// How long the run goes on once everything is everywhere, so that attacks are seen.
const LINGER: Duration = Duration::from_secs(1);
/// The same where nobody lies, so that quiet is seen: the oracle asserts it from 2 s on.
const QUIET: Duration = Duration::from_secs(4);
/// How much longer it goes on for an attack that has reached nobody yet.
const EXERCISE: Duration = Duration::from_secs(3);
/// How often the oracle looks at everybody.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// Above so many nodes an honest mesh that has everything is not watched any longer.
const LARGE: usize = 1000;

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until every honest node has a link.
    Linking,
    /// Load and faults.
    Running,
    /// Faults are over: everything must be everywhere within the bound.
    Settling,
    /// Everything is everywhere; attacks go on a little longer.
    Lingering,
    /// Nothing happens any more.
    Over,
}

/// Whether no frame takes longer than half a second, so that what is under way has soon passed.
/// What a fault slowed down is under way long after it.
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

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Simulated time since the start.
    pub now: Duration,
    /// An estimate of where that ends.
    pub until: Duration,
    /// Events so far.
    pub events: u64,
    /// Deliveries of published messages at honest nodes so far.
    pub delivered: u64,
    /// How many there must be in the end, as far as is known.
    pub expected: u64,
    /// What it is at.
    pub phase: Phase,
}

/// A simulated run. The same scenario and seed give the same events, on any machine.
pub struct Sim {
    pub(super) world: World,
    phase: Phase,
    /// When the phase may end next.
    until: Time,
    ends: Time,
    extended: bool,
    /// When everything was everywhere.
    lingers: Time,
}

impl Sim {
    /// A run that has not begun. Memory follows nodes, links and messages. The scenario must be
    /// one that `Scenario::parse` let pass.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut world = World::new(scenario, seed);
        world.queue.put_global(START.after(CHECKPOINT), Event::Checkpoint);
        let until = START.after(LINKING);
        let (phase, extended, lingers) = (Phase::Linking, false, START);
        let mut sim = Self { world, phase, until, ends: until, extended, lingers };
        match scenario.mesh.start {
            Start::Linked => sim.world.queue.put_global(until, Event::Phase),
            Start::Cold => sim.begin(START),
        }
        sim
    }

    /// Lets one event happen; `false` once the run is over.
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

    /// Ends the phase if it may end; `checkpoint` if there is time for a closer look.
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
                    self.settle(); // a row that rotted was found meanwhile, and comes again
                } else if !self.extended && self.world.unexercised() {
                    self.extended = true;
                    self.until = now.after(EXERCISE);
                    self.world.queue.put_global(self.until, Event::Phase);
                } else if self.world.awaits(self.lingers) {
                    // What liars showed in parts must be everywhere though they leave.
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

    /// The run's zero: from here on the scenario's times count.
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

    fn stop(&mut self) {
        self.phase = Phase::Over;
        self.world.finish_watching();
    }

    /// Whether everything is everywhere.
    fn complete(&self) -> bool {
        let (world, recorder) = (&self.world, &self.world.recorder);
        recorder.loads == 0
            && recorder.waiting == 0
            && recorder.held == recorder.signed.saturating_mul(world.living as u64)
    }

    /// How far the run is.
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

    /// Over every event so far.
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

    /// The run as it was recorded, over or not. The caller knows what it cost.
    pub fn finish(self) -> Recording {
        let digest = self.digest();
        self.world.record(digest)
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
