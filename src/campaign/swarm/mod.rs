//! Swarm testing: each seed draws a scenario of its own.
//!
//! A seed first decides which features it may use at all, and then draws from those only: runs that
//! omit features reach states that runs with a little of every feature never do (Groce, Zhang,
//! Eide, Chen, Regehr: Swarm Testing, ISSTA 2012). What is drawn stays within what liveness
//! promises: at most `f` liars, faults that end, publishers that come back. Now and then a run has
//! the limits of real hosts: small stores, disks that fill, rot or get lost, processor time,
//! authors near their quota, nodes away for long, idle minutes, long payloads. A second profile
//! draws few nodes and runs of hours.

mod draw;
mod faults;
mod liars;
mod long;
mod random;
mod shape;

pub use draw::swarm;
pub(super) use long::long;
