//! Recovery: whom to ask for what is missing below the tips, and how much of it at once.
//!
//! What a member said that it lacks is remembered, so that all are asked before a slot is given up,
//! and nobody is asked twice before everybody was asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bucket::{Bucket, Rate};
use super::under_way::UnderWay;
use super::{LinkId, Note, Time};
use crate::wire::limits::{
    MAX_LACKED, MAX_WANTS, RECOVER_BATCH_BURST, RECOVER_BATCHES_PER_S, RECOVER_BYTE_BURST,
    RECOVER_BYTES_PER_S, RECOVERING, RECOVERING_PER_LINK, VOICE_BURST, VOICES_PER_S,
};

const BATCHES: Rate = Rate { per_s: RECOVER_BATCHES_PER_S, burst: RECOVER_BATCH_BURST };
const BYTES: Rate = Rate { per_s: RECOVER_BYTES_PER_S, burst: RECOVER_BYTE_BURST };
const VOICES: Rate = Rate { per_s: VOICES_PER_S, burst: VOICE_BURST };
/// A member that lacked something may be asked for it again after this, the next time after twice
/// as long, and so on.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(2);
/// What a member said is believed for this long, and no pause before it is asked again is longer.
const BELIEVED: Duration = Duration::from_secs(600);
/// After so many slots that a member offered and did not give, its offers count for nothing.
const MAX_BROKEN: u32 = 8;
/// A member that was busy so often in a row, with longer pauses each time, counts as one that
/// cannot be reached.
const MAX_BUSY: u32 = 4;
/// Offers of a member that are remembered: as many as one request may bring.
const MAX_OFFERS: usize = MAX_WANTS;
/// What was not answered for so long when its link ended counts: no neighbour's patience is longer.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// A member whose links ended so often while it had not answered counts as one that cannot be
/// reached: one that does not answer must not keep a slot open for ever.
const MAX_UNANSWERED: u32 = 2;

/// Slots that a member lacks: from a key of [`Lack::ranges`] up to the one before `next`.
#[derive(Clone, Copy, Debug)]
struct Range {
    next: u64,
    /// When it said so.
    at: Time,
}

/// What a member is known not to give of one lane.
#[derive(Clone, Debug, Default)]
struct Lack {
    /// They do not overlap, and are at most `MAX_LACKED`. All that may be asked for are kept:
    /// whoever forgot one while asking for another would ask for both for ever.
    ranges: BTreeMap<u64, Range>,
    /// When it may be asked again, though it lacked something: it may have got some of it since.
    again: Time,
    /// How often that was put off.
    times: u32,
    /// Slots that it offered lately, and how many it offered and did not give.
    offered: BTreeSet<u64>,
    broken: u32,
    /// How often it was busy since it last gave something; once a pause.
    busy: u32,
    /// It is not asked before, as it was busy.
    busy_until: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Slots that are asked for.
    pub under_way: UnderWay,
    /// By author and member.
    lacks: BTreeMap<(u32, u32), Lack>,
    /// By author and member: links that ended while it had not answered or could not be asked, and
    /// when the last did.
    unanswered: BTreeMap<(u32, u32), (u32, Time)>,
    /// By author: the slot that had its turn last, among those for which few vouch.
    tried: BTreeMap<u32, u64>,
    batches: Bucket,
    bytes: Bucket,
    voices: Bucket,
    /// How many turns there were.
    turns: usize,
    /// When to look again.
    pub due: Option<Time>,
    /// How long after something has changed.
    pub pace: Duration,
    /// Whether something was asked of all who are linked in vain, and others may have it.
    pub lacks_voices: bool,
    /// How often all members were looked at for a slot.
    #[cfg(test)]
    pub looks: u64,
    /// How often it was planned whom to ask for one.
    #[cfg(test)]
    pub plans: u64,
}

impl Recovery {
    /// At which of so many lanes a turn begins in which some are looked at. Each round begins one
    /// lane later: the first of a turn may take all that may be asked for.
    pub fn next_turn(&mut self, lanes: usize, looked_at: usize) -> usize {
        let turns_a_round = lanes.div_ceil(looked_at);
        let (round, turn) = (self.turns / turns_a_round, self.turns % turns_a_round);
        self.turns = self.turns.wrapping_add(1);
        (round % lanes + turn * looked_at) % lanes
    }

    /// How full it is, with its limits.
    pub fn occupy(&self, note: Note, (keys, members, links): (usize, usize, usize)) {
        note("recovery.turns", self.under_way.turns(), RECOVERING);
        note("recovery.under_way", self.under_way.len(), links * RECOVERING_PER_LINK);
        note("recovery.lacks", self.lacks.len(), keys * members);
        note("recovery.unanswered", self.unanswered.len(), keys * members);
        note("recovery.tried", self.tried.len(), keys);
        let fullest = self.lacks.values().map(|lack| lack.ranges.len()).max();
        note("recovery.ranges", fullest.unwrap_or(0), MAX_LACKED);
    }

