//! A node against a raw peer: each reason, once with the offence and once just short of it.

use std::time::Duration;

use loyal::crypto::Digest;
use loyal::protocol::{Blame, LinkId, Reason};
use loyal::wire::limits::{AUTHOR_BATCH_BURST, MAX_FRAME, MAX_SLOT, PUSH_FRAMES, WINDOW};
use loyal::wire::{
    Announce, Batch, Compare, Credit, Differ, Frame, Grant, Lacked, Missing, Push, RangeHash,
    Reply, Request, SlotId, Tip, Want, WhyMissing,
};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config as Runs, RngSeed, TestRunner};

use crate::support::{batch, chain, flipped, frames, hello, identity, list, push};
use crate::vectors;
use crate::world::{Rules, World};

const RAW: usize = 3;

/// A world in which node 0 runs alone, and the test plays member 3, with a link on which both said
/// hello.
fn alone(rules: Rules) -> (World, LinkId) {
    let mut world = World::new(4, 1, rules);
    world.start(0);
    world.start_raw(RAW);
    let link = world.join(RAW, 0);
    (world, link)
}

/// Rules with short bans, so that a node can be offended often in one world.
fn forgiving() -> Rules {
    let mut rules = Rules::default();
    (rules.config.ban_min, rules.config.ban_max) = (Duration::from_secs(1), Duration::from_secs(1));
    rules
}

fn short() -> Duration {
    Duration::from_millis(100)
}

/// Whether node 0 wrote down a rejection for this reason. Only one whose blame is the link's also
/// bans.
fn refused(world: &World, reason: Reason) -> bool {
    world.rejections(0).iter().any(|row| row.reason == reason)
}

fn banned(world: &World) -> bool {
    world.peers[0].disk.bans.iter().any(|ban| ban.peer == world.peers[RAW].key)
}

fn delivered(world: &World, batch: &Batch) -> bool {
    world.peers[0].delivered.iter().any(|(_, _, id)| *id == batch.id())
}

/// Sends frames to a fresh node. Returns the world, for its rejections and bans.
fn after(said: &[Vec<u8>]) -> World {
    let (mut world, link) = alone(Rules::default());
    for frame in said {
        world.say(link, frame);
    }
    world.run(short());
    world
}

fn expect_blamed(said: &[Vec<u8>], reason: Reason, name: &str) {
    let world = after(said);
    assert!(refused(&world, reason), "{name}: no row says {}", reason.name());
    assert_eq!(banned(&world), reason.blame() == Blame::Link, "{name}");
    assert_eq!(world.peers[0].disk.bans.len(), usize::from(banned(&world)), "{name}");
}

fn expect_nothing(world: &World, name: &str) {
    let reasons: Vec<_> = world.rejections(0).iter().map(|row| (row.reason, &row.detail)).collect();
    assert!(reasons.is_empty(), "{name}: {reasons:?}");
    assert!(!banned(world), "{name}");
}

#[test]
fn every_bad_frame_of_the_vectors_is_refused_and_blamed() {
    for vector in vectors::read("bad_frames.json") {
        let reason = Reason::from_name(vectors::text(&vector, "reason")).expect("a reason");
        let bytes = vectors::bytes(&vector, "hex");
        if bytes.len() >= 2 {
            expect_blamed(&[bytes], reason, vectors::text(&vector, "name"));
        }
    }
    // Just short of an offence: nothing is refused.
    expect_nothing(&after(&[Frame::Ping.encode()]), "a ping");
}

#[test]
fn every_bad_statement_of_the_vectors_is_refused_and_blamed() {
    for vector in vectors::read("bad_statements.json") {
        let name = vectors::text(&vector, "name");
        let said = [vectors::bytes(&vector, "push")];
        match vector["reason"].as_str().and_then(Reason::from_name) {
            Some(reason) => {
                expect_blamed(&said, reason, name);
                let world = after(&said);
                let row = &world.rejections(0)[0];
                assert_eq!(row.frame, Digest::of(&[&said[0]]), "{name}");
                assert_eq!((row.link, row.hops), (Some(world.peers[RAW].key), Some(1)), "{name}");
            }
            None => {
                let world = after(&said);
                expect_nothing(&world, name);
                assert_eq!(world.peers[0].delivered.len(), 1, "{name}");
            }
        }
    }
}

