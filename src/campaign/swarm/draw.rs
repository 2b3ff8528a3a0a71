//! Draws a whole scenario.

use std::time::Duration;

use super::faults::faults;
use super::liars::liars;
use super::random::Random;
use super::shape::{Shape, away, blank, busy, net};
use crate::protocol::millis;
use crate::scenario::{
    Among, Cryptography, Fault, FaultKind, Load, MeshShape, Publishers, Scenario, Select, Start,
    Who,
};

/// Bound on the payload bytes of all loads of a scenario together, so that the slowest network
/// drawn carries them within the bound of the liveness phase.
const MAX_BYTES: u64 = 2 << 20;

/// Draws the scenario of a seed: 4 to 31 nodes with at most `f` liars, mostly 2 to 6 simulated
/// seconds and 10 to 200 messages, now and then more. It is run with the same seed.
pub fn swarm(seed: u64) -> Scenario {
    let random = &mut Random::new(seed);
    let shape = Shape::draw(random);
    let nodes = shape.nodes(random);
    let duration = shape.duration(random);
    let links = random.one_in(2).then(|| random.count(2..=8.min(nodes - 1)));
    let start = if random.one_in(4) { Start::Cold } else { Start::Linked };
    let crypto = if random.one_in(8) { Cryptography::Modelled } else { Cryptography::Real };
    let net = net(random);
    let malicious = liars(random, nodes);
    let mesh = MeshShape { nodes, links, start };
    let mut scenario = blank(random, "swarm", seed, duration, mesh, net);
    (scenario.crypto, scenario.malicious) = (crypto, malicious);
    let specs = scenario.specs();
    let honest: Vec<usize> = (0..nodes).filter(|node| specs[*node].is_none()).collect();
    scenario.faults = faults(random, nodes, nodes - honest.len(), duration);
    let gone = random.one_in(8).then(|| random.pick(&honest).copied()).flatten();
    scenario.faults.extend(gone.map(|node| for_good(random, node, duration)));
    scenario.loads = loads(random, &honest, gone, duration);
    shaped(random, shape, &mut scenario, (&honest, gone));
    scenario
}

/// Applies what makes the shape differ from the usual one.
fn shaped(
    random: &mut Random,
    shape: Shape,
    scenario: &mut Scenario,
    (honest, gone): (&[usize], Option<usize>),
) {
    let alive: Vec<usize> = honest.iter().copied().filter(|node| Some(*node) != gone).collect();
    let duration = scenario.duration;
    match shape {
        Shape::Usual | Shape::Idle => {}
        Shape::Busy => {
            scenario.net.bandwidth = None;
            scenario.loads = vec![busy(random, &alive, duration)];
        }
        Shape::Away => {
            let from = random.ms(500..=3000);
            let until = duration.saturating_sub(random.ms(500..=5000));
            let node = random.pick(&alive).copied().unwrap_or(0);
            scenario.faults = vec![away(random, node, (from, until))];
            // Clients do not wait for the node that long, so it publishes nothing.
            let others: Vec<usize> = alive.into_iter().filter(|other| *other != node).collect();
            for load in &mut scenario.loads {
                load.publishers = Publishers::Nodes(others.clone());
            }
        }
        Shape::Large => {
            scenario.net.bandwidth = None;
            for load in &mut scenario.loads {
                load.count = Some(random.range(1..=2));
                load.size = random.count(100_000..=1 << 20);
            }
        }
    }
}

/// An honest node that dies and stays dead. It publishes nothing, as messages lost with it could
/// never be delivered.
fn for_good(random: &mut Random, node: usize, duration: Duration) -> Fault {
    let whole = millis(duration);
    let select = Select { who: Who::Nodes(vec![node]), of: Among::All };
    Fault { kind: FaultKind::Kill, at: random.ms(0..=whole / 2), until: None, select }
}

fn loads(
    random: &mut Random,
    honest: &[usize],
    gone: Option<usize>,
    duration: Duration,
) -> Vec<Load> {
    let mut messages = random.range(10..=200);
    let mut loads = Vec::new();
    for left in (1..=random.range(1..=3)).rev() {
        let count = if left == 1 { messages } else { random.range(1..=messages.div_ceil(2)) };
        messages = (messages - count).max(1);
        let from = if random.one_in(2) { Duration::ZERO } else { random.ms(0..=1500) };
        // Spread over the duration, or one per millisecond.
        let span = duration.saturating_sub(from).as_millis();
        let most = u64::try_from(span).unwrap_or(0) / count.max(1);
        let every =
            Duration::from_millis(if random.one_in(4) { 1 } else { random.range(1..=most.max(1)) });
        let size = size(random).min(MAX_BYTES / 3 / count.max(1));
        loads.push(Load {
            every,
            count: Some(count),
            from,
            until: None,
            size: usize::try_from(size).unwrap_or(0),
            publishers: publishers(random, honest, gone),
        });
    }
    loads
}

/// Mostly small, sometimes at most 1 byte, sometimes up to 64 KiB.
fn size(random: &mut Random) -> u64 {
    match random.range(0..=5) {
        0 => random.range(0..=1),
        1 => random.range(4096..=65_536),
        2 => 65_536,
        _ => random.range(16..=2048),
    }
}

