//! What lanes accept, know and forget.

use super::*;
use crate::crypto::Signature;
use crate::wire::limits::{FILLED_HOLES, TIP_HOLES};

fn filling(seq: u64, id: u8, prev: u8) -> Filling {
    Filling {
        id: Digest([id; 32]),
        rest: Digest::ZERO,
        signature: Signature([0; 64]),
        base: seq - 1,
        prev: Digest([prev; 32]),
        at: Time(0),
        sender: Some(1),
    }
}

#[test]
fn slots_fill_in_any_order_and_the_tip_follows() {
    let mut lanes = Lanes::default();
    lanes.fill(0, 3, filling(3, 3, 2));
    lanes.fill(0, 1, filling(1, 1, 0));
    assert_eq!((lanes.tip(0), lanes.missing(0, 9, 3)), (1, vec![2, 4, 5]));
    lanes.fill(0, 2, filling(2, 2, 1));
    assert!(!lanes.get(0).expect("a lane").conflicted());
    assert_eq!(lanes.tip(0), 3);
    assert_eq!(lanes.admission(0, 3, &Digest([3; 32])), Admission::Known);
    assert_eq!(lanes.admission(0, 4, &Digest([4; 32])), Admission::Empty);
    assert_eq!(lanes.admission(0, 3 + WINDOW, &Digest([4; 32])), Admission::Empty);
    assert_eq!(lanes.admission(0, 4 + WINDOW, &Digest([4; 32])), Admission::TooFar);
    assert_eq!(lanes.admission(0, u64::MAX, &Digest([4; 32])), Admission::TooFar);
    assert_eq!(lanes.missing(0, u64::MAX, usize::MAX).len() as u64, WINDOW);
}

#[test]
fn a_second_id_is_taken_once_and_marks_the_lane() {
    let mut lanes = Lanes::default();
    let conflicted = |lanes: &Lanes| lanes.get(0).expect("a lane").conflicted();
    lanes.fill(0, 1, filling(1, 1, 0));
    assert_eq!(lanes.admission(0, 1, &Digest([9; 32])), Admission::Second);
    assert!(!conflicted(&lanes));
    lanes.fill(0, 1, filling(1, 9, 0));
    assert!(conflicted(&lanes));
    assert_eq!(lanes.admission(0, 1, &Digest([8; 32])), Admission::Full);
    assert_eq!(lanes.chained(0, 1, &Digest([9; 32])), Some(true));
    assert_eq!(lanes.chained(0, 1, &Digest([8; 32])), Some(false));
    lanes.fill(0, 2, filling(2, 2, 8));
    assert!(conflicted(&lanes), "as it was already");
}

#[test]
fn old_slots_are_known_without_their_ids() {
    let mut lanes = Lanes::default();
    for seq in 1..=RECENT + 10 {
        lanes.fill(0, seq, filling(seq, 1, 1));
    }
    assert_eq!(lanes.admission(0, 5, &Digest([7; 32])), Admission::Below);
    assert_eq!(lanes.lanes[&0].slots.len() as u64, RECENT);
}

#[test]
fn what_members_say_counts_when_one_of_them_is_honest_and_up_to_what_was_signed() {
    let mut lanes = Lanes::default();
    for floor in [u64::MAX, 40] {
        (0..5).for_each(|member| lanes.claim(0, member, floor, floor, 1));
    }
    assert_eq!(lanes.tip(0), 0, "nothing was signed");
    lanes.hear(0, 50);
    lanes.claim(0, 1, 0, u64::MAX, 1);
    lanes.claim(0, 1, 0, u64::MAX, 1);
    assert_eq!(lanes.tip(0), 0, "one liar moves nothing, however often it says so");
    lanes.claim(0, 2, 0, 40, 1);
    assert_eq!((lanes.tip(0), lanes.get(0).map_or(0, Lane::vouched)), (40, 40));
    assert_eq!(lanes.admission(0, 40, &Digest::ZERO), Admission::Empty, "it may yet turn up");
    lanes.give_up(0, 1, 40);
    assert_eq!(lanes.admission(0, 40, &Digest::ZERO), Admission::Empty);
    let gone = Hole { from: 1, to: 40, gone: true };
    assert_eq!(lanes.take_changed(true), [(0, 40, vec![gone])]);
}

