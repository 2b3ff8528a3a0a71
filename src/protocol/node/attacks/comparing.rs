//! Liars against the comparison of lanes.

use std::time::Duration;

use super::{Victim, identity, list, tip_of};
use crate::crypto::Digest;
use crate::protocol::node::Node;
use crate::protocol::tree::parts;
use crate::protocol::{Input, Reason};
use crate::wire::{Batch, Differ, Frame, RangeHash, Tip};

#[test]
fn comparing_goes_no_faster_than_a_limit_whatever_the_answers() {
    let mut victim = Victim::among(4, 200);
    let liar = victim.link(1);
    let mut compared = 0;
    victim.run(10_000, |victim, _, frame| {
        let Frame::Compare(asked) = frame else { return };
        compared += 1;
        let keys = victim.network.keys().len() as u32;
        let range = asked.ranges[0];
        let differs = |(start, end)| RangeHash { start, end, hash: Digest([9; 32]) };
        let narrower = parts(keys, range.start, range.end).into_iter().map(differs).collect();
        let (ticket, ranges, tips) = (asked.ticket, list(narrower), list(vec![]));
        victim.say(liar, &Frame::Differ(Differ { ticket, ranges, tips, above: list(vec![]) }));
    });
    assert!((20..1000).contains(&compared), "{compared} comparisons in ten seconds");
    assert_eq!(victim.blamed(1), None);
}

#[test]
fn a_link_that_is_gone_leaves_nothing_behind() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let tip = tip_of(&victim.chain(4, 3)[2]);
    victim.slow = true;
    victim.run(2000, |victim, link, frame| {
        if let Frame::Compare(asked) = frame {
            victim.tips(link, &asked, [tip]);
        }
    });
    victim.lose(link);
    assert!(!victim.waiting.is_empty(), "the tip is being checked");
    victim.answer();
    assert!(victim.node.catching_up.is_empty());
    assert_eq!(victim.node.relay.searching(), 0);
}

#[test]
fn lanes_that_never_agree_hide_no_others() {
    // 400 authors have published. Some of a liar's lanes, with low key numbers, will always differ.
    let mut victim = Victim::among(4, 400);
    let honest = victim.link(1);
    let mut heads: Vec<(u32, Batch)> = (4..404)
        .map(|n| (victim.index(n), n))
        .map(|(key, n)| (key, victim.batch(n, 1, Digest::ZERO, "x")))
        .collect();
    heads.sort_by_key(|(key, _)| *key);
    heads.iter().for_each(|(_, batch)| victim.push(honest, batch));
    assert_eq!(victim.delivered.len(), 400);
    // A newcomer compares with this node again and again. Its own lanes in the low keys never
    // agree, and it lacks one author's batch at the highest key.
    let keys = victim.network.keys().len() as u32;
    let lacking = heads[399].0;
    let theirs = |start: u32, end: u32, node: &Node| match end {
        _ if start < keys / 3 || (start..end).contains(&lacking) => Digest([9; 32]),
        _ => node.lanes.hash(start, end),
    };
    let mut found = false;
    for ticket in 0..100 {
        let mut asked = vec![(0, keys)];
        while !asked.is_empty() && !found {
            let range = |&(start, end): &(u32, u32)| RangeHash {
                start,
                end,
                hash: theirs(start, end, &victim.node),
            };
            victim.compare(honest, ticket, asked.iter().map(range).collect());
            let mut answer = None;
            while let Some((_, frame)) = victim.sent.pop_front() {
                match frame {
                    Frame::Differ(differ) => answer = Some(differ),
                    Frame::Compare(asked) => victim.agree(honest, &asked),
                    _ => {}
                }
            }
            let answer = answer.expect("every comparison is answered");
            found |= answer.tips.iter().any(|tip| tip.slot.author == heads[399].1.header.author);
            let differs = |r: &&RangeHash| theirs(r.start, r.end, &victim.node) != r.hash;
            asked = answer.ranges.iter().filter(differs).map(|r| (r.start, r.end)).collect();
            victim.now = victim.now.after(Duration::from_secs(1));
            victim.give(Input::Wake);
        }
    }
    assert!(found, "the newcomer never hears of the highest lane");
}

