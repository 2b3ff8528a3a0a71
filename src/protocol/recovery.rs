//! Recovery: which members to ask for slots missing below the tips, and for how many at once.
//!
//! What a member said it lacks is remembered, so that every member is asked before a slot is given
//! up, and no member is asked twice before all were asked once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lack::{BELIEVED, Lack, Offer, Own};
use super::time::{Bucket, Rate};
use super::under_way::{Ask, UnderWay};
use super::{LinkId, Note, Time};
use crate::wire::limits::{
    ASK_UNVOUCHED_BURST, ASK_UNVOUCHED_PER_S, MAX_LACKED, PROBE_BURST, PROBES_PER_S,
    RECOVER_BATCH_BURST, RECOVER_BATCHES_PER_S, RECOVER_BYTE_BURST, RECOVER_BYTES_PER_S,
    RECOVERING, RECOVERING_PER_LINK, VOICE_BURST, VOICES_PER_S,
};

const BATCHES: Rate = Rate { per_s: RECOVER_BATCHES_PER_S, burst: RECOVER_BATCH_BURST };
const UNVOUCHED: Rate = Rate { per_s: ASK_UNVOUCHED_PER_S, burst: ASK_UNVOUCHED_BURST };
const PROBES: Rate = Rate { per_s: PROBES_PER_S, burst: PROBE_BURST };
const BYTES: Rate = Rate { per_s: RECOVER_BYTES_PER_S, burst: RECOVER_BYTE_BURST };
const VOICES: Rate = Rate { per_s: VOICES_PER_S, burst: VOICE_BURST };
/// A slot left unanswered for this long when its link ended counts against the member: no patience
/// with a neighbour is longer.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// A member counts as unreachable after this many links ended with unanswered slots, so that a peer
/// that never answers cannot keep a slot open forever.
const MAX_UNANSWERED: u32 = 2;

/// The budget that pays for asking for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// More than `f` members vouch for it.
    Vouched,
    /// At most `f` members vouch for it.
    Unvouched,
    /// It was given up. A member that links anew is asked for some of these each time, so they have
    /// a budget of their own.
    Probe,
}

/// The state of recovery over all lanes.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Slots that are being asked for.
    pub under_way: UnderWay,
    /// What members lack, by author and member.
    lacks: BTreeMap<u32, BTreeMap<u32, Lack>>,
    /// By author and member: how many links ended while the member had not answered or could not be
    /// asked, and when the last one did.
    unanswered: BTreeMap<(u32, u32), (u32, Time)>,
    /// By author: the slot that had its turn last, among those that at most `f` members vouch for.
    pub tried: BTreeMap<u32, u64>,
    batches: Bucket,
    unvouched: Bucket,
    probes: Bucket,
    bytes: Bucket,
    voices: Bucket,
    /// How many turns there were; picks the lane that a turn begins with.
    turns: usize,
    /// Whether slots were given up in this turn, so that the next turn should follow at once.
    pub moves_on: bool,
    /// The earliest time to write a record only because slots were given up or passed.
    pub holes_due: Time,
    /// When the next turn is due; `None` if nothing is missing.
    pub due: Option<Time>,
    /// How long after a change the next turn comes.
    pub pace: Duration,
    /// Whether all linked members were asked for a slot without success, and others may have it.
    pub lacks_voices: bool,
    /// How often all members were looked at for a slot.
    #[cfg(test)]
    pub looks: u64,
    /// How often a plan was made for a slot.
    #[cfg(test)]
    pub plans: u64,
}

impl Recovery {
    /// The index of the lane with which a turn begins, if `looked_at` of `lanes` lanes are looked
    /// at per turn. Each round begins one lane later, because the first lane of a turn may use up
    /// the whole budget.
    pub(super) fn next_turn(&mut self, lanes: usize, looked_at: usize) -> usize {
        let turns_a_round = lanes.div_ceil(looked_at);
        let (round, turn) = (self.turns / turns_a_round, self.turns % turns_a_round);
        self.turns = self.turns.wrapping_add(1);
        (round % lanes + turn * looked_at) % lanes
    }

    pub(super) fn occupy(&self, note: Note, (keys, members, links): (usize, usize, usize)) {
        note("recovery.turns", self.under_way.turns(), RECOVERING);
        note("recovery.under_way", self.under_way.len(), links * RECOVERING_PER_LINK);
        let lacks = || self.lacks.values().flat_map(BTreeMap::values);
        note("recovery.lacks", lacks().count(), keys * members);
        note("recovery.unanswered", self.unanswered.len(), keys * members);
        note("recovery.tried", self.tried.len(), keys);
        note("recovery.answers", lacks().map(Lack::answers).max().unwrap_or(0), MAX_LACKED);
    }

