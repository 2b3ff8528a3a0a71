//! Malicious nodes in a mesh: whatever they do, every message reaches every honest node, nothing
//! forged does, and no honest node is banned. An attack counts only if it reached an honest node.

use loyal::protocol::{Blame, Reason};
use loyal::wire::Frame;

use crate::language::{Mesh, mesh};
use crate::support::identity;

/// Seven nodes, of which two (`f`) have the behaviour `spec`.
fn two_of_seven(spec: &str, seed: u64) -> Mesh {
    mesh(7).liar(spec).liar(spec).seed(seed).up().publish(50).run(8.0)
}

fn harmless(mesh: Mesh) -> Mesh {
    mesh.expect_all().expect_no_honest_ban().expect_linked()
}

#[test]
fn forging_is_refused_and_banned() {
    for seed in 1..4 {
        let mesh = harmless(two_of_seven("forge", seed)).expect_reached("forge").expect_bans(true);
        assert!(mesh.tried("forge") > 0);
    }
}

#[test]
fn every_variant_of_forging_is_refused_for_its_reason() {
    let mut reasons = vec![];
    for seed in 1..12 {
        let mesh = mesh(7).liar("forge").seed(seed).config(|config| {
            // Bans are short, so that one liar gets to try all five variants.
            config.ban_min = std::time::Duration::from_millis(200);
            config.ban_max = config.ban_min;
            config.redial_max = config.ban_min;
        });
        let mesh = harmless(mesh.up().publish(50).run(10.0));
        reasons.extend(Reason::ALL.into_iter().filter(|reason| mesh.refused(*reason) > 0));
    }
    for reason in [Reason::BadSignature, Reason::WrongNetwork, Reason::UnknownAuthor] {
        assert!(reasons.contains(&reason), "{reason:?} in {reasons:?}");
    }
}

#[test]
fn tampering_is_refused_and_banned() {
    for seed in 1..4 {
        harmless(two_of_seven("tamper", seed)).expect_reached("tamper").expect_bans(true);
    }
}

#[test]
fn malformed_frames_are_refused_and_banned() {
    for seed in 1..4 {
        harmless(two_of_seven("malformed", seed)).expect_reached("malformed").expect_bans(true);
    }
}

#[test]
fn dropping_delaying_and_censoring_change_nothing() {
    for (spec, kind) in [("drop", "drop"), ("drop:p=0.5", "drop"), ("delay:by=2s", "delay")] {
        let mesh = harmless(two_of_seven(spec, 1)).expect_bans(false);
        assert!(mesh.tried(kind) > 0 && mesh.affected(kind) > 0, "{spec} did something");
    }
    let mesh = harmless(two_of_seven("censor:author=n1", 2)).expect_bans(false);
    assert!(mesh.tried("censor") > 0 && mesh.affected("censor") > 0, "it censored something");
}

#[test]
fn replays_are_known_and_blame_nobody() {
    let mesh = harmless(two_of_seven("replay", 1).run(10.0)).expect_bans(false);
    assert!(mesh.tried("replay") > 0);
    mesh.expect_refused(Reason::Replayed);
}

#[test]
fn floods_of_copies_starve_nobody() {
    let mesh = harmless(two_of_seven("flood:rate=500:what=duplicate", 1)).expect_bans(false);
    assert!(mesh.tried("flood") > 500, "{} copies", mesh.tried("flood"));
}

#[test]
fn floods_of_valid_messages_meet_the_quota_and_starve_nobody() {
    // Whether the liar also overruns its credit, and is banned for that, depends on its links.
    let mesh = harmless(two_of_seven("flood:rate=300:what=valid", 1));
    assert!(mesh.tried("flood") > 0);
    mesh.expect_refused(Reason::AuthorRate);
}

#[test]
fn floods_of_garbage_and_oversize_are_banned() {
    for what in ["garbage", "oversize"] {
        let spec = format!("flood:rate=200:what={what}");
        harmless(two_of_seven(&spec, 1)).expect_reached("flood").expect_bans(true);
    }
}

