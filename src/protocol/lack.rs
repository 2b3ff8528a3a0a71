//! Lack: what a member is known to lack of a lane, learned from its own answers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::time::{Time, doubled};
use crate::crypto::Digest;
use crate::wire::Lacked;
use crate::wire::limits::{MAX_LACKED, MAX_WANTS};

/// First pause before a member is asked again for a slot that it lacked; doubles each time up to
/// [`BELIEVED`].
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(2);
/// How long a member's answer is believed. Also the longest pause before it is asked again.
pub(super) const BELIEVED: Duration = Duration::from_secs(600);
/// A member is not asked for a slot above the tip if it said less than this long ago that it lacks
/// it, whatever its own tip: it announces new batches.
const LATELY: Duration = Duration::from_secs(5);
/// After this many slots that a member offered and did not give, its offers are ignored.
const MAX_BROKEN: u32 = 8;
/// A member that was busy this often in a row, after ever longer pauses, counts as unreachable.
const MAX_BUSY: u32 = 4;
/// Most offers of a member that are remembered: as many as one request can bring.
const MAX_OFFERS: usize = MAX_WANTS;

/// A member's answer about the slots above one that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The lowest slot above that the member has; `u64::MAX` if none.
    pub next: u64,
    /// The slots above `next` that the member lacks.
    pub lacked: Lacked,
}

/// What this node itself holds of the lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    /// No slot below this one is asked for.
    pub lowest: u64,
    /// Whether this node holds the offered slot, so that the offer is never tried.
    pub has_next: bool,
}

/// A member's answer about the slots `from..end`; an `end` of `u64::MAX` means all slots above.
#[derive(Clone, Copy, Debug)]
struct Answer {
    from: u64,
    end: u64,
    /// The member lacks the slots below `next` and those marked above it.
    offer: Offer,
    /// When the member answered.
    at: Time,
}

impl Answer {
    /// The answer of a member that lacks slot `seq`. It ends with the last slot that it marks:
    /// nothing is known above.
    fn new(seq: u64, offer: Offer, at: Time) -> Self {
        let last = offer.lacked.last().unwrap_or(0);
        Self { from: seq, end: offer.next.saturating_add(last).saturating_add(1), offer, at }
    }

    fn lacks(&self, seq: u64) -> bool {
        let Offer { next, lacked } = &self.offer;
        seq < *next || *next == u64::MAX || lacked.contains(seq - next)
    }

    /// The lowest slot at or above `seq` that the member may have; `end` if none.
    fn held_from(&self, seq: u64) -> u64 {
        if self.lacks(seq) { self.next(seq) } else { seq }
    }

    /// The part of the answer about slots at and above `from`.
    fn rest(&self, from: u64) -> Self {
        let next = self.held_from(from);
        let mut lacked = Lacked::default();
        for seq in next.saturating_add(1)..self.end {
            lacked.set(seq - next, self.lacks(seq));
        }
        Self { from, offer: Offer { next, lacked }, ..*self }
    }

    /// Merges a later answer that begins inside this one, as far as this one can represent it:
    /// answers about neighbouring slots say nearly the same and would pile up. Returns whether they
    /// could be merged. They cannot if the new answer lacks the slot offered here, or found one
    /// below it, or if this answer is older than `round`, in which case the slots beside the new
    /// answer are asked about anew.
    fn takes(&mut self, new: &Self, round: Time) -> bool {
        let (next, whole) = (self.offer.next, new.from == self.from);
        let found = next >= new.from && new.held_from(new.from) != next.min(new.end);
        if found || self.at < round {
            return false;
        }
        let first = new.from.max(next.saturating_add(1));
        let upto = new.end.min(next.saturating_add(Lacked::SLOTS + 1));
        for seq in first..upto {
            self.offer.lacked.set(seq - next, new.lacks(seq));
        }
        (self.end, self.at) = (self.end.max(upto), if whole { new.at } else { self.at });
        true
    }

    /// The lowest slot above `seq` that the member may have; `end` if none.
    fn next(&self, seq: u64) -> u64 {
        let Offer { next, lacked } = &self.offer;
        if seq < *next || *next == u64::MAX {
            return (*next).min(self.end);
        }
        let held = lacked.first_held(seq - next + 1).map(|above| next.saturating_add(above));
        held.unwrap_or(self.end).min(self.end)
    }
}

/// What one member is known to lack of one lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Lack {
    /// Ascending, disjoint, at most `MAX_LACKED`. Every answer about slots that may be asked for is
    /// kept: a node that forgot one slot's answer while asking for another would ask for both for
    /// ever.
    answers: Vec<Answer>,
    /// When the member may be asked again for what it lacks; it may have received some of it since.
    again: Time,
    /// When the current round of asking began. Answers from before may be asked for again.
    round: Time,
    /// How many such rounds there were.
    times: u32,
    /// The holes that the member showed when a round of probing for given-up slots began, and when.
    shown: Option<(Digest, Time)>,
    /// Slots that the member gave since it last lacked one.
    given: usize,
    /// Whether the member gave the last slot below the tip that it was asked for.
    gives: bool,
    /// Slots that the member offered lately, and (`broken`) how many it offered and did not give.
    offered: BTreeSet<u64>,
    broken: u32,
    /// How often the member was busy since it last gave something; counted once per pause.
    busy: u32,
    /// The member is not asked before this time, because it was busy.
    busy_until: Time,
}