#[test]
fn an_impossible_length_is_refused_and_blamed() {
    for length in [0, 1, MAX_FRAME as u32 + 1, u32::MAX] {
        let (mut world, link) = alone(Rules::default());
        world.raw(link, &length.to_be_bytes());
        world.run(short());
        assert!(refused(&world, Reason::Oversize) && banned(&world), "{length}");
    }
}

#[test]
fn a_full_window_is_fine_and_one_more_is_an_overrun() {
    for (count, over) in [(PUSH_FRAMES, false), (PUSH_FRAMES + 1, true)] {
        let slow = Rules { check: 5_000_000, ..Rules::default() };
        let (mut world, link) = alone(slow);
        let id = world.network.id();
        for batch in chain(&identity(RAW as u8 + 1), id, count) {
            world.say(link, &push(batch).encode());
        }
        world.run(Duration::from_secs(1));
        assert_eq!(refused(&world, Reason::CreditOverrun), over, "{count}");
        assert_eq!(banned(&world), over, "{count}");
    }
}

#[test]
fn credit_for_what_was_never_sent_is_an_overrun() {
    let grants = [(u64::MAX, u64::MAX), (0, 0), (1 << 20, 0), (1, u64::MAX)];
    for (class, (frames, bytes)) in (1..=5).flat_map(|class| grants.map(|grant| (class, grant))) {
        let grants = list(vec![Grant { class, frames, bytes }]);
        let said = Frame::Credit(Credit { grants }).encode();
        expect_blamed(&[said], Reason::CreditOverrun, "credit");
    }
}

#[test]
fn a_second_hello_and_no_hello_are_malformed() {
    let world = World::new(4, 1, Rules::default());
    let again = hello(&world.network, 9).encode();
    expect_blamed(&[again], Reason::Malformed, "a second hello");
    for (name, frame) in frames().iter().filter(|(name, _)| *name != "hello") {
        let mut world = World::new(4, 1, Rules::default());
        world.start(0);
        world.start_raw(RAW);
        let link = world.connect(RAW, 0);
        world.say(link, &frame.encode());
        world.run(short());
        assert!(refused(&world, Reason::Malformed) && banned(&world), "{name} before the hello");
    }
}

#[test]
fn a_mismatched_hello_is_nobodys_fault() {
    let Frame::Hello(good) = hello(&World::new(4, 1, Rules::default()).network, 1) else {
        panic!("a hello")
    };
    let mut elsewhere = good.clone();
    elsewhere.network.0[0] ^= 1;
    let mut later = good.clone();
    later.version += 1;
    for (hello, stays) in [(good, true), (elsewhere, false), (later, false)] {
        let mut world = World::new(4, 1, Rules::default());
        world.start(0);
        world.start_raw(RAW);
        let link = world.connect(RAW, 0);
        world.say(link, &Frame::Hello(hello).encode());
        world.run(short());
        assert_eq!(world.is_up(link), stays);
        expect_nothing(&world, "hello");
    }
}

#[test]
fn too_far_ahead_is_refused_without_blame() {
    let key = identity(RAW as u8 + 1);
    for (seq, refusal) in [(WINDOW, false), (WINDOW + 1, true), (MAX_SLOT, true)] {
        let id = World::new(4, 1, Rules::default()).network.id();
        let batch = batch(&key, id, seq, Digest([3; 32]), "far");
        let world = after(&[push(batch.clone()).encode()]);
        assert_eq!(refused(&world, Reason::TooFarAhead), refusal, "{seq}");
        assert_eq!(delivered(&world, &batch), !refusal, "{seq}");
        assert!(!banned(&world));
    }
}

