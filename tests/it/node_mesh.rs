//! Honest nodes among themselves: delivery, restarts, partitions, and authors that sign elsewhere.

use std::time::Duration;

use loyal::adversary::Actor;
use loyal::crypto::Digest;
use loyal::protocol::{PublishError, Reason, Refusal};
use loyal::wire::Batch;

use crate::language::mesh;
use crate::support::{batch, chain, entry, flipped, identity};
use crate::world::{Machine, World};

#[test]
fn every_message_is_delivered_once_everywhere() {
    for n in [1, 2, 3, 4, 7, 13] {
        mesh(n).up().publish(30).run(3.0).expect_all().expect_no_honest_ban();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| mesh(5).liar("forge").seed(seed).up().publish(20).run(2.0).world.digest();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4), "and another seed another");
}

#[test]
fn slow_disks_and_checks_change_nothing() {
    let slow = |rules: &mut crate::world::Rules| {
        (rules.write, rules.check, rules.latency) = (80_000, 30_000, 60_000);
    };
    mesh(6).rules(slow).up().publish(40).run(10.0).expect_all().expect_no_honest_ban();
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
    let mut mesh = mesh(5).up().publish(10).run(1.0);
    mesh.world.kill(0);
    let mesh = mesh.publish(40).run(1.0).then(|world| world.start(0)).run(8.0);
    mesh.publish(10).run(3.0).expect_all().expect_no_honest_ban().expect_linked();
}

/// Dials to a node that is away are put off for longer and longer. Once it is back, and dials
/// itself, the others must choose it again; otherwise none of them pushes to it.
#[test]
fn whoever_was_away_is_chosen_again() {
    let mut mesh = mesh(4).up().run(5.0);
    mesh.world.kill(3);
    let mesh = mesh.run(40.0).then(|world| world.start(3)).run(10.0).expect_linked();
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
    let rules = crate::world::Rules { check: 60_000, ..crate::world::Rules::default() };
    let mut world = World::new(4, 1, rules);
    let batches = chain(&identity(200), world.network.id(), 4000);
    for number in 0..3 {
        batches.iter().for_each(|batch| world.peers[number].disk.put(batch));
    }
    (0..4).for_each(|number| world.start(number));
    world.run(Duration::from_secs(15));
    assert_eq!(world.peers[3].delivered.len(), batches.len());
    let Machine::Runs(Actor::Honest(node)) = &world.peers[3].machine else { panic!("it runs") };
    let counters = node.snapshot().counters;
    let replayed = counters.rejected.get(&Reason::Replayed).copied().unwrap_or(0);
    // A few of the first slots are asked for before the node knows how many are missing.
    assert!(counters.duplicates + replayed < 200, "{} and {replayed}", counters.duplicates);
}

#[test]
fn a_partition_heals() {
    let mesh = mesh(6).up().publish(6).run(1.0);
    let mesh = mesh.then(|world| world.part(&[0, 1, 2], &[3, 4, 5])).publish(30).run(2.0);
    mesh.then(World::heal).run(30.0).expect_all().expect_no_honest_ban().expect_linked();
}

#[test]
fn kills_lose_nothing_that_was_published_and_use_no_slot_twice() {
    let mut mesh = mesh(5).up();
    for round in 0..20 {
        mesh = mesh.publish(3);
        let victim = round % 5;
        mesh.world.kill(victim);
        mesh.world.run(Duration::from_millis(37 * (round as u64 + 1)));
        mesh.world.start(victim);
        mesh = mesh.run(0.5);
    }
    let mesh = mesh.run(15.0).expect_no_honest_ban();
    let published: Vec<_> =
        mesh.world.peers.iter().flat_map(|peer| peer.published.iter().map(|id| id.batch)).collect();
    for (number, peer) in mesh.world.peers.iter().enumerate() {
        let lacking = |id: &Digest| !peer.delivered.iter().any(|(_, _, held)| held == id);
        let missing = published.iter().filter(|id| lacking(id)).count();
        assert_eq!(missing, 0, "node {number} of {}", published.len());
        assert!(!mesh.snapshot(number).lanes.iter().any(|lane| lane.conflicted), "{number}");
    }
}

