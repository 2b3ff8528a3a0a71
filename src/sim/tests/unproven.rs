//! Liars that stay within what can be proven: what they may cost, and what they may not.

use super::{latency, recording, scenario, whole};
use crate::protocol::Config;
use crate::report::{Report, judge};
use crate::scenario::{Group, Scenario, Who};

/// The one-way latency of a link in these runs, in milliseconds.
const LATENCY: u64 = 10;

fn among(nodes: usize, liars: usize, behave: &str) -> Scenario {
    let mut scenario = scenario(nodes, &format!("[net]\nlatency = \"{LATENCY}ms\"\n"));
    if liars > 0 {
        let behave = behave.parse().expect("a sound SPEC");
        scenario.malicious = vec![Group { who: Who::Count(liars), behave }];
    }
    scenario
}

fn report(scenario: &Scenario, seed: u64) -> Report {
    let report = judge(&recording(scenario, seed));
    whole(&report);
    assert_eq!(report.bans.honest, 0);
    report
}

#[test]
fn no_lie_in_answers_credit_or_an_own_lane_keeps_a_message_from_anybody() {
    for spec in ["promise", "gap", "false-floor", "false-differ", "false-credit", "restart"] {
        for seed in 1..=3 {
            let report = report(&among(10, 3, spec), seed);
            let reached = report.attacks.get(spec).map_or(0, |attack| attack.reached_honest);
            assert!(reached > 0, "{spec} of seed {seed} reached nobody");
            let provable = spec == "false-credit";
            assert!(provable || report.bans.malicious == 0, "{spec}: {:?}", report.rejections);
        }
    }
}

#[test]
fn of_the_lies_about_credit_only_too_much_is_banned() {
    for (what, banned) in [("withhold", 0), ("crumbs", 0), ("excess", 2)] {
        let report = report(&among(7, 2, &format!("false-credit:what={what}")), 1);
        assert_eq!(report.bans.malicious, banned, "{what}");
    }
}

#[test]
fn what_a_liar_shows_in_parts_is_everywhere_some_time_after_it_fell_silent() {
    // The liar signs more than its quota, shows each slot to one neighbour, and leaves gaps. The
    // oracle's L2 judges the run.
    for behave in ["gap:rate=300@between=0s..4s", "gap:rate=15:size=1000000@between=0s..4s"] {
        let mut scenario = among(7, 1, behave);
        scenario.duration = std::time::Duration::from_secs(40);
        let report = report(&scenario, 1);
        assert!(report.attacks["gap"].reached_honest > 10, "{behave}: {:?}", report.attacks);
    }
}

/// Liars announce a message first and stay silent. However many they are, they delay it only by the
/// time that one neighbour is given to answer and by two round trips; then several are asked at
/// once.
#[test]
fn promises_delay_a_message_by_one_wait_and_two_round_trips_at_most() {
    let patience = Config::default().ask_again_after.as_millis() as f64;
    for (nodes, liars, seeds) in [(7, 2, 3), (31, 10, 1)] {
        for seed in 1..=seeds {
            let (_, quiet) = latency(&report(&among(nodes, 0, ""), seed));
            let (_, late) = latency(&report(&among(nodes, liars, "promise"), seed));
            let most = quiet + patience + (4 * LATENCY) as f64;
            assert!(late <= most, "{liars} of {nodes}, seed {seed}: {late} ms, not {most}");
        }
    }
}

/// A liar claims to hold all of its lane, but left out a third of it that no node has. Once it is
/// silent, honest nodes must ask for those slots only now and then.
#[test]
fn what_nobody_has_is_not_asked_for_at_the_pace_of_a_link() {
    let frames = |behave: &str, seconds: u64| {
        let mut scenario = among(7, 1, behave);
        scenario.duration = std::time::Duration::from_secs(seconds);
        recording(&scenario, 1).counted["frames_sent"]
    };
    let behave = "gap@between=0s..4s";
    let each_second = (frames(behave, 20) - frames(behave, 10)) / 10;
    assert!(each_second < 7 * 60, "{each_second} frames a second among seven nodes");
}
