//! Missing slots are asked for again: liars neither stop that nor make it expensive.

use super::{Later, NOTHING, Victim, even, hole, identity, is_even, lacks_all_but, lane, tip_of};
use crate::protocol::{Input, LinkId};
use crate::wire::{Frame, Tip};

impl Victim {
    /// Pushes the even slots up to `slots` of each author to the victim, and then a restart header
    /// above them. All linked members lack the odd slots.
    pub(super) fn leave_out_odd_slots(&mut self, authors: std::ops::Range<u16>, slots: u64) {
        for author in authors {
            let all = self.chain(author, slots);
            for some in all.chunks(100) {
                self.push_all(LinkId(1), some.iter().filter(even));
                self.run(1000, |victim, link, frame| victim.lacking_odd(link, &frame, slots));
            }
            self.restart_above(LinkId(1), author, slots);
            self.run(1000, |victim, link, frame| victim.lacking_odd(link, &frame, slots));
        }
    }

    /// Pushes a restart header that voids all slots up to `slots`.
    fn restart_above(&mut self, link: LinkId, author: u16, slots: u64) {
        self.push(link, &self.restart(author, slots + 1, NOTHING));
    }

    /// Answers as an honest member that holds what such an author gave.
    pub(super) fn lacking_odd(&mut self, link: LinkId, frame: &Frame, slots: u64) {
        match frame {
            Frame::Compare(asked) => self.agree(link, asked),
            Frame::Request(request) => {
                self.answer_all(link, request, |want| lacks_all_but(want, slots + 1, is_even));
            }
            Frame::Ping => self.say(link, &Frame::Ping),
            _ => {}
        }
    }

    pub(super) fn given_up(&self) -> usize {
        self.node.lanes.holed().map(|(_, lane)| lane.holes().gone().count()).sum()
    }
}

/// The victim has two links. The liar leaves its wants open and links anew before its silence is
/// held against it. The other member later gets the slots that it lacked; the third is never met.
/// The victim must ask the other one again.
#[test]
fn whoever_leaves_a_want_open_keeps_nobody_from_being_asked_again() {
    for silent in [false, true] {
        let mut victim = Victim::among(4, 1);
        victim.links([1, 2]);
        let all = victim.chain(4, 20);
        victim.push_all(LinkId(2), all.iter().filter(even));
        victim.restart_above(LinkId(2), 4, 20);
        for round in 0..10 {
            victim.run(7000, |victim, link, frame| match (&frame, link.0) {
                (Frame::Request(_), 2) if round > 0 => victim.holder(link, &frame, &all),
                (Frame::Request(_), other) if other != 2 && silent => {}
                _ => victim.lacking_odd(link, &frame, 20),
            });
            victim.link_as(1, LinkId(100 + round));
        }
        assert_eq!(victim.delivered.len(), 21, "silent {silent}");
    }
}

/// One member holds all slots but the first, so it claims for no slot that it holds everything
/// below (`solid` is 0). It must be asked for everything else all the same.
#[test]
fn a_member_that_gives_is_asked_for_more_above_the_tip() {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    let all = victim.chain(4, 400);
    victim.link(1);
    victim.run(4000, |victim, link, frame| match &frame {
        Frame::Compare(asked) => victim.tips(link, asked, [Tip { solid: 0, ..tip_of(&all[399]) }]),
        _ => victim.holder(link, &frame, &all[1..]),
    });
    assert_eq!(victim.delivered.len(), 399);
}

/// Two members lacked all. Member 2 has got it since, and is being asked again when member 3, which
/// the victim had not met before, says that it lacks all as well. Nothing may be given up while
/// that want is open.
#[test]
fn nothing_is_given_up_while_whoever_lacked_it_is_asked_again() {
    let mut victim = Victim::among(4, 1);
    let all = victim.chain(4, 20);
    victim.links([1, 2]);
    victim.restart_above(LinkId(2), 4, 20);
    victim.run(9000, |victim, link, frame| victim.lacking_odd(link, &frame, 0));
    assert_eq!(victim.given_up(), 0, "one was not asked");
    let (mut later, mut met) = (Later::default(), false);
    for _ in 0..100 {
        victim.run(100, |victim, link, frame| match (&frame, link.0) {
            (Frame::Request(request), 2) => later.add(victim, 400, link, request),
            _ => victim.lacking_odd(link, &frame, 0),
        });
        if !later.0.is_empty() && !met {
            (_, met) = (victim.link(3), true);
        }
        for (link, want) in later.due(victim.now) {
            victim.reply(link, &want, &all);
        }
    }
    assert_eq!((victim.delivered.len(), victim.node.counters().given_up), (21, 0));
}

/// One member gives slots that all others lack, as fast as the author's quota allows, while the
/// author publishes more. Each new batch must be delivered at once.
#[test]
fn whoever_gives_what_others_have_pruned_delays_nothing_new() {
    let mut victim = Victim::with_lanes(4, 1, vec![lane(4, 4000, vec![hole(1, 4000)])]);
    victim.leave_alone();
    let all = victim.chain(4, 4500);
    victim.links(1..4);
    for news in &all[4000..] {
        victim.push(LinkId(2), news);
        assert!(victim.delivered.contains(&news.id()), "slot {}", news.header.seq);
        victim.run(20, |victim, link, frame| match (&frame, link.0) {
            (Frame::Request(_), 1) => victim.holder(link, &frame, &all[..4000]),
            _ => victim.lacking_odd(link, &frame, 0),
        });
    }
    let old = victim.delivered.len() - 500;
    assert!(old > 500, "they come as well: {old}");
}

#[test]
fn whoever_answered_a_dial_is_not_out_of_reach() {
    let mut victim = Victim::among(4, 1);
    let peer = identity(3).public();
    (0..2).for_each(|_| victim.give(Input::DialFailed { peer }));
    assert_eq!(victim.node.overlay.failures(&peer), 2);
    victim.dialled(LinkId(3), peer);
    assert_eq!(victim.node.overlay.failures(&peer), 1);
}
