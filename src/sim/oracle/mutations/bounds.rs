//! R1 to R4, R7, R8 and A5: nothing grows beyond its limit, and no honest node is blamed.

use std::collections::BTreeSet;

use super::{beset, broken, lively, only};
use crate::crypto::Digest;
use crate::protocol::{Ban, Input, LinkId, Output, Reason, Record, Token};
use crate::sim::oracle::testing::{World, bad, identity};
use crate::wire::{Announce, Frame, Kind, List, Push, Request, SlotId, Want};

/// One peer has more links to node 0 than the limit allows: 4 for each of 3 members.
#[test]
fn r1_more_links_than_the_limit_trip() {
    for links in [4, 40] {
        let mut world = beset();
        for _ in 0..2 * links {
            world.sim.connect(2, 0); // the peer never says hello
        }
        world.run(10);
        world.run(2000);
        assert_eq!(broken(&world), if links > 12 { only("R1") } else { BTreeSet::new() });
    }
}

/// The node notes a searched slot while it refuses a forgery; the oracle hears it as if the forgery
/// had caused it.
#[test]
fn r2_an_entry_made_by_a_rejected_frame_trips() {
    for made in [false, true] {
        let mut world = World::new(4, 2);
        world.defects().apart.insert((0, 1));
        world.run(1000);
        let (two, three) = (world.end(0, 2), world.end(0, 3));
        world.run(100);
        let id = Digest([5; 32]);
        let items = vec![SlotId { author: identity(1).public(), seq: 9, id }];
        let announce = Frame::Announce(Announce { items: List::new(items).expect("one") });
        let announce = Input::Frame { link: three, bytes: announce.encode().into() };
        let mut batch = world.batch(2, "tampered", false);
        batch.header.content = Digest([6; 32]);
        let push = Frame::Push(Box::new(Push { hops: 1, batch }));
        let push = Input::Frame { link: two, bytes: push.encode().into() };
        let now = world.now();
        let (node, oracle) = world.node_and_oracle(0);
        oracle.before(now, 0, &push, node);
        let inputs = if made { vec![announce, push] } else { vec![push] };
        for input in inputs {
            node.handle(now, input);
            while let Some(output) = node.poll() {
                oracle.output(now, 0, &output);
            }
        }
        oracle.after(now, 0, node);
        assert_eq!(world.counted("rejected_fatal"), 1);
        assert_eq!(broken(&world), if made { only("R2") } else { BTreeSet::new() });
    }
}

#[test]
fn r3_checking_the_same_again_and_again_trips() {
    for times in [2, 200_000] {
        let mut world = lively(4);
        let mut first = true;
        world.defects().bend = Some(Box::new(move |_, _, output| {
            let storm = matches!(output, Output::Check { .. }) && std::mem::take(&mut first);
            vec![output.clone(); if storm { times } else { 1 }]
        }));
        world.run(1000);
        assert!(world.counted("checks_repeated") >= times as u64 - 1);
        assert_eq!(broken(&world), if times > 2 { only("R3") } else { BTreeSet::new() });
    }
}

/// A raw peer asks for one long batch. The oracle hears the reply many times.
#[test]
fn r4_serving_beyond_the_rate_trips() {
    for times in [1, 20] {
        let mut world = beset();
        world.publish(0, &"x".repeat(500_000));
        world.run(500);
        world.defects().bend = Some(Box::new(move |_, _, output| {
            let reply = matches!(output, Output::Send { kind: Kind::Reply, .. });
            vec![output.clone(); if reply { times } else { 1 }]
        }));
        let want = Want { ticket: 1, author: identity(0).public(), seq: 1, id: None };
        let wants = List::new(vec![want]).expect("one");
        world.say(2, 0, &Frame::Request(Request { wants }));
        world.run(500);
        assert!(world.counted("bytes_served") >= 500_000);
        assert_eq!(broken(&world), if times > 1 { only("R4") } else { BTreeSet::new() });
    }
}

/// Links stay up after their visit is over, or after another link was chosen in their place.
#[test]
fn r8_links_that_nobody_ends_trip() {
    for sticky in [false, true] {
        let mut world = World::new(20, 0);
        world.defects().sticky = sticky;
        world.run(60_000);
        assert_eq!(broken(&world), if sticky { only("R8") } else { BTreeSet::new() });
    }
}

