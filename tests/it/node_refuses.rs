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

use crate::language::{Described, Mesh, alone, mesh};
use crate::support::{batch, chain, flipped, frames, hello, identity, list, network, push};
use crate::vectors;

const RAW: usize = 3;
/// Milliseconds in which a node has handled what it was sent.
const SHORT: u64 = 100;

/// The mesh as described, with a link of member 3 to node 0, on which both said hello.
fn joined(described: Described) -> (Mesh, LinkId) {
    let mut mesh = described.up();
    let link = mesh.join(RAW, 0);
    (mesh, link)
}

/// Node 0 with short bans, so that it can be offended often.
fn forgiving() -> Described {
    let second = Duration::from_secs(1);
    alone().config(|config| (config.ban_min, config.ban_max) = (second, second))
}

/// Whether node 0 wrote down a rejection for this reason. Only one whose blame is the link's also
/// bans.
fn refused(mesh: &Mesh, reason: Reason) -> bool {
    mesh.sim.rejections(0).any(|row| row.reason == reason)
}

fn banned(mesh: &Mesh) -> bool {
    mesh.sim.bans(0).iter().any(|ban| ban.peer == identity(RAW as u8 + 1).public())
}

fn delivered(mesh: &Mesh, batch: &Batch) -> bool {
    mesh.delivered(0, batch) > 0
}

/// Sends frames to a fresh node. Returns the mesh, for its rejections and bans.
fn after(said: &[Vec<u8>]) -> Mesh {
    let (mut mesh, link) = joined(alone());
    for frame in said {
        mesh.sim.say(link, frame);
    }
    mesh.pass(SHORT);
    mesh
}

fn expect_blamed(said: &[Vec<u8>], reason: Reason, name: &str) {
    let mesh = after(said);
    assert!(refused(&mesh, reason), "{name}: no row says {}", reason.name());
    assert_eq!(banned(&mesh), reason.blame() == Blame::Link, "{name}");
    assert_eq!(mesh.sim.bans(0).len(), usize::from(banned(&mesh)), "{name}");
}

fn expect_nothing(mesh: &Mesh, name: &str) {
    let reasons: Vec<_> = mesh.sim.rejections(0).map(|row| (row.reason, &row.detail)).collect();
    assert!(reasons.is_empty(), "{name}: {reasons:?}");
    assert!(!banned(mesh), "{name}");
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
                let mesh = after(&said);
                let row = mesh.sim.rejections(0).next().expect("a row");
                assert_eq!(row.frame, Digest::of(&[&said[0]]), "{name}");
                assert_eq!(
                    (row.link, row.hops),
                    (Some(identity(RAW as u8 + 1).public()), Some(1)),
                    "{name}"
                );
            }
            None => {
                let mesh = after(&said).signed_elsewhere();
                expect_nothing(&mesh, name);
                assert_eq!(mesh.sim.delivered(0).count(), 1, "{name}");
            }
        }
    }
}

#[test]
fn an_impossible_length_is_refused_and_blamed() {
    for length in [0, 1, MAX_FRAME as u32 + 1, u32::MAX] {
        let (mut mesh, link) = joined(alone());
        mesh.sim.write(link, &length.to_be_bytes());
        mesh.pass(SHORT);
        assert!(refused(&mesh, Reason::Oversize) && banned(&mesh), "{length}");
    }
}

