//! A link that brings nothing new is slowed down and never blamed; one that stays within its
//! allowance of useless work is not even slowed down.

use super::{Victim, identity, list};
use crate::crypto::Digest;
use crate::protocol::node::frames::cost;
use crate::protocol::{LinkId, Reason};
use crate::wire::limits::{IDLE_WORK_BURST, IDLE_WORK_PER_S};
use crate::wire::{Announce, Class, Frame, Push, Request, SlotId, Want};

const LINK: LinkId = LinkId(1);
const SECONDS: u64 = 5;

fn linked() -> Victim {
    let mut victim = Victim::among(4, 0);
    victim.link_as(1, LINK);
    victim
}

impl Victim {
    /// Sends a frame `per_ms` times each millisecond, as far as credit allows, for [`SECONDS`].
    /// Returns how often it was sent.
    fn flood(&mut self, frame: &Frame, per_ms: u64) -> u64 {
        let class = frame.kind().class();
        let (frames, bytes) = class.window().expect("a class with credit");
        let length = frame.encode().len() as u64;
        let mut count = 0;
        for _ in 0..SECONDS * 1000 {
            for _ in 0..per_ms {
                let consumed = self.consumed.get(&(LINK, class as u8)).copied().unwrap_or_default();
                if count - consumed.0 < frames && (count + 1) * length - consumed.1 <= bytes {
                    self.say(LINK, frame);
                    count += 1;
                }
            }
            self.wait(1);
        }
        assert_eq!(self.bans, [], "nobody is banned for a lack of news");
        count
    }

    /// A push of a batch. For slot 1, the node knows the batch after the first time.
    fn long_push(&self, seq: u64, length: usize) -> Frame {
        let prev = if seq == 1 { Digest::ZERO } else { Digest([1; 32]) };
        let batch = self.batch(2, seq, prev, vec![1; length]);
        Frame::Push(Box::new(Push { hops: 1, batch }))
    }
}

fn bound(cost: u64, class: Class) -> u64 {
    let (window, _) = class.window().expect("credited");
    (IDLE_WORK_BURST + IDLE_WORK_PER_S * SECONDS) / cost + window + 1
}

#[test]
fn a_flood_of_copies_earns_credit_at_its_rate() {
    let mut victim = linked();
    let copy = victim.long_push(1, 100);
    let count = victim.flood(&copy, 100);
    assert!(count <= bound(1, Class::Push), "{count} copies");
    assert!(count >= IDLE_WORK_PER_S * SECONDS, "{count}: it is slowed down, not cut off");
    let rejected = victim.node.snapshot().counters.rejected;
    assert!(rejected.keys().all(|reason| *reason == Reason::Replayed), "{rejected:?}");
}

#[test]
fn what_honest_redundancy_costs_is_not_slowed_down() {
    let mut victim = linked();
    let copy = victim.long_push(1, 100);
    let per_second = IDLE_WORK_PER_S - 1;
    assert!(victim.flood(&copy, 1) >= per_second * SECONDS);
}

#[test]
fn floods_of_invented_ids_and_of_requests_are_slowed_down() {
    let mut victim = linked();
    let author = identity(2).public();
    let invented = |i: u64| SlotId { author, seq: 1 + i, id: Digest([i as u8 + 1; 32]) };
    let items = list((0..128).map(invented).collect());
    let count = victim.flood(&Frame::Announce(Announce { items }), 20);
    assert!(count <= bound(cost::announce(128, true), Class::Announce), "{count} announcements");

    let mut victim = linked();
    let want = |ticket| Want { ticket, author, seq: 1, id: None };
    let wants = list((0..16).map(want).collect());
    let count = victim.flood(&Frame::Request(Request { wants }), 20);
    assert!(count <= bound(cost::request(16), Class::Request), "{count} requests");
}

/// Long copies, and long batches that are too far ahead, are charged for their bytes.
#[test]
fn useless_bytes_are_slowed_down_as_well_as_useless_frames() {
    const LENGTH: usize = 64 << 10;
    for seq in [1, 5000] {
        let mut victim = linked();
        let push = victim.long_push(seq, LENGTH);
        let count = victim.flood(&push, 1);
        assert!(count <= bound(cost::copy(LENGTH), Class::Push), "{count} of 64 KiB");
        let rejected = victim.node.snapshot().counters.rejected;
        let known = [Reason::Replayed, Reason::TooFarAhead];
        assert!(rejected.keys().all(|reason| known.contains(reason)), "{rejected:?}");
    }
}

/// A peer that sends more copies than it may is still heard in all other classes.
#[test]
fn a_link_whose_copies_are_slowed_down_is_not_starved_of_the_rest() {
    let mut victim = linked();
    let copy = victim.long_push(1, 64 << 10);
    victim.flood(&copy, 1);
    let author = identity(2).public();
    victim.sent.clear();
    for ticket in 0..100 {
        let wants = list(vec![Want { ticket, author, seq: 9, id: None }]);
        victim.say(LINK, &Frame::Request(Request { wants }));
        victim.wait(1);
    }
    let missing = victim.sent.iter().filter(|(_, frame)| matches!(frame, Frame::Missing(_)));
    assert_eq!(
        (missing.count(), victim.bans.len()),
        (100, 0),
        "requests have a credit of their own"
    );
    let link = victim.node.links.get(LINK).expect("up");
    assert!(link.owed() > 0, "credit for the copies is withheld meanwhile");
}
