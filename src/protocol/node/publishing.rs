//! Publishing: own messages, and batches that authors signed elsewhere. Nothing leaves before it is
//! synced.

use std::sync::Arc;
use std::time::Duration;

use super::batches::{Source, refusal_of};
use super::relaying::Spread;
use super::state::Node;
use crate::crypto::Digest;
use crate::protocol::{
    Durability, Output, PublishError, Reason, Record, Refusal, StoredBatch, Ticket, Time, Token,
    Verified, lanes::Place,
};
use crate::wire::limits::{MAX_PAYLOAD, MAX_TOPIC, WINDOW};
use crate::wire::{Batch, BatchId, Entry, Header, MessageId};

/// Batches of clients that may be under check or being written at once.
pub(super) const MAX_SUBMITTED: usize = 256;

/// What is being written before it leaves.
#[derive(Debug)]
pub(super) struct Writing {
    author: u32,
    stored: Option<StoredBatch>,
    /// Whose answers wait for it.
    tickets: Vec<Ticket>,
    /// Whether this node signed it.
    own: bool,
}

impl Writing {
    pub fn submitted(author: u32, ticket: Ticket) -> Self {
        Self { author, stored: None, tickets: vec![ticket], own: false }
    }
}

impl Node {
    /// Takes a message for publication; answered by `Output::Published` once it is synced.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(&mut self, now: Time, entry: Entry) -> Result<Ticket, PublishError> {
        self.begin(now);
        if entry.topic.len() > MAX_TOPIC || entry.payload.len() > MAX_PAYLOAD {
            return Err(PublishError::TooLong);
        }
        if !self.publisher.has_room(&entry) {
            let wait = self.own_quota.wait(self.now, self.publisher.next_size() as u64);
            return Err(PublishError::OverQuota {
                retry_after: wait.max(Duration::from_millis(100)),
            });
        }
        let ticket = Ticket(self.name());
        self.publisher.push(ticket, entry);
        self.settle();
        Ok(ticket)
    }

    /// Takes a batch that an author signed elsewhere; answered by `Output::Submitted`.
    ///
    /// # Errors
    /// `TooLong` if its shape is wrong, `MemberKey` if its author is a member, `OverQuota` if too
    /// many wait.
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

    fn consider(&mut self, ticket: Ticket, batch: Batch) {
        if batch.header.network != self.network.id() {
            return self.refuse_client(ticket, &batch, Reason::WrongNetwork);
        }
        let Some(author) = self.network.index_of(&batch.header.author) else {
            return self.refuse_client(ticket, &batch, Reason::UnknownAuthor);
        };
        let id = batch.id();
        match self.judge_submission(&batch.header, id, author) {
            None if batch.content_matches() => {
                self.check_batch(batch, id, author, Source::Client(ticket));
            }
            None => self.refuse_client(ticket, &batch, Reason::ContentMismatch),
            Some(Err(Refusal::Rejected(reason))) => self.refuse_client(ticket, &batch, reason),
            Some(result) => self.emit(Output::Submitted { ticket, result }),
        }
    }

    /// What can be said of a submitted batch by its place; `None` if it is the one that comes next.
    /// Unlike a neighbour's batch, it is refused unless it follows: nobody has it yet.
    pub(super) fn judge_submission(
        &self,
        header: &Header,
        id: BatchId,
        author: u32,
    ) -> Option<Result<BatchId, Refusal>> {
        let lane = self.lanes.get(author);
        let tip = lane.map_or(0, |lane| lane.tip());
        let tip_id = lane.and_then(|lane| lane.tip_id());
        match self.lanes.place_of(author, header, &id) {
            Place::Known => return Some(Ok(id)),
            Place::Second => return Some(Err(Refusal::Rejected(Reason::Equivocation))),
            Place::TooFar => return Some(Err(Refusal::OutOfOrder { expected: tip + 1 })),
            place => {
                if let Some((reason, _)) = refusal_of(place) {
                    return Some(Err(Refusal::Rejected(reason)));
                }
            }
        }
        if header.seq <= tip || header.base != tip {
            return Some(Err(Refusal::OutOfOrder { expected: tip + 1 }));
        }
        let chained = tip == 0
            || tip_id.is_none_or(|tip_id| tip_id == header.prev)
            || self.lanes.chained(author, header.base, &header.prev) == Some(true);
        if !chained {
            return Some(Err(Refusal::Rejected(Reason::Equivocation)));
        }
        if self.writes_another(author, header.seq, &id) {
            return Some(Err(Refusal::Rejected(Reason::Equivocation)));
        }
        let wait = self.quotas.wait(author, self.now, u64::from(header.length));
        (!wait.is_zero()).then_some(Err(Refusal::Rejected(Reason::AuthorRate)))
    }

    /// Whether another batch of that slot is being written: a row says that it is its slot's first
    /// before the lane knows of it.
    pub(super) fn writes_another(&self, author: u32, seq: u64, id: &BatchId) -> bool {
        self.writes.values().filter(|writing| writing.author == author).any(|writing| {
            let stored = writing.stored.as_ref();
            stored.is_some_and(|other| other.batch.header.seq == seq && other.id != *id)
        })
    }

    /// Signs what waits, if a batch may leave now.
    pub(super) fn sign_what_waits(&mut self) {
        if !self.publisher.may_sign() {
            return;
        }
        let size = self.publisher.next_size() as u64;
        if !self.own_quota.wait(self.now, size).is_zero() {
            return;
        }
        let Some((seq, base)) = self.next_own_slot() else { return };
        let (tickets, entries) = self.publisher.take();
        let (network, now) = (self.network.id(), self.now.0);
        let signed = Batch::sign_after(&self.identity, network, seq, base, now, &entries);
        let Ok(batch) = signed else {
            for ticket in tickets {
                self.emit(Output::PublishFailed { ticket });
            }
            return;
        };
        self.own_quota.charge(self.now, size);
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

    /// The slot that comes next, and the slot and id that it follows. `None` while slots of ours
    /// that others have shown us, and that we lost, are asked for. If nobody has the highest of
    /// them, the lane goes on by a restart header, above all that we may have signed: at most a
    /// window of slots beyond the highest that was shown.
    fn next_own_slot(&self) -> Option<(u64, (u64, BatchId))> {
        let Some(lane) = self.lanes.get(self.own).filter(|lane| lane.tip() > 0) else {
            return Some((1, (0, Digest::ZERO)));
        };
        if let Some(id) = lane.tip_id() {
            return Some((lane.tip().checked_add(1)?, (lane.tip(), id)));
        }
        if lane.holes().first_open().is_some() {
            return None;
        }
        Some((lane.tip().checked_add(WINDOW + 1)?, lane.highest_known()))
    }

    pub(super) fn write_own(&mut self, stored: StoredBatch, mut writing: Writing) -> Token {
        let token = Token(self.name());
        writing.stored = Some(stored.clone());
        self.writes.insert(token, writing);
        let record = Record::Batch(stored);
        self.emit(Output::Write { token, record, durability: Durability::Synced });
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
        let place = self.lanes.place(author, seq, &batch);
        let pushed = match place {
            Place::Empty | Place::Second => {
                if !own {
                    self.quotas.charge(author, self.now, stored.batch.body.len() as u64);
                }
                let first = place == Place::Empty;
                self.accept(StoredBatch { first, ..stored }, author, None, Spread::Push)
            }
            _ => Vec::new(), // it came back through a neighbour while it was being written
        };
        if !own {
            for ticket in tickets {
                self.emit(Output::Submitted { ticket, result: Ok(batch) });
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

    /// When something that waits may be signed.
    pub(super) fn next_publish(&self) -> Option<Time> {
        let by_quota = self.publisher.may_sign().then(|| {
            let size = self.publisher.next_size() as u64;
            self.own_quota.wait(self.now, size)
        });
        let by_quota = by_quota.filter(|wait| !wait.is_zero()).map(|wait| self.now.after(wait));
        self.publisher.next_expiry().into_iter().chain(by_quota).min()
    }
}
