//! What the network does to data sent over links.

use std::time::Duration;

use super::{counted, hops, latency, recording, run, scenario, whole};

/// Every hop takes the latency that the scenario draws for its link, and many take less than twice
/// that.
#[test]
fn links_take_as_long_as_the_scenario_draws() {
    for latency in [
        "\"20ms\"",
        "{ kind = \"uniform\", min = \"5ms\", max = \"60ms\" }",
        "{ kind = \"normal\", mean = \"40ms\", sd = \"10ms\" }",
        "{ kind = \"long-tailed\", median = \"20ms\", max = \"300ms\" }",
        "{ kind = \"regions\", names = [\"a\", \"b\"], matrix = [[\"2ms\", \"40ms\"], \
         [\"70ms\", \"3ms\"]] }",
    ] {
        let scenario = scenario(7, &format!("[net]\nlatency = {latency}\n"));
        let recording = recording(&scenario, 1);
        let wanted = |from: u32, to: u32| scenario.net.one_way(from as usize, to as usize, 1);
        let hops = hops(&recording);
        assert!(hops.len() >= 6 * 50, "{latency}");
        for (from, to, took) in &hops {
            // The world counts time in microseconds.
            let least = wanted(*from, *to).saturating_sub(Duration::from_micros(1));
            assert!(*took >= least, "{latency}: n{from} to n{to} took {took:?} of {least:?}");
        }
        let twice = hops.iter().filter(|(from, to, took)| *took < wanted(*from, *to) * 2);
        assert!(twice.count() > hops.len() / 4, "{latency}: a larger bound would fail");
        whole(&crate::report::judge(&recording));
    }
}

#[test]
fn loss_shows_as_segments_sent_again_and_as_delay() {
    let (fair, fair_report) = run("");
    let (lossy, lossy_report) = run("[net]\nloss = 0.1\n");
    assert_eq!(counted(&fair, "retransmissions"), 0);
    // A tenth of the segments is lost, and a frame is at least one segment.
    let frames = counted(&lossy, "frames_sent");
    let again = counted(&lossy, "retransmissions");
    assert!((frames / 15..frames / 5).contains(&again), "{again} of {frames}");
    assert!(latency(&lossy_report).1 > latency(&fair_report).1 * 1.5);
    whole(&lossy_report);
}

#[test]
fn a_link_on_which_everything_is_lost_breaks_and_another_comes() {
    let lost = "[[fault]]\nkind = \"loss\"\nat = \"1s\"\nuntil = \"2s\"\np = 1.0\n\
                select = { nodes = [\"n5\"] }\n";
    let (recording, report) = run(lost);
    assert!(counted(&recording, "links_broken") > 0);
    whole(&report);
    assert_eq!(counted(&run("").0, "links_broken"), 0);
}

#[test]
fn bandwidth_queues_what_is_sent() {
    // A frame of two kilobytes takes a fifth of a second at 10 kB/s.
    let slow = |net: &str| {
        let mut scenario = scenario(7, &format!("settle = \"60s\"\n{net}"));
        scenario.loads[0].size = 2000;
        scenario.loads[0].count = Some(5);
        let recording = recording(&scenario, 1);
        let report = crate::report::judge(&recording);
        whole(&report);
        let least = hops(&recording).iter().map(|(.., took)| *took).min();
        (least.expect("arrivals"), latency(&report).1)
    };
    let (fast, free) = slow("");
    let (least, capped) = slow("[net]\nbandwidth = 10000\n");
    assert!(fast < Duration::from_millis(200) && least >= Duration::from_millis(200));
    assert!(capped > free + 400.0, "two hops, or behind another: {capped} instead of {free}");
    let (twice, _) = slow("[net]\nbandwidth = 10000\nduplicate = 1.0\n");
    assert!(twice >= Duration::from_millis(400), "a copy of a segment takes its time as well");
}

#[test]
fn duplicates_and_reordering_are_counted_and_harm_nothing() {
    let (fair, fair_report) = run("");
    for what in ["duplicated_segments", "reordered_segments"] {
        assert_eq!(counted(&fair, what), 0, "{what}");
    }
    let (doubled, report) = run("[net]\nduplicate = 0.5\n");
    assert!(counted(&doubled, "duplicated_segments") > counted(&doubled, "frames_sent") / 3);
    assert_eq!(latency(&report), latency(&fair_report), "a free link carries the copy for free");
    assert_eq!(report.delivery.duplicates, 0);
    whole(&report);
    let (overtaken, report) = run("[net]\nreorder = 0.5\n");
    assert!(counted(&overtaken, "reordered_segments") > counted(&overtaken, "frames_sent") / 3);
    assert!(latency(&report).0 > latency(&fair_report).0, "what is overtaken holds up the rest");
    whole(&report);
}

#[test]
fn modelled_signatures_are_never_checked_and_the_report_says_so() {
    for (crypto, real) in [("real", true), ("modelled", false)] {
        let (recording, report) = run(&format!("crypto = \"{crypto}\"\n"));
        let count = |what: &str| counted(&recording, what);
        let (asked, made) = (count("signature_checks_asked"), count("signature_checks_made"));
        assert_eq!((made > 0, report.real_crypto), (real, real));
        assert!(asked > made * 3, "once a run, and not once a node: {made} of {asked}");
        assert_eq!(crate::report::terminal(&report).contains("modelled"), !real);
        whole(&report);
    }
}
