//! Liars that hold up missing slots, or exploit slots that were given up.

use super::answering::lacks;
use super::recovering::{pruned, tip_of};
use super::{Victim, identity, list};
use crate::crypto::Digest;
use crate::protocol::lanes::Lane;
use crate::protocol::{Hole, Input, LinkId};
use crate::wire::limits::VERSION;
use crate::wire::{Batch, Class, Compare, Entry, Frame, Lacked, Missing, Tip, Want, WhyMissing};

/// Two nodes were away at once. Member 1 is the author, has pruned what they missed, and is the
/// only one ahead; member 2 was away too, or holds all of it; member 3 is never there. The lane
/// must go on, and skip nothing that member 2 holds.
#[test]
fn a_lane_goes_on_where_only_its_author_knows_it_but_skips_nothing_that_another_holds() {
    for (other_holds, gap) in [(false, 1500), (true, 1500), (false, 100), (true, 100)] {
        let mut victim = Victim::among(4, 0);
        victim.leave_alone();
        let all = victim.chain(1, gap + 50);
        victim.link(1);
        victim.link(2);
        let mut asked_of_2 = 0_u32;
        victim.run(120_000, |victim, link, frame| match (&frame, link.0) {
            (Frame::Compare(Compare { ticket, .. }), 1) => {
                let tip = all.last().map(tip_of).map(|tip| Tip { floor: gap, ..tip });
                victim.tips(link, *ticket, tip.into_iter().collect());
            }
            (Frame::Request(request), 1) => {
                for want in request.wants.iter() {
                    let (ticket, why, next) = (want.ticket, WhyMissing::Pruned, gap + 1);
                    let missing = Frame::Missing(Missing {
                        ticket,
                        why,
                        floor: gap,
                        next,
                        lacked: Lacked::default(),
                    });
                    match want.seq <= gap {
                        true => victim.say(link, &missing),
                        false => victim.reply(link, want, &all),
                    }
                }
            }
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
            let gone = Hole { from: 1, to: gap, gone: true };
            assert_eq!(victim.holes[&identity(1).public()].1, [gone]);
        }
    }
}

/// An author voids slots by a restart header, every node gives them up, and honest members say that
/// they hold, pruned or gave up all slots up to there. Then the author publishes those slots after
/// all, far above its quota.
#[test]
fn slots_that_were_given_up_are_not_taken_above_the_quota() {
    let entry = [Entry { topic: String::new(), payload: b"again".to_vec() }];
    let mut victim = Victim::among(4, 1);
    let network = victim.network.id();
    let zero = (0, Digest::ZERO);
    let restart = Batch::sign_after(&identity(4), network, 5001, zero, 9, &entry).expect("fits");
    let links: Vec<LinkId> = (1..4).map(|n| victim.link(n)).collect();
    victim.push(links[0], &restart);
    let nobody = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => {
            request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
        }
        _ => {}
    };
    victim.run(5000, nobody);
    // What an honest node, such as the victim, says of the lane to others.
    let (ticket, ranges) =
        (7, list(vec![crate::wire::RangeHash { start: 0, end: 5, hash: Digest([9; 32]) }]));
    victim.say(links[0], &Frame::Compare(Compare { ticket, ranges }));
    let told = victim.sent.iter().find_map(|(_, frame)| match frame {
        Frame::Differ(differ) => differ.tips.iter().next().copied(),
        _ => None,
    });
    let told = told.expect("a tip");
    // Two honest members, more than f, tell the victim exactly that.
    let mut told_by_two = 0;
    victim.run(5000, |victim, link, frame| match &frame {
        Frame::Compare(Compare { ticket, .. }) if link.0 > 1 => {
            told_by_two += 1;
            victim.tips(link, *ticket, vec![told]);
        }
        _ => nobody(victim, link, frame),
    });
    assert!(told_by_two > 1);
    let before = victim.delivered.len();
    let late = victim.chain(4, 2000);
    late.iter().for_each(|batch| victim.push(links[0], batch));
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
        let lies =
            |peer: &crate::crypto::PublicKey| (21..31).any(|n| identity(n).public() == *peer);
        let (mut peers, mut count) = (std::collections::BTreeMap::new(), 0);
        let end = victim.now.after(std::time::Duration::from_secs(1200));
        let (mut asked, mut published) = (false, None);
        while victim.now < end && published.is_none() {
            for peer in std::mem::take(&mut victim.dials) {
                count += 1;
                let link = LinkId(count);
                peers.insert(link, peer);
                victim.give(Input::LinkUp { link, peer, dialled: true });
                let (network, instance) = (victim.network.id(), crate::wire::Instance([1; 16]));
                let hello = crate::wire::Hello { version: VERSION.into(), network, instance };
                victim.say(link, &Frame::Hello(hello));
            }
            for (link, _) in std::mem::take(&mut victim.closed) {
                peers.remove(&link);
                victim.give(Input::LinkDown { link, cause: crate::protocol::Down::Closed });
            }
            let linked = peers.clone();
            victim.run(20, |victim, link, frame| {
                let Some(peer) = linked.get(&link) else { return };
                match (&frame, lies(peer)) {
                    (Frame::Compare(Compare { ticket, .. }), true) => {
                        victim.tips(link, *ticket, vec![tip_of(&old[4])]);
                    }
                    (Frame::Compare(asked), false) => victim.agree(link, asked),
                    (Frame::Request(_), true) if silent => {}
                    (Frame::Request(request), _) => {
                        request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
                    }
                    _ => {}
                }
            });
            if !asked && victim.node.tip(&identity(0).public()).0 == 5 {
                asked = true;
                victim.publish();
            }
            published = victim.own().first().map(|_| victim.now);
        }
        let tip = victim.node.tip(&identity(0).public()).0;
        let given_up = victim.node.counters().given_up;
        assert!(
            published.is_some(),
            "silent {silent}: nothing in 20 minutes; tip {tip}, given up {given_up}"
        );
    }
}

