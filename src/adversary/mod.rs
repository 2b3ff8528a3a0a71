//! Malicious nodes: a wrapper around an honest one.
//!
//! [`Adversary`] owns an honest [`crate::protocol::Node`], passes its inputs on, rewrites what it
//! sends and adds frames of its own. The node does not know about it. Everything here is pure: time
//! is passed in, randomness is seeded, every queue is bounded. A [`Spec`] says what the liar does
//! and when (see [`parse_list`]); [`Attempts`] says what it did, so that a report can match
//! attempts with what honest nodes rejected.
//!
//! `kinds` lists the behaviours. Each has a file of its name, but for `drop` and `censor`, which
//! are in `swallow`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod actor;
mod attempts;
mod context;
mod delay;
mod false_credit;
mod false_differ;
mod false_floor;
mod flood;
mod forge;
mod gap;
mod kinds;
mod ledger;
mod lie;
mod links;
mod malformed;
mod memory;
mod pacer;
mod promise;
mod replay;
mod restart;
mod spec;
mod stall;
mod suggest;
mod swallow;
mod tamper;
#[cfg(test)]
mod tests;
mod value;
mod wrapper;

pub use actor::Actor;
pub use attempts::{Attempt, Attempts, Totals};
pub use context::Effect;
pub use false_credit::TALES;
pub use flood::FLOODS;
pub use kinds::KINDS;
pub use spec::{MAX_LIARS, Spec, parse_list};
pub(crate) use suggest::nearest;
pub use value::SpecError;
pub use wrapper::Adversary;
