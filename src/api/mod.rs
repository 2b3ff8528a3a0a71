//! The HTTP API of a running node: `/v1`, and the routes that operators need beside it.
//!
//! Handlers only translate: a request into a command to the node's handle or a query of its store,
//! and the answer into a body. A GET changes nothing. What clients can make the process hold is
//! bounded: connections, requests, streams and bodies are limited in number, and each has a
//! deadline.
//!
//! | file | routes |
//! |---|---|
//! | `messages`, `signed` | publish and read messages |
//! | `rejections` | the rejection log |
//! | `stream` | messages and rejections as server-sent events |
//! | `peers`, `status` | the node's view of the mesh and of itself, health, what a liar tried |
//! | `lab` | impairments of links; only with a lab token |
//! | `metrics` | metrics for Prometheus |
//! | `router` | the API description and a list of routes |

mod app;
mod connections;
mod describe;
mod error;
mod input;
mod lab;
mod limits;
mod messages;
mod metrics;
mod peers;
mod rejections;
mod router;
mod serve;
mod signed;
mod status;
mod stream;
#[cfg(test)]
mod tests;

pub use error::ApiError;
pub use rejections::{rejection_dto, summary_dto};
pub use serve::{ApiOptions, bind, serve};
