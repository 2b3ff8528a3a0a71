//! Disks: each kind of disk fault does what it says, and shows in the run.

use super::{counted, recording, run, scenario, whole};
use crate::report::{Recording, judge};
use crate::sim::Sim;

/// For 60 messages of 256 bytes: a limit on the bytes that each node keeps.
const SMALL: &str = "[store]\nmax_bytes = 65536\n";

fn fault(kind: &str, at: &str, rest: &str, nodes: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\nat = \"{at}\"\n{rest}\nselect = {{ nodes = {nodes} }}\n")
}

/// Runs a scenario in which none of the invariants in `rules` may break; others may.
fn without(rest: &str, rules: &[&str]) -> Recording {
    let mut sim = Sim::new(&scenario(7, rest), 1);
    while sim.step() {}
    for violation in sim.violations() {
        assert!(!rules.contains(&&*violation.invariant), "{violation:?}");
    }
    sim.finish()
}

#[test]
fn a_small_store_prunes_and_all_is_delivered_all_the_same() {
    for (store, prunes) in [("", false), (SMALL, true)] {
        let (recording, report) = run(store);
        assert_eq!(counted(&recording, "prunings") > 0, prunes);
        assert_eq!((counted(&recording, "skipped"), recording.skipped.len()), (0, 0));
        whole(&report);
    }
}

#[test]
fn what_everybody_has_pruned_is_excused_and_counted() {
    let away = fault("kill", "500ms", "until = \"3500ms\"", "[\"n6\"]");
    let mut scenario =
        scenario(7, &format!("settle = \"30s\"\n{}{away}", "[store]\nmax_bytes = 1000000\n"));
    // More than a node keeps in its memory.
    scenario.loads[0].size = 60_000;
    let recording = recording(&scenario, 1);
    let report = judge(&recording);
    assert!(counted(&recording, "skipped") > 0);
    assert_eq!(recording.skipped.len() as u64, counted(&recording, "skipped"));
    assert!(recording.skipped.iter().all(|(node, _)| *node == 6), "nobody else lacks anything");
    whole(&report);
    assert!(report.delivery.expected < 60 * 7);
}

#[test]
fn what_a_full_disk_does_not_take_is_written_once_it_can_be() {
    let full = |node: &str| fault("disk-full", "1s", "until = \"2s\"", node);
    let dies = fault("restart", "3500ms", "down = \"100ms\"", "[\"n4\"]");
    let (recording, report) = run(&format!("{}{dies}", full("[\"n4\"]")));
    assert!(counted(&recording, "failed_writes") >= 15);
    assert_eq!(counted(&recording, "failed_posts"), 0);
    whole(&report);
    let (recording, report) = run(&full("[\"n0\"]"));
    assert!(counted(&recording, "failed_posts") >= 5, "its own are refused");
    assert_eq!(report.refused_posts, 0, "and that was said");
    whole(&report);
    assert_eq!(counted(&run("").0, "failed_writes"), 0);
}

#[test]
fn a_crash_loses_what_a_full_disk_did_not_take() {
    let full = fault("disk-full", "1s", "until = \"3s\"", "[\"n4\"]");
    let dies = fault("restart", "2500ms", "down = \"100ms\"", "[\"n4\"]");
    let (recording, report) = run(&format!("{full}{dies}"));
    assert!(counted(&recording, "lost_unsynced") >= 25, "all of a second and a half");
    whole(&report);
}

#[test]
fn rotten_rows_are_seen_and_never_served() {
    // All of them restart, so that no cache answers in place of their disks.
    let rot = fault("rot", "2s", "rows = 20", "[\"n2\", \"n3\", \"n4\", \"n5\"]");
    let again = fault("restart", "2100ms", "down = \"50ms\"", "[\"n2\", \"n3\", \"n4\", \"n5\"]");
    let away = fault("wipe", "2200ms", "until = \"2500ms\"", "[\"n6\"]");
    let recording = without(&format!("{rot}{again}{away}"), &["I1", "I2", "I3", "I4", "A5", "C1"]);
    assert_eq!(counted(&recording, "rotted_rows"), 80);
    assert!(counted(&recording, "damaged_rows") > 20);
    assert_eq!(judge(&recording).bans.honest, 0);
}

#[test]
fn who_loses_its_disk_gets_all_of_it_again() {
    let (recording, report) = run(&fault("wipe", "2s", "until = \"2500ms\"", "[\"n4\"]"));
    assert_eq!(counted(&recording, "wiped_disks"), 1);
    assert!(counted(&recording, "redelivered_after_crash") >= 35);
    assert_eq!(report.delivery.duplicates, 0);
    whole(&report);
}
