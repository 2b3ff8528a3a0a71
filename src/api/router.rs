//! Which path leads where, and what every request passes on its way.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Failure;
use super::input::BODY_KIB;
use super::{lab, limits, messages, metrics, openapi, peers, rejections, signed, status, stream};
use crate::http::Guard;
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

/// All routes. From the outside in: headers, error bodies, the guard, limits, the handler.
/// `lab` guards the lab's routes, by a token of their own; without it there are none.
pub(super) fn router(app: App, guard: Guard, lab: Option<Guard>) -> Router {
    let (router, mut description) = described().split_for_parts();
    let (lab_router, lab_description) = lab::described().split_for_parts();
    if lab.is_some() {
        description.merge(lab_description);
    }
    let bounds = Arc::new(limits::Bounds::default());
    let bound = from_fn_with_state(bounds, limits::bound);
    let mut all = router
        .merge(openapi::routes(&description))
        .with_state(app.clone())
        .layer(bound.clone())
        .layer(from_fn_with_state(guard, Guard::apply));
    if let Some(lab) = lab {
        let layer = from_fn_with_state(lab, Guard::apply);
        // Not on the fallback, which stays with the others.
        all = lab_router.with_state(app).route_layer(bound).route_layer(layer).merge(all);
    }
    all.layer(from_fn(limits::explain)).layer(from_fn(limits::harden))
}

/// The routes with their descriptions.
pub(super) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(messages::publish, messages::list))
        .routes(routes!(messages::one))
        .routes(routes!(signed::submit))
        .routes(routes!(stream::messages))
        .routes(routes!(rejections::list))
        .routes(routes!(rejections::one))
        .routes(routes!(rejections::summary))
        .routes(routes!(stream::rejections))
        .routes(routes!(peers::peers))
        .routes(routes!(peers::network))
        .routes(routes!(status::status))
        .routes(routes!(status::attempts))
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .routes(routes!(metrics::metrics))
}
