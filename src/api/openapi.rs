//! The API's description: OpenAPI for programs, a list of routes for people.

use std::fmt::Write as _;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::app::App;
use super::describe::complete;
use crate::http::{GapDto, PostMessage, Problem};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "loyal",
        description = "A node's interface. Every error is an RFC 9457 problem document. Keys, ids \
                       and hashes are lowercase hex, times microseconds since 1970."
    ),
    components(schemas(GapDto, PostMessage, Problem))
)]
struct Frame;

/// The OpenAPI description before any path is added.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The routes `/openapi.json` and `/`, which are not part of the description.
pub(super) fn routes(description: &OpenApi) -> Router<App> {
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
    text.push_str("GET  /openapi.json                the same for programs\n");
    text
}

#[cfg(test)]
mod tests {
    use crate::api::router::described;

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
        assert!(super::list(&description).contains("POST /v1/messages "));
    }
}
