//! Every invariant has a test in pairs: the healthy world is silent, and one broken thing trips
//! exactly that invariant.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::testing::{MS, World, bad, good, identity};
use crate::crypto::Digest;
use crate::protocol::{
    Ban, CloseWhy, Durability, Input, LinkId, Output, Reason, Record, Time, Token,
};
use crate::wire::{Announce, Batch, Class, Frame, Kind, List, Push, Reply, Request, SlotId, Want};

fn broken(world: &World) -> BTreeSet<String> {
    for violation in world.oracle.violations().iter().take(5) {
        eprintln!("{violation:?}");
    }
    world.broken()
}

fn only(rule: &str) -> BTreeSet<String> {
    BTreeSet::from([rule.to_owned()])
}

/// Honest nodes that are linked and have published something each.
fn lively(n: usize) -> World {
    let mut world = World::new(n, 0);
    world.run(1000);
    talk(&mut world);
    world
}

fn talk(world: &mut World) {
    for i in 0..world.nodes.len() {
        if world.nodes[i].is_some() {
            world.publish(i, &format!("from {i} at {}", world.now));
        }
    }
}

/// Hears each output twice that `wanted` lets pass.
fn twice(mut wanted: impl FnMut(&Output) -> bool + 'static) -> super::testing::Bend {
    Box::new(move |_, _, output| {
        let copies = if wanted(output) { 2 } else { 1 };
        vec![output.clone(); copies]
    })
}

/// Two honest nodes that are not linked to each other, and a raw peer that is linked to both.
fn beset() -> World {
    let mut world = World::new(3, 1);
    world.cut.insert((0, 1));
    world.run(1000);
    world
}

#[test]
fn healthy_worlds_are_silent() {
    for n in [2, 4, 7, 20] {
        let mut world = lively(n);
        for round in 0..40 {
            talk(&mut world);
            world.run(100 + round);
        }
        world.run(3000);
        world.oracle.quiet(Time(world.now));
        world.run(30_000);
        world.end();
        assert_eq!(broken(&world), BTreeSet::new(), "{n} nodes");
        assert_eq!(world.counted("delivered"), 41 * n as u64 * n as u64);
        assert!(world.counted("frames_sent") > 0 && world.counted("checks") > 0);
    }
}

#[test]
fn crashes_that_lose_unsynced_writes_are_counted_and_forgiven() {
    let mut world = lively(5);
    for round in 0..20 {
        talk(&mut world);
        world.run(15 + round % 7);
        world.crash(4);
        world.run(500);
        world.start(4);
        world.run(1500);
    }
    world.run(5000);
    world.end();
    assert_eq!(broken(&world), BTreeSet::new());
    assert_eq!((world.counted("crashes"), world.counted("restarts")), (20, 20));
    assert!(world.counted("lost_unsynced") > 0);
    assert_eq!(world.counted("redelivered_after_crash"), world.counted("lost_unsynced"));
}

