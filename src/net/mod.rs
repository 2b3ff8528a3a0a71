//! Runs a node: links over TCP and TLS, the driver, the checkers.
//!
//! [`start`] binds the gossip address, opens the store and spawns the listener and the *driver*,
//! the task that owns the node's state machine and is the only caller of it. Everything slow or
//! hostile (links, dials, handshakes, signature checks, the store) runs in tasks and threads of its
//! own and reaches the driver through bounded queues; the driver waits for none of it. The API
//! works with a [`Handle`].

mod checkers;
mod delay_line;
mod dialer;
mod disk;
mod driver;
mod effects;
mod handle;
mod handshake_limiter;
mod impairment;
mod inbox;
mod link;
mod listener;
mod log;
mod outbox;
mod queue;
mod records;
mod start;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;

pub use handle::{Handle, PublishFailure, SubmitFailure};
pub use impairment::{Impairment, Impairments};
pub use start::{Malice, Running, Settings, StartError, StopCause, explain_bind, start};
pub use traffic::{Direction, Histogram, Traffic};