    /// Whether one more slot may be asked for now.
    pub(super) fn may_ask(&self, budget: Budget, now: Time) -> bool {
        let wait = match budget {
            Budget::Vouched => self.wait(now),
            Budget::Unvouched => self.unvouched.wait(UNVOUCHED, now, 1),
            Budget::Probe => self.probes.wait(PROBES, now, 1),
        };
        self.under_way.turns() < RECOVERING && wait.is_zero()
    }

    /// How many more slots may be under way.
    pub(super) fn room(&self) -> usize {
        RECOVERING.saturating_sub(self.under_way.turns())
    }

    /// How long until the rates allow one more slot that more than `f` members vouch for.
    pub(super) fn wait(&self, now: Time) -> Duration {
        self.batches.wait(BATCHES, now, 1).max(self.bytes.wait(BYTES, now, 1))
    }

    /// Charges a request for a slot that more than `f` members vouch for.
    pub(super) fn charge_ask(&mut self, now: Time) {
        self.batches.charge(BATCHES, now, 1);
    }

    /// Charges the bytes of an accepted batch that more than `f` members vouch for.
    pub(super) fn charge(&mut self, now: Time, bytes: u64) {
        self.bytes.charge(BYTES, now, bytes);
    }

    /// Charges one hurried visit to another member.
    pub(super) fn charge_voice(&mut self, now: Time) {
        self.voices.charge(VOICES, now, 1);
    }

    /// Whether the budget allows another hurried visit.
    pub(super) fn has_voice(&self, now: Time) -> bool {
        self.voices.wait(VOICES, now, 1).is_zero()
    }

    /// Notes that a member was asked for a slot below the tip, and charges the budget.
    pub(super) fn asks(&mut self, slot: (u32, u64), budget: Budget, ask: Ask) {
        match budget {
            Budget::Vouched => self.charge_ask(ask.at),
            Budget::Unvouched => self.unvouched.charge(UNVOUCHED, ask.at, 1),
            Budget::Probe => self.probes.charge(PROBES, ask.at, 1),
        }
        self.lack_of(slot.0, ask.member);
        self.under_way.asks(slot, ask);
    }

    /// Notes that a member gave a slot; `missing` says whether it was missing below the tip.
    pub(super) fn gave(
        &mut self,
        (author, seq): (u32, u64),
        member: u32,
        missing: bool,
        now: Time,
    ) {
        self.under_way.closed(author, seq, member);
        self.unanswered.remove(&(author, member));
        if let Some(lack) = self.lacks.get_mut(&author).and_then(|known| known.get_mut(&member)) {
            lack.gave(seq, missing, now);
        }
    }

    /// Notes that a member is busy: it cannot say whether it has a slot.
    pub(super) fn is_busy(&mut self, author: u32, member: u32, seq: u64, now: Time) {
        self.under_way.closed(author, seq, member);
        self.lack_of(author, member).is_busy(now);
    }

    /// Notes that a member lacks a slot, and what else its answer says.
    pub(super) fn lacks(
        &mut self,
        (author, seq): (u32, u64),
        member: u32,
        (offer, own): (&Offer, Own),
        now: Time,
    ) {
        self.under_way.closed(author, seq, member);
        self.lack_of(author, member).learn(seq, offer, own, now);
    }

    /// What a member is known to lack of a lane. From this call on, what the member gives is
    /// counted.
    pub(super) fn lack_of(&mut self, author: u32, member: u32) -> &mut Lack {
        self.lacks.entry(author).or_default().entry(member).or_default()
    }

    /// What members are known to lack of a lane, by member.
    pub(super) fn known(&self, author: u32) -> Option<&BTreeMap<u32, Lack>> {
        self.lacks.get(&author)
    }

    /// What a member is known to lack of a lane.
    pub(super) fn lack(&self, author: u32, member: u32) -> Option<&Lack> {
        self.lacks.get(&author)?.get(&member)
    }

    /// Whether a member may be asked for slots of a lane, that is, it was not busy lately.
    pub(super) fn can_say(&self, author: u32, member: u32, now: Time) -> bool {
        self.lack(author, member).is_none_or(|lack| lack.can_say(now))
    }

    /// If a member said that it lacks a slot, the lowest slot above that it offers.
    pub(super) fn lacking(&self, author: u32, member: u32, seq: u64, now: Time) -> Option<u64> {
        self.lack(author, member)?.next(seq, now)
    }