    /// Whether one more slot may be asked for now.
    pub fn may_ask(&self, now: Time) -> bool {
        self.under_way.turns() < RECOVERING && self.wait(now).is_zero()
    }

    /// How many more slots may be under way.
    pub fn room(&self) -> usize {
        RECOVERING.saturating_sub(self.under_way.turns())
    }

    /// When one more slot may be asked for, rates alone.
    pub fn wait(&self, now: Time) -> Duration {
        self.batches.wait(BATCHES, now, 1).max(self.bytes.wait(BYTES, now, 1))
    }

    /// One more slot that more than `f` members vouch for is asked for.
    pub fn charge_ask(&mut self, now: Time) {
        self.batches.charge(BATCHES, now, 1);
    }

    /// A batch that more than `f` members vouch for was taken.
    pub fn charge(&mut self, now: Time, bytes: u64) {
        self.bytes.charge(BYTES, now, bytes);
    }

    /// Whether another member may be visited in a hurry.
    pub fn take_voice(&mut self, now: Time) -> bool {
        self.voices.take(VOICES, now, 1)
    }

    /// Which of an author's slots had its turn last, among those for which few vouch.
    pub fn tried(&self, author: u32) -> Option<u64> {
        self.tried.get(&author).copied()
    }

    /// A slot had its turn.
    pub fn tries(&mut self, author: u32, seq: u64) {
        self.tried.insert(author, seq);
    }

    /// A member was asked for a slot.
    pub fn asks(&mut self, author: u32, seq: u64, link: LinkId, member: u32, now: Time) {
        self.charge_ask(now);
        self.under_way.asks(author, seq, link, member, now);
    }

    /// A member gave a slot. If it lacked that before, it has got more since than it said.
    pub fn gave(&mut self, author: u32, member: u32, seq: u64, now: Time) {
        self.under_way.closed(author, seq, member);
        self.unanswered.remove(&(author, member));
        if self.lacking(author, member, seq, now).is_some() {
            self.lacks.remove(&(author, member));
        }
        if let Some(lack) = self.lacks.get_mut(&(author, member)) {
            (lack.broken, lack.busy) = (0, 0);
            lack.offered.clear();
        }
    }

    /// A member has a slot, or not: it cannot say.
    pub fn is_busy(&mut self, author: u32, member: u32, seq: u64, now: Time) {
        self.under_way.closed(author, seq, member);
        let lack = self.lacks.entry((author, member)).or_default();
        if lack.busy_until <= now {
            let factor = 1u32.checked_shl(lack.busy).unwrap_or(u32::MAX);
            lack.busy_until = now.after(ASK_AGAIN_FIRST.saturating_mul(factor).min(BELIEVED));
            lack.busy = lack.busy.saturating_add(1);
        }
    }

    /// Whether a member may be asked for slots of a lane: it was not busy lately.
    pub fn can_say(&self, author: u32, member: u32, now: Time) -> bool {
        self.lacks.get(&(author, member)).is_none_or(|lack| lack.busy_until <= now)
    }

    /// A member has nothing of a lane from a slot up to the one before `next`; `u64::MAX` if it
    /// offers nothing above. Nothing is open of the lane below `lowest`.
    pub fn lacks(
        &mut self,
        (author, seq): (u32, u64),
        member: u32,
        (next, lowest): (u64, u64),
        now: Time,
    ) {
        self.under_way.closed(author, seq, member);
        let lack = self.lacks.entry((author, member)).or_default();
        if lack.again <= now {
            let factor = 1u32.checked_shl(lack.times).unwrap_or(u32::MAX);
            lack.again = now.after(ASK_AGAIN_FIRST.saturating_mul(factor).min(BELIEVED));
            lack.times = lack.times.saturating_add(1);
        }
        lack.ranges.retain(|_, range| now.since(range.at) < BELIEVED);
        let next = next.max(seq.saturating_add(1));
        let lies = next != u64::MAX && lack.find(next, now).is_some();
        if lack.offered.contains(&seq) || lies {
            lack.broken = lack.broken.saturating_add(1);
        }
        let next = if lack.broken < MAX_BROKEN { next } else { u64::MAX };
        lack.offered.insert(next);
        if lack.offered.len() > MAX_OFFERS {
            lack.offered.pop_first();
        }
        lack.insert(seq, Range { next, at: now });
        while lack.ranges.len() > MAX_LACKED {
            match lack.ranges.first_key_value() {
                Some((_, range)) if range.next <= lowest => lack.ranges.pop_first(),
                _ => lack.ranges.pop_last(), // the lowest are decided first
            };
        }
    }

