//! The simulator as scenarios see it: what each part of a network and each fault does, compared
//! with the same run without it.

mod cpus;
mod disks;
mod faults;
mod links;
mod liveness;
mod overlay;
mod unproven;

use std::time::Duration;

use super::{Phase, Sim};
use crate::protocol::Time;
use crate::report::{Arrival, Recording, Report, judge};
use crate::scenario::Scenario;

/// Microseconds in a millisecond.
const MS: u64 = 1000;

fn scenario(nodes: usize, rest: &str) -> Scenario {
    let text = format!(
        "name = \"test\"\nduration = \"4s\"\n{rest}\n[mesh]\nnodes = {nodes}\nlinks = 3\n\
         [[load]]\nrate = 20\ncount = 60\npublishers = [\"n0\", \"n1\"]\n"
    );
    Scenario::parse(&text, &[]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs a scenario to its end, in which no invariant may break.
fn recording(scenario: &Scenario, seed: u64) -> Recording {
    let mut sim = Sim::new(scenario, seed);
    while sim.step() {}
    assert_eq!(sim.progress().phase, Phase::Over);
    assert_eq!(sim.violations(), []);
    sim.finish()
}

/// Runs seven honest nodes with 60 messages in 3 s, and the settings in `rest`.
fn run(rest: &str) -> (Recording, Report) {
    let recording = recording(&scenario(7, rest), 1);
    let report = judge(&recording);
    (recording, report)
}

/// Asserts that every node that must get a message got it.
fn whole(report: &Report) {
    assert!(report.delivery.expected > 0);
    assert_eq!(report.delivery.delivered, report.delivery.expected);
}

fn counted(recording: &Recording, what: &str) -> u64 {
    recording.counted.get(what).copied().unwrap_or(0)
}

/// The arrivals between two times, in milliseconds of the run.
fn between(recording: &Recording, from: u64, until: u64) -> impl Iterator<Item = &Arrival> {
    let span = from * MS..until * MS;
    recording.arrivals.iter().filter(move |arrival| span.contains(&arrival.at))
}

/// For each arrival from a neighbour: the neighbour, the receiving node, and the time since the
/// neighbour itself got the batch.
fn hops(recording: &Recording) -> Vec<(u32, u32, Duration)> {
    let had = |node: u32, batch: u32| {
        recording.arrivals.iter().find(|other| other.node == node && other.batch == batch)
    };
    let hop = |arrival: &Arrival| {
        let from = arrival.from?;
        let since = Time(arrival.at).since(Time(had(from, arrival.batch)?.at));
        Some((from, arrival.node, since))
    };
    recording.arrivals.iter().filter_map(hop).collect()
}

/// Median and worst latency of deliveries, in milliseconds.
fn latency(report: &Report) -> (f64, f64) {
    let latency = report.delivery.latency_ms.expect("something arrived");
    (latency.p50, latency.max)
}
