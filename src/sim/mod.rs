//! The simulator: the very state machine and the very adversaries of the real processes, in
//! virtual time, under an oracle that checks every invariant at every step.
//!
//! One seed decides everything: keys, latencies, losses, whom faults strike, what every node draws.
//! Each node's events happen in the order of `(time, the order in which they were put in)` (`queue`
//! says what holds between nodes), and a digest over
//! them tells whether two runs were the same. Memory and time follow messages and links: nothing
//! here is kept for each pair of nodes.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod boxes;
mod build;
mod cpu;
mod disk;
mod event;
mod faults;
mod host;
mod image;
mod impairments;
mod link;
mod oracle;
mod posting;
mod queue;
mod record;
mod recorder;
mod run;
mod run_digest;
mod seed;
mod signatures;
mod storing;
#[cfg(test)]
mod tests;
mod traffic;
mod turns;
mod world;

pub use run::{Phase, Progress, Sim};
