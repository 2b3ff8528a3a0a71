//! Greedy delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input,
//! IEEE TSE 28, 2002): of all scenarios that are one step simpler, takes the first that still
//! fails, until none does. Big steps are tried first.

use std::time::{Duration, Instant};

use super::steps;
use crate::scenario::Scenario;

/// Limits of a shrinking.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most runs of smaller scenarios.
    pub attempts: u64,
    /// Most time; a run that has begun is finished.
    pub time: Duration,
}

/// The smallest scenario found that fails in the same way.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest scenario that was seen to fail; the given one if no smaller one does.
    pub scenario: Scenario,
    /// Runs that were made, the failed ones included.
    pub attempts: u64,
}

/// Shrinks a scenario that fails. `fails` runs a scenario and returns whether it fails in the same
/// way. A scenario with at most `f` liars keeps within that bound, as nothing is promised beyond
/// it.
pub fn shrink(
    scenario: &Scenario,
    bounds: Bounds,
    mut fails: impl FnMut(&Scenario) -> bool,
) -> Shrunk {
    let begun = Instant::now();
    let mut best = scenario.clone();
    let (mut at, mut attempts, mut improved) = (0, 0, false);
    let mut open = steps::smaller(&best);
    while attempts < bounds.attempts && begun.elapsed() < bounds.time {
        if at >= open.len() {
            if !improved {
                break;
            }
            // Parts that were needed before may be needless now.
            (at, improved) = (0, false);
            continue;
        }
        attempts += 1;
        if fails(&open[at]) {
            best = open.swap_remove(at);
            // The next step of the same kind has about the same index.
            open = steps::smaller(&best);
            improved = true;
        } else {
            at += 1;
        }
    }
    Shrunk { scenario: best, attempts }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::adversary::Spec;
    use crate::campaign::swarm;
    use crate::scenario::{FaultKind, Who};

    const ENOUGH: Bounds = Bounds { attempts: 2000, time: Duration::from_secs(60) };

    fn forges(scenario: &Scenario) -> bool {
        let mut specs = scenario.malicious.iter().map(|group| &group.behave);
        specs.any(|spec| spec.kinds().any(|kind| kind == "forge"))
    }

    fn partitions(scenario: &Scenario) -> bool {
        scenario.faults.iter().any(|fault| fault.kind == FaultKind::Partition)
    }

    fn needs_both(scenario: &Scenario) -> bool {
        forges(scenario) && partitions(scenario)
    }

    #[test]
    fn just_the_two_features_that_are_needed_stay() {
        let rich = |scenario: &Scenario| {
            needs_both(scenario) && scenario.faults.len() > 2 && scenario.malicious.len() > 2
        };
        let found: Vec<Scenario> = (0..20_000).map(swarm).filter(rich).take(5).collect();
        assert_eq!(found.len(), 5, "swarms have both");
        for scenario in found {
            assert!(scenario.mesh.nodes > 4);
            let small = shrink(&scenario, ENOUGH, needs_both).scenario;
            assert_eq!((small.faults.len(), small.malicious.len(), small.loads.len()), (1, 1, 1));
            let spec: Spec = "forge".parse().expect("a SPEC");
            assert_eq!(small.malicious[0].behave, spec);
            // The fewest nodes of which one may lie.
            assert_eq!((small.mesh.nodes, small.specs().iter().flatten().count()), (4, 1));
            assert_eq!((small.loads[0].count, small.loads[0].size), (Some(1), 0));
            assert!(matches!(&small.faults[0].select.who, Who::Count(1)), "{:?}", small.faults);
            let again = Scenario::parse(&small.to_toml(), &[]).expect("reads");
            assert_eq!(again, small);
            assert!(small.net.jitter.is_zero() && small.net.bandwidth.is_none());
        }
    }

    #[test]
    fn a_scenario_of_which_all_is_needed_stays_as_it_is() {
        let scenario = swarm(1);
        let shrunk = shrink(&scenario, ENOUGH, |_| false);
        assert_eq!(shrunk.scenario, scenario);
        assert!(shrunk.attempts > 10);
    }

    #[test]
    fn attempts_and_time_are_bounded() {
        let scenario = swarm(1);
        let runs = Cell::new(0);
        let count = |_: &Scenario| {
            runs.set(runs.get() + 1);
            runs.get() % 2 == 0
        };
        let shrunk = shrink(&scenario, Bounds { attempts: 7, ..ENOUGH }, count);
        assert_eq!((shrunk.attempts, runs.get()), (7, 7));
        let bounds = Bounds { time: Duration::ZERO, ..ENOUGH };
        assert_eq!(shrink(&scenario, bounds, |_| true).attempts, 0);
    }
}
