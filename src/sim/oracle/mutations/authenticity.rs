//! I1 to I4 and C1: what is delivered, kept and sent is genuine, and a slot is signed only once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{beset, broken, lively, only, twice};
use crate::protocol::{Durability, Output, Record, StoredBatch, Time, Token, Verified};
use crate::sim::defects::Bend;
use crate::sim::oracle::testing::{World, good, identity};
use crate::wire::{Class, Frame, Kind, List, Request, Want};

#[test]
fn i1_a_forged_delivery_trips() {
    for replayed in [false, true] {
        let mut world = beset();
        let forged = world.batch(1, "never said", true);
        world.defects().verdict = replayed.then(good);
        world.push(2, 0, &forged);
        world.run(500);
        if replayed {
            assert_eq!(broken(&world), only("I1"));
        } else {
            assert_eq!(broken(&world), BTreeSet::new());
            assert_eq!((world.counted("rejected_fatal"), world.counted("bans")), (1, 1));
            assert_eq!(world.counted("forgeries_checked"), 1);
        }
    }
}

#[test]
fn i2_a_second_delivery_trips() {
    let mut world = lively(4);
    world.defects().bend = Some(twice(|output| matches!(output, Output::Deliver(_))));
    world.run(1000);
    assert_eq!(broken(&world), only("I2"));
}

#[test]
fn i2_a_disk_that_forgets_rows_trips() {
    for forgets in [false, true] {
        let mut world = lively(4);
        world.run(1000);
        world.sim.kill(3);
        if forgets {
            world.forget_rows(3);
        }
        world.sim.start(3);
        world.run(5000);
        let expected = if forgets { only("I2") } else { BTreeSet::new() };
        assert_eq!(broken(&world), expected);
    }
}

/// An author that forgot what it signed signs another batch in the same slot.
#[test]
fn c1_a_slot_that_is_signed_twice_trips() {
    for twice in [false, true] {
        let mut world = World::new(4, 0);
        world.run(1000);
        let other = world.batch(0, "other", false);
        world.defects().bend = Some(Box::new(move |_, node, output| {
            let mut heard = vec![output.clone()];
            if let Output::Write { token, record: Record::Batch(stored), durability } = output
                && (node, stored.from) == (0, None)
            {
                let batch = if twice {
                    Arc::new(Verified::trusted(other.clone()))
                } else {
                    stored.batch.clone()
                };
                let again = StoredBatch { id: batch.id(), batch, ..stored.clone() };
                let (token, durability) = (*token, *durability);
                heard.push(Output::Write { token, record: Record::Batch(again), durability });
            }
            heard
        }));
        world.publish(0, "said");
        world.run(500);
        assert_eq!(broken(&world), if twice { only("C1") } else { BTreeSet::new() });
    }
}

#[test]
fn c1_a_disk_that_forgets_what_was_signed_trips() {
    for forgets in [false, true] {
        let mut world = World::new(4, 0);
        world.run(1000);
        world.publish(0, "said");
        world.run(500);
        world.sim.kill(0);
        if forgets {
            world.forget_rows(0);
        }
        world.sim.start(0);
        world.publish(0, "said again");
        world.run(5000);
        assert_eq!(world.broken().contains("C1"), forgets);
    }
}

/// A raw peer pushes a forgery. The oracle hears `extra` along with the ban.
fn besides_a_ban(extra: Option<fn(&mut World) -> Output>) -> World {
    let mut world = beset();
    let extra = extra.map(|extra| extra(&mut world));
    world.defects().bend = Some(Box::new(move |_, _, output| {
        let is_ban = matches!(output, Output::Write { record: Record::Ban(_), .. });
        let extra = extra.clone().filter(|_| is_ban);
        std::iter::once(output.clone()).chain(extra).collect()
    }));
    let forged = world.batch(2, "unsigned", true);
    world.push(2, 0, &forged);
    world.run(500);
    world
}

fn ping(world: &mut World) -> Output {
    let link = world.end(0, 2);
    let frame = Frame::Ping.encode().into();
    Output::Send { link, kind: Kind::Ping, class: Class::Control, frame }
}

#[test]
fn i3_acting_on_a_rejected_frame_trips() {
    let world = besides_a_ban(None);
    assert_eq!(broken(&world), BTreeSet::new());
    assert_eq!(world.counted("rejected_fatal"), 1);
    let world = besides_a_ban(Some(ping));
    assert_eq!(broken(&world), only("I3"));
}

