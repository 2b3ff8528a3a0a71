//! A node that is cut off, or that asks a member that cannot read, gives up nothing that an honest
//! member holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Later, Victim, busy, gone, hole, identity, lane, odd_ones_gone, restored, tip_of};
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, RestoredLane};
use crate::wire::Frame;

/// The first 3000 slots of a lane are missing, and more than `f` members vouch for them. All links
/// end, or all but those of `f` liars that lack everything, and no dial is answered. Nothing may be
/// given up.
#[test]
fn whoever_is_cut_off_gives_nothing_up() {
    for liars in [0, 1] {
        let mut victim = Victim::with_lanes(4, 1, vec![lane(4, 3001, vec![hole(1, 3000)])]);
        victim.leave_alone();
        let all = victim.chain(4, 3001);
        let react = |victim: &mut Victim, link: LinkId, frame: Frame| match link.0 {
            3 => victim.has_nothing(link, &frame),
            _ => victim.holder(link, &frame, &all),
        };
        let links = victim.links(1..3);
        victim.run(20, react);
        assert!(victim.delivered.len() < 500, "the rest is missing");
        links.into_iter().for_each(|link| victim.lose(link));
        victim.links((liars > 0).then_some(3));
        victim.run(20_000, react);
        assert_eq!(victim.node.counters().given_up, 0, "{liars} liars");
        victim.link_as(1, LinkId(11));
        victim.link_as(2, LinkId(12));
        victim.run(5000, react);
        assert_eq!(victim.delivered.len(), 3001, "at the rate of what is vouched for");
    }
}

/// Returns how long 2000 slots of a lane for which many members vouch take to come, and how many
/// wants they cost. Another lane has 4000 holes that were given up. Ten liars of 31 members are
/// linked first: they lack everything or, if `silent`, leave open all that they are asked for.
fn beside_what_was_given_up(silent: bool) -> (Duration, usize) {
    let lane = odd_ones_gone(&Victim::among(31, 2).stray(32, 8000));
    let author = lane.author;
    let mut victim = Victim::with_lanes(31, 2, vec![lane]);
    victim.leave_alone();
    victim.links(1..=10);
    let all = victim.chain(31, 2000);
    let mut asked = 0;
    let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Request(_) if link.0 <= 10 && silent => {}
        Frame::Request(request) if link.0 <= 10 => victim.lack_all(link, request),
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&all[1999])]),
        frame => {
            if let Frame::Request(request) = frame {
                asked += request.wants.iter().filter(|want| want.author != author).count();
            }
            victim.holder(link, frame, &all);
        }
    };
    victim.run(1500, &mut react);
    victim.links(11..=30);
    let took = victim.deliver(all.len(), 200, &mut react);
    (took, asked)
}

#[test]
fn what_was_given_up_and_is_left_open_takes_no_room_of_what_is_missing() {
    let took = [false, true].map(|silent| beside_what_was_given_up(silent).0);
    assert!(took[1] < took[0] + Duration::from_secs(5), "{took:?}");
}

/// A liar that lacks a slot costs one question, and not one for every slot.
#[test]
fn liars_that_lack_what_many_vouch_for_cost_no_copies() {
    let (took, asked) = beside_what_was_given_up(false);
    assert!(asked < 3000, "{asked} wants for 2000 slots, in {took:?}");
}

/// The holder of a hole that was given up cannot read its lowest slot. The slots above must come.
#[test]
fn a_slot_that_cannot_be_read_hides_none_above_it() {
    let mut victim = Victim::with_lanes(4, 1, vec![lane(4, 11, vec![gone(1, 10)])]);
    victim.leave_alone();
    let all = victim.chain(4, 11);
    victim.link(1);
    victim.run(60_000, |victim, link, frame| match &frame {
        Frame::Request(request) => victim.reply_or(link, request, &all[1..], busy),
        _ => victim.holder(link, &frame, &all),
    });
    assert_eq!(victim.delivered.len(), 10);
}

/// Only member 30 holds what is missing. The victim meets it on visits alone, which last two
/// seconds while they are hurried, and it answers after three. The others lack everything, and
/// `silent` of them answer no want. Returns how many slots came within three minutes, and how often
/// slots were given up.
fn beside_a_slow_holder(silent: u16) -> (usize, u64) {
    let all = Victim::among(31, 1).chain(31, 11);
    let slots = vec![restored(&all[10])];
    let lane = RestoredLane { slots, ..lane(31, 11, vec![hole(1, 10)]) };
    let mut victim = Victim::with_lanes(31, 1, vec![lane]);
    let slow = identity(30).public();
    let stalls = |peer: &PublicKey| (1..=silent).any(|n| identity(n).public() == *peer);
    let mut open: BTreeMap<LinkId, PublicKey> = BTreeMap::new();
    let (mut later, mut visits) = (Later::default(), 0);
    let end = victim.now.after(Duration::from_secs(180));
    while victim.now < end && victim.delivered.len() < 10 {
        let dials = victim.meet(&mut open);
        visits += dials.iter().filter(|peer| **peer == slow).count();
        victim.run(20, |victim, link, frame| match &frame {
            Frame::Request(request) if open.get(&link) == Some(&slow) => {
                later.add(victim, 3000, link, request);
            }
            Frame::Request(_) if open.get(&link).is_some_and(stalls) => {}
            _ => victim.has_nothing(link, &frame),
        });
        for (link, want) in later.due(victim.now) {
            if open.contains_key(&link) {
                victim.reply(link, &want, &all);
            }
        }
    }
    assert!(victim.node.chosen().all(|peer| peer != slow), "or this would show nothing");
    assert!(visits > 1, "the first one was too short");
    (victim.delivered.len(), victim.node.counters().given_up)
}

#[test]
fn a_slow_member_that_is_only_visited_is_heard_before_slots_are_given_up() {
    assert_eq!(beside_a_slow_holder(0), (10, 0));
}

/// The visits of silent members are as many as may go on at once, and last as long as they may.
#[test]
fn visits_of_silent_members_end_none_that_may_be_answered() {
    assert_eq!(beside_a_slow_holder(10), (10, 0));
}
