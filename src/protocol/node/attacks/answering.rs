//! Liars that answer late, little or nothing do not keep missing slots from coming.

use super::{Later, NOTHING, Victim, busy, even, gone, identity, lacks, list, pruned, tip_of};
use crate::crypto::Digest;
use crate::protocol::LinkId;
use crate::wire::{Class, Frame, Request, SlotId, Want};

/// A liar leaves a probe open and links anew before its silence is held against it. The holder,
/// member 3, must still be asked for the slots that were given up.
#[test]
fn a_liar_that_links_anew_keeps_nobody_from_being_asked_for_what_was_given_up() {
    for lies in [false, true] {
        let mut victim = Victim::among(7, 1);
        victim.leave_alone();
        let old = victim.chain(7, 7);
        let restart = victim.restart(7, 8, (5, old[4].id()));
        victim.links([2, 4, 5]);
        victim.push_all(LinkId(2), &old[..5]);
        victim.push(LinkId(2), &restart);
        let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match (&frame, link.0) {
            (Frame::Compare(asked), _) => victim.agree(link, asked),
            (Frame::Request(_), 3) => victim.holder(link, &frame, &old),
            (Frame::Request(request), of) if !lies || [2, 4, 5].contains(&of) => {
                victim.answer_all(link, request, |want| lacks(want, 8));
            }
            _ => {}
        };
        victim.run(30_000, &mut react);
        assert_eq!(victim.holes_of(7), [gone(6, 7)]);
        victim.link_as(1, LinkId(100));
        victim.run(1000, &mut react);
        victim.link(3);
        for round in 0..100 {
            victim.run(6000, &mut react);
            victim.link_as(1, LinkId(101 + round));
        }
        assert_eq!(victim.blamed(1), None);
        assert_eq!(victim.delivered.len(), 8, "lies {lies}: after ten minutes");
    }
}

/// Two nodes were away at once: the victim and member 2. Member 1 is the author, has pruned what
/// they missed, and is the only one ahead. The liar, member 3, announces batches that do not exist.
/// The lane must go on past the gap.
#[test]
fn invented_ids_do_not_keep_a_lane_from_going_on() {
    for (lies, gap) in [(false, 1500u64), (true, 1500), (true, 100)] {
        let mut victim = Victim::among(4, 0);
        victim.leave_alone();
        let all = victim.chain(1, gap + 50);
        victim.links(1..4);
        let (mut later, mut fake) = (Later::default(), 0);
        for step in 0..2400u64 {
            if lies && step % 60 == 0 {
                fake += 1;
                let invented = victim.batch(1, 1, Digest::ZERO, format!("fake {fake}"));
                victim.announce(LinkId(3), &[invented]);
            }
            victim.run(50, |victim, link, frame| match (&frame, link.0) {
                (_, 1) => victim.pruned_up_to(link, &frame, gap, &all),
                (Frame::Request(request), 3) => later.add(victim, 5000, link, request),
                (_, 2) => victim.holder(link, &frame, &[]),
                (Frame::Compare(asked), _) => victim.agree(link, asked),
                _ => {}
            });
            for (link, want) in later.due(victim.now) {
                victim.say(link, &lacks(&want, 0));
            }
        }
        let tip = victim.tip(1);
        assert!(
            victim.delivered.len() >= 50,
            "lies {lies} gap {gap}: tip {tip} delivered {} closed {:?}",
            victim.delivered.len(),
            victim.closed
        );
    }
}

/// An author lost its disk. A liar shows it its own tip and answers `Busy` for each slot, in some
/// rounds late and from the last slot down; all others have pruned. The author must publish within
/// 20 minutes.
#[test]
fn a_busy_liar_keeps_no_author_from_going_on() {
    for (slow, descending) in [(false, false), (false, true), (true, true)] {
        let mut victim = Victim::among(4, 0);
        let top = 100_000;
        let last = victim.stray(0, top);
        victim.links(1..4);
        let mut later = Later::default();
        let mut began = victim.now;
        let mut published = false;
        while victim.own().iter().all(|(seq, _)| *seq <= top)
            && victim.now.since(began).as_secs() < 1200
        {
            victim.run(if slow { 50 } else { 5 }, |victim, link, frame| match (&frame, link.0) {
                (Frame::Compare(asked), _) => victim.tips(link, asked, [tip_of(&last)]),
                (Frame::Request(request), 1) => {
                    let mut wants = request.wants.to_vec();
                    if descending {
                        wants.reverse();
                    }
                    let wants = list(wants);
                    later.add(victim, if slow { 9000 } else { 0 }, link, &Request { wants });
                }
                (Frame::Request(request), _) => {
                    victim.answer_all(link, request, |want| pruned(want, top));
                }
                _ => {}
            });
            if !published && victim.tip(0) == top {
                published = true;
                began = victim.now;
                victim.publish();
            }
            for (link, want) in later.due(victim.now) {
                victim.say(link, &busy(&want));
            }
        }
        let took = victim.now.since(began);
        assert!(took.as_secs() < 1200, "slow {slow} descending {descending}: {:?}", victim.own());
    }
}

/// A liar that makes the victim spend a link's requests on ids that it invents. Now and then it
/// answers, and grants credit for, all requests but the last two.
#[derive(Default)]
struct Dribbler {
    requests: Vec<(Vec<Want>, u64)>,
    answered: usize,
    invented: u64,
}

