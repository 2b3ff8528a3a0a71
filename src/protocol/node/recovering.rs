//! Recovering: asks for slots missing below the tips, oldest first, until every reachable member
//! was asked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::pending::Checking;
use super::plan::{Next, Plan, Source};
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::lanes::{Holes, Lane};
use crate::protocol::links::Link;
use crate::protocol::recovery::{Budget, SILENCE};
use crate::protocol::relay::Wanted;
use crate::protocol::under_way::Ask;
use crate::protocol::{Durability, LinkId, Record};
use crate::wire::limits::{
    MAX_LACKED, MAX_WANTS, RECOVERING_OF_AUTHOR, RECOVERING_PER_LINK, RECOVERING_UNVOUCHED,
};

/// Pause between two turns of recovery where answers come at once: short enough to fill a link (16
/// slots per turn reach the limit on slots asked for in all), long enough to cost little. Where
/// answers take longer, the pause is a sixteenth of the patience with a neighbour, within these
/// bounds.
const PACE: Duration = Duration::from_millis(8);
const LONGEST_PACE: Duration = Duration::from_millis(20);
/// Pause between two turns while nothing can be asked for.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause between two records of holes written only because some were given up or passed.
const HOLES_EVERY: Duration = Duration::from_secs(1);
/// Lanes looked at in one turn.
const LANES: usize = 16;
/// Most slots that no link has looked at in one turn; each costs a look at every member.
const LOOKS: usize = 64;
/// Failed dials in a row after which a member counts as unreachable.
const TRIES: u32 = 2;

impl Node {
    /// Schedules the next turn of recovery soon.
    pub(super) fn recover_soon(&mut self) {
        let due = self.now.after(self.recovery.pace.max(PACE));
        self.recovery.due = Some(self.recovery.due.map_or(due, |other| other.min(due)));
    }

    /// Writes the holes that changed, before any batch above them is written: otherwise a start
    /// would take the missing slots for held. Holes that were only given up, or that a tip passed
    /// on others' word, are written along with them or when their time comes: a lane may have
    /// thousands of holes, and a liar can have some given up, or one more passed, again and again.
    pub(super) fn write_holes(&mut self) {
        let now = self.now;
        for (author, tip) in self.lanes.take_moved() {
            self.relay.end_below(author, tip);
            self.recover_soon();
        }
        let waiting = self.lanes.has_waiting() && self.recovery.holes_due <= now;
        if waiting {
            self.recovery.holes_due = now.after(HOLES_EVERY);
        }
        for (author, tip, holes) in self.lanes.take_changed(waiting) {
            let author = self.network.keys()[author as usize].key;
            self.write(Record::Holes { author, tip, holes }, Durability::Lazy);
        }
        if self.lanes.has_waiting() {
            let due = self.recovery.holes_due;
            self.recovery.due = Some(self.recovery.due.map_or(due, |other| other.min(due)));
        }
    }

    /// To be called before a batch is written: writes its lane's holes first if a start would need
    /// them. The holes of this node's own lane always are, as its tip is the promise to sign
    /// nothing below.
    pub(super) fn write_holes_before(&mut self, author: u32, seq: u64) {
        self.lanes.precede(author, if author == self.own { u64::MAX } else { seq });
        self.write_holes();
    }

    /// One turn of recovery: asks for the oldest missing slots, and gives up what no member has.
    pub(super) fn recover(&mut self) {
        let now = self.now;
        if self.recovery.due.is_none_or(|due| due > now) {
            return;
        }
        (self.recovery.due, self.recovery.lacks_voices) = (None, false);
        let lanes: Vec<u32> = self.open_lanes().collect();
        if lanes.is_empty() {
            self.write_holes();
            self.links.await_none();
            return self.pace_visits();
        }
        let first = self.recovery.next_turn(lanes.len(), LANES);
        let (sources, checking) = (self.sources(), self.being_checked());
        let (patience, of_author) = (self.patience_below_tips(), 0);
        self.recovery.under_way.end_turns(self.network.f() + 1, patience, now);
        self.end_idle_turns();
        let in_turn = self.recovery.under_way.in_turn();
        let unvouched = in_turn.filter(|(a, s)| !self.lanes.vouches(*a, *s)).count();
        let mut plan = Plan {
            sources,
            checking,
            asked: false,
            looks: LOOKS,
            others: None,
            patience,
            unvouched,
            of_author,
        };
        for author in lanes.iter().cycle().skip(first).take(lanes.len().min(LANES)).copied() {
            self.plan_lane(author, &mut plan);
        }
        for source in plan.sources {
            if let Some(held) = self.links.get_mut(source.link) {
                held.awaited = source.awaited;
            }
            self.ask_holes(source.link, source.member, &source.planned);
        }
        self.recovery.pace = (plan.patience / 16).clamp(PACE, LONGEST_PACE);
        let wait = if plan.asked { self.recovery.pace } else { PAUSE };
        self.recovery.due = Some(now.after(wait.max(self.recovery.wait(now).min(PAUSE))));
        if std::mem::take(&mut self.recovery.moves_on) {
            self.recover_soon();
        }
        self.write_holes();
        self.pace_visits();
    }

