//! Recovery: who was asked for what is missing below the tips, and what is under way.
//!
//! Slots are asked for oldest first and of one member at a time. What a member said that it lacks
//! is remembered, so that all are asked before a slot is given up and nobody is asked twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bucket::{Bucket, Rate};
use super::{LinkId, Note, Time};
use crate::wire::limits::{
    MAX_HOLES, RECOVER_BATCH_BURST, RECOVER_BATCHES_PER_S, RECOVER_BYTE_BURST, RECOVER_BYTES_PER_S,
    RECOVERING, VOICE_BURST, VOICES_PER_S,
};

const BATCHES: Rate = Rate { per_s: RECOVER_BATCHES_PER_S, burst: RECOVER_BATCH_BURST };
const BYTES: Rate = Rate { per_s: RECOVER_BYTES_PER_S, burst: RECOVER_BYTE_BURST };
const VOICES: Rate = Rate { per_s: VOICES_PER_S, burst: VOICE_BURST };
/// A member that leaves a want open for this long is passed over.
const PATIENCE: Duration = Duration::from_secs(3);
/// A member that could not serve something is asked for it again after this, the next time after
/// twice as long, and so on.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(2);
/// It is not asked again any later than this.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// After so many slots that a member offered and did not give, its offers count for nothing.
const MAX_BROKEN: u32 = 8;

/// What a member is known not to have of one lane.
#[derive(Clone, Debug)]
struct Lack {
    /// Of these slots it has nothing: from this one, up to the one before that. They do not meet,
    /// and are at most `MAX_HOLES`. All are kept: a lane may have many holes that nobody fills, and
    /// whoever forgot one while asking for another would ask for both for ever.
    ranges: BTreeMap<u64, u64>,
    /// When that is forgotten: it may have got some of it since.
    until: Time,
    /// How often it was forgotten.
    times: u32,
    /// When it last said so.
    at: Time,
    /// Slots that it offered and did not give.
    broken: u32,
}

/// A slot that a member was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    link: LinkId,
    member: u32,
    at: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// By author and slot.
    asked: BTreeMap<(u32, u64), Asked>,
    /// By author and member.
    lacks: BTreeMap<(u32, u32), Lack>,
    batches: Bucket,
    bytes: Bucket,
    voices: Bucket,
    /// The lane whose turn is next.
    pub turn: u32,
    /// When to look again.
    pub due: Option<Time>,
    /// Whether something was asked of all who are linked in vain, and others may have it.
    pub lacks_voices: bool,
}

impl Recovery {
    /// How full it is, with its limits.
    pub fn occupy(&self, note: Note, keys: usize, members: usize) {
        note("recovery.asked", self.asked.len(), RECOVERING);
        note("recovery.lacks", self.lacks.len(), keys * members);
        let fullest = self.lacks.values().map(|lack| lack.ranges.len()).max();
        note("recovery.ranges", fullest.unwrap_or(0), MAX_HOLES);
    }

    /// Whether one more slot may be asked for now.
    pub fn may_ask(&self, now: Time) -> bool {
        self.asked.len() < RECOVERING
            && self.batches.wait(BATCHES, now, 1).is_zero()
            && self.bytes.wait(BYTES, now, 1).is_zero()
    }

    /// How many more slots may be under way.
    pub fn room(&self) -> usize {
        RECOVERING.saturating_sub(self.asked.len())
    }

    /// When [`Recovery::may_ask`] may say so, rates alone.
    pub fn wait(&self, now: Time) -> Duration {
        self.batches.wait(BATCHES, now, 1).max(self.bytes.wait(BYTES, now, 1))
    }

    /// A batch that more than `f` members vouch for was taken.
    pub fn charge(&mut self, now: Time, bytes: u64) {
        self.bytes.charge(BYTES, now, bytes);
    }

    /// Whether another member may be visited in a hurry.
    pub fn take_voice(&mut self, now: Time) -> bool {
        self.voices.take(VOICES, now, 1)
    }

