//! Fetching: asks for what neighbours announce, and asks another one if no answer comes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pending::Received;
use super::rejecting::Claims;
use super::state::Node;
use crate::protocol::lanes::Admission;
use crate::protocol::links::OpenWant;
use crate::protocol::relay::{Park, Turn, Wanted};
use crate::protocol::{LinkId, Reason, Time};
use crate::wire::limits::MAX_WANTS;
use crate::wire::{Class, Frame, Header, Kind, List, Missing, Reply, Request, SlotId, Want};

/// A search that cannot proceed now is looked at again after this.
const LATER: Duration = Duration::from_millis(20);
/// The last of a link's request credit is reserved for searches that have waited this long.
/// Otherwise a peer that keeps announcing new batches could keep a gap open forever.
const PATIENT: Duration = Duration::from_secs(1);
/// Every answer may take this long: a read from disk, and a busy peer's turn.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(20);
/// Longest wait for an answer before other peers are asked.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);
/// An answer that took longer is counted as if it had taken this long.
pub(super) const LONGEST_ANSWER: Duration = Duration::from_secs(5);

impl Node {
    /// Handles an announcement, or the slots above tips in a differ. Returns whether any of it was
    /// news.
    pub(super) fn on_announce(&mut self, from: &Received, items: &[SlotId]) -> bool {
        let known = |item: &SlotId| self.network.index_of(&item.author);
        let authors: Vec<Option<u32>> = items.iter().map(known).collect();
        if let Some(at) = authors.iter().position(Option::is_none) {
            let SlotId { author, seq, id } = items[at];
            let claims = || Claims {
                author: Some(author),
                seq: Some(seq),
                id: Some(id),
                ..Claims::default()
            };
            let detail = "an announcement for an author that is not in the network file";
            self.reject(from, Reason::UnknownAuthor, claims, detail);
            return true;
        }
        let mut news = false;
        for (author, item) in authors.into_iter().flatten().zip(items) {
            let admission = self.lanes.admission(author, item.seq, &item.id);
            if matches!(admission, Admission::Empty | Admission::Second) {
                news = true;
                let due = self.now.after(self.config.ask_after);
                self.relay.want((author, item.seq, Some(item.id)), from.link, due);
            }
        }
        news
    }

    /// Asks for the slots that are due, in as few frames as possible. Asks for nothing that could
    /// not be accepted now.
    pub(super) fn ask_what_is_due(&mut self) {
        let now = self.now;
        let due = self.relay.take_due(now);
        if due.is_empty() {
            return;
        }
        let patience = self.patience();
        let mut asks: BTreeMap<LinkId, Vec<Wanted>> = BTreeMap::new();
        for (since, wanted) in due {
            if self.is_settled(&wanted) {
                self.relay.found(&wanted);
                continue;
            }
            for link in self.relay.take_lapsed(&wanted, now, patience) {
                self.breaks_promise(link);
            }
            let quota = self.room_for(wanted.0, wanted.1);
            if !quota.is_zero() {
                self.relay.reschedule(wanted, now.after(quota.max(LATER)));
                continue;
            }
            self.plan(wanted, since, &mut asks);
        }
        for (link, planned) in asks {
            for wanted in planned.chunks(MAX_WANTS) {
                self.ask(link, wanted, patience);
            }
        }
    }

    /// How long a slot must wait for its author's quota. A slot that more than `f` members vouch
    /// for has passed a quota already; it waits for the recovery budget instead.
    fn room_for(&self, author: u32, seq: u64) -> Duration {
        match self.lanes.vouches(author, seq) {
            true => self.recovery.wait(self.now),
            false => self.quotas.wait(author, self.now, 0, false),
        }
    }

    /// Whether an unrequested batch is over its author's quota, no matter who vouches for it. A
    /// requested batch is accepted: there was room when it was requested, and a refused one would
    /// be fetched again and again.
    pub(super) fn is_over_quota(&self, author: u32, header: &Header) -> bool {
        !self.quota_wait(author, header).is_zero()
    }

    /// How long until an author's quota has room for a batch.
    pub(super) fn quota_wait(&self, author: u32, header: &Header) -> Duration {
        self.quotas.wait(author, self.now, u64::from(header.length), header.restarts())
    }

    /// How long an answer may take before other peers are asked: 1.5 times the median over the
    /// links. Liars may stretch or shrink that within the bounds, which costs some copies or some
    /// delay.
    pub(super) fn patience(&self) -> Duration {
        self.patience_below_tips().min(LONGEST_PATIENCE)
    }

