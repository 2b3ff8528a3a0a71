//! Liars against a node that recovers slots that were pruned, lost or missed.

use super::{NOTHING, Victim, gone, identity, lacks, pruned, tip_of};
use crate::crypto::Digest;
use crate::protocol::{Input, LinkId, Reason};
use crate::wire::limits::{AUTHOR_BATCH_BURST, MAX_SLOT};
use crate::wire::{Batch, Frame, Tip};

/// The node lost its store. A neighbour shows it its own signed tip, and gives it some of the
/// slots. The node must not sign any of them again.
#[test]
fn a_slot_that_was_signed_once_is_not_signed_again_once_that_was_shown() {
    for given in [0, 1, 3, 5] {
        let mut victim = Victim::among(4, 0);
        victim.leave_alone();
        let old = victim.chain(0, 5);
        victim.link(1);
        let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
            Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&old[4])]),
            Frame::Request(request) => victim.reply_all(link, request, &old[..given]),
            _ => {}
        };
        victim.run(1000, react);
        victim.publish();
        assert!(victim.own().iter().all(|(seq, _)| *seq > 5), "{given}: {:?}", victim.own());
        victim.run(60_000, react);
        let own = victim.own();
        let (seq, base) = own[0];
        if given == 5 {
            assert_eq!((seq, base), (6, 5), "all was shown: the lane goes on");
        } else {
            assert!(seq > 5 + 1024, "{given}: {own:?}");
            assert_eq!(base as usize, given, "it names what it holds");
        }
        assert_eq!(own.len(), 1);
    }
}

/// With f = 1: member 1 lies, member 2 has pruned up to slot 55, and member 3 holds everything and
/// is met later. No slot may be skipped.
#[test]
fn what_an_honest_member_still_holds_is_not_skipped() {
    let mut victim = Victim::among(4, 1);
    let all = victim.chain(4, 60);
    victim.links([1, 2]);
    let react = |victim: &mut Victim, link: LinkId, frame: Frame| match (&frame, link.0) {
        (Frame::Request(request), 1) => {
            victim.answer_all(link, request, |want| pruned(want, u64::MAX - 1))
        }
        (Frame::Request(request), 2) => {
            victim.reply_or(link, request, &all[55..], |want| pruned(want, 55));
        }
        _ => victim.holder(link, &frame, &all),
    };
    victim.run(3000, react);
    victim.link(3);
    victim.run(8000, react);
    assert_eq!(victim.delivered.len(), 60);
    assert_eq!(victim.tip(4), 60);
    assert!(victim.node.lanes.holed().next().is_none());
}

/// In a network of three, where f = 0, a liar says that the node's own lane is pruned; in one of
/// four, two members say it of an honest author's lane. Neither may move a tip.
#[test]
fn floors_above_all_that_was_signed_move_nothing() {
    for (members, author) in [(3u16, 0u16), (4, 3)] {
        let mut victim = Victim::among(members, 0);
        victim.leave_alone();
        let links = victim.links(1..members - 1);
        let fake = victim.stray(author, 7);
        for link in &links {
            victim.announce(*link, std::slice::from_ref(&fake));
        }
        for floor in [u64::MAX, u64::MAX - 1, 7] {
            victim.run(500, |victim, link, frame| match &frame {
                Frame::Compare(asked) => victim.tips(link, asked, []),
                Frame::Request(request) => {
                    victim.answer_all(link, request, |want| pruned(want, floor))
                }
                _ => {}
            });
        }
        assert_eq!(victim.tip(author), 0);
        match author {
            0 => {
                victim.publish();
                assert_eq!(victim.own(), [(1, 0)]);
            }
            _ => {
                let honest = victim.link(3);
                let one = victim.batch(author, 1, Digest::ZERO, "hello");
                victim.push(honest, &one);
                assert_eq!(victim.delivered.len(), 1);
            }
        }
    }
}