#[test]
fn extreme_claims_and_slots_harm_nothing() {
    let mut lanes = Lanes::default();
    lanes.hear(0, u64::MAX);
    (0..5).for_each(|member| lanes.claim(0, member, u64::MAX, u64::MAX, 1));
    assert_eq!(lanes.tip(0), u64::MAX);
    lanes.fill(0, u64::MAX, filling(u64::MAX, 1, 0));
    lanes.raise_floor(0, u64::MAX);
    assert!(lanes.get(0).is_some_and(|lane| lane.holes().is_empty()));
    assert_eq!((lanes.next_held(0, 5).0, lanes.missing(0, u64::MAX, 9)), (0, vec![]));
}

#[test]
fn a_lane_comes_back_with_its_holes() {
    let key = PublicKey([1; 32]);
    let hole = |from, to, gone| Hole { from, to, gone };
    let mut found = RestoredLane::new(key);
    (found.tip, found.holes) = (3000, vec![hole(1, 900, true), hole(1000, 3000, false)]);
    let mut lanes = Lanes::restore(&[found], |_| Some(7));
    assert_eq!((lanes.tip(7), lanes.get(7).expect("a lane").solid()), (3000, 999));
    assert!(!lanes.filled(7, 900) && lanes.filled(7, 950) && !lanes.filled(7, 3000));
    lanes.fill(7, 3001, filling(3001, 1, 0));
    assert_eq!(lanes.tip(7), 3001);
}

/// Returns lanes in which author 0 holds exactly the given slots.
fn held(seqs: impl Iterator<Item = u64>) -> Lanes {
    let mut lanes = Lanes::default();
    for seq in seqs {
        lanes.fill(0, seq, filling(seq, 1, 0));
    }
    lanes
}

#[test]
fn a_tip_passes_as_many_holes_as_may_be_whatever_moves_it() {
    let most = TIP_HOLES as u64;
    let even = || (1..=2 * most).map(|slot| 2 * slot);
    let (mut at_once, mut by_one) = (held(even()), held(even()));
    at_once.pass(0, 4 * most);
    (1..=4 * most).step_by(127).for_each(|to| by_one.pass(0, to));
    for lanes in [&at_once, &by_one] {
        assert_eq!((lanes.tip(0), lanes.lanes[&0].holes.len()), (2 * most, TIP_HOLES));
    }
    // The first half of the odd slots is filled: there is room for more holes again.
    for slot in 1..=most / 2 {
        at_once.fill(0, 2 * slot - 1, filling(slot, 2, 0));
    }
    at_once.pass(0, 4 * most);
    assert_eq!(at_once.tip(0), 3 * most);
    by_one.jump(0, 4 * most);
    assert_eq!(by_one.tip(0), 4 * most, "where more than f say that it is, others are");
}

#[test]
fn one_voice_moves_no_tip_beyond_what_can_be_noted_of_a_long_hole() {
    let far = 4 * MAX_HOLES as u64;
    let mut lanes = held([far + 1000, far + 1002].into_iter());
    lanes.jump(0, far);
    assert_eq!(lanes.tip(0), far, "more than f said so");
    lanes.pass(0, far + 1001);
    assert_eq!(lanes.tip(0), far, "too many may be left of the long one, which it would join");
    for seq in (2..=far).step_by(2).take(FILLED_HOLES - 2) {
        assert_eq!(lanes.admission(0, seq, &Digest::ZERO), Admission::Empty, "others hold it");
        lanes.fill(0, seq, filling(seq, 1, 0));
    }
    assert!(lanes.lanes[&0].holes.len() >= FILLED_HOLES - 1);
    lanes.pass(0, far + 1001);
    assert_eq!(lanes.tip(0), far, "there is no room for one more");
    lanes.give_up(0, 1, u64::MAX);
    assert_eq!(lanes.lanes[&0].holes.first_open(), None, "whole ranges take none");
    let mut lanes = held((2..=2 * MAX_HOLES as u64).filter(|seq| seq % 2 == 1));
    lanes.jump(0, 2 * MAX_HOLES as u64);
    lanes.give_up(0, 1, u64::MAX);
    for to in [0, 1, 2 * MAX_HOLES as u64] {
        lanes.lanes.get_mut(&0).map(|lane| lane.pass_void(to));
        assert_eq!(lanes.lanes[&0].holes.first_open(), None, "nothing is passed");
    }
    lanes.pass(0, u64::MAX - 1);
    assert_eq!(lanes.tip(0), 2 * MAX_HOLES as u64, "not on the word of one");
    lanes.lanes.get_mut(&0).map(|lane| lane.pass_void(u64::MAX - 1));
    assert_eq!((lanes.tip(0), lanes.lanes[&0].holes.len()), (u64::MAX - 1, MAX_HOLES));
}