    /// Whether as much as is kept is known of what a member lacks of a lane.
    pub fn is_known_well(&self, author: u32, member: u32, now: Time) -> bool {
        self.lacks.get(&(author, member)).is_some_and(|lack| {
            let fresh = lack.ranges.values().filter(|range| now.since(range.at) < BELIEVED);
            fresh.count() >= MAX_LACKED
        })
    }

    /// Whether a member said that it lacks a slot: then the lowest above that it offers.
    pub fn lacking(&self, author: u32, member: u32, seq: u64, now: Time) -> Option<u64> {
        self.lacks.get(&(author, member))?.find(seq, now).map(|range| range.next)
    }

    /// Whether a member that lacked something may be asked for it again.
    pub fn may_ask_again(&self, author: u32, member: u32, now: Time) -> bool {
        self.lacks.get(&(author, member)).is_none_or(|lack| lack.again <= now)
    }

    /// Whether a member leaves open what it is asked for of a lane.
    pub fn is_silent(&self, author: u32, member: u32, now: Time) -> bool {
        let links = self.unanswered.get(&(author, member));
        let busy = |lack: &Lack| lack.busy >= MAX_BUSY && now.since(lack.busy_until) < BELIEVED;
        links.is_some_and(|(times, at)| *times >= MAX_UNANSWERED && now.since(*at) < BELIEVED)
            || self.lacks.get(&(author, member)).is_some_and(busy)
    }

    /// Nothing is missing of a lane any more.
    pub fn forget_lane(&mut self, author: u32) {
        self.lacks.retain(|(of, _), _| *of != author);
        self.unanswered.retain(|(of, _), _| *of != author);
        self.under_way.forget_lane(author);
        self.tried.remove(&author);
    }

    /// Forgets a link: what it was asked for may be asked of others. Of some lanes its member could
    /// not be asked.
    pub fn link_down(&mut self, link: LinkId, (member, lanes): (u32, Vec<u32>), now: Time) {
        let mut silent = self.under_way.link_down(link, SILENCE, now);
        silent.extend(lanes.into_iter().map(|author| (author, member)));
        for lane in silent {
            let (times, at) = self.unanswered.get(&lane).copied().unwrap_or((0, now));
            let times = if now.since(at) < BELIEVED { times.saturating_add(1) } else { 1 };
            self.unanswered.insert(lane, (times, now));
        }
    }
}

impl Lack {
    /// What it said of a slot, if that is believed still.
    fn find(&self, seq: u64, now: Time) -> Option<&Range> {
        let (_, range) = self.ranges.range(..=seq).next_back()?;
        let covers = seq < range.next || range.next == u64::MAX;
        (covers && now.since(range.at) < BELIEVED).then_some(range)
    }