/// An honest author once restarted, so every node has a hole for ever. Later a node that is cut off
/// meets only a liar, and gives up what it alone lacks. When it meets the others again, it must get
/// those slots.
#[test]
fn what_was_given_up_above_a_hole_that_nobody_fills_is_asked_for_too() {
    let mut victim = Victim::among(4, 1);
    let entry = [Entry { topic: String::new(), payload: b"again".to_vec() }];
    let network = victim.network.id();
    let mut all = victim.chain(4, 5);
    let base = (5, all[4].id());
    all.push(Batch::sign_after(&identity(4), network, 1030, base, 9, &entry).expect("fits"));
    for seq in 1031..=1700 {
        let prev = all.last().expect("some").id();
        all.push(victim.batch(4, seq, prev, "x"));
    }
    let links: Vec<LinkId> = (1..4).map(|n| victim.link(n)).collect();
    all[..7].iter().for_each(|batch| victim.push(links[0], batch));
    victim.run(5000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => {
            request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 1030)));
        }
        _ => {}
    });
    let author = identity(4).public();
    assert_eq!(victim.holes[&author].1, [Hole { from: 6, to: 1029, gone: true }]);
    // The links to all end; later the liar alone comes back.
    for link in links {
        victim.give(Input::LinkDown { link, cause: crate::protocol::Down::Lost });
    }
    victim.leave_alone();
    victim.run(700_000, |_, _, _| ());
    victim.link_as(1, LinkId(11));
    let last = all.last().expect("some").clone();
    victim.run(10_000, |victim, link, frame| match &frame {
        Frame::Compare(Compare { ticket, .. }) => victim.tips(link, *ticket, vec![tip_of(&last)]),
        Frame::Request(request) => {
            request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 1700)));
        }
        _ => {}
    });
    assert_eq!(victim.node.tip(&author).0, 1699, "passed, as nobody else is there");
    // The others are back, and hold everything.
    victim.link_as(2, LinkId(12));
    victim.link_as(3, LinkId(13));
    let next = |seq: u64| if seq < 1030 { 1030 } else { seq + 1 };
    victim.run(1_500_000, |victim, link, frame| match (&frame, link.0) {
        (Frame::Request(request), 12 | 13) => {
            for want in request.wants.iter() {
                match all.iter().any(|batch| batch.header.seq == want.seq) {
                    true => victim.reply(link, want, &all),
                    false => victim.say(link, &lacks(want, next(want.seq))),
                }
            }
        }
        (Frame::Request(request), _) => {
            request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 1700)));
        }
        _ => victim.holder(link, &frame, &all),
    });
    assert_eq!(victim.delivered.len(), all.len(), "{:?}", victim.holes[&author]);
}

/// The only member that still holds what is missing is slow, but answers within an asker's
/// patience.
#[test]
fn what_a_slow_member_holds_is_not_given_up() {
    for delay in [2000, 4000] {
        let mut victim = Victim::among(4, 1);
        let all = victim.chain(4, 1000);
        let _: Vec<LinkId> = (1..4).map(|n| victim.link(n)).collect();
        let mut later: Vec<(u64, LinkId, Want)> = vec![];
        for _ in 0..6000 {
            let now = victim.now.0;
            victim.run(50, |victim, link, frame| match (&frame, link.0) {
                (Frame::Request(request), 1) => {
                    let due = victim.now.0 + delay * 1000;
                    later.extend(request.wants.iter().map(|want| (due, link, *want)));
                }
                (Frame::Request(request), _) => {
                    request.wants.iter().for_each(|want| victim.say(link, &pruned(want, 1000)));
                }
                (Frame::Compare(Compare { ticket, .. }), of) => {
                    let floor = if of == 1 { 0 } else { 1000 };
                    victim.tips(link, *ticket, vec![Tip { floor, ..tip_of(&all[999]) }]);
                }
                _ => {}
            });
            let (due, rest): (Vec<_>, Vec<_>) =
                later.into_iter().partition(|(due, ..)| *due <= now);
            later = rest;
            due.iter().for_each(|(_, link, want)| victim.reply(*link, want, &all));
            if victim.delivered.len() == all.len() {
                break;
            }
        }
        let author = identity(4).public();
        assert_eq!(
            victim.delivered.len(),
            all.len(),
            "answers after {delay} ms: {:?}",
            victim.holes.get(&author)
        );
    }
}

