//! Recovering: what is missing below the tips is asked for, oldest first, until all who can be
//! reached were asked.

use std::time::Duration;

use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::lanes::Lane;
use crate::protocol::links::OpenWant;
use crate::protocol::{Durability, LinkId, Output, Record, Token};
use crate::wire::limits::{ASKED_OF_ALL, MAX_WANTS, RECOVERING_PER_LINK, WINDOW};
use crate::wire::{BatchId, Class, Frame, Kind, List, Missing, Request, Want, WhyMissing};

/// Between two looks at what is missing: often enough to fill a link, seldom enough to cost little.
const PACE: Duration = Duration::from_millis(2);
/// Between two looks while nothing can be asked for.
const PAUSE: Duration = Duration::from_millis(50);
/// Lanes looked at in one turn.
const LANES: usize = 16;
/// Dials that must fail before a member counts as one that cannot be reached.
const TRIES: u32 = 2;

/// A link that can be asked, and what is planned for it in this turn.
struct Source {
    link: LinkId,
    member: u32,
    room: usize,
    planned: Vec<(u32, u64)>,
}

impl Node {
    /// Looks at what is missing soon.
    pub(super) fn recover_soon(&mut self) {
        let due = self.now.after(PACE);
        self.recovery.due = Some(self.recovery.due.map_or(due, |other| other.min(due)));
    }

    /// Writes down holes that changed. Before any batch that lies above them is written, or a start
    /// would take them for held.
    pub(super) fn write_holes(&mut self) {
        for (author, tip, holes) in self.lanes.take_changed() {
            self.relay.end_below(author, tip);
            let author = self.network.keys()[author as usize].key;
            let token = Token(self.name());
            let record = Record::Holes { author, tip, holes };
            self.emit(Output::Write { token, record, durability: Durability::Lazy });
            self.recover_soon();
        }
    }

    /// Asks for the oldest of what is missing, and gives up what nobody has.
    pub(super) fn recover(&mut self) {
        let now = self.now;
        if self.recovery.due.is_none_or(|due| due > now) {
            return;
        }
        (self.recovery.due, self.recovery.lacks_voices) = (None, false);
        for (author, seq, member) in self.recovery.overdue(now) {
            self.recovery.lacks(author, member, seq, u64::MAX, now);
        }
        let open =
            |author: u32| self.lanes.get(author).is_some_and(|l| l.holes().first_open().is_some());
        let lanes: Vec<u32> = self.lanes.holed().map(|(a, _)| a).filter(|a| open(*a)).collect();
        if lanes.is_empty() {
            return self.pace_visits();
        }
        let first = lanes.partition_point(|author| *author < self.recovery.turn);
        let turn: Vec<u32> =
            lanes.iter().cycle().skip(first).take(lanes.len().min(LANES)).copied().collect();
        self.recovery.turn = turn.last().map_or(0, |last| last.saturating_add(1));
        let mut sources = self.sources();
        for author in turn {
            self.plan_lane(author, &mut sources);
        }
        let asked = sources.iter().any(|source| !source.planned.is_empty());
        for source in sources {
            self.ask_holes(source);
        }
        let wait = if asked { PACE } else { PAUSE };
        self.recovery.due = Some(now.after(wait.max(self.recovery.wait(now).min(PAUSE))));
        self.write_holes();
        self.pace_visits();
    }

    fn sources(&self) -> Vec<Source> {
        let ready = self.links.ready().map(|(link, held)| {
            let open = self.recovery.open_on(link);
            // One frame of the window stays for what is new.
            let credit = held.may_send_all(Class::Request, 2, Kind::Request.max_len());
            let room = RECOVERING_PER_LINK.saturating_sub(open).min(MAX_WANTS);
            let room = if credit { room.min(held.room_for_wants()) } else { 0 };
            Source { link, member: held.number, room, planned: Vec::new() }
        });
        ready.collect()
    }

