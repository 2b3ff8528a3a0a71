//! Malicious nodes: a wrapper around an honest one.
//!
//! [`Adversary`] owns an honest [`crate::protocol::Node`], passes its inputs on, rewrites what it
//! sends and adds frames of its own. The node does not know about it. Everything here is pure: time
//! is passed in, randomness is seeded, every queue is bounded. A [`Spec`] says what the liar does
//! and when (see [`parse_list`]); [`Attempts`] says what it did, so that a report can match
//! attempts with what honest nodes rejected.
//!
//! Each behaviour has a file: `forge`, `tamper`, `drop`, `censor`, `delay`, `replay`, `flood`,
//! `malformed`, `stall`, `promise`, `gap`, `false-floor`, `false-differ`, `false-credit`,
//! `restart`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod actor;
mod attempts;
mod behaviour;
mod censor;
mod context;
mod delay;
mod drop;
mod effect;
mod false_credit;
mod false_differ;
mod false_floor;
mod filter;
mod flood;
mod forge;
mod gap;
mod ledger;
mod links;
mod lure;
mod malformed;
mod memory;
mod pacer;
mod parse;
mod parse_kind;
mod promise;
mod replay;
mod restart;
mod spec;
mod stall;
mod suggest;
mod tamper;
#[cfg(test)]
mod tests;
mod wrapper;

pub use actor::Actor;
pub use attempts::{Attempt, Attempts, Totals};
pub use effect::Effect;
pub use parse::{MAX_LIARS, parse_list};
pub use parse_kind::KINDS;
pub use spec::{Spec, SpecError};
pub(crate) use suggest::nearest;
pub use wrapper::Adversary;