/// A slot that was delivered and written is not delivered again after a restart.
#[test]
fn what_was_delivered_before_a_restart_is_known_after_it() {
    let mut mesh = mesh(4).raw().up();
    let batch = batch(&identity(4), mesh.world.network.id(), 1, Digest::ZERO, "captured");
    let link = mesh.world.join(3, 0);
    mesh.world.say(link, &crate::support::push(batch.clone()).encode());
    let mut mesh = mesh.run(0.5);
    assert_eq!(held(&mesh.world, 0, &batch), 1);
    mesh.world.kill(0);
    mesh.world.start(0);
    let mut mesh = mesh.run(20.0);
    let link = mesh.world.join(3, 0);
    mesh.world.say(link, &crate::support::push(batch.clone()).encode());
    let mesh = mesh.run(2.0);
    assert_eq!(held(&mesh.world, 0, &batch), 1);
    let rows = mesh.world.rejections(0);
    assert!(rows.iter().any(|row| row.reason == Reason::Replayed && row.id == Some(batch.id())));
    assert!(mesh.world.is_up(link), "a replay is no fault of the link");
}

/// Two slots in the middle of a chain are missing at one of two nodes.
#[test]
fn a_gap_below_a_known_tip_is_closed() {
    let mut world = World::new(4, 1, crate::world::Rules::default());
    let batches = chain(&identity(200), world.network.id(), 6);
    for (number, batch) in batches.iter().enumerate() {
        world.peers[0].disk.put(batch);
        if number != 2 && number != 3 {
            world.peers[1].disk.put(batch);
        }
    }
    world.start(0);
    world.start(1);
    world.run(Duration::from_secs(5));
    let got: Vec<u64> = world.peers[1].delivered.iter().map(|(_, seq, _)| *seq).collect();
    assert_eq!(got, [3, 4]);
}

fn held(world: &World, number: usize, batch: &Batch) -> usize {
    let id = batch.id();
    world.peers[number].delivered.iter().filter(|(_, _, held)| *held == id).count()
}

#[test]
fn batches_signed_elsewhere_are_spread_and_bad_ones_refused() {
    let mut mesh = mesh(4).up();
    let pen = identity(200);
    let id = mesh.world.network.id();
    let good = chain(&pen, id, 3);
    let submit = |mesh: &mut crate::language::Mesh, batch: &Batch| {
        let ticket = mesh.world.submit(0, batch.clone()).expect("taken for a look");
        mesh.world.run(Duration::from_millis(300));
        let answers = &mesh.world.peers[0].submitted;
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
        assert!(good.iter().all(|batch| held(&mesh.world, number, batch) == 1), "node {number}");
    }
}

#[test]
fn what_cannot_be_published_is_refused_at_once() {
    let mut mesh = mesh(2).up();
    let now = mesh.world.now;
    let member = batch(&identity(2), mesh.world.network.id(), 1, Digest::ZERO, "x");
    let Machine::Runs(Actor::Honest(node)) = &mut mesh.world.peers[0].machine else {
        panic!("honest")
    };
    assert_eq!(node.submit(now, member).err(), Some(PublishError::MemberKey));
    for entry in [entry(&"t".repeat(65), b""), entry("", &vec![0; (1 << 20) + 1])] {
        assert_eq!(node.publish(now, entry).err(), Some(PublishError::TooLong));
    }
    let mut taken = 0;
    while node.publish(now, entry("t", &[0; 1000])).is_ok() {
        taken += 1;
        while node.poll().is_some() {}
        assert!(taken < 100_000, "what waits is bounded");
    }
    assert!(taken > 1000, "{taken}");
}
