//! Lying authors that try to make two honest nodes end with different slots.

use super::{Victim, lacks, tip_of};
use crate::crypto::Digest;
use crate::wire::{Batch, Frame, Tip};

/// Returns a victim whose tip a liar moved far up, over slots that nobody has. The victim has
/// delivered the batches `below` and `above`, and the liar's link has ended.
fn led_far_up(missing: &Batch, below: &[Batch], above: &[Batch]) -> Victim {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    let liar = victim.link(1);
    victim.push_all(liar, below);
    let tip = Tip { floor: 5000, solid: 0, ..tip_of(missing) };
    victim.run(3000, |victim, link, frame| victim.shows(link, &frame, tip));
    victim.push_all(liar, above);
    assert_eq!(victim.delivered.len(), below.len() + above.len());
    assert!(victim.tip(4) >= 5000);
    victim.lose(liar);
    victim
}

/// Links two honest nodes until the second one has delivered something and two seconds more have
/// passed, for 30 s at most.
fn meet(one: &mut Victim, two: &mut Victim) {
    let (to_two, to_one) = (one.link(2), two.link(2));
    let mut left = 1500;
    while left > 0 {
        let (mut asks, mut answers): (Vec<Frame>, Vec<Frame>) = (vec![], vec![]);
        two.run(20, |_, link, frame| {
            if link == to_one && matches!(frame, Frame::Compare(_) | Frame::Request(_)) {
                asks.push(frame);
            }
        });
        asks.iter().for_each(|frame| one.say(to_two, frame));
        one.run(20, |victim, link, frame| match frame {
            _ if link != to_two => {}
            Frame::Differ(_) | Frame::Reply(_) | Frame::Missing(_) => answers.push(frame),
            asked => victim.has_nothing(link, &asked),
        });
        answers.iter().for_each(|frame| two.say(to_one, frame));
        left = if two.delivered.is_empty() { left - 1 } else { left.min(100) - 1 };
    }
}

/// The node that asks knows of no signature in the lane, so it would take nothing that lies far
/// above its tip unless it is shown the lane.
#[test]
fn a_lane_whose_tip_slot_is_missing_is_shown_all_the_same() {
    let mut two = Victim::among(4, 1);
    two.leave_alone();
    let missing = two.stray(4, 6000);
    let shown = two.batch(4, 5600, Digest([2; 32]), "shown to one");
    let mut one = led_far_up(&missing, &[], std::slice::from_ref(&shown));
    meet(&mut one, &mut two);
    assert_eq!(two.delivered, [shown.id()]);
}

/// A node delivered slots so far below the tip to which a liar led it that it holds no id near the
/// tip. It must show the lane to another node all the same.
#[test]
fn a_lane_that_is_held_only_far_below_its_tip_is_shown_all_the_same() {
    let mut two = Victim::among(4, 1);
    two.leave_alone();
    let missing = two.stray(4, 6000);
    let mut one = led_far_up(&missing, &two.chain(4, 100), &[]);
    meet(&mut one, &mut two);
    assert_eq!(two.delivered.len(), 100);
}

/// A lying author's batch names as its predecessor one that nobody has. The member that relays it
/// is asked for that one but never claimed to have it, so it must not count as late.
#[test]
fn a_lying_author_makes_no_relayer_late() {
    let mut victim = Victim::among(4, 1);
    let links = victim.links(1..4);
    let all = [
        victim.batch(4, 1, Digest::ZERO, "one"),
        victim.batch(4, 2, Digest([9; 32]), "follows an invented one"),
    ];
    victim.push_all(links[0], &all);
    let mut asked = 0;
    victim.run(3000, |victim, link, frame| match &frame {
        Frame::Request(request) => {
            for want in request.wants.iter() {
                let is = |batch: &&Batch| {
                    batch.header.seq == want.seq && want.id.is_none_or(|id| id == batch.id())
                };
                match all.iter().any(|batch| is(&batch)) {
                    true => victim.reply(link, want, &all),
                    false => victim.say(link, &lacks(want, 0)),
                }
                asked += usize::from(want.id == Some(Digest([9; 32])));
            }
        }
        _ => victim.has_nothing(link, &frame),
    });
    assert!(asked > 0, "it may have it");
    let relayer = victim.index(1);
    assert!(!victim.node.promises.rank(relayer, victim.now).late);
    // A member that announces an id has claimed to have it.
    let (announced, liar) = (victim.batch(4, 3, Digest([8; 32]), "announced"), links[1]);
    victim.announce(liar, std::slice::from_ref(&announced));
    victim.run(3000, |victim, link, frame| victim.has_nothing(link, &frame));
    let liar = victim.index(2);
    assert!(victim.node.promises.rank(liar, victim.now).late);
}
