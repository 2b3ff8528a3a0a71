//! Swarm testing: each seed draws a scenario of its own.
//!
//! A seed first decides which features it may use at all, and draws only then from those that are
//! left: runs that omit features reach states that runs with a little of everything never do
//! (Groce, Zhang, Eide, Chen, Regehr: Swarm Testing, ISSTA 2012). Everything drawn keeps within
//! what liveness promises: at most `f` liars, faults that end, publishers that come back. The world
//! is as harsh as ours now and then: small stores, disks that fill, rot and get lost, processor
//! time, authors near their quota, nodes away for long, idle minutes, long payloads. A second
//! profile has few nodes and hours.

mod dice;
mod draw;
mod faults;
mod liars;
mod long;
mod net;

mod shape;

pub use draw::swarm;
pub use long::long;
