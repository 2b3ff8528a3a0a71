//! A run as data: what it must show, and the verdict on what it showed. Pure.

mod verdict;

pub use verdict::{Facts, Verdict};
