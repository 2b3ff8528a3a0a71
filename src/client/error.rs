//! What a client's caller is told when something fails.

use thiserror::Error;

use crate::http::Problem;

/// Why a request failed. Every text names the URL.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No answer: nobody listens, the connection broke, or a deadline passed. The text says which.
    /// For a POST it is unknown then whether it took effect.
    #[error("{0}")]
    Unreachable(String),
    /// The node answered with an error.
    #[error("{}: {} {}: {}", .0.instance.as_deref().unwrap_or("?"), .0.status, .0.title, .0.detail)]
    Refused(Box<Problem>),
    /// A base URL that cannot be used, or an answer that is not what the API promises.
    #[error("{0}")]
    Broken(String),
}

impl ClientError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreachable(_) | Self::Broken(_) => None,
        }
    }
}
