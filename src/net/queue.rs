//! The driver's queue, and the notification that wakes it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsStream;

use super::records::Paced;
use crate::crypto::PublicKey;
use crate::protocol::{Input, LinkId};

/// Locks a mutex even if it is poisoned: what we guard is consistent after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Outcome of a dial, or an inbound handshake that succeeded.
pub(super) enum LinkEvent {
    Linked { stream: Box<TlsStream<Paced<TcpStream>>>, peer: PublicKey, dialled: bool },
    DialFailed { peer: PublicKey },
}

/// Everything that waits for the driver, taken at once. Those who fill a part bound it: answers by
/// the driver's open requests, arrivals by the handshake limiter and the dials in progress, the
/// rest by the number of links.
#[derive(Default)]
pub(super) struct Mail {
    /// Answers of the checkers and the store.
    pub answers: Vec<Input>,
    /// Link events: new links and failed dials.
    pub arrivals: Vec<LinkEvent>,
    /// Links whose inbox has become non-empty.
    pub ready: Vec<LinkId>,
    /// Links whose outbox has drained; only on a malicious node.
    pub drained: Vec<LinkId>,
}

/// The queue from all other tasks and threads to the driver.
#[derive(Default)]
pub(super) struct Queue {
    mail: Mutex<Mail>,
    bell: Notify,
    stopping: AtomicBool,
}

impl Queue {
    /// Wakes the driver because something outside this queue has changed.
    pub(super) fn wake(&self) {
        self.bell.notify_one();
    }

    /// Waits until the driver is woken; returns at once if it was woken since the last call.
    pub(super) async fn woken(&self) {
        self.bell.notified().await;
    }

    /// Asks the driver to finish accepted work and stop.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(super) fn answer(&self, input: Input) {
        lock(&self.mail).answers.push(input);
        self.wake();
    }

    pub(super) fn answers(&self, inputs: &mut Vec<Input>) {
        lock(&self.mail).answers.append(inputs);
        self.wake();
    }

    pub(super) fn arrival(&self, arrival: LinkEvent) {
        lock(&self.mail).arrivals.push(arrival);
        self.wake();
    }

    pub(super) fn ready(&self, link: LinkId) {
        lock(&self.mail).ready.push(link);
        self.wake();
    }

    pub(super) fn drained(&self, link: LinkId) {
        lock(&self.mail).drained.push(link);
        self.wake();
    }

    pub(super) fn take(&self) -> Mail {
        std::mem::take(&mut *lock(&self.mail))
    }
}