    /// As [`Node::patience`], for slots missing below tips, which are less urgent and have a higher
    /// bound: where all answers are slow, each slot would be asked of `f + 1` members, and slow
    /// them further.
    pub(super) fn patience_below_tips(&self) -> Duration {
        let links = self.links.ready().filter_map(|(_, link)| link.took);
        let mut times: Vec<Duration> = links.collect();
        times.sort_unstable();
        let Some(median) = times.get(times.len() / 2) else { return self.config.ask_again_after };
        (*median * 3 / 2).clamp(SHORTEST_PATIENCE, LONGEST_ANSWER)
    }

    /// Notes the peers that leave wants unanswered for too long, even if other peers have served
    /// them.
    pub(super) fn sweep_wants(&mut self) {
        let (now, patience) = (self.now, self.patience());
        let late = |want: &OpenWant| now.since(want.since) >= patience;
        let links = self.links.ready().filter(|(_, held)| held.wants.values().any(late));
        let links: Vec<LinkId> = links.map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.breaks_promise(link));
    }

    fn breaks_promise(&mut self, link: LinkId) {
        if let Some(held) = self.links.get(link) {
            self.promises.broke(held.number, self.now);
            self.asking.set_late(link, true);
        }
    }

    fn is_late(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|held| self.promises.rank(held.number, self.now).late)
    }

    /// Decides which links to ask for one slot, if any can be asked now.
    fn plan(&mut self, wanted: Wanted, since: Time, asks: &mut BTreeMap<LinkId, Vec<Wanted>>) {
        let now = self.now;
        let kept_free = if now.since(since) >= PATIENT { 0 } else { 1 };
        let counted = !self.lanes.vouches(wanted.0, wanted.1);
        let (links, promises, asking) = (&self.links, &self.promises, &self.asking);
        let rank = |link| links.get(link).map(|held| promises.rank(held.number, now));
        let has_credit = |link: LinkId| {
            let planned = asks.get(&link).map_or(0, Vec::len);
            links.get(link).is_some_and(|held| {
                let kept_free = kept_free + if held.awaited { 2 } else { 0 };
                let frames = planned / MAX_WANTS + 1 + kept_free;
                planned < held.room_for_wants()
                    && held.may_send_all(Class::Request, frames, Kind::Request.max_len())
            })
        };
        let has_room = |link: LinkId, first: bool| {
            let late = rank(link).is_some_and(|rank| rank.late);
            has_credit(link) && (!counted || !first || asking.may_ask(wanted.0, link, late))
        };
        let usable = |link: LinkId| links.get(link).is_some_and(|held| held.ready());
        let enough = self.network.f() + 1;
        match self.relay.next_sources((&wanted, now, enough), usable, has_room, rank) {
            Turn::Ask(chosen) => {
                for link in chosen {
                    asks.entry(link).or_default().push(wanted);
                    if counted {
                        let late = self.is_late(link);
                        self.asking.opened(wanted.0, link, late);
                    }
                }
            }
            Turn::Wait(link) => {
                let of_author = has_credit(link);
                let park = if of_author { Park::Author(wanted.0) } else { Park::Link(link) };
                self.relay.park(wanted, park, now);
            }
            Turn::Later | Turn::Over => {}
        }
    }

    /// Wakes searches that wait for room on a link, if there is room for at least one full frame.
    pub(super) fn ask_more(&mut self, link: LinkId) {
        let Some(held) = self.links.get(link) else { return };
        let frames = if held.awaited { 3 } else { 1 };
        let credit = held.may_send_all(Class::Request, frames, Kind::Request.max_len());
        let room = held.room_for_wants();
        if credit && room >= MAX_WANTS {
            self.relay.unpark(Park::Link(link), room, self.now);
        }
    }

    /// Settles a want that was answered or never sent.
    fn close_want(&mut self, link: LinkId, want: &OpenWant) {
        if want.counted {
            self.asking.closed(want.author, link);
            self.relay.unpark(Park::Author(want.author), 1, self.now);
        }
        self.ask_more(link);
    }

    /// Whether a search has nothing left to look for.
    fn is_settled(&self, (author, seq, id): &Wanted) -> bool {
        match id {
            None => self.lanes.filled(*author, *seq),
            Some(id) => !matches!(
                self.lanes.admission(*author, *seq, id),
                Admission::Empty | Admission::Second
            ),
        }
    }

    fn ask(&mut self, link: LinkId, wanted: &[Wanted], patience: Duration) {
        let now = self.now;
        let counted = |wanted: &Wanted| (*wanted, !self.lanes.vouches(wanted.0, wanted.1));
        let counted: Vec<(Wanted, bool)> = wanted.iter().map(counted).collect();
        let vouched = counted.iter().filter(|(_, counted)| !counted);
        vouched.for_each(|_| self.recovery.charge_ask(now));
        let sent = self.request(link, &counted);
        for (wanted, counted) in counted {
            if sent {
                self.relay.asked(wanted, link, now, patience);
                continue;
            }
            if counted {
                self.asking.closed(wanted.0, link);
            }
            self.relay.reschedule(wanted, now.after(LATER));
        }
    }

    /// Sends one request for these slots, each with whether it counts towards its author's limit.
    /// Returns whether it was sent; if not, none of them is left open.
    pub(super) fn request(&mut self, link: LinkId, wanted: &[(Wanted, bool)]) -> bool {
        let since = self.now;
        let Some(held) = self.links.get_mut(link) else { return false };
        let mut wants = Vec::with_capacity(wanted.len());
        for ((author, seq, id), counted) in wanted.iter().copied() {
            let ticket = held.ticket();
            held.wants.insert(ticket, OpenWant { author, seq, id, since, counted });
            let author = self.network.keys()[author as usize].key;
            wants.push(Want { ticket, author, seq, id });
        }
        let tickets: Vec<u32> = wants.iter().map(|want| want.ticket).collect();
        let request = List::new(wants).map(|wants| Frame::Request(Request { wants }));
        let sent = request.and_then(|frame| self.send(link, &frame)).is_some();
        if !sent && let Some(held) = self.links.get_mut(link) {
            held.wants.retain(|ticket, _| !tickets.contains(ticket));
        }
        sent
    }

    /// Handles a reply. It is paid for by the open want that it answers: an honest peer answers
    /// each want once, on the link that asked, and sends no other replies.
    pub(super) fn on_reply(&mut self, from: Received, reply: Reply) {
        let header = &reply.batch.header;
        let author = self.network.index_of(&header.author);
        let Some(held) = self.links.get_mut(from.link) else { return };
        let answers = |want: &&OpenWant| {
            author == Some(want.author)
                && header.seq == want.seq
                && want.id.is_none_or(|id| id == header.id())
        };
        let Some(want) = held.wants.get(&reply.ticket).filter(answers).copied() else {
            let claims = || Claims::of(&reply.batch, Some(reply.hops));
            let detail = "a reply to no open want";
            return self.reject(&from, Reason::CreditOverrun, claims, detail);
        };
        held.answered(self.now.since(want.since).min(LONGEST_ANSWER));
        held.wants.remove(&reply.ticket);
        held.given += 1;
        let slot = (want.author, want.seq);
        let missing = self.lanes.get(slot.0).is_some_and(|lane| lane.holes().contains(slot.1));
        self.recovery.gave(slot, from.number, missing, self.now);
        let (link, found) = (from.link, want.id.is_none());
        self.close_want(link, &want);
        self.on_batch(from, reply.batch, reply.hops, None, found);
        self.go_on_comparing(link);
    }

    pub(super) fn on_missing(&mut self, from: &Received, missing: &Missing) {
        let Some(held) = self.links.get_mut(from.link) else { return };
        let Some(want) = held.wants.remove(&missing.ticket) else {
            let detail = "an answer to no open want";
            return self.reject(from, Reason::CreditOverrun, Claims::default, detail);
        };
        self.recovery.under_way.closed(want.author, want.seq, from.number);
        self.note_lack(&want, from.number, from.link, missing);
        let wanted = (want.author, want.seq, want.id);
        if want.id.is_some() && self.relay.was_named(&wanted, from.link) {
            self.breaks_promise(from.link); // the peer itself had named this batch
        }
        self.relay.missing(&wanted, from.link, self.now);
        self.close_want(from.link, &want);
        self.ask_what_is_due();
        self.go_on_comparing(from.link);
    }

    /// Compares again once every want that a comparison caused is answered, so that a long gap is
    /// closed as fast as the link allows. Only if the peer gave something: a peer with a higher tip
    /// that gives nothing below it would be asked without end.
    fn go_on_comparing(&mut self, link: LinkId) {
        let Some(held) = self.links.get(link).filter(|held| held.wants.is_empty()) else { return };
        let given = held.given;
        if self.catching_up.remove(&link).is_some_and(|before| given > before) {
            self.compare(link);
        }
    }
}
