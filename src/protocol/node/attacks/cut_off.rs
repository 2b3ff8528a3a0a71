//! A node that is cut off, or that asks a member that cannot read, gives up nothing that an honest
//! member holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answering::{busy, lacks};
use super::recovering::tip_of;
use super::trouble::restored;
use super::{Victim, identity};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{Down, Hole, Input, LinkId, Restored, RestoredLane, Time};
use crate::wire::limits::VERSION;
use crate::wire::{Compare, Frame, Hello, Instance, Want};

/// The first 3000 slots of a lane are missing, and more than `f` members vouch for them. All links
/// end, or all but those of `f` liars that lack everything, and no dial is answered. Nothing may be
/// given up.
#[test]
fn whoever_is_cut_off_gives_nothing_up() {
    for liars in [0, 1] {
        let holes = vec![Hole { from: 1, to: 3000, gone: false }];
        let lane = RestoredLane { tip: 3001, holes, ..RestoredLane::new(identity(4).public()) };
        let mut victim = Victim::with(4, 1, Restored { lanes: vec![lane], bans: vec![] });
        victim.leave_alone();
        let all = victim.chain(4, 3001);
        let react = |victim: &mut Victim, link: LinkId, frame: Frame| match (&frame, link.0) {
            (Frame::Request(request), 3) => {
                request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
            }
            (Frame::Compare(asked), 3) => victim.agree(link, asked),
            _ => victim.holder(link, &frame, &all),
        };
        let links: Vec<LinkId> = (1..3).map(|n| victim.link(n)).collect();
        victim.run(20, react);
        assert!(victim.delivered.len() < 500, "the rest is missing");
        for link in links {
            victim.give(Input::LinkDown { link, cause: Down::Lost });
        }
        (0..liars).for_each(|_| {
            victim.link(3);
        });
        victim.run(20_000, react);
        assert_eq!(victim.node.counters().given_up, 0, "{liars} liars");
        (1..3).for_each(|n| {
            victim.link_as(n, LinkId(10 + u64::from(n)));
        });
        victim.run(5000, react);
        assert_eq!(victim.delivered.len(), 3001, "at the rate of what is vouched for");
    }
}

/// Returns how long 2000 slots of a lane for which many members vouch take to come, and how many
/// wants they cost. Another lane has 4000 holes that were given up. Ten liars of 31 members are
/// linked first: they lack everything or, if `silent`, leave open all that they are asked for.
fn beside_what_was_given_up(silent: bool) -> (Duration, usize) {
    let gone = |seq| Hole { from: seq, to: seq, gone: true };
    let holes = (1..8000).step_by(2).map(gone).collect();
    let batch = Victim::among(31, 2).batch(32, 8000, Digest([1; 32]), "x");
    let slots = vec![restored(&batch)];
    let author = identity(32).public();
    let lane = RestoredLane { tip: 8000, holes, slots, ..RestoredLane::new(author) };
    let mut victim = Victim::with(31, 2, Restored { lanes: vec![lane], bans: vec![] });
    victim.leave_alone();
    (1..=10).for_each(|n| {
        victim.link(n);
    });
    let all = victim.chain(31, 2000);
    let mut asked = 0;
    let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Request(_) if link.0 <= 10 && silent => {}
        Frame::Request(request) if link.0 <= 10 => {
            request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
        }
        Frame::Compare(Compare { ticket, .. }) => {
            victim.tips(link, *ticket, vec![tip_of(&all[1999])]);
        }
        frame => {
            if let Frame::Request(request) = frame {
                asked += request.wants.iter().filter(|want| want.author != author).count();
            }
            victim.holder(link, frame, &all);
        }
    };
    victim.run(1500, &mut react);
    (11..=30).for_each(|n| {
        victim.link(n);
    });
    let began = victim.now;
    while victim.delivered.len() < all.len() && victim.now.since(began).as_secs() < 200 {
        victim.run(20, &mut react);
    }
    (victim.now.since(began), asked)
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
    let holes = vec![Hole { from: 1, to: 10, gone: true }];
    let lane = RestoredLane { tip: 11, holes, ..RestoredLane::new(identity(4).public()) };
    let mut victim = Victim::with(4, 1, Restored { lanes: vec![lane], bans: vec![] });
    victim.leave_alone();
    let all = victim.chain(4, 11);
    victim.link(1);
    victim.run(60_000, |victim, link, frame| match &frame {
        Frame::Request(request) => {
            for want in request.wants.iter() {
                match want.seq {
                    1 => victim.say(link, &busy(want)),
                    _ => victim.reply(link, want, &all),
                }
            }
        }
        _ => victim.holder(link, &frame, &all),
    });
    assert_eq!(victim.delivered.len(), 10);
}

/// Only member 30 holds what is missing. The victim meets it on visits alone, which last two
/// seconds while they are hurried, and it answers after three. The others lack everything, and
/// `silent` of them answer no want. Returns how many slots came within three minutes, and how often
/// slots were given up.
fn beside_a_slow_holder(silent: u16) -> (usize, u64) {
    let holes = vec![Hole { from: 1, to: 10, gone: false }];
    let all = Victim::among(31, 1).chain(31, 11);
    let lane = RestoredLane {
        tip: 11,
        holes,
        slots: vec![restored(&all[10])],
        ..RestoredLane::new(identity(31).public())
    };
    let mut victim = Victim::with(31, 1, Restored { lanes: vec![lane], bans: vec![] });
    let slow = identity(30).public();
    let stalls = |peer: &PublicKey| (1..=silent).any(|n| identity(n).public() == *peer);
    let mut open: BTreeMap<LinkId, PublicKey> = BTreeMap::new();
    let mut later: Vec<(Time, LinkId, Want)> = vec![];
    let (mut count, mut visits) = (0, 0);
    let end = victim.now.after(Duration::from_secs(180));
    while victim.now < end && victim.delivered.len() < 10 {
        for peer in std::mem::take(&mut victim.dials) {
            (count, visits) = (count + 1, visits + u32::from(peer == slow));
            let link = LinkId(count);
            open.insert(link, peer);
            victim.give(Input::LinkUp { link, peer, dialled: true });
            let (network, instance) = (victim.network.id(), Instance([1; 16]));
            let hello = Hello { version: VERSION.into(), network, instance };
            victim.say(link, &Frame::Hello(hello));
        }
        for (link, _) in std::mem::take(&mut victim.closed) {
            open.remove(&link);
            victim.give(Input::LinkDown { link, cause: Down::Closed });
        }
        victim.run(20, |victim, link, frame| match &frame {
            Frame::Request(request) if open.get(&link) == Some(&slow) => {
                let due = victim.now.after(Duration::from_secs(3));
                later.extend(request.wants.iter().map(|want| (due, link, *want)));
            }
            Frame::Request(_) if open.get(&link).is_some_and(stalls) => {}
            Frame::Request(request) => {
                request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
            }
            Frame::Compare(asked) => victim.agree(link, asked),
            _ => {}
        });
        let now = victim.now;
        for (_, link, want) in later.extract_if(.., |(due, ..)| *due <= now) {
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
