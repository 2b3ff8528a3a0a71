//! What is recorded of who lacks what, and what is forgotten.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const NONE: Lacked = Lacked([0; 32]);

fn own(lowest: u64) -> Own {
    Own { lowest, has_next: false }
}

fn offer(next: u64) -> Offer {
    Offer { next, lacked: NONE }
}

fn lacking(lack: &Lack, upto: u64) -> Vec<u64> {
    (1..upto).filter(|seq| lack.next(*seq, Time(0)).is_some()).collect()
}

#[test]
fn offers_that_are_not_kept_end_to_count() {
    for lacked in [NONE, Lacked([0x55; 32])] {
        let (mut lack, now, mut offered) = (Lack::default(), Time(0), 1);
        for _ in 0..100 {
            lack.learn(offered, &Offer { next: offered + 1, lacked }, own(1), now);
            match lack.next(offered, now) {
                Some(u64::MAX) => break,
                next => offered = next.expect("it said so"),
            }
        }
        assert!(offered <= u64::from(MAX_BROKEN) + 1, "{offered}");
        assert_eq!(lack.next(u64::MAX - 1, now), Some(u64::MAX));
        assert_eq!(lack.next(5, now.after(BELIEVED)), None, "it is not believed forever");
    }
}

/// It lacked 5 and 7, and has got 7 since.
#[test]
fn what_was_said_before_it_showed_other_holes_is_said_anew() {
    let (mut lack, begun) = (Lack::default(), Time(7));
    let mut lacked = Lacked::default();
    lacked.mark(1);
    lack.learn(5, &Offer { next: 6, lacked }, own(5), begun);
    lack.shows(Digest([1; 32]), begun.after(ASK_AGAIN_FIRST));
    let now = begun.after(ASK_AGAIN_FIRST * 2);
    assert_eq!((lack.told(5, now), lack.told(7, now)), (None, None));
    lack.learn(5, &offer(6), own(5), now);
    assert_eq!((lack.told(5, now), lack.told(7, now)), (Some((7, 6)), None));
    // Nothing is forgotten, and not everything is asked at once.
    assert!(lack.lacks(7, now) && !lack.may_ask_again(5, now));
    lack.shows(Digest([1; 32]), now.after(ASK_AGAIN_FIRST));
    lack.shows(Digest([2; 32]), begun.after(ASK_AGAIN_FIRST + Duration::from_millis(1)));
    assert_eq!(lack.told(5, now), Some((7, 6)), "the same holes, and others too soon");
}

/// In each of many holes it lacked 400 slots, and has the upper hundred since.
#[test]
fn what_a_member_got_since_it_showed_other_holes_is_no_broken_offer() {
    for shows in [false, true] {
        let (mut lack, begun) = (Lack::default(), Time(7));
        let now = begun.after(ASK_AGAIN_FIRST);
        let holes = (0..20).map(|hole| 1 + 600 * hole);
        holes.clone().for_each(|seq| lack.learn(seq, &offer(seq + 400), own(1), begun));
        if shows {
            lack.shows(Digest([1; 32]), now);
        }
        holes.clone().for_each(|seq| lack.learn(seq, &offer(seq + 300), own(1), now));
        let believed = holes.filter(|seq| lack.next(*seq, now) == Some(seq + 300));
        assert_eq!(believed.count() == 20, shows, "else eight such offers are lies");
    }
}

/// A liar gives a member slots that it lacked, and the same ones to us.
#[test]
fn what_a_member_got_since_and_we_have_too_is_no_broken_offer() {
    for has_next in [false, true] {
        let (mut lack, mut now) = (Lack::default(), Time(7));
        for slot in 1..20 {
            lack.learn(1, &offer(100 - slot), Own { lowest: 1, has_next }, now);
            now = now.after(ASK_AGAIN_FIRST);
        }
        assert_eq!(lack.next(1, now), Some(if has_next { 81 } else { u64::MAX }));
    }
}

#[test]
fn a_member_is_asked_again_later_each_time() {
    let (mut lack, mut now) = (Lack::default(), Time(7));
    for wait in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
        lack.learn(5, &offer(u64::MAX), own(1), now);
        let before = now.after(Duration::from_millis(wait * 1000 - 1));
        assert!(!lack.may_ask_again(5, before), "{wait}");
        assert!(lack.next(9, before).is_some());
        now = now.after(Duration::from_secs(wait));
        assert!(lack.may_ask_again(5, now), "it may have it by now");
    }
    lack.learn(5, &offer(u64::MAX), own(1), now);
    lack.gave(6, true, now);
    assert_eq!(lack.next(5, now), None, "it has got some of it");
    assert!(lack.may_ask_again(5, now.after(ASK_AGAIN_FIRST)));
    lack.learn(5, &offer(6), own(1), now);
    lack.gave(6, true, now);
    assert_eq!(lack.next(5, now), Some(6), "as it said");
}

#[test]
fn a_round_of_questions_goes_on_until_all_is_said_anew() {
    let (mut lack, now) = (Lack::default(), Time(7));
    for seq in [5, 600, 1200] {
        lack.learn(seq, &offer(seq + 1), own(1), now);
    }
    let later = now.after(ASK_AGAIN_FIRST);
    for (said, left) in [(5, vec![600, 1200]), (1200, vec![600]), (600, vec![])] {
        lack.learn(said, &offer(said + 1), own(1), later);
        let again = [5, 600, 1200].into_iter().filter(|seq| lack.may_ask_again(*seq, later));
        assert_eq!(again.collect::<Vec<_>>(), left);
    }
}

