//! Lacking: handles what members say about lanes, their own and those they were asked about, and
//! moves tips over missing slots accordingly.

use super::state::Node;
use crate::protocol::LinkId;
use crate::protocol::lack::{Offer, Own};
use crate::protocol::lanes::Lane;
use crate::protocol::links::OpenWant;
use crate::wire::limits::WINDOW;
use crate::wire::{BatchId, Missing, WhyMissing};

impl Node {
    /// Handles the answer of a member that does not serve a slot it was asked for.
    pub(super) fn note_lack(
        &mut self,
        want: &OpenWant,
        member: u32,
        link: LinkId,
        missing: &Missing,
    ) {
        let OpenWant { author, seq, id, .. } = *want;
        self.lanes.claim(author, member, 0, missing.floor, self.network.f());
        self.write_holes();
        if id.is_some() {
            return;
        }
        let Some(lane) = self.lanes.get(author) else { return };
        let next = if missing.next > seq { missing.next } else { u64::MAX };
        let offer = Offer { next, lacked: missing.lacked };
        let passed = lane.passed_by(member);
        let (stuck, asked) = (self.is_stuck(author, seq, passed), lane.holes().contains(seq));
        if missing.why == WhyMissing::Busy {
            if asked {
                let first = self.recovery.can_say(author, member, self.now);
                self.recovery.is_busy(author, member, seq, self.now);
                if first {
                    self.want_given_up((author, member), next, link); // it may have other slots
                }
                self.recover_soon();
            }
            return;
        }
        if !self.lanes.filled(author, seq) {
            let lowest = lane.holes().first_open().unwrap_or(seq);
            let own = Own { lowest, has_next: self.lanes.filled(author, next) };
            self.recovery.lacks((author, seq), member, (&offer, own), self.now);
        }
        if asked || stuck {
            self.take_offer((author, seq), member, link);
            self.recover_soon();
        } else if seq > lane.tip() && seq <= lane.vouched() {
            // More than `f` members are past the slot: ask for it like for slots below a tip.
            let to = lane.vouched();
            self.lanes.jump(author, to);
        } else if next <= lane.heard().min(lane.tip().saturating_add(WINDOW))
            && !self.lanes.filled(author, next)
        {
            // The author may have left slots out, or restarted above them.
            let due = self.now.after(self.config.ask_after);
            self.relay.want((author, next, None), link, due);
        }
        self.write_holes();
    }

    /// Handles a member that lacks a slot below the tip, or the slot at which the lane is stuck,
    /// and may offer one above it.
    fn take_offer(&mut self, (author, seq): (u32, u64), member: u32, link: LinkId) {
        let Some(lane) = self.lanes.get(author) else { return };
        let offered = self.recovery.lacking(author, member, seq, self.now).unwrap_or(u64::MAX);
        if lane.tip() < seq {
            // Every member is asked for the slots passed, as for those below a tip. Where the lane
            // lies far behind, many gaps are passed at once; one answer per gap would take too
            // long.
            let upto = match offered {
                u64::MAX => lane.passed_by(member),
                offered => offered.min(lane.heard()) - 1,
            };
            // No member claims that the slots below are passed: go no further than their holes fit.
            let near = lane.heard().saturating_sub(WINDOW / 2).min(lane.fits());
            return self.lanes.pass(author, upto.max(near));
        }
        let lack = self.recovery.lack(author, member);
        if !lack.is_some_and(|lack| lack.is_known_well(self.now)) {
            self.want_given_up((author, member), offered, link);
        }
    }

    /// Whether a lane may be unable to advance by itself: the slot after the tip is old, a member
    /// that has more (and has pruned or given up everything missing up to `passed`) lacks it, and
    /// at most `f` members vouch for the slots above. For example, two nodes return together from a
    /// long absence and only the author knows what they missed, and has pruned it.
    pub(super) fn is_stuck(&self, author: u32, seq: u64, passed: u64) -> bool {
        let stuck = |lane: &Lane| {
            lane.tip().checked_add(1) == Some(seq)
                && seq < lane.heard()
                && seq > lane.vouched()
                && (passed >= seq || lane.lies_far_behind())
        };
        self.lanes.get(author).is_some_and(stuck)
    }

    /// Handles a damaged row: the slot is missing again and will be asked for.
    pub(super) fn on_damaged(&mut self, author: u32, seq: u64, id: BatchId) {
        self.counters.damaged += 1;
        self.cache.remove(&id);
        if self.lanes.lose(author, seq, &id) {
            self.write_holes();
            self.recover_soon();
        }
    }

    /// Whether more members should be heard than regular visits reach: at most `f` members claim
    /// that a lane lies far behind, or no member asked has a missing slot.
    pub(super) fn wants_voices(&self) -> bool {
        self.recovery.lacks_voices || self.behind.iter().any(|author| self.lies_far_behind(*author))
    }

    fn lies_far_behind(&self, author: u32) -> bool {
        self.lanes.get(author).is_some_and(Lane::lies_far_behind)
    }

    /// Handles a verified tip of a member's lane, and its claims about the slots below.
    pub(super) fn hear_tip(&mut self, author: u32, member: u32, tip: &crate::wire::Tip) {
        self.lanes.hear(author, tip.slot.seq);
        if author == self.own {
            self.lanes.jump_own(author, tip.slot.seq);
        }
        self.lanes.claim(author, member, tip.solid, tip.floor, self.network.f());
        self.write_holes();
        let far = self.lies_far_behind(author);
        if far != self.behind.contains(&author) {
            match far {
                true => self.behind.insert(author),
                false => self.behind.remove(&author),
            };
            self.pace_visits();
        }
    }
}