#[test]
fn a_copy_is_replayed_without_blame_and_delivered_once() {
    let id = World::new(4, 1, Rules::default()).network.id();
    let batch = batch(&identity(RAW as u8 + 1), id, 1, Digest::ZERO, "once");
    let frame = push(batch).encode();
    for copies in [1, 2, 5] {
        let (mut world, link) = alone(Rules::default());
        for _ in 0..copies {
            world.say(link, &frame);
            world.run(short());
        }
        assert_eq!(world.peers[0].delivered.len(), 1);
        assert!(!banned(&world));
        if copies > 2 {
            assert!(refused(&world, Reason::Replayed));
        }
        if copies == 1 {
            expect_nothing(&world, "one copy");
        }
    }
}

#[test]
fn what_is_below_the_floor_is_pruned_without_blame() {
    let key = identity(RAW as u8 + 1);
    let mut world = World::new(4, 1, Rules::default());
    let batches = chain(&key, world.network.id(), 10);
    world.peers[0].disk.prune(key.public(), 8);
    world.start(0);
    world.start_raw(RAW);
    let link = world.join(RAW, 0);
    world.say(link, &push(batches[3].clone()).encode());
    world.say(link, &push(batches[8].clone()).encode());
    world.run(short());
    assert!(refused(&world, Reason::Pruned) && !banned(&world));
    assert!(!delivered(&world, &batches[3]) && delivered(&world, &batches[8]));
}

#[test]
fn an_author_over_its_quota_is_refused_without_blame() {
    let key = identity(RAW as u8 + 1);
    for (count, over) in [(AUTHOR_BATCH_BURST, false), (2 * AUTHOR_BATCH_BURST, true)] {
        let (mut world, link) = alone(Rules::default());
        for (i, batch) in chain(&key, world.network.id(), count).into_iter().enumerate() {
            world.say(link, &push(batch).encode());
            if i % 16 == 15 {
                world.run(Duration::from_millis(5));
            }
        }
        world.run(short());
        assert_eq!(refused(&world, Reason::AuthorRate), over, "{count}");
        assert!(!banned(&world));
        let delivered = world.peers[0].delivered.len() as u64;
        assert!(delivered >= AUTHOR_BATCH_BURST && (!over || delivered < count), "{delivered}");
    }
}

#[test]
fn a_second_id_in_a_slot_is_the_authors_fault_and_delivered_once() {
    let key = identity(RAW as u8 + 1);
    let id = World::new(4, 1, Rules::default()).network.id();
    let same = ["one", "two", "three"].map(|text| batch(&key, id, 1, Digest::ZERO, text));
    let world = after(&same.clone().map(|batch| push(batch).encode()));
    assert!(refused(&world, Reason::Equivocation) && !banned(&world));
    assert_eq!(world.peers[0].delivered.len(), 1, "the first only");
    let row = world.rejections(0).iter().find(|row| row.reason == Reason::Equivocation);
    assert_eq!(row.and_then(|row| row.author), Some(key.public()));
    // A sound chain is not equivocation.
    let said: Vec<_> = chain(&key, id, 3).into_iter().map(|batch| push(batch).encode()).collect();
    expect_nothing(&after(&said), "a chain");
    // A batch with a wrong predecessor is.
    let broken = [same[0].clone(), batch(&key, id, 2, Digest([4; 32]), "torn")];
    let world = after(&broken.map(|batch| push(batch).encode()));
    assert!(refused(&world, Reason::Equivocation) && !banned(&world));
    assert_eq!(world.peers[0].delivered.len(), 2);
}

#[test]
fn a_banned_peer_is_not_linked_to_until_its_term_is_over() {
    let (mut world, link) = alone(Rules::default());
    world.say(link, &[1, 77]);
    world.run(short());
    assert!(banned(&world) && !world.is_up(link));
    let again = world.connect(RAW, 0);
    world.run(short());
    assert!(!world.is_up(again) && refused(&world, Reason::Banned));
    // A restart does not forget the ban.
    world.kill(0);
    world.start(0);
    let again = world.connect(RAW, 0);
    world.run(short());
    assert!(!world.is_up(again));
    let term = Rules::default().config.ban_min;
    world.run(term);
    let later = world.join(RAW, 0);
    world.run(short());
    assert!(world.is_up(later), "the term is over");
    // The next ban is longer.
    world.say(later, &[1, 77]);
    world.run(term + short());
    let again = world.connect(RAW, 0);
    world.run(short());
    assert!(!world.is_up(again));
    assert_eq!(world.peers[0].disk.bans.last().map(|ban| ban.strikes), Some(2));
}

