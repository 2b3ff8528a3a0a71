//! Callers that wait for the outcome of a publish or submit. Bounded by the number of messages that
//! the state machine lets wait.

use std::collections::BTreeMap;

use tokio::sync::oneshot::Sender;

use super::handle::{PublishFailure, Published, SubmitFailure, Submitted};
use crate::protocol::{PublishError, Refusal, Ticket};
use crate::wire::{BatchId, MessageId};

enum Waiter {
    Publish(Sender<Published>),
    Submit(Sender<Submitted>),
}

/// Waiting callers by ticket. An answer to a caller that is gone is discarded.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<Ticket, Waiter>,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps a caller whose message was accepted; answers one whose message was refused.
    pub(super) fn publish(
        &mut self,
        taken: Result<Ticket, PublishError>,
        answer: Sender<Published>,
    ) {
        match taken {
            Ok(ticket) => {
                self.waiting.insert(ticket, Waiter::Publish(answer));
            }
            Err(error) => drop(answer.send(Err(PublishFailure::Refused(error)))),
        }
    }

    /// Keeps a caller whose batch was accepted; answers one whose batch was refused.
    pub(super) fn submit(
        &mut self,
        taken: Result<Ticket, PublishError>,
        answer: Sender<Submitted>,
    ) {
        match taken {
            Ok(ticket) => {
                self.waiting.insert(ticket, Waiter::Submit(answer));
            }
            Err(error) => drop(answer.send(Err(SubmitFailure::Refused(error)))),
        }
    }

    /// Answers the caller of `publish`; `None` if the message could not be written.
    pub(super) fn published(&mut self, ticket: Ticket, id: Option<(MessageId, u64)>) {
        if let Some(Waiter::Publish(answer)) = self.waiting.remove(&ticket) {
            let _ = answer.send(id.ok_or(PublishFailure::NotWritten));
        }
    }

    /// Answers the caller of `submit`.
    pub(super) fn submitted(&mut self, ticket: Ticket, result: Result<BatchId, Refusal>) {
        if let Some(Waiter::Submit(answer)) = self.waiting.remove(&ticket) {
            let _ = answer.send(result.map_err(SubmitFailure::Refusal));
        }
    }
}
