//! Campaigns of simulated runs: one seed with its cost, two runs in lockstep, a range of seeds on
//! all cores, a scenario drawn per seed, and a smaller scenario for a seed that fails.
//!
//! Threads, wall time and memory measurements are in this module, so that `sim` needs none of them.
//! Each run owns its whole state; threads share only the number of the next seed and the results.

mod job;
mod lockstep;
mod runner;
mod shrink;
mod source;
mod swarm;
mod tally;

pub use job::{Ending, Job, Judged, Stopwatch};
pub use lockstep::{Difference, Steps, lockstep};
pub use runner::{Campaign, catch_panic, quiet_panics, run};
pub use shrink::{Bounds, Shrunk, shrink};
pub use source::{Profile, ScenarioSource};
pub use swarm::swarm;
pub use tally::{Extreme, Failure, FailureKind, Range, SeedResult, Summary};
