//! Probing: what was given up is asked for again, of members that may have it.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::comparing::COMPARES;
use super::state::Node;
use crate::protocol::lack::Lack;
use crate::protocol::lanes::Lane;
use crate::protocol::recovery::Budget;
use crate::protocol::under_way::Ask;
use crate::protocol::{Hole, LinkId, Time};
use crate::wire::Lacked;
use crate::wire::limits::{MAX_WANTS, PROBE_COMPARES, RECOVERING_PER_LINK};

/// Slots of such holes that one member might be asked for at once.
const PROBED: usize = 64;
/// Of these, slots that it lacked.
const PROBED_AGAIN: usize = MAX_WANTS / 2;
/// Holes that are looked at for that.
const LOOKED_AT: usize = 1024;

impl Node {
    /// The same of a member that has just linked, unless it does so too often.
    pub(super) fn probe_newcomer(&mut self, link: LinkId) {
        let now = self.now;
        let may_ask = self.recovery.may_ask(Budget::Probe, now);
        let any = may_ask && self.lanes.holed().next().is_some();
        let held = self.links.get_mut(link).filter(|_| any);
        if held.is_some_and(|held| held.compares.take(COMPARES, now, PROBE_COMPARES)) {
            self.probe_holes(link, &BTreeSet::new());
        }
    }

    /// Asks a member for the first slots of holes that were given up, but for those that it said
    /// that it lacks: it may have been away when all others were asked, or cut off with us. Of
    /// lanes that differ it may have got since what it lacked.
    pub(super) fn probe_holes(&mut self, link: LinkId, named: &BTreeSet<u32>) {
        let Some(held) = self.links.get(link) else { return };
        let (member, now) = (held.number, self.now);
        let room = RECOVERING_PER_LINK.saturating_sub(self.recovery.under_way.on(link));
        let room = room.min(MAX_WANTS).min(held.room_for_wants()).min(self.recovery.room());
        if room == 0 || !held.may_recover() || !self.recovery.may_ask(Budget::Probe, now) {
            return;
        }
        let (probed, patience) = (self.some_given_up(member, named), self.patience());
        let under_way = &self.recovery.under_way;
        let unasked = |(author, seq): &(u32, u64)| {
            self.has_room_for_old(*author)
                && self.recovery.can_say(*author, member, now)
                && !under_way.is_asked(*author, *seq, member)
                && under_way.get(*author, *seq).is_none_or(|open| now.since(open.last) >= patience)
        };
        let planned: Vec<(u32, u64)> = probed.into_iter().filter(unasked).take(room).collect();
        for (author, seq) in &planned {
            let again = self.recovery.lacking(*author, member, *seq, now).is_some();
            let ask = Ask { link, member, again, at: now };
            self.recovery.asks((*author, *seq), Budget::Probe, ask);
            // It has no turn: what is left open takes no room of what is missing.
            self.recovery.under_way.rests(*author, *seq);
        }
        self.ask_holes(link, member, &planned);
    }

    /// Slots of holes that were given up: first those that the member said to have; then some that
    /// it lacked, in lanes that differ; then the first ones of holes, beginning anywhere: a liar's
    /// lanes may have as many as there may be.
    pub(super) fn some_given_up(&mut self, member: u32, named: &BTreeSet<u32>) -> Vec<(u32, u64)> {
        let now = self.now;
        let lanes: Vec<(u32, &Lane)> = self.lanes.holed().collect();
        let first = self.rng.random_range(0..lanes.len().max(1));
        let (mut offered, mut again, mut some) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = LOOKED_AT;
        for (author, lane) in lanes.iter().cycle().skip(first).take(lanes.len()) {
            let all: Vec<&Hole> = lane.holes().gone().collect();
            let first = self.rng.random_range(0..all.len().max(1));
            let gone: Vec<&Hole> =
                all.iter().cycle().skip(first).take(all.len().min(left)).copied().collect();
            left -= gone.len();
            let of = |seq| (*author, seq);
            let lack = self.recovery.known(*author).and_then(|known| known.get(&member));
            let known = gone.iter().filter_map(|hole| lack?.offers(hole.from, hole.to, now));
            offered.extend(known.filter(|seq| lane.holes().may_fill(*seq)).map(of));
            if let Some(lack) = lack.filter(|_| named.contains(author)) {
                again.extend(asked_again(lack, &gone, now).map(of));
            }
            if some.len() < PROBED && !lack.is_some_and(|lack| lack.is_known_well(now)) {
                some.extend(gone.iter().map(|hole| of(hole.from)));
            }
            if offered.len() >= PROBED || left == 0 {
                break;
            }
        }
        again.truncate(PROBED_AGAIN);
        some.truncate(PROBED);
        let lacks = |(author, seq)| self.recovery.lacking(author, member, seq, now).is_some();
        some.retain(|slot| !lacks(*slot));
        offered.extend(again);
        offered.extend(some);
        offered
    }
}

/// The first slots of holes for which a member may be asked again: one answer tells of many.
fn asked_again(lack: &Lack, gone: &[&Hole], now: Time) -> impl Iterator<Item = u64> {
    let mut last: Option<u64> = None;
    gone.iter().map(|hole| hole.from).filter(move |seq| {
        let told = last.is_some_and(|last| last.abs_diff(*seq) <= Lacked::SLOTS);
        let may_ask = !told && lack.lacks(*seq, now) && lack.may_ask_again(*seq, now);
        if may_ask {
            last = Some(*seq);
        }
        may_ask
    })
}
