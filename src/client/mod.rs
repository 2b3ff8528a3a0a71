//! The HTTP client that the command line and the mesh share: plain HTTP/1.1 to a node's API.
//!
//! Connections are reused. Every operation has a deadline and a size limit, and every error names
//! the URL.

mod connection;
mod error;
mod events;
mod requests;
mod target;
#[cfg(test)]
mod tests;

pub use error::ClientError;
pub use events::{EventStream, StreamEvent};
pub use requests::{Client, RejectionFilter};
