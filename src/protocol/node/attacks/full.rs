//! Lanes with as many holes as are allowed, and what a start finds of lanes with holes.

use std::cell::Cell;

use super::{Victim, gone, hole, identity, lacks, lane, restored, tip_of};
use crate::protocol::{Hole, LinkId, RestoredLane};
use crate::wire::limits::{MAX_HOLES, TIP_HOLES, WINDOW};
use crate::wire::{Batch, Frame, Tip};

/// The last hole of a full lane. One member holds one slot of it.
const LAST: Hole = Hole { from: 2 * MAX_HOLES as u64, to: 20_000, gone: false };
const HELD: u64 = 18_000;

/// Holes of one slot each: the first `count` even slots.
fn even_ones(count: u64, gone: bool) -> Vec<Hole> {
    (1..=count).map(|n| Hole { from: 2 * n, to: 2 * n, gone }).collect()
}

/// A victim with a lane of [`MAX_HOLES`] holes: single slots that were given up, and one long hole.
/// All other members of four are linked.
fn full(author: u16) -> Victim {
    let mut holes = even_ones(MAX_HOLES as u64 - 1, true);
    holes.push(LAST);
    let mut victim =
        Victim::with_lanes(4, u16::from(author == 4), vec![lane(author, LAST.to, holes)]);
    victim.links(1..4);
    victim
}

/// Members 2 and 3 have nothing of the last hole. Member 1 has one slot of it, which would divide
/// it. Returns how often member 1 was asked for that slot.
fn beside_a_holder(victim: &mut Victim, author: u16, seconds: u64) -> usize {
    let held = victim.stray(author, HELD);
    let mut asked = 0;
    victim.run(seconds * 1000, |victim, link, frame| match &frame {
        Frame::Compare(compare) => victim.agree(link, compare),
        Frame::Request(request) => {
            for want in request.wants.iter() {
                match (link.0, want.seq) {
                    (1, HELD) => {
                        asked += 1;
                        victim.reply(link, want, std::slice::from_ref(&held));
                    }
                    (1, seq) if seq < HELD => victim.say(link, &lacks(want, HELD)),
                    _ => victim.say(link, &lacks(want, 0)),
                }
            }
        }
        _ => {}
    });
    asked
}

#[test]
fn what_does_not_fit_a_full_lane_is_not_fetched_again_and_again() {
    let mut victim = full(4);
    let asked = beside_a_holder(&mut victim, 4, 20);
    assert!(asked < 10, "{asked}");
    let holes = victim.holes_of(4);
    assert!(holes.iter().all(|hole| hole.gone), "what nobody has that fits is given up");
}

#[test]
fn a_full_lane_of_its_own_keeps_no_author_from_going_on() {
    let mut victim = full(0);
    victim.publish();
    beside_a_holder(&mut victim, 0, 30);
    victim.publish();
    beside_a_holder(&mut victim, 0, 30);
    assert_eq!(victim.own().len(), 2);
    assert_eq!(victim.delivered.len(), 2);
}

/// Every second slot of the author's own lane came back, and the last one. Only then is the author
/// shown that it signed more.
#[test]
fn a_full_lane_of_its_own_makes_no_author_sign_twice() {
    let probe = Victim::among(4, 0);
    let (tip, shown) = (2 * MAX_HOLES as u64 + 1, 2 * MAX_HOLES as u64 + 5);
    let of = |seq| probe.stray(0, seq);
    let (holes, slots) = (even_ones(MAX_HOLES as u64, true), vec![restored(&of(tip))]);
    let lane = RestoredLane { slots, ..lane(0, tip, holes) };
    let mut victim = Victim::with_lanes(4, 0, vec![lane]);
    victim.links(1..4);
    victim.run(3000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&of(shown))]),
        _ => victim.has_nothing(link, &frame),
    });
    victim.publish();
    victim.run(3000, |_, _, _| ());
    assert!(victim.own().iter().all(|(seq, _)| *seq > shown), "{:?}", victim.own());
    assert_eq!((victim.own().len(), victim.delivered.len()), (1, 1));
}

/// A crash came between the write of the batch that reached a restart header's base and the record
/// of the slots that the header voids.
#[test]
fn holes_that_a_start_makes_are_written_down() {
    let probe = Victim::among(4, 1);
    let mut all = probe.chain(4, 5);
    all.push(probe.restart(4, 10, (5, all[4].id())));
    let author = identity(4).public();
    let slots = all.iter().map(restored).collect();
    let lanes = vec![RestoredLane { slots, ..RestoredLane::new(author) }];
    let mut victim = Victim::with_lanes(4, 1, lanes);
    victim.run(1000, |_, _, _| ());
    assert_eq!(victim.holes.get(&author), Some(&(10, vec![hole(6, 9)])));
}

/// Returns how long 3000 slots of an honest author take, in milliseconds; with `beside`, next to
/// lanes in which every second slot is missing and each of twelve linked members is asked for it.
fn beside_holes(beside: bool) -> u64 {
    let mut authors: Vec<u16> = (13..17).collect();
    authors.sort_unstable_by_key(|n| identity(*n).public());
    let honest = authors.remove(1); // neither the first nor the last in the order of keys
    authors.retain(|_| beside);
    let lanes = authors.iter().map(|author| lane(*author, 8001, even_ones(4000, false)));
    let mut victim = Victim::with_lanes(13, 4, lanes.collect());
    let all = victim.chain(honest, 3000);
    victim.links(1..13);
    let took = victim.deliver(all.len(), 100, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [tip_of(&all[2999])]),
        Frame::Request(request) => {
            victim.reply_or(link, request, &all, |want| lacks(want, want.seq + 1));
        }
        _ => {}
    });
    took.as_millis() as u64
}