#[test]
fn a_tip_of_ones_own_moves_whatever_room_there_is() {
    let most = 2 * MAX_HOLES as u64;
    let mut lanes = held((1..=most + 500).filter(|seq| seq % 2 == 1));
    lanes.jump(0, most + 1);
    assert_eq!((lanes.tip(0), lanes.lanes[&0].holes.len()), (most + 1, MAX_HOLES));
    for to in [0, most + 1, most + 499, u64::MAX] {
        lanes.jump_own(0, to);
        assert_eq!(lanes.tip(0), to.max(most + 1));
        assert_eq!(lanes.lanes[&0].holes.len(), MAX_HOLES);
    }
    assert!(lanes.lanes[&0].holes.contains(most + 2), "the lowest are forgotten");
}

#[test]
fn nobody_vouches_for_what_is_below_its_floor() {
    let mut lanes = Lanes::default();
    lanes.hear(0, 100);
    lanes.claim(0, 1, 100, 60, 1);
    lanes.claim(0, 2, 100, 40, 1);
    let vouches = |lanes: &Lanes| (1..=101).filter(|seq| lanes.vouches(0, *seq)).collect();
    let vouched: Vec<u64> = vouches(&lanes);
    assert_eq!(vouched, (61..=100).collect::<Vec<u64>>());
    lanes.claim(0, 3, 100, 0, 1);
    let vouched: Vec<u64> = vouches(&lanes);
    assert_eq!(vouched, (41..=100).collect::<Vec<u64>>(), "one of two is honest");
}

#[test]
fn whoever_gives_old_slots_leaves_room_for_what_comes() {
    let far = 4 * MAX_HOLES as u64;
    let mut lanes = Lanes::default();
    lanes.hear(0, 2 * far);
    lanes.jump(0, far);
    for seq in (2..far).step_by(2) {
        if lanes.admission(0, seq, &Digest::ZERO) == Admission::Empty {
            lanes.fill(0, seq, filling(seq, 1, 0));
        }
    }
    lanes.fill(0, far, filling(far, 1, 0));
    assert_eq!(lanes.lanes[&0].holes.len(), FILLED_HOLES);
    (1..3).for_each(|member| lanes.claim(0, member, 2 * far, 0, 1));
    assert_eq!(lanes.tip(0), 2 * far, "more than f are there");
}

#[test]
fn slots_given_up_or_passed_are_written_down_in_their_turn_or_with_others() {
    let mut lanes = held((1..9).map(|slot| 2 * slot));
    lanes.jump(0, 16);
    assert_eq!(lanes.take_moved(), [(0, 16)]);
    assert!(lanes.has_waiting() && lanes.take_changed(false).is_empty(), "nothing lies above");
    lanes.precede(0, WINDOW);
    assert!(lanes.take_changed(false).is_empty(), "a start looks for what is missing there");
    lanes.precede(0, WINDOW + 1);
    assert_eq!(lanes.take_changed(false).len(), 1, "and not that far below");
    assert!(!lanes.has_waiting());
    for more in [false, true] {
        lanes.give_up(0, 1, 5);
        lanes.give_up(0, 7, 9);
        assert!(lanes.has_waiting() && lanes.take_changed(false).is_empty());
        if more {
            lanes.jump(0, 20);
            lanes.precede(0, u64::MAX);
        }
        assert_eq!(lanes.take_changed(!more).len(), 1);
        assert!(!lanes.has_waiting());
        lanes.fill(0, 3, filling(3, 1, 0));
        lanes.lose(0, 3, &Digest::ZERO);
        lanes.take_changed(true);
    }
}