    /// Whether a slot is asked for and not answered.
    pub fn is_asked(&self, author: u32, seq: u64) -> bool {
        self.asked.contains_key(&(author, seq))
    }

    /// Slots of an author that are asked for.
    pub fn open(&self, author: u32) -> usize {
        self.asked.range((author, 0)..=(author, u64::MAX)).count()
    }

    /// Slots that a link is asked for.
    pub fn open_on(&self, link: LinkId) -> usize {
        self.asked.values().filter(|asked| asked.link == link).count()
    }

    /// A member was asked for a slot.
    pub fn asks(&mut self, author: u32, seq: u64, link: LinkId, member: u32, now: Time) {
        self.batches.charge(BATCHES, now, 1);
        self.asked.insert((author, seq), Asked { link, member, at: now });
    }

    /// A slot came, from wherever.
    pub fn found(&mut self, author: u32, seq: u64) {
        self.asked.remove(&(author, seq));
    }

    /// A member has nothing of a lane from a slot up to the one before `next`; `u64::MAX` if it
    /// offers nothing above.
    pub fn lacks(&mut self, author: u32, member: u32, seq: u64, next: u64, now: Time) {
        self.asked.remove(&(author, seq));
        let until = now.after(ASK_AGAIN_FIRST);
        let fresh = Lack { ranges: BTreeMap::new(), until, times: 0, at: now, broken: 0 };
        let lack = self.lacks.entry((author, member)).or_insert(fresh);
        lack.at = now;
        if lack.until <= now {
            lack.ranges.clear();
            lack.times = lack.times.saturating_add(1);
            let factor = 1u32.checked_shl(lack.times).unwrap_or(u32::MAX);
            lack.until = now.after(ASK_AGAIN_FIRST.saturating_mul(factor).min(ASK_AGAIN));
        }
        let (mut from, mut next) = (seq, next.max(seq.saturating_add(1)));
        if let Some((start, end)) = lack.ranges.range(..seq).next_back() {
            if *end == seq {
                lack.broken = lack.broken.saturating_add(1); // it had offered this one
            }
            if *end >= seq {
                (from, next) = (*start, next.max(*end));
            }
        }
        if lack.broken >= MAX_BROKEN {
            next = u64::MAX;
        }
        while let Some((start, end)) =
            lack.ranges.range(from..=next).next().map(|(start, end)| (*start, *end))
        {
            lack.ranges.remove(&start);
            next = next.max(end);
        }
        lack.ranges.insert(from, next);
        if lack.ranges.len() > MAX_HOLES {
            lack.ranges.pop_last(); // the lowest are decided first
        }
    }

    /// Nothing of a lane is missing below a slot: what a member lacks there is of no use any more.
    pub fn forget_below(&mut self, author: u32, member: u32, lowest: u64) {
        let Some(lack) = self.lacks.get_mut(&(author, member)) else { return };
        while lack.ranges.first_key_value().is_some_and(|(_, next)| *next <= lowest) {
            lack.ranges.pop_first();
        }
    }

    /// Whether a member said that it lacks a slot: then the lowest above that it offers.
    pub fn lacking(&self, author: u32, member: u32, seq: u64, now: Time) -> Option<u64> {
        let lack = self.lacks.get(&(author, member)).filter(|lack| lack.until > now)?;
        let (_, next) = lack.ranges.range(..=seq).next_back()?;
        (seq < *next || *next == u64::MAX).then_some(*next)
    }

    /// Whether a member was ever asked for anything of a lane, lately.
    pub fn was_asked(&self, author: u32, member: u32, now: Time) -> bool {
        let lack = self.lacks.get(&(author, member));
        lack.is_some_and(|lack| now.since(lack.at) < ASK_AGAIN)
    }

    /// Who has left a want open for too long: author, slot, member.
    pub fn overdue(&self, now: Time) -> Vec<(u32, u64, u32)> {
        let late = self.asked.iter().filter(|(_, asked)| now.since(asked.at) >= PATIENCE);
        late.map(|((author, seq), asked)| (*author, *seq, asked.member)).collect()
    }

