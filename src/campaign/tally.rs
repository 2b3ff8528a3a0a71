//! What a campaign found: counts, ranges over seeds, the slowest seed, the failures.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::cost::per_second;
use crate::report::Report;
use crate::scenario::Verdict;

/// Failures that are kept in full; the others are only counted.
pub const MAX_FAILURES: usize = 1000;

/// How the run of a seed ended, where it did not end as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another verdict than the one that was expected, and the first invariant that did not hold.
    Verdict(Verdict, Option<String>),
    /// Two runs of the seed differ.
    NotDeterministic,
    /// The simulator panicked.
    Panicked,
    /// There was nothing to run: its scenario makes no sense with what was set.
    Unusable,
}

impl Kind {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verdict(verdict, _) => verdict.name(),
            Self::NotDeterministic => "not_deterministic",
            Self::Panicked => "panicked",
            Self::Unusable => "unusable",
        }
    }

    /// The program's exit code for it: that of the verdict, 6 not deterministic, 1 failed to run,
    /// also where another verdict than pass was expected.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Verdict(verdict, _) => verdict.exit_code().max(1),
            Self::NotDeterministic => 6,
            Self::Panicked | Self::Unusable => 1,
        }
    }

    /// How grave it is among others: safety, then a missing determinism (which voids all else), a
    /// panic, liveness, the rest.
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

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// How.
    pub kind: Kind,
    /// What was seen, in words.
    pub what: String,
    /// The command line that runs it again.
    pub reproduce: String,
    /// The smaller scenario that fails in the same way.
    pub shrunk: Option<PathBuf>,
}

/// How the run of a seed ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SeedResult {
    pub seed: u64,
    /// `None` if the run did not come to one.
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
    /// The figures of a report.
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

    /// A run that came to no verdict.
    pub fn failed(failure: Failure) -> Self {
        Self { seed: failure.seed, failure: Some(failure), ..Self::default() }
    }
}

/// One end of a range, and the seed that has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Extreme {
    pub value: f64,
    pub seed: u64,
}

/// A figure over all seeds.
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
        // Of equals the lowest seed, so that the order in which threads end does not show.
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

/// A campaign's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Version of this shape: 1.
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// First and last seed, both included.
    pub seeds: [u64; 2],
    /// Seeds that were run to an end.
    pub ran: u64,
    /// Those that ended as they should.
    pub met: u64,
    /// Those that did not.
    pub failed: u64,
    /// Somebody stopped it before all seeds were run.
    pub interrupted: bool,
    /// Runs by verdict; `not_deterministic`, `panicked` and `unusable` are no verdicts but count
    /// here too.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// The worst that happened: the exit code.
    pub exit_code: u8,
    /// Median latency of a seed's deliveries, milliseconds.
    pub latency_p50_ms: Option<Range>,
    /// 99th percentile of them.
    pub latency_p99_ms: Option<Range>,
    /// The slowest of them.
    pub latency_max_ms: Option<Range>,
    /// Mean hops of a seed's deliveries.
    pub hops_mean: Option<Range>,
    /// Most hops of them.
    pub hops_max: Option<Range>,
    /// Nodes.
    pub nodes: Option<Range>,
    /// Events.
    pub events: u64,
    /// The seed that took longest, in seconds.
    pub slowest: Option<Extreme>,
    /// Threads.
    pub jobs: usize,
    /// Time that passed, in seconds.
    pub wall_s: f64,
    /// Seeds a minute.
    pub seeds_per_min: Option<f64>,
    /// Events a second, all threads together.
    pub events_per_s: Option<f64>,
    /// The first failures, by seed; how many are kept is bounded.
    pub failures: Vec<Failure>,
    #[serde(skip)]
    gravest: u8,
}

impl Summary {
    /// Nothing yet.
    pub fn new(name: &str, seeds: &RangeInclusive<u64>, jobs: usize) -> Self {
        let seeds = [*seeds.start(), *seeds.end()];
        Self { schema: 1, name: name.into(), seeds, jobs, ..Self::default() }
    }

    /// One more seed.
    pub fn add(&mut self, result: SeedResult) {
        let seed = result.seed;
        self.ran += 1;
        self.events = self.events.saturating_add(result.events);
        let kind = result.failure.as_ref().map(|failure| &failure.kind);
        let name = kind.map_or_else(|| result.verdict.map_or("none", Verdict::name), Kind::name);
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

    /// Fills in what depends on the time that passed.
    pub fn close(&mut self, wall: Duration, interrupted: bool) {
        self.wall_s = wall.as_secs_f64();
        self.interrupted = interrupted;
        self.seeds_per_min = per_second(self.ran, wall).map(|rate| rate * 60.0);
        self.events_per_s = per_second(self.events, wall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(seed: u64, p50: f64) -> SeedResult {
        let verdict = Some(Verdict::Pass);
        SeedResult { seed, verdict, latency_p50_ms: Some(p50), ..SeedResult::default() }
    }

    fn failed(seed: u64, kind: Kind) -> SeedResult {
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
        let code = |kinds: &[Kind]| {
            let mut summary = Summary::new("x", &(1..=9), 1);
            summary.add(passed(9, 1.0));
            kinds
                .iter()
                .enumerate()
                .for_each(|(n, kind)| summary.add(failed(n as u64, kind.clone())));
            assert_eq!(summary.failed, kinds.len() as u64);
            summary.exit_code
        };
        let of = |verdict| Kind::Verdict(verdict, None);
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&[Kind::Unusable]), 1);
        assert_eq!(code(&[of(Verdict::NotExercised), Kind::Unusable]), 5);
        assert_eq!(code(&[of(Verdict::NotExercised), of(Verdict::Liveness)]), 3);
        assert_eq!(code(&[Kind::NotDeterministic, of(Verdict::Liveness)]), 6);
        assert_eq!(code(&[Kind::Panicked, of(Verdict::Safety)]), 4);
        // A pass where something else was promised is no success.
        assert_eq!(code(&[of(Verdict::Pass)]), 1);
    }

    #[test]
    fn failures_are_kept_by_seed_and_bounded() {
        let mut summary = Summary::new("x", &(0..=2000), 1);
        for seed in (0..2000).rev() {
            summary.add(failed(seed, Kind::Panicked));
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
