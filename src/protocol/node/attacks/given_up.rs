//! A node asks again for slots that were given up wherever a member may have got them since: liars
//! neither stop that nor make it expensive.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Victim, gone, identity, is_even, lacks_all_but, lane, odd_ones_gone, tip_of};
use crate::crypto::Digest;
use crate::protocol::lack::{Offer, Own};
use crate::protocol::{LinkId, RestoredLane};
use crate::wire::limits::{FILLED_HOLES, MAX_WANTS, PROBE_BURST, PROBES_PER_S};
use crate::wire::{Batch, Frame, Lacked, Tip};

/// Lanes have many gaps, each given up. Members link anew again and again, and leave open the wants
/// for those gaps. The wants must stay within the probe budget.
#[test]
fn what_was_given_up_is_asked_for_within_the_budget() {
    let of = Victim::among(46, 32);
    let lanes = (46..78).map(|author| odd_ones_gone(&of.stray(author, 4000))).collect();
    let mut victim = Victim::with_lanes(46, 32, lanes);
    victim.leave_alone();
    victim.links(1..=16);
    victim.run(5000, |victim, link, frame| victim.lacking_odd(link, &frame, 4000));
    let (mut asked, began) = (0, victim.now);
    for round in 0..100 {
        for n in 17..46 {
            victim.link_as(n, LinkId(100 * (round + 1) + u64::from(n)));
        }
        victim.run(10, |victim, link, frame| match &frame {
            Frame::Request(request) => asked += request.wants.len() as u64,
            _ => victim.lacking_odd(link, &frame, 4000),
        });
    }
    let took = u64::try_from(victim.now.since(began).as_millis()).expect("short");
    // The last request may overdraw the budget by its 16 wants.
    let most = PROBE_BURST + PROBES_PER_S * took / 1000 + 16;
    assert!((most / 2..=most).contains(&asked), "{asked} in {took} ms, at most {most}");
}

/// All members lacked what was given up. One has got it since: it is asked again if it shows other
/// holes, and not otherwise.
#[test]
fn what_was_given_up_is_asked_for_again_of_whoever_shows_other_holes() {
    for differs in [false, true] {
        let mut victim = Victim::among(4, 1);
        victim.leave_alone();
        victim.links(1..4);
        victim.leave_out_odd_slots(4..5, 20);
        victim.run(9000, |victim, link, frame| victim.lacking_odd(link, &frame, 20));
        assert_eq!(victim.given_up(), 10);
        let (all, mut others) = (victim.chain(4, 20), 0);
        victim.run(9000, |victim, link, frame| match (&frame, link.0) {
            (Frame::Request(_), 2) => victim.holder(link, &frame, &all),
            (Frame::Compare(_), 2) if differs => victim.holder(link, &frame, &all),
            (Frame::Request(_), _) => others += 1,
            _ => victim.lacking_odd(link, &frame, 20),
        });
        assert_eq!(victim.delivered.len(), if differs { 21 } else { 11 });
        assert_eq!(others, 0, "they name nothing");
    }
}

/// A tip that shows other holes than a victim has.
fn with_others(tip: &Batch) -> Tip {
    Tip { holes: Digest([1; 32]), ..tip_of(tip) }
}

/// Returns whether slot `found` of a lane comes: the slots in `holes` were given up, and one linked
/// member has got that slot since.
fn one_turns_up(holes: &[(u64, u64)], slots: u64, found: u64) -> bool {
    let all = Victim::among(4, 1).chain(4, slots);
    let held = |seq| !holes.iter().any(|(from, to)| (*from..=*to).contains(&seq));
    let last = &all[all.len() - 1];
    let holes = holes.iter().map(|(from, to)| gone(*from, *to)).collect();
    let lane = RestoredLane { holes, ..odd_ones_gone(last) };
    let mut victim = Victim::with_lanes(4, 1, vec![lane]);
    victim.leave_alone();
    victim.links(1..4);
    for (ms, has) in [(20_000, 0), (9000, found)] {
        victim.run(ms, |victim, link, frame| match &frame {
            Frame::Compare(asked) if link.0 == 2 && has > 0 => {
                victim.tips(link, asked, [with_others(last)]);
            }
            Frame::Compare(asked) => victim.agree(link, asked),
            Frame::Request(request) => {
                for want in request.wants.iter() {
                    let has = |seq| held(seq) || (link.0 == 2 && seq == has);
                    match has(want.seq) {
                        true => victim.reply(link, want, &all),
                        false => victim.say(link, &lacks_all_but(want, slots, has)),
                    }
                }
            }
            _ => {}
        });
    }
    !victim.delivered.is_empty()
}

