//! One seed: runs it, measures it and judges it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::lockstep::{Difference, Steps, lockstep};
use super::runner::catch_panic;
use super::tally::{Failure, FailureKind, SeedResult, per_second};
use crate::crypto::Digest;
use crate::diagnostics::peak_rss_mb;
use crate::report::{Recording, Report, Resources, judge};
use crate::scenario::{Scenario, Verdict};
use crate::sim::Sim;

/// The watcher is called once per this many events.
const LOOK_EVERY: u64 = 1024;

/// One seed of a scenario, to be run and judged.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The scenario, overlays included.
    pub scenario: &'a Scenario,
    /// The seed to run it with.
    pub seed: u64,
    /// Run twice in lockstep, comparing digests after every event.
    pub verify: bool,
    /// Accept the verdict `not_exercised` where `pass` is expected.
    pub lenient: bool,
    /// A command line that repeats the run.
    pub reproduce: String,
}

/// The result of a run that did not panic.
#[derive(Debug)]
pub enum Ending {
    /// The run ended with a verdict.
    Judged(Box<Judged>),
    /// Two runs of the seed differ.
    Differs(Difference),
    /// The watcher stopped the run; with what was measured until then.
    Stopped(Box<Judged>),
}

/// A run and its verdict.
#[derive(Debug)]
pub struct Judged {
    /// What was recorded.
    pub recording: Recording,
    /// The report made from the recording.
    pub report: Report,
}

impl Steps for Sim {
    fn step(&mut self) -> bool {
        Self::step(self)
    }

    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn event(&self) -> String {
        Self::event(self)
    }
}

impl Job<'_> {
    /// Runs the job to its end. `watch` is called from time to time and stops the run by returning
    /// `false`. With `verify`, the time and the events per second are those of both runs together.
    pub fn run(&self, mut watch: impl FnMut(&Sim) -> bool) -> Ending {
        let clock = Stopwatch::start();
        let mut sim = Sim::new(self.scenario, self.seed);
        let mut stepping = Stopwatch::start();
        let mut stopped = false;
        let mut going = |sim: &Sim, events: u64| {
            stopped = stopped || (events % LOOK_EVERY == 1 && !watch(sim));
            !stopped
        };
        if self.verify {
            let mut again = Sim::new(self.scenario, self.seed);
            stepping = Stopwatch::start();
            if let Err(difference) = lockstep(&mut sim, &mut again, going) {
                return Ending::Differs(difference);
            }
        } else {
            let mut events = 0_u64;
            while sim.step() {
                events += 1;
                if !going(&sim, events) {
                    break;
                }
            }
        }
        let stepping = stepping.wall();
        let mut recording = sim.finish();
        recording.reproduce.clone_from(&self.reproduce);
        recording.interrupted = stopped;
        let runs = if self.verify { 2 } else { 1 };
        clock.fill(&mut recording.resources, runs, stepping);
        let report = judge(&recording);
        let judged = Box::new(Judged { recording, report });
        if stopped { Ending::Stopped(judged) } else { Ending::Judged(judged) }
    }

    /// Runs the job for its figures only; `None` if `watch` stopped it. A panic is reported as a
    /// failure.
    pub fn try_out(&self, watch: impl FnMut(&Sim) -> bool) -> Option<SeedResult> {
        let failed = |kind, what| Some(SeedResult::failed(self.failure(kind, what)));
        match catch_panic(|| self.run(watch)) {
            Ok(Ending::Judged(judged)) => {
                let mut result = SeedResult::of(self.seed, &judged.report);
                result.failure = self.judged(&judged.report);
                Some(result)
            }
            Ok(Ending::Differs(difference)) => {
                failed(FailureKind::NotDeterministic, difference.to_string())
            }
            Ok(Ending::Stopped(_)) => None,
            Err(what) => failed(FailureKind::Panicked, what),
        }
    }

    /// The failure that a report shows; `None` if its verdict is the expected one.
    pub fn judged(&self, report: &Report) -> Option<Failure> {
        let expected = self.scenario.verdict;
        let good = |verdict| {
            verdict == expected
                || (self.lenient && expected == Verdict::Pass && verdict == Verdict::NotExercised)
        };
        if good(report.verdict) {
            return None;
        }
        let liveness = report.verdict == Verdict::Liveness;
        let first = report.violations.iter().find(|one| one.liveness == liveness);
        let kind = FailureKind::Verdict(report.verdict, first.map(|one| one.invariant.clone()));
        Some(self.failure(kind, words(report, expected)))
    }

    /// A failure of this run.
    pub fn failure(&self, kind: FailureKind, what: String) -> Failure {
        let verify = if kind == FailureKind::NotDeterministic { " --verify" } else { "" };
        let reproduce = format!("{}{verify}", self.reproduce);
        Failure { seed: self.seed, kind, what, reproduce, shrunk: None }
    }
}

