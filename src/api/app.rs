//! State shared by all handlers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

use super::error::Failure;
use super::input::BODY_KIB;
use crate::net::Handle;
use crate::protocol::Snapshot;
use crate::store::{Reader, StoreError};

/// Most concurrent queries of the store.
const MAX_READS: usize = 4;
/// Most concurrent event streams.
const MAX_STREAMS: usize = 32;

/// State shared by all handlers. Cheap to clone.
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
    /// State for one node; `stopping` turns true when the API stops.
    pub(super) fn new(handle: Handle, stopping: watch::Receiver<bool>) -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        let (bodies, reads) = (permits(BODY_KIB), permits(MAX_READS));
        let streams = permits(MAX_STREAMS);
        Self { inner: Arc::new(Inner { handle, stopping, bodies, reads, streams }) }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Memory for request bodies, in permits of 1 KiB each.
    pub(super) fn bodies(&self) -> &Arc<Semaphore> {
        &self.inner.bodies
    }

    /// Turns true when the API stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.clone()
    }

    /// Takes a snapshot of the node; fails with 503 while the node stops.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.handle().snapshot().await.ok_or_else(Failure::stopping)
    }

    /// A permit for one stream; fails with 503 if all are taken.
    pub(super) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.inner.streams)
            .try_acquire_owned()
            .map_err(|_| Failure::busy(format!("more than {MAX_STREAMS} streams at once")))
    }

    /// Runs a query of the store on a blocking thread, once one of [`MAX_READS`] permits is free.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.inner.reads).acquire_owned().await;
        let reader = self.handle().reader();
        // The permit is held until the query ends, even if the request is gone by then.
        let reading = spawn_blocking(move || {
            let _place = place;
            query(&reader)
        });
        Ok(reading.await.map_err(|_| Failure::stopping())??)
    }
}