impl Lack {
    /// How many answers are kept.
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Records that the member gave a slot; `missing` says whether the slot was missing below the
    /// tip. If the member lacked it before, it has received more since: its answers about the slots
    /// around are forgotten, and it may soon be asked again for all others.
    pub(super) fn gave(&mut self, seq: u64, missing: bool, now: Time) {
        self.gives |= missing;
        if self.lacks(seq, now) {
            self.answers.retain(|answer| seq < answer.from || answer.end <= seq);
            (self.times, self.again) = (0, self.again.min(now.after(ASK_AGAIN_FIRST)));
        }
        (self.broken, self.busy, self.given) = (0, 0, self.given.saturating_add(1));
        self.offered.clear();
    }

    /// Records that the member could not say whether it has a slot.
    pub(super) fn is_busy(&mut self, now: Time) {
        if self.busy_until <= now {
            self.busy_until = now.after(pause(self.busy));
            self.busy = self.busy.saturating_add(1);
        }
    }

    /// Whether the member may be asked, that is, it was not busy lately.
    pub(super) fn can_say(&self, now: Time) -> bool {
        self.busy_until <= now
    }

    /// Whether the member was busy too often to be waited for.
    pub(super) fn is_silent(&self, now: Time) -> bool {
        self.busy >= MAX_BUSY && now.since(self.busy_until) < BELIEVED
    }

    /// Whether the member may be asked again for a slot that it lacked.
    pub(super) fn may_ask_again(&self, seq: u64, now: Time) -> bool {
        self.again <= now || self.find(seq).is_none_or(|answer| answer.at < self.round)
    }

    /// Records that the member shows other holes than this node. If they also differ from those it
    /// showed before, it may have received what it lacked, and may be asked again for given-up
    /// slots, at most once per `ASK_AGAIN_FIRST`.
    pub(super) fn shows(&mut self, holes: Digest, now: Time) {
        let waits =
            |(before, at): (Digest, Time)| before == holes || now < at.after(ASK_AGAIN_FIRST);
        if !self.shown.is_some_and(waits) {
            self.shown = Some((holes, now));
        }
    }

    /// The member's answer about a given-up slot, if it is still believed: the end of the answer,
    /// and the lowest slot at or above `seq` that the member may have.
    pub(super) fn told(&self, seq: u64, now: Time) -> Option<(u64, u64)> {
        let holds =
            |answer: &&Answer| answer.at >= self.probed() && now.since(answer.at) < BELIEVED;
        let answer = self.find(seq).filter(holds)?;
        Some((answer.end, answer.held_from(seq)))
    }

    /// Since when the member may be asked again for given-up slots.
    fn probed(&self) -> Time {
        self.shown.map_or(Time(0), |(_, at)| at)
    }

    /// How many given-up slots the member may be asked for: at most `most`. Where no more answers
    /// can be kept, one, and only if it lately showed other holes.
    pub(super) fn probes(&self, most: usize, now: Time) -> usize {
        match (self.is_known_well(now), now.since(self.probed()) < LATELY) {
            (false, _) => most,
            (true, lately) => usize::from(lately),
        }
    }

    /// Whether the member gave the last missing slot that it was asked for.
    pub(super) fn gives(&self) -> bool {
        self.gives
    }

    /// Whether no more answers can be kept.
    pub(super) fn is_known_well(&self, now: Time) -> bool {
        let fresh = self.answers.iter().filter(|answer| now.since(answer.at) < BELIEVED);
        fresh.count() >= MAX_LACKED
    }

    /// Whether the member may be asked for `seq` while `open` other slots are open. It may for
    /// slots that it gave an answer about. For others one question is enough, as its answer covers
    /// many slots, plus one for each slot that it gave.
    pub(super) fn allows(&self, seq: u64, open: usize) -> bool {
        open <= self.given || self.find(seq).is_some()
    }

    /// Whether the member said that it lacks a slot and that is still believed.
    pub(super) fn lacks(&self, seq: u64, now: Time) -> bool {
        self.lacking(seq, now).is_some()
    }

    fn lacking(&self, seq: u64, now: Time) -> Option<&Answer> {
        let fresh = |answer: &&Answer| now.since(answer.at) < BELIEVED;
        self.find(seq).filter(|answer| answer.lacks(seq)).filter(fresh)
    }

    /// If the member is believed to lack `seq`, the lowest slot above that it may have.
    pub(super) fn next(&self, seq: u64, now: Time) -> Option<u64> {
        let mut next = self.lacking(seq, now)?.next(seq);
        while let Some(answer) = self.lacking(next, now).filter(|_| next < u64::MAX) {
            next = answer.next(next); // the next answer may begin where this one ends
        }
        Some(next)
    }