/// The findings behind a verdict, in words.
fn words(report: &Report, expected: Verdict) -> String {
    let mut found = Vec::new();
    let liveness = report.verdict == Verdict::Liveness;
    let violations = report.violations.iter().filter(|one| one.liveness == liveness);
    let count = violations.clone().count();
    if let Some(first) = violations.clone().next() {
        let node = first.node.as_deref().map(|node| format!(" at {node}")).unwrap_or_default();
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        found.push(format!("{}{node}, {} ms: {}{more}", first.invariant, first.at_ms, first.what));
    }
    match report.verdict {
        Verdict::Safety => {
            let accepted = report.delivery.duplicates + report.delivery.unpublished;
            let counts = [
                (accepted, "messages accepted that must be refused"),
                (report.bans.honest, "honest nodes banned"),
            ];
            let seen = counts.into_iter().filter(|(count, _)| *count > 0);
            found.extend(seen.map(|(count, what)| format!("{count} {what}")));
        }
        Verdict::Liveness => {
            let delivery = &report.delivery;
            if delivery.delivered < delivery.expected {
                let (delivered, expected) = (delivery.delivered, delivery.expected);
                found.push(format!("{delivered} of {expected} deliveries"));
            }
            if report.refused_posts > 0 {
                found.push(format!("{} posts refused", report.refused_posts));
            }
            let missed = report.expectations.iter().filter(|one| !one.pass);
            found.extend(missed.map(|one| format!("{} is {:?}", one.name, one.actual)));
        }
        Verdict::NotExercised => {
            let liars = report.idle_liars.join(", ");
            found.push(format!("no behaviour of {liars} reached an honest node"));
        }
        Verdict::Interrupted => found.push("interrupted".into()),
        Verdict::Pass => found.push(format!("passed, but {} was expected", expected.name())),
    }
    found.join("; ")
}

/// Measures wall time and the calling thread's CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts measuring now. CPU time is that of the calling thread only.
    pub fn start() -> Self {
        Self { begun: Instant::now(), cpu: cpu() }
    }

    /// Wall time since the start.
    pub fn wall(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Fills in the resources that the simulation cannot measure itself, for `runs` equal runs
    /// whose events took `stepping` altogether. Key generation and judging count in the wall time
    /// but not in the event rate. Memory is the peak of the process so far.
    pub fn fill(&self, resources: &mut Resources, runs: u64, stepping: Duration) {
        let wall = self.wall().as_secs_f64();
        resources.wall_s = Some(wall);
        resources.cpu_s = Some(cpu().saturating_sub(self.cpu).as_secs_f64());
        resources.peak_rss_mb = peak_rss_mb(std::process::id());
        let events = resources.events.unwrap_or(0).saturating_mul(runs);
        resources.events_per_s = per_second(events, stepping);
    }
}

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)).saturating_add(Duration::from_nanos(part(time.tv_nsec)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_every_figure() {
        let watch = Stopwatch::start();
        let mut block = vec![1_u64; 1 << 20];
        while cpu() < watch.cpu + Duration::from_millis(20) {
            block.iter_mut().for_each(|number| *number = number.rotate_left(1));
        }
        let mut cost = Resources { events: Some(1000), ..Resources::default() };
        watch.fill(&mut cost, 1, watch.wall());
        assert!(cost.cpu_s >= Some(0.02) && cost.wall_s >= Some(0.019), "{cost:?}");
        assert!(cost.peak_rss_mb > Some(8.0), "{cost:?}");
        let rate = cost.events_per_s.expect("time passed");
        assert!((1.0..50_100.0).contains(&rate), "{rate}");
    }
}