    /// Puts a range in place of all that it overlaps: what was said last of a slot holds, also of
    /// the slots before it that were lacked with it.
    fn insert(&mut self, from: u64, range: Range) {
        let below = self.ranges.range(..from).next_back();
        let from = below.filter(|(_, below)| below.next > from).map_or(from, |(start, _)| *start);
        let covered: Vec<u64> = self.ranges.range(from..range.next).map(|(at, _)| *at).collect();
        for at in covered {
            self.ranges.remove(&at);
        }
        self.ranges.insert(from, range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::under_way::Open;

    #[test]
    fn offers_that_are_not_kept_end_to_count() {
        let mut recovery = Recovery::default();
        let now = Time(0);
        let mut offered = 1;
        for _ in 0..100 {
            recovery.lacks((0, offered), 1, (offered + 1, 1), now);
            match recovery.lacking(0, 1, offered, now) {
                Some(u64::MAX) => break,
                next => offered = next.expect("it said so"),
            }
        }
        assert!(offered <= u64::from(MAX_BROKEN) + 1, "{offered}");
        assert_eq!(recovery.lacking(0, 1, u64::MAX - 1, now), Some(u64::MAX));
        assert_eq!(recovery.lacking(0, 2, 5, now), None);
        let late = now.after(BELIEVED);
        assert_eq!(recovery.lacking(0, 1, 5, late), None, "it is not believed for ever");
    }

    #[test]
    fn every_lane_is_looked_at_each_round_and_is_the_first_in_its_turn() {
        for lanes in [1usize, 2, 15, 16, 17, 32, 33, 48, 1000] {
            let mut recovery = Recovery::default();
            let mut began = BTreeSet::new();
            for _ in 0..lanes {
                let turns: Vec<usize> =
                    (0..lanes.div_ceil(16)).map(|_| recovery.next_turn(lanes, 16)).collect();
                let seen: BTreeSet<usize> = turns
                    .iter()
                    .flat_map(|first| (0..16).map(move |at| (first + at) % lanes))
                    .collect();
                assert_eq!(seen.len(), lanes);
                began.extend(turns);
            }
            assert_eq!(began.len(), lanes);
        }
        let mut recovery = Recovery { turns: usize::MAX, ..Recovery::default() };
        assert!(recovery.next_turn(3, 16) < 3 && recovery.next_turn(3, 16) < 3);
    }

    #[test]
    fn a_member_is_asked_again_later_each_time() {
        let (mut recovery, mut now) = (Recovery::default(), Time(7));
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            recovery.lacks((0, 5), 1, (u64::MAX, 1), now);
            let before = now.after(Duration::from_millis(wait * 1000 - 1));
            assert!(!recovery.may_ask_again(0, 1, before), "{wait}");
            assert!(recovery.lacking(0, 1, 9, before).is_some());
            now = now.after(Duration::from_secs(wait));
            assert!(recovery.may_ask_again(0, 1, now), "it may have it by now");
        }
        recovery.lacks((0, 5), 1, (u64::MAX, 1), now);
        recovery.gave(0, 1, 6, now);
        assert_eq!(recovery.lacking(0, 1, 5, now), None, "it has got some of it");
    }

    #[test]
    fn all_that_a_member_lacks_is_remembered_until_it_is_decided() {
        let (mut recovery, now) = (Recovery::default(), Time(0));
        for seq in [9, 3, 6, 12] {
            recovery.lacks((0, seq), 1, (seq + 1, 1), now);
        }
        let lacking = |recovery: &Recovery| -> Vec<u64> {
            (1..16).filter(|seq| recovery.lacking(0, 1, *seq, now).is_some()).collect()
        };
        assert_eq!(lacking(&recovery), [3, 6, 9, 12]);
        recovery.lacks((0, 5), 1, (11, 1), now);
        assert_eq!(lacking(&recovery), [3, 5, 6, 7, 8, 9, 10, 12]);
        recovery.lacks((0, 7), 1, (11, 1), now);
        assert_eq!(lacking(&recovery), [3, 5, 6, 7, 8, 9, 10, 12]);
        assert_eq!(recovery.lacking(0, 1, 5, now), Some(11), "it offers no slot between");
        assert!(!recovery.is_known_well(0, 1, now));
        (0..5000).for_each(|i| recovery.lacks((0, 20 + 2 * i), 1, (21 + 2 * i, 11), now));
        assert!(recovery.is_known_well(0, 1, now));
        assert_eq!(recovery.lacks[&(0, 1)].ranges.len(), MAX_LACKED);
        assert_eq!(lacking(&recovery), [12], "what is decided goes first");
        assert!(recovery.lacking(0, 1, 20, now).is_some(), "the lowest of the others stay");
        recovery.lacks((0, 1), 1, (u64::MAX, 11), now);
        assert_eq!(recovery.lacking(0, 1, u64::MAX, now), Some(u64::MAX));
        assert_eq!(recovery.lacks[&(0, 1)].ranges.len(), 1);
    }

    #[test]
    fn what_is_under_way_is_bounded_and_ends_with_its_link() {
        let mut recovery = Recovery::default();
        let now = Time(1_000_000_000);
        let mut seq = 0;
        while recovery.may_ask(now) {
            seq += 1;
            recovery.asks(0, seq, LinkId(seq % 2), 1 + (seq % 2) as u32, now);
        }
        assert_eq!(seq as usize, RECOVERING);
        recovery.asks(0, 1, LinkId(2), 3, now);
        let open = Open { members: 2, last: now, rests: false };
        assert_eq!(recovery.under_way.get(0, 1), Some(open));
        let late = now.after(SILENCE);
        recovery.link_down(LinkId(0), (1, vec![]), late);
        recovery.link_down(LinkId(2), (3, vec![]), late);
        let open = (recovery.under_way.len(), recovery.under_way.on(LinkId(1)));
        assert_eq!(open, (RECOVERING / 2, RECOVERING / 2));
        assert!(!recovery.is_silent(0, 1, now), "once is no rule");
        recovery.asks(0, 2, LinkId(3), 1, late);
        recovery.link_down(LinkId(3), (1, vec![]), late);
        assert!(!recovery.is_silent(0, 1, now), "it had no time");
        recovery.asks(0, 2, LinkId(4), 1, now);
        recovery.link_down(LinkId(4), (1, vec![0]), late);
        let now = late;
        assert!(recovery.is_silent(0, 1, now) && !recovery.is_silent(0, 2, now));
        recovery.link_down(LinkId(5), (2, vec![0]), now);
        recovery.link_down(LinkId(6), (2, vec![0]), now);
        assert!(recovery.is_silent(0, 2, now), "it could not be asked twice");
        assert!(!recovery.is_silent(0, 1, now.after(BELIEVED)));
        recovery.charge(now, u64::MAX);
        assert!(!recovery.may_ask(now));
        recovery.forget_lane(0);
        assert_eq!(recovery.room(), RECOVERING);
    }
}
