//! The built-in scenarios.

/// A built-in scenario's name and its file.
macro_rules! library {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("builtin/", $name, ".toml")))),*]
    };
}

/// Every built-in scenario, in reading order.
const LIBRARY: &[(&str, &str)] = library![
    "three-liars",
    "forge",
    "tamper",
    "drop",
    "censor",
    "delay",
    "replay",
    "flood",
    "malformed",
    "stall",
    "promise",
    "gap",
    "false-floor",
    "false-differ",
    "false-credit",
    "restart",
    "all-at-once",
    "at-the-bound",
    "one-past-the-bound",
    "censored-by-a-third",
    "partition-and-heal",
    "kill-and-restart",
    "churn",
    "slow-links",
    "flash-crowd",
    "away",
    "busy-authors",
    "quiet-hours",
    "small-stores",
    "full-disk",
    "rotten-disk",
    "lost-disk",
    "baseline",
    "censor-one",
    "degrade-10",
    "degrade-50",
    "degrade-90",
    "cold-boot",
    "covert-flash",
    "attack-at-dawn",
    "long-haul",
    "saturation",
    "ten-thousand",
    "hundred-thousand",
    "million",
];

/// Returns the name and the TOML text of every built-in scenario, in reading order.
pub fn builtins() -> &'static [(&'static str, &'static str)] {
    LIBRARY
}

/// Returns the TOML text of a built-in scenario; `None` if there is none of that name.
pub fn builtin(name: &str) -> Option<&'static str> {
    LIBRARY.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::{FaultKind, Ppm, Scenario};

    fn all() -> impl Iterator<Item = Scenario> {
        builtins().iter().map(|(name, text)| {
            Scenario::parse(text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
        })
    }

    #[test]
    fn every_one_reads_and_reads_back() {
        for (scenario, (name, _)) in all().zip(builtins()) {
            assert_eq!(scenario.name, *name);
            assert!(!scenario.about.is_empty(), "{name}");
            let again = Scenario::parse(&scenario.to_toml(), &[]);
            assert_eq!(again.expect(name), scenario);
        }
        let names: BTreeSet<&str> = builtins().iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), builtins().len(), "names differ");
    }

    #[test]
    fn there_is_one_for_each_behaviour_and_one_with_all() {
        for kind in crate::adversary::KINDS {
            let text = builtin(kind).unwrap_or_else(|| panic!("none is called {kind}"));
            let scenario = Scenario::parse(text, &[]).expect(kind);
            assert!(scenario.malicious.iter().flat_map(|g| g.behave.kinds()).all(|k| k == kind));
        }
        let text = builtin("all-at-once").expect("is there");
        let scenario = Scenario::parse(text, &[]).expect("reads");
        let kinds: BTreeSet<&str> =
            scenario.malicious.iter().flat_map(|group| group.behave.kinds()).collect();
        assert_eq!(kinds, BTreeSet::from(crate::adversary::KINDS));
        assert_eq!(builtin("nothing"), None);
    }

    #[test]
    fn each_states_liveness_safety_and_every_attack() {
        for scenario in all() {
            let limits: BTreeSet<&str> =
                scenario.expects.iter().map(|expect| expect.metric.as_str()).collect();
            assert!(limits.contains("bans.honest"), "{}", scenario.name);
            for kind in scenario.malicious.iter().flat_map(|group| group.behave.kinds()) {
                let metric = format!("attacks.{kind}.accepted");
                assert!(limits.contains(metric.as_str()), "{}: {metric}", scenario.name);
            }
            assert!(!scenario.loads.is_empty(), "{}", scenario.name);
        }
    }

    #[test]
    fn whoever_publishes_is_up_all_the_while() {
        let dies = |kind: FaultKind| {
            matches!(
                kind,
                FaultKind::Kill | FaultKind::Restart(_) | FaultKind::Churn { .. } | FaultKind::Wipe
            )
        };
        for scenario in all() {
            for (number, fault) in scenario.faults.iter().enumerate() {
                for load in scenario.loads.iter().filter(|_| dies(fault.kind)) {
                    let down = scenario.struck(number, scenario.seed);
                    let publishers = scenario.publishers(load);
                    let later = match fault.kind {
                        FaultKind::Restart(length) => load.from > fault.at + length,
                        FaultKind::Wipe => {
                            let last = load
                                .count
                                .and_then(|count| scenario.due(load, count.saturating_sub(1)));
                            let over = last.is_some_and(|last| last < fault.at);
                            over || fault.until.is_some_and(|until| load.from > until)
                        }
                        _ => false,
                    };
                    let apart = !publishers.iter().any(|node| down.contains(node));
                    assert!(later || apart, "{}", scenario.name);
                }
            }
        }
    }

    #[test]
    fn small_ones_ask_nothing_that_processes_cannot_do_but_those_of_disks() {
        let disks = ["small-stores", "full-disk", "rotten-disk"];
        for scenario in all().filter(|scenario| scenario.mesh.nodes <= 28) {
            let of_disks = disks.contains(&&*scenario.name);
            let simulated = scenario.store.max_bytes.is_some()
                || scenario.cpu.check.is_some()
                || scenario
                    .faults
                    .iter()
                    .any(|fault| matches!(fault.kind, FaultKind::DiskFull | FaultKind::Rot(_)));
            assert_eq!(simulated, of_disks, "{}", scenario.name);
            assert_eq!(scenario.net.loss, Ppm(0), "{}", scenario.name);
            let lossy = |kind| matches!(kind, FaultKind::Loss(_));
            assert!(!scenario.faults.iter().any(|fault| lossy(fault.kind)), "{}", scenario.name);
        }
    }
}
