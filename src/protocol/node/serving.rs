//! Serving: every want is answered once, with the batch or with why not, within a rate a link.

use std::collections::BTreeMap;

use super::frames::cost;
use super::rejecting::{Arrival, Claims};
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::bucket::Rate;
use crate::protocol::{LinkId, Note, Output, Reason, StoredBatch, Token};
use crate::wire::limits::{MAX_OPEN_WANTS, REQUEST_FRAMES, SERVE_BYTE_BURST, SERVE_BYTES_PER_S};
use crate::wire::{BatchId, Class, Frame, Kind, Missing, Want, WhyMissing};

const SERVE: Rate = Rate { per_s: SERVE_BYTES_PER_S, burst: SERVE_BYTE_BURST };

#[derive(Debug)]
struct Asked {
    link: LinkId,
    /// Bytes of the request frame.
    bytes: usize,
    /// Wants in it.
    wants: usize,
    /// Wants of it that are not answered yet.
    open: usize,
}

#[derive(Debug)]
struct Reading {
    request: u64,
    want: Want,
    author: u32,
}

/// Requests that are being served.
#[derive(Debug, Default)]
pub(super) struct Serving {
    requests: BTreeMap<u64, Asked>,
    reads: BTreeMap<Token, Reading>,
}

impl Serving {
    /// How full it is, with its limits for so many links.
    pub fn occupy(&self, note: Note, links: usize) {
        note("serving.requests", self.requests.len(), links * REQUEST_FRAMES as usize);
        note("serving.reads", self.reads.len(), links * MAX_OPEN_WANTS);
    }

    /// Forgets what a link asked for.
    pub fn link_down(&mut self, link: LinkId) {
        self.requests.retain(|_, asked| asked.link != link);
    }
}

enum Held {
    Here(StoredBatch),
    OnDisk(Option<BatchId>),
    Not(WhyMissing),
}

impl Node {
    pub(super) fn on_request(&mut self, from: &Arrival, wants: &[Want]) {
        // All of it is looked at before any of it is served.
        let mut known = Vec::with_capacity(wants.len());
        for want in wants {
            let Some(author) = self.network.index_of(&want.author) else {
                let claims = || Claims {
                    author: Some(want.author),
                    seq: Some(want.seq),
                    ..Claims::default()
                };
                let detail = "a request for an author that is not in the network file";
                return self.reject(from, Reason::UnknownAuthor, claims, detail);
            };
            known.push((want, author));
        }
        let request = self.name();
        let (link, bytes) = (from.link, from.bytes.len());
        self.serving
            .requests
            .insert(request, Asked { link, bytes, wants: wants.len(), open: wants.len() });
        for (want, author) in known {
            match self.find(link, want, author) {
                Held::Here(stored) => self.reply(request, want, &stored),
                Held::Not(why) => self.refuse_want(request, want, author, why),
                Held::OnDisk(id) => {
                    let token = Token(self.name());
                    self.serving.reads.insert(token, Reading { request, want: *want, author });
                    self.emit(Output::Read { token, author: want.author, seq: want.seq, id });
                }
            }
        }
    }

    /// Whether a link has been served all that it may be now.
    fn has_spent(&self, link: LinkId) -> bool {
        let wait = self.links.get(link).map(|held| held.served.wait(SERVE, self.now, 1));
        wait.is_none_or(|wait| !wait.is_zero())
    }

    fn find(&self, link: LinkId, want: &Want, author: u32) -> Held {
        if self.has_spent(link) {
            return Held::Not(WhyMissing::Busy);
        }
        let id = want.id.or_else(|| self.lanes.id_at(author, want.seq));
        if let Some(stored) = id.and_then(|id| self.cache.get(&id)) {
            let header = &stored.batch.header;
            if header.author == want.author && header.seq == want.seq {
                return Held::Here(stored.clone());
            }
        }
        let floor = self.lanes.get(author).map_or(0, |lane| lane.floor());
        match self.lanes.filled(author, want.seq) {
            false => Held::Not(WhyMissing::Unknown),
            true if want.seq <= floor => Held::Not(WhyMissing::Pruned),
            true => Held::OnDisk(id),
        }
    }

    pub(super) fn on_read(&mut self, token: Token, found: Option<StoredBatch>) {
        let Some(Reading { request, want, author }) = self.serving.reads.remove(&token) else {
            return;
        };
        let link = self.serving.requests.get(&request).map(|asked| asked.link);
        match found {
            // Many reads may have begun before the first of them was charged.
            Some(_) if link.is_some_and(|link| self.has_spent(link)) => {
                self.refuse_want(request, &want, author, WhyMissing::Busy);
            }
            Some(stored) => self.reply(request, &want, &stored),
            None => {
                let floor = self.lanes.get(author).map_or(0, |lane| lane.floor());
                let pruned = want.seq <= floor; // it may have been while it was read
                let why = if pruned { WhyMissing::Pruned } else { WhyMissing::Unknown };
                self.refuse_want(request, &want, author, why);
            }
        }
    }

    /// From now on whoever asks for those slots is told that they are gone, and not that they are
    /// unknown: a newcomer passes them only on that word.
    pub(super) fn on_pruned(&mut self, author: &PublicKey, floor: u64) {
        if let Some(author) = self.network.index_of(author) {
            self.lanes.raise_floor(author, floor);
        }
    }

    fn reply(&mut self, request: u64, want: &Want, stored: &StoredBatch) {
        let Some(link) = self.serving.requests.get(&request).map(|asked| asked.link) else {
            return;
        };
        let frame = Frame::reply(want.ticket, stored.hops.saturating_add(1), &stored.batch);
        let now = self.now;
        if let Some(held) = self.links.get_mut(link) {
            held.served.charge(SERVE, now, stored.batch.body.len() as u64);
        }
        self.send_bytes(link, Kind::Reply, frame.into());
        self.answered(request);
    }

    fn refuse_want(&mut self, request: u64, want: &Want, author: u32, why: WhyMissing) {
        let Some(link) = self.serving.requests.get(&request).map(|asked| asked.link) else {
            return;
        };
        let floor = self.lanes.get(author).map_or(0, |lane| lane.floor());
        let next = self.lanes.next_held(author, want.seq);
        self.send(link, &Frame::Missing(Missing { ticket: want.ticket, why, floor, next }));
        self.answered(request);
    }

    /// One want fewer is open; with the last, the request frame is dealt with.
    fn answered(&mut self, request: u64) {
        let Some(asked) = self.serving.requests.get_mut(&request) else { return };
        asked.open = asked.open.saturating_sub(1);
        if asked.open == 0 {
            let (link, bytes, wants) = (asked.link, asked.bytes, asked.wants);
            self.serving.requests.remove(&request);
            self.finish(link, Class::Request, bytes, cost::request(wants));
        }
    }
}
