//! Liars in a mesh: honest nodes deliver everything and nothing false, and ban no honest node.

use super::world::World;
use crate::protocol::Reason;
use crate::protocol::testing::identity;

const HONEST: usize = 7;

/// Runs seven honest nodes and three liars with sixty messages, and checks what must hold whatever
/// the liars do.
fn mesh(specs: &[&str; 3]) -> World {
    let mut world = World::new(HONEST + 3, specs);
    world.run(1000);
    let mut texts = 0;
    for i in 0..60 {
        world.publish(i % HONEST, &format!("message {i}"));
        texts += 1;
        world.run(20);
    }
    world.run(3000);
    let honest: Vec<_> = (0..HONEST).map(|i| identity(i).public()).collect();
    for i in 0..HONEST {
        let by_honest = world.delivered[i].iter().filter(|id| {
            world.stores[i].get(*id).is_some_and(|s| honest.contains(&s.batch.header.author))
        });
        assert_eq!(by_honest.count(), texts, "{specs:?}: node {i}");
        for banned in &world.bans[i] {
            assert!(!honest.contains(banned), "{specs:?}: node {i} banned an honest node");
        }
        for row in
            world.rows[i].iter().filter(|row| row.reason.blame() == crate::protocol::Blame::Link)
        {
            assert!(row.link.is_some_and(|link| !honest.contains(&link)), "{specs:?}: {row:?}");
        }
    }
    world
}

fn refused(world: &World, reason: Reason) -> u64 {
    (0..HONEST).map(|i| world.refused(i, reason)).sum()
}

#[test]
fn liars_of_every_kind_reach_honest_nodes_and_stop_nothing() {
    let world = mesh(&["forge", "drop", "flood"]);
    assert!(refused(&world, Reason::BadSignature) > 0);
    assert!(refused(&world, Reason::WrongNetwork) > 0);
    assert!(refused(&world, Reason::Malformed) + refused(&world, Reason::Oversize) > 0);
    assert!(world.liar(8).attempts().totals["drop"].affected > 0);
    let matched = |kind: &str| {
        let digests: Vec<_> = (HONEST..HONEST + 3)
            .flat_map(|i| world.liar(i).attempts().newest.iter())
            .filter(|attempt| attempt.kind == kind)
            .filter_map(|attempt| attempt.frame)
            .collect();
        (0..HONEST).flat_map(|i| &world.rows[i]).filter(|row| digests.contains(&row.frame)).count()
    };
    assert!(matched("forge") > 0 && matched("flood") > 0, "rows and attempts name the same frames");
}

#[test]
fn tampered_and_malformed_frames_are_refused_and_stallers_are_survived() {
    let world = mesh(&["tamper", "malformed", "stall"]);
    assert!(refused(&world, Reason::BadSignature) + refused(&world, Reason::ContentMismatch) > 0);
    assert!(world.liar(9).attempts().totals["stall"].affected > 0);
    assert!(!world.paused.is_empty() || !world.paced.is_empty());
}

#[test]
fn a_flood_of_valid_messages_drowns_nothing() {
    mesh(&["censor:author=n0", "delay:by=300ms", "flood:what=valid"]);
}

#[test]
fn a_flood_of_duplicates_drowns_nothing() {
    mesh(&["censor:author=n0", "delay:by=300ms", "flood:what=duplicate"]);
}

#[test]
fn a_flood_of_oversize_frames_drowns_nothing() {
    mesh(&["censor:author=n0", "delay:by=300ms", "flood:what=oversize"]);
}

#[test]
fn floods_of_announcements_and_requests_drown_nothing() {
    // At a limited rate: in this world no work takes time, so it would serve an unlimited flood for
    // ever.
    mesh(&["flood:rate=40:what=announce", "flood:rate=40:what=request", "forge+flood+malformed"]);
}

#[test]
fn replays_are_refused_as_known_and_the_liar_keeps_its_links() {
    let world = mesh(&["replay", "replay", "replay"]);
    assert!(refused(&world, Reason::Replayed) > 20, "{}", refused(&world, Reason::Replayed));
    for i in 0..HONEST + 3 {
        assert!(world.bans[i].is_empty(), "node {i}: {:?}", world.rows[i]);
    }
}

#[test]
fn a_liar_that_only_swallows_or_delays_is_never_banned_and_bans_nobody() {
    for spec in ["drop", "drop:p=0.5", "censor:author=n1", "delay:by=200ms"] {
        let world = mesh(&[spec; 3]);
        for i in 0..HONEST + 3 {
            assert!(world.bans[i].is_empty(), "{spec}: node {i}: {:?}", world.rows[i]);
        }
        for i in HONEST..HONEST + 3 {
            let totals = world.liar(i).attempts().totals.values().next().copied();
            assert!(totals.is_some_and(|t| t.affected > 0), "{spec}: {totals:?}");
            assert!(world.peers[i].is_liar());
        }
    }
}

#[test]
fn a_slow_flood_stays_within_credit_and_turns_nobody_against_anybody() {
    for specs in [
        ["flood:rate=20:what=valid", "flood:rate=20:what=duplicate", "flood:rate=5:what=announce"],
        ["flood:rate=5:what=request", "flood:rate=5:what=request", "replay+drop:p=0.5"],
    ] {
        let world = mesh(&specs);
        for i in 0..HONEST + 3 {
            assert!(world.bans[i].is_empty(), "{specs:?}: node {i}: {:?}", world.rows[i]);
        }
        for i in HONEST..HONEST + 3 {
            assert!(world.liar(i).attempts().totals.values().all(|t| t.attempted > 20));
        }
    }
}

#[test]
fn the_same_mesh_runs_the_same_way_twice() {
    let run = || {
        let world = mesh(&["forge", "drop:p=0.5", "flood:rate=100"]);
        let lies: Vec<_> =
            world.lies.iter().map(|(at, link, frame)| (*at, *link, frame.len())).collect();
        (lies, format!("{:?}", world.rows))
    };
    assert_eq!(run(), run());
}