#[test]
fn one_slot_that_turned_up_is_found_beside_those_that_did_not() {
    assert!(one_turns_up(&[(5, 5), (7, 7)], 20, 7), "the second of an answer");
    assert!(one_turns_up(&[(1, 9), (11, 900)], 901, 600), "in the middle of a long hole");
    let many: Vec<(u64, u64)> = (1..1000).step_by(2).map(|seq| (seq, seq)).collect();
    assert!(one_turns_up(&many, 1000, 333), "one of many");
}

/// A lane with as many gaps as may be divided, and one long gap above them. A member has slots in
/// the middle of the long gap, for which there is no room: they must not be fetched.
#[test]
fn what_does_not_fit_is_not_fetched_at_each_comparison() {
    let all = Victim::among(4, 1).chain(4, 16_500);
    let mut lane = odd_ones_gone(&all[16_499]);
    lane.holes.retain(|hole| hole.to < 2 * FILLED_HOLES as u64);
    lane.holes.push(gone(15_000, 16_499));
    let mut victim = Victim::with_lanes(4, 1, vec![lane]);
    victim.leave_alone();
    victim.links(1..4);
    // The second one is where the answer ends that tells of the first.
    let (mut served, has) =
        (0, |seq| seq == 15_300 || seq == 15_557 || (seq < 15_000 && is_even(seq)));
    victim.run(60_000, |victim, link, frame| match &frame {
        Frame::Compare(asked) if link.0 == 2 => {
            victim.tips(link, asked, [with_others(&all[16_499])]);
        }
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => {
            for want in request.wants.iter() {
                match link.0 == 2 && has(want.seq) {
                    true => {
                        served += 1;
                        victim.reply(link, want, &all);
                    }
                    false => victim.say(link, &lacks_all_but(want, 16_500, has)),
                }
            }
        }
        _ => {}
    });
    assert_eq!(served, 0);
}

/// A liar shows other holes than the node has in each answer, and lacks all that it is asked for.
#[test]
fn whoever_always_shows_other_holes_is_asked_again_in_rounds() {
    const SLOTS: u64 = 600;
    for changes in [false, true] {
        let mut victim = Victim::among(4, 1);
        victim.leave_alone();
        victim.links(1..4);
        victim.leave_out_odd_slots(4..5, SLOTS);
        victim.run(9000, |victim, link, frame| victim.lacking_odd(link, &frame, SLOTS));
        assert_eq!(victim.given_up(), 300);
        let (all, mut asked, mut shown) = (victim.chain(4, SLOTS), 0, 0u8);
        victim.run(60_000, |victim, link, frame| match (&frame, link.0) {
            (Frame::Compare(asked), 2) => {
                shown = if changes { shown.wrapping_add(1) } else { 1 };
                let holes = Digest([shown; 32]);
                victim.tips(link, asked, [Tip { holes, ..tip_of(&all[599]) }]);
            }
            (Frame::Request(request), 2) => {
                asked += request.wants.len();
                victim.lacking_odd(link, &frame, SLOTS);
            }
            _ => victim.lacking_odd(link, &frame, SLOTS),
        });
        // At most one round every 2 s, each with one want for 256 slots; a single round where
        // nothing changes.
        let rounds = if changes { 2..=30 } else { 1..=1 };
        let most = rounds.start() * 2..=rounds.end() * 4;
        assert!(most.contains(&asked), "{asked}, changes {changes}");
    }
}

/// One member has all that was given up.
#[test]
fn what_was_given_up_comes_as_fast_as_the_quota_lets_it() {
    let all = Victim::among(4, 1).chain(4, 2000);
    let mut victim = Victim::with_lanes(4, 1, vec![odd_ones_gone(&all[1999])]);
    victim.leave_alone();
    victim.link(1);
    victim.run(15_000, |victim, link, frame| victim.holder(link, &frame, &all));
    assert_eq!(victim.delivered.len(), 1000);
}

/// Returns a victim with lanes of 6000 slots whose lying authors left gaps, one every `apart`
/// slots, and one lane of 20 slots that lacks slot 7. All missing slots were given up. Also returns
/// the author of the short lane, and tips that show other holes in all lanes.
fn beside_many_gaps(liars: Range<u16>, apart: usize) -> (Victim, u16, Vec<Tip>) {
    let (of, author) = (Victim::among(4, liars.len() as u16 + 1), liars.end);
    let tip = |author| of.stray(author, 6000);
    let many = |author| RestoredLane {
        holes: (1..6000).step_by(apart).map(|seq| gone(seq, seq)).collect(),
        ..odd_ones_gone(&tip(author))
    };
    let last = of.chain(author, 20).remove(19);
    let one = RestoredLane { holes: vec![gone(7, 7)], ..odd_ones_gone(&last) };
    let tips = liars.clone().map(tip).chain([last]);
    let mut tips: Vec<Tip> = tips.map(|tip| with_others(&tip)).collect();
    tips.sort_unstable_by_key(|tip| tip.slot.author);
    let lanes = liars.clone().map(many).chain([one]).collect();
    (Victim::with_lanes(4, liars.len() as u16 + 1, lanes), author, tips)
}

