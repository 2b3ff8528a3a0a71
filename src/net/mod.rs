//! The shell round a node: links over TCP and TLS, the driver, the checkers.
//!
//! [`start`] opens the store, binds the gossip address and spawns one task, the *driver*, which
//! owns the node's state machine and alone calls it. Everything slow or hostile sits in tasks and
//! threads of its own (links, dials, handshakes, signature checks, the store) and reaches the
//! driver through bounded queues; the driver never waits for any of them. [`Handle`] is what the
//! API holds.

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
mod round_robin;
mod settings;
mod start;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod waiters;

pub use handle::{Handle, PublishFailure, SubmitFailure};
pub use impairment::{Impairment, Impairments};
pub use settings::{Malice, Settings, StartError, StopCause, explain_bind};
pub use start::{Running, start};
pub use traffic::{Direction, Histogram, Traffic};
