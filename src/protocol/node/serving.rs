//! Serving: every want is answered once, with the batch or with the reason why not, at a limited
//! rate per link.
//!
//! Answers without a batch are sent at once. The other wants wait in a queue per link, and the
//! links take turns. A batch is read only while its peer owes nothing for what it was served
//! before, and only a few are read at a time, so that no request causes more reading than serving.

use std::collections::VecDeque;
use std::time::Duration;

use super::frames::cost;
use super::pending::{OpenRequest, Reading, Received, Waiting};
use super::rejecting::Claims;
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::time::Rate;
use crate::protocol::{LinkId, Output, Reason, StoredBatch, Token};
use crate::wire::limits::{
    MAX_OPEN_WANTS, MAX_READS, MAX_READS_PER_PEER, SERVE_BYTE_BURST, SERVE_BYTES_PER_S,
};
use crate::wire::{BatchId, Class, Frame, Kind, Missing, Want, WhyMissing};

/// Bounds on how long an unreadable slot is not named to others. Within them it is as long as the
/// slot has been held, so each retry waits about twice as long as the last.
const UNREADABLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

pub(super) const SERVE: Rate = Rate { per_s: SERVE_BYTES_PER_S, burst: SERVE_BYTE_BURST };

enum Held {
    Here(StoredBatch),
    OnDisk(Option<BatchId>),
    Not(WhyMissing),
}

impl Node {
    pub(super) fn on_request(&mut self, from: &Received, wants: &[Want]) {
        // Examine the whole request before serving any of it.
        let mut open = self.serving.open_of(from.link);
        if open.len() + wants.len() > MAX_OPEN_WANTS {
            let detail = "too many open wants on the link";
            return self.reject(from, Reason::CreditOverrun, Claims::default, detail);
        }
        let mut known = Vec::with_capacity(wants.len());
        for want in wants {
            let claims =
                || Claims { author: Some(want.author), seq: Some(want.seq), ..Claims::default() };
            let Some(author) = self.network.index_of(&want.author) else {
                let detail = "a request for an author that is not in the network file";
                return self.reject(from, Reason::UnknownAuthor, claims, detail);
            };
            if open.contains(&want.ticket) {
                let detail = "a ticket that an open want uses";
                return self.reject(from, Reason::Malformed, claims, detail);
            }
            open.push(want.ticket);
            known.push((want, author));
        }
        let request = self.name();
        let (link, bytes) = (from.link, from.bytes.len());
        let open = wants.iter().map(|want| want.ticket).collect();
        self.serving
            .requests
            .insert(request, OpenRequest { link, bytes, open, wants: wants.len() });
        for (want, author) in known {
            let waiting = Waiting { request, want: *want, author };
            match self.find(want, author) {
                Held::Not(why) => self.refuse_want(&waiting, why),
                _ => self.serving.queues.entry(link).or_default().push_back(waiting),
            }
        }
        self.serve();
    }

    /// Serves the waiting links in turn, one batch each, until none can be served.
    pub(super) fn serve(&mut self) {
        let mut served = true;
        while std::mem::take(&mut served) {
            self.serving.due = None;
            for link in self.serving.turns() {
                served |= self.serve_link(link);
            }
        }
    }

    /// Serves the first want of a link if it may be served now. Returns whether it was.
    fn serve_link(&mut self, link: LinkId) -> bool {
        let Some(held) = self.links.get(link) else {
            self.serving.link_down(link);
            return false;
        };
        let (peer, wait) = (held.peer, held.served.wait(SERVE, self.now, 1));
        if !wait.is_zero() {
            // The bucket counts nanoseconds, while time is in microseconds: round up.
            let due = self.now.after(wait + Duration::from_micros(1));
            self.serving.due = Some(self.serving.due.map_or(due, |other| other.min(due)));
            return false;
        }
        let Some(first) = self.serving.queues.get(&link).and_then(VecDeque::front) else {
            return false;
        };
        let (want, author) = (first.want, first.author);
        let found = self.find(&want, author); // it may have been pruned while it waited
        if matches!(found, Held::OnDisk(_))
            && (self.serving.reads.len() >= MAX_READS
                || self.serving.reading_for(&peer) >= MAX_READS_PER_PEER)
        {
            return false; // the answer to a pending read serves again
        }
        self.serving.turn = Some(link);
        let Some(waiting) = self.serving.take(link) else { return false };
        match found {
            Held::Here(stored) => self.reply(&waiting, &stored),
            Held::Not(why) => self.refuse_want(&waiting, why),
            Held::OnDisk(id) => {
                let token = Token(self.name());
                self.serving.reads.insert(token, Reading { peer, waiting });
                self.emit(Output::Read { token, author: want.author, seq: want.seq, id });
            }
        }
        true
    }