/// Thirteen liars left as many gaps as are looked at at once, or gaps so far apart that each takes
/// a question of its own, and one member shows other holes in all of these lanes. A slot of another
/// lane turns up at that member and must be found.
#[test]
fn lanes_of_many_gaps_hide_no_slot_that_turned_up() {
    for apart in [2, 300] {
        let (mut victim, author, tips) = beside_many_gaps(4..17, apart);
        let (all, lacks_odd) = (victim.chain(author, 20), |seq| seq % apart as u64 != 1);
        victim.leave_alone();
        victim.links(1..4);
        for (ms, differs) in [(60_000, false), (3000, true)] {
            victim.run(ms, |victim, link, frame| match &frame {
                Frame::Compare(asked) if differs && link.0 == 2 => {
                    victim.tips(link, asked, tips.clone())
                }
                Frame::Compare(asked) => victim.agree(link, asked),
                Frame::Request(request) => {
                    for want in request.wants.iter() {
                        let its = want.author == identity(author).public();
                        match differs && link.0 == 2 && its {
                            true => victim.reply(link, want, &all),
                            false if its => victim.say(link, &lacks_all_but(want, 20, |_| true)),
                            false => victim.say(link, &lacks_all_but(want, 6000, lacks_odd)),
                        }
                    }
                }
                _ => {}
            });
        }
        assert_eq!(victim.delivered.len(), 1, "{apart} apart");
    }
}

/// There are more lanes than are looked at at once. Each must be among the first sixteen wants as
/// often as any other, and a lane in which a member shows other holes always.
#[test]
fn each_lane_has_its_share_of_what_a_member_is_asked_for() {
    let (mut victim, author, _) = beside_many_gaps(4..24, 2);
    let (member, slot) = (victim.index(1), (victim.index(author), 7));
    let mut found = |named: &BTreeSet<u32>| {
        let first = |_: &usize| {
            let some = victim.node.some_given_up(member, named);
            some.iter().take(MAX_WANTS).any(|one| *one == slot)
        };
        (0..64).filter(first).count()
    };
    assert_eq!(found(&BTreeSet::from([slot.0])), 64);
    let any = found(&BTreeSet::new());
    assert!((32..64).contains(&any), "{any}");
}

/// A newcomer lacks all that was given up, too. Each of its answers tells of many gaps, so it must
/// not be asked for each of them.
#[test]
fn a_newcomer_is_not_asked_for_each_of_the_gaps_that_it_has_told_of() {
    const SLOTS: u64 = 6000;
    let tip = Victim::among(5, 1).stray(5, SLOTS);
    let mut victim = Victim::with_lanes(5, 1, vec![odd_ones_gone(&tip)]);
    victim.leave_alone();
    victim.links(1..4);
    victim.run(9000, |victim, link, frame| victim.lacking_odd(link, &frame, SLOTS));
    let (link, mut asked) = (victim.link(4), Vec::new());
    victim.run(9000, |victim, from, frame| {
        if let Frame::Request(request) = &frame
            && from == link
        {
            asked.extend(request.wants.iter().map(|want| want.seq));
        }
        victim.lacking_odd(from, &frame, SLOTS);
    });
    let least = usize::try_from(SLOTS / (Lacked::SLOTS + 1)).expect("few");
    assert!((least..=2 * least).contains(&asked.len()), "{asked:?}");
    let slots: BTreeSet<u64> = asked.iter().copied().collect();
    assert_eq!(slots.len(), asked.len(), "nothing is asked for twice: {asked:?}");
}

/// A liar claims to have all gaps of two lanes of 2000 gaps each, except those that it was asked
/// for.
#[test]
fn a_bounded_number_of_gaps_is_looked_at_for_what_a_member_offers() {
    const SLOTS: u64 = 4000;
    let holes = (1..SLOTS).step_by(2).map(|seq| gone(seq, seq));
    let lanes = (4..6).map(|author| lane(author, SLOTS, holes.clone().collect())).collect();
    let mut victim = Victim::with_lanes(4, 2, lanes);
    assert_eq!(victim.given_up(), 4000);
    let (member, now) = (victim.index(1), victim.now);
    for author in 4..6 {
        for seq in (1..SLOTS).step_by(256) {
            let mut lacked = Lacked::default();
            (1..256).step_by(2).for_each(|above| lacked.mark(above));
            let offer = Offer { next: seq + 2, lacked };
            victim.node.recovery.lacks((author, seq), member, (&offer, Own::default()), now);
        }
    }
    let probed = victim.node.some_given_up(member, &BTreeSet::new()).len();
    assert!((64..=1024 + 64).contains(&probed), "{probed}");
}
