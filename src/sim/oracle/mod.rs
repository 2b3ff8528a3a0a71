//! The oracle: watches the honest nodes of a simulated run and says where an invariant broke.
//!
//! It sees what goes into nodes and what comes out, links, crashes and verdicts of checks, and
//! remembers all of it; it never asks a node what it believes, but for how full its collections
//! are. `docs/INVARIANTS.md` lists what is asserted, and the mutation that trips each.
//!
//! Its own cost matters: a run has tens of millions of events. What was judged once (a frame that
//! goes to eight links, a batch that ten thousand nodes deliver) is recognised by comparing bytes.

mod checks;
mod dials;
mod facts;
mod frames;
mod keys;
mod level;
mod links;
#[cfg(test)]
mod mutations;
mod quiet;
mod reads;
mod set;
mod shown;
mod slots;
mod step;
#[cfg(test)]
mod testing;
mod watch;

pub(super) use set::NodeSet;
pub(super) use slots::Held;
pub use watch::Oracle;
