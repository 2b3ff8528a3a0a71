//! What handlers work with.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

use super::error::Failure;
use super::input::BODY_KIB;
use crate::net::Handle;
use crate::protocol::Snapshot;
use crate::store::{Reader, StoreError};

/// Queries of the store at once.
const MAX_READS: usize = 4;
/// Streams at once.
const MAX_STREAMS: usize = 32;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct App {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    stopping: watch::Receiver<bool>,
    bodies: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl App {
    /// For one node.
    pub fn new(handle: Handle, stopping: watch::Receiver<bool>) -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        let (bodies, reads) = (permits(BODY_KIB), permits(MAX_READS));
        let streams = permits(MAX_STREAMS);
        Self { inner: Arc::new(Inner { handle, stopping, bodies, reads, streams }) }
    }

    /// The node.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Memory for bodies.
    pub fn bodies(&self) -> &Arc<Semaphore> {
        &self.inner.bodies
    }

    /// Turns true when the interface stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.clone()
    }

    /// The node at this moment.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.handle().snapshot().await.ok_or_else(Failure::stopping)
    }

    /// A place for a stream.
    pub fn stream_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.inner.streams)
            .try_acquire_owned()
            .map_err(|_| Failure::busy(format!("at most {MAX_STREAMS} streams at once")))
    }

    /// Queries the store, off the reactor.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.inner.reads).acquire_owned().await;
        let reader = self.handle().reader();
        // The place is given back when the query ends, even if nobody waits for it any more.
        let reading = spawn_blocking(move || {
            let _place = place;
            query(&reader)
        });
        Ok(reading.await.map_err(|_| Failure::stopping())??)
    }
}
