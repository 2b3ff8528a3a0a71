//! The routes and the middleware that every request passes; the API's description: OpenAPI for
//! programs, a list of routes for people.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::describe::complete;
use super::{lab, limits, messages, metrics, peers, rejections, signed, status, stream};
use crate::http::{GapDto, Guard, PostMessage, Problem};

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
        .merge(description_routes(&description))
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
    OpenApiRouter::with_openapi(Frame::openapi())
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

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "loyal",
        description = "The HTTP API of a node. Every error is an RFC 9457 problem document. Keys, \
                       ids and hashes are lowercase hex, times microseconds since 1970."
    ),
    components(schemas(GapDto, PostMessage, Problem))
)]
struct Frame;

/// The routes `/openapi.json` and `/`, which are not part of the description.
fn description_routes(description: &OpenApi) -> Router<App> {
    let json = Bytes::from(complete(description).to_string());
    let list = Bytes::from(list(description));
    Router::new()
        .route(
            "/openapi.json",
            get(async move || ([(CONTENT_TYPE, "application/json")], json.clone())),
        )
        .route(
            "/",
            get(async move || ([(CONTENT_TYPE, "text/plain; charset=utf-8")], list.clone())),
        )
}

fn list(description: &OpenApi) -> String {
    let mut text = "loyal: a Byzantine-aware gossip node\n\n".to_owned();
    for (path, item) in &description.paths.paths {
        for (method, operation) in [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put)] {
            if let Some(operation) = operation {
                let summary = operation.summary.as_deref().unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{method:4} {path:28} {summary}");
            }
        }
    }
    text.push_str("GET  /openapi.json                this list for programs\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_with_its_bodies() {
        let (_, description) = described().split_for_parts();
        let json = serde_json::to_value(&description).expect("encodes");
        for path in [
            "/v1/messages",
            "/v1/messages/{id}",
            "/v1/messages/stream",
            "/v1/messages/signed",
            "/v1/rejections",
            "/v1/rejections/{row}",
            "/v1/rejections/summary",
            "/v1/rejections/stream",
            "/v1/peers",
            "/v1/status",
            "/v1/network",
            "/v1/attempts",
            "/healthz",
            "/readyz",
            "/metrics",
        ] {
            assert!(json["paths"][path].is_object(), "{path}");
        }
        assert!(json["paths"]["/v1/messages"]["post"]["responses"]["201"].is_object());
        for schema in ["MessageDto", "RejectionDto", "PeerDto", "LinkDto", "StatusDto", "SignedDto"]
        {
            let properties = &json["components"]["schemas"][schema]["properties"];
            assert!(properties.as_object().is_some_and(|p| p.len() > 5), "{schema}");
        }
        assert!(list(&description).contains("POST /v1/messages "));
    }
}
