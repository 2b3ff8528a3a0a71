//! Results of a campaign: counts, ranges over seeds, the slowest seed, and the failures.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::report::Report;
use crate::scenario::Verdict;

/// Most failures kept in full; further ones are only counted.
pub(super) const MAX_FAILURES: usize = 1000;

/// How the run of a seed failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The verdict differs from the expected one; with the first invariant that was violated, if
    /// any.
    Verdict(Verdict, Option<String>),
    /// Two runs of the seed differ.
    NotDeterministic,
    /// The simulator panicked.
    Panicked,
    /// The scenario could not be run: what the seed drew is invalid with the given overlays.
    Unusable,
}

impl FailureKind {
    /// The name used in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verdict(verdict, _) => verdict.name(),
            Self::NotDeterministic => "not_deterministic",
            Self::Panicked => "panicked",
            Self::Unusable => "unusable",
        }
    }

    /// The program's exit code: that of the verdict (1 for a pass where another verdict was
    /// expected), 6 if not deterministic, 1 if the run panicked or could not be started.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Verdict(verdict, _) => verdict.exit_code().max(1),
            Self::NotDeterministic => 6,
            Self::Panicked | Self::Unusable => 1,
        }
    }

    /// Rank among kinds of failures, higher is worse: safety, then non-determinism (which voids
    /// every other result), panic, liveness, and the rest.
    fn gravity(&self) -> u8 {
        match self {
            Self::Verdict(Verdict::Safety, _) => 5,
            Self::NotDeterministic => 4,
            Self::Panicked => 3,
            Self::Verdict(Verdict::Liveness, _) => 2,
            Self::Verdict(_, _) => 1,
            Self::Unusable => 0,
        }
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A seed whose run did not end as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// The seed that was run.
    pub seed: u64,
    /// What decides the exit code.
    pub kind: FailureKind,
    /// A description of what went wrong.
    pub what: String,
    /// A command line that repeats the run.
    pub reproduce: String,
    /// Path of a smaller scenario that fails in the same way, if shrinking found one.
    pub shrunk: Option<PathBuf>,
}

/// The result of one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SeedResult {
    pub seed: u64,
    /// `None` if the run reached no verdict.
    pub verdict: Option<Verdict>,
    pub failure: Option<Failure>,
    pub digest: Option<String>,
    pub nodes: usize,
    pub malicious: usize,
    pub published: u64,
    pub events: u64,
    pub sim_s: Option<f64>,
    pub wall_s: f64,
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    pub latency_max_ms: Option<f64>,
    pub hops_mean: Option<f64>,
    pub hops_max: Option<u64>,
}

impl SeedResult {
    /// The result for a run that reached a verdict, from its report.
    pub fn of(seed: u64, report: &Report) -> Self {
        let latency = report.delivery.latency_ms;
        let hops = report.delivery.hops.as_ref();
        Self {
            seed,
            verdict: Some(report.verdict),
            failure: None,
            digest: report.digest.clone(),
            nodes: report.nodes,
            malicious: report.malicious.len(),
            published: report.published,
            events: report.resources.events.unwrap_or(0),
            sim_s: report.resources.sim_s,
            wall_s: report.resources.wall_s.unwrap_or(0.0),
            latency_p50_ms: latency.map(|latency| latency.p50),
            latency_p99_ms: latency.map(|latency| latency.p99),
            latency_max_ms: latency.map(|latency| latency.max),
            hops_mean: hops.map(|hops| hops.mean),
            hops_max: hops.map(|hops| hops.max),
        }
    }

    /// The result for a run that reached no verdict.
    pub fn failed(failure: Failure) -> Self {
        Self { seed: failure.seed, failure: Some(failure), ..Self::default() }
    }
}

/// The least or greatest value of a figure, and the seed it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Extreme {
    pub value: f64,
    pub seed: u64,
}

/// Minimum, mean and maximum of a figure over all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Range {
    pub min: Extreme,
    pub mean: f64,
    pub max: Extreme,
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    count: u64,
}

