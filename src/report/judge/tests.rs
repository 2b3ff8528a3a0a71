//! Clean runs, and negative controls that prove that a verdict can fail.

use super::*;
use crate::crypto::Digest;
use crate::report::testing::{arrival, big, clean, refused};
use crate::report::{BanRecord, Tried, TriedOne, Violation};
use crate::scenario::{Expect, Limit};

#[test]
fn a_lane_with_gaps_counts_by_what_was_taken_of_it_and_silent_lies_by_what_they_affected() {
    let mut run = clean();
    let tried = |kind: &str, id| TriedOne { kind: kind.into(), link: Some(1), frame: None, id };
    run.nodes[3].kinds = ["gap", "false-floor", "false-credit"].map(String::from).into();
    run.nodes[1].rejections = vec![refused(3, "author_rate", 9, 4), refused(3, "replayed", 9, 7)];
    run.nodes[2].rejections = vec![refused(3, "credit_overrun", 8, 1)];
    run.nodes[3].attempts = Some(Tried {
        totals: BTreeMap::from([
            ("gap".into(), (9, 0)),
            ("false-floor".into(), (5, 5)),
            ("false-credit".into(), (3, 2)),
        ]),
        newest: vec![
            tried("gap", Some(Digest([0xaa; 32]))),
            tried("gap", Some(Digest([0xee; 32]))),
            tried("false-floor", Some(Digest([0xcc; 32]))),
        ],
    });
    let report = judge(&run);
    let reached = |kind: &str| report.attacks[kind].reached_honest;
    assert_eq!(reached("gap"), 1 + 4, "one that several took, and four refusals");
    assert_eq!(reached("false-floor"), 5);
    assert_eq!(reached("false-credit"), 2 + 1, "what it withheld, and where it gave too much");
    assert_eq!(report.rejections.by_behaviour.get("other"), None, "copies are counted apart");
    assert_eq!((report.rejections.total, report.rejections.copies), (5, 7));
}

#[test]
fn a_clean_run_passes_with_its_figures() {
    let report = judge(&clean());
    assert_eq!(report.verdict, Verdict::Pass, "{report:?}");
    let delivery = &report.delivery;
    assert_eq!((report.published, delivery.expected, delivery.delivered), (1, 3, 3));
    let latency = delivery.latency_ms.expect("was measured");
    assert_eq!((latency.p50, latency.max), (0.5, 1.5));
    assert_eq!(delivery.copies_per_delivery, Some(1.5));
    assert_eq!(delivery.bytes_per_payload_byte, Some(1.0));
    let forge = report.attacks["forge"];
    assert_eq!(forge, Attack { attempted: 9, reached_honest: 5, accepted: 0 });
    assert_eq!(report.attacks["drop"].reached_honest, 4);
    assert_eq!(report.rejections.by_behaviour, BTreeMap::from([("forge".into(), 5)]));
    assert_eq!((report.within_bound, report.settle_s), (true, Some(2.0)));
}

#[test]
fn true_hops_are_counted_whatever_a_liar_claims() {
    let mut run = clean();
    let hops = |run: &Recording| {
        let delivery = judge(run).delivery;
        let claimed = delivery.hops.map(|hops| hops.histogram);
        (claimed, delivery.true_hops.map(|hops| hops.histogram), delivery.untraced)
    };
    // n3 passed the message on as if it were its author, so n1 believes in 1 hop where there were
    // 2.
    let claimed = Some(BTreeMap::from([(1, 2)]));
    assert_eq!(hops(&run), (claimed.clone(), Some(BTreeMap::from([(1, 1), (2, 1)])), 0));
    // Nothing is known of the liar: the path is unknown, and not guessed.
    run.arrivals.remove(1);
    assert_eq!(hops(&run), (claimed, Some(BTreeMap::from([(1, 1)])), 1));
}

#[test]
fn a_way_in_a_circle_is_unknown_and_ends() {
    let mut run = clean();
    run.arrivals[1].from = Some(1);
    let delivery = judge(&run).delivery;
    assert_eq!((delivery.untraced, delivery.delivered), (1, 3));
    run.arrivals[1].from = Some(3);
    assert_eq!(judge(&run).delivery.untraced, 1);
    run.arrivals[1].from = Some(99);
    assert_eq!(judge(&run).delivery.untraced, 1);
    // n3 claims to have it from nobody, but is not the author.
    run.arrivals[1].from = None;
    assert_eq!(judge(&run).delivery.untraced, 1);
}

