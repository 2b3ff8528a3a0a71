//! Attacks on one honest node by members that hold real keys and say whatever helps them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crypto::{Digest, PublicKey};
use crate::protocol::testing::{Victim, identity, list, restored};
use crate::protocol::{Down, Hole, Input, LinkId, RestoredLane, Time};
use crate::wire::{
    Batch, Compare, Differ, Frame, Header, Lacked, Missing, Reply, Request, Tip, Want, WhyMissing,
};

mod answering;
mod asking_again;
mod comparing;
mod cut_off;
mod differing;
mod full;
mod given_up;
mod holding_up;
mod linking;
mod recovering;
mod searching;
mod serving;
mod starving;
mod submitting;
mod throttle;
mod trouble;

/// The base of a batch that follows nothing.
const NOTHING: (u64, Digest) = (0, Digest::ZERO);

fn is_even(seq: u64) -> bool {
    seq.is_multiple_of(2)
}

fn even(batch: &&Batch) -> bool {
    is_even(batch.header.seq)
}

/// The answer to a want for a slot that is not given; `next` is the next slot that is held.
fn missing(want: &Want, why: WhyMissing, floor: u64, next: u64) -> Frame {
    let (ticket, lacked) = (want.ticket, Lacked::default());
    Frame::Missing(Missing { ticket, why, floor, next, lacked })
}

fn lacks(want: &Want, next: u64) -> Frame {
    missing(want, WhyMissing::Unknown, 0, next)
}

fn busy(want: &Want) -> Frame {
    missing(want, WhyMissing::Busy, 0, want.seq + 1)
}

fn pruned(want: &Want, floor: u64) -> Frame {
    missing(want, WhyMissing::Pruned, floor, 0)
}

/// Returns an honest member's answer to a want for a slot that it lacks: of the slots up to `last`,
/// it holds those for which `has` is true.
fn lacks_all_but(want: &Want, last: u64, has: impl Fn(u64) -> bool) -> Frame {
    let next = (want.seq + 1..=last).find(|seq| has(*seq)).unwrap_or(0);
    let mut lacked = Lacked::default();
    if next > 0 {
        (next + 1..=last).filter(|seq| !has(*seq)).for_each(|seq| lacked.mark(seq - next));
    }
    let (ticket, why) = (want.ticket, WhyMissing::Unknown);
    Frame::Missing(Missing { ticket, why, floor: 0, next, lacked })
}

fn hole(from: u64, to: u64) -> Hole {
    Hole { from, to, gone: false }
}

fn find<'a>(want: &Want, batches: &'a [Batch]) -> Option<&'a Batch> {
    let is = |header: &Header| header.author == want.author && header.seq == want.seq;
    batches.iter().find(|batch| is(&batch.header))
}

/// A hole that was given up.
fn gone(from: u64, to: u64) -> Hole {
    Hole { from, to, gone: true }
}

/// A lane with holes, as a start finds it.
fn lane(author: u16, tip: u64, holes: Vec<Hole>) -> RestoredLane {
    RestoredLane { tip, holes, ..RestoredLane::new(identity(author).public()) }
}

/// A lane up to `tip` whose odd slots were given up.
fn odd_ones_gone(tip: &Batch) -> RestoredLane {
    let holes = (1..tip.header.seq).step_by(2).map(|seq| gone(seq, seq)).collect();
    let slots = vec![restored(tip)];
    RestoredLane { tip: tip.header.seq, holes, slots, ..RestoredLane::new(tip.header.author) }
}

fn tip_of(batch: &Batch) -> Tip {
    Tip { slot: batch.signed_slot(), solid: batch.header.seq, floor: 0, holes: Digest::ZERO }
}

/// How members answer.
impl Victim {
    /// Lets all dials succeed, and ends the links that the node closed. `open` has the peer of each
    /// link. Returns whom the node dialled.
    fn meet(&mut self, open: &mut BTreeMap<LinkId, PublicKey>) -> Vec<PublicKey> {
        let dials = std::mem::take(&mut self.dials);
        for peer in &dials {
            self.met += 1;
            let link = LinkId(self.met);
            open.insert(link, *peer);
            self.dialled(link, *peer);
        }
        for (link, _) in std::mem::take(&mut self.closed) {
            open.remove(&link);
            self.give(Input::LinkDown { link, cause: Down::Closed });
        }
        dials
    }