/// All three other members have pruned: the slots are given up, new batches go on, and a slot that
/// turns up is taken.
#[test]
fn what_all_have_pruned_is_given_up_and_taken_if_it_turns_up() {
    let mut victim = Victim::among(4, 1);
    let all = victim.chain(4, 60);
    victim.links(1..4);
    let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [Tip { floor: 50, ..tip_of(&all[59]) }]),
        Frame::Request(request) => {
            victim.reply_or(link, request, &all[50..], |want| pruned(want, 50));
        }
        _ => {}
    };
    victim.run(5000, react);
    assert_eq!((victim.delivered.len(), victim.tip(4)), (10, 60));
    assert_eq!(victim.holes_of(4), [gone(1, 50)]);
    let late = LinkId(1);
    victim.push(late, &all[19]);
    assert_eq!(victim.delivered.len(), 11, "it was not lost after all");
    victim.push(late, &all[19]);
    assert_eq!(victim.delivered.len(), 11, "but once");
}

/// Three of five members vouch for 3000 slots. New batches are taken at once, the rest is recovered
/// beside them, and the author's quota does not apply to it.
#[test]
fn a_node_far_behind_takes_news_at_once_and_recovers_the_rest_outside_the_quota() {
    let mut victim = Victim::among(5, 1);
    let all = victim.chain(5, 3000);
    let links = victim.links(1..4);
    let react = |victim: &mut Victim, link, frame: Frame| victim.holder(link, &frame, &all);
    victim.run(1500, react);
    let news = victim.batch(5, 3001, all[2999].id(), "new");
    victim.push(links[0], &news);
    assert!(victim.delivered.contains(&news.id()), "{:?}", victim.node.counters().rejected);
    victim.run(4000, react);
    assert_eq!(victim.delivered.len(), 3001);
    let rejected = &victim.node.counters().rejected;
    assert!(!rejected.contains_key(&Reason::AuthorRate), "{rejected:?}");
    assert!(victim.node.lanes.holed().next().is_none());
}

/// Two of seven members, who may both lie, vouch for what an author sent above its quota: the quota
/// must be charged for it.
#[test]
fn too_few_who_vouch_lift_no_quota() {
    let mut victim = Victim::among(7, 1);
    let all = victim.chain(7, 1000);
    victim.links(1..3);
    victim.run(4000, |victim, link, frame| victim.holder(link, &frame, &all));
    let most = 400 + 4 * 100 + 16;
    assert!(victim.delivered.len() <= most, "{}", victim.delivered.len());
    assert!(victim.delivered.len() >= 400);
}

/// A restarted author's new batches are taken at once. The slots that it voids are asked of every
/// member first, and then given up.
#[test]
fn a_restart_header_goes_on_far_above_and_what_it_voids_is_asked_for_first() {
    let mut victim = Victim::among(4, 1);
    let old = victim.chain(4, 7);
    let links = victim.links(1..4);
    victim.push_all(links[0], &old[..5]);
    let restart = victim.restart(4, 2000, (5, old[4].id()));
    let next = victim.batch(4, 2001, restart.id(), "and on");
    victim.push(links[0], &restart);
    victim.push(links[1], &next);
    assert_eq!(victim.delivered.len(), 7);
    assert_eq!(victim.node.counters().rejected, Default::default(), "it is no equivocation");
    // One member holds slot 6, which the author had forgotten.
    victim.run(5000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, []),
        Frame::Request(request) if link.0 == 3 => victim.reply_all(link, request, &old[5..6]),
        Frame::Request(request) => victim.reply_all(link, request, &[]),
        _ => {}
    });
    assert_eq!(victim.delivered.len(), 8, "slot 6 came late");
    let (_, lane) = victim.node.lanes.holed().next().expect("a lane with a hole");
    assert_eq!(lane.holes().ranges(), [gone(7, 1999)]);
}

/// A restart header far above a base that is not reached yet must not move the tip.
#[test]
fn a_restart_above_an_unknown_base_waits() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    for (base, seq) in [(2000, 5000), (MAX_SLOT - 1, MAX_SLOT), (1, MAX_SLOT)] {
        victim.push(link, &victim.restart(4, seq, (base, Digest([7; 32]))));
    }
    assert_eq!(victim.delivered.len(), 0);
    assert_eq!(victim.tip(4), 0);
}