    /// Ends the turns of slots that are no longer asked for because they were given up, so that
    /// peers that leave them unanswered take no room from other slots.
    fn end_idle_turns(&mut self) {
        let is_open = |(author, seq): &(u32, u64)| {
            let lane = self.lanes.get(*author);
            lane.is_some_and(|lane| lane.holes().is_open(*seq) && lane.holes().may_fill(*seq))
        };
        let in_turn = self.recovery.under_way.in_turn();
        let idle: Vec<(u32, u64)> = in_turn.filter(|slot| !is_open(slot)).collect();
        idle.into_iter().for_each(|(author, seq)| self.recovery.under_way.rests(author, seq));
    }

    /// Notes that a slot was filled, whatever the source.
    pub(super) fn recovered(&mut self, author: u32, seq: u64) {
        self.recovery.under_way.found(author, seq);
        let lane = self.lanes.get(author);
        let holes = lane.map(Lane::holes);
        if lane.is_some_and(Lane::is_whole) {
            self.recovery.forget_lane(author);
        } else if holes.is_some_and(|holes| holes.first_open().is_some())
            && self.recovery.due.is_none()
        {
            self.recover_soon(); // the rest of a hole that was given up is open again
        }
        self.write_holes();
    }

    /// Lanes with slots that are missing and not given up.
    fn open_lanes(&self) -> impl Iterator<Item = u32> {
        let open = |(_, lane): &(u32, &Lane)| lane.holes().first_open().is_some();
        self.lanes.holed().filter(open).map(|(author, _)| author)
    }

    /// A link ended. If its peer left requests unanswered, or granted no credit for them, it counts
    /// as silent the next time this happens.
    pub(super) fn recover_from_others(&mut self, link: LinkId, gone: &Link) {
        let withheld = gone.withholds.is_some_and(|since| self.now.since(since) >= SILENCE);
        let lanes = if withheld && gone.awaited { self.open_lanes().collect() } else { vec![] };
        self.recovery.link_down(link, (gone.number, lanes), self.now);
    }

