//! Batches: from the wire into the lane, with the checks in the order of `docs/PROTOCOL.md`.

use std::sync::Arc;
use std::time::Duration;

use super::frames::cost;
use super::pending::{Checking, Origin, Received, Writing};
use super::rejecting::{Came, Claims, Ground};
use super::relaying::Spread;
use super::state::Node;
use crate::crypto::{PublicKey, Signature, Validity};
use crate::protocol::lanes::{Admission, Filling};
use crate::protocol::{
    Durability, LinkId, Output, Reason, Record, Refusal, StoredBatch, Ticket, Time, Token, Verified,
};
use crate::wire::{Batch, BatchId, Class, Header, SignedSlot};

/// A copy of a batch older than this is logged; until then copies are the price of redundancy.
/// Affects only the log, never validity.
const FRESH: Duration = Duration::from_secs(5);

/// A batch whose slot is being written is asked for again after this.
const AFTER_WRITE: Duration = Duration::from_millis(20);

impl Node {
    /// Handles a neighbour's batch: all checks that are cheaper than a signature.
    pub(super) fn on_batch(
        &mut self,
        from: Received,
        batch: Batch,
        hops: u8,
        charged: Option<Class>,
        found: bool,
    ) {
        let claims = || Claims::of(&batch, Some(hops));
        if batch.header.network != self.network.id() {
            let detail = "the batch is for another network";
            return self.reject(&from, Reason::WrongNetwork, claims, detail);
        }
        let Some(author) = self.network.index_of(&batch.header.author) else {
            let detail = "the author is not in the network file";
            return self.reject(&from, Reason::UnknownAuthor, claims, detail);
        };
        let id = batch.id();
        let admission = self.lanes.admission_of(author, &batch.header, &id);
        if let Some((reason, detail)) = refusal_of(admission) {
            let known = (author, batch.header.seq, admission);
            self.note_known(&from, known, claims, (reason.into(), detail));
            return self.settle_frame(&from, charged, false);
        }
        if charged.is_some() && self.is_over_quota(author, &batch.header) {
            self.reject(&from, Reason::AuthorRate, claims, "the author is over its quota");
            self.want_later(from.link, (author, id), &batch.header);
            return self.settle_frame(&from, charged, false);
        }
        if !batch.content_matches() {
            let detail = "the body does not match the hash in the header";
            return self.reject(&from, Reason::ContentMismatch, claims, detail);
        }
        self.check_batch(batch, id, author, Origin::Link { from, hops, charged, found });
    }

    /// Requests a signature check, one for all peers that send the same header and signature in the
    /// meantime. A bad copy that comes first has another signature or id, so it never blocks the
    /// good one.
    pub(super) fn check_batch(&mut self, batch: Batch, id: BatchId, author: u32, origin: Origin) {
        if let Origin::Link { from, .. } = &origin
            && let Some(held) = self.links.get_mut(from.link)
        {
            held.unverified += 1;
        }
        let name: (BatchId, Signature) = (id, batch.signature);
        if let Some(token) = self.under_check.get(&name)
            && let Some(Checking::Batch { origins, .. }) = self.checks.get_mut(token)
        {
            return origins.push(origin);
        }
        let (key, statement) = (batch.header.author, batch.header.statement());
        let (batch, origins) = (Box::new(batch), vec![origin]);
        let checking = Checking::Batch { batch, id, author, origins };
        let token = self.check(key, statement, name.1, checking);
        self.under_check.insert(name, token);
    }

    /// Requests the check of a signature. Returns the token of the answer.
    pub(super) fn check(
        &mut self,
        key: PublicKey,
        statement: [u8; SignedSlot::STATEMENT],
        signature: Signature,
        checking: Checking,
    ) -> Token {
        let token = Token(self.name());
        self.checks.insert(token, checking);
        self.counters.checks += 1;
        self.emit(Output::Check { token, key, statement: Box::new(statement), signature });
        token
    }

    pub(super) fn on_checked(&mut self, token: Token, verdict: Validity) {
        match self.checks.remove(&token) {
            None => {}
            Some(Checking::Tip { tip, author, from }) => {
                self.on_tip_checked(&tip, author, &from, verdict.is_good());
            }
            Some(Checking::Restored { author, seq, id }) => {
                self.on_restored_checked(author, seq, id, verdict.is_good());
            }
            Some(Checking::Batch { batch, id, author, origins }) => {
                self.under_check.remove(&(id, batch.signature));
                for origin in &origins {
                    if let Origin::Link { from, .. } = origin
                        && let Some(held) = self.links.get_mut(from.link)
                    {
                        held.unverified = held.unverified.saturating_sub(1);
                        self.ask_more(from.link);
                    }
                }
                if verdict.is_good() {
                    if let Some(batch) = Verified::new(*batch, verdict) {
                        self.on_verified(batch, id, author, origins);
                    }
                } else {
                    self.on_forged(&batch, origins);
                }
            }
        }
    }

