//! The integration tests: one binary, a module a behaviour.
//!
//! `LOYAL_BLESS=1` writes what is pinned under `tests/vectors/` and `fuzz/corpus/` anew; without it
//! the files are only compared.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod codec;
mod fuzz_replay;
mod support;
mod tidy;
mod vectors;
mod zip215;
