//! Problem details (RFC 9457): the format of every error body.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Problem;

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    /// A problem that needs no name beyond its status (`about:blank`).
    pub fn of(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            reason: None,
            expected: None,
        }
    }

    /// A problem of a named kind: `name` is in kebab case, `title` is the same for all of that
    /// kind.
    pub fn named(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:loyal:problem:{name}"),
            title: title.into(),
            ..Self::of(status, detail)
        }
    }

    /// The status code; 500 if `status` is not a valid one.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        (self.status_code(), [(CONTENT_TYPE, kind)], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_say_what_they_are() {
        let problem = Problem::of(StatusCode::NOT_FOUND, "no such route");
        let json = serde_json::to_value(&problem).expect("encodes");
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Not Found", "status": 404,
                "detail": "no such route",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
    }
}
