//! Finds a smaller scenario that fails in the same way.

mod greedy;
mod steps;

pub use greedy::{Bounds, Shrunk, shrink};
