//! Tests of the path from nodes' answers to a verdict: clean runs, and negative controls that prove
//! that the verdict can fail.

use super::*;
use crate::http::{AttemptDto, AttemptKind};
use crate::mesh::HeldMessage;
use crate::report::{Attack, Bans, Report, judge};
use crate::scenario::Verdict;

/// Keys, ids and frame digests have 64 hex digits; these tests set only the last ones.
fn hex(digits: &str) -> String {
    format!("{digits:0>64}")
}

/// Records the run of a scenario of three nodes.
fn recording(run: &Observed, zero: u64) -> Recording {
    let scenario = Scenario::parse("name = 'test'\n[mesh]\nnodes = 3\n", &[]).expect("sound");
    let reproduce = "loyal test".into();
    record(run, &Terms { scenario: &scenario, seed: None, reproduce, f: 1, zero })
}

fn report(run: &Observed) -> Report {
    judge(&recording(run, 0))
}

fn held(author: &str, seq: u64, id: &str, at: u64, payload: u8) -> HeldMessage {
    HeldMessage {
        id: format!("{}.0", hex(id)),
        author: hex(author),
        seq,
        hops: 1,
        from: Some(hex("3")),
        delivered_at: at,
        payload: Some(Digest([payload; 32])),
    }
}

fn rejection(link: &str, reason: &str, frame: &str, count: u64) -> RejectionDto {
    RejectionDto {
        row: 1,
        time: 1,
        reason: reason.into(),
        link: Some(hex(link)),
        link_name: None,
        author: None,
        proven: false,
        seq: None,
        id: None,
        topic: None,
        hops: None,
        size: 1,
        detail: String::new(),
        frame: hex(frame),
        head: String::new(),
        counts_as: if reason == "replayed" { "copy" } else { "lie" }.into(),
        frame_kept: None,
        frame_base64: None,
        count,
        cursor: String::new(),
    }
}

fn attempt(kind: &str, frame: &str, id: &str) -> AttemptDto {
    AttemptDto {
        kind: kind.into(),
        detail: String::new(),
        at: 1,
        link: None,
        frame: Some(hex(frame)),
        id: Some(hex(id)),
    }
}

/// Two honest nodes and a liar; one message was posted at node 0, and both hold it.
fn clean() -> Observed {
    let honest = |number: usize| NodeView {
        name: format!("n{number}"),
        key: hex(&number.to_string()),
        held: vec![held("0", 1, "aa", 1_500 + number as u64 * 1000, 1)],
        ..NodeView::default()
    };
    let mut nodes = vec![honest(0), honest(1)];
    nodes[1].rejections.push(rejection("3", "bad_signature", "f1", 5));
    nodes.push(NodeView {
        name: "n2".into(),
        key: hex("3"),
        spec: Some("forge+drop".into()),
        kinds: vec!["forge".into(), "drop".into()],
        attempts: Some(AttemptsDto {
            totals: BTreeMap::from([
                ("forge".into(), AttemptKind { attempted: 9, affected: 0 }),
                ("drop".into(), AttemptKind { attempted: 4, affected: 4 }),
            ]),
            attempts: vec![attempt("forge", "f1", "bb")],
        }),
        ..NodeView::default()
    });
    let sent = Sent {
        author: hex("0"),
        at: 1_000,
        payload: Digest([1; 32]),
        size: 256,
        id: Ok(format!("{}.0", hex("aa"))),
        seq: 1,
        excused: false,
    };
    Observed { nodes, sent: vec![sent], ..Observed::default() }
}

#[test]
fn a_clean_run_passes_with_its_figures() {
    let report = report(&clean());
    assert_eq!(report.verdict, Verdict::Pass, "{report:?}");
    assert_eq!((report.published, report.delivery.expected, report.delivery.delivered), (1, 2, 2));
    let latency = report.delivery.latency_ms.expect("was measured");
    assert_eq!((latency.p50, latency.max), (0.5, 1.5));
    let hops = report.delivery.hops.expect("was measured");
    assert_eq!(hops.histogram, BTreeMap::from([(1, 1)]), "the author is left out");
    let forge = report.attacks["forge"];
    assert_eq!(forge, Attack { attempted: 9, reached_honest: 5, accepted: 0 });
    assert_eq!(report.attacks["drop"].reached_honest, 4);
    assert_eq!(report.rejections.by_behaviour, BTreeMap::from([("forge".into(), 5)]));
    assert!(report.within_bound);
}

#[test]
fn one_accepted_forgery_is_seen_and_breaks_safety() {
    let mut run = clean();
    run.nodes[1].held.push(held("0", 2, "bb", 1_700, 9));
    let report = report(&run);
    assert_eq!(report.verdict, Verdict::Safety);
    assert_eq!(report.attacks["forge"].accepted, 1);
    assert_eq!((report.delivery.unpublished, report.delivery.delivered), (1, 2));
}

