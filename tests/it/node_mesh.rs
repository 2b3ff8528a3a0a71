//! Honest nodes among themselves: delivery, restarts, partitions, and authors that sign elsewhere.

use loyal::crypto::Digest;
use loyal::protocol::{PublishError, Reason, Refusal};
use loyal::wire::Batch;

use crate::language::mesh;
use crate::support::{batch, chain, entry, flipped, identity};

#[test]
fn every_message_is_delivered_once_everywhere() {
    for n in [1, 2, 3, 4, 7, 13] {
        mesh(n).up().publish(30).run(3.0).expect_all().expect_no_honest_ban();
    }
}

#[test]
fn every_message_reaches_every_node_and_nothing_is_rejected() {
    let mesh = mesh(7).latency(1000).times(50, 300).up().publish(70).run(0.2).expect_all();
    for number in 0..7 {
        assert_eq!(mesh.sim.delivered(number).count(), 70, "node {number}");
        assert!(mesh.sim.bans(number).is_empty());
        let mut rows = mesh.sim.rejections(number);
        assert!(rows.all(|row| row.reason == Reason::Replayed), "node {number}");
        assert!(mesh.snapshot(number).ready_links() >= 3);
    }
}

#[test]
fn under_load_messages_share_batches_and_none_is_lost() {
    let mesh = mesh(4).latency(1000).times(50, 300).up();
    let mesh = mesh.then(|sim| {
        for i in 0..2000 {
            let answer = sim.publish(0, entry("t", format!("message {i}").as_bytes()));
            assert!(matches!(answer, Some(Ok(_))), "there is room");
        }
    });
    let mesh = mesh.run(3.0);
    for number in 0..4 {
        assert_eq!(mesh.snapshot(number).counters.delivered, 2000, "node {number}");
    }
    let batches = mesh.sim.delivered(1).count();
    assert!(batches < 100, "{batches} batches");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| mesh(5).liar("forge").seed(seed).up().publish(20).run(2.0).sim.digest();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4), "and another seed another");
}

#[test]
fn slow_disks_and_checks_change_nothing() {
    mesh(6)
        .latency(60_000)
        .times(30_000, 80_000)
        .up()
        .publish(40)
        .run(10.0)
        .expect_all()
        .expect_no_honest_ban();
}

#[test]
fn nodes_link_to_as_many_as_they_are_told() {
    let mesh = mesh(10).up();
    for number in 0..10 {
        assert!(mesh.snapshot(number).ready_links() >= 3, "node {number}");
    }
}

#[test]
fn a_node_that_was_away_catches_up() {
    let mesh = mesh(5).up().publish(10).run(1.0).then(|sim| sim.kill(0));
    let mesh = mesh.publish(40).run(1.0).then(|sim| sim.start(0)).run(8.0);
    mesh.publish(10).run(3.0).expect_all().expect_no_honest_ban().expect_linked();
}

#[test]
fn a_node_that_missed_hundreds_of_batches_catches_up() {
    let mut mesh = mesh(5).latency(1000).times(50, 300).up();
    mesh.sim.kill(4);
    for i in 0..400 {
        let answer = mesh.sim.publish(0, entry("t", format!("{i}").as_bytes()));
        assert!(matches!(answer, Some(Ok(_))), "there is room");
        mesh.pass(25);
    }
    let mesh = mesh.then(|sim| sim.start(4)).run(8.0);
    assert_eq!(mesh.snapshot(4).counters.delivered, 400);
    assert!((0..5).all(|number| mesh.sim.bans(number).is_empty()));
}

/// Dials to a node that is away are put off for longer and longer. Once it is back, and dials
/// itself, the others must choose it again; otherwise none of them pushes to it.
#[test]
fn whoever_was_away_is_chosen_again() {
    let mesh = mesh(4).up().run(5.0).then(|sim| sim.kill(3)).run(40.0);
    let mesh = mesh.then(|sim| sim.start(3)).run(10.0).expect_linked();
    for number in 0..4 {
        let peers = mesh.snapshot(number).peers;
        let chosen = peers.iter().filter(|peer| peer.link.as_ref().is_some_and(|l| l.chosen));
        assert_eq!(chosen.count(), 3, "node {number}");
    }
}

/// A node was away for long, and its signature checks take longer than it waits between two looks
/// at what it lacks. It must not ask again for what is being checked.
#[test]
fn a_long_absence_is_made_good_without_copies() {
    let mut mesh = mesh(4).times(60_000, 1_000).down();
    let batches = chain(&identity(200), mesh.sim.network().id(), 4000);
    for number in 0..3 {
        batches.iter().for_each(|batch| mesh.sim.preload(number, batch.clone()));
    }
    let mesh = mesh.run(15.0);
    assert_eq!(mesh.sim.delivered(3).count(), batches.len());
    let counters = mesh.snapshot(3).counters;
    let replayed = counters.rejected.get(&Reason::Replayed).copied().unwrap_or(0);
    // A few of the first slots are asked for before the node knows how many are missing.
    assert!(counters.duplicates + replayed < 200, "{} and {replayed}", counters.duplicates);
}

#[test]
fn a_partition_heals() {
    let cut = "[[fault]]\nkind = 'partition'\nat = '3200ms'\nuntil = '5800ms'\n\
               select = { nodes = ['n0', 'n1', 'n2'] }\n";
    let mesh = mesh(6).scenario(cut).up().publish(6).run(1.1).publish(30).run(2.0);
    mesh.run(30.0).expect_all().expect_no_honest_ban().expect_linked();
}

