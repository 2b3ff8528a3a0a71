//! Faults: each does what it says, for as long as it lasts, to the nodes that it selects.

use super::{between, counted, recording, run, scenario, whole};
use crate::protocol::Time;
use crate::sim::Sim;

const PARTITION: &str = "[[fault]]\nkind = \"partition\"\nat = \"1s\"\nuntil = \"2s\"\n\
                         select = { nodes = [\"n1\", \"n2\", \"n3\"] }\n";

#[test]
fn nothing_crosses_a_partition_and_all_of_it_comes_once_it_heals() {
    let side = |node: u32| (1..=3).contains(&node);
    for (fault, cut) in [("", false), (PARTITION, true)] {
        let (recording, report) = run(fault);
        let crossing = between(&recording, 1000, 2000)
            .filter(|arrival| arrival.from.is_some_and(|from| side(from) != side(arrival.node)));
        assert_eq!(crossing.count() == 0, cut);
        let inside = between(&recording, 1000, 2000).filter(|arrival| arrival.from.is_some());
        assert!(inside.count() > 20, "each side goes on by itself");
        assert_eq!(counted(&recording, "impairments"), u64::from(cut));
        assert_eq!(counted(&recording, "crashes"), 0);
        whole(&report);
    }
}

#[test]
fn isolated_nodes_hear_nobody_and_not_each_other_either() {
    let heard = |fault: &str| {
        let (recording, report) = run(fault);
        whole(&report);
        let at = between(&recording, 1000, 2000).filter(|arrival| (1..=3).contains(&arrival.node));
        at.filter(|arrival| arrival.from.is_some()).count()
    };
    assert_eq!(heard(&PARTITION.replace("partition", "isolate")), 0);
    assert!(heard(PARTITION) > 0, "those on one side of a partition do hear each other");
}

#[test]
fn a_crash_loses_what_was_not_safe_and_it_comes_again() {
    let kill = "[[fault]]\nkind = \"kill\"\nat = \"1.5s\"\nuntil = \"2.5s\"\n\
                select = { nodes = [\"n4\"] }\n";
    for (fault, dies) in [("", false), (kill, true)] {
        let (recording, report) = run(fault);
        for what in ["crashes", "restarts"] {
            assert_eq!(counted(&recording, what), u64::from(dies), "{what}");
        }
        assert_eq!(counted(&recording, "lost_unsynced") > 0, dies);
        assert_eq!(
            counted(&recording, "redelivered_after_crash"),
            counted(&recording, "lost_unsynced"),
            "all of it comes again, and nothing else comes twice"
        );
        let down = between(&recording, 1500, 2500).filter(|arrival| arrival.node == 4);
        assert_eq!(down.count() == 0, dies);
        whole(&report);
        assert_eq!(report.delivery.duplicates, 0);
    }
}

#[test]
fn who_is_killed_for_good_is_dead_and_nothing_is_expected_of_it() {
    let (recording, report) =
        run("[[fault]]\nkind = \"kill\"\nat = \"1s\"\nselect = { nodes = [\"n4\"] }\n");
    assert_eq!(report.dead, ["n4"]);
    assert_eq!(between(&recording, 1000, 60_000).filter(|arrival| arrival.node == 4).count(), 0);
    whole(&report);
    assert_eq!(report.delivery.expected, 60 * 6);
    assert_eq!(run("").1.delivery.expected, 60 * 7);
}

#[test]
fn a_paused_node_hears_nothing_and_forgets_nothing() {
    let pause = "[[fault]]\nkind = \"pause\"\nat = \"1s\"\nuntil = \"2s\"\n\
                 select = { nodes = [\"n5\"] }\n";
    for (fault, paused) in [("", false), (pause, true)] {
        let (recording, report) = run(fault);
        let heard = between(&recording, 1000, 2000).filter(|arrival| arrival.node == 5);
        assert_eq!(heard.count() == 0, paused);
        for what in ["crashes", "restarts", "lost_unsynced"] {
            assert_eq!(counted(&recording, what), 0, "{what}");
        }
        whole(&report);
    }
}