    /// The links that can be asked; late peers come last.
    fn sources(&self) -> Vec<Source> {
        let open = self.recovery.under_way.by_link();
        let ready = self.links.ready().map(|(link, held)| {
            let open = open.get(&link).copied().unwrap_or(0);
            let room = RECOVERING_PER_LINK.saturating_sub(open).min(MAX_WANTS);
            let credit = held.may_recover();
            let room = if credit { room.min(held.room_for_wants()) } else { 0 };
            let (member, late) = (held.number, self.promises.rank(held.number, self.now).late);
            Source {
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
        let mut sources: Vec<Source> = ready.collect();
        sources.sort_by_key(|source| source.late);
        sources
    }

    fn being_checked(&self) -> BTreeSet<(u32, u64)> {
        let slot = |checking: &Checking| match checking {
            Checking::Batch { batch, author, .. } => Some((*author, batch.header.seq)),
            Checking::Tip { .. } | Checking::Restored { .. } => None,
        };
        self.checks.values().filter_map(slot).collect()
    }

    /// Plans whom to ask for missing slots of a lane: first other members for slots that are not
    /// answered; then slots that at most `f` members vouch for, in turn, so that slots that nobody
    /// has do not hold up those that a few members have; then the oldest slots.
    fn plan_lane(&mut self, author: u32, plan: &mut Plan) {
        let Some(holes) = self.lanes.get(author).map(|lane| lane.holes().clone()) else { return };
        let mut turn = 0;
        let members = self.recovery.under_way.asked_of(author);
        for source in &mut plan.sources {
            let asked = members.get(&source.member).copied();
            (source.open, source.asked_again) = asked.unwrap_or_default();
        }
        let asked = self.recovery.under_way.in_turn_of(author);
        plan.of_author = asked.len();
        for seq in asked {
            self.plan_slot(author, seq, plan, &mut turn);
        }
        let next = self.recovery.tried(author).and_then(|seq| holes.next_open(seq));
        let next = next.filter(|seq| !self.lanes.vouches(author, *seq));
        if next.is_some() && !self.plan_from(author, next, (plan, &holes), &mut turn) {
            plan.of_author = RECOVERING_OF_AUTHOR; // lower slots have their turn later
        }
        self.plan_from(author, holes.first_open(), (plan, &holes), &mut turn);
    }

    /// Plans the missing slots from `next` on. Returns whether it reached the last one.
    fn plan_from(
        &mut self,
        author: u32,
        mut next: Option<u64>,
        (plan, holes): (&mut Plan, &Holes),
        turn: &mut usize,
    ) -> bool {
        let mut looked = 0;
        while let Some(seq) = next {
            // Skip slots that could not be accepted.
            let seq = holes.undivided(seq).map_or(seq, |hole| hole.to);
            if looked >= MAX_LACKED || !self.may_recover(author, seq, plan) {
                return false;
            }
            looked += 1;
            let planned = self.plan_slot(author, seq, plan, turn);
            if !matches!(planned, Next::Busy) && !self.lanes.vouches(author, seq) {
                self.recovery.tries(author, seq);
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
    fn plan_slot(&mut self, author: u32, seq: u64, plan: &mut Plan, turn: &mut usize) -> Next {
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
        self.know_sources(author, seq, &mut plan.sources);
        let most = self.network.f() + 1;
        let mut count = match asked.filter(|open| !open.rests) {
            Some(open) => most.saturating_sub(open.members).max(1),
            // At least one honest member holds it: members that lack it must not each cost a copy.
            None if budget == Budget::Vouched => 1,
            None => (2 * plan.sources.iter().filter(|source| source.lacks).count()).clamp(1, most),
        };
        let in_turn = asked.is_some_and(|open| !open.rests);
        let (mut busy, mut any) = (false, false);
        for again in [false, true] {
            if again && (busy || any || in_turn) {
                break;
            }
            while count > 0 {
                let fits = |source: &Source| {
                    let member = source.member;
                    source.lacks == again
                        && !self.recovery.under_way.is_asked(author, seq, member)
                        && self.recovery.can_say(author, member, now)
                        && (!again || (source.again && !source.asked_again))
                };
                for source in plan.sources.iter_mut().filter(|source| !source.is_free()) {
                    if !again && fits(source) {
                        // A late peer's unanswered requests do not hold up the rest.
                        busy |= source.room == 0 || !source.late;
                        source.awaited |= !source.credit;
                    }
                }
                let Some(at) = plan.find(*turn, |source| source.is_free() && fits(source)) else {
                    break;
                };
                let source = &mut plan.sources[at];
                source.room -= 1;
                source.planned.push((author, seq));
                (source.open, source.asked_again) = (source.open + 1, source.asked_again || again);
                let (link, member) = (source.link, source.member);
                self.recovery.asks((author, seq), budget, Ask { link, member, again, at: now });
                let fresh = usize::from(asked.is_none_or(|open| open.rests));
                plan.of_author += fresh;
                plan.unvouched += if budget == Budget::Vouched { 0 } else { fresh };
                // One frame's worth of slots to each source in turn.
                *turn = if source.planned.len().is_multiple_of(MAX_WANTS) { at + 1 } else { at };
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
        let asked_again = |source: &Source| source.again && source.asked_again && !source.late;
        busy |= plan.sources.iter().any(asked_again);
        match (asked.is_some(), busy) {
            (false, true) => Next::Busy,
            (true, true) => Next::Slot,
            (_, false) => Next::Nobody,
        }
    }

    /// Notes what is known about each source for a slot.
    fn know_sources(&self, author: u32, seq: u64, sources: &mut [Source]) {
        let (known, now) = (self.recovery.known(author), self.now);
        let vouched = self.lanes.vouches(author, seq);
        for source in sources {
            let lack = known.and_then(|known| known.get(&source.member));
            source.lacks = lack.is_some_and(|lack| lack.lacks(seq, now));
            let allowed = lack.map_or(source.open == 0, |lack| lack.allows(seq, source.open));
            source.waits = !vouched && !allowed;
            source.again = source.lacks && lack.is_some_and(|lack| lack.may_ask_again(seq, now));
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
        let with_room = plan.sources.iter().filter(|source| source.is_free());
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

    /// Asks a member for slots below tips, which were noted as under way.
    pub(super) fn ask_holes(&mut self, link: LinkId, member: u32, planned: &[(u32, u64)]) {
        let wanted: Vec<(Wanted, bool)> =
            planned.iter().map(|(author, seq)| ((*author, *seq, None), false)).collect();
        if !self.request(link, &wanted) {
            let under_way = &mut self.recovery.under_way;
            planned.iter().for_each(|(author, seq)| under_way.closed(*author, *seq, member));
        }
    }
}