/// However many lanes there are, an answer uses hashes that are kept up to date: the cost of a
/// change is paid once, when the change comes.
#[test]
fn a_comparison_costs_the_same_among_many_lanes() {
    let mut victim = Victim::among(4, 2000);
    let (liar, feeder) = (victim.link(1), victim.link(2));
    for author in 4..2004 {
        let batch = victim.batch(author, 1, Digest::ZERO, "x");
        victim.push(feeder, &batch);
    }
    let keys = victim.network.keys().len() as u32;
    let range = |(start, end)| RangeHash { start, end, hash: Digest([9; 32]) };
    let ranges: Vec<RangeHash> = parts(keys, 0, keys).into_iter().map(range).collect();
    let ask = |victim: &mut Victim, ticket| {
        let before = victim.node.lanes.hashed();
        victim.compare(liar, ticket, ranges.clone());
        victim.node.lanes.hashed() - before
    };
    let first = ask(&mut victim, 0);
    assert!((2000..2300).contains(&first), "{first}: each lane that spoke, and the blocks above");
    assert_eq!((ask(&mut victim, 1), ask(&mut victim, 2)), (0, 0));
    let second = victim.batch(9, 2, Digest::ZERO, "y");
    victim.push(feeder, &second);
    assert_eq!(ask(&mut victim, 3), 4, "the lane, and its three blocks");
    assert_eq!(victim.blamed(1), None);
}

#[test]
fn a_range_that_is_no_block_convicts() {
    for (start, end) in [(0, 3), (1, 17), (0, u32::MAX)] {
        let mut victim = Victim::among(4, 40);
        let liar = victim.link(1);
        victim.compare(liar, 1, vec![RangeHash { start, end, hash: Digest::ZERO }]);
        assert_eq!(victim.blamed(1), Some(Reason::Malformed), "{start}..{end}");
    }
}

/// An asker that does not wait for answers is answered while its credit lasts, and banned beyond
/// it.
#[test]
fn several_comparisons_at_once_are_paid_from_credit_and_convict_beyond_it() {
    let mut victim = Victim::among(4, 1);
    let liar = victim.link(1);
    let ask = |victim: &mut Victim, ticket| {
        victim.compare(liar, ticket, vec![RangeHash { start: 0, end: 5, hash: Digest([9; 32]) }]);
    };
    ask(&mut victim, 1);
    ask(&mut victim, 1);
    let answers = victim.sent.iter().filter(|(_, frame)| matches!(frame, Frame::Differ(_)));
    assert_eq!((answers.count(), victim.blamed(1)), (2, None));
    (0..200).for_each(|ticket| ask(&mut victim, ticket));
    assert_eq!(victim.blamed(1), Some(Reason::CreditOverrun));
    let answers = victim.sent.iter().filter(|(_, frame)| matches!(frame, Frame::Differ(_)));
    assert!(answers.count() < 120, "its idle work is used up first");
}

#[test]
fn a_lane_with_many_slots_above_its_tip_hides_none_with_few() {
    for many in [4, 5] {
        let few = 9 - many;
        let mut victim = Victim::among(4, 2);
        let link = victim.link(1);
        for (author, count) in [(many, 300), (few, 3)] {
            // All but the first batch, so that everything lies above the tip.
            let batches = victim.chain(author, count);
            victim.push_all(link, &batches[1..]);
        }
        victim.run(100, |_, _, _| {});
        victim.compare(link, 7, vec![RangeHash { start: 0, end: 6, hash: Digest([9; 32]) }]);
        let mut above = Vec::new();
        victim.run(100, |_, _, frame| {
            if let Frame::Differ(differ) = frame {
                above.extend(differ.above.iter().map(|slot| (slot.author, slot.seq)));
            }
        });
        let of = |n: u16| above.iter().filter(|(a, _)| *a == identity(n).public()).count();
        assert_eq!((of(few), of(many)), (2, 126));
    }
}

#[test]
fn a_tip_that_was_checked_is_not_checked_at_each_comparison() {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    victim.link(1);
    let tip = Tip { solid: 0, ..tip_of(&victim.stray(4, 5000)) };
    let mut compared = 0;
    victim.run(20_000, |victim, link, frame| {
        if let Frame::Compare(asked) = frame {
            compared += 1;
            victim.tips(link, &asked, [tip]);
        }
    });
    assert!(compared > 5, "{compared}");
    assert_eq!(victim.node.counters().checks, 1);
}
