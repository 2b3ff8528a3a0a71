//! Probing: asks for given-up slots again, from members that may have them.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::comparing::COMPARES;
use super::state::Node;
use crate::protocol::lack::Lack;
use crate::protocol::lanes::{Holes, Lane};
use crate::protocol::recovery::Budget;
use crate::protocol::under_way::Ask;
use crate::protocol::{LinkId, Time};
use crate::wire::Lacked;
use crate::wire::limits::{MAX_LACKED, MAX_WANTS, PROBE_COMPARES, RECOVERING_PER_LINK};

/// Most given-up slots planned for one member in one lane.
const PROBED: usize = 64;
/// Most holes, and most slots in all, looked at for that.
const LOOKED_AT: usize = 1024;

impl Node {
    /// Like [`Node::probe_holes`], for a member that has just linked, unless it links too often.
    pub(super) fn probe_newcomer(&mut self, link: LinkId) {
        let now = self.now;
        let may_ask = self.recovery.may_ask(Budget::Probe, now);
        let any = may_ask && self.lanes.holed().next().is_some();
        let held = self.links.get_mut(link).filter(|_| any);
        if held.is_some_and(|held| held.compares.take(COMPARES, now, PROBE_COMPARES)) {
            self.probe_holes(link, &BTreeSet::new());
        }
    }

    /// Asks a member for the first slots of given-up holes, except those that it said it lacks: it
    /// may have been away when the others were asked, or cut off along with this node. In the lanes
    /// of `named` it shows other holes, so it may have received what it lacked.
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
            !under_way.is_asked(*author, *seq, member)
                && under_way.get(*author, *seq).is_none_or(|open| now.since(open.last) >= patience)
        };
        let planned: Vec<(u32, u64)> = probed.into_iter().filter(unasked).take(room).collect();
        for (author, seq) in &planned {
            let again = self.recovery.lacking(*author, member, *seq, now).is_some();
            let ask = Ask { link, member, again, at: now };
            self.recovery.asks((*author, *seq), Budget::Probe, ask);
            // The slot gets no turn: an unanswered probe takes no room from missing slots.
            self.recovery.under_way.rests(*author, *seq);
        }
        // As long as the member gives some, it is asked for more at the pace of the link.
        if let Some(held) = self.links.get(link).filter(|_| !planned.is_empty()) {
            self.catching_up.entry(link).or_insert(held.given);
        }
        self.ask_holes(link, member, &planned);
    }

    /// Searches for the lowest given-up slot, at or above `offered`, that the member may have
    /// according to its answers. `offered` is `u64::MAX` if the member offers none.
    pub(super) fn want_given_up(
        &mut self,
        (author, member): (u32, u32),
        offered: u64,
        link: LinkId,
    ) {
        let Some(holes) = self.lanes.get(author).map(Lane::holes) else { return };
        let lack = self.recovery.lack(author, member);
        let mut next = offered;
        for _ in 0..MAX_LACKED {
            let gone = Some(next).filter(|next| *next < u64::MAX);
            let Some(seq) = gone.and_then(|next| holes.next_gone(next)) else { return };
            next = match lack.and_then(|lack| lack.told(seq, self.now)) {
                Some((_, held)) if held > seq => held,
                // Its answer will say what comes next.
                _ if self.recovery.under_way.is_asked(author, seq, member) => return,
                _ if !holes.may_fill(seq) => seq.saturating_add(1),
                _ => {
                    let due = self.now.after(self.config.ask_after);
                    return self.relay.want((author, seq, None), link, due);
                }
            };
        }
    }

    /// Slots of given-up holes, the lanes taking turns, those in `named` first. Of each lane, first
    /// the slots that the member said it has, then some that it may have.
    pub(super) fn some_given_up(&mut self, member: u32, named: &BTreeSet<u32>) -> Vec<(u32, u64)> {
        let may_ask = |author: &u32| {
            self.has_room_for_old(*author) && self.recovery.can_say(*author, member, self.now)
        };
        let lanes = self.lanes.holed().filter(|(author, _)| may_ask(author));
        let mut lanes: Vec<(u32, &Lane)> = lanes.collect();
        let first = self.rng.random_range(0..lanes.len().max(1));
        lanes.rotate_left(first);
        lanes.sort_by_key(|(author, _)| !named.contains(author));
        let share = (LOOKED_AT / lanes.len().max(1)).max(PROBED);
        lanes.truncate(LOOKED_AT / share);
        let mut of_lanes = Vec::new();
        for (author, lane) in lanes {
            let all = lane.holes().ranges();
            let first = self.rng.random_range(0..all.len().max(1));
            let lack = self.recovery.lack(author, member);
            let gone = all.iter().cycle().skip(first).take(all.len().min(share));
            let known = gone.filter(|hole| hole.gone).filter_map(|hole| {
                let seq = lack?.offers(hole.from, hole.to, self.now)?;
                lane.holes().may_fill(seq).then_some(seq)
            });
            let mut slots: Vec<u64> = known.take(PROBED).collect();
            slots.extend(may_have(lack, (lane.holes(), first), share, self.now));
            of_lanes.push(slots.into_iter().map(move |seq| (author, seq)));
        }
        let mut some = Vec::new();
        while some.len() < LOOKED_AT {
            let before = some.len();
            some.extend(of_lanes.iter_mut().filter_map(Iterator::next));
            if some.len() == before {
                break;
            }
        }
        some
    }
}

/// The first slots of holes that a member may have according to its answers, starting with hole
/// `first`: one per range that its answer will cover, or one per hole if it gives what it is asked
/// for. Where no more answers can be kept, one in all, and only if it lately showed other holes.
fn may_have(
    lack: Option<&Lack>,
    (all, first): (&Holes, usize),
    looks: usize,
    now: Time,
) -> Vec<u64> {
    let (mut some, mut at, mut around, holes) = (Vec::new(), first, false, all.ranges());
    let gives = lack.is_some_and(Lack::gives);
    let most = lack.map_or(PROBED, |lack| lack.probes(PROBED, now));
    for _ in 0..looks {
        if at >= holes.len() && !std::mem::replace(&mut around, true) {
            at = 0;
        }
        let Some(hole) = holes.get(at).filter(|_| some.len() < most) else { break };
        if around && at >= first {
            break;
        }
        let told = |seq| lack.and_then(|lack| lack.told(seq, now));
        let mut next = hole.from;
        while let Some((end, _)) = told(next).filter(|_| next <= hole.to) {
            next = end;
        }
        // Where there is no room to split the hole, try its upper end, which needs none.
        if next <= hole.to && !all.may_fill(next) {
            next = if told(hole.to).is_none() { hole.to } else { hole.to + 1 };
        }
        if next > hole.to || !hole.gone {
            at = (at + 1).max(holes.partition_point(|hole| hole.to < next));
            continue;
        }
        some.push(next);
        let last = next.saturating_add(Lacked::SLOTS);
        at = if gives { at + 1 } else { holes.partition_point(|hole| hole.to <= last).max(at + 1) };
    }
    some
}
