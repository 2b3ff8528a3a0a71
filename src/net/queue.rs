//! What waits for the driver, and the bell that wakes it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsStream;

use super::records::Paced;
use crate::crypto::PublicKey;
use crate::protocol::{Input, LinkId};

/// Locks, whatever became of the last holder: what we guard is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a dial, or an inbound handshake that succeeded.
pub(super) enum LinkEvent {
    Linked { stream: Box<TlsStream<Paced<TcpStream>>>, peer: PublicKey, dialled: bool },
    DialFailed { peer: PublicKey },
}

/// Everything that waits, taken at once. Each part is bounded by whoever fills it: answers by the
/// driver's open questions, arrivals by the handshake budget and the dials under way, the rest by
/// the number of links.
#[derive(Default)]
pub(super) struct Mail {
    /// Answers of checkers and store.
    pub answers: Vec<Input>,
    /// Links to be.
    pub arrivals: Vec<LinkEvent>,
    /// Links whose inbox was empty and is not any more.
    pub ready: Vec<LinkId>,
    /// Links on which everything handed out was written; a malicious node's only.
    pub drained: Vec<LinkId>,
}

/// The driver's queue.
#[derive(Default)]
pub(super) struct Queue {
    mail: Mutex<Mail>,
    bell: Notify,
    stopping: AtomicBool,
}

impl Queue {
    /// Wakes the driver: something it looks at elsewhere has changed.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// Until somebody wakes the driver; at once if somebody did since the last time.
    pub async fn woken(&self) {
        self.bell.notified().await;
    }

    /// Asks the driver to finish what it accepted, and stop.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    /// Whether somebody asked for that.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub fn answer(&self, input: Input) {
        lock(&self.mail).answers.push(input);
        self.wake();
    }

    pub fn answers(&self, inputs: &mut Vec<Input>) {
        lock(&self.mail).answers.append(inputs);
        self.wake();
    }

    pub fn arrival(&self, arrival: LinkEvent) {
        lock(&self.mail).arrivals.push(arrival);
        self.wake();
    }

    pub fn ready(&self, link: LinkId) {
        lock(&self.mail).ready.push(link);
        self.wake();
    }

    pub fn drained(&self, link: LinkId) {
        lock(&self.mail).drained.push(link);
        self.wake();
    }

    pub fn take(&self) -> Mail {
        std::mem::take(&mut *lock(&self.mail))
    }
}