/// A bad copy that comes first, and whose check is under way, must not shut out the good one.
#[test]
fn forged_first_never_shuts_out_the_genuine_one() {
    let slow = Rules { check: 400_000, ..Rules::default() };
    let victim = identity(2);
    let id = World::new(4, 1, Rules::default()).network.id();
    let genuine = batch(&victim, id, 1, Digest::ZERO, "genuine");
    let mut signature = genuine.clone();
    signature.signature = flipped(genuine.signature);
    let mut header = genuine.clone();
    header.header.created_at += 1;
    let mut other = batch(&victim, id, 1, Digest::ZERO, "other text");
    other.signature = genuine.signature;
    for forged in [signature, header, other] {
        for gap in [0, 10, 1000] {
            let mut world = World::new(4, 1, slow.clone());
            world.start(0);
            world.start_raw(2);
            world.start_raw(RAW);
            let (liar, honest) = (world.join(2, 0), world.join(RAW, 0));
            world.say(liar, &push(forged.clone()).encode());
            world.run(Duration::from_millis(gap));
            world.say(honest, &push(genuine.clone()).encode());
            world.run(Duration::from_secs(2));
            assert!(delivered(&world, &genuine), "after {gap} ms");
            assert_eq!(world.peers[0].delivered.len(), 1);
            assert!(!world.is_up(liar) && world.is_up(honest));
            assert!(refused(&world, Reason::BadSignature) && !banned(&world));
        }
    }
}

fn extreme_frames() -> Vec<Frame> {
    let key = identity(1).public();
    let (big, zero) = (u64::MAX, Digest::ZERO);
    let range = |start, end| RangeHash { start, end, hash: Digest([1; 32]) };
    let item = |seq| SlotId { author: key, seq, id: zero };
    let want = |ticket, seq| Want { ticket, author: key, seq, id: None };
    let batch = batch(&identity(RAW as u8 + 1), zero, big, zero, "x");
    let floor = |floor| Missing {
        ticket: u32::MAX,
        why: WhyMissing::Pruned,
        floor,
        next: floor,
        lacked: Lacked([if floor > 0 { 255 } else { 0 }; 32]),
    };
    vec![
        Frame::Announce(Announce { items: list((0..128).map(|i| item(big - i)).collect()) }),
        Frame::Announce(Announce { items: list((1..129).map(item).collect()) }),
        Frame::Request(Request { wants: list((0..16).map(|i| want(i, big)).collect()) }),
        Frame::Request(Request { wants: list((0..16).map(|_| want(u32::MAX, 1)).collect()) }),
        Frame::Missing(floor(big)),
        Frame::Missing(floor(0)),
        Frame::Compare(Compare { ticket: u32::MAX, ranges: list(vec![range(0, u32::MAX)]) }),
        Frame::Compare(Compare {
            ticket: 0,
            ranges: list((0..64).map(|i| range(i, i + 1)).collect()),
        }),
        Frame::Differ(Differ {
            ticket: u32::MAX,
            ranges: list(vec![range(u32::MAX - 1, u32::MAX)]),
            tips: list(vec![Tip {
                slot: batch.signed_slot(),
                solid: big,
                floor: big,
                holes: Digest([255; 32]),
            }]),
            above: list(vec![item(big)]),
        }),
        Frame::Push(Box::new(Push { hops: 255, batch: batch.clone() })),
        Frame::Reply(Box::new(Reply { ticket: u32::MAX, hops: 255, batch })),
    ]
}