#[test]
fn a_dead_node_that_starts_during_a_pause_does_not_stand_still() {
    let kill = "[[fault]]\nkind = \"kill\"\nat = \"500ms\"\nuntil = \"1200ms\"\n\
                select = { nodes = [\"n5\"] }\n";
    let pause = "[[fault]]\nkind = \"pause\"\nat = \"1s\"\nuntil = \"2s\"\n\
                 select = { nodes = [\"n5\"] }\n";
    let heard = |fault: &str| {
        let (recording, report) = run(fault);
        whole(&report);
        between(&recording, 1300, 2000).filter(|arrival| arrival.node == 5).count()
    };
    assert!(heard(&format!("{kill}{pause}")) > 0, "there was nothing to pause");
    assert_eq!(heard(pause), 0);
}

#[test]
fn churn_takes_one_node_after_the_other() {
    let churn = "[[fault]]\nkind = \"churn\"\nat = \"0s\"\nuntil = \"3s\"\nevery = \"500ms\"\n\
                 down = \"300ms\"\nselect = { nodes = [\"n3\", \"n4\", \"n5\"] }\n";
    let scenario = scenario(7, churn);
    let mut sim = Sim::new(&scenario, 1);
    let mut most = 0;
    let mut died = std::collections::BTreeSet::new();
    let begun = |sim: &Sim| sim.world.recorder.zero.is_some();
    while sim.step() {
        if begun(&sim) {
            let hosts = sim.world.hosts.iter().enumerate();
            let down: Vec<usize> = hosts.filter(|(_, p)| !p.lives()).map(|(n, _)| n).collect();
            most = most.max(down.len());
            died.extend(down);
        }
    }
    assert_eq!(most, 1, "never two at once");
    assert_eq!(died, [3, 4, 5].into(), "all in turn, and nobody else");
    assert_eq!(sim.violations(), []);
    let recording = sim.finish();
    assert!(counted(&recording, "crashes") >= 4);
    assert_eq!(counted(&recording, "crashes"), counted(&recording, "restarts"));
    whole(&crate::report::judge(&recording));
    assert_eq!(counted(&run("").0, "crashes"), 0);
}

#[test]
fn a_restart_takes_as_long_as_it_says() {
    let restart = |down: &str| {
        let fault = format!(
            "[[fault]]\nkind = \"restart\"\nat = \"1s\"\ndown = \"{down}\"\n\
             select = {{ nodes = [\"n4\"] }}\n"
        );
        let mut sim = Sim::new(&scenario(7, &fault), 1);
        let (mut first, mut last) = (None, Time(0));
        while sim.step() {
            if sim.world.recorder.zero.is_some() && !sim.world.hosts[4].lives() {
                first.get_or_insert(sim.world.now);
                last = sim.world.now;
            }
        }
        whole(&crate::report::judge(&sim.finish()));
        last.since(first.expect("it dies")).as_millis()
    };
    assert!((450..=500).contains(&restart("500ms")));
    assert!((1450..=1500).contains(&restart("1500ms")));
}

#[test]
fn faults_of_links_strike_their_nodes_for_their_time_and_no_others() {
    let far = |fault: &str| {
        let recording = recording(&scenario(7, fault), 1);
        super::hops(&recording)
    };
    let delay = "[[fault]]\nkind = \"delay\"\nat = \"0s\"\nuntil = \"4s\"\nby = \"200ms\"\n\
                 select = { nodes = [\"n6\"] }\n";
    let slow = |(from, to, took): &&(u32, u32, std::time::Duration)| {
        assert!(*from != *to);
        took.as_millis() >= 200
    };
    let struck = |hop: &&(u32, u32, std::time::Duration)| hop.0 == 6 || hop.1 == 6;
    let delayed = far(delay);
    assert!(delayed.iter().filter(struck).count() >= 50);
    assert!(delayed.iter().filter(struck).all(|hop| slow(&hop)), "all that it hears is late");
    let others = delayed.iter().filter(|hop| !struck(hop));
    assert!(others.filter(|hop| !slow(hop)).count() > 200, "and nobody else is");
    assert_eq!(far("").iter().filter(slow).count(), 0);
}
