//! The plan for one turn of recovery: whom to ask for which of the slots missing below the tips,
//! and which to give up.

use std::collections::BTreeSet;
use std::time::Duration;

use super::pending::Checking;
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::LinkId;
use crate::protocol::lanes::Holes;
use crate::protocol::recovery::Budget;
use crate::protocol::under_way::Ask;
use crate::wire::limits::{
    MAX_LACKED, MAX_WANTS, RECOVERING_OF_AUTHOR, RECOVERING_PER_LINK, RECOVERING_UNVOUCHED,
};

/// Failed dials in a row after which a member counts as unreachable.
const TRIES: u32 = 2;

/// A link that can be asked, and what is planned for it in this turn.
pub(super) struct Candidate {
    pub link: LinkId,
    pub member: u32,
    /// Whether the peer is late with earlier answers.
    pub late: bool,
    /// Whether the peer grants credit for requests; and whether it would be asked if it did.
    pub credit: bool,
    pub awaited: bool,
    /// Whether the peer is known to lack the slot being planned, and whether it may be asked again.
    pub lacks: bool,
    pub again: bool,
    /// How many slots of the lane being planned it is asked for, and whether any of them is one
    /// that it had lacked.
    pub open: usize,
    pub asked_again: bool,
    /// Whether the slot being planned must wait until the peer has answered.
    pub waits: bool,
    pub room: usize,
    pub planned: Vec<(u32, u64)>,
}

impl Candidate {
    /// Whether the peer can be asked now for the slot being planned.
    pub(super) fn is_free(&self) -> bool {
        self.room > 0 && !self.waits
    }
}

/// One turn of asking: the links, and the budgets that remain.
pub(super) struct Plan {
    /// The links that can be asked; late ones come last.
    pub candidates: Vec<Candidate>,
    /// Slots whose batch came and is being checked. They still count as missing, but asking again
    /// would fetch them twice.
    pub checking: BTreeSet<(u32, u64)>,
    /// Whether any slot is asked for in this turn.
    pub asked: bool,
    /// How many more slots that no link has may be looked at.
    pub looks: usize,
    /// The other members, and whether each is out of reach; computed on first use.
    pub others: Option<Vec<(u32, bool)>>,
    /// How long an answer may take before others are asked.
    pub patience: Duration,
    /// Slots asked for, now or earlier, that at most `f` members vouch for; and slots asked for in
    /// the lane being planned.
    pub unvouched: usize,
    pub of_author: usize,
    /// The candidate to begin with for the next slot of that lane.
    pub turn: usize,
}

impl Plan {
    /// The index of the first candidate that fits, searching from `from` on and wrapping around. A
    /// late candidate is returned only if no other fits.
    pub(super) fn find(&self, from: usize, fits: impl Fn(&Candidate) -> bool) -> Option<usize> {
        let count = self.candidates.len();
        let fit = |late: bool| {
            let all = (0..count).map(move |i| (from + i) % count);
            all.into_iter()
                .find(|at| self.candidates[*at].late == late && fits(&self.candidates[*at]))
        };
        fit(false).or_else(|| fit(true))
    }
}

/// Which slot to plan after this one.
pub(super) enum Next {
    /// The next missing one.
    Slot,
    /// The lowest offered one: the links that may have this slot have no room now.
    Busy,
    /// The lowest offered one: no link has this slot.
    Nobody,
}