/// Asserts that the node still accepts an honest batch from another member, and publishes.
fn expect_alive(mut world: World, name: &str) {
    world.start_raw(2);
    let link = world.join(2, 0);
    let batch = batch(&identity(3), world.network.id(), 1, Digest::ZERO, "still there?");
    world.say(link, &push(batch.clone()).encode());
    assert!(world.publish(0, crate::support::entry("t", b"own")), "{name}");
    world.run(Duration::from_secs(30));
    assert!(delivered(&world, &batch), "{name}");
    assert_eq!(world.peers[0].published.len(), 1, "{name}");
    let blamed: Vec<_> = world.peers[0].disk.bans.iter().map(|ban| ban.peer).collect();
    assert!(!blamed.contains(&identity(3).public()), "{name}");
}

#[test]
fn extreme_values_in_sound_frames_harm_nothing() {
    for (number, frame) in extreme_frames().into_iter().enumerate() {
        let (mut world, link) = alone(Rules::default());
        for _ in 0..3 {
            world.say(link, &frame.encode());
        }
        world.run(short());
        expect_alive(world, &format!("{number}: {:?}", frame.kind()));
    }
}

#[test]
fn any_sound_frame_harms_nothing() {
    let config = Runs { rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Runs::default() };
    let mut runner = TestRunner::new(config);
    let any = crate::codec::frame();
    for round in 0..30 {
        let (mut world, mut link) = alone(forgiving());
        for _ in 0..20 {
            let frame = any.new_tree(&mut runner).expect("a frame").current();
            world.say(link, &frame.encode());
            world.run(Duration::from_millis(30));
            if !world.is_up(link) {
                world.run(Duration::from_millis(1100));
                link = world.join(RAW, 0);
            }
        }
        expect_alive(world, &format!("round {round}"));
    }
}

#[test]
fn extreme_integers_at_every_place_harm_nothing() {
    for (name, frame) in frames() {
        let bytes = frame.encode();
        for extreme in [u64::MAX, 1 << 63, 0] {
            let (mut world, mut link) = alone(forgiving());
            for at in (2..bytes.len()).step_by(3) {
                let mut bad = bytes.clone();
                for (byte, put) in bad[at..].iter_mut().zip(extreme.to_be_bytes()) {
                    *byte = put;
                }
                world.say(link, &bad);
                world.run(Duration::from_millis(20));
                if !world.is_up(link) {
                    world.run(Duration::from_millis(1100));
                    link = world.join(RAW, 0);
                }
            }
            expect_alive(world, name);
        }
    }
}

/// An honest answer to a comparison always narrows the ranges that were asked about, whatever they
/// were: an asker bans a peer whose answer does not.
#[test]
fn answers_to_comparisons_always_narrow() {
    let mut world = World::wide(300);
    for author in 0..300u16 {
        let key = crate::support::wide_identity(author);
        let batch = batch(&key, world.network.id(), 1, Digest::ZERO, "one");
        world.peers[0].disk.put(&batch);
    }
    world.start(0);
    world.start_raw(RAW);
    let link = world.join(RAW, 0);
    let wide = (0..8u32).map(|i| (16 * i, 16 * i + 16));
    let ranges = wide.chain((128..184).map(|i| (i, i + 1)));
    let ask = |(start, end)| RangeHash { start, end, hash: Digest([1; 32]) };
    let asked: Vec<RangeHash> = ranges.map(ask).collect();
    let compare = Compare { ticket: 7, ranges: list(asked.clone()) };
    world.say(link, &Frame::Compare(compare).encode());
    world.run(short());
    let heard = world.peers[RAW].heard.iter().find_map(|(_, frame)| match frame {
        Frame::Differ(differ) if differ.ticket == 7 => Some(differ.clone()),
        _ => None,
    });
    let differ = heard.expect("an answer");
    assert!(!differ.tips.is_empty());
    for range in differ.ranges.iter() {
        let narrower = |asked: &RangeHash| {
            asked.start <= range.start
                && range.end <= asked.end
                && range.end - range.start < asked.end - asked.start
        };
        assert!(asked.iter().any(narrower), "{range:?} is as wide as what was asked");
    }
}