/// A raw peer pushes its own first slot twice: the second push is a copy, which is logged. The
/// oracle hears the copy written as well.
#[test]
fn i3_taking_a_softly_rejected_batch_trips() {
    for takes in [false, true] {
        let mut world = beset();
        let batch = world.batch(2, "said", false);
        world.push(2, 0, &batch);
        world.run(200);
        if takes {
            let written: Output = {
                let stored = StoredBatch {
                    id: batch.id(),
                    batch: Arc::new(Verified::trusted(batch.clone())),
                    hops: 1,
                    from: Some(identity(2).public()),
                    delivered_at: Time(1),
                    first: false,
                };
                let record = Record::Batch(stored);
                Output::Write { token: Token(1), record, durability: Durability::Lazy }
            };
            world.defects().bend = Some(Box::new(move |_, _, output| {
                let refused = matches!(output, Output::Write { record: Record::Rejection(_), .. });
                let extra = refused.then(|| written.clone());
                std::iter::once(output.clone()).chain(extra).collect()
            }));
        }
        world.push(2, 0, &batch);
        world.run(200);
        assert_eq!(world.counted("rejected_soft"), 1);
        assert_eq!(broken(&world), if takes { only("I3") } else { BTreeSet::new() });
    }
}

#[test]
fn i3_and_r2_nothing_of_a_request_that_names_a_stranger_is_served() {
    let mut world = beset();
    world.publish(0, "wanted");
    world.run(500);
    let want = |ticket, author| Want { ticket, author, seq: 1, id: None };
    let stranger = identity(99).public();
    let wants = List::new(vec![want(1, identity(0).public()), want(2, stranger)]).expect("few");
    world.say(2, 0, &Frame::Request(Request { wants }));
    world.run(500);
    assert_eq!(broken(&world), BTreeSet::new());
    assert_eq!(world.counted("rejected_fatal"), 1);
}

/// The verdict of another statement is replayed for a forgery, so the node believes and relays it.
#[test]
fn i4_relaying_what_does_not_verify_trips() {
    for replayed in [false, true] {
        let mut world = World::new(3, 1);
        world.run(1000);
        world.defects().verdict = replayed.then(good);
        let forged = world.batch(2, "unsigned", true);
        world.push(2, 0, &forged);
        world.run(500);
        assert_eq!(broken(&world), if replayed { only("I4") } else { BTreeSet::new() });
    }
}

/// Changes the frames of one kind on their way to the oracle.
fn altered(kind: Kind, alter: fn(&mut Vec<u8>)) -> World {
    let mut world = lively(4);
    world.defects().bend = Some(Box::new(move |_, _, output| match output {
        Output::Send { link, kind: of, class, frame } if *of == kind => {
            let mut bytes = frame.to_vec();
            alter(&mut bytes);
            vec![Output::Send { link: *link, kind, class: *class, frame: bytes.into() }]
        }
        other => vec![other.clone()],
    }));
    world.talk();
    world.run(3000);
    world
}

#[test]
fn i4_altered_frames_trip() {
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().expect("some") ^= 1;
    assert_eq!(broken(&altered(Kind::Push, |_| ())), BTreeSet::new());
    assert_eq!(broken(&altered(Kind::Push, last)), only("I4"), "another body");
    let signature = |bytes: &mut Vec<u8>| bytes[3 + 200] ^= 1;
    assert_eq!(broken(&altered(Kind::Push, signature)), only("I4"));
    let longer = |bytes: &mut Vec<u8>| bytes.push(0);
    for kind in [Kind::Push, Kind::Credit, Kind::Compare, Kind::Differ] {
        assert_eq!(broken(&altered(kind, longer)), only("I4"), "{kind:?}");
    }
    let other_kind = |bytes: &mut Vec<u8>| bytes[1] = 2;
    assert_eq!(broken(&altered(Kind::Credit, other_kind)), only("I4"));
}

/// Node 3 was away, and is told tips. A byte of each answer is changed on its way to the oracle.
#[test]
fn i4_a_tip_that_does_not_verify_trips() {
    for alters in [false, true] {
        let mut world = lively(4);
        world.run(500);
        world.sim.kill(3);
        world.talk();
        world.run(500);
        world.defects().bend = alters.then(|| -> Bend {
            Box::new(|_, _, output| match output {
                Output::Send { link, kind: Kind::Differ, class, frame } => {
                    let mut bytes = frame.to_vec();
                    if bytes.len() > 136 {
                        *bytes.last_mut().expect("some") ^= 1;
                    }
                    let (link, class) = (*link, *class);
                    vec![Output::Send { link, kind: Kind::Differ, class, frame: bytes.into() }]
                }
                other => vec![other.clone()],
            })
        });
        world.sim.start(3);
        world.run(3000);
        assert_eq!(broken(&world), if alters { only("I4") } else { BTreeSet::new() });
    }
}
