//! L4 and L7: a comparison of two runs of one seed, and a node that was down.

use super::{MS, between, recording, scenario};
use crate::adversary::Spec;
use crate::report::{Recording, Report, judge};
use crate::scenario::{Group, Publishers, Scenario, Who};
use crate::sim::Sim;

/// The factor by which a flooder may stretch the median latency of the others' messages, compared
/// with a run of the same seed in which it is honest.
const MEDIAN: f64 = 1.25;
/// The same factor for the worst latency.
const WORST: f64 = 4.0;

fn lie(scenario: &mut Scenario, nodes: &[usize], behave: &str) {
    let behave: Spec = behave.parse().expect("a sound SPEC");
    scenario.malicious = vec![Group { who: Who::Nodes(nodes.to_vec()), behave }];
}

/// Whether messages of the run `loud` come hardly later than those of the run `quiet`.
fn alike(quiet: &Report, loud: &Report) -> bool {
    let (quiet, loud) = (super::latency(quiet), super::latency(loud));
    loud.0 <= quiet.0 * MEDIAN && loud.1 <= quiet.1 * WORST
}

#[test]
fn l4_a_flooder_hardly_delays_the_messages_of_others() {
    let calm = scenario(7, "[net]\nlatency = \"10ms\"\n");
    for seed in 1..=2 {
        let quiet = judge(&recording(&calm, seed));
        for what in ["valid", "duplicate", "announce", "request", "garbage", "oversize"] {
            let mut flooded = calm.clone();
            lie(&mut flooded, &[5, 6], &format!("flood:what={what}"));
            let flooded = judge(&recording(&flooded, seed));
            super::whole(&flooded);
            let reached = flooded.attacks.get("flood").map_or(0, |flood| flood.reached_honest);
            assert!(reached > 0, "{what} of seed {seed} reached nobody");
            let (of, instead) = (super::latency(&flooded), super::latency(&quiet));
            assert!(alike(&quiet, &flooded), "{what} {seed}: {of:?} ms instead of {instead:?}");
        }
        let late = "[net]\nlatency = \"10ms\"\n[[fault]]\nkind = \"delay\"\nat = \"0s\"\n\
                    until = \"4s\"\nby = \"250ms\"\nselect = { nodes = [\"n3\"] }\n";
        let late = judge(&recording(&scenario(7, late), seed));
        assert!(!alike(&quiet, &late), "a node that hears late is seen");
    }
}

const VICTIM: u32 = 12;
const DOWN: &str = "[[fault]]\nkind = \"kill\"\nat = \"1s\"\nuntil = \"3500ms\"\n\
                    select = { nodes = [\"n12\"] }\n";

/// The peers that the victim has chosen half a second after its restart.
fn chosen(scenario: &Scenario) -> Vec<usize> {
    let mut sim = Sim::new(scenario, 1);
    let over = |sim: &Sim| {
        let zero = sim.world.recorder.zero;
        zero.is_some_and(|zero| sim.world.now.since(zero).as_millis() >= 4000)
    };
    while !over(&sim) && sim.step() {}
    let node = sim.world.hosts[VICTIM as usize].node().expect("it lives");
    let mut chosen: Vec<usize> = node.chosen().filter_map(|key| sim.world.node_of(&key)).collect();
    chosen.sort_unstable();
    chosen
}

/// The number of batches that the victim had at a time, in milliseconds of the run.
fn had(recording: &Recording, until: u64) -> usize {
    between(recording, 0, until).filter(|arrival| arrival.node == VICTIM).count()
}

#[test]
fn l7_a_node_that_was_down_catches_up_though_all_that_it_chose_withhold() {
    let honest = scenario(13, DOWN);
    let liars = chosen(&honest);
    assert_eq!(liars.len(), 3);
    let mut scenario = honest;
    let publishers: Vec<usize> = (0..12).filter(|node| !liars.contains(node)).take(2).collect();
    scenario.loads[0].publishers = Publishers::Nodes(publishers);
    lie(&mut scenario, &liars, "drop");
    assert_eq!(chosen(&scenario), liars, "all that it chose lie");
    let recording = recording(&scenario, 1);
    let report = judge(&recording);
    super::whole(&report);
    let all = recording.batches.len();
    let before = had(&recording, 3500);
    assert!(before + 30 < all, "it missed much while it was down: {before} of {all}");
    // It gets them within five seconds of its restart, from nodes that do not lie.
    assert_eq!(had(&recording, 8500), all);
    let from = recording.arrivals.iter().filter(|a| a.node == VICTIM && a.at > 3500 * MS);
    let lied = from.filter(|a| a.from.is_some_and(|from| liars.contains(&(from as usize))));
    assert_eq!(lied.count(), 0);
}

#[test]
fn l7_a_node_that_hears_liars_alone_does_not_catch_up() {
    // All nodes but the publishers withhold, and the publishers are dead when the victim comes
    // back.
    let kill =
        "[[fault]]\nkind = \"kill\"\nat = \"3400ms\"\nselect = { nodes = [\"n0\", \"n1\"] }\n";
    let mut scenario = scenario(13, &format!("settle = \"8s\"\n{DOWN}{kill}"));
    lie(&mut scenario, &(2..12).collect::<Vec<usize>>(), "drop");
    let mut sim = Sim::new(&scenario, 1);
    while sim.step() {}
    let recording = sim.finish();
    let all = recording.batches.len();
    assert!(had(&recording, 60_000) < all - 30, "{} of {all}", had(&recording, 60_000));
}
