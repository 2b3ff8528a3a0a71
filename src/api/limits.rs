//! Middleware: limits on the number and duration of requests, error bodies, and response headers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::Failure;
use crate::http::{PROBLEM_JSON, Problem};

/// Most concurrent requests; a stream counts only until its answer begins.
const MAX_REQUESTS: usize = 128;
/// Limit on a request, until its answer begins.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// The limits that [`bound`] enforces.
pub(super) struct Bounds {
    requests: Semaphore,
    time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { requests: Semaphore::new(MAX_REQUESTS), time: REQUEST_LIMIT }
    }
}

/// Answers 503 to a request above the limit and to one that takes too long. A stream is past both
/// limits once its answer begins.
pub(super) async fn bound(
    State(bounds): State<Arc<Bounds>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/healthz" {
        return next.run(request).await; // cheap, and must answer under any load
    }
    let Ok(_permit) = bounds.requests.try_acquire() else {
        return Failure::busy(format!("more than {MAX_REQUESTS} requests at once")).into_response();
    };
    match timeout(bounds.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long; a posted message may still be published";
            Failure::busy(detail).into_response()
        }
    }
}

/// Gives every error a problem document, including those of the router (404, 405).
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let explained = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON);
    if explained || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let detail = match status.as_u16() {
        404 => "no such route; GET / lists the routes",
        405 => "the route does not support this method; see the header Allow",
        _ => "the request could not be served",
    };
    let mut explained = Problem::of(status, detail).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_LENGTH && name != CONTENT_TYPE {
            explained.headers_mut().append(name, value.clone());
        }
    }
    explained
}

/// Keeps browsers from sniffing content types, and caches from storing answers.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    async fn ask(router: &Router, method: &str, path: &str) -> (StatusCode, Option<Problem>) {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        let service = TowerToHyperService::new(router.clone());
        let response = service.call(request.expect("a request")).await.expect("an answer");
        let status = response.status();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(response.headers()["allow"], "GET,HEAD");
        }
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).ok())
    }

    #[tokio::test]
    async fn every_error_is_a_problem() {
        let time = Duration::from_millis(50);
        let bounds = Arc::new(Bounds { time, ..Bounds::default() });
        let router = Router::new()
            .route("/fine", get(async || "fine"))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(3600)).await))
            .route("/odd", get(async || StatusCode::IM_A_TEAPOT))
            .layer(from_fn_with_state(Arc::clone(&bounds), bound))
            .layer(from_fn(explain));
        assert_eq!(ask(&router, "GET", "/fine").await.0, 200);
        for (method, path, status) in [
            ("GET", "/none", 404),
            ("POST", "/fine", 405),
            ("GET", "/odd", 418),
            ("GET", "/slow", 503),
        ] {
            let (seen, problem) = ask(&router, method, path).await;
            assert_eq!(seen, status, "{path}");
            assert_eq!(problem.expect("a problem").status, status, "{path}");
        }
        let _all = bounds.requests.acquire_many(128).await.expect("permits");
        assert_eq!(ask(&router, "GET", "/fine").await.0, 503);
    }
}
