//! Liars that hold up missing slots, or exploit slots that were given up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Later, NOTHING, Victim, gone, identity, lacks, pruned, tip_of};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::lanes::Lane;
use crate::protocol::{Down, Input, LinkId};
use crate::wire::{Class, Frame, RangeHash, Tip};

/// Two nodes were away at once. Member 1 is the author, has pruned what they missed, and is the
/// only one ahead; member 2 was away too, or holds all of it; member 3 is never there. The lane
/// must go on, and skip nothing that member 2 holds.
#[test]
fn a_lane_goes_on_where_only_its_author_knows_it_but_skips_nothing_that_another_holds() {
    for (other_holds, gap) in [(false, 1500), (true, 1500), (false, 100), (true, 100)] {
        let mut victim = Victim::among(4, 0);
        victim.leave_alone();
        let all = victim.chain(1, gap + 50);
        victim.links([1, 2]);
        let mut asked_of_2 = 0_u32;
        victim.run(120_000, |victim, link, frame| match (&frame, link.0) {
            (_, 1) => victim.pruned_up_to(link, &frame, gap, &all),
            (_, 2) => {
                asked_of_2 += u32::from(matches!(frame, Frame::Request(_)));
                victim.holder(link, &frame, if other_holds { &all } else { &[] });
            }
            _ => {}
        });
        let first = if other_holds { 1 } else { gap + 1 };
        let mut seqs: Vec<u64> = victim.rows.iter().map(|row| row.batch.header.seq).collect();
        seqs.sort_unstable();
        assert!(seqs.iter().copied().eq(first..=gap + 50), "{other_holds} {gap}: {}", seqs.len());
        assert!(asked_of_2 > 0, "it may have had it");
        if !other_holds {
            assert_eq!(victim.blamed(1).or(victim.blamed(2)), None);
            assert_eq!(victim.holes_of(1), [gone(1, gap)]);
        }
    }
}

/// An author voids slots by a restart header, every node gives them up, and honest members say that
/// they hold, pruned or gave up all slots up to there. Then the author publishes those slots after
/// all, far above its quota.
#[test]
fn slots_that_were_given_up_are_not_taken_above_the_quota() {
    let mut victim = Victim::among(4, 1);
    let links = victim.links(1..4);
    victim.push(links[0], &victim.restart(4, 5001, NOTHING));
    victim.run(5000, |victim, link, frame| victim.has_nothing(link, &frame));
    // What an honest node, such as the victim, says of the lane to others.
    victim.compare(links[0], 7, vec![RangeHash { start: 0, end: 5, hash: Digest([9; 32]) }]);
    let told = victim.sent.iter().find_map(|(_, frame)| match frame {
        Frame::Differ(differ) => differ.tips.iter().next().copied(),
        _ => None,
    });
    let told = told.expect("a tip");
    // Two honest members, more than f, tell the victim exactly that.
    let mut told_by_two = 0;
    victim.run(5000, |victim, link, frame| match &frame {
        Frame::Compare(asked) if link.0 > 1 => {
            told_by_two += 1;
            victim.tips(link, asked, [told]);
        }
        _ => victim.has_nothing(link, &frame),
    });
    assert!(told_by_two > 1);
    let before = victim.delivered.len();
    victim.push_all(links[0], &victim.chain(4, 2000));
    let taken = victim.delivered.len() - before;
    assert!(taken <= 400 + 16, "{taken} of 2000 batches at one moment");
}

/// f members of 31 show an author its own signed slot after it lost its store, and then leave its
/// wants for it open; all others say that they lack it. The author must publish within 20 minutes.
#[test]
fn whoever_leaves_wants_open_keeps_no_author_from_going_on() {
    for silent in [false, true] {
        let mut victim = Victim::among(31, 0);
        let old = victim.chain(0, 5);
        let lies = |peer: &PublicKey| (21..31).any(|n| identity(n).public() == *peer);
        let mut peers = BTreeMap::new();
        let end = victim.now.after(Duration::from_secs(1200));
        let (mut asked, mut published) = (false, None);
        while victim.now < end && published.is_none() {
            victim.meet(&mut peers);
            victim.run(20, |victim, link, frame| {
                let Some(peer) = peers.get(&link) else { return };
                match (&frame, lies(peer)) {
                    (Frame::Request(_), true) if silent => {}
                    (_, true) => victim.shows(link, &frame, tip_of(&old[4])),
                    (_, false) => victim.has_nothing(link, &frame),
                }
            });
            if !asked && victim.tip(0) == 5 {
                asked = true;
                victim.publish();
            }
            published = victim.own().first().map(|_| victim.now);
        }
        let tip = victim.tip(0);
        let given_up = victim.node.counters().given_up;
        assert!(
            published.is_some(),
            "silent {silent}: nothing in 20 minutes; tip {tip}, given up {given_up}"
        );
    }
}

