//! The long profile: few nodes, with authors at their quota or hours of quiet, and nodes away for
//! up to hours.

use std::time::Duration;

use super::liars::liars;
use super::random::Random;
use super::shape::{away, blank, busy};
use crate::adversary::Spec;
use crate::scenario::{Fault, Group, Latency, Load, MeshShape, Net, Publishers, Scenario, Start};

/// Behaviours that are costly while they last, and are therefore kept short.
const COSTLY: [&str; 4] = ["flood", "gap", "promise", "restart"];

/// Draws the long scenario of a seed: 4 to 7 nodes with at most `f` liars, for minutes at an
/// author's quota or for hours. It is run with the same seed.
pub(crate) fn long(seed: u64) -> Scenario {
    let random = &mut Random::new(seed ^ (u64::MAX / 3));
    let nodes = random.count(4..=7);
    let quiet = random.one_in(2);
    let duration = match quiet {
        true => Duration::from_secs(random.range(60..=360) * 60),
        false => Duration::from_secs(random.range(60..=180)),
    };
    let malicious = liars(random, nodes).into_iter().map(|group| brief(random, group, duration));
    let malicious: Vec<Group> = malicious.collect();
    let jitter = if random.one_in(2) { random.ms(1..=20) } else { Duration::ZERO };
    let latency = Latency::Constant(random.ms(1..=50));
    let mesh = MeshShape { nodes, links: None, start: Start::Linked };
    let net = Net { latency, jitter, ..Net::default() };
    let mut scenario = blank(random, "swarm-long", seed, duration, mesh, net);
    scenario.malicious = malicious;
    let specs = scenario.specs();
    let honest: Vec<usize> = (0..nodes).filter(|node| specs[*node].is_none()).collect();
    // At least one honest node publishes and is never away.
    let (authors, others) = honest.split_at((honest.len() / 2).max(1));
    scenario.faults = absences(random, others, duration);
    scenario.loads = loads(random, authors, quiet, duration);
    scenario
}

/// One or two nodes are away, each for between 15 s and most of the run.
fn absences(random: &mut Random, others: &[usize], duration: Duration) -> Vec<Fault> {
    let wanted = random.count(1..=2);
    let absence = |node: usize| {
        let whole = duration.as_secs();
        let from = random.range(5..=whole / 3);
        let until = random.range(from + 15..=whole - 10);
        away(random, node, (Duration::from_secs(from), Duration::from_secs(until)))
    };
    let mut absence = absence;
    others.iter().take(wanted).map(|node| absence(*node)).collect()
}

/// Authors at their quota; or an occasional message, and perhaps 10 to 40 busy seconds at either
/// end.
fn loads(random: &mut Random, authors: &[usize], quiet: bool, duration: Duration) -> Vec<Load> {
    if !quiet {
        return vec![busy(random, authors, duration)];
    }
    let mut loads = vec![Load {
        every: Duration::from_secs(random.range(10..=600)),
        count: None,
        from: Duration::ZERO,
        until: Some(duration),
        size: random.count(0..=4096),
        publishers: Publishers::Nodes(authors.to_vec()),
    }];
    for late in [false, true] {
        if random.one_in(3) {
            let length = Duration::from_secs(random.range(10..=40));
            let mut load = busy(random, authors, length);
            if late {
                load.from = duration.saturating_sub(length);
                load.until = Some(duration);
            }
            loads.push(load);
        }
    }
    loads
}

/// Limits the costly behaviours of a liar to some seconds.
fn brief(random: &mut Random, group: Group, duration: Duration) -> Group {
    let text = group.behave.to_string();
    let parts = text.split('+').map(|part| {
        let (what, _) = part.split_once('@').unwrap_or((part, ""));
        if !COSTLY.iter().any(|kind| what.split(':').next() == Some(kind)) {
            return part.to_owned();
        }
        let from = random.range(0..=duration.as_secs() / 2);
        format!("{what}@between={from}s..{}s", from + random.range(1..=20))
    });
    let parts: Vec<String> = parts.collect();
    let behave: Option<Spec> = parts.join("+").parse().ok();
    Group { behave: behave.unwrap_or(group.behave), ..group }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::FaultKind;

    #[test]
    fn everything_stays_within_what_liveness_promises_and_reads_back() {
        let (mut hours, mut wipes, mut stores) = (0, 0, 0);
        for seed in 0..400 {
            let drawn = long(seed);
            let (nodes, specs) = (drawn.mesh.nodes, drawn.specs());
            assert!((4..=7).contains(&nodes), "{seed}");
            assert!(specs.iter().flatten().count() <= (nodes - 1) / 3, "{seed}");
            let text = drawn.to_toml();
            match Scenario::parse(&text, &[]) {
                Ok(read) => assert_eq!(read, drawn, "{seed}\n{text}"),
                Err(error) => panic!("{seed}: {error}\n{text}"),
            }
            for fault in &drawn.faults {
                assert!(fault.until.is_some_and(|until| until < drawn.duration), "{seed}");
                wipes += usize::from(fault.kind == FaultKind::Wipe);
            }
            for group in &drawn.malicious {
                for part in group.behave.to_string().split('+') {
                    let costly = COSTLY.iter().any(|kind| part.starts_with(kind));
                    assert!(!costly || part.contains("@between="), "{seed}: {part}");
                }
            }
            hours += usize::from(drawn.duration >= Duration::from_secs(3600));
            stores += usize::from(drawn.store.max_bytes.is_some());
        }
        assert!(hours > 100 && wipes > 20 && stores > 50, "{hours} {wipes} {stores}");
        assert_ne!(long(1), long(2));
    }
}
