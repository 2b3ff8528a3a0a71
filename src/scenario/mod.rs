//! A run as data: what it must show, and the verdict on what it showed. Pure.

mod cast;
mod model;
mod sample;
mod verdict;

pub use cast::{Act, Strike};
pub use model::{
    Among, Cryptography, Expect, Fault, FaultKind, Group, Latency, Limit, Load, MeshShape, Net,
    Ppm, Publishers, Scenario, Select, Start, Who,
};
pub use verdict::{Facts, Verdict};