#[test]
fn one_accepted_forgery_is_seen_and_breaks_safety() {
    let mut run = clean();
    run.arrivals.push(arrival(1, 1, 2600, 1, Some(3)));
    let report = judge(&run);
    assert_eq!(report.verdict, Verdict::Safety);
    assert_eq!(report.attacks["forge"].accepted, 1);
    assert_eq!((report.delivery.unpublished, report.delivery.delivered), (1, 3));
    // A node that died later counts all the same; a liar's delivery does not.
    run.nodes[1].dead = true;
    assert_eq!(judge(&run).verdict, Verdict::Safety);
    run.nodes[1].dead = false;
    run.arrivals[4].node = 3;
    assert_eq!(judge(&run).verdict, Verdict::Pass);
}

#[test]
fn a_second_delivery_of_a_slot_breaks_safety() {
    for batch in [0, 2] {
        let mut run = clean();
        run.arrivals.push(arrival(1, batch, 2600, 1, Some(3)));
        let report = judge(&run);
        assert_eq!((report.verdict, report.delivery.duplicates), (Verdict::Safety, 1), "{batch}");
        assert_eq!((report.delivery.unpublished, report.delivery.delivered), (0, 3), "{batch}");
        let accepted: u64 = report.attacks.values().map(|attack| attack.accepted).sum();
        assert_eq!(accepted, 1);
    }
    // The same holds for a liar's slot.
    let mut run = clean();
    for number in [1, 2] {
        run.batches[number].author = Some(3);
        run.batches[number].seq = 9;
        run.arrivals.push(arrival(1, number as u32, 2600, 1, Some(3)));
    }
    assert_eq!(judge(&run).verdict, Verdict::Safety);
    run.arrivals.pop();
    assert_eq!(judge(&run).verdict, Verdict::Pass);
}

#[test]
fn one_missing_delivery_misses_liveness() {
    let mut run = clean();
    run.arrivals.pop();
    let report = judge(&run);
    assert_eq!(report.verdict, Verdict::Liveness);
    assert_eq!(report.delivery.delivered, 2);
    // A delivery is not expected of a node that is dead at the end.
    run.nodes[1].dead = true;
    let report = judge(&run);
    assert_eq!((report.verdict, report.delivery.expected), (Verdict::Pass, 2));
}

#[test]
fn what_died_with_its_publisher_is_not_expected_and_what_one_has_all_must_have() {
    let mut run = clean();
    run.nodes[0].dead = true;
    run.arrivals.truncate(1);
    let report = judge(&run);
    assert_eq!((report.verdict, report.delivery.expected), (Verdict::Pass, 0));
    run.arrivals.push(arrival(2, 0, 1500, 1, Some(0)));
    let report = judge(&run);
    assert_eq!((report.verdict, report.delivery.expected), (Verdict::Liveness, 2));
}

#[test]
fn a_post_that_was_not_taken_misses_liveness_and_is_no_forgery() {
    let mut run = clean();
    run.posts[0].taken = None;
    let report = judge(&run);
    assert_eq!(report.verdict, Verdict::Liveness);
    assert_eq!((report.refused_posts, report.delivery.unpublished), (1, 0));
    // A post whose node was killed before it answered does not count.
    run.posts[0].excused = true;
    assert_eq!((judge(&run).verdict, judge(&run).refused_posts), (Verdict::Pass, 0));
    run.posts[0].excused = false;
    // A liar's posts do not count.
    run.posts[0].author = 3;
    assert_eq!(judge(&run).verdict, Verdict::Pass);
}

#[test]
fn an_honest_node_banned_by_an_honest_node_breaks_safety() {
    let ban = |peer| BanRecord { peer, at: 1, reason: "malformed".into() };
    let mut run = clean();
    run.nodes[0].bans.push(ban(3));
    let good = judge(&run);
    assert_eq!((good.verdict, good.bans), (Verdict::Pass, Bans { malicious: 1, honest: 0 }));
    run.nodes[3].bans.push(ban(1));
    assert_eq!(judge(&run).verdict, Verdict::Pass, "a liar may ban whom it likes");
    run.nodes[0].bans.push(ban(1));
    assert_eq!(judge(&run).verdict, Verdict::Safety);
}