#[test]
fn another_payload_under_a_posted_id_is_no_delivery() {
    let mut run = clean();
    run.nodes[1].held[0].payload = Some(Digest([2; 32]));
    let report = report(&run);
    assert_eq!(report.verdict, Verdict::Safety);
    assert_eq!((report.delivery.unpublished, report.delivery.delivered), (1, 1));
}

#[test]
fn a_second_delivery_of_a_slot_breaks_safety() {
    let mut run = clean();
    let again = run.nodes[1].held[0].clone();
    run.nodes[1].held.push(again);
    assert_eq!(report(&run).verdict, Verdict::Safety);
    let mut run = clean();
    run.nodes[1].held.push(held("0", 1, "cc", 1_700, 1));
    let report = report(&run);
    assert_eq!((report.verdict, report.delivery.duplicates), (Verdict::Safety, 1));
}

#[test]
fn one_missing_delivery_misses_liveness() {
    let mut run = clean();
    run.nodes[1].held.clear();
    let report = report(&run);
    assert_eq!(report.verdict, Verdict::Liveness);
    assert_eq!(report.delivery.ratio, Some(0.5));
}

#[test]
fn an_honest_node_banned_by_an_honest_node_breaks_safety() {
    let mut run = clean();
    run.nodes[0].banned.push((hex("3"), None));
    let good = report(&run);
    assert_eq!((good.verdict, good.bans), (Verdict::Pass, Bans { malicious: 1, honest: 0 }));
    run.nodes[0].banned.push((hex("1"), None));
    assert_eq!(report(&run).verdict, Verdict::Safety);
}

#[test]
fn what_reached_nobody_is_not_exercised() {
    let mut run = clean();
    run.nodes[1].rejections.clear();
    let joined = report(&run);
    assert_eq!(joined.not_exercised, ["forge"]);
    assert_eq!(joined.verdict, Verdict::Pass, "what it joins with it reached one");
    run.nodes[2].kinds = vec!["forge".into()];
    assert_eq!(report(&run).verdict, Verdict::NotExercised);
}

#[test]
fn a_lost_answer_is_no_forgery_but_a_refused_post() {
    let mut run = clean();
    run.sent[0].id = Err("timed out".into());
    let report = report(&run);
    assert_eq!(report.verdict, Verdict::Liveness);
    assert_eq!((report.refused_posts, report.delivery.unpublished), (1, 0));
}

#[test]
fn rows_are_put_down_by_frame_then_by_reason() {
    let mut run = clean();
    run.nodes[2].kinds = vec!["flood".into(), "forge".into(), "tamper".into()];
    run.nodes[1].rejections = vec![
        rejection("3", "malformed", "f1", 1),
        rejection("3", "credit_overrun", "f2", 10),
        rejection("3", "content_mismatch", "f3", 100),
        rejection("1", "replayed", "f4", 1000),
    ];
    let report = report(&run);
    let reached = |kind: &str| report.attacks[kind].reached_honest;
    assert_eq!((reached("forge"), reached("flood"), reached("tamper")), (1, 10, 100));
    assert_eq!(report.rejections.by_behaviour.get("honest"), None);
    assert_eq!((report.rejections.total, report.rejections.copies), (111, 1000));
}

#[test]
fn a_node_that_died_for_good_is_not_waited_for_but_still_judged() {
    let mut run = clean();
    run.nodes[1].held.clear();
    run.nodes[1].dead = true;
    let good = report(&run);
    assert_eq!((good.verdict, good.delivery.expected), (Verdict::Pass, 1));
    assert_eq!(good.dead, ["n1"]);
    run.nodes[1].held.push(held("0", 2, "bb", 1_700, 9));
    assert_eq!(report(&run).verdict, Verdict::Safety);
}

#[test]
fn a_batch_is_there_when_all_its_messages_are() {
    let mut run = clean();
    let mut second = run.sent[0].clone();
    second.id = Ok(format!("{}.1", hex("aa")));
    second.payload = Digest([2; 32]);
    run.sent.push(second);
    let late = report(&run);
    assert_eq!((late.verdict, late.delivery.delivered), (Verdict::Liveness, 0));
    for node in &mut run.nodes[..2] {
        let mut more = held("0", 1, "aa", 2_000, 2);
        more.id = format!("{}.1", hex("aa"));
        node.held.push(more);
    }
    let all = report(&run);
    assert_eq!((all.verdict, all.delivery.delivered), (Verdict::Pass, 4));
}

#[test]
fn times_count_from_the_zero_of_the_run() {
    let recording = recording(&clean(), 900);
    assert_eq!((recording.posts[0].at, recording.arrivals[0].at), (100, 600));
    assert_eq!(recording.arrivals[1].from, Some(2), "the liar's number");
}