/// One link more than allowed, but only for a short time; then one that stays.
#[test]
fn r8_visits_that_last_trip_though_they_are_few() {
    for links in [4, 5] {
        let mut world = World::new(3, 2);
        world.defects().apart.extend([(0, 1), (0, 2)]);
        world.run(100);
        let now = world.now();
        let (node, oracle) = world.node_and_oracle(0);
        for link in (1000..1000 + links * 2).step_by(2).map(LinkId) {
            oracle.link_up(link, 0, 1);
            let input = Input::LinkUp { link, peer: identity(1).public(), dialled: true };
            oracle.before(now, 0, &input, node);
        }
        world.run(19_000);
        assert_eq!(broken(&world), BTreeSet::new(), "recent ones may be");
        world.run(5000);
        assert_eq!(broken(&world), if links > 4 { only("R8") } else { BTreeSet::new() });
    }
}

/// A raw peer asks for batches that are not among the newest. The oracle hears each read twice.
#[test]
fn r7_reading_beyond_what_was_asked_for_trips() {
    for times in [1, 2] {
        let mut world = laden();
        world.defects().bend = Some(Box::new(move |_, _, output| {
            let read = matches!(output, Output::Read { .. });
            vec![output.clone(); if read { times } else { 1 }]
        }));
        ask(&mut world, 1..3);
        assert_eq!(world.counted("reads"), 2 * times as u64);
        assert_eq!(broken(&world), if times > 1 { only("R7") } else { BTreeSet::new() });
    }
}

#[test]
fn r7_reading_beyond_the_rate_trips() {
    for times in [1, 9] {
        let mut world = laden();
        world.run(1000);
        // The oracle hears `times` wants and a read for each, which the node did not get.
        let end = world.end(0, 2);
        world.run(100);
        let (author, now) = (identity(0).public(), world.now());
        let row = world.kept(0, 0, 1);
        let (node, oracle) = world.node_and_oracle(0);
        for n in 0..times {
            let want = Want { ticket: n, author, seq: 1, id: None };
            let wants = List::new(vec![want]).expect("one");
            let bytes = Frame::Request(Request { wants }).encode().into();
            oracle.before(now, 0, &Input::Frame { link: end, bytes }, node);
            let token = Token(1_000_000 + u64::from(n));
            oracle.output(now, 0, &Output::Read { token, author, seq: 1, id: None });
            let batch = Some(Box::new(row.clone()));
            oracle.before(now, 0, &Input::Read { token, batch }, node);
            oracle.after(now, 0, node);
        }
        assert!(world.counted("bytes_read") >= 900_000 * u64::from(times));
        assert_eq!(broken(&world), if times > 1 { only("R7") } else { BTreeSet::new() });
    }
}

/// Node 0 holds four long batches of its own, the first two of which are no longer in its memory.
fn laden() -> World {
    let mut world = beset();
    for _ in 0..4 {
        world.publish(0, &"x".repeat(900_000));
        world.run(1500);
    }
    world
}

fn ask(world: &mut World, seqs: std::ops::Range<u64>) {
    let author = identity(0).public();
    let want = |seq: u64| Want { ticket: seq as u32, author, seq, id: None };
    let wants = List::new(seqs.map(want).collect()).expect("few");
    world.say(2, 0, &Frame::Request(Request { wants }));
    world.run(500);
}

/// A node is told that a good signature is bad, and bans the honest node that sent it.
#[test]
fn a5_banning_an_honest_node_trips() {
    for told in [false, true] {
        let mut world = lively(4);
        world.defects().verdict = told.then(bad);
        world.talk();
        world.run(500);
        assert_eq!(broken(&world), if told { only("A5") } else { BTreeSet::new() });
    }
}

#[test]
fn a5_a_ban_record_of_an_honest_node_trips() {
    let mut world = beset();
    let (peer, reason) = (identity(1).public(), Reason::Malformed);
    world.defects().bend = Some(Box::new(move |_, _, output| match output {
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
