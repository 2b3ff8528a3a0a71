//! I5, I6, I4 of rotten rows, R6, L7, and slots that no node can get: stores and disks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{beset, broken, lively, only};
use crate::protocol::{Durability, Output, Record, StoredBatch, Ticket, Token, Verified};
use crate::sim::oracle::testing::{World, identity};
use crate::wire::{Frame, Kind, List, MessageId, Request, Want};

/// The oracle hears a node's own batch as published while it is still being written.
#[test]
fn i5_an_answer_before_the_sync_trips() {
    for early in [false, true] {
        let mut world = World::new(4, 0);
        world.run(1000);
        world.defects().bend = Some(Box::new(move |_, _, output| match output {
            Output::Write {
                record: Record::Batch(stored), durability: Durability::Synced, ..
            } if early => {
                let id = MessageId { batch: stored.id, index: 0 };
                let seq = stored.batch.header.seq;
                let published = Output::Published { ticket: Ticket(0), id, seq };
                vec![output.clone(), published]
            }
            other => vec![other.clone()],
        }));
        world.talk();
        world.run(500);
        assert_eq!(broken(&world), if early { only("I5") } else { BTreeSet::new() });
    }
}

/// A node loses its disk, is shown its second slot, and signs its first one again.
#[test]
fn i6_a_slot_signed_again_though_it_was_shown_trips() {
    for (shown, signs) in [(true, true), (true, false), (false, true)] {
        let mut world = beset();
        for text in ["said", "said more"] {
            world.publish(0, text);
            world.run(500);
        }
        let second = world.kept(0, 0, 2).batch;
        world.wipe(0);
        world.sim.start(0);
        world.run(1000);
        if shown {
            world.push(2, 0, &second);
        }
        world.run(1000);
        let batch = Arc::new(Verified::trusted(world.batch(0, "said again", false)));
        let again = StoredBatch {
            id: batch.id(),
            batch,
            hops: 0,
            from: None,
            delivered_at: world.now(),
            first: true,
        };
        let write = Output::Write {
            token: Token(1 << 40),
            record: Record::Batch(again),
            durability: Durability::Synced,
        };
        let mut once = signs;
        world.defects().bend = Some(Box::new(move |_, node, output| {
            let extra = (node == 0 && std::mem::take(&mut once)).then(|| write.clone());
            std::iter::once(output.clone()).chain(extra).collect()
        }));
        world.run(3000);
        assert_eq!(broken(&world), if shown && signs { only("I6") } else { BTreeSet::new() });
        assert_eq!(world.counted("signed_anew"), u64::from(!shown));
    }
}

/// An author that lost its disk gets its batch again, and is killed before that is durable. The
/// oracle must still know that the author signed it.
#[test]
fn i1_what_an_author_lost_twice_it_has_signed_all_the_same() {
    let mut world = lively(4);
    world.run(500);
    world.wipe(0);
    world.sim.start(0);
    while world.counted("redelivered_after_crash") == 0 {
        world.run(5);
    }
    world.sim.kill(0);
    assert!(world.counted("lost_unsynced") > 0);
    world.sim.start(0);
    world.run(5000);
    world.end_run();
    assert_eq!(broken(&world), BTreeSet::new());
}

/// A raw peer asks for a batch whose row on the disk has another body.
#[test]
fn i4_a_rotten_row_that_is_served_trips() {
    for rots in [false, true] {
        let mut world = beset();
        world.publish(0, "kept");
        world.run(500);
        world.sim.kill(0);
        world.defects().rotten = rots;
        world.sim.start(0);
        world.run(2000);
        let want = Want { ticket: 1, author: identity(0).public(), seq: 1, id: None };
        let wants = List::new(vec![want]).expect("one");
        world.say(2, 0, &Frame::Request(Request { wants }));
        world.run(500);
        assert!(world.counted("bytes_served") > 0);
        assert_eq!(broken(&world), if rots { only("I4") } else { BTreeSet::new() });
    }
}

#[test]
fn r6_bytes_that_nobody_needed_trip() {
    for times in [1, 60] {
        let mut world = World::new(4, 0);
        world.run(1000);
        world.publish(0, &"x".repeat(500_000));
        world.defects().bend = Some(Box::new(move |_, _, output| {
            let push = matches!(output, Output::Send { kind: Kind::Push, .. });
            vec![output.clone(); if push { times } else { 1 }]
        }));
        world.run(1000);
        world.end_run();
        assert!(world.counted("batch_bytes_sent") >= 1_500_000);
        assert_eq!(broken(&world), if times > 1 { only("R6") } else { BTreeSet::new() });
    }
}

/// Node 3 was away, and hears no batches from its start on, or from one second later.
#[test]
fn l7_a_node_that_stays_behind_trips() {
    for (deaf_from, when) in
        [(None, ""), (Some(0), "while it was away"), (Some(1000), "while it caught up")]
    {
        let mut world = lively(4);
        world.run(500);
        world.sim.kill(3);
        world.talk();
        world.run(2000);
        world.defects().deaf.extend((deaf_from == Some(0)).then_some(3));
        world.sim.start(3);
        world.run(1000);
        world.defects().deaf.extend(deaf_from.map(|_| 3));
        world.publish(0, "news");
        world.run(15_000);
        let expected = if deaf_from.is_some() { only("L7") } else { BTreeSet::new() };
        assert_eq!(broken(&world), expected, "{when}");
        let told = world.sim.violations().iter().all(|one| one.what.contains(when));
        assert!(told, "{when}");
    }
}

/// Node 3 comes back to its author and to others that lack the same. With two of them behind, too
/// few members can vouch for the lane, so L7 must wait.
#[test]
fn l7_waits_until_enough_members_are_level() {
    for (behind, expected) in [(1, only("L7")), (2, BTreeSet::new())] {
        let mut world = lively(4);
        world.run(500);
        world.sim.kill(3);
        world.defects().deaf.extend([3, 1, 2].into_iter().take(1 + behind));
        world.talk();
        world.run(2000);
        world.sim.start(3);
        world.run(15_000);
        assert_eq!(broken(&world), expected, "{behind}");
        assert_eq!(world.counted("checkpoints_unvouched") > 0, behind == 2);
    }
}

/// One node hears no batches, and then no node can give them to it any more.
#[test]
fn what_all_have_pruned_is_excused_and_counted() {
    for pruned in [false, true] {
        let mut world = World::new(4, 0);
        world.defects().deaf.insert(2);
        world.run(1000);
        world.talk();
        world.run(3000);
        (0..4).filter(|_| pruned).for_each(|i| world.forget_rows(i));
        world.end_run();
        assert_eq!(broken(&world), if pruned { BTreeSet::new() } else { only("L1") });
        assert_eq!(world.counted("skipped"), if pruned { 3 } else { 0 });
    }
}
