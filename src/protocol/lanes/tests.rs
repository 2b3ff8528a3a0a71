//! What lanes take, know and forget.

use super::*;

fn filling(seq: u64, id: u8, prev: u8) -> Filling {
    Filling {
        id: Digest([id; 32]),
        rest: Digest::ZERO,
        signature: Signature([0; 64]),
        base: seq - 1,
        prev: Digest([prev; 32]),
        at: Time(0),
        giver: Some(1),
    }
}

#[test]
fn slots_fill_in_any_order_and_the_tip_follows() {
    let mut lanes = Lanes::default();
    assert!(!lanes.fill(0, 3, filling(3, 3, 2)));
    assert!(!lanes.fill(0, 1, filling(1, 1, 0)));
    assert_eq!((lanes.tip(0), lanes.missing(0, 9, 3)), (1, vec![2, 4, 5]));
    assert!(!lanes.fill(0, 2, filling(2, 2, 1)));
    assert_eq!(lanes.tip(0), 3);
    assert_eq!(lanes.place(0, 3, &Digest([3; 32])), Place::Known);
    assert_eq!(lanes.place(0, 4, &Digest([4; 32])), Place::Empty);
    assert_eq!(lanes.place(0, 3 + WINDOW, &Digest([4; 32])), Place::Empty);
    assert_eq!(lanes.place(0, 4 + WINDOW, &Digest([4; 32])), Place::TooFar);
    assert_eq!(lanes.place(0, u64::MAX, &Digest([4; 32])), Place::TooFar);
    assert_eq!(lanes.missing(0, u64::MAX, usize::MAX).len() as u64, WINDOW);
}

#[test]
fn a_second_id_is_taken_once_and_marks_the_lane() {
    let mut lanes = Lanes::default();
    assert!(!lanes.fill(0, 1, filling(1, 1, 0)));
    assert_eq!(lanes.place(0, 1, &Digest([9; 32])), Place::Second);
    assert!(lanes.fill(0, 1, filling(1, 9, 0)));
    assert_eq!(lanes.place(0, 1, &Digest([8; 32])), Place::Full);
    assert_eq!(lanes.chained(0, 1, &Digest([9; 32])), Some(true));
    assert_eq!(lanes.chained(0, 1, &Digest([8; 32])), Some(false));
    assert!(!lanes.fill(0, 2, filling(2, 2, 8)), "the lane was in conflict already");
}

#[test]
fn old_slots_are_known_without_their_ids() {
    let mut lanes = Lanes::default();
    for seq in 1..=RECENT + 10 {
        lanes.fill(0, seq, filling(seq, 1, 1));
    }
    assert_eq!(lanes.place(0, 5, &Digest([7; 32])), Place::Below);
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
    assert_eq!(lanes.place(0, 40, &Digest::ZERO), Place::Empty, "it may yet turn up");
    lanes.give_up(0, 1, 40);
    assert_eq!(lanes.place(0, 40, &Digest::ZERO), Place::Empty);
    let gone = Hole { from: 1, to: 40, gone: true };
    assert_eq!(lanes.take_changed(), [(0, 40, vec![gone])]);
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
    assert_eq!((lanes.next_held(0, 5), lanes.missing(0, u64::MAX, 9)), (0, vec![]));
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
