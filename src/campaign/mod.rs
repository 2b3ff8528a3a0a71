//! Many simulated runs: one seed with what it cost, two runs in lockstep, all seeds of a range on
//! all cores, a scenario of its own for each seed, and a smaller one for a seed that fails.
//!
//! This is shell: threads, wall time and memory are here, so that `sim` needs none of them. Each
//! run owns its whole state; threads share nothing but the number of the next seed.

mod cost;
mod job;
mod lockstep;
mod panics;
mod runner;
mod shrink;
mod source;
mod swarm;
mod tally;

pub use cost::Stopwatch;
pub use job::{Ending, Job, Judged};
pub use lockstep::{Difference, Steps, lockstep};
pub use panics::{catch_panic, quiet_panics};
pub use runner::{Plan, run};
pub use shrink::{Bounds, Shrunk, shrink};
pub use source::{Profile, Source};
pub use swarm::swarm;
pub use tally::{Extreme, Failure, Kind, Range, SeedResult, Summary};
