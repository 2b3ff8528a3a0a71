//! The front of the pipeline: checks size and credit, decodes, and dispatches each frame.

use std::sync::Arc;

use super::pending::Received;
use super::rejecting::{Came, Claims};
use super::state::Node;
use crate::protocol::{CloseWhy, LinkId, Reason};
use crate::wire::limits::VERSION;
use crate::wire::{Class, Credit, Frame, Hello, Kind, WireError};

/// The idle work that a frame costs its link: roughly its processor time, in units of a short copy.
/// A batch that is news costs nothing, because its author's quota pays for it.
pub(super) mod cost {
    pub(crate) const NEWS: u64 = 0;
    pub(crate) const PING: u64 = 50;

    /// A batch that is known, or refused without blame. Longer ones cost more: at 1000 units per
    /// second a link brings 4 MiB of copies per second, an author's whole quota, before its pushes
    /// turn into announcements.
    pub(crate) fn copy(bytes: usize) -> u64 {
        1 + bytes as u64 / 4096
    }

    /// Announced ids that are not news may be invented, and cost table space and time.
    pub(crate) fn announce(items: usize, news: bool) -> u64 {
        1 + items as u64 / 8 + if news { 0 } else { 2 }
    }

    /// A few look-ups per range, and an answer of up to 20 KiB.
    pub(crate) fn compare(ranges: usize) -> u64 {
        20 + ranges as u64 / 4
    }

    /// Only the answers without a batch; served batches have a rate of their own.
    pub(crate) fn request(wants: usize) -> u64 {
        1 + wants as u64 / 2
    }
}

fn reason_of(error: WireError) -> Reason {
    match error {
        WireError::Malformed(_) => Reason::Malformed,
        WireError::NonCanonical(_) => Reason::NonCanonical,
        WireError::Oversize(_) => Reason::Oversize,
        WireError::WrongVersion(_) => Reason::WrongVersion,
    }
}

impl Node {
    pub(super) fn on_oversize(&mut self, link: LinkId, length: u32) {
        let Some(held) = self.links.get(link) else { return };
        let (peer, prefix) = (held.peer, length.to_be_bytes());
        let detail = format!("the length prefix announces {length} bytes");
        self.refuse(peer, Came::Prefix(&prefix), Reason::Oversize, Claims::default, &detail);
    }

    fn arrival(&self, link: LinkId, bytes: Arc<[u8]>) -> Option<Received> {
        let held = self.links.get(link)?;
        Some(Received { link, peer: held.peer, number: held.number, bytes })
    }

    pub(super) fn on_frame(&mut self, link: LinkId, bytes: Arc<[u8]>) {
        let now = self.now;
        let Some(from) = self.arrival(link, bytes) else { return };
        let Some(held) = self.links.get_mut(link) else { return };
        held.heard(from.bytes.len(), now);
        let ready = held.ready();
        let length = from.bytes.len();
        let kind = from.bytes.get(1).and_then(|kind| Kind::from_byte(*kind));
        let current = from.bytes.first() == Some(&VERSION);
        if let Some(kind) = kind.filter(|kind| current && length <= kind.max_len())
            && !held.charge(kind.class(), length)
        {
            let detail = format!("a {} frame beyond the link's credit", kind.name());
            return self.reject(&from, Reason::CreditOverrun, Claims::default, &detail);
        }
        let frame = match Frame::decode(&from.bytes) {
            Ok(frame) => frame,
            Err(error) => {
                return self.reject(&from, reason_of(error), Claims::default, &error.to_string());
            }
        };
        if ready == (frame.kind() == Kind::Hello) {
            let detail = if ready { "a second hello" } else { "another frame before the hello" };
            return self.reject(&from, Reason::Malformed, Claims::default, detail);
        }
        self.dispatch(from, frame);
    }

    fn dispatch(&mut self, from: Received, frame: Frame) {
        let (link, length) = (from.link, from.bytes.len());
        match frame {
            Frame::Hello(hello) => self.on_hello(link, &hello),
            Frame::Credit(credit) => self.on_credit(&from, &credit),
            Frame::Ping => self.finish(link, Class::Control, length, cost::PING),
            Frame::Push(push) => {
                self.on_batch(from, push.batch, push.hops, Some(Class::Push), false)
            }
            Frame::Announce(announce) => {
                let news = self.on_announce(&from, &announce.items);
                let cost = cost::announce(announce.items.len(), news);
                self.finish(link, Class::Announce, length, cost);
            }
            Frame::Request(request) => self.on_request(&from, &request.wants),
            Frame::Reply(reply) => self.on_reply(from, *reply),
            Frame::Missing(missing) => self.on_missing(&from, &missing),
            Frame::Compare(compare) => self.on_compare(&from, &compare),
            Frame::Differ(differ) => self.on_differ(&from, differ),
        }
    }

    fn on_hello(&mut self, link: LinkId, hello: &Hello) {
        if hello.version != u16::from(VERSION) || hello.network != self.network.id() {
            if let Some(held) = self.links.get(link) {
                let peer = held.peer;
                self.overlay.failed(peer, &mut self.rng, self.now);
            }
            return self.close(link, CloseWhy::Mismatch);
        }
        self.on_ready(link, hello.instance);
    }

    fn on_credit(&mut self, from: &Received, credit: &Credit) {
        let now = self.now;
        for grant in credit.grants.iter() {
            let Some(held) = self.links.get_mut(from.link) else { return };
            if let Err(why) = held.grant(grant, now) {
                return self.reject(from, Reason::CreditOverrun, Claims::default, why);
            }
        }
        if self.links.get(from.link).is_some_and(|held| held.awaited) {
            self.recover_soon();
        }
        self.ask_more(from.link);
        if let Some(held) = self.links.get(from.link) {
            self.publisher.acknowledged(from.link, held.acknowledged(Class::Push));
        }
    }
}
