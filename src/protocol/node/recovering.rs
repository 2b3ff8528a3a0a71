//! Recovering: asks for slots missing below the tips, oldest first, until every reachable member
//! was asked.

use std::time::Duration;

use super::plan::Plan;
use super::state::Node;
use crate::protocol::lanes::Lane;
use crate::protocol::links::Link;
use crate::protocol::recovery::SILENCE;
use crate::protocol::relay::Wanted;
use crate::protocol::{Durability, LinkId, Record};

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

impl Node {
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
        let (candidates, checking) = (self.candidates(), self.being_checked());
        let patience = self.patience_below_tips();
        self.recovery.under_way.end_turns(self.network.f() + 1, patience, now);
        self.end_idle_turns();
        let in_turn = self.recovery.under_way.in_turn();
        let unvouched = in_turn.filter(|(a, s)| !self.lanes.vouches(*a, *s)).count();
        let mut plan = Plan {
            candidates,
            checking,
            asked: false,
            looks: LOOKS,
            others: None,
            patience,
            unvouched,
            of_author: 0,
            turn: 0,
        };
        for author in lanes.iter().cycle().skip(first).take(lanes.len().min(LANES)).copied() {
            self.plan_lane(author, &mut plan);
        }
        for candidate in plan.candidates {
            if let Some(held) = self.links.get_mut(candidate.link) {
                held.awaited = candidate.awaited;
            }
            self.ask_holes(candidate.link, candidate.member, &candidate.planned);
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