impl Range {
    fn widen(range: &mut Option<Self>, seed: u64, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        let one = Extreme { value, seed };
        let range =
            range.get_or_insert(Self { min: one, mean: value, max: one, sum: 0.0, count: 0 });
        // Among equal values the lowest seed wins, so that the result does not depend on thread
        // timing.
        let before = |a: Extreme, b: Extreme| a.value == b.value && a.seed < b.seed;
        if value < range.min.value || before(one, range.min) {
            range.min = one;
        }
        if value > range.max.value || before(one, range.max) {
            range.max = one;
        }
        range.sum += value;
        range.count += 1;
        range.mean = range.sum / range.count as f64;
    }
}

/// The result of a campaign, as in `campaign.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Version of this JSON format: 1.
    pub schema: u32,
    /// The name of the scenario or swarm.
    pub name: String,
    /// First and last seed, both inclusive.
    pub seeds: [u64; 2],
    /// Number of seeds that were run to the end.
    pub ran: u64,
    /// Number of seeds that met their expectation.
    pub met: u64,
    /// Number of seeds that failed.
    pub failed: u64,
    /// The campaign was stopped before all seeds were run.
    pub interrupted: bool,
    /// Number of seeds by verdict; the failures `not_deterministic`, `panicked` and `unusable` are
    /// counted here too.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Exit code of the gravest failure; 0 if no seed failed.
    pub exit_code: u8,
    /// Median latency of each seed's deliveries, in milliseconds.
    pub latency_p50_ms: Option<Range>,
    /// 99th percentile of each seed's latencies, in milliseconds.
    pub latency_p99_ms: Option<Range>,
    /// Greatest latency of each seed, in milliseconds.
    pub latency_max_ms: Option<Range>,
    /// Mean number of hops of each seed's deliveries.
    pub hops_mean: Option<Range>,
    /// Greatest number of hops of each seed's deliveries.
    pub hops_max: Option<Range>,
    /// Number of nodes of each seed that reached a verdict.
    pub nodes: Option<Range>,
    /// Number of events, all seeds together.
    pub events: u64,
    /// The seed that took longest, and its wall time in seconds.
    pub slowest: Option<Extreme>,
    /// Number of threads, each with one run at a time.
    pub jobs: usize,
    /// Wall time so far, in seconds.
    pub wall_s: f64,
    /// Seeds per minute; `None` if no time has passed.
    pub seeds_per_min: Option<f64>,
    /// Events per second of wall time, all threads together.
    pub events_per_s: Option<f64>,
    /// The first 1000 failures that occurred, sorted by seed.
    pub failures: Vec<Failure>,
    #[serde(skip)]
    gravest: u8,
}

impl Summary {
    /// A summary without results.
    pub fn new(name: &str, seeds: &RangeInclusive<u64>, jobs: usize) -> Self {
        let seeds = [*seeds.start(), *seeds.end()];
        Self { schema: 1, name: name.into(), seeds, jobs, ..Self::default() }
    }