    /// Whether a member leaves requests for a lane unanswered.
    pub(super) fn is_silent(&self, author: u32, member: u32, now: Time) -> bool {
        let links = self.unanswered.get(&(author, member));
        links.is_some_and(|(times, at)| *times >= MAX_UNANSWERED && now.since(*at) < BELIEVED)
            || self.lack(author, member).is_some_and(|lack| lack.is_silent(now))
    }

    /// Whether a link of the member ended while requests for one of these lanes were unanswered.
    pub(super) fn left_open(&self, member: u32, mut lanes: impl Iterator<Item = u32>) -> bool {
        lanes.any(|author| self.unanswered.contains_key(&(author, member)))
    }

    /// Forgets a lane that has no missing slots any more.
    pub(super) fn forget_lane(&mut self, author: u32) {
        self.lacks.remove(&author);
        self.unanswered.retain(|(of, _), _| *of != author);
        self.under_way.forget_lane(author);
        self.tried.remove(&author);
    }

    /// Forgets a link, so that others may be asked for what it left open. Its member could not be
    /// asked about `lanes`, which counts like an unanswered request.
    pub(super) fn link_down(&mut self, link: LinkId, (member, lanes): (u32, Vec<u32>), now: Time) {
        let mut silent = self.under_way.link_down(link, SILENCE, now);
        silent.extend(lanes.into_iter().map(|author| (author, member)));
        for lane in silent {
            let (times, at) = self.unanswered.get(&lane).copied().unwrap_or((0, now));
            let times = if now.since(at) < BELIEVED { times.saturating_add(1) } else { 1 };
            self.unanswered.insert(lane, (times, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::under_way::Open;

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

    fn ask(link: LinkId, member: u32, at: Time) -> Ask {
        Ask { link, member, again: false, at }
    }

    #[test]
    fn what_few_vouch_for_takes_no_budget_of_others() {
        let (mut recovery, now) = (Recovery::default(), Time(0));
        let mut seq = 0;
        while recovery.may_ask(Budget::Unvouched, now) {
            seq += 1;
            recovery.asks((0, seq), Budget::Unvouched, ask(LinkId(1), 1, now));
            recovery.under_way.found(0, seq);
        }
        assert_eq!(seq, ASK_UNVOUCHED_BURST);
        assert!(recovery.may_ask(Budget::Vouched, now) && recovery.wait(now).is_zero());
        assert!(recovery.may_ask(Budget::Probe, now));
        assert!(recovery.may_ask(Budget::Unvouched, now.after(Duration::from_millis(1))));
    }

    #[test]
    fn what_is_under_way_is_bounded_and_ends_with_its_link() {
        let mut recovery = Recovery::default();
        let now = Time(1_000_000_000);
        let mut seq = 0;
        while recovery.may_ask(Budget::Vouched, now) {
            seq += 1;
            recovery.asks(
                (0, seq),
                Budget::Vouched,
                ask(LinkId(seq % 2), 1 + (seq % 2) as u32, now),
            );
        }
        assert_eq!(seq as usize, RECOVERING);
        recovery.asks((0, 1), Budget::Vouched, ask(LinkId(2), 3, now));
        let open = Open { members: 2, last: now, rests: false };
        assert_eq!(recovery.under_way.get(0, 1), Some(open));
        let late = now.after(SILENCE);
        recovery.link_down(LinkId(0), (1, vec![]), late);
        recovery.link_down(LinkId(2), (3, vec![]), late);
        let open = (recovery.under_way.len(), recovery.under_way.on(LinkId(1)));
        assert_eq!(open, (RECOVERING / 2, RECOVERING / 2));
        assert!(!recovery.is_silent(0, 1, now), "once is no rule");
        recovery.asks((0, 2), Budget::Vouched, ask(LinkId(3), 1, late));
        recovery.link_down(LinkId(3), (1, vec![]), late);
        assert!(!recovery.is_silent(0, 1, now), "it had no time");
        recovery.asks((0, 2), Budget::Vouched, ask(LinkId(4), 1, now));
        recovery.link_down(LinkId(4), (1, vec![0]), late);
        let now = late;
        assert!(recovery.is_silent(0, 1, now) && !recovery.is_silent(0, 2, now));
        recovery.link_down(LinkId(5), (2, vec![0]), now);
        recovery.link_down(LinkId(6), (2, vec![0]), now);
        assert!(recovery.is_silent(0, 2, now), "it could not be asked twice");
        assert!(!recovery.is_silent(0, 1, now.after(BELIEVED)));
        recovery.charge(now, u64::MAX);
        assert!(!recovery.may_ask(Budget::Vouched, now));
        recovery.forget_lane(0);
        assert_eq!(recovery.room(), RECOVERING);
    }
}