    /// Plans whom to ask for the oldest missing slots of a lane.
    fn plan_lane(&mut self, author: u32, sources: &mut [Source]) {
        let now = self.now;
        let Some(lane) = self.lanes.get(author) else { return };
        let (vouched, mut next) = (lane.vouched(), lane.holes().first_open());
        let holes = lane.holes().clone();
        let mut turn = 0;
        while let Some(seq) = next {
            let free = seq <= vouched
                || (self.recovery.open(author) < ASKED_OF_ALL
                    && self.quotas.wait(author, now, 1, false).is_zero());
            if !free || !self.recovery.may_ask(now) {
                return;
            }
            let after = |seq: u64| {
                holes.open().find_map(|hole| (hole.to > seq).then(|| hole.from.max(seq + 1)))
            };
            if self.recovery.is_asked(author, seq) {
                next = after(seq);
                continue;
            }
            let has =
                |source: &Source| self.recovery.lacking(author, source.member, seq, now).is_none();
            let count = sources.len();
            let fit = (0..count).map(|i| (turn + i) % count);
            if let Some(at) = fit.clone().find(|at| sources[*at].room > 0 && has(&sources[*at])) {
                let source = &mut sources[at];
                source.room -= 1;
                source.planned.push((author, seq));
                self.recovery.asks(author, seq, source.link, source.member, now);
                // A frame's worth to each in turn.
                turn = if source.planned.len().is_multiple_of(MAX_WANTS) { at + 1 } else { at };
                next = after(seq);
            } else if fit.clone().any(|at| has(&sources[at])) {
                return; // those who may have it are busy
            } else {
                next = self.pass_over(author, seq);
            }
        }
    }

    /// None of the linked members has a slot: gives up what nobody offers, once all who can be
    /// reached were asked, and hurries to ask them until then. Gives the lowest missing slot above
    /// that is offered.
    fn pass_over(&mut self, author: u32, seq: u64) -> Option<u64> {
        let now = self.now;
        let (mut offered, mut all) = (u64::MAX, true);
        for (number, peer) in self.other_members() {
            match self.recovery.lacking(author, number, seq, now) {
                Some(next) => offered = offered.min(next),
                None if self.is_out_of_reach(&peer) => {}
                None => all = false,
            }
        }
        if all {
            // Where nobody offers anything above, the last slot that there is goes too.
            let upto = if offered == u64::MAX { u64::MAX } else { offered - 1 };
            let heard = self.lanes.get(author).map_or(0, Lane::heard);
            if offered <= heard {
                self.lanes.jump(author, upto);
            }
            self.lanes.give_up(author, seq, upto);
            self.counters.given_up += 1;
        } else {
            self.recovery.lacks_voices = true;
        }
        if offered == u64::MAX {
            return None;
        }
        let open = self.lanes.get(author)?.holes().open().find(|hole| hole.to >= offered);
        open.map(|hole| hole.from.max(offered))
    }