    /// Adds the result of a seed.
    pub fn add(&mut self, result: SeedResult) {
        let seed = result.seed;
        self.ran += 1;
        self.events = self.events.saturating_add(result.events);
        let kind = result.failure.as_ref().map(|failure| &failure.kind);
        let name =
            kind.map_or_else(|| result.verdict.map_or("none", Verdict::name), FailureKind::name);
        *self.verdicts.entry(name).or_default() += 1;
        Range::widen(&mut self.latency_p50_ms, seed, result.latency_p50_ms);
        Range::widen(&mut self.latency_p99_ms, seed, result.latency_p99_ms);
        Range::widen(&mut self.latency_max_ms, seed, result.latency_max_ms);
        Range::widen(&mut self.hops_mean, seed, result.hops_mean);
        Range::widen(&mut self.hops_max, seed, result.hops_max.map(|hops| hops as f64));
        Range::widen(&mut self.nodes, seed, result.verdict.map(|_| result.nodes as f64));
        if self.slowest.is_none_or(|slowest| result.wall_s > slowest.value) {
            self.slowest = Some(Extreme { value: result.wall_s, seed });
        }
        match result.failure {
            None => self.met += 1,
            Some(failure) => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failed == 1 || failure.kind.gravity() > self.gravest {
            (self.gravest, self.exit_code) = (failure.kind.gravity(), failure.kind.exit_code());
        }
        if self.failures.len() < MAX_FAILURES {
            let at = self.failures.partition_point(|other| other.seed < failure.seed);
            self.failures.insert(at, failure);
        }
    }

    /// Fills in the wall time and the rates that depend on it.
    pub fn close(&mut self, wall: Duration, interrupted: bool) {
        self.wall_s = wall.as_secs_f64();
        self.interrupted = interrupted;
        self.seeds_per_min = per_second(self.ran, wall).map(|rate| rate * 60.0);
        self.events_per_s = per_second(self.events, wall);
    }
}

/// A rate per second; `None` if no time passed.
pub(super) fn per_second(count: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(seed: u64, p50: f64) -> SeedResult {
        let verdict = Some(Verdict::Pass);
        SeedResult { seed, verdict, latency_p50_ms: Some(p50), ..SeedResult::default() }
    }

    fn failed(seed: u64, kind: FailureKind) -> SeedResult {
        let (what, reproduce) = (String::new(), String::new());
        SeedResult::failed(Failure { seed, kind, what, reproduce, shrunk: None })
    }

    #[test]
    fn ranges_name_their_seeds_in_whatever_order_these_come() {
        let results = [passed(1, 5.0), passed(2, 3.0), passed(3, 7.0), passed(4, 7.0)];
        let sum = |order: [usize; 4]| {
            let mut summary = Summary::new("x", &(1..=4), 1);
            order.into_iter().for_each(|at| summary.add(results[at].clone()));
            summary.latency_p50_ms.expect("some")
        };
        let range = sum([0, 1, 2, 3]);
        assert_eq!((range.min.value, range.min.seed), (3.0, 2));
        assert_eq!((range.max.value, range.max.seed, range.mean), (7.0, 3, 5.5));
        assert_eq!(sum([3, 2, 1, 0]), range);
    }

    #[test]
    fn the_gravest_failure_is_the_exit_code() {
        let code = |kinds: &[FailureKind]| {
            let mut summary = Summary::new("x", &(1..=9), 1);
            summary.add(passed(9, 1.0));
            kinds
                .iter()
                .enumerate()
                .for_each(|(n, kind)| summary.add(failed(n as u64, kind.clone())));
            assert_eq!(summary.failed, kinds.len() as u64);
            summary.exit_code
        };
        let of = |verdict| FailureKind::Verdict(verdict, None);
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&[FailureKind::Unusable]), 1);
        assert_eq!(code(&[of(Verdict::NotExercised), FailureKind::Unusable]), 5);
        assert_eq!(code(&[of(Verdict::NotExercised), of(Verdict::Liveness)]), 3);
        assert_eq!(code(&[FailureKind::NotDeterministic, of(Verdict::Liveness)]), 6);
        assert_eq!(code(&[FailureKind::Panicked, of(Verdict::Safety)]), 4);
        // A pass is a failure where another verdict was expected.
        assert_eq!(code(&[of(Verdict::Pass)]), 1);
    }

    #[test]
    fn failures_are_kept_by_seed_and_bounded() {
        let mut summary = Summary::new("x", &(0..=2000), 1);
        for seed in (0..2000).rev() {
            summary.add(failed(seed, FailureKind::Panicked));
        }
        assert_eq!((summary.failed, summary.failures.len()), (2000, MAX_FAILURES));
        assert!(summary.failures.is_sorted_by_key(|failure| failure.seed));
        summary.close(Duration::from_secs(60), true);
        assert_eq!(summary.seeds_per_min.map(f64::round), Some(2000.0));
        let json = serde_json::to_value(&summary).expect("JSON");
        assert_eq!(json["verdicts"]["panicked"], 2000);
        assert_eq!(json["failures"][0]["kind"], "panicked");
    }
}