#[test]
fn what_reached_nobody_is_not_exercised() {
    let mut run = clean();
    run.nodes[3].kinds = vec!["forge".into()];
    run.nodes[1].rejections.clear();
    let report = judge(&run);
    assert_eq!(report.verdict, Verdict::NotExercised);
    assert_eq!(report.not_exercised, ["forge"]);
    assert_eq!(report.idle_liars, ["n3"]);
}

#[test]
fn a_spec_is_exercised_when_one_of_what_it_joins_is() {
    let mut run = clean();
    run.nodes[3].kinds = vec!["forge".into(), "tamper".into()];
    let report = judge(&run);
    assert_eq!(report.not_exercised, ["tamper"], "it never got its turn, and is listed");
    assert_eq!((report.verdict, report.idle_liars.len()), (Verdict::Pass, 0));
    run.nodes[1].rejections.clear();
    assert_eq!(judge(&run).verdict, Verdict::NotExercised);
}

#[test]
fn rows_are_put_down_by_frame_then_by_reason() {
    let mut run = clean();
    run.nodes[3].kinds = vec!["flood".into(), "forge".into(), "tamper".into()];
    run.nodes[1].rejections = vec![
        refused(3, "malformed", 0xf1, 1),
        refused(3, "credit_overrun", 0xf2, 10),
        refused(3, "content_mismatch", 0xf3, 100),
        refused(2, "replayed", 0xf4, 1000),
    ];
    let report = judge(&run);
    let reached = |kind: &str| report.attacks[kind].reached_honest;
    assert_eq!((reached("forge"), reached("flood"), reached("tamper")), (1, 10, 100));
    assert_eq!(report.rejections.by_behaviour.get("honest"), None);
    let all = &report.rejections;
    assert_eq!((all.total, all.lies, all.copies, all.knocks), (111, 111, 1000, 0));
    assert!(!all.by_reason.contains_key("replayed"));
    let knock = refused(3, "banned", 0xf5, 9);
    run.nodes[1].rejections.push(knock);
    let all = judge(&run).rejections;
    assert_eq!((all.total, all.knocks), (111, 9), "whoever knocks adds nothing");
    assert!(!all.by_reason.contains_key("banned") && !all.by_behaviour.contains_key("other"));
}

#[test]
fn the_oracle_is_believed() {
    let violation = |liveness| Violation {
        invariant: "I1".into(),
        liveness,
        at: 1500,
        node: Some(2),
        what: "delivered what nobody signed".into(),
    };
    let mut run = clean();
    run.violations.push(violation(true));
    assert_eq!(judge(&run).verdict, Verdict::Liveness);
    run.violations.push(violation(false));
    let report = judge(&run);
    assert_eq!(report.verdict, Verdict::Safety);
    assert_eq!((report.violations.len(), report.violations[0].node.as_deref()), (2, Some("n2")));
}

#[test]
fn a_missed_expectation_misses_liveness() {
    let mut run = clean();
    let expect = |limit| Expect { metric: "delivery.latency_ms.max".into(), limit };
    run.expects.push(expect(Limit::AtMost(1.5)));
    let report = judge(&run);
    assert_eq!((report.verdict, report.expectations[0].pass), (Verdict::Pass, true));
    run.expects.push(expect(Limit::AtMost(1.4)));
    let report = judge(&run);
    assert_eq!((report.verdict, report.expectations[1].actual), (Verdict::Liveness, Some(1.5)));
    // A scenario that expects this verdict passes.
    run.expected_verdict = Verdict::Liveness;
    let report = judge(&run);
    assert_eq!(report.verdict.exit_code_against(report.expected_verdict), 0);
}

#[test]
fn a_million_arrivals_are_judged_in_linear_time() {
    let run = big(10_000, 100);
    let report = judge(&run);
    assert_eq!((report.verdict, report.delivery.delivered), (Verdict::Pass, 1_000_000));
    let hops = report.delivery.true_hops.expect("was measured");
    assert_eq!((hops.histogram[&1], hops.max), (800, 5));
}