    fn other_members(&self) -> impl Iterator<Item = (u32, PublicKey)> + use<'_> {
        self.overlay.others().filter_map(|key| Some((self.network.index_of(&key)?, key)))
    }

    fn is_out_of_reach(&self, peer: &PublicKey) -> bool {
        let unlinked = self.links.of_peer(peer).is_none();
        self.standing.is_banned(peer, self.now)
            || (unlinked && self.overlay.failures(peer) >= TRIES)
    }

    fn ask_holes(&mut self, source: Source) {
        let Source { link, planned, .. } = source;
        if planned.is_empty() {
            return;
        }
        let now = self.now;
        let Some(held) = self.links.get_mut(link) else { return };
        let mut wants = Vec::with_capacity(planned.len());
        for (author, seq) in &planned {
            let ticket = held.ticket();
            held.wants.insert(
                ticket,
                OpenWant { author: *author, seq: *seq, id: None, since: now, counted: false },
            );
            let author = self.network.keys()[*author as usize].key;
            wants.push(Want { ticket, author, seq: *seq, id: None });
        }
        let tickets: Vec<u32> = wants.iter().map(|want| want.ticket).collect();
        let request = List::new(wants).map(|wants| Frame::Request(Request { wants }));
        if request.and_then(|frame| self.send(link, &frame)).is_none() {
            if let Some(held) = self.links.get_mut(link) {
                held.wants.retain(|ticket, _| !tickets.contains(ticket));
            }
            planned.iter().for_each(|(author, seq)| self.recovery.found(*author, *seq));
        }
    }

    /// A member does not serve a slot that it was asked for.
    pub(super) fn note_lack(
        &mut self,
        want: &OpenWant,
        member: u32,
        link: LinkId,
        missing: &Missing,
    ) {
        let OpenWant { author, seq, id, .. } = *want;
        let f = self.network.f();
        self.lanes.claim(author, member, 0, missing.floor, f);
        if self.is_stuck(want, missing) {
            // One slot at first: it is asked of all, as what is below a tip.
            self.lanes.jump(author, seq);
        }
        self.write_holes();
        if id.is_some() {
            return;
        }
        let Some(lane) = self.lanes.get(author) else { return };
        let next = if missing.next > seq { missing.next } else { u64::MAX };
        if lane.holes().contains(seq) {
            let next = if missing.why == WhyMissing::Busy { seq.saturating_add(1) } else { next };
            let lowest = lane.holes().first_open().unwrap_or(seq);
            self.recovery.forget_below(author, member, lowest);
            self.recovery.lacks(author, member, seq, next, self.now);
            self.reopen(author, next, link);
            self.recover_soon();
        } else if seq > lane.tip() && seq <= lane.vouched() {
            // More than `f` members are past it: it is asked for as what is below a tip.
            let to = lane.vouched();
            self.lanes.jump(author, to);
            self.write_holes();
        } else if next <= lane.heard() && !self.lanes.filled(author, next) {
            // Its author may have left slots out, or restarted above them.
            let due = self.now.after(self.config.ask_after);
            self.relay.want((author, next, None), link, due);
        }
    }

    /// Whether a lane may not go on by itself: the slot after the tip is old, a member that has
    /// more lacks it, and too few vouch for the slots above. Two nodes that come back together from
    /// a long absence may find that the author alone knows what they missed, and has pruned it.
    fn is_stuck(&self, want: &OpenWant, missing: &Missing) -> bool {
        let OpenWant { author, seq, id, .. } = *want;
        let next = |lane: &Lane| lane.tip().checked_add(1) == Some(seq) && seq < lane.heard();
        let old = missing.floor >= seq || self.behind.contains(&author);
        // What is announced is on its way: holes are filled with more patience than news has.
        id.is_none()
            && old
            && !self.relay.seeks(author, seq)
            && self.lanes.get(author).is_some_and(next)
    }

    /// A member offers a slot of a hole that was given up: it is asked for after all.
    fn reopen(&mut self, author: u32, next: u64, link: LinkId) {
        let given_up = |lane: &Lane| {
            lane.holes().ranges().iter().any(|h| h.gone && h.from <= next && next <= h.to)
        };
        if self.lanes.get(author).is_some_and(given_up) {
            let due = self.now.after(self.config.ask_after);
            self.relay.want((author, next, None), link, due);
        }
    }

    /// A row of the store is not what was written: the slot is missing again, and asked for.
    pub(super) fn on_damaged(&mut self, author: u32, seq: u64, id: BatchId) {
        self.counters.damaged += 1;
        self.cache.remove(&id);
        if self.lanes.lose(author, seq, &id) {
            self.write_holes();
            self.recover_soon();
        }
    }

    /// Asks a member that was not asked lately for the first slot of each hole that was given up.
    pub(super) fn probe_holes(&mut self, link: LinkId) {
        let Some(member) = self.links.get(link).map(|held| held.number) else { return };
        let now = self.now;
        let gone = self.lanes.holed().filter_map(|(author, lane)| {
            let hole = lane.holes().ranges().iter().find(|hole| hole.gone)?;
            Some((author, hole.from))
        });
        let unasked = |(author, seq): &(u32, u64)| {
            !self.recovery.was_asked(*author, member, now) && !self.recovery.is_asked(*author, *seq)
        };
        let room = self.recovery.room().min(MAX_WANTS);
        let planned: Vec<(u32, u64)> = gone.filter(unasked).take(room).collect();
        for (author, seq) in &planned {
            self.recovery.asks(*author, *seq, link, member, now);
        }
        self.ask_holes(Source { link, member, room: 0, planned });
    }

    /// Whether more members should be heard than the usual visits reach: some say that a lane lies
    /// far behind, and too few to be believed; or nobody who was asked has what is missing.
    pub(super) fn wants_voices(&self) -> bool {
        let far = |lane: &Lane| lane.heard() > lane.tip().saturating_add(WINDOW / 2);
        self.recovery.lacks_voices
            || self.behind.iter().any(|a| self.lanes.get(*a).is_some_and(far))
    }

    /// A verified tip of a member's lane, and what it says of the slots below.
    pub(super) fn hear_tip(&mut self, author: u32, member: u32, tip: &crate::wire::Tip) {
        self.lanes.hear(author, tip.slot.seq);
        self.lanes.claim(author, member, tip.solid, tip.floor, self.network.f());
        if author == self.own {
            self.lanes.jump(author, tip.slot.seq);
        }
        self.write_holes();
        let far = |lane: &Lane| lane.heard() > lane.tip().saturating_add(WINDOW / 2);
        let far = self.lanes.get(author).is_some_and(far);
        if far != self.behind.contains(&author) {
            match far {
                true => self.behind.insert(author),
                false => self.behind.remove(&author),
            };
            self.pace_visits();
        }
    }
}
