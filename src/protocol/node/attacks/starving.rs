//! Liars that take the room, the turns or the quota of recovery.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use super::{NOTHING, Victim, even, is_even, lacks, lacks_all_but, tip_of};
use crate::protocol::{LinkId, Time};
use crate::wire::limits::{AUTHOR_BATCH_BURST, AUTHOR_BATCHES_PER_S, MAX_WANTS};
use crate::wire::{Batch, Frame, Tip};

/// Returns how long a victim takes for 600 slots of a lane for which few members vouch. Liars show
/// a floor, so that its tip moves, and are asked first; one honest holder is linked 20 ms later.
fn unvouched(members: u16, liars: u16, silent: bool) -> Duration {
    let mut victim = Victim::among(members, 1);
    victim.leave_alone();
    let all = victim.chain(members, 600);
    victim.links(1..=liars);
    let shown = Tip { floor: 599, solid: 0, ..tip_of(&all[599]) };
    let is_liar = |link: LinkId| link.0 % 1000 <= u64::from(liars);
    let began = victim.now;
    let mut linked = false;
    while victim.delivered.len() < all.len() && victim.now.since(began).as_secs() < 400 {
        for (link, _) in std::mem::take(&mut victim.closed) {
            let liar = u16::try_from(link.0 % 1000).expect("a liar");
            victim.link_as(liar, LinkId(link.0 + 1000)); // the liar links again
        }
        victim.run(20, |victim, link, frame| match &frame {
            Frame::Request(_) if is_liar(link) && silent => {}
            frame if is_liar(link) => victim.shows(link, frame, shown),
            _ => victim.holder(link, &frame, &all),
        });
        if !linked && victim.now.since(began).as_millis() >= 20 {
            victim.link(liars + 1);
            linked = true;
        }
    }
    victim.now.since(began)
}

#[test]
fn silent_liars_keep_no_slot_of_an_author_from_being_asked_of_others() {
    for (members, liars) in [(4, 1), (31, 10)] {
        let (lack, silent) = (unvouched(members, liars, false), unvouched(members, liars, true));
        assert!(silent < lack + Duration::from_secs(5), "{members}: {silent:?}, not {lack:?}");
    }
}

/// Liars leave open all wants that they are sent for a lane for which many members vouch. The wants
/// to others must not wait for them.
#[test]
fn silent_liars_do_not_fill_all_the_room_of_recovery() {
    let took = [false, true].map(|silent| {
        let mut victim = Victim::among(31, 1);
        victim.leave_alone();
        let all = victim.chain(31, 2000);
        victim.links(1..=30);
        victim.deliver(all.len(), 200, |victim, link, frame| match &frame {
            Frame::Request(_) if link.0 <= 10 && silent => {}
            Frame::Request(request) if link.0 <= 10 => victim.lack_all(link, request),
            _ => victim.holder(link, &frame, &all),
        })
    });
    assert!(took[1] < took[0] + Duration::from_secs(5), "{took:?}");
}

/// Returns how long 3000 slots of an honest author take beside `lying` lanes of 150 holes each,
/// which cannot be given up because most members are never met.
fn beside(lying: u16) -> Duration {
    let mut victim = Victim::among(31, 17);
    let links = victim.links(1..=12);
    let honest = 47;
    let all = victim.chain(honest, 3000);
    let shown = Cell::new(false);
    let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) if shown.get() => victim.tips(link, asked, [tip_of(&all[2999])]),
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => {
            victim.reply_or(link, request, &all, |want| lacks_all_but(want, 301, is_even));
        }
        _ => {}
    };
    for author in 31..31 + lying {
        victim.push_all(links[0], victim.chain(author, 300).iter().filter(even));
        victim.push(links[0], &victim.restart(author, 301, NOTHING));
    }
    victim.run(20_000, react);
    shown.set(true);
    victim.deliver(victim.delivered.len() + 3000, 200, react)
}

#[test]
fn lanes_of_liars_take_no_turns_of_others() {
    let (alone, beside) = (beside(0), beside(16));
    assert!(beside < alone + Duration::from_secs(3), "{beside:?}, not {alone:?}");
}

