//! A run as data: what it must show, and the verdict on what it showed. Free of I/O.
//!
//! A scenario is a TOML file that is read strictly: an unknown key, a wrong type, a number out of
//! bounds or an impossible combination is an error with line, column and the nearest valid name.
//! The same value drives real processes and the simulator.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod builtin;
mod dice;
mod error;
mod keys;
mod latency;
mod metric;
mod model;
mod plan;
mod quantity;
mod read;
mod read_fault;
mod read_load;
mod read_net;
mod schema;
mod section;
mod select;
#[cfg(test)]
mod tests;
mod tree;
mod verdict;
mod word;
mod write;

pub use builtin::{builtin, builtins};
pub(crate) use dice::Dice;
pub use error::ScenarioError;
pub use keys::fault_kinds;
pub use metric::metrics;
pub use model::{
    Among, CpuShape, Cryptography, Expect, Fault, FaultKind, Group, Latency, Limit, Load,
    MeshShape, Net, Ppm, Publishers, Scenario, Select, Start, StoreShape, Who,
};
pub(crate) use plan::{EXERCISE, LINGER, LOAD_TOPIC, POST_RETRY_MAX, POST_TIMEOUT};
pub use plan::{FaultAction, FaultEvent};
pub use schema::schema;
pub use verdict::{Facts, Verdict};