    /// Nothing is missing of a lane any more.
    pub fn forget_lane(&mut self, author: u32) {
        self.lacks.retain(|(of, _), _| *of != author);
        self.asked.retain(|(of, _), _| *of != author);
    }

    /// Forgets a link: what it was asked for may be asked of others.
    pub fn link_down(&mut self, link: LinkId) {
        self.asked.retain(|_, asked| asked.link != link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_that_are_not_kept_end_to_count() {
        let mut recovery = Recovery::default();
        let now = Time(0);
        let mut offered = 1;
        for _ in 0..100 {
            recovery.lacks(0, 1, offered, offered + 1, now);
            match recovery.lacking(0, 1, offered, now) {
                Some(u64::MAX) => break,
                next => offered = next.expect("it said so"),
            }
        }
        assert!(offered <= u64::from(MAX_BROKEN) + 1, "{offered}");
        assert_eq!(recovery.lacking(0, 1, u64::MAX - 1, now), Some(u64::MAX));
        let mut now = now;
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            let before = now.after(Duration::from_millis(wait * 1000 - 1));
            assert!(recovery.lacking(0, 1, 9, before).is_some(), "{wait}");
            now = now.after(Duration::from_secs(wait));
            assert_eq!(recovery.lacking(0, 1, 9, now), None, "it may have it by now");
            assert!(recovery.was_asked(0, 1, before) || wait > 512);
            recovery.lacks(0, 1, 5, u64::MAX, now);
        }
        assert_eq!(recovery.lacking(0, 2, 5, now), None);
    }

    #[test]
    fn all_that_a_member_lacks_is_remembered_until_it_is_decided() {
        let (mut recovery, now) = (Recovery::default(), Time(0));
        for seq in [9, 3, 6, 12] {
            recovery.lacks(0, 1, seq, seq + 1, now);
        }
        let lacking = |recovery: &Recovery| -> Vec<u64> {
            (1..16).filter(|seq| recovery.lacking(0, 1, *seq, now).is_some()).collect()
        };
        assert_eq!(lacking(&recovery), [3, 6, 9, 12]);
        recovery.lacks(0, 1, 5, 11, now);
        assert_eq!(lacking(&recovery), [3, 5, 6, 7, 8, 9, 10, 12]);
        recovery.forget_below(0, 1, 11);
        assert_eq!(lacking(&recovery), [12]);
        (0..5000).for_each(|i| recovery.lacks(0, 1, 20 + 2 * i, 21 + 2 * i, now));
        assert_eq!(recovery.lacks[&(0, 1)].ranges.len(), MAX_HOLES);
        assert!(recovery.lacking(0, 1, 20, now).is_some(), "the lowest stay");
        recovery.lacks(0, 1, 1, u64::MAX, now);
        assert_eq!(recovery.lacking(0, 1, u64::MAX, now), Some(u64::MAX));
        assert_eq!(recovery.lacks[&(0, 1)].ranges.len(), 1);
    }

    #[test]
    fn what_is_under_way_is_bounded_and_ends_with_its_link() {
        let mut recovery = Recovery::default();
        let now = Time(1_000_000);
        let mut seq = 0;
        while recovery.may_ask(now) {
            seq += 1;
            recovery.asks(0, seq, LinkId(seq % 2), 1, now);
        }
        assert_eq!(seq as usize, RECOVERING);
        assert_eq!(recovery.overdue(now.after(PATIENCE)).len(), RECOVERING);
        recovery.link_down(LinkId(0));
        assert_eq!(
            (recovery.open(0), recovery.open_on(LinkId(1))),
            (RECOVERING / 2, RECOVERING / 2)
        );
        recovery.charge(now, u64::MAX);
        assert!(!recovery.may_ask(now));
        recovery.forget_lane(0);
        assert_eq!(recovery.room(), RECOVERING);
    }
}