/// It lacks all from 1 on. A round begins with slot 2: what it said of slot 1 is no fresher.
#[test]
fn what_was_not_said_anew_is_asked_in_the_same_round() {
    let (mut lack, mut now) = (Lack::default(), Time(0));
    lack.learn(1, &offer(u64::MAX), own(1), now);
    for _ in 0..3 {
        now = lack.again;
        lack.learn(2, &offer(u64::MAX), own(1), now);
        assert!(lack.may_ask_again(1, now) && !lack.may_ask_again(2, now));
    }
    assert!(!lack.lacks(1, Time(0).after(BELIEVED)) && lack.lacks(2, now));
}

#[test]
fn all_that_a_member_lacks_is_remembered_until_it_is_decided() {
    let (mut lack, now) = (Lack::default(), Time(0));
    for seq in [9, 3, 6, 12] {
        lack.learn(seq, &offer(seq + 1), own(1), now);
    }
    assert_eq!(lacking(&lack, 16), [3, 6, 9, 12]);
    lack.learn(5, &offer(11), own(1), now);
    assert_eq!(lacking(&lack, 16), [3, 5, 6, 7, 8, 9, 10, 12]);
    lack.learn(7, &offer(11), own(1), now);
    assert_eq!(lacking(&lack, 16), [3, 5, 6, 7, 8, 9, 10, 12]);
    assert_eq!(lack.next(5, now), Some(11), "it offers no slot between");
    assert!(!lack.is_known_well(now));
    (0..5000).for_each(|i| lack.learn(20 + 2 * i, &offer(21 + 2 * i), own(12), now));
    assert!(lack.is_known_well(now));
    assert_eq!(lack.answers(), MAX_LACKED);
    assert_eq!(lacking(&lack, 16), [12], "what is decided goes first");
    assert!(lack.next(20, now).is_some(), "the lowest of the others stay");
    lack.learn(1, &offer(u64::MAX), own(11), now);
    assert_eq!(lack.next(u64::MAX, now), Some(u64::MAX));
    assert_eq!(lack.answers(), 1);
}

#[test]
fn more_is_asked_once_something_is_known() {
    let (mut lack, now) = (Lack::default(), Time(0));
    assert!(lack.allows(1, 0) && !lack.allows(1, 1));
    lack.gave(1, true, now);
    assert!(lack.allows(2, 1) && lack.allows(u64::MAX, 1) && !lack.allows(2, 2));
    let mut lacked = Lacked::default();
    lacked.mark(7);
    lack.learn(2, &Offer { next: 10, lacked }, own(1), now);
    let allowed = [1, 2, 10, 17, 18].map(|seq| lack.allows(seq, 1));
    assert_eq!(allowed, [false, true, true, true, false]);
}

/// A member with random slots of 3000 is asked for those that it lacks, in any order.
#[test]
fn answers_about_neighbours_become_one() {
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let has: Vec<bool> = (0..3000).map(|_| dice.random_bool(0.4)).collect();
    let mut lack = Lack::default();
    for turn in 0..4000 {
        let seq = if turn < 2000 { turn + 500 } else { dice.random_range(1..3000) };
        if has[seq] {
            continue;
        }
        let next = (seq + 1..3000).find(|at| has[*at]);
        let mut lacked = Lacked::default();
        let above = next.map_or(3000, |next| next + 1)..3000;
        let above = above.filter(|at| !has[*at]);
        above.for_each(|at| lacked.mark((at - next.unwrap_or(0)) as u64));
        let next = next.map_or(u64::MAX, |next| next as u64);
        lack.learn(seq as u64, &Offer { next, lacked }, own(1), Time(0));
        assert!(lack.answers.is_sorted_by(|a, b| a.from < a.end && a.end <= b.from));
    }
    (1..3000).for_each(|at| {
        assert_eq!(
            lack.lacks(at as u64, Time(0)),
            !has[at],
            "{at} {:?} broken {}",
            lack.find(at as u64),
            lack.broken
        )
    });
    assert!(lack.answers() < 40, "{}", lack.answers());
    assert_eq!(lack.broken, 0);
}

#[test]
fn one_answer_tells_of_many_slots() {
    let (mut lack, now) = (Lack::default(), Time(0));
    lack.learn(20, &offer(u64::MAX), own(1), now);
    let mut lacked = Lacked::default();
    [1, 2, 5, Lacked::SLOTS].into_iter().for_each(|above| lacked.mark(above));
    lack.learn(4, &Offer { next: 10, lacked }, own(1), now);
    assert_eq!(lacking(&lack, 300), [4, 5, 6, 7, 8, 9, 11, 12, 15, 266]);
    assert_eq!(lack.next(11, now), Some(13));
    let offered = [(4, 9), (4, 10), (11, 20), (13, 13), (267, 300)];
    let offered = offered.map(|(from, to)| lack.offers(from, to, now));
    assert_eq!(offered, [None, Some(10), Some(13), Some(13), None]);
    assert_eq!(lack.next(400, now), None, "it has got some since it lacked all above");
    for (seq, next) in [(0, 0), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX), (u64::MAX, 0)] {
        lack.learn(seq, &Offer { next, lacked: Lacked([255; 32]) }, own(u64::MAX), now);
        lack.learn(seq, &Offer { next: u64::MAX - 100, lacked: Lacked([0x55; 32]) }, own(0), now);
        assert!(lack.answers.is_sorted_by(|a, b| a.from <= a.end && a.end <= b.from));
    }
}
