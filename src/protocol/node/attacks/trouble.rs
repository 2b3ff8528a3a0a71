//! Honest members whose disk, link or store fails for a while are not taken for liars.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Later, Victim, busy, gone, identity, lacks, missing, restored, tip_of};
use crate::crypto::Digest;
use crate::protocol::{Input, LinkId, RestoredLane, RestoredSlot};
use crate::wire::{Batch, Class, Frame, RangeHash, Tip, Want, WhyMissing};

/// An author restarted once, which leaves a hole forever. Member 2 came with an empty disk, and
/// has everything by now. The victim was cut off meanwhile, and comes back to member 1, a liar, and
/// to member 2, which it must ask.
#[test]
fn whoever_was_empty_once_is_asked_for_what_was_signed_since() {
    for gap in [700u64, 50] {
        let mut victim = Victim::among(4, 1);
        victim.leave_alone();
        let mut all = victim.chain(4, 5);
        all.push(victim.restart(4, 100, (5, all[4].id())));
        victim.extend(&mut all, 4, 100 + gap);
        let links = victim.links([1, 3]);
        victim.push_all(links[0], &all[..7]);
        let react = |victim: &mut Victim, link: LinkId, frame: Frame| match &frame {
            Frame::Compare(asked) => victim.agree(link, asked),
            Frame::Request(request) => {
                let next = if link.0 == 2 { 0 } else { 100 };
                victim.answer_all(link, request, |want| lacks(want, next));
            }
            _ => {}
        };
        victim.run(5000, react);
        assert_eq!(victim.holes_of(4), [gone(6, 99)]);
        victim.link(2); // its disk is empty
        victim.run(1000, react);
        [1, 2, 3].into_iter().for_each(|link| victim.lose(LinkId(link)));
        victim.run(20_000, |_, _, _| ());
        victim.link_as(1, LinkId(11));
        victim.link_as(2, LinkId(12));
        let mut asked = 0;
        victim.run(60_000, |victim, link, frame| match (&frame, link.0) {
            (Frame::Request(_), 12) => {
                asked += 1;
                victim.holder(link, &frame, &all);
            }
            (Frame::Compare(asked), 11) => victim.agree(link, asked),
            (_, 12) => victim.holder(link, &frame, &all),
            _ => {}
        });
        assert_eq!(victim.delivered.len(), all.len(), "gap {gap}: asked {asked}");
    }
}

/// The only holder could not read its disk for a moment.
#[test]
fn whoever_was_busy_once_is_asked_again() {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    let all = victim.chain(4, 10);
    let links = victim.links([1, 2]);
    victim.push_all(links[0], &all[..9]);
    let mut asked = 0;
    victim.run(60_000, |victim, link, frame| match (&frame, link.0) {
        (Frame::Request(request), 2) => {
            asked += 1;
            for want in request.wants.iter() {
                match asked {
                    1 => victim.say(link, &missing(want, WhyMissing::Busy, 0, 0)),
                    _ => victim.reply(link, want, &all),
                }
            }
        }
        (Frame::Compare(asked), 1) => victim.agree(link, asked),
        (_, 2) => victim.holder(link, &frame, &all),
        _ => {}
    });
    assert_eq!(victim.delivered.len(), all.len(), "asked {asked}");
}

/// An honest member on a slow link: it answers one want at a time, in order, and grants credit as a
/// node does.
#[derive(Default)]
struct Slow {
    waiting: VecDeque<(usize, Want)>,
    /// By number of the request: how many of its wants are not answered, and its length in bytes.
    open: BTreeMap<usize, (usize, u64)>,
    requests: usize,
    consumed: (u64, u64),
    reported: u64,
    due: Option<u64>,
}

impl Slow {
    fn asked(&mut self, frame: &Frame, wants: &[Want]) {
        self.requests += 1;
        self.open.insert(self.requests, (wants.len(), frame.encode().len() as u64));
        self.waiting.extend(wants.iter().map(|want| (self.requests, *want)));
    }