fn publishers(random: &mut Random, honest: &[usize], gone: Option<usize>) -> Publishers {
    let alive: Vec<usize> = honest.iter().copied().filter(|node| Some(*node) != gone).collect();
    match random.range(0..=3) {
        0 if gone.is_none() => Publishers::Count(random.count(1..=honest.len())),
        1 | 2 if gone.is_none() => Publishers::Honest,
        _ => {
            let wanted = random.count(1..=alive.len());
            Publishers::Nodes(random.some(&alive, wanted))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Latency;

    #[test]
    fn a_seed_draws_one_scenario_and_each_its_own() {
        assert_eq!(swarm(5), swarm(5));
        assert!((0..100).all(|seed| swarm(seed) != swarm(seed + 1)));
    }

    #[test]
    fn everything_stays_within_what_liveness_promises() {
        for seed in 0..1000 {
            let drawn = swarm(seed);
            let (nodes, specs) = (drawn.mesh.nodes, drawn.specs());
            let liars = specs.iter().flatten().count();
            assert!((4..=31).contains(&nodes) && liars <= (nodes - 1) / 3, "{seed}");
            assert!(drawn.ends(seed) <= drawn.duration + Duration::from_secs(10), "{seed}");
            let mut bytes = 0;
            let thin = drawn.net.bandwidth.is_some();
            for load in &drawn.loads {
                let Some(count) = load.count else {
                    assert!(load.until.is_some() && !thin && load.size <= 300, "{seed}");
                    continue;
                };
                assert!((1..=200).contains(&count), "{seed}");
                assert!(load.size <= 65_536 || (count <= 2 && !thin), "{seed}");
                bytes += count * load.size.min(65_536) as u64;
                let publishers = drawn.publishers(load);
                assert!(!publishers.is_empty(), "{seed}");
                assert!(publishers.iter().all(|node| specs[*node].is_none()), "{seed}");
                for fault in drawn.faults.iter().filter(|f| f.kind == FaultKind::Kill) {
                    let Who::Nodes(gone) = &fault.select.who else { continue };
                    let for_good = fault.until.is_none();
                    assert!(!(for_good && gone.iter().any(|node| publishers.contains(node))));
                }
            }
            let messages: u64 = drawn.loads.iter().filter_map(|load| load.count).sum();
            assert!(messages <= 400 && bytes <= MAX_BYTES, "{seed} {messages}");
        }
    }

    #[test]
    fn what_is_drawn_is_a_file_that_reads_back() {
        for seed in 0..1000 {
            let drawn = swarm(seed);
            let text = drawn.to_toml();
            match Scenario::parse(&text, &[]) {
                Ok(read) => assert_eq!(read, drawn, "{seed}\n{text}"),
                Err(error) => panic!("{seed}: {error}\n{text}"),
            }
        }
        assert_eq!(swarm(u64::MAX).seed, u64::MAX);
    }

    #[test]
    fn features_come_and_are_left_out() {
        type Feature = fn(&Scenario) -> bool;
        let features: [(&str, Feature); 21] = [
            ("liars", |s| !s.malicious.is_empty()),
            ("faults", |s| !s.faults.is_empty()),
            ("for good", |s| {
                s.faults.iter().any(|f| f.until.is_none() && f.kind == FaultKind::Kill)
            }),
            ("jitter", |s| !s.net.jitter.is_zero()),
            ("loss", |s| s.net.loss.0 > 0),
            ("duplicate", |s| s.net.duplicate.0 > 0),
            ("reorder", |s| s.net.reorder.0 > 0),
            ("bandwidth", |s| s.net.bandwidth.is_some()),
            ("uniform", |s| matches!(s.net.latency, Latency::Uniform { .. })),
            ("normal", |s| matches!(s.net.latency, Latency::Normal { .. })),
            ("long-tailed", |s| matches!(s.net.latency, Latency::LongTailed { .. })),
            ("regions", |s| matches!(s.net.latency, Latency::Regions { .. })),
            ("links", |s| s.mesh.links.is_some()),
            ("cold", |s| s.mesh.start == Start::Cold),
            ("modelled", |s| s.crypto == Cryptography::Modelled),
            ("small stores", |s| s.store.max_bytes.is_some()),
            ("processors", |s| s.cpu.check.is_some()),
            ("rot", |s| s.faults.iter().any(|f| matches!(f.kind, FaultKind::Rot(_)))),
            ("full disks", |s| s.faults.iter().any(|f| f.kind == FaultKind::DiskFull)),
            ("lost disks", |s| s.faults.iter().any(|f| f.kind == FaultKind::Wipe)),
            ("large", |s| s.loads.iter().any(|load| load.size > 4096)),
        ];
        let drawn: Vec<Scenario> = (0..500).map(swarm).collect();
        for (name, has) in features {
            let with = drawn.iter().filter(|scenario| has(scenario)).count();
            assert!((20..480).contains(&with), "{name}: {with} of 500");
        }
        let rare: [(&str, Feature); 4] = [
            ("busy", |s| s.loads.iter().any(|load| load.count.is_none())),
            ("away", |s| s.duration >= Duration::from_secs(15)),
            ("idle", |s| s.duration >= Duration::from_secs(60)),
            ("huge", |s| s.loads.iter().any(|load| load.size > 65_536)),
        ];
        for (name, has) in rare {
            let with = drawn.iter().filter(|scenario| has(scenario)).count();
            assert!((5..60).contains(&with), "{name}: {with} of 500");
        }
    }
}
