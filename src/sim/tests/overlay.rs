//! The number of links after a short time and after a long one.

use std::collections::BTreeMap;

use super::{Phase, Scenario, Sim, whole};
use crate::report::judge;
use crate::wire::limits::VISITS_AT_ONCE;

/// What a test measures around a burst of messages.
#[derive(Debug)]
struct Seen {
    /// Links, each counted once.
    links: usize,
    /// Frames that the burst caused: those sent during it, less those of an equally long time
    /// without one.
    frames: u64,
}

fn frames(sim: &Sim) -> u64 {
    sim.world.oracle.counted()["frames_sent"]
}

fn links(sim: &Sim) -> usize {
    let nodes = sim.world.hosts.iter().filter_map(|host| host.node());
    nodes.map(|node| node.snapshot().ready_links()).sum::<usize>() / 2
}

/// Runs until a second of the run.
fn until(sim: &mut Sim, second: u128) {
    let early = |sim: &Sim| {
        let zero = sim.world.recorder.zero;
        zero.is_none_or(|zero| sim.world.now.since(zero).as_millis() < second * 1000)
    };
    while early(sim) && sim.step() {}
}

/// Measures two seconds from `from` on. The burst comes in the second one.
fn recorder(sim: &mut Sim, from: u128) -> Seen {
    until(sim, from);
    let (links, first) = (links(sim), frames(sim));
    until(sim, from + 1);
    let second = frames(sim);
    until(sim, from + 2);
    let quiet = second - first;
    Seen { links, frames: (frames(sim) - second).saturating_sub(quiet) }
}

/// Asserts that `nodes` nodes that each choose three links have neither too many links nor too few.
fn bounded(seen: &Seen, nodes: usize) {
    assert!(seen.links <= nodes * (3 + 1 + VISITS_AT_ONCE), "{seen:?}");
    assert!(seen.links >= nodes * 3 / 2, "{seen:?}: each has those that it chose");
}

fn ends_well(mut sim: Sim) {
    while sim.step() {}
    assert_eq!(sim.progress().phase, Phase::Over);
    assert_eq!(sim.violations(), []);
    whole(&judge(&sim.finish()));
}

fn sim(text: &str) -> Sim {
    let scenario = Scenario::parse(text, &[]).unwrap_or_else(|error| panic!("{error}: {text}"));
    Sim::new(&scenario, 1)
}

/// A regression test: nodes once kept the links that they had exchanged for others, so that each
/// mesh became a full one.
#[test]
fn r8_links_and_frames_a_message_stay_the_same_for_half_an_hour() {
    const NODES: usize = 40;
    let burst = |from| format!("[[load]]\nrate = 50\ncount = 40\nfrom = \"{from}s\"\n");
    let (early, late) = (10, 1780);
    let mut sim = sim(&format!(
        "name = \"quiet\"\nduration = \"1790s\"\n[mesh]\nnodes = {NODES}\nlinks = 3\n{}{}",
        burst(early + 1),
        burst(late + 1)
    ));
    let (young, old) = (recorder(&mut sim, early), recorder(&mut sim, late));
    eprintln!("{young:?} {old:?}");
    [&young, &old].iter().for_each(|seen| bounded(seen, NODES));
    assert!(old.links <= young.links * 5 / 4, "{young:?}, and later {old:?}");
    assert!(old.frames <= young.frames * 5 / 4, "{young:?}, and later {old:?}");
    ends_well(sim);
}

/// What all nodes together keep in memory: the number of entries, by collection.
fn kept(sim: &Sim) -> BTreeMap<&'static str, usize> {
    let mut kept = BTreeMap::new();
    for node in sim.world.hosts.iter().filter_map(|host| host.node()) {
        for (name, entries, _) in node.occupancy() {
            *kept.entry(name).or_default() += entries;
        }
    }
    kept
}

/// Collections that fill up to a limit and no further: the newest batches, and the ids of recent
/// slots.
const KEPT: [&str; 4] = ["cache", "cache.bytes", "lanes.fullest", "lanes.slots"];

/// One message a second for a day. Takes minutes in a release build: `cargo test --release --lib --
/// --ignored --nocapture a_day`.
#[test]
#[ignore = "it takes minutes in a release build"]
fn r8_links_memory_and_frames_a_message_stay_the_same_for_a_day() {
    const NODES: usize = 40;
    const MINUTE: u128 = 60;
    const DAY: u128 = 24 * 60 * MINUTE;
    let mut sim = sim(&format!(
        "name = \"day\"\nduration = \"{DAY}s\"\ncrypto = \"modelled\"\n[mesh]\nnodes = {NODES}\n\
         links = 3\n[[load]]\nrate = 1\ncount = {DAY}\n"
    ));
    let mut minute = |from| {
        until(&mut sim, from);
        let before = frames(&sim);
        until(&mut sim, from + MINUTE);
        (Seen { links: links(&sim), frames: frames(&sim) - before }, kept(&sim))
    };
    let (young, held) = minute(MINUTE);
    let (old, holds) = minute(DAY - 2 * MINUTE);
    eprintln!("{young:?} {old:?}");
    for (name, entries) in &holds {
        eprintln!("{name}: {} entries after two minutes, {entries} after a day", held[name]);
        let most = held[name] * 5 / 4 + NODES;
        assert!(KEPT.contains(name) || *entries <= most, "{name}: {entries}");
    }
    [&young, &old].iter().for_each(|seen| bounded(seen, NODES));
    assert!(old.links <= young.links * 5 / 4, "{young:?}, and later {old:?}");
    assert!(old.frames <= young.frames * 5 / 4, "{young:?}, and later {old:?}");
    ends_well(sim);
}