/// Two honest members gave up what a restart header voids. A liar holds all of it, and gives it to
/// the victim: the author's quota must be charged for it.
#[test]
fn what_others_gave_up_is_charged_to_its_author() {
    let mut victim = Victim::among(4, 1);
    let old = victim.chain(4, 5000);
    let restart = victim.restart(4, 5001, NOTHING);
    let links = victim.links(1..4);
    victim.push(links[1], &restart);
    let began = victim.now;
    victim.run(3000, |victim, link, frame| match (&frame, link == links[0]) {
        (Frame::Compare(asked), liar) => {
            let floor = if liar { 0 } else { 5000 };
            victim.tips(link, asked, [Tip { solid: 5001, floor, ..tip_of(&restart) }]);
        }
        (Frame::Request(_), true) => victim.holder(link, &frame, &old),
        (Frame::Request(request), false) => {
            victim.answer_all(link, request, |want| lacks(want, 5001))
        }
        _ => {}
    });
    let took = victim.now.since(began).as_secs();
    let most = AUTHOR_BATCH_BURST + took * AUTHOR_BATCHES_PER_S + MAX_WANTS as u64;
    let taken = victim.delivered.len() as u64;
    assert!(taken <= most, "{taken} in {took} s");
    assert!(taken > most / 2, "they are taken all the same: {taken}");
}

/// An author gave the odd ones of 1000 slots to nobody, and few members vouch for its lane. Each
/// answer takes two seconds, and member 1 shows a floor, so that the tip moves. The even slots must
/// all come within 40 s.
#[test]
fn slots_that_nobody_has_hold_up_no_others() {
    let mut victim = Victim::among(31, 1);
    victim.leave_alone();
    let all = victim.chain(31, 1000);
    victim.links(1..=20);
    let (began, mut waiting) = (victim.now, VecDeque::<(Time, LinkId, Frame)>::new());
    while victim.now.since(began).as_secs() < 40 {
        while let Some((_, link, frame)) =
            waiting.pop_front_if(|(at, ..)| victim.now.since(*at).as_secs() >= 2)
        {
            match &frame {
                Frame::Compare(asked) => {
                    let floor = if link.0 == 1 { 999 } else { 0 };
                    victim.tips(link, asked, [Tip { floor, solid: 0, ..tip_of(&all[999]) }]);
                }
                Frame::Request(request) => {
                    request.wants.iter().for_each(|want| match is_even(want.seq) {
                        true => victim.reply(link, want, &all),
                        false => victim.say(link, &lacks_all_but(want, 1000, is_even)),
                    })
                }
                _ => {}
            }
        }
        victim.run(20, |victim, link, frame| waiting.push_back((victim.now, link, frame)));
    }
    assert_eq!(victim.delivered.len(), 500);
}

/// An author leaves out every second slot of a window. Members that are never met keep those slots
/// from being given up, and all linked members lack them. The victim must not look at them all the
/// time.
#[test]
fn a_lane_of_many_holes_that_cannot_be_given_up_costs_little() {
    let mut victim = Victim::among(31, 1);
    let links = victim.links(1..=12);
    let all = victim.chain(31, 1024);
    let shown: Vec<Batch> = all.iter().filter(even).cloned().collect();
    let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
        Frame::Compare(asked) => victim.agree(link, asked),
        Frame::Request(request) => {
            victim.answer_all(link, request, |want| lacks_all_but(want, 1024, is_even));
        }
        Frame::Ping => victim.say(link, &Frame::Ping),
        _ => {}
    };
    for some in shown.chunks(100) {
        victim.push_all(links[0], some);
        victim.run(2000, react);
    }
    victim.push(links[0], &victim.restart(31, 1025, NOTHING));
    victim.run(5000, react);
    let holes = victim.node.lanes.holed().next().map(|(_, lane)| lane.holes().len());
    assert_eq!(holes, Some(512));
    let before = victim.node.recovery.looks;
    victim.run(2000, react);
    let looks = victim.node.recovery.looks - before;
    assert!((1..3000).contains(&looks), "{looks} in two seconds in which nothing comes");
}