#[test]
fn stalling_changes_nothing() {
    for seed in 1..4 {
        let mesh = harmless(two_of_seven("stall", seed).run(20.0)).expect_bans(false);
        assert!(mesh.tried("stall") > 0 && mesh.affected("stall") > 0, "it stalled somebody");
    }
}

#[test]
fn everything_at_once_up_to_the_bound() {
    for seed in 1..4 {
        let mesh = mesh(10).liar("forge").liar("drop").liar("flood:rate=200").seed(seed);
        let mesh = harmless(mesh.up().publish(60).run(8.0));
        mesh.expect_reached("forge").expect_reached("flood");
        let mesh = super::language::mesh(10)
            .liar("tamper+drop:p=0.3")
            .liar("stall")
            .liar("malformed@after=1s")
            .seed(seed);
        harmless(mesh.up().publish(60).run(15.0));
    }
}

#[test]
fn four_nodes_bear_one_liar_and_thirty_one_bear_ten() {
    for spec in ["forge", "drop", "stall", "malformed"] {
        harmless(mesh(4).liar(spec).up().publish(30).run(15.0));
    }
    let kinds = ["forge", "drop", "flood:rate=100", "tamper", "stall", "malformed", "replay"];
    let many = (0..10).fold(mesh(31), |mesh, i| mesh.liar(kinds[i % kinds.len()]));
    harmless(many.up().publish(42).run(15.0));
}

/// Seven honest nodes and three liars with these SPECs. Whatever the liars do, no honest node is
/// blamed.
fn three_of_ten(specs: [&str; 3]) -> Mesh {
    let mesh = specs.iter().fold(mesh(10), |mesh, spec| mesh.liar(spec));
    let mesh = mesh.latency(1000).times(100, 300).up().publish(60).run(3.0);
    for row in (0..HONEST).flat_map(|number| mesh.sim.rejections(number)) {
        let blamed = row.reason.blame() == Blame::Link;
        let liar = |key| (HONEST..10).any(|number| identity(number as u8 + 1).public() == key);
        assert!(!blamed || row.link.is_some_and(liar), "{specs:?}: {row:?}");
    }
    mesh.expect_all().expect_no_honest_ban()
}

const HONEST: usize = 7;

fn expect_no_ban(mesh: &Mesh) {
    assert!((0..10).all(|number| mesh.sim.bans(number).is_empty()));
}

#[test]
fn liars_of_every_kind_reach_honest_nodes_and_stop_nothing() {
    let mesh = three_of_ten(["forge", "drop", "flood"]);
    let refused = |reason| mesh.refused(reason);
    assert!(refused(Reason::BadSignature) > 0);
    assert!(refused(Reason::WrongNetwork) > 0);
    assert!(refused(Reason::Malformed) + refused(Reason::Oversize) > 0);
    assert!(mesh.affected("drop") > 0);
    mesh.expect_reached("forge").expect_reached("flood");
}

#[test]
fn tampered_and_malformed_frames_are_refused_and_stallers_are_survived() {
    let mesh = three_of_ten(["tamper", "malformed", "stall"]);
    assert!(mesh.refused(Reason::BadSignature) + mesh.refused(Reason::ContentMismatch) > 0);
    assert!(mesh.affected("stall") > 0);
    assert!(mesh.sim.holds_up(9), "a link is paused or paced");
}

#[test]
fn floods_drown_nothing_while_others_censor_and_delay() {
    for what in ["valid", "duplicate", "oversize"] {
        let flood = format!("flood:what={what}");
        three_of_ten(["censor:author=n1", "delay:by=300ms", &flood]);
    }
}

#[test]
fn floods_of_announcements_and_requests_drown_nothing() {
    let floods = ["flood:rate=40:what=announce", "flood:rate=40:what=request"];
    three_of_ten([floods[0], floods[1], "forge+flood+malformed"]);
}

#[test]
fn replays_are_refused_as_known_and_the_liar_keeps_its_links() {
    let mesh = three_of_ten(["replay"; 3]);
    assert!(mesh.refused(Reason::Replayed) > 20, "{}", mesh.refused(Reason::Replayed));
    expect_no_ban(&mesh);
}