/// f members of 31 are linked, lack everything, and take nine seconds to answer each want. Two
/// honest members have the missing slot, and it must come soon.
#[test]
fn silent_members_do_not_hold_up_what_is_missing_below_a_tip() {
    let mut victim = Victim::among(31, 1);
    let all = victim.chain(31, 30);
    let liars: Vec<LinkId> = (1..=10).map(|n| victim.link(n)).collect();
    let honest = [victim.link(11), victim.link(12)];
    all.iter().for_each(|batch| victim.push(honest[0], batch));
    victim.rows.retain(|row| row.batch.header.seq != 12);
    victim.give(Input::Damaged { author: identity(31).public(), seq: 12, id: all[11].id() });
    let began = victim.now;
    let mut later: Vec<(u64, LinkId, Want)> = vec![];
    while victim.node.lanes.holed().next().is_some() && victim.now.since(began).as_secs() < 600 {
        let now = victim.now.0;
        victim.run(50, |victim, link, frame| match &frame {
            Frame::Request(request) if liars.contains(&link) => {
                let due = victim.now.0 + 9_000_000;
                later.extend(request.wants.iter().map(|want| (due, link, *want)));
            }
            Frame::Compare(asked) => victim.agree(link, asked),
            _ => victim.holder(link, &frame, &all),
        });
        let (due, rest): (Vec<_>, Vec<_>) = later.into_iter().partition(|(due, ..)| *due <= now);
        later = rest;
        due.iter().for_each(|(_, link, want)| victim.say(*link, &lacks(want, 0)));
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
        let links: Vec<LinkId> = (1..4).map(|n| victim.link(n)).collect();
        victim.misers.extend((!grants).then_some((links[2], Class::Request)));
        // The first wants take all the credit of this link.
        victim.announce(links[2], &victim.chain(4, 64)[..64]);
        let began = victim.now;
        let (mut late, mut given_up) = (None, None);
        while (late.is_none() || given_up.is_none()) && victim.now.since(began).as_secs() < 200 {
            victim.run(50, |victim, link, frame| match &frame {
                Frame::Compare(Compare { ticket, .. }) if link != links[2] => {
                    let tip = Tip { solid: 1100, ..tip_of(&all[1099]) };
                    victim.tips(link, *ticket, vec![tip]);
                }
                Frame::Compare(asked) => victim.agree(link, asked),
                Frame::Request(request) if link != links[2] => {
                    for want in request.wants.iter() {
                        match held.iter().any(|batch| batch.header.seq == want.seq) {
                            true => victim.reply(link, want, held),
                            false => victim.say(link, &lacks(want, 301)),
                        }
                    }
                }
                Frame::Request(request) => {
                    request.wants.iter().for_each(|want| victim.say(link, &lacks(want, 0)));
                }
                _ => {}
            });
            for (link, _) in std::mem::take(&mut victim.closed) {
                victim.give(Input::LinkDown { link, cause: crate::protocol::Down::Closed });
                victim.granted.retain(|(of, _), _| *of != link);
                victim.spent.retain(|(of, _), _| *of != link);
                if link == links[2] {
                    victim.link(3);
                    victim.announce(link, &victim.chain(4, 64)[..64]);
                }
            }
            let now = victim.now.since(began);
            late = late.or((victim.delivered.len() == held.len()).then_some(now));
            let gone = [Hole { from: 1, to: 300, gone: true }];
            let holds = |lane: &Lane| lane.holes().ranges() == gone;
            let holds = victim.node.lanes.get(4).is_some_and(holds);
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
    let _: Vec<LinkId> = (1..3).map(|n| victim.link(n)).collect();
    victim.leave_alone();
    all.iter().filter(|b| b.header.seq % 3 != 0).for_each(|b| victim.push(LinkId(1), b));
    let next = |seq: u64| if seq.is_multiple_of(3) { seq + 1 } else { seq };
    let tip = tip_of(&all[238]);
    let without = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(Compare { ticket, .. }) => victim.tips(link, *ticket, vec![tip]),
        Frame::Request(request) => {
            for want in request.wants.iter() {
                victim.say(link, &lacks(want, next(want.seq)));
            }
        }
        _ => {}
    };
    victim.run(60_000, without);
    let holes = &victim.holes[&identity(4).public()].1;
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
    let entry = [Entry { topic: String::new(), payload: b"x".to_vec() }];
    let network = victim.network.id();
    victim.slow = true;
    for seq in 1..=20 {
        let zero = (0, Digest::ZERO);
        let batch = Batch::sign_after(&identity(4), network, seq * 1_000_000, zero, 9, &entry)
            .expect("fits");
        victim.push(link, &batch);
    }
    victim.slow = false;
    victim.answer();
    let tip = victim.node.tip(&identity(4).public()).0;
    let highest = victim.rows.iter().map(|row| row.batch.header.seq).max();
    assert_eq!(Some(tip), highest, "of {} taken", victim.delivered.len());
}