#[test]
fn lanes_full_of_holes_take_no_more_than_their_turns_of_what_may_be_asked_for() {
    let (alone, beside) = (beside_holes(false), beside_holes(true));
    assert!(beside < 4 * alone + 2000, "{beside} ms, not {alone}");
}

/// A lane of which nothing is held lies far behind a slot that its author signed. One member lacks
/// all of it, and another does not answer. The tip may pass only as many slots as its holes may
/// fit.
#[test]
fn a_lane_far_behind_is_passed_no_further_than_its_holes_may_fit() {
    let mut victim = Victim::among(4, 1);
    let last = 5 * TIP_HOLES as u64;
    let batch = victim.stray(4, last);
    victim.leave_alone();
    victim.links(1..3);
    let moves = |victim: &mut Victim, seconds: u64| {
        victim.run(seconds * 1000, |victim, link, frame| match &frame {
            Frame::Compare(asked) => {
                victim.tips(link, asked, [Tip { solid: 0, floor: 0, ..tip_of(&batch) }])
            }
            Frame::Request(request) if link.0 == 1 => victim.lack_all(link, request),
            _ => {}
        });
        victim.tip(4)
    };
    assert_eq!(moves(&mut victim, 5), 2 * TIP_HOLES as u64);
}

/// One member holds the last 300 slots of a full lane's last hole, the others nothing. If the slots
/// come from the top down, they need no room for another hole, so they must all come.
#[test]
fn what_is_held_at_the_upper_end_of_a_hole_is_not_given_up_with_its_middle() {
    let mut victim = full(4);
    let first = LAST.to - 299;
    let of = |seq| victim.stray(4, seq);
    let held: Vec<Batch> = (first..=LAST.to).map(of).collect();
    victim.run(20_000, |victim, link, frame| match &frame {
        Frame::Request(request) if link.0 == 1 => {
            victim.reply_or(link, request, &held, |want| lacks(want, first));
        }
        _ => victim.has_nothing(link, &frame),
    });
    assert_eq!(victim.delivered.len(), 300);
}

/// An author gives the lowest slot of a long hole of its lane, then the next, and so on. Each
/// reopens the hole, and all members lack the rest. That must not cost a record for each slot.
#[test]
fn slots_given_up_again_and_again_cost_few_records() {
    let mut victim = full(4);
    let react = |victim: &mut Victim, link, frame: Frame| victim.has_nothing(link, &frame);
    victim.run(5000, react);
    let before = victim.hole_records;
    for seq in LAST.from..LAST.from + 300 {
        let batch = victim.stray(4, seq);
        victim.push(LinkId(1), &batch);
        victim.run(10, react);
    }
    assert_eq!(victim.delivered.len(), 300);
    let records = victim.hole_records - before;
    assert!((1..=4).contains(&records), "{records} in three seconds");
    victim.run(2000, react);
    assert_eq!(victim.holes_of(4).last(), Some(&gone(LAST.from + 300, LAST.to)));
}

/// A liar shows a slot far above, and a floor that is one slot higher at each of a hundred
/// comparisons a second. That must not cost a record for each slot.
#[test]
fn a_tip_that_is_led_up_slot_by_slot_costs_few_records() {
    const TIP: u64 = 7000;
    let author = identity(4).public();
    let lane = lane(4, TIP, even_ones(TIP / 2 - 1, true));
    let mut victim = Victim::with_lanes(4, 1, vec![lane]);
    victim.leave_alone();
    let link = victim.link(1);
    let far = victim.stray(4, TIP + 2000);
    let (mut floor, step) = (TIP, Cell::new(1));
    let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => {
            floor += step.get();
            victim.tips(link, asked, [Tip { solid: floor, floor, ..tip_of(&far) }]);
        }
        _ => victim.has_nothing(link, &frame),
    };
    victim.run(3000, &mut react);
    let (before, tip) = (victim.hole_records, victim.tip(4));
    for _ in 0..300 {
        victim.node.compare(link);
        victim.drain();
        victim.run(10, &mut react);
    }
    let moved = victim.tip(4) - tip;
    assert!(moved > 100, "the tip is led up by {moved} slots");
    let records = victim.hole_records - before;
    assert!((1..=4).contains(&records), "{records} in three seconds, for {moved} slots");
    // The tip moves by a whole window at once, just after a record.
    victim.run(1000, &mut react);
    for slots in [1, 1100] {
        step.set(slots);
        victim.node.compare(link);
        victim.drain();
        victim.run(10, &mut react);
    }
    let tip = victim.tip(4);
    assert!(victim.holes[&author].0 + WINDOW < tip, "that waits");
    let batch = victim.stray(4, tip + 1);
    victim.push(link, &batch);
    assert_eq!(victim.holes[&author].0, tip, "but not until a batch far above is on disk");
}

/// In a network of three, no node may lie and one member's word is enough: it moves the node's own
/// tip as well.
#[test]
fn an_own_tip_that_was_shown_is_on_disk_at_once() {
    let mut victim = Victim::among(3, 0);
    victim.leave_alone();
    let link = victim.link(1);
    for author in [1, 0] {
        let shown = tip_of(&victim.stray(author, 5000));
        victim.node.compare(link);
        victim.drain();
        victim.run(10, |victim, link, frame| {
            if let Frame::Compare(asked) = frame {
                victim.tips(link, &asked, [shown]);
            }
        });
        let tips = victim.holes.get(&identity(author).public()).map(|(tip, _)| *tip);
        assert_eq!(tips, Some(5000), "of {author}, the second within a second");
    }
}