/// A damaged row counts as missing, and is fetched from a neighbour.
#[test]
fn a_damaged_row_is_fetched_again() {
    // The store knows which batch it was, or only that nothing is left of the slot.
    for named in [true, false] {
        let mut victim = Victim::among(4, 1);
        let all = victim.chain(4, 30);
        let link = victim.link(1);
        victim.push_all(link, &all);
        let (author, seq) = (identity(4).public(), 12);
        victim.rows.retain(|row| row.batch.header.seq != seq);
        let id = if named { all[11].id() } else { Digest::ZERO };
        victim.give(Input::Damaged { author, seq, id });
        assert_eq!(victim.tip(4), 30, "news goes on");
        victim.run(3000, |victim, link, frame| victim.holder(link, &frame, &all));
        assert!(victim.rows.iter().any(|row| row.batch.header.seq == seq));
        assert!(victim.node.lanes.holed().next().is_none());
    }
}

/// An author signs the last possible slot, and more than `f` members say that they hold everything
/// up to it, as they may after a restart header.
#[test]
fn a_lane_that_goes_to_the_end_of_numbers_can_be_given_up_to_its_end() {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    let last = victim.restart(4, MAX_SLOT, NOTHING);
    victim.links([1, 2]);
    victim.run(20_000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&last)]),
        Frame::Request(request) => victim.answer_all(link, request, |want| pruned(want, 0)),
        _ => {}
    });
    let lane = victim.node.lanes.get(victim.index(4)).expect("it was heard of");
    assert_eq!(lane.tip(), MAX_SLOT);
    assert_eq!(lane.holes().ranges(), [gone(1, MAX_SLOT)]);
    victim.push(LinkId(1), &last);
    assert_eq!(victim.delivered, [last.id()], "and is taken if it turns up");
}

/// The author lost its store. Slots of its lane that are not adjacent are held by nobody who gives
/// them. They must be given up, so that the author can go on.
#[test]
fn slots_apart_that_nobody_gives_are_given_up_all_the_same() {
    let mut victim = Victim::among(4, 0);
    victim.leave_alone();
    let old = victim.chain(0, 30);
    let hidden = |seq: u64| seq.is_multiple_of(3);
    let shown: Vec<Batch> = old.iter().filter(|b| !hidden(b.header.seq)).cloned().collect();
    victim.links([1, 2]);
    let mut asked = 0;
    let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&old[29])]),
        Frame::Request(request) => {
            asked += request.wants.len();
            victim.reply_or(link, request, &shown, |want| lacks(want, want.seq + 1));
        }
        _ => {}
    };
    victim.run(10_000, &mut react);
    victim.publish();
    victim.run(5_000, &mut react);
    let own = victim.own();
    assert_eq!(own.len(), 1, "the lane goes on: {own:?}");
    assert!(asked < 200, "each of two is asked for each of thirty about once: {asked}");
}

/// Other nodes charge the quota for a restart as for many batches. If the author did not charge
/// itself as much, it would go on faster than they take its batches.
#[test]
fn a_restart_counts_for_its_author_as_much_as_for_others() {
    let mut victim = Victim::among(4, 0);
    victim.leave_alone();
    let old = victim.chain(0, 5);
    victim.link(1);
    victim.run(1000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&old[4])]),
        Frame::Request(request) => victim.reply_all(link, request, &old[..2]),
        _ => {}
    });
    victim.publish();
    while victim.own().is_empty() {
        victim.run(50, |_, _, _| ());
    }
    assert!(victim.own()[0].0 > 1024, "{:?}", victim.own());
    let (now, mut left) = (victim.now, 0);
    while victim.node.own_quota.wait(now, 0, false).is_zero() {
        victim.node.own_quota.charge(now, 0, false);
        left += 1;
    }
    assert!(left < AUTHOR_BATCH_BURST / 2 - 90, "{left}");
}