impl Dribbler {
    /// Announces slots above the tips of 40 authors, with ids that nobody has.
    fn announce(&mut self, victim: &mut Victim, link: LinkId) {
        let invent = |author: u16| {
            self.invented += 1;
            let id = Digest::of(&[&self.invented.to_be_bytes()]);
            SlotId { author: identity(author).public(), seq: 1 + self.invented % 900, id }
        };
        victim.announce_slots(link, (4..44).map(invent));
    }

    fn answer(&mut self, victim: &mut Victim, link: LinkId) {
        let upto = self.requests.len().saturating_sub(2);
        if upto <= self.answered {
            return;
        }
        let wants = self.requests[self.answered..upto].iter().flat_map(|(wants, _)| wants);
        wants.for_each(|want| victim.say(link, &lacks(want, 0)));
        self.answered = upto;
        let bytes = self.requests[..upto].iter().map(|(_, bytes)| bytes).sum();
        victim.credit(link, Class::Request, (upto as u64, bytes));
    }
}

/// An author lost its disk and was shown its own tip 5, and two members lack all of it. A liar that
/// grants a little credit now and then must not keep the author from publishing.
#[test]
fn whoever_grants_a_little_credit_now_and_then_holds_up_no_author() {
    for lies in [false, true] {
        let mut victim = Victim::among(4, 40);
        let old = victim.chain(0, 5);
        let liar = victim.link(1);
        victim.links(2..4);
        victim.leave_alone();
        victim.misers.extend(lies.then_some((liar, Class::Request)));
        let (mut dribbler, mut published) = (Dribbler::default(), false);
        for second in 0..600 {
            if lies {
                dribbler.announce(&mut victim, liar);
            }
            victim.run(1000, |victim, link, frame| match (&frame, link.0) {
                (Frame::Compare(asked), 1) if second >= 5 => {
                    victim.tips(link, asked, [tip_of(&old[4])])
                }
                (Frame::Request(request), 1) if lies => {
                    let length = frame.encode().len() as u64;
                    dribbler.requests.push((request.wants.to_vec(), length));
                }
                _ => victim.has_nothing(link, &frame),
            });
            if lies && second % 3 == 2 {
                dribbler.answer(&mut victim, liar);
            }
            if !published && victim.tip(0) == 5 {
                published = true;
                victim.publish();
            }
        }
        assert_eq!(victim.blamed(1), None);
        assert!(!victim.own().is_empty(), "lies {lies}: {:?}", victim.holes);
    }
}

/// Lanes have many holes, and one link grants no credit. Slots that wait for its credit must not be
/// planned for again and again.
#[test]
fn slots_that_wait_for_credit_cost_little() {
    let mut plans = vec![];
    for miser in [false, true] {
        const AUTHORS: u16 = 8;
        let mut victim = Victim::among(31, AUTHORS + 16);
        let links = victim.links(1..=12);
        let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
            Frame::Compare(asked) => victim.agree(link, asked),
            Frame::Request(request) if miser && link.0 == 12 => victim.lack_all(link, request),
            Frame::Request(request) => {
                victim.answer_all(link, request, |want| lacks(want, want.seq + 1));
            }
            Frame::Ping => victim.say(link, &Frame::Ping),
            _ => {}
        };
        if miser {
            // What the link announces takes all of its credit before there is any hole.
            victim.misers.insert((links[11], Class::Request));
            for a in 0..16 {
                let some = victim.chain(31 + AUTHORS + a, 4);
                victim.announce(links[11], &some);
                victim.run(if a % 4 == 3 { 500 } else { 0 }, react);
            }
        }
        for a in 31..31 + AUTHORS {
            victim.push_all(links[0], victim.chain(a, 600).iter().filter(even).take(256));
            victim.push(links[0], &victim.restart(a, 601, NOTHING));
        }
        victim.run(1500, react);
        let before = victim.node.recovery.plans;
        victim.run(3000, react);
        plans.push(victim.node.recovery.plans - before);
    }
    assert!(plans[1] < plans[0] * 3, "{plans:?} slots were planned for");
}

/// The author lost its store. One member holds all that the author published but the last slot, and
/// takes nine seconds for each answer; the others lack it. The author must go on within 90 s.
#[test]
fn a_member_that_trickles_an_author_s_old_slots_keeps_it_from_going_on_for_a_while_only() {
    let mut victim = Victim::among(4, 0);
    victim.leave_alone();
    let old = victim.chain(0, 3000);
    victim.links(1..4);
    let mut later = Later::default();
    let began = victim.now;
    while victim.own().is_empty() && victim.now.since(began).as_secs() < 2000 {
        victim.run(100, |victim, link, frame| match (&frame, link.0) {
            (Frame::Compare(asked), 1) => victim.tips(link, asked, [tip_of(&old[2999])]),
            (Frame::Request(request), 1) => later.add(victim, 9000, link, request),
            _ => victim.has_nothing(link, &frame),
        });
        if victim.now.since(began).as_millis() == 5000 {
            victim.publish();
        }
        for (link, want) in later.due(victim.now) {
            victim.reply(link, &want, &old[..2999]);
        }
    }
    let took = victim.now.since(began).as_secs();
    assert!(took < 90, "{took} s, {} of its slots came", victim.rows.len());
}