    fn answer(&mut self, victim: &mut Victim, link: LinkId, all: &[Batch]) {
        let Some((request, want)) = self.waiting.pop_front() else { return };
        victim.reply(link, &want, all);
        let (open, length) = self.open.get_mut(&request).expect("open");
        *open -= 1;
        if *open > 0 {
            return;
        }
        self.consumed = (self.consumed.0 + 1, self.consumed.1 + *length);
        let now = victim.now.0;
        let soon = if self.consumed.0 - self.reported >= 2 { now } else { now + 500_000 };
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn grant(&mut self, victim: &mut Victim, link: LinkId) {
        if self.due.take_if(|due| *due <= victim.now.0).is_some() {
            self.reported = self.consumed.0;
            victim.credit(link, Class::Request, self.consumed);
        }
    }
}

/// There is so much to ask for that a link's requests are never all answered. The link must stay
/// up.
#[test]
fn a_slow_link_that_is_busy_is_not_closed() {
    let mut victim = Victim::among(4, 40);
    victim.leave_alone();
    let all: Vec<Batch> = (4..44).flat_map(|author| victim.chain(author, 12)).collect();
    let link = victim.link(1);
    victim.misers.insert((link, Class::Request));
    for seq in 1..=12 {
        let some: Vec<Batch> = all.iter().filter(|b| b.header.seq == seq).cloned().collect();
        victim.announce(link, &some);
    }
    let mut slow = Slow::default();
    for _ in 0..600 {
        victim.run(100, |victim, link, frame| match &frame {
            Frame::Compare(asked) => victim.agree(link, asked),
            Frame::Request(request) => slow.asked(&frame, &request.wants),
            _ => {}
        });
        slow.answer(&mut victim, link, &all);
        slow.grant(&mut victim, link);
    }
    assert_eq!((victim.closed.len(), victim.delivered.len()), (0, all.len()));
}

/// Member 1 holds what is missing, and answers everything. Its link is lost twice, just when it was
/// asked for much of another lane. Nothing may be given up.
#[test]
fn a_busy_moment_is_not_silence() {
    let mut victim = Victim::among(4, 21);
    let all = victim.chain(4, 30);
    let other: Vec<Batch> = (5..25).flat_map(|a| victim.chain(a, 4)).collect();
    victim.links([2, 3]);
    let h = victim.link(1);
    victim.push_all(LinkId(2), &all);
    let react = |victim: &mut Victim, link: LinkId, frame: Frame| match (&frame, link.0) {
        (Frame::Compare(asked), _) => victim.agree(link, asked),
        (Frame::Request(request), 2 | 3) => {
            victim.answer_all(link, request, |want| lacks(want, want.seq + 1))
        }
        _ => {}
    };
    victim.run(1000, react);
    victim.misers.insert((h, Class::Request));
    for some in other.chunks(16) {
        victim.announce(h, some);
        victim.run(300, react);
    }
    let asked = victim.spent.get(&(h, Class::Request)).copied();
    victim.damage(&all[11]);
    victim.run(100, react);
    let withholds = victim.node.links.get(h).and_then(|held| held.withholds);
    victim.lose(h);
    victim.run(1000, react);
    assert_eq!(victim.node.counters().given_up, 0, "it may come back");
    let h = victim.link_as(1, LinkId(11));
    victim.run(100, react); // it is asked for the slot, and its link is lost again
    victim.lose(h);
    victim.run(1000, react);
    assert_eq!(
        victim.node.counters().given_up,
        0,
        "requests {asked:?} withholds {withholds:?} {:?}",
        victim.holes
    );
}

/// The only holder cannot read its disk for its first milliseconds; the others have pruned.
#[test]
fn a_moment_of_failing_reads_gives_nothing_up() {
    for failing in [0, 1, 50] {
        let mut victim = Victim::among(4, 1);
        let all = victim.chain(4, 300);
        victim.links(2..4);
        let linked = victim.now.after(Duration::from_secs(3));
        let mut react = |victim: &mut Victim, link: LinkId, frame: Frame| match (&frame, link.0) {
            (Frame::Compare(asked), n) => {
                let floor = if n == 1 { 0 } else { 200 };
                victim.tips(link, asked, [Tip { floor, ..tip_of(&all[299]) }]);
            }
            (Frame::Request(request), 1) => {
                let fails = victim.now.since(linked).as_millis() < failing;
                for want in request.wants.iter() {
                    match fails {
                        true => victim.say(link, &busy(want)),
                        false => victim.reply(link, want, &all),
                    }
                }
            }
            (Frame::Request(request), _) => {
                victim.reply_or(link, request, &all[200..], |want| {
                    missing(want, WhyMissing::Pruned, 200, 201)
                });
            }
            _ => {}
        };
        victim.run(3000, &mut react);
        victim.link(1);
        victim.run(60_000, &mut react);
        assert_eq!(victim.delivered.len(), 300, "after {failing} ms");
    }
}

/// A liar showed a floor while the only holder of sixty slots was away, and all others were asked.
/// The holder comes back, and takes 20 ms for each answer.
#[test]
fn what_is_left_of_a_hole_is_asked_for_once_some_of_it_came() {
    let mut victim = Victim::among(4, 1);
    victim.leave_alone();
    let all = victim.chain(4, 60);
    victim.links(1..3);
    let mut later = Later::default();
    for ms in (0..20_000).step_by(5) {
        if ms == 5000 {
            victim.link(3);
        }
        victim.run(5, |victim, link, frame| match (&frame, link.0) {
            (Frame::Compare(asked), 1 | 3) => {
                let floor = if link.0 == 1 { 59 } else { 0 };
                victim.tips(link, asked, [Tip { floor, ..tip_of(&all[59]) }]);
            }
            (Frame::Request(request), 3) => later.add(victim, 20, link, request),
            _ => victim.has_nothing(link, &frame),
        });
        for (link, want) in later.due(victim.now) {
            victim.reply(link, &want, &all);
        }
    }
    assert_eq!(victim.delivered.len(), 60);
}

/// A start believed the lower of two rows because the higher one follows it; then the higher row is
/// lost.
#[test]
fn a_batch_that_a_start_believed_counts_as_held_until_its_bad_row_is_set_aside() {
    let (author, all) = (identity(4).public(), Victim::among(4, 1).chain(4, 2));
    let mut slots: Vec<RestoredSlot> = all.iter().map(restored).collect();
    slots[0].signature.0[0] ^= 1;
    let lanes = vec![RestoredLane { slots, ..RestoredLane::new(author) }];
    let mut victim = Victim::with_lanes(4, 1, lanes);
    let link = victim.link(1);
    victim.give(Input::Damaged { author, seq: 2, id: all[1].id() });
    for ticket in 1..4 {
        let end = victim.network.keys().len() as u32;
        victim.compare(link, ticket, vec![RangeHash { start: 0, end, hash: Digest([9; 32]) }]);
        victim.run(1000, |_, _, _| ());
    }
    assert_eq!(victim.doubts, [(1, all[0].id())], "and once");
    victim.push(link, &all[0]);
    assert_eq!(victim.delivered, [], "the bad row would be in its way");
    victim.give(Input::Damaged { author, seq: 1, id: all[0].id() });
    victim.push(link, &all[0]);
    assert_eq!(victim.delivered, [all[0].id()]);
}
