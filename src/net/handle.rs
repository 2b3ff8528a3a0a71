//! The handle of a running node: commands to it, views of it, and the callers that wait for the
//! outcome of a command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot::Sender;
use tokio::sync::{mpsc, oneshot, watch};

use super::impairment::Impairments;
use super::queue::Queue;
use super::traffic::{Meter, Traffic};
use crate::adversary::{Attempts, Spec};
use crate::clock::Clock;
use crate::crypto::PublicKey;
use crate::diagnostics::Pulse;
use crate::protocol::{Network, PublishError, Refusal, Snapshot, Ticket, Time};
use crate::store;
use crate::wire::{Batch, BatchId, Entry, MessageId};

/// Most commands that wait for the driver; further callers wait for room.
pub(super) const COMMANDS: usize = 1024;

/// A checker busy for longer is stuck: it takes at most 16 checks at once, of 50 µs each.
const STUCK: Duration = Duration::from_secs(10);

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublishFailure {
    /// The node did not accept the message.
    #[error(transparent)]
    Refused(#[from] PublishError),
    /// It could not be written to disk and is not published.
    #[error("the message could not be written to disk")]
    NotWritten,
    /// The node is stopping: it did not accept the message, or its fate is unknown.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a batch that was signed elsewhere was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitFailure {
    /// The node did not accept the batch for checking.
    #[error(transparent)]
    Refused(#[from] PublishError),
    /// The node checked the batch and refused it.
    #[error("refused: {0:?}")]
    Refusal(Refusal),
    /// The node is stopping; the batch's fate is unknown.
    #[error("the node is stopping")]
    Stopping,
}

pub(super) type Published = Result<(MessageId, u64), PublishFailure>;
pub(super) type Submitted = Result<BatchId, SubmitFailure>;

/// A command to the driver, with the sender for its answer.
pub(super) enum Command {
    Publish(Entry, oneshot::Sender<Published>),
    Submit(Box<Batch>, oneshot::Sender<Submitted>),
    Snapshot(oneshot::Sender<Snapshot>),
    Attempts(oneshot::Sender<Option<Attempts>>),
}

/// Handle of a running node. Cheap to clone; harmless to keep after the node has ended.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub commands: mpsc::Sender<Command>,
    pub mail: Arc<Queue>,
    pub meter: Arc<Meter>,
    pub network: Arc<Network>,
    pub key: PublicKey,
    pub started_at: Time,
    pub clock: Clock,
    pub malicious: Option<Spec>,
    pub lab: Option<Impairments>,
    pub reader: store::Reader,
    pub health: store::Health,
    pub checkers: Vec<Pulse>,
    pub commits: watch::Receiver<u64>,
}

impl Handle {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Publishes a message as this node; returns its id and slot once it is synced to disk.
    ///
    /// # Errors
    /// See [`PublishFailure`].
    pub async fn publish(&self, entry: Entry) -> Result<(MessageId, u64), PublishFailure> {
        self.ask(|answer| Command::Publish(entry, answer))
            .await
            .unwrap_or(Err(PublishFailure::Stopping))
    }

    /// Submits a batch that its author signed elsewhere; returns its id once it is synced to disk.
    ///
    /// # Errors
    /// See [`SubmitFailure`].
    pub async fn submit(&self, batch: Batch) -> Result<BatchId, SubmitFailure> {
        self.ask(|answer| Command::Submit(Box::new(batch), answer))
            .await
            .unwrap_or(Err(SubmitFailure::Stopping))
    }

    /// Takes a snapshot of the node; `None` while it stops or after it has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.ask(Command::Snapshot).await
    }

    /// The attempts of a malicious node; `None` for an honest node, or while it stops.
    pub async fn attempts(&self) -> Option<Attempts> {
        self.ask(Command::Attempts).await.flatten()
    }

    /// The behaviours of a malicious node; `None` for an honest one.
    pub fn malicious(&self) -> Option<&Spec> {
        self.inner.malicious.as_ref()
    }

    /// The impairments of the node's links, which can be changed; `None` unless it was started for
    /// a lab.
    pub fn lab(&self) -> Option<&Impairments> {
        self.inner.lab.as_ref()
    }

    /// The network of the node.
    pub fn network(&self) -> &Arc<Network> {
        &self.inner.network
    }

    /// The public key of this node.
    pub fn key(&self) -> PublicKey {
        self.inner.key
    }

    /// Start of the node, by its clock.
    pub fn started_at(&self) -> Time {
        self.inner.started_at
    }

    /// The time by the node's clock, which never jumps and which also stamps its logs and records.
    pub fn now(&self) -> Time {
        self.inner.clock.now()
    }

    /// A reader of the node's store.
    pub fn reader(&self) -> store::Reader {
        self.inner.reader.clone()
    }

    /// A counter that grows with every commit that readers of messages, gaps or rejections may see.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.clone()
    }

    /// Counters of the node's links and of the work that they cause.
    pub fn traffic(&self) -> Traffic {
        self.inner.meter.read()
    }

    /// What is wrong with the node's threads or files, as text; `None` if nothing is.
    pub fn trouble(&self) -> Option<String> {
        let stuck = |pulse: &&Pulse| pulse.is_gone() || pulse.busy_for() >= STUCK;
        let checkers = self.inner.checkers.iter().find(stuck);
        let checkers = checkers.map(|pulse| {
            let what = if pulse.is_gone() { "has ended" } else { "is stuck" };
            format!("a thread that checks signatures {what}")
        });
        checkers.or_else(|| self.inner.health.trouble())
    }

    /// Sends a command and waits for its answer; `None` if the driver has ended or is stopping.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, asked) = oneshot::channel();
        self.inner.commands.send(command(answer)).await.ok()?;
        self.inner.mail.wake();
        asked.await.ok()
    }
}

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
