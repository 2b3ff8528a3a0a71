//! Errors: at start, and of a request.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use thiserror::Error;

use crate::http::Problem;
use crate::net::{PublishFailure, SubmitFailure, explain_bind};
use crate::protocol::{PublishError, Reason, Refusal};
use crate::store::StoreError;

/// Why the API cannot be served.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The address can be reached from other machines, and there is no token.
    #[error(
        "other machines can reach the API address {0}: set a token (--api-token-file) or listen on \
         127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// A token is empty, longer than 256 bytes, or has characters other than printable ASCII.
    #[error(
        "{0} does not give a valid token; a token has 1 to 256 printable ASCII characters and no \
         space"
    )]
    BadToken(&'static str),
    /// The address cannot be bound.
    #[error("cannot listen on the API address {address}: {}", explain_bind(source))]
    Bind {
        /// The address that was to be bound.
        address: SocketAddr,
        /// Why the address cannot be bound.
        source: std::io::Error,
    },
    /// The listener's own address cannot be read.
    #[error("the API's socket failed: {0}")]
    Socket(#[from] std::io::Error),
}

/// Failure of a request: a problem document, and when to retry.
#[derive(Debug)]
pub(super) struct Failure {
    pub problem: Box<Problem>,
    retry_after: Option<u64>,
}

impl Failure {
    /// A failure that its status describes completely.
    pub(super) fn of(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::of(status, detail)), retry_after: None }
    }

    /// A failure of a named kind; see [`Problem::named`].
    pub(super) fn named(
        status: StatusCode,
        name: &str,
        title: &str,
        detail: impl Into<String>,
    ) -> Self {
        let problem = Box::new(Problem::named(status, name, title, detail));
        Self { problem, retry_after: None }
    }

    /// 400: the request makes no sense.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: this node does not hold it.
    pub(super) fn absent(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND, detail)
    }

    /// 413: the body is too long.
    pub(super) fn too_long(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 503 while the node stops.
    pub(super) fn stopping() -> Self {
        let detail = "the node is stopping";
        Self::named(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The node is stopping", detail)
    }

    /// 503 while too many requests are in progress; retry after 1 s.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::named(status, "busy", "Too many requests", detail).retry(Duration::from_secs(1))
    }

    /// 503 while the node is not ready; retry after 1 s.
    pub(super) fn unready(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::named(status, "not-ready", "The node is not ready", detail)
            .retry(Duration::from_secs(1))
    }

    /// Sets `Retry-After`: whole seconds, rounded up, at least one.
    pub(super) fn retry(mut self, after: Duration) -> Self {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        self.retry_after = Some(seconds.max(1));
        self
    }

    fn over_quota(detail: String, after: Duration) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::named(status, "over-quota", "Over the author's quota", detail).retry(after)
    }

    fn not_written() -> Self {
        let detail = "the message could not be written to disk and is not published";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::named(status, "not-written", "Not written", detail)
    }

    fn rejected(reason: Reason) -> Self {
        if reason == Reason::AuthorRate {
            let detail = "the author is over its quota".to_owned();
            return Self::over_quota(detail, Duration::from_secs(1)).with_reason(reason);
        }
        let detail = format!("every honest node would refuse this batch: {}", reason.name());
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::named(status, "rejected", "The batch was refused", detail).with_reason(reason)
    }

    fn with_reason(mut self, reason: Reason) -> Self {
        self.problem.reason = Some(reason.name().to_owned());
        self
    }

    fn out_of_order(expected: u64) -> Self {
        let detail = format!("this node expects slot {expected} next");
        let title = "Not the next slot";
        let mut failure = Self::named(StatusCode::CONFLICT, "out-of-order", title, detail);
        failure.problem.expected = Some(expected);
        failure
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::TooLong => Self::too_long(detail),
            PublishError::OverQuota { retry_after } => Self::over_quota(detail, retry_after),
            PublishError::MemberKey => {
                Self::named(StatusCode::FORBIDDEN, "member-key", "A member's key", detail)
            }
        }
    }
}

impl From<PublishFailure> for Failure {
    fn from(failure: PublishFailure) -> Self {
        match failure {
            PublishFailure::Refused(error) => error.into(),
            PublishFailure::NotWritten => Self::not_written(),
            PublishFailure::Stopping => Self::stopping(),
        }
    }
}

impl From<SubmitFailure> for Failure {
    fn from(failure: SubmitFailure) -> Self {
        match failure {
            SubmitFailure::Refused(error) => error.into(),
            SubmitFailure::Refusal(Refusal::Rejected(reason)) => Self::rejected(reason),
            SubmitFailure::Refusal(Refusal::OutOfOrder { expected }) => {
                Self::out_of_order(expected)
            }
            SubmitFailure::Refusal(Refusal::NotWritten) => Self::not_written(),
            SubmitFailure::Stopping => Self::stopping(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read the store: {error}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(failure: impl Into<Failure>) -> (u16, Option<String>, Option<String>, Option<u64>) {
        let failure: Failure = failure.into();
        let (reason, expected) = (failure.problem.reason.clone(), failure.problem.expected);
        let response = failure.into_response();
        let retry = response.headers().get(RETRY_AFTER);
        let retry = retry.map(|value| value.to_str().expect("text").to_owned());
        (response.status().as_u16(), retry, reason, expected)
    }

    #[test]
    fn refusals_become_the_statuses_that_the_interface_promises() {
        let quota = |ms| PublishError::OverQuota { retry_after: Duration::from_millis(ms) };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(seen(quota(0)), (429, text("1"), None, None));
        assert_eq!(seen(quota(1001)), (429, text("2"), None, None));
        assert_eq!(seen(PublishFailure::Refused(quota(2000))), (429, text("2"), None, None));
        assert_eq!(seen(PublishError::TooLong).0, 413);
        assert_eq!(seen(PublishError::MemberKey).0, 403);
        assert_eq!(seen(PublishFailure::NotWritten).0, 503);
        assert_eq!(seen(PublishFailure::Stopping).0, 503);
        let rejected = |reason| SubmitFailure::Refusal(Refusal::Rejected(reason));
        let forged = seen(rejected(Reason::BadSignature));
        assert_eq!(forged, (422, None, text("bad_signature"), None));
        assert_eq!(seen(rejected(Reason::AuthorRate)), (429, text("1"), text("author_rate"), None));
        let order = SubmitFailure::Refusal(Refusal::OutOfOrder { expected: 7 });
        assert_eq!(seen(order), (409, None, None, Some(7)));
        assert_eq!(seen(SubmitFailure::Refusal(Refusal::NotWritten)).0, 503);
    }
}
