//! The simulator: a world of nodes in virtual time, and the oracle that watches it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod oracle;

pub use oracle::Oracle;
