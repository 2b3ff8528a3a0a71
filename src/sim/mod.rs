//! The simulator: the state machine and the adversaries of the real processes, in virtual time,
//! under an oracle that checks every invariant at every step.
//!
//! One seed decides everything: keys, latencies, losses, the nodes that faults strike, and the
//! random choices of every node. Each node receives its events in order of `(time, insertion)`; the
//! `queue` module defines the order between nodes. The run digest over all events shows whether two
//! runs were the same. Memory and time grow with messages and links: nothing is kept for each pair
//! of nodes.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod build;
mod by_hand;
mod cpu;
#[cfg(test)]
mod defects;
mod disk;
mod event;
mod faults;
mod host;
mod image;
mod link;
mod oracle;
mod posting;
mod queue;
mod record;
mod recorder;
mod run;
mod signatures;
mod storing;
#[cfg(test)]
mod tests;
mod traffic;
mod turns;
mod world;

pub use run::{Phase, Progress, Sim};
