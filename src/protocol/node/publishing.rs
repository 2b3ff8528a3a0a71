//! Publishing: this node's messages, and batches that authors signed elsewhere. Nothing is sent
//! before it is synced.

use std::sync::Arc;
use std::time::Duration;

use super::batches::refusal_of;
use super::pending::{MAX_SUBMITTED, Origin, Writing};
use super::rejecting::Claims;
use super::relaying::Spread;
use super::state::Node;
use crate::crypto::Digest;
use crate::protocol::{
    Durability, Output, PublishError, Reason, Record, Refusal, StoredBatch, Ticket, Time, Token,
    Verified, lanes::Admission,
};
use crate::wire::limits::{MAX_PAYLOAD, MAX_SLOT, MAX_TOPIC, WINDOW};
use crate::wire::{Batch, BatchId, Entry, Header, MessageId};

/// How long signing waits for slots of this node's own lane that others have shown it. A peer that
/// supplies one now and then must not hold up the lane any longer.
const OLD_SLOTS: Duration = Duration::from_secs(60);

impl Node {
    /// Accepts a message for publication; answered by `Output::Published` once it is synced.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        self.begin(now);
        if entry.topic.len() > MAX_TOPIC || entry.payload.len() > MAX_PAYLOAD {
            return Err(PublishError::TooLong);
        }
        if !self.publisher.has_room(&entry) {
            let wait = self.own_quota.wait(self.now, self.publisher.next_size() as u64, false);
            return Err(PublishError::OverQuota {
                retry_after: wait.max(Duration::from_millis(100)),
            });
        }
        let ticket = Ticket(self.name());
        self.publisher.push(ticket, entry);
        self.settle();
        Ok(ticket)
    }

    /// Accepts a batch that an author signed elsewhere; answered by `Output::Submitted`.
    ///
    /// # Errors
    /// `TooLong` if its shape is invalid, `MemberKey` if its author is a member, `OverQuota` if too
    /// many batches are being processed.
    pub fn submit(&mut self, now: Time, batch: Batch) -> Result<Ticket, PublishError> {
        self.begin(now);
        if batch.check_shape().is_err() {
            return Err(PublishError::TooLong);
        }
        if self.network.is_member(&batch.header.author) {
            return Err(PublishError::MemberKey);
        }
        let checks = self.checks.values().filter(|checking| checking.is_submitted()).count();
        if self.writes.len() + checks >= MAX_SUBMITTED {
            return Err(PublishError::OverQuota { retry_after: Duration::from_millis(100) });
        }
        let ticket = Ticket(self.name());
        self.consider(ticket, batch);
        self.settle();
        Ok(ticket)
    }

    /// Judges a client's batch by the same rules as a neighbour's. Rules about what its slot holds,
    /// which blame the author, come only after its signature was checked.
    fn consider(&mut self, ticket: Ticket, batch: Batch) {
        let claims = || Claims::of(&batch, None);
        if batch.header.network != self.network.id() {
            return self.refuse_client(ticket, claims, Reason::WrongNetwork);
        }
        let Some(author) = self.network.index_of(&batch.header.author) else {
            return self.refuse_client(ticket, claims, Reason::UnknownAuthor);
        };
        let id = batch.id();
        let admission = self.lanes.admission(author, batch.header.seq, &id);
        match admission {
            Admission::TooFar => {
                let expected = self.lanes.tip(author).saturating_add(1);
                let result = Err(Refusal::OutOfOrder { expected });
                return self.emit(Output::Submitted { ticket, result });
            }
            Admission::Below => return self.refuse_client(ticket, claims, Reason::Replayed),
            Admission::Pruned => return self.refuse_client(ticket, claims, Reason::Pruned),
            Admission::Empty | Admission::Second | Admission::Known | Admission::Full => {}
        }
        if admission != Admission::Known && self.is_over_quota(author, &batch.header) {
            return self.refuse_client(ticket, claims, Reason::AuthorRate);
        }
        if !batch.content_matches() {
            return self.refuse_client(ticket, claims, Reason::ContentMismatch);
        }
        self.check_batch(batch, id, author, Origin::Client(ticket));
    }

    /// Checks a submitted batch against its lane, once its signature is good. Unlike a neighbour's
    /// batch it must follow the tip, because no other node has it yet. A batch that is known
    /// already is written once more, because nothing guarantees that the copy received is synced.
    pub(super) fn judge_submission(
        &self,
        header: &Header,
        id: BatchId,
        author: u32,
    ) -> Result<(), Refusal> {
        let lane = self.lanes.get(author);
        let tip = lane.map_or(0, |lane| lane.tip());
        let tip_id = lane.and_then(|lane| lane.tip_id());
        let expected = tip.saturating_add(1);
        match self.lanes.admission_of(author, header, &id) {
            // A second id is only evidence: it was not delivered and never will be.
            Admission::Known if self.lanes.id_at(author, header.seq) == Some(id) => return Ok(()),
            Admission::Known | Admission::Second => {
                return Err(Refusal::Rejected(Reason::Equivocation));
            }
            Admission::TooFar => return Err(Refusal::OutOfOrder { expected }),
            admission => {
                if let Some((reason, _)) = refusal_of(admission) {
                    return Err(Refusal::Rejected(reason));
                }
            }
        }
        if header.seq <= tip || header.base != tip {
            return Err(Refusal::OutOfOrder { expected });
        }
        let chained = tip == 0
            || tip_id.is_none_or(|tip_id| tip_id == header.prev)
            || self.lanes.chained(author, header.base, &header.prev) == Some(true);
        if !chained || self.writes_another(author, header.seq, &id) {
            return Err(Refusal::Rejected(Reason::Equivocation));
        }
        match self.is_over_quota(author, header) {
            true => Err(Refusal::Rejected(Reason::AuthorRate)),
            false => Ok(()),
        }
    }

    /// Whether another batch for that slot is being written. Its row already says that it is the
    /// slot's first, before the lane knows of it.
    pub(super) fn writes_another(&self, author: u32, seq: u64, id: &BatchId) -> bool {
        self.writes.values().filter(|writing| writing.author == author).any(|writing| {
            let stored = writing.stored.as_ref();
            stored.is_some_and(|other| other.batch.header.seq == seq && other.id != *id)
        })
    }

    /// Signs the next batch of waiting messages, if one may be signed now.
    pub(super) fn sign_what_waits(&mut self) {
        if !self.publisher.may_sign() {
            return;
        }
        let Some((seq, base)) = self.next_own_slot() else {
            self.awaits_own.get_or_insert(self.now);
            return;
        };
        let (size, restarts) = (self.publisher.next_size() as u64, base.0 + 1 < seq);
        if !self.own_quota.wait(self.now, size, restarts).is_zero() {
            return;
        }
        let (tickets, entries) = self.publisher.take();
        let (network, now) = (self.network.id(), self.now.0);
        let signed = Batch::sign_after(&self.identity, network, seq, base, now, &entries);
        let Ok(batch) = signed else {
            for ticket in tickets {
                self.emit(Output::PublishFailed { ticket });
            }
            return;
        };
        self.own_quota.charge(self.now, size, restarts);
        self.awaits_own = self.awaits_own.filter(|_| restarts);
        let stored = StoredBatch {
            id: batch.id(),
            batch: Arc::new(Verified::trusted(batch)),
            hops: 0,
            from: None,
            delivered_at: self.now,
            first: true,
        };
        let token =
            self.write_own(stored, Writing { author: self.own, stored: None, tickets, own: true });
        self.publisher.writing(token);
    }

    /// The next slot to sign, and the slot and id that it follows. `None` while this node waits for
    /// slots of its own that it lost and that others have shown it. If nobody has the highest of
    /// them, or it does not come within a minute, the lane continues with a restart header above
    /// every slot that the node may have signed: one window above the tip.
    fn next_own_slot(&self) -> Option<(u64, (u64, BatchId))> {
        let Some(lane) = self.lanes.get(self.own).filter(|lane| lane.tip() > 0) else {
            return Some((1, (0, Digest::ZERO)));
        };
        let waited = self.awaits_own.is_some_and(|since| self.now.since(since) >= OLD_SLOTS);
        let next = match lane.tip_id() {
            Some(id) => (lane.tip() + 1, (lane.tip(), id)),
            None if lane.holes().first_open().is_some() && !waited => return None,
            None => (lane.tip() + WINDOW + 1, lane.highest_known()),
        };
        Some(next).filter(|(seq, _)| *seq <= MAX_SLOT)
    }

    pub(super) fn write_own(&mut self, stored: StoredBatch, mut writing: Writing) -> Token {
        self.write_holes_before(writing.author, stored.batch.header.seq);
        writing.stored = Some(stored.clone());
        let token = self.write(Record::Batch(stored), Durability::Synced);
        self.writes.insert(token, writing);
        token
    }

    pub(super) fn on_written(&mut self, token: Token) {
        let Some(Writing { author, stored: Some(stored), tickets, own }) =
            self.writes.remove(&token)
        else {
            return;
        };
        let (batch, seq) = (stored.id, stored.batch.header.seq);
        let header = &stored.batch.header;
        let (restarted, base) = (header.restarts(), header.base);
        self.make_room(author, header);
        let admission = self.lanes.admission(author, seq, &batch);
        // Another batch may have become the slot's first meanwhile: then this one is on disk, but
        // readers do not get it.
        let first = match admission {
            Admission::Second | Admission::Full => false,
            Admission::Known => self.lanes.id_at(author, seq).is_none_or(|id| id == batch),
            _ => true,
        };
        let pushed = match admission {
            Admission::Empty | Admission::Second => {
                if !own {
                    let length = stored.batch.body.len() as u64;
                    self.quotas.charge(author, self.now, length, restarted);
                }
                self.accept(StoredBatch { first, ..stored }, author, None, Spread::Push)
            }
            _ => Vec::new(), // a neighbour sent it back while it was being written
        };
        if !own {
            let refused = Refusal::Rejected(Reason::Equivocation);
            let result = if first { Ok(batch) } else { Err(refused) };
            for ticket in tickets {
                self.emit(Output::Submitted { ticket, result });
            }
            return;
        }
        if restarted {
            self.lanes.give_up(author, base.saturating_add(1), seq - 1);
            self.write_holes();
        }
        self.publisher.sent(token, pushed, self.now);
        self.counters.published += tickets.len() as u64;
        for (index, ticket) in (0..).zip(tickets) {
            self.emit(Output::Published { ticket, id: MessageId { batch, index }, seq });
        }
    }

    pub(super) fn on_write_failed(&mut self, token: Token) {
        let Some(writing) = self.writes.remove(&token) else { return };
        for ticket in writing.tickets {
            self.emit(match writing.own {
                true => Output::PublishFailed { ticket },
                false => Output::Submitted { ticket, result: Err(Refusal::NotWritten) },
            });
        }
        self.publisher.failed(token);
    }

    /// When to try again to sign; `None` if nothing waits for time to pass.
    pub(super) fn next_publish(&self) -> Option<Time> {
        let by_quota = self.publisher.may_sign().then(|| {
            let size = self.publisher.next_size() as u64;
            let restarts = self.next_own_slot().is_some_and(|(seq, (base, _))| base + 1 < seq);
            self.own_quota.wait(self.now, size, restarts)
        });
        let by_quota = by_quota.filter(|wait| !wait.is_zero()).map(|wait| self.now.after(wait));
        self.publisher.next_expiry().into_iter().chain(by_quota).min()
    }
}