    /// Answers a comparison with tips.
    fn tips(&mut self, link: LinkId, asked: &Compare, tips: impl IntoIterator<Item = Tip>) {
        let (ticket, tips) = (asked.ticket, list(tips.into_iter().collect()));
        let (ranges, above) = (list(vec![]), list(vec![]));
        self.say(link, &Frame::Differ(Differ { ticket, ranges, tips, above }));
    }

    /// Answers a comparison: nothing differs.
    fn agree(&mut self, link: LinkId, asked: &Compare) {
        self.tips(link, asked, []);
    }

    /// Answers a want with the batch, if it is one of `batches`.
    fn reply(&mut self, link: LinkId, want: &Want, batches: &[Batch]) {
        let reply = |batch: &Batch| {
            Frame::Reply(Box::new(Reply { ticket: want.ticket, hops: 1, batch: batch.clone() }))
        };
        self.say(link, &find(want, batches).map_or_else(|| lacks(want, 0), reply));
    }

    fn reply_all(&mut self, link: LinkId, request: &Request, batches: &[Batch]) {
        request.wants.iter().for_each(|want| self.reply(link, want, batches));
    }

    /// Answers all wants of a request: with the batch, or with what `otherwise` says.
    fn reply_or(
        &mut self,
        link: LinkId,
        request: &Request,
        batches: &[Batch],
        otherwise: impl Fn(&Want) -> Frame,
    ) {
        for want in request.wants.iter() {
            match find(want, batches) {
                Some(_) => self.reply(link, want, batches),
                None => self.say(link, &otherwise(want)),
            }
        }
    }

    fn answer_all(&mut self, link: LinkId, request: &Request, answer: impl Fn(&Want) -> Frame) {
        request.wants.iter().for_each(|want| self.say(link, &answer(want)));
    }

    /// Answers all wants of a request: nothing is there, and nothing above it.
    fn lack_all(&mut self, link: LinkId, request: &Request) {
        self.answer_all(link, request, |want| lacks(want, 0));
    }

    /// Answers as an honest member that has nothing.
    fn has_nothing(&mut self, link: LinkId, frame: &Frame) {
        match frame {
            Frame::Compare(asked) => self.agree(link, asked),
            Frame::Request(request) => self.lack_all(link, request),
            _ => {}
        }
    }

    /// Answers as a member that shows a tip, and lacks all that it is asked for.
    fn shows(&mut self, link: LinkId, frame: &Frame, tip: Tip) {
        match frame {
            Frame::Compare(asked) => self.tips(link, asked, [tip]),
            _ => self.has_nothing(link, frame),
        }
    }

    /// Answers as the only member that is ahead, which has pruned a lane up to slot `floor`.
    fn pruned_up_to(&mut self, link: LinkId, frame: &Frame, floor: u64, all: &[Batch]) {
        match frame {
            Frame::Compare(asked) => {
                let tip = all.last().map(|last| Tip { floor, ..tip_of(last) });
                self.tips(link, asked, tip);
            }
            Frame::Request(request) => {
                for want in request.wants.iter() {
                    match want.seq <= floor {
                        true => {
                            self.say(link, &missing(want, WhyMissing::Pruned, floor, floor + 1))
                        }
                        false => self.reply(link, want, all),
                    }
                }
            }
            _ => {}
        }
    }

    /// Answers as a member that holds those batches and says so.
    fn holder(&mut self, link: LinkId, frame: &Frame, batches: &[Batch]) {
        match frame {
            Frame::Compare(asked) => self.tips(link, asked, batches.last().map(tip_of)),
            Frame::Request(request) => self.reply_all(link, request, batches),
            _ => {}
        }
    }
}

/// Wants that members answer late.
#[derive(Default)]
struct Later(Vec<(Time, LinkId, Want)>);

impl Later {
    /// Leaves the wants of a request open for `ms` milliseconds.
    fn add(&mut self, victim: &Victim, ms: u64, link: LinkId, request: &Request) {
        let due = victim.now.after(Duration::from_millis(ms));
        self.0.extend(request.wants.iter().map(|want| (due, link, *want)));
    }

    /// Takes the wants that are to be answered by now.
    fn due(&mut self, now: Time) -> Vec<(LinkId, Want)> {
        let due = self.0.extract_if(.., |(due, ..)| *due <= now);
        due.map(|(_, link, want)| (link, want)).collect()
    }
}