#[test]
fn i1_a_forged_delivery_trips() {
    for replayed in [false, true] {
        let mut world = beset();
        let forged = world.batch(1, "never said", true);
        world.verdict = replayed.then(good);
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
    world.bend = Some(twice(|output| matches!(output, Output::Deliver(_))));
    world.run(1000);
    assert_eq!(broken(&world), only("I2"));
}

#[test]
fn i2_a_disk_that_forgets_rows_trips() {
    for forgets in [false, true] {
        let mut world = lively(4);
        world.run(1000);
        world.crash(3);
        if forgets {
            world.forget_rows(3);
        }
        world.start(3);
        world.run(5000);
        let expected = if forgets { only("I2") } else { BTreeSet::new() };
        assert_eq!(broken(&world), expected);
    }
}

/// A raw peer pushes a forgery; whatever else comes of it is heard as `extra`.
fn besides_a_ban(extra: Option<fn(&World) -> Output>) -> World {
    let mut world = beset();
    let extra = extra.map(|extra| extra(&world));
    world.bend = Some(Box::new(move |_, _, output| {
        let is_ban = matches!(output, Output::Write { record: Record::Ban(_), .. });
        let extra = extra.clone().filter(|_| is_ban);
        std::iter::once(output.clone()).chain(extra).collect()
    }));
    let forged = world.batch(2, "unsigned", true);
    world.push(2, 0, &forged);
    world.run(500);
    world
}

fn ping(world: &World) -> Output {
    let link = *world.ends.iter().find(|(_, ends)| ends.0 == 0).expect("a link").0;
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

/// The raw author's first slot is pushed, and then long after again: a copy that is logged.
#[test]
fn i3_taking_a_softly_rejected_batch_trips() {
    for takes in [false, true] {
        let mut world = beset();
        let batch = world.batch(2, "said", false);
        world.push(2, 0, &batch);
        world.run(200);
        if takes {
            let written: Output = {
                let stored = crate::protocol::StoredBatch {
                    id: batch.id(),
                    batch: Arc::new(crate::protocol::Verified::trusted(batch.clone())),
                    hops: 1,
                    from: Some(identity(2).public()),
                    delivered_at: Time(1),
                    first: false,
                };
                let record = Record::Batch(stored);
                Output::Write { token: Token(1), record, durability: Durability::Lazy }
            };
            world.bend = Some(Box::new(move |_, _, output| {
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
    let end = *world.ends.iter().find(|(_, ends)| **ends == (0, 2)).expect("a link").0;
    let want = |ticket, author| Want { ticket, author, seq: 1, id: None };
    let stranger = identity(99).public();
    let wants = List::new(vec![want(1, identity(0).public()), want(2, stranger)]).expect("few");
    world.say(end, &Frame::Request(Request { wants }));
    world.run(500);
    assert_eq!(broken(&world), BTreeSet::new());
    assert_eq!(world.counted("rejected_fatal"), 1);
}

/// A verdict of another statement is replayed for a forgery: the node believes and relays it.
#[test]
fn i4_relaying_what_does_not_verify_trips() {
    for replayed in [false, true] {
        let mut world = World::new(3, 1);
        world.run(1000);
        world.verdict = replayed.then(good);
        let forged = world.batch(2, "unsigned", true);
        world.push(2, 0, &forged);
        world.run(500);
        assert_eq!(broken(&world), if replayed { only("I4") } else { BTreeSet::new() });
    }
}

/// One byte of a frame is another when the oracle hears it.
fn altered(kind: Kind, alter: fn(&mut Vec<u8>)) -> World {
    let mut world = lively(4);
    world.bend = Some(Box::new(move |_, _, output| match output {
        Output::Send { link, kind: of, class, frame } if *of == kind => {
            let mut bytes = frame.to_vec();
            alter(&mut bytes);
            vec![Output::Send { link: *link, kind, class: *class, frame: bytes.into() }]
        }
        other => vec![other.clone()],
    }));
    talk(&mut world);
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

/// Node 3 was away: it is told tips, whose signatures are altered on the way to the oracle.
#[test]
fn i4_a_tip_that_does_not_verify_trips() {
    for alters in [false, true] {
        let mut world = lively(4);
        world.run(500);
        world.crash(3);
        talk(&mut world);
        world.run(500);
        world.bend = alters.then(|| -> super::testing::Bend {
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
        world.start(3);
        world.run(3000);
        assert_eq!(broken(&world), if alters { only("I4") } else { BTreeSet::new() });
    }
}

/// A world that lets one peer have more links than it may: 4 here for each of 3 members.
#[test]
fn r1_more_links_than_the_limit_trip() {
    for links in [4, 40] {
        let mut world = beset();
        for _ in 0..links {
            world.link(2, 0);
            world.ends.retain(|_, ends| *ends != (2, 0)); // it never says hello
        }
        for link in (1000..1000 + links * 2).step_by(2).map(LinkId) {
            let peer = identity(2).public();
            world.input(0, 0, Input::LinkUp { link, peer, dialled: false });
        }
        world.run(10);
        world.run(2000);
        assert_eq!(broken(&world), if links > 12 { only("R1") } else { BTreeSet::new() });
    }
}

/// A searched slot is noted while a forgery is refused: heard as if the forgery had done it.
#[test]
fn r2_an_entry_made_by_a_rejected_frame_trips() {
    for made in [false, true] {
        let mut world = World::new(4, 2);
        world.cut.insert((0, 1));
        world.run(1000);
        let end = |world: &World, raw| {
            *world.ends.iter().find(|(_, ends)| **ends == (0, raw)).expect("a link").0
        };
        let (two, three) = (end(&world, 2), end(&world, 3));
        let id = Digest([5; 32]);
        let items = vec![SlotId { author: identity(1).public(), seq: 9, id }];
        let announce = Frame::Announce(Announce { items: List::new(items).expect("one") });
        let announce = Input::Frame { link: three, bytes: announce.encode().into() };
        let mut batch = world.batch(2, "tampered", false);
        batch.header.content = Digest([6; 32]);
        let push = Frame::Push(Box::new(Push { hops: 1, batch }));
        let push = Input::Frame { link: two, bytes: push.encode().into() };
        let now = Time(world.now);
        let mut node = world.nodes[0].take().expect("up");
        world.oracle.before(now, 0, &push, &node);
        let inputs = if made { vec![announce, push] } else { vec![push] };
        for input in inputs {
            node.handle(now, input);
            while let Some(output) = node.poll() {
                world.oracle.output(now, 0, &output);
            }
        }
        world.oracle.after(now, 0, &node);
        assert_eq!(world.counted("rejected_fatal"), 1);
        assert_eq!(broken(&world), if made { only("R2") } else { BTreeSet::new() });
    }
}

#[test]
fn r3_checking_the_same_again_and_again_trips() {
    for times in [2, 200_000] {
        let mut world = lively(4);
        let mut first = true;
        world.bend = Some(Box::new(move |_, _, output| {
            let storm = matches!(output, Output::Check { .. }) && std::mem::take(&mut first);
            vec![output.clone(); if storm { times } else { 1 }]
        }));
        world.run(1000);
        assert!(world.counted("checks_repeated") >= times as u64 - 1);
        assert_eq!(broken(&world), if times > 2 { only("R3") } else { BTreeSet::new() });
    }
}

/// A raw peer asks for one long batch; its reply is heard more than once.
#[test]
fn r4_serving_beyond_the_rate_trips() {
    for times in [1, 20] {
        let mut world = beset();
        world.publish(0, &"x".repeat(500_000));
        world.run(500);
        world.bend = Some(Box::new(move |_, _, output| {
            let reply = matches!(output, Output::Send { kind: Kind::Reply, .. });
            vec![output.clone(); if reply { times } else { 1 }]
        }));
        let end = *world.ends.iter().find(|(_, ends)| **ends == (0, 2)).expect("a link").0;
        let want = Want { ticket: 1, author: identity(0).public(), seq: 1, id: None };
        let wants = List::new(vec![want]).expect("one");
        world.say(end, &Frame::Request(Request { wants }));
        world.run(500);
        assert!(world.counted("bytes_served") >= 500_000);
        assert_eq!(broken(&world), if times > 1 { only("R4") } else { BTreeSet::new() });
    }
}

/// A node is told that a good signature is bad, and bans the honest node that sent it.
#[test]
fn a5_banning_an_honest_node_trips() {
    for told in [false, true] {
        let mut world = lively(4);
        world.verdict = told.then(bad);
        talk(&mut world);
        world.run(500);
        assert_eq!(broken(&world), if told { only("A5") } else { BTreeSet::new() });
    }
}

#[test]
fn a5_a_ban_record_of_an_honest_node_trips() {
    let mut world = beset();
    let (peer, reason) = (identity(1).public(), Reason::Malformed);
    world.bend = Some(Box::new(move |_, _, output| match output {
        Output::Write { token, record: Record::Ban(ban), durability } => {
            let record = Record::Ban(Ban { peer, reason, ..*ban });
            vec![Output::Write { token: *token, record, durability: *durability }]
        }
        other => vec![other.clone()],
    }));
    let forged = world.batch(2, "unsigned", true);
    world.push(2, 0, &forged);
    world.run(500);
    assert_eq!(broken(&world), only("A5"));
}

#[test]
fn o1_a_network_that_stays_apart_trips() {
    for cut in [false, true] {
        let mut world = World::new(4, 0);
        if cut {
            world.cut.extend([(0, 2), (0, 3), (1, 2), (1, 3)]);
        }
        world.run(40_000);
        assert_eq!(broken(&world), if cut { only("O1") } else { BTreeSet::new() });
    }
    let mut world = World::new(4, 0);
    world.cut.extend([(0, 2), (0, 3), (1, 2), (1, 3)]);
    world.run(19_000);
    world.cut.clear();
    world.oracle.unsettled(Time(world.now));
    world.run(60_000);
    assert_eq!(broken(&world), BTreeSet::new(), "it healed in time");
    assert!(world.counted("checkpoints_apart") > 10);
}

/// When an inbound link comes up at node 0, closing another link is heard.
#[test]
fn o2_an_inbound_link_that_displaces_another_trips() {
    for displaces in [false, true] {
        let mut world = lively(4);
        world.run(1000);
        let of = |(_, ends): &(&LinkId, &(usize, usize))| **ends == (0, 3);
        let other = *world.ends.iter().find(of).expect("a link").0;
        let mut once = displaces;
        world.bend = Some(Box::new(move |_, node, output| {
            let hello = matches!(output, Output::Send { kind: Kind::Hello, .. });
            let close = Output::Close { link: other, why: CloseWhy::Rotated };
            let extra = (hello && node == 0 && std::mem::take(&mut once)).then_some(close);
            std::iter::once(output.clone()).chain(extra).collect()
        }));
        world.link(1, 0);
        world.run(500);
        assert_eq!(broken(&world), if displaces { only("O2") } else { BTreeSet::new() });
    }
}

#[test]
fn l1_a_published_message_that_one_node_lacks_trips() {
    for deaf in [false, true] {
        let mut world = World::new(4, 0);
        world.deaf.extend(deaf.then_some(2));
        world.run(1000);
        talk(&mut world);
        world.run(3000);
        world.end();
        assert_eq!(broken(&world), if deaf { only("L1") } else { BTreeSet::new() });
    }
}

/// A liar's slot reaches one honest node, which never can tell the other.
#[test]
fn l2_a_slot_that_one_node_alone_delivered_trips() {
    for apart in [false, true] {
        let mut world = World::new(3, 1);
        if apart {
            world.cut.insert((0, 1));
        }
        world.run(1000);
        let batch = world.batch(2, "to one", false);
        world.push(2, 0, &batch);
        world.run(3000);
        world.end();
        assert!(world.counted("delivered") > 0);
        assert_eq!(broken(&world), if apart { only("L2") } else { BTreeSet::new() });
    }
}

#[test]
fn l5_traffic_that_does_not_stop_trips() {
    for babbles in [false, true] {
        let mut world = lively(4);
        world.run(3000);
        world.oracle.quiet(Time(world.now));
        let batch: Batch = world.batch(0, "again", false);
        let told = batch.header.statement();
        let now = Time(world.now);
        let author = identity(0).public();
        world.oracle.checked(now, &author, &told, &batch.signature, true);
        let reply = Frame::Reply(Box::new(Reply { ticket: 1, hops: 1, batch }));
        let frame: Arc<[u8]> = reply.encode().into();
        world.bend = babbles.then(|| -> super::testing::Bend {
            Box::new(move |_, _, output| match output {
                Output::Send { link, kind: Kind::Compare, .. } => {
                    let (kind, class, frame) = (Kind::Reply, Class::Reply, frame.clone());
                    vec![output.clone(), Output::Send { link: *link, kind, class, frame }]
                }
                other => vec![other.clone()],
            })
        });
        world.run(8000);
        assert_eq!(broken(&world), if babbles { only("L5") } else { BTreeSet::new() });
        assert!(world.now > 8000 * MS);
    }
}