/// An honest author once restarted, so every node has a hole forever. Later a node that is cut off
/// meets only a liar, and gives up what it alone lacks. When it meets the others again, it must get
/// those slots.
#[test]
fn what_was_given_up_above_a_hole_that_nobody_fills_is_asked_for_too() {
    let mut victim = Victim::among(4, 1);
    let mut all = victim.chain(4, 5);
    all.push(victim.restart(4, 1030, (5, all[4].id())));
    victim.extend(&mut all, 4, 1700);
    let links = victim.links(1..4);
    victim.push_all(links[0], &all[..7]);
    victim.run(5000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => victim.answer_all(link, request, |want| lacks(want, 1030)),
        _ => {}
    });
    assert_eq!(victim.holes_of(4), [gone(6, 1029)]);
    // The links to all end; later the liar alone comes back.
    links.into_iter().for_each(|link| victim.lose(link));
    victim.leave_alone();
    victim.run(700_000, |_, _, _| ());
    victim.link_as(1, LinkId(11));
    let last = tip_of(&all[all.len() - 1]);
    victim.run(10_000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [last]),
        Frame::Request(request) => victim.answer_all(link, request, |want| lacks(want, 1700)),
        _ => {}
    });
    assert_eq!(victim.tip(4), 1699, "passed, as nobody else is there");
    // The others are back, and hold everything.
    victim.link_as(2, LinkId(12));
    victim.link_as(3, LinkId(13));
    let next = |seq: u64| if seq < 1030 { 1030 } else { seq + 1 };
    victim.run(1_500_000, |victim, link, frame| match (&frame, link.0) {
        (Frame::Request(request), 12 | 13) => {
            victim.reply_or(link, request, &all, |want| lacks(want, next(want.seq)));
        }
        (Frame::Request(request), _) => victim.answer_all(link, request, |want| lacks(want, 1700)),
        _ => victim.holder(link, &frame, &all),
    });
    assert_eq!(victim.delivered.len(), all.len(), "{:?}", victim.holes_of(4));
}

/// The only member that still holds what is missing is slow, but answers within an asker's
/// patience.
#[test]
fn what_a_slow_member_holds_is_not_given_up() {
    for delay in [2000, 4000] {
        let mut victim = Victim::among(4, 1);
        let all = victim.chain(4, 1000);
        victim.links(1..4);
        let mut later = Later::default();
        for _ in 0..6000 {
            victim.run(50, |victim, link, frame| match (&frame, link.0) {
                (Frame::Request(request), 1) => later.add(victim, delay, link, request),
                (Frame::Request(request), _) => {
                    victim.answer_all(link, request, |want| pruned(want, 1000));
                }
                (Frame::Compare(asked), of) => {
                    let floor = if of == 1 { 0 } else { 1000 };
                    victim.tips(link, asked, [Tip { floor, ..tip_of(&all[999]) }]);
                }
                _ => {}
            });
            for (link, want) in later.due(victim.now) {
                victim.reply(link, &want, &all);
            }
            if victim.delivered.len() == all.len() {
                break;
            }
        }
        let (came, holes) = (victim.delivered.len(), victim.holes_of(4));
        assert_eq!(came, all.len(), "answers after {delay} ms: {holes:?}");
    }
}

/// f members of 31 are linked, lack everything, and take nine seconds to answer each want. Two
/// honest members have the missing slot, and it must come soon.
#[test]
fn silent_members_do_not_hold_up_what_is_missing_below_a_tip() {
    let mut victim = Victim::among(31, 1);
    let all = victim.chain(31, 30);
    let liars = victim.links(1..=10);
    let honest = [victim.link(11), victim.link(12)];
    victim.push_all(honest[0], &all);
    victim.damage(&all[11]);
    let (began, mut later) = (victim.now, Later::default());
    while victim.node.lanes.holed().next().is_some() && victim.now.since(began).as_secs() < 600 {
        victim.run(50, |victim, link, frame| match &frame {
            Frame::Request(request) if liars.contains(&link) => {
                later.add(victim, 9000, link, request);
            }
            Frame::Compare(asked) => victim.agree(link, asked),
            _ => victim.holder(link, &frame, &all),
        });
        for (link, want) in later.due(victim.now) {
            victim.say(link, &lacks(&want, 0));
        }
    }
    let took = victim.now.since(began);
    assert!(took.as_millis() < 4000, "{took:?}");
}