#[test]
fn a_full_window_is_fine_and_one_more_is_an_overrun() {
    for (count, over) in [(PUSH_FRAMES, false), (PUSH_FRAMES + 1, true)] {
        let (mut mesh, link) = joined(alone().times(5_000_000, 1_000));
        let id = mesh.sim.network().id();
        for batch in chain(&identity(RAW as u8 + 1), id, count) {
            mesh.sim.say(link, &push(batch).encode());
        }
        mesh.pass(1_000);
        assert_eq!(refused(&mesh, Reason::CreditOverrun), over, "{count}");
        assert_eq!(banned(&mesh), over, "{count}");
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
    let again = hello(&network(4), 9).encode();
    expect_blamed(&[again], Reason::Malformed, "a second hello");
    for (name, frame) in frames().iter().filter(|(name, _)| *name != "hello") {
        let mut mesh = alone().up();
        let link = mesh.connect(RAW, 0);
        mesh.sim.say(link, &frame.encode());
        mesh.pass(SHORT);
        assert!(refused(&mesh, Reason::Malformed) && banned(&mesh), "{name} before the hello");
    }
}

#[test]
fn a_mismatched_hello_is_nobodys_fault() {
    let Frame::Hello(good) = hello(&network(4), 1) else { panic!("a hello") };
    let mut elsewhere = good.clone();
    elsewhere.network.0[0] ^= 1;
    let mut later = good.clone();
    later.version += 1;
    for (hello, stays) in [(good, true), (elsewhere, false), (later, false)] {
        let mut mesh = alone().up();
        let link = mesh.connect(RAW, 0);
        mesh.sim.say(link, &Frame::Hello(hello).encode());
        mesh.pass(SHORT);
        assert_eq!(mesh.sim.is_up(link), stays);
        expect_nothing(&mesh, "hello");
    }
}

#[test]
fn too_far_ahead_is_refused_without_blame() {
    let key = identity(RAW as u8 + 1);
    for (seq, refusal) in [(WINDOW, false), (WINDOW + 1, true), (MAX_SLOT, true)] {
        let id = network(4).id();
        let batch = batch(&key, id, seq, Digest([3; 32]), "far");
        let mesh = after(&[push(batch.clone()).encode()]);
        assert_eq!(refused(&mesh, Reason::TooFarAhead), refusal, "{seq}");
        assert_eq!(delivered(&mesh, &batch), !refusal, "{seq}");
        assert!(!banned(&mesh));
    }
}

#[test]
fn a_copy_is_replayed_without_blame_and_delivered_once() {
    let id = network(4).id();
    let batch = batch(&identity(RAW as u8 + 1), id, 1, Digest::ZERO, "once");
    let frame = push(batch).encode();
    for copies in [1, 2, 5] {
        let (mut mesh, link) = joined(alone());
        for _ in 0..copies {
            mesh.sim.say(link, &frame);
            mesh.pass(SHORT);
        }
        assert_eq!(mesh.sim.delivered(0).count(), 1);
        assert!(!banned(&mesh));
        if copies > 2 {
            assert!(refused(&mesh, Reason::Replayed));
        }
        if copies == 1 {
            expect_nothing(&mesh, "one copy");
        }
    }
}

#[test]
fn what_is_below_the_floor_is_pruned_without_blame() {
    let key = identity(RAW as u8 + 1);
    // A neighbour's share of this store has room for one batch. The floor passes what was never
    // held only a window below the newest slot.
    let mut mesh = alone().scenario("[store]\nmax_bytes = 4096\n").down();
    let batches = chain(&key, mesh.sim.network().id(), WINDOW + 10);
    for batch in &batches[WINDOW as usize + 8..] {
        mesh.sim.preload(0, batch.clone());
    }
    let mut mesh = mesh.run(2.0);
    let link = mesh.join(RAW, 0);
    mesh.sim.say(link, &push(batches[9].clone()).encode());
    mesh.sim.say(link, &push(batches[10].clone()).encode());
    mesh.pass(SHORT);
    assert!(refused(&mesh, Reason::Pruned) && !banned(&mesh));
    assert!(!delivered(&mesh, &batches[9]) && delivered(&mesh, &batches[10]));
}

#[test]
fn an_author_over_its_quota_is_refused_without_blame() {
    let key = identity(RAW as u8 + 1);
    for (count, over) in [(AUTHOR_BATCH_BURST, false), (2 * AUTHOR_BATCH_BURST, true)] {
        let (mut mesh, link) = joined(alone());
        for (i, batch) in chain(&key, mesh.sim.network().id(), count).into_iter().enumerate() {
            mesh.sim.say(link, &push(batch).encode());
            if i % 16 == 15 {
                mesh.pass(5);
            }
        }
        mesh.pass(SHORT);
        assert_eq!(refused(&mesh, Reason::AuthorRate), over, "{count}");
        assert!(!banned(&mesh));
        let delivered = mesh.sim.delivered(0).count() as u64;
        assert!(delivered >= AUTHOR_BATCH_BURST && (!over || delivered < count), "{delivered}");
    }
}

#[test]
fn a_second_id_in_a_slot_is_the_authors_fault_and_delivered_once() {
    let key = identity(RAW as u8 + 1);
    let id = network(4).id();
    let same = ["one", "two", "three"].map(|text| batch(&key, id, 1, Digest::ZERO, text));
    let mesh = after(&same.clone().map(|batch| push(batch).encode()));
    assert!(refused(&mesh, Reason::Equivocation) && !banned(&mesh));
    assert_eq!(mesh.sim.delivered(0).count(), 1, "the first only");
    let row = mesh.sim.rejections(0).find(|row| row.reason == Reason::Equivocation);
    assert_eq!(row.and_then(|row| row.author), Some(key.public()));
    // A sound chain is not equivocation.
    let said: Vec<_> = chain(&key, id, 3).into_iter().map(|batch| push(batch).encode()).collect();
    expect_nothing(&after(&said), "a chain");
    // A batch with a wrong predecessor is.
    let broken = [same[0].clone(), batch(&key, id, 2, Digest([4; 32]), "torn")];
    let mesh = after(&broken.map(|batch| push(batch).encode()));
    assert!(refused(&mesh, Reason::Equivocation) && !banned(&mesh));
    assert_eq!(mesh.sim.delivered(0).count(), 2);
}

#[test]
fn a_banned_peer_is_not_linked_to_until_its_term_is_over() {
    let (mut mesh, link) = joined(alone());
    mesh.sim.say(link, &[1, 77]);
    mesh.pass(SHORT);
    assert!(banned(&mesh) && !mesh.sim.is_up(link));
    let again = mesh.connect(RAW, 0);
    mesh.pass(SHORT);
    assert!(!mesh.sim.is_up(again) && refused(&mesh, Reason::Banned));
    // A restart does not forget the ban.
    mesh.sim.kill(0);
    mesh.sim.start(0);
    let again = mesh.connect(RAW, 0);
    mesh.pass(SHORT);
    assert!(!mesh.sim.is_up(again));
    let term = loyal::protocol::Config::default().ban_min.as_millis() as u64;
    mesh.pass(term);
    let later = mesh.join(RAW, 0);
    mesh.pass(SHORT);
    assert!(mesh.sim.is_up(later), "the term is over");
    // The next ban is longer.
    mesh.sim.say(later, &[1, 77]);
    mesh.pass(term + SHORT);
    let again = mesh.connect(RAW, 0);
    mesh.pass(SHORT);
    assert!(!mesh.sim.is_up(again));
    assert_eq!(mesh.sim.bans(0).last().map(|ban| ban.strikes), Some(2));
}

/// A bad copy that comes first, and whose check is under way, must not shut out the good one.
#[test]
fn forged_first_never_shuts_out_the_genuine_one() {
    let victim = identity(2);
    let id = network(4).id();
    let genuine = batch(&victim, id, 1, Digest::ZERO, "genuine");
    let mut signature = genuine.clone();
    signature.signature = flipped(genuine.signature);
    let mut header = genuine.clone();
    header.header.created_at += 1;
    let mut other = batch(&victim, id, 1, Digest::ZERO, "other text");
    other.signature = genuine.signature;
    for forged in [signature, header, other] {
        for gap in [0, 10, 1000] {
            let mut mesh = alone().times(400_000, 1_000).up();
            let (liar, honest) = (mesh.join(2, 0), mesh.join(RAW, 0));
            mesh.sim.say(liar, &push(forged.clone()).encode());
            mesh.pass(gap);
            mesh.sim.say(honest, &push(genuine.clone()).encode());
            mesh.pass(2_000);
            assert!(delivered(&mesh, &genuine), "after {gap} ms");
            assert_eq!(mesh.sim.delivered(0).count(), 1);
            assert!(!mesh.sim.is_up(liar) && mesh.sim.is_up(honest));
            assert!(refused(&mesh, Reason::BadSignature) && !banned(&mesh));
        }
    }
}

/// Members 2 and 3 push an author's batch to both honest nodes, first with a bad signature.
#[test]
fn a_forgery_that_comes_first_never_shuts_out_the_genuine_batch() {
    let mut mesh = mesh(4).raw().raw().up();
    let links = [(RAW, 0), (RAW, 1), (2, 0), (2, 1)].map(|(raw, to)| mesh.join(raw, to));
    let genuine = batch(&identity(3), mesh.sim.network().id(), 1, Digest::ZERO, "x");
    let forged = Batch { signature: flipped(genuine.signature), ..genuine.clone() };
    for (link, batch) in links.into_iter().zip([&forged, &forged, &genuine, &genuine]) {
        mesh.sim.say(link, &push(batch.clone()).encode());
    }
    mesh.pass(500);
    for to in [0, 1] {
        assert_eq!(mesh.delivered(to, &genuine), 1, "the genuine one is delivered");
        assert_eq!(mesh.sim.delivered(to).count(), 1);
        let bad = mesh.sim.rejections(to).filter(|row| row.reason == Reason::BadSignature);
        assert_eq!(bad.map(|row| row.count).sum::<u64>(), 1);
        let banned: Vec<_> = mesh.sim.bans(to).iter().map(|ban| ban.peer).collect();
        assert_eq!(banned, [identity(RAW as u8 + 1).public()], "and the forger is banned");
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
fn expect_alive(mut mesh: Mesh, name: &str) {
    let link = mesh.join(2, 0);
    let batch = batch(&identity(3), mesh.sim.network().id(), 1, Digest::ZERO, "still there?");
    mesh.sim.say(link, &push(batch.clone()).encode());
    assert!(
        mesh.sim.publish(0, crate::support::entry("t", b"own")).is_some_and(|it| it.is_ok()),
        "{name}"
    );
    mesh.pass(30_000);
    assert!(delivered(&mesh, &batch), "{name}");
    assert_eq!(mesh.sim.published(0).count(), 1, "{name}");
    let blamed: Vec<_> = mesh.sim.bans(0).iter().map(|ban| ban.peer).collect();
    assert!(!blamed.contains(&identity(3).public()), "{name}");
}

#[test]
fn extreme_values_in_sound_frames_harm_nothing() {
    for (number, frame) in extreme_frames().into_iter().enumerate() {
        let (mut mesh, link) = joined(alone());
        for _ in 0..3 {
            mesh.sim.say(link, &frame.encode());
        }
        mesh.pass(SHORT);
        expect_alive(mesh, &format!("{number}: {:?}", frame.kind()));
    }
}

#[test]
fn any_sound_frame_harms_nothing() {
    let config = Runs { rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Runs::default() };
    let mut runner = TestRunner::new(config);
    let any = crate::codec::frame();
    for round in 0..30 {
        let (mut mesh, mut link) = joined(forgiving());
        for _ in 0..20 {
            let frame = any.new_tree(&mut runner).expect("a frame").current();
            mesh.sim.say(link, &frame.encode());
            mesh.pass(30);
            if !mesh.sim.is_up(link) {
                mesh.pass(1100);
                link = mesh.join(RAW, 0);
            }
        }
        expect_alive(mesh, &format!("round {round}"));
    }
}

#[test]
fn extreme_integers_at_every_place_harm_nothing() {
    for (name, frame) in frames() {
        let bytes = frame.encode();
        for extreme in [u64::MAX, 1 << 63, 0] {
            let (mut mesh, mut link) = joined(forgiving());
            for at in (2..bytes.len()).step_by(3) {
                let mut bad = bytes.clone();
                for (byte, put) in bad[at..].iter_mut().zip(extreme.to_be_bytes()) {
                    *byte = put;
                }
                mesh.sim.say(link, &bad);
                mesh.pass(20);
                if !mesh.sim.is_up(link) {
                    mesh.pass(1100);
                    link = mesh.join(RAW, 0);
                }
            }
            expect_alive(mesh.signed_elsewhere(), name);
        }
    }
}

/// An honest answer to a comparison always narrows the ranges that were asked about, whatever they
/// were: an asker bans a peer whose answer does not.
#[test]
fn answers_to_comparisons_always_narrow() {
    let mut mesh = alone().authors(300).down();
    for author in 0..300u16 {
        let key = crate::support::wide_identity(author);
        let batch = batch(&key, mesh.sim.network().id(), 1, Digest::ZERO, "one");
        mesh.sim.preload(0, batch);
    }
    let mut mesh = mesh.run(2.0);
    let link = mesh.join(RAW, 0);
    let wide = (0..8u32).map(|i| (16 * i, 16 * i + 16));
    let ranges = wide.chain((128..184).map(|i| (i, i + 1)));
    let ask = |(start, end)| RangeHash { start, end, hash: Digest([1; 32]) };
    let asked: Vec<RangeHash> = ranges.map(ask).collect();
    let compare = Compare { ticket: 7, ranges: list(asked.clone()) };
    mesh.sim.say(link, &Frame::Compare(compare).encode());
    mesh.pass(SHORT);
    let heard = mesh.sim.hear(RAW).into_iter().find_map(|(_, frame)| match frame {
        Frame::Differ(differ) if differ.ticket == 7 => Some(differ),
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
