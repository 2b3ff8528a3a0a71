//! Errors of the client.

use thiserror::Error;

use crate::http::Problem;

/// Why a request failed. Every message names the URL.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No answer: nothing listens, the connection broke, or a deadline passed; the message says
    /// which. A POST may or may not have taken effect.
    #[error("{0}")]
    Unreachable(String),
    /// The node answered with an error.
    #[error("{}: {} {}: {}", .0.instance.as_deref().unwrap_or("?"), .0.status, .0.title, .0.detail)]
    Refused(Box<Problem>),
    /// The base URL or token cannot be used, or the answer is not one that the API can give.
    #[error("{0}")]
    Broken(String),
}

impl ClientError {
    /// The HTTP status if the node refused the request; `None` for other errors.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreachable(_) | Self::Broken(_) => None,
        }
    }
}
