//! Fetching: what neighbours announce is asked for, and what does not come is asked of another.

use std::time::Duration;

use super::rejecting::{Arrival, Claims};
use super::state::Node;
use crate::protocol::lanes::Place;
use crate::protocol::links::OpenWant;
use crate::protocol::relay::{Turn, Wanted};
use crate::protocol::{LinkId, Reason};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_WANTS};
use crate::wire::{Class, Frame, Kind, List, Missing, Reply, Request, SlotId, Want};

/// A search that cannot go on now is looked at again after this.
const LATER: Duration = Duration::from_millis(20);
/// The last of a link's credit for requests is kept for searches that have waited this long: else
/// whoever keeps announcing what is new could keep a gap open for ever.
const PATIENT: Duration = Duration::from_secs(1);
/// Searches looked at in one turn.
const PER_TURN: usize = 512;

impl Node {
    /// Gives whether any of it was news.
    pub(super) fn on_announce(&mut self, from: &Arrival, items: &[SlotId]) -> bool {
        let mut news = false;
        for item in items {
            let Some(author) = self.network.index_of(&item.author) else {
                let claims = || Claims {
                    author: Some(item.author),
                    seq: Some(item.seq),
                    id: Some(item.id),
                    ..Claims::default()
                };
                let detail = "an announcement by an author that is not in the network file";
                self.reject(from, Reason::UnknownAuthor, claims, detail);
                return true;
            };
            let place = self.lanes.place(author, item.seq, &item.id);
            if matches!(place, Place::Empty | Place::Second) {
                news = true;
                let due = self.now.after(self.config.ask_after);
                self.relay.want((author, item.seq, Some(item.id)), from.link, due);
            }
        }
        news
    }

    /// Asks for what is due, in as few frames as it takes.
    pub(super) fn ask_what_is_due(&mut self) {
        let now = self.now;
        let mut asks: std::collections::BTreeMap<LinkId, Vec<Wanted>> = Default::default();
        for (since, wanted) in self.relay.take_due(now, PER_TURN) {
            let kept_free = if now.since(since) >= PATIENT { 0 } else { 1 };
            if self.is_settled(&wanted) {
                self.relay.found(&wanted);
                continue;
            }
            let quota = self.quotas.wait(wanted.0, now, 0);
            if !quota.is_zero() {
                self.relay.postpone(wanted, now.after(quota.max(LATER)));
                continue;
            }
            let links = &self.links;
            let usable = |link: LinkId| links.get(link).is_some_and(|held| held.ready());
            let busy = |link: LinkId| {
                let planned = asks.get(&link).map_or(0, Vec::len);
                let frames = planned / MAX_WANTS + 1 + kept_free;
                !links.get(link).is_some_and(|held| {
                    held.wants.len() + planned < MAX_OPEN_WANTS
                        && held.may_send_all(Class::Request, frames, Kind::Request.max_len())
                })
            };
            match self.relay.next_source(&wanted, usable, busy) {
                Turn::Ask(link) => asks.entry(link).or_default().push(wanted),
                Turn::Wait => self.relay.postpone(wanted, now.after(LATER)),
                Turn::Over => {}
            }
        }
        for (link, planned) in asks {
            for wanted in planned.chunks(MAX_WANTS) {
                self.ask(link, wanted);
            }
        }
    }

    /// Whether there is nothing left to look for.
    fn is_settled(&self, (author, seq, id): &Wanted) -> bool {
        match id {
            None => self.lanes.filled(*author, *seq),
            Some(id) => {
                !matches!(self.lanes.place(*author, *seq, id), Place::Empty | Place::Second)
            }
        }
    }

    fn ask(&mut self, link: LinkId, wanted: &[Wanted]) {
        let now = self.now;
        let Some(held) = self.links.get_mut(link) else { return };
        let mut wants = Vec::with_capacity(wanted.len());
        for (author, seq, id) in wanted {
            let ticket = held.ticket();
            let open = OpenWant { author: *author, seq: *seq, id: *id, since: now };
            held.wants.insert(ticket, open);
            let author = self.network.keys()[*author as usize].key;
            wants.push(Want { ticket, author, seq: *seq, id: *id });
        }
        let tickets: Vec<u32> = wants.iter().map(|want| want.ticket).collect();
        let sent = List::new(wants)
            .and_then(|wants| self.send(link, &Frame::Request(Request { wants })))
            .is_some();
        if !sent && let Some(held) = self.links.get_mut(link) {
            for ticket in tickets {
                held.wants.remove(&ticket);
            }
        }
        for wanted in wanted {
            match sent {
                true => self.relay.asked(*wanted, link, now, self.config.ask_again_after),
                false => self.relay.postpone(*wanted, now.after(LATER)),
            }
        }
    }

    /// A reply is paid for by the open want that it answers: an honest peer answers each once, on
    /// the link that asked, and nothing else.
    pub(super) fn on_reply(&mut self, from: Arrival, reply: Reply) {
        let header = &reply.batch.header;
        let author = self.network.index_of(&header.author);
        let Some(held) = self.links.get_mut(from.link) else { return };
        let answers = held.wants.get(&reply.ticket).is_some_and(|want| {
            author == Some(want.author)
                && header.seq == want.seq
                && want.id.is_none_or(|id| id == header.id())
        });
        if !answers {
            let claims = || Claims::of(&reply.batch, Some(reply.hops));
            let detail = "a reply that answers no open want";
            return self.reject(&from, Reason::CreditOverrun, claims, detail);
        }
        let found = held.wants.remove(&reply.ticket).is_some_and(|want| {
            self.recovery.found(want.author, want.seq);
            want.id.is_none()
        });
        let link = from.link;
        self.on_batch(from, reply.batch, reply.hops, None, found);
        self.go_on_comparing(link);
    }

    pub(super) fn on_missing(&mut self, from: &Arrival, missing: &Missing) {
        let Some(held) = self.links.get_mut(from.link) else { return };
        let Some(want) = held.wants.remove(&missing.ticket) else {
            let detail = "an answer to nothing that was asked";
            return self.reject(from, Reason::CreditOverrun, Claims::default, detail);
        };
        self.note_lack(&want, from.number, from.link, missing);
        self.relay.missing(&(want.author, want.seq, want.id), self.now);
        self.ask_what_is_due();
        self.go_on_comparing(from.link);
    }

    /// Once all that a comparison brought up is answered, compares again: a long gap is closed at
    /// the pace of the link and not of the timer.
    fn go_on_comparing(&mut self, link: LinkId) {
        let done = self.links.get(link).is_some_and(|held| held.wants.is_empty());
        if done && self.catching_up.remove(&link) {
            self.compare(link);
        }
    }
}