    fn on_forged(&mut self, batch: &Batch, origins: Vec<Origin>) {
        for origin in origins {
            match origin {
                Origin::Link { from, hops, .. } => {
                    let claims = || Claims::of(batch, Some(hops));
                    let detail = "the author's signature is invalid";
                    self.reject(&from, Reason::BadSignature, claims, detail);
                }
                Origin::Client(ticket) => {
                    let claims = || Claims::of(batch, None);
                    self.refuse_client(ticket, claims, Reason::BadSignature);
                }
            }
        }
    }

    /// Handles a batch whose signature is good; only from here on may the lane change.
    fn on_verified(
        &mut self,
        batch: Verified<Batch>,
        id: BatchId,
        author: u32,
        origins: Vec<Origin>,
    ) {
        // Clients first, each on its own: a client's batch is acknowledged only once it is synced,
        // whether or not a neighbour's copy was accepted.
        for origin in &origins {
            if let Origin::Client(ticket) = origin {
                self.take_from_client(batch.clone(), id, author, *ticket);
            }
        }
        // If any of these peers was asked for the batch, it is accepted as a requested one, no
        // matter which peer sent it first.
        let was_asked = |s: &Origin| matches!(s, Origin::Link { charged: None, .. });
        let asked = origins.iter().any(was_asked);
        let mut batch = Some(batch);
        for origin in origins {
            let Origin::Link { from, hops, charged, found } = origin else { continue };
            let taken = match batch.take() {
                Some(fresh) => self.take_from_link(fresh, (id, author, asked), &from, hops, found),
                None => {
                    self.count_duplicate(from.link);
                    false
                }
            };
            self.settle_frame(&from, charged, taken);
        }
    }

    fn take_from_link(
        &mut self,
        batch: Verified<Batch>,
        (id, author, asked): (BatchId, u32, bool),
        from: &Received,
        hops: u8,
        found: bool,
    ) -> bool {
        let seq = batch.header.seq;
        let claims = || Claims::of(&batch, Some(hops)).signed();
        if author == self.own {
            // This node signed it but does not remember: no slot up to here may be signed again.
            self.lanes.jump_own(author, seq);
            self.write_holes();
        }
        let admission = self.lanes.admission_of(author, &batch.header, &id); // may have changed
        if let Some((reason, detail)) = refusal_of(admission) {
            let ground = Ground::proven(reason);
            self.note_known(from, (author, seq, admission), claims, (ground, detail));
            return false;
        }
        if self.writes_another(author, seq, &id) {
            // The other one is the slot's first on disk already; this one is fetched again
            // afterwards.
            let due = self.now.after(AFTER_WRITE);
            self.relay.want((author, seq, Some(id)), from.link, due);
            return false;
        }
        if !asked && self.is_over_quota(author, &batch.header) {
            self.reject(from, Reason::AuthorRate, claims, "the author is over its quota");
            self.want_later(from.link, (author, id), &batch.header);
            return false;
        }
        if !self.make_room(author, &batch.header) {
            let (reason, detail) = (Reason::TooFarAhead, "its author's lane has too many holes");
            self.reject(from, reason, claims, detail);
            return false;
        }
        let length = u64::from(batch.header.length);
        match asked && self.lanes.vouches(author, seq) {
            true => self.recovery.charge(self.now, length),
            false => self.quotas.charge(author, self.now, length, batch.header.restarts()),
        }
        if let Some(held) = self.links.get_mut(from.link) {
            held.first_deliveries += 1;
        }
        self.note_equivocation(&batch, id, author, Some((from, hops)));
        self.seek_other_base(&batch.header, author, from.link);
        let stored = StoredBatch {
            id,
            batch: Arc::new(batch),
            hops,
            from: Some(from.peer),
            delivered_at: self.now,
            first: admission != Admission::Second,
        };
        self.write(Record::Batch(stored.clone()), Durability::Lazy);
        let spread = if found { Spread::Announce } else { Spread::Push };
        self.accept(stored, author, Some((from.link, from.number)), spread);
        true
    }

    /// Makes a hole of the slots that a restart header voids, and writes it before the batch above
    /// it. Returns whether the batch fits now.
    pub(super) fn make_room(&mut self, author: u32, header: &Header) -> bool {
        let fits = self.lanes.make_room(author, header);
        self.write_holes_before(author, header.seq);
        fits
    }

    /// If a batch follows another id than the one held, searches for that id in the slot.
    fn seek_other_base(&mut self, header: &Header, author: u32, link: LinkId) {
        if self.lanes.is_other(author, header.base, &header.prev) {
            let due = self.now.after(self.config.ask_after);
            self.relay.want_unnamed((author, header.base, Some(header.prev)), link, due);
        }
    }

    /// Searches for a batch again once its author's quota has room for it.
    fn want_later(&mut self, link: LinkId, (author, id): (u32, BatchId), header: &Header) {
        let wait = self.quota_wait(author, header).min(Duration::from_secs(60));
        let wanted = (author, header.seq, Some(id));
        self.relay.want_unnamed(wanted, link, self.now.after(wait));
    }