#[test]
fn kills_lose_nothing_that_was_published_and_use_no_slot_twice() {
    let mut mesh = mesh(5).up();
    for round in 0..20 {
        mesh = mesh.publish(3);
        let victim = round % 5;
        mesh.sim.kill(victim);
        mesh.pass(37 * (round as u64 + 1));
        mesh.sim.start(victim);
        mesh = mesh.run(0.5);
    }
    let mesh = mesh.run(15.0).expect_no_honest_ban();
    let published: Vec<_> = (0..5).flat_map(|i| mesh.sim.published(i)).map(|id| id.batch).collect();
    for number in 0..5 {
        let held: Vec<_> = mesh.sim.delivered(number).map(|batch| batch.id).collect();
        let missing = published.iter().filter(|id| !held.contains(id)).count();
        assert_eq!(missing, 0, "node {number} of {}", published.len());
        assert!(!mesh.snapshot(number).lanes.iter().any(|lane| lane.conflicted), "{number}");
    }
}

/// A slot that was delivered and written is not delivered again after a restart.
#[test]
fn what_was_delivered_before_a_restart_is_known_after_it() {
    let mut mesh = mesh(4).raw().up();
    let batch = batch(&identity(4), mesh.sim.network().id(), 1, Digest::ZERO, "captured");
    let link = mesh.join(3, 0);
    mesh.sim.say(link, &crate::support::push(batch.clone()).encode());
    let mut mesh = mesh.run(0.5);
    assert_eq!(mesh.delivered(0, &batch), 1);
    mesh.sim.kill(0);
    mesh.sim.start(0);
    let mut mesh = mesh.run(20.0);
    let link = mesh.join(3, 0);
    mesh.sim.say(link, &crate::support::push(batch.clone()).encode());
    let mesh = mesh.run(2.0);
    assert_eq!(mesh.delivered(0, &batch), 1);
    let mut rows = mesh.sim.rejections(0);
    assert!(rows.any(|row| row.reason == Reason::Replayed && row.id == Some(batch.id())));
    assert!(mesh.sim.is_up(link), "a replay is no fault of the link");
}

/// Two slots in the middle of a chain are missing at one of two nodes.
#[test]
fn a_gap_below_a_known_tip_is_closed() {
    let mut mesh = mesh(4).raw().raw().down();
    let batches = chain(&identity(200), mesh.sim.network().id(), 6);
    for (number, batch) in batches.iter().enumerate() {
        mesh.sim.preload(0, batch.clone());
        if number != 2 && number != 3 {
            mesh.sim.preload(1, batch.clone());
        }
    }
    let mesh = mesh.run(5.0);
    let got: Vec<u64> = mesh.sim.delivered(1).map(|batch| batch.seq).collect();
    assert_eq!(got, [3, 4]);
}

#[test]
fn batches_signed_elsewhere_are_spread_and_bad_ones_refused() {
    let mut mesh = mesh(4).up();
    let pen = identity(200);
    let id = mesh.sim.network().id();
    let good = chain(&pen, id, 3);
    let submit = |mesh: &mut crate::language::Mesh, batch: &Batch| {
        let answer = mesh.sim.submit(0, batch.clone()).expect("it runs");
        let ticket = answer.expect("taken for a look");
        mesh.pass(300);
        let answers = mesh.sim.submitted(0);
        answers.iter().find(|(of, _)| *of == ticket).expect("an answer").1
    };
    assert_eq!(submit(&mut mesh, &good[1]), Err(Refusal::OutOfOrder { expected: 1 }));
    let mut forged = good[0].clone();
    forged.signature = flipped(forged.signature);
    let rejected = |reason| Err(Refusal::Rejected(reason));
    assert_eq!(submit(&mut mesh, &forged), rejected(Reason::BadSignature));
    let elsewhere = batch(&pen, Digest([1; 32]), 1, Digest::ZERO, "x");
    assert_eq!(submit(&mut mesh, &elsewhere), rejected(Reason::WrongNetwork));
    let stranger = batch(&identity(99), id, 1, Digest::ZERO, "x");
    assert_eq!(submit(&mut mesh, &stranger), rejected(Reason::UnknownAuthor));
    for batch in &good {
        assert_eq!(submit(&mut mesh, batch), Ok(batch.id()));
        assert_eq!(submit(&mut mesh, batch), Ok(batch.id()), "a retry is answered alike");
    }
    let second = batch(&pen, id, 2, good[0].id(), "another second");
    assert_eq!(submit(&mut mesh, &second), rejected(Reason::Equivocation));
    let mesh = mesh.run(3.0);
    for number in 0..4 {
        assert!(good.iter().all(|batch| mesh.delivered(number, batch) == 1), "node {number}");
    }
}

#[test]
fn what_cannot_be_published_is_refused_at_once() {
    let mut mesh = mesh(2).up();
    let mut publish = |entry| mesh.sim.publish(0, entry).expect("it runs");
    for entry in [entry(&"t".repeat(65), b""), entry("", &vec![0; (1 << 20) + 1])] {
        assert_eq!(publish(entry).err(), Some(PublishError::TooLong));
    }
    let mut taken = 0;
    while publish(entry("t", &[0; 1000])).is_ok() {
        taken += 1;
        assert!(taken < 100_000, "what waits is bounded");
    }
    assert!(taken > 1000, "{taken}");
    let member = batch(&identity(2), mesh.sim.network().id(), 1, Digest::ZERO, "x");
    assert_eq!(mesh.sim.submit(0, member), Some(Err(PublishError::MemberKey)));
}