/// f members of 4 grant no credit for requests. All lack the beginning of a lane, and others hold
/// what lies above it. The held slots must come at once, and the rest must be given up.
#[test]
fn whoever_grants_no_credit_holds_up_nothing() {
    for grants in [true, false] {
        let mut victim = Victim::among(4, 1);
        let all = victim.chain(4, 1100);
        let held = &all[300..];
        let links = victim.links(1..4);
        victim.misers.extend((!grants).then_some((links[2], Class::Request)));
        // The first wants take all the credit of this link.
        victim.announce(links[2], &victim.chain(4, 64)[..64]);
        let began = victim.now;
        let (mut late, mut given_up) = (None, None);
        while (late.is_none() || given_up.is_none()) && victim.now.since(began).as_secs() < 200 {
            victim.run(50, |victim, link, frame| match &frame {
                Frame::Compare(asked) if link != links[2] => {
                    victim.tips(link, asked, [Tip { solid: 1100, ..tip_of(&all[1099]) }])
                }
                Frame::Compare(asked) => victim.agree(link, asked),
                Frame::Request(request) if link != links[2] => {
                    victim.reply_or(link, request, held, |want| lacks(want, 301));
                }
                Frame::Request(request) => victim.lack_all(link, request),
                _ => {}
            });
            for (link, _) in std::mem::take(&mut victim.closed) {
                victim.give(Input::LinkDown { link, cause: Down::Closed });
                victim.granted.retain(|(of, _), _| *of != link);
                victim.spent.retain(|(of, _), _| *of != link);
                if link == links[2] {
                    victim.link(3);
                    victim.announce(link, &victim.chain(4, 64)[..64]);
                }
            }
            let now = victim.now.since(began);
            late = late.or((victim.delivered.len() == held.len()).then_some(now));
            let holds = |lane: &Lane| lane.holes().ranges() == [gone(1, 300)];
            let holds = victim.node.lanes.get(victim.index(4)).is_some_and(holds);
            given_up = given_up.or(holds.then_some(now));
        }
        let late = late.expect("what others hold comes");
        assert!(late.as_secs() < 5, "grants {grants}: {late:?}");
        let given_up = given_up.expect("what nobody holds is given up");
        assert!(given_up.as_secs() < if grants { 5 } else { 40 }, "{grants}: {given_up:?}");
    }
}

/// An author left out every third slot, and gave those to one member alone, which was away when all
/// others were asked.
#[test]
fn all_that_was_given_up_is_asked_of_a_member_that_comes_back() {
    let mut victim = Victim::among(4, 1);
    let all = victim.chain(4, 240);
    victim.links(1..3);
    victim.leave_alone();
    all.iter().filter(|b| b.header.seq % 3 != 0).for_each(|b| victim.push(LinkId(1), b));
    let next = |seq: u64| if seq.is_multiple_of(3) { seq + 1 } else { seq };
    let tip = tip_of(&all[238]);
    let without = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip]),
        Frame::Request(request) => {
            victim.answer_all(link, request, |want| lacks(want, next(want.seq)))
        }
        _ => {}
    };
    victim.run(60_000, without);
    let holes = victim.holes_of(4);
    assert!(holes.iter().all(|hole| hole.gone) && holes.len() == 79, "as far as others go");
    victim.link(3);
    victim.run(30_000, |victim, link, frame| match (&frame, link.0) {
        (Frame::Request(_), 3) => victim.holder(link, &frame, &all),
        (Frame::Compare(asked), 3) => victim.agree(link, asked),
        _ => without(victim, link, frame),
    });
    assert_eq!(victim.delivered.len(), 239);
}

/// Restart headers that come together are each within the quota when they come, but most are over
/// it once their checks are done.
#[test]
fn a_restart_header_over_the_quota_moves_nothing() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    victim.slow = true;
    for seq in 1..=20 {
        victim.push(link, &victim.restart(4, seq * 1_000_000, NOTHING));
    }
    victim.slow = false;
    victim.answer();
    let tip = victim.tip(4);
    let highest = victim.rows.iter().map(|row| row.batch.header.seq).max();
    assert_eq!(Some(tip), highest, "of {} taken", victim.delivered.len());
}
