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
mod tests;