    /// Puts a verified batch into its lane, delivers it if it is the slot's first, and relays it.
    /// Returns the links and numbers of the pushes that carried it.
    pub(super) fn accept(
        &mut self,
        stored: StoredBatch,
        author: u32,
        sender: Option<(LinkId, u32)>,
        spread: Spread,
    ) -> Vec<(LinkId, u64)> {
        let header = &stored.batch.header;
        let (seq, count) = (header.seq, u64::from(header.count));
        let filling = Filling {
            id: stored.id,
            rest: header.rest(),
            signature: stored.batch.signature,
            base: header.base,
            prev: header.prev,
            at: self.now,
            sender: sender.map(|(_, number)| number),
        };
        self.lanes.fill(author, seq, filling);
        self.recovered(author, seq);
        self.last_news = self.now;
        let mut holders = self.relay.holders(&(author, seq, Some(stored.id)));
        holders.extend(sender.map(|(link, _)| link));
        self.relay.found(&(author, seq, Some(stored.id)));
        self.relay.found(&(author, seq, None));
        self.cache.insert(stored.clone());
        if stored.first {
            self.counters.delivered += count;
            self.counters.hops[usize::from(stored.hops).min(15)] += count;
            self.emit(Output::Deliver(Box::new(stored.clone())));
        }
        self.relay_batch(&stored, &holders, spread)
    }

    /// Logs an equivocation: a second id in a slot, or a `prev` that is not the id in slot `base`,
    /// proves that the author signed two histories. The batch is kept and, in an empty slot,
    /// delivered all the same: other nodes may have received it first, and all must deliver the
    /// same slots.
    pub(super) fn note_equivocation(
        &mut self,
        batch: &Batch,
        id: BatchId,
        author: u32,
        from: Option<(&Received, u8)>,
    ) {
        let seq = batch.header.seq;
        let detail = match self.lanes.admission(author, seq, &id) {
            Admission::Second => "the author signed another batch for the same slot",
            _ if self.lanes.is_other(author, batch.header.base, &batch.header.prev) => {
                "it does not follow the author's previous batch"
            }
            _ => return,
        };
        let hops = from.map(|(_, hops)| hops);
        let claims = || Claims::of(batch, hops).signed();
        let (peer, came) = from
            .map_or((None, Came::Nothing), |(from, _)| (Some(from.peer), Came::Frame(&from.bytes)));
        self.log_rejection(peer, came, Ground::proven(Reason::Equivocation), claims, detail);
    }

    fn count_duplicate(&mut self, link: LinkId) {
        self.counters.duplicates += 1;
        if let Some(held) = self.links.get_mut(link) {
            held.duplicates += 1;
        }
    }

    fn note_known(
        &mut self,
        from: &Received,
        (author, seq, admission): (u32, u64, Admission),
        claims: impl FnOnce() -> Claims,
        (mut ground, detail): (Ground, &str),
    ) {
        if admission == Admission::Known {
            self.count_duplicate(from.link);
            let stale = Time(self.now.0.saturating_sub(FRESH.as_micros() as u64));
            if !self.lanes.given_again(author, seq, from.number, stale) {
                return;
            }
            ground = Ground::copy(ground.reason);
        }
        self.reject(from, ground, claims, detail);
    }

    fn settle_frame(&mut self, from: &Received, charged: Option<Class>, news: bool) {
        if let Some(class) = charged {
            let length = from.bytes.len();
            let cost = if news { cost::NEWS } else { cost::copy(length) };
            self.finish(from.link, class, length, cost);
        }
    }

    pub(super) fn refuse_client(
        &mut self,
        ticket: Ticket,
        claims: impl FnOnce() -> Claims,
        reason: Reason,
    ) {
        let claims = claims();
        let ground = if claims.proven { Ground::proven(reason) } else { reason.into() };
        self.log_rejection(None, Came::Nothing, ground, || claims, "posted through the API");
        self.emit(Output::Submitted { ticket, result: Err(Refusal::Rejected(reason)) });
    }

    fn take_from_client(
        &mut self,
        batch: Verified<Batch>,
        id: BatchId,
        author: u32,
        ticket: Ticket,
    ) {
        match self.judge_submission(&batch.header, id, author) {
            Ok(()) => {}
            Err(Refusal::Rejected(reason)) => {
                let claims = || Claims::of(&batch, None).signed();
                return self.refuse_client(ticket, claims, reason);
            }
            result @ Err(_) => {
                let result = result.map(|()| id);
                return self.emit(Output::Submitted { ticket, result });
            }
        }
        let stored = StoredBatch {
            id,
            batch: Arc::new(batch),
            hops: 0,
            from: None,
            delivered_at: self.now,
            first: true,
        };
        self.write_own(stored, Writing::submitted(author, ticket));
    }
}

/// Why a batch with this admission is refused; `None` if it is accepted.
pub(super) fn refusal_of(admission: Admission) -> Option<(Reason, &'static str)> {
    match admission {
        Admission::Empty | Admission::Second => None,
        Admission::Known | Admission::Below => Some((Reason::Replayed, "the batch is known")),
        Admission::Pruned => Some((Reason::Pruned, "the batch is older than what is kept")),
        Admission::TooFar => Some((Reason::TooFarAhead, "it is above its lane's window")),
        Admission::Full => Some((Reason::Equivocation, "two other batches of its slot are known")),
    }
}