#[test]
fn a_liar_that_only_swallows_or_delays_is_never_banned_and_bans_nobody() {
    for spec in ["drop", "drop:p=0.5", "censor:author=n2", "delay:by=200ms"] {
        let mesh = three_of_ten([spec; 3]);
        expect_no_ban(&mesh);
        for number in HONEST..10 {
            let totals = mesh.attempts(number).totals.values().next().copied();
            assert!(totals.is_some_and(|totals| totals.affected > 0), "{spec}: {totals:?}");
        }
    }
}

#[test]
fn a_third_that_relays_nothing_stops_nothing() {
    let mesh = three_of_ten(["drop"; 3]);
    for number in 0..HONEST {
        assert_eq!(mesh.sim.delivered(number).count(), 60, "node {number}");
    }
    expect_no_ban(&mesh);
}

/// They link, say hello, and are silent from then on: they answer nothing and grant no credit.
#[test]
fn a_third_that_is_silent_stops_nothing() {
    let mut mesh = mesh(10).raw().raw().raw().latency(1000).up();
    for raw in HONEST..10 {
        for to in 0..HONEST {
            mesh.join(raw, to);
        }
    }
    let mut mesh = mesh.publish(60).run(3.0).expect_all();
    for raw in HONEST..10 {
        let heard = mesh.sim.hear(raw);
        assert!(
            heard.iter().any(|(_, frame)| matches!(frame, Frame::Push(_) | Frame::Announce(_))),
            "{raw} was sent to"
        );
    }
    expect_no_ban(&mesh);
}

#[test]
fn a_slow_flood_stays_within_credit_and_turns_nobody_against_anybody() {
    for specs in [
        ["flood:rate=20:what=valid", "flood:rate=20:what=duplicate", "flood:rate=5:what=announce"],
        ["flood:rate=5:what=request", "flood:rate=5:what=request", "replay+drop:p=0.5"],
    ] {
        let mesh = three_of_ten(specs);
        expect_no_ban(&mesh);
        for number in HONEST..10 {
            let mut totals = mesh.attempts(number).totals.values();
            assert!(totals.all(|totals| totals.attempted > 20), "{specs:?}: {number}");
        }
    }
}

#[test]
fn the_same_mesh_runs_the_same_way_twice() {
    let run = || three_of_ten(["forge", "drop:p=0.5", "flood:rate=100"]).sim.digest();
    assert_eq!(run(), run());
}

/// The negative control: `expect_all` does fail if messages have not arrived.
#[test]
#[should_panic(expected = "lacks")]
fn a_mesh_that_has_had_no_time_has_not_delivered() {
    let slow = mesh(7).latency(200_000);
    slow.up().publish(50).expect_all();
}

#[test]
#[should_panic(expected = "none of one")]
fn an_attack_that_was_not_made_has_not_reached() {
    mesh(7).liar("forge@after=1000s").up().publish(5).run(1.0).expect_reached("forge");
}

/// Meshes of many shapes. `LOYAL_SEEDS=200` tries more of them than the usual 12.
#[test]
fn many_shapes_of_meshes_bear_many_liars() {
    let kinds = [
        "forge",
        "tamper",
        "drop",
        "delay:by=500ms",
        "replay",
        "stall",
        "malformed",
        "drop:p=0.5",
        "flood:rate=50",
        "flood:rate=80:what=duplicate",
        "flood:rate=40:what=valid",
        "forge+tamper+drop:p=0.2",
        "censor:author=n1",
        "flood:rate=20:what=oversize",
    ];
    let seeds = std::env::var("LOYAL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let n = 4 + seed as u8 % 10;
        let f = (usize::from(n) - 1) / 3;
        let mesh =
            (0..f).fold(mesh(n), |mesh, i| mesh.liar(kinds[(seed / 3 + 5 * i) % kinds.len()]));
        let check = [50, 3_000, 20_000][seed / 2 % 3];
        let sync = [100, 2_000, 30_000][seed / 5 % 3];
        let mesh = mesh.seed(seed as u64).latency([500, 2_000, 40_000][seed % 3]);
        let mesh = mesh.times(check, sync);
        eprintln!("seed {seed}: {n} nodes");
        harmless(mesh.up().publish(40).run(20.0));
    }
}