    fn find(&self, want: &Want, author: u32) -> Held {
        let id = want.id.or_else(|| self.lanes.id_at(author, want.seq));
        if let Some(stored) = id.and_then(|id| self.cache.get(&id)).filter(|s| answers(want, s)) {
            return Held::Here(stored.clone());
        }
        let floor = self.lanes.get(author).map_or(0, |lane| lane.floor());
        match self.lanes.filled(author, want.seq) {
            false => Held::Not(WhyMissing::Unknown),
            true if want.seq <= floor => Held::Not(WhyMissing::Pruned),
            // The slot's ids are kept and this is not one of them: no read is needed.
            true if want.id.is_some_and(|id| self.lanes.is_other(author, want.seq, &id)) => {
                Held::Not(WhyMissing::Unknown)
            }
            true => Held::OnDisk(id),
        }
    }

    pub(super) fn on_read(&mut self, token: Token, found: Option<StoredBatch>) {
        let Some(Reading { peer, waiting }) = self.serving.reads.remove(&token) else { return };
        let (want, author) = (waiting.want, waiting.author);
        match found {
            Some(stored) => {
                if self.serving.requests.contains_key(&waiting.request) && answers(&want, &stored) {
                    self.reply(&waiting, &stored);
                } else {
                    // The requester is gone or wants another batch, but the read is charged all the
                    // same.
                    let length = stored.batch.body.len() as u64;
                    self.links.charge_served(&peer, SERVE, self.now, length);
                    self.refuse_want(&waiting, WhyMissing::Unknown);
                }
            }
            None => {
                let why = match self.find(&want, author) {
                    Held::Not(why) => why, // pruned, or found damaged, during the read
                    _ => WhyMissing::Busy,
                };
                self.lanes.unreadable(author, want.seq, self.now, UNREADABLE);
                self.refuse_want(&waiting, why);
            }
        }
        self.serve();
    }

    /// Notes that payloads were pruned. Requests for those slots are now answered with `Pruned`
    /// instead of `Unknown`: a node that is new may pass the slots only on that answer.
    pub(super) fn on_pruned(&mut self, author: &PublicKey, floor: u64) {
        if let Some(author) = self.network.index_of(author) {
            self.lanes.raise_floor(author, floor);
        }
    }

    fn reply(&mut self, waiting: &Waiting, stored: &StoredBatch) {
        let asked = self.serving.requests.get(&waiting.request);
        let Some(link) = asked.map(|asked| asked.link) else { return };
        let (ticket, hops) = (waiting.want.ticket, stored.hops.saturating_add(1));
        let frame = Frame::reply(ticket, hops, &stored.batch);
        let now = self.now;
        if let Some(held) = self.links.get_mut(link) {
            held.served.charge(SERVE, now, stored.batch.body.len() as u64);
        }
        self.send_bytes(link, Kind::Reply, frame.into());
        self.answered(waiting);
    }

    fn refuse_want(&mut self, waiting: &Waiting, why: WhyMissing) {
        let asked = self.serving.requests.get(&waiting.request);
        let Some(link) = asked.map(|asked| asked.link) else { return };
        let (ticket, seq, author) = (waiting.want.ticket, waiting.want.seq, waiting.author);
        let floor = self.lanes.get(author).map_or(0, |lane| lane.floor());
        let (next, lacked) = self.lanes.next_held(author, seq);
        self.send(link, &Frame::Missing(Missing { ticket, why, floor, next, lacked }));
        self.answered(waiting);
    }

    /// Notes that a want was answered. With the last one, the request frame is finished.
    fn answered(&mut self, waiting: &Waiting) {
        let Some(asked) = self.serving.requests.get_mut(&waiting.request) else { return };
        asked.open.retain(|ticket| *ticket != waiting.want.ticket);
        if asked.open.is_empty() {
            let (link, bytes, wants) = (asked.link, asked.bytes, asked.wants);
            self.serving.requests.remove(&waiting.request);
            self.finish(link, Class::Request, bytes, cost::request(wants));
        }
    }
}

/// Whether a batch answers a want; the requester would blame this node for any other.
fn answers(want: &Want, stored: &StoredBatch) -> bool {
    stored.is_of(&want.author, want.seq) && want.id.is_none_or(|id| id == stored.id)
}
