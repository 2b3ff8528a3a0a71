//! The oracle: watches the honest nodes of a simulated run and reports violated invariants.
//!
//! It sees the inputs and outputs of nodes, links, crashes and verdicts of checks, and remembers
//! them. It never asks a node about its state, except for the sizes of its collections.
//! `docs/INVARIANTS.md` lists the invariants, and the mutation that violates each.
//!
//! The oracle must be cheap, as a run has tens of millions of events. What was judged once (a frame
//! sent on eight links, a batch delivered at ten thousand nodes) is recognised by comparing bytes.

mod checks;
mod facts;
mod frames;
mod level;
mod links;
#[cfg(test)]
mod mutations;
mod nodes;
mod quiet;
mod reads;
mod slots;
mod step;
#[cfg(test)]
mod testing;
mod watch;

pub(super) use nodes::NodeSet;
pub(super) use slots::Held;
pub(super) use watch::Oracle;
