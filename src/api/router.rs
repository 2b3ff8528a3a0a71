//! The routes, and the middleware that every request passes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::{lab, limits, messages, metrics, openapi, peers, rejections, signed, status, stream};
use crate::http::Guard;

/// All routes. From the outside in: headers, error bodies, the guard, limits, the handler. `lab`
/// guards the lab's routes with a token of their own; without it these routes do not exist.
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
        // `route_layer`, as the fallback must keep the other router's layers.
        all = lab_router.with_state(app).route_layer(bound).route_layer(layer).merge(all);
    }
    all.layer(from_fn(limits::explain)).layer(from_fn(limits::harden))
}

/// The routes with their OpenAPI descriptions, without those of the lab.
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
