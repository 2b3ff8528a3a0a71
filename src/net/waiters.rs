//! Who waits for what was published or submitted. Bounded by the messages that the node lets wait.

use std::collections::BTreeMap;

use tokio::sync::oneshot::Sender;

use super::handle::{PublishFailure, Published, SubmitFailure, Submitted};
use crate::protocol::{PublishError, Refusal, Ticket};
use crate::wire::{BatchId, MessageId};

enum Waiter {
    Publish(Sender<Published>),
    Submit(Sender<Submitted>),
}

/// Callers by ticket. A caller that has gone away is answered to nobody.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<Ticket, Waiter>,
}

impl Waiters {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A message was taken, or not.
    pub fn publish(&mut self, taken: Result<Ticket, PublishError>, answer: Sender<Published>) {
        match taken {
            Ok(ticket) => {
                self.waiting.insert(ticket, Waiter::Publish(answer));
            }
            Err(error) => drop(answer.send(Err(PublishFailure::Refused(error)))),
        }
    }

    /// A batch was taken, or not.
    pub fn submit(&mut self, taken: Result<Ticket, PublishError>, answer: Sender<Submitted>) {
        match taken {
            Ok(ticket) => {
                self.waiting.insert(ticket, Waiter::Submit(answer));
            }
            Err(error) => drop(answer.send(Err(SubmitFailure::Refused(error)))),
        }
    }

    /// What became of a message; `None` if it could not be written.
    pub fn published(&mut self, ticket: Ticket, id: Option<(MessageId, u64)>) {
        if let Some(Waiter::Publish(answer)) = self.waiting.remove(&ticket) {
            let _ = answer.send(id.ok_or(PublishFailure::NotWritten));
        }
    }

    /// What became of a batch.
    pub fn submitted(&mut self, ticket: Ticket, result: Result<BatchId, Refusal>) {
        if let Some(Waiter::Submit(answer)) = self.waiting.remove(&ticket) {
            let _ = answer.send(result.map_err(SubmitFailure::Refusal));
        }
    }
}
