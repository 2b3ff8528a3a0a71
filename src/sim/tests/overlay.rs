//! How many links there are, after a while and after a long one.

use super::{Phase, Scenario, Sim, whole};
use crate::report::judge;
use crate::wire::limits::VISITS_AT_ONCE;

/// What is seen of a mesh around a burst of messages.
#[derive(Debug)]
struct Seen {
    /// Links, each counted once.
    links: usize,
    /// Frames that the burst caused, beside those of as long a time without one.
    frames: u64,
}

fn frames(sim: &Sim) -> u64 {
    sim.world.oracle.counted()["frames_sent"]
}

fn links(sim: &Sim) -> usize {
    let nodes = sim.world.places.iter().filter_map(|place| place.machine.node());
    nodes.map(|node| node.snapshot().ready_links()).sum::<usize>() / 2
}

/// Goes on until that second of the run.
fn until(sim: &mut Sim, second: u128) {
    let early = |sim: &Sim| {
        let zero = sim.world.watch.zero;
        zero.is_none_or(|zero| sim.world.now.since(zero).as_millis() < second * 1000)
    };
    while early(sim) && sim.step() {}
}

/// Watches two seconds, the second of which has the burst.
fn watch(sim: &mut Sim, from: u128) -> Seen {
    until(sim, from);
    let (links, first) = (links(sim), frames(sim));
    until(sim, from + 1);
    let second = frames(sim);
    until(sim, from + 2);
    let quiet = second - first;
    Seen { links, frames: (frames(sim) - second).saturating_sub(quiet) }
}

/// Issue: a link that was exchanged for another was kept, so that each mesh became a full one.
#[test]
fn r8_links_and_frames_a_message_stay_the_same_for_minutes() {
    const NODES: usize = 40;
    let burst = |from| format!("[[load]]\nrate = 50\ncount = 40\nfrom = \"{from}s\"\n");
    let (early, late) = (10, 590);
    let text = format!(
        "name = \"quiet\"\nduration = \"600s\"\n[mesh]\nnodes = {NODES}\nlinks = 3\n{}{}",
        burst(early + 1),
        burst(late + 1)
    );
    let scenario = Scenario::parse(&text, &[]).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut sim = Sim::new(&scenario, 1);
    let (young, old) = (watch(&mut sim, early), watch(&mut sim, late));
    eprintln!("{young:?} {old:?}");
    for seen in [&young, &old] {
        assert!(seen.links <= NODES * (3 + 1 + VISITS_AT_ONCE), "{seen:?}");
        assert!(seen.links >= NODES * 3 / 2, "{seen:?}: each has those that it chose");
    }
    assert!(old.links <= young.links * 5 / 4, "{young:?}, and later {old:?}");
    assert!(old.frames <= young.frames * 5 / 4, "{young:?}, and later {old:?}");
    while sim.step() {}
    assert_eq!(sim.progress().phase, Phase::Over);
    assert_eq!(sim.violations(), []);
    whole(&judge(&sim.finish()));
}