    /// The lowest slot in `from..=to` that the member said it has, if that is still believed.
    pub(super) fn offers(&self, from: u64, to: u64, now: Time) -> Option<u64> {
        let seq = self.next(from, now).unwrap_or(from);
        let fresh = |answer: &Answer| !answer.lacks(seq) && now.since(answer.at) < BELIEVED;
        (seq <= to && self.find(seq).is_some_and(fresh)).then_some(seq)
    }

    /// Whether the member said lately that it lacks a slot; it would announce the slot if it came
    /// since.
    pub(super) fn said_lately(&self, seq: u64, now: Time) -> bool {
        let lately = |answer: &Answer| answer.lacks(seq) && now.since(answer.at) < LATELY;
        self.find(seq).is_some_and(lately)
    }

    fn find(&self, seq: u64) -> Option<&Answer> {
        let after = self.answers.partition_point(|answer| answer.from <= seq);
        let answer = self.answers.get(after.checked_sub(1)?)?;
        (seq < answer.end || answer.end == u64::MAX).then_some(answer)
    }

    /// Records that the member lacks a slot, and what else its answer says.
    pub(super) fn learn(&mut self, seq: u64, offer: &Offer, own: Own, now: Time) {
        self.gives = false;
        if self.again <= now {
            (self.round, self.again) = (now, now.after(pause(self.times)));
            self.times = self.times.saturating_add(1);
        }
        self.answers.retain(|answer| now.since(answer.at) < BELIEVED);
        let next = offer.next.max(seq.saturating_add(1));
        // A slot that the member lacked may have reached it before us, and another peer may have
        // given it to us. What the member said before it showed other holes is not a lie either.
        let said = self.told(next, now).is_some_and(|(_, held)| held > next);
        let lies = next != u64::MAX && !own.has_next && said;
        if self.offered.contains(&seq) || lies {
            self.broken = self.broken.saturating_add(1);
        }
        let next = if self.broken < MAX_BROKEN { next } else { u64::MAX };
        self.offered.insert(next);
        if self.offered.len() > MAX_OFFERS {
            self.offered.pop_first();
        }
        if !self.lacks(seq, now) {
            self.given = 0;
        }
        self.insert(Answer::new(seq, Offer { next, ..*offer }, now));
        let mut excess = self.answers.len().saturating_sub(MAX_LACKED);
        let probed = self.probed();
        self.answers.retain(|answer| {
            let goes = excess > 0 && answer.at < probed; // the node asks about these slots anew
            excess -= usize::from(goes);
            !goes
        });
        let settled = self.answers.partition_point(|answer| answer.end <= own.lowest);
        self.answers.drain(..settled.min(excess));
        self.answers.truncate(MAX_LACKED); // the lowest slots are decided first
    }

    /// Inserts an answer, replacing what was said before about the same slots.
    fn insert(&mut self, mut new: Answer) {
        loop {
            let at = self.answers.partition_point(|answer| answer.end <= new.from);
            let round = self.round.max(self.probed());
            let Some(old) = self.answers.get_mut(at).filter(|old| old.from <= new.from) else {
                self.clear(at, new.end);
                return self.answers.insert(at, new);
            };
            let before = *old;
            if old.takes(&new, round) {
                let end = old.end;
                self.clear(at + 1, end);
                if end >= new.end {
                    return;
                }
                new = new.rest(end);
            } else {
                // If the member lacked everything above and now has some of it, nothing is known
                // above.
                let above = before.end > new.end && before.offer.next != u64::MAX;
                let above = above.then_some(Answer { from: new.end, ..before });
                let below = before.from < new.from;
                let below = below.then_some(Answer { end: new.from, ..before });
                self.answers.splice(at..=at, below.into_iter().chain(above));
            }
        }
    }

    /// Forgets what was said about slots below `end`, starting with the answer at index `at`.
    fn clear(&mut self, at: usize, end: u64) {
        let upto = self.answers.partition_point(|answer| answer.end <= end).max(at);
        self.answers.drain(at..upto);
        let Some(old) = self.answers.get_mut(at).filter(|old| old.from < end) else { return };
        match old.offer.next {
            u64::MAX => drop(self.answers.remove(at)), // the member has some of it now
            _ => old.from = end,
        }
    }
}

/// The pause before the next question after `times` earlier ones.
fn pause(times: u32) -> Duration {
    doubled(ASK_AGAIN_FIRST, times, BELIEVED)
}

#[cfg(test)]
mod tests {
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
            assert_eq!(lack.next(5, now.after(BELIEVED)), None, "it is not believed for ever");
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
            lack.learn(
                seq,
                &Offer { next: u64::MAX - 100, lacked: Lacked([0x55; 32]) },
                own(0),
                now,
            );
            assert!(lack.answers.is_sorted_by(|a, b| a.from <= a.end && a.end <= b.from));
        }
    }
}