impl Node {
    /// The links that can be asked; late peers come last.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let open = self.recovery.under_way.by_link();
        let ready = self.links.ready().map(|(link, held)| {
            let open = open.get(&link).copied().unwrap_or(0);
            let room = RECOVERING_PER_LINK.saturating_sub(open).min(MAX_WANTS);
            let credit = held.may_recover();
            let room = if credit { room.min(held.room_for_wants()) } else { 0 };
            let (member, late) = (held.number, self.promises.rank(held.number, self.now).late);
            Candidate {
                link,
                member,
                late,
                credit,
                awaited: false,
                lacks: false,
                again: false,
                open: 0,
                asked_again: false,
                waits: false,
                room,
                planned: Vec::new(),
            }
        });
        let mut candidates: Vec<Candidate> = ready.collect();
        candidates.sort_by_key(|candidate| candidate.late);
        candidates
    }

    pub(super) fn being_checked(&self) -> BTreeSet<(u32, u64)> {
        let slot = |checking: &Checking| match checking {
            Checking::Batch { batch, author, .. } => Some((*author, batch.header.seq)),
            Checking::Tip { .. } | Checking::Restored { .. } => None,
        };
        self.checks.values().filter_map(slot).collect()
    }

    /// Plans whom to ask for missing slots of a lane: first other members for slots that are not
    /// answered; then slots that at most `f` members vouch for, in turn, so that slots that nobody
    /// has do not hold up those that a few members have; then the oldest slots.
    pub(super) fn plan_lane(&mut self, author: u32, plan: &mut Plan) {
        let Some(holes) = self.lanes.get(author).map(|lane| lane.holes().clone()) else { return };
        plan.turn = 0;
        let members = self.recovery.under_way.asked_of(author);
        for candidate in &mut plan.candidates {
            let asked = members.get(&candidate.member).copied();
            (candidate.open, candidate.asked_again) = asked.unwrap_or_default();
        }
        let asked = self.recovery.under_way.in_turn_of(author);
        plan.of_author = asked.len();
        for seq in asked {
            self.plan_slot(author, seq, plan);
        }
        let next = self.recovery.tried.get(&author).and_then(|seq| holes.next_open(*seq));
        let next = next.filter(|seq| !self.lanes.vouches(author, *seq));
        if next.is_some() && !self.plan_from(author, next, (plan, &holes)) {
            plan.of_author = RECOVERING_OF_AUTHOR; // lower slots have their turn later
        }
        self.plan_from(author, holes.first_open(), (plan, &holes));
    }

    /// Plans the missing slots from `next` on. Returns whether it reached the last one.
    fn plan_from(
        &mut self,
        author: u32,
        mut next: Option<u64>,
        (plan, holes): (&mut Plan, &Holes),
    ) -> bool {
        let mut looked = 0;
        while let Some(seq) = next {
            // Skip slots that could not be accepted.
            let seq = holes.undivided(seq).map_or(seq, |hole| hole.to);
            if looked >= MAX_LACKED || !self.may_recover(author, seq, plan) {
                return false;
            }
            looked += 1;
            let planned = self.plan_slot(author, seq, plan);
            if !matches!(planned, Next::Busy) && !self.lanes.vouches(author, seq) {
                self.recovery.tried.insert(author, seq);
            }
            next = match planned {
                Next::Slot => holes.next_open(seq),
                Next::Busy | Next::Nobody if plan.looks == 0 => return false,
                Next::Busy => {
                    plan.looks -= 1;
                    self.next_offered(author, self.offered_by(plan, author, seq))
                }
                Next::Nobody => {
                    plan.looks -= 1;
                    let others = plan.others.get_or_insert_with(|| self.others_and_reach());
                    self.pass_over(author, seq, others)
                }
            };
        }
        true
    }

    fn may_recover(&self, author: u32, seq: u64, plan: &Plan) -> bool {
        let of_author = || {
            plan.unvouched < RECOVERING_UNVOUCHED
                && plan.of_author < RECOVERING_OF_AUTHOR
                && self.has_room_for_old(author)
        };
        let budget = self.budget_of(author, seq);
        self.recovery.may_ask(budget, self.now) && (budget == Budget::Vouched || of_author())
    }

    fn budget_of(&self, author: u32, seq: u64) -> Budget {
        if self.lanes.vouches(author, seq) { Budget::Vouched } else { Budget::Unvouched }
    }

    /// Whether an author's quota has room for old batches. Room for as many as a restart header
    /// counts for is left to new ones, or a peer that supplies what others have pruned would keep
    /// those out.
    pub(super) fn has_room_for_old(&self, author: u32) -> bool {
        self.quotas.wait(author, self.now, 1, true).is_zero()
    }

    /// Plans whom to ask for a slot. At first one member; at later turns of a slot that at most `f`
    /// members vouch for, twice as many as are known to lack it. Once an answer takes longer than
    /// the patience, as many more as make `f + 1`, so that a peer that never answers cannot hold up
    /// what another has. A member that lacked the slot is asked again only if no other is left.
    fn plan_slot(&mut self, author: u32, seq: u64, plan: &mut Plan) -> Next {
        #[cfg(test)]
        (self.recovery.plans += 1);
        if plan.checking.contains(&(author, seq)) {
            return Next::Slot;
        }
        let now = self.now;
        let asked = self.recovery.under_way.get(author, seq);
        if asked.is_some_and(|open| now.since(open.last) < plan.patience) {
            return Next::Slot;
        }
        let budget = self.budget_of(author, seq);
        self.know_candidates(author, seq, &mut plan.candidates);
        let most = self.network.f() + 1;
        let mut count = match asked.filter(|open| !open.rests) {
            Some(open) => most.saturating_sub(open.members).max(1),
            // At least one honest member holds it: members that lack it must not each cost a copy.
            None if budget == Budget::Vouched => 1,
            None => (2 * plan.candidates.iter().filter(|candidate| candidate.lacks).count())
                .clamp(1, most),
        };
        let in_turn = asked.is_some_and(|open| !open.rests);
        let (mut busy, mut any) = (false, false);
        for again in [false, true] {
            if again && (busy || any || in_turn) {
                break;
            }
            while count > 0 {
                let fits = |candidate: &Candidate| {
                    let member = candidate.member;
                    candidate.lacks == again
                        && !self.recovery.under_way.is_asked(author, seq, member)
                        && self.recovery.can_say(author, member, now)
                        && (!again || (candidate.again && !candidate.asked_again))
                };
                for candidate in plan.candidates.iter_mut().filter(|candidate| !candidate.is_free())
                {
                    if !again && fits(candidate) {
                        // A late peer's unanswered requests do not hold up the rest.
                        busy |= candidate.room == 0 || !candidate.late;
                        candidate.awaited |= !candidate.credit;
                    }
                }
                let Some(at) =
                    plan.find(plan.turn, |candidate| candidate.is_free() && fits(candidate))
                else {
                    break;
                };
                let candidate = &mut plan.candidates[at];
                candidate.room -= 1;
                candidate.planned.push((author, seq));
                (candidate.open, candidate.asked_again) =
                    (candidate.open + 1, candidate.asked_again || again);
                let (link, member) = (candidate.link, candidate.member);
                self.recovery.asks((author, seq), budget, Ask { link, member, again, at: now });
                let fresh = usize::from(asked.is_none_or(|open| open.rests));
                plan.of_author += fresh;
                plan.unvouched += if budget == Budget::Vouched { 0 } else { fresh };
                // One frame's worth of slots to each candidate in turn.
                let full = candidate.planned.len().is_multiple_of(MAX_WANTS);
                plan.turn = if full { at + 1 } else { at };
                (plan.asked, any, count) = (true, true, count - 1);
            }
        }
        if any {
            return Next::Slot;
        }
        // Nobody else can be asked. The slot rests, so that unanswered requests do not keep it from
        // being asked for again.
        self.recovery.under_way.rests(author, seq);
        // Not given up on old answers while those members are being asked again.
        let asked_again =
            |candidate: &Candidate| candidate.again && candidate.asked_again && !candidate.late;
        busy |= plan.candidates.iter().any(asked_again);
        match (asked.is_some(), busy) {
            (false, true) => Next::Busy,
            (true, true) => Next::Slot,
            (_, false) => Next::Nobody,
        }
    }

    /// Notes what is known about each candidate for a slot.
    fn know_candidates(&self, author: u32, seq: u64, candidates: &mut [Candidate]) {
        let (known, now) = (self.recovery.known(author), self.now);
        let vouched = self.lanes.vouches(author, seq);
        for candidate in candidates {
            let lack = known.and_then(|known| known.get(&candidate.member));
            candidate.lacks = lack.is_some_and(|lack| lack.lacks(seq, now));
            let allowed = lack.map_or(candidate.open == 0, |lack| lack.allows(seq, candidate.open));
            candidate.waits = !vouched && !allowed;
            candidate.again =
                candidate.lacks && lack.is_some_and(|lack| lack.may_ask_again(seq, now));
        }
    }

    /// Handles a slot that no linked member has. Once every reachable member was asked, gives up
    /// the slots that nobody offers; until then asks for more visits. Returns the lowest missing
    /// slot above that is offered.
    fn pass_over(&mut self, author: u32, seq: u64, others: &[(u32, bool)]) -> Option<u64> {
        #[cfg(test)]
        (self.recovery.looks += 1);
        let (lowest, all_lack) = self.lowest_offer(author, seq, others);
        if all_lack {
            // If nobody offers a slot above, everything up to the last slot is given up.
            let upto = if lowest == u64::MAX { u64::MAX } else { lowest - 1 };
            let lane = self.lanes.get(author)?;
            // An offer that could not be accepted keeps no hole open.
            let full = lane.holes().undivided(lowest).filter(|hole| hole.from <= seq);
            if let Some(hole) = full.filter(|hole| seq < hole.to)
                && !self.lowest_offer(author, hole.to, others).1
            {
                return Some(hole.to); // filling its upper end splits nothing
            }
            if lowest <= lane.heard() {
                self.lanes.pass(author, upto);
            }
            if self.lanes.give_up(author, seq, full.map_or(upto, |hole| hole.to)) {
                self.counters.given_up += 1;
                self.recovery.moves_on = true;
            }
        } else {
            self.recovery.lacks_voices = true;
        }
        self.next_offered(author, lowest)
    }

    /// The lowest slot above `seq` offered by a member that lacks `seq`, and whether every
    /// reachable member lacks it. More than `f` members must have said so, at least one of them
    /// honest: a node that is cut off, or linked only to liars, has in effect asked nobody.
    fn lowest_offer(&self, author: u32, seq: u64, others: &[(u32, bool)]) -> (u64, bool) {
        let (now, known) = (self.now, self.recovery.known(author));
        let (mut lowest, mut lacking, mut all_lack) = (u64::MAX, 0, true);
        for (number, out_of_reach) in others.iter().copied() {
            let lack = known.and_then(|known| known.get(&number));
            match lack.and_then(|lack| lack.next(seq, now)) {
                Some(next) => (lowest, lacking) = (lowest.min(next), lacking + 1),
                None if out_of_reach || self.recovery.is_silent(author, number, now) => {}
                None => all_lack = false,
            }
        }
        let enough = (self.network.f() + 1).min(others.len());
        (lowest, all_lack && lacking >= enough)
    }

    /// The lowest slot above `seq` offered by peers that lack `seq` and can be asked now. A peer
    /// without room, because it grants no credit, must not hold up what others have.
    fn offered_by(&self, plan: &Plan, author: u32, seq: u64) -> u64 {
        let with_room = plan.candidates.iter().filter(|candidate| candidate.is_free());
        let offers =
            with_room.filter_map(|by| self.recovery.lacking(author, by.member, seq, self.now));
        offers.min().unwrap_or(u64::MAX)
    }

    fn next_offered(&self, author: u32, lowest: u64) -> Option<u64> {
        let holes = self.lanes.get(author)?.holes();
        if lowest == u64::MAX { None } else { holes.next_open(lowest - 1) }
    }

    fn others_and_reach(&self) -> Vec<(u32, bool)> {
        let member = |key| Some((self.network.index_of(&key)?, self.is_out_of_reach(&key)));
        self.overlay.others().filter_map(member).collect()
    }

    fn is_out_of_reach(&self, peer: &PublicKey) -> bool {
        let unlinked = self.links.of_peer(peer).is_none();
        self.standing.is_banned(peer, self.now)
            || (unlinked && self.overlay.failures(peer) >= TRIES)
    }
}
