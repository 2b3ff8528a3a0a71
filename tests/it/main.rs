//! The integration tests: one binary, with one module for each behaviour.
//!
//! `LOYAL_BLESS=1` rewrites the pinned files under `tests/vectors/`, `tests/golden/` and
//! `fuzz/corpus/`; without it they are only compared.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod circles;
mod clocks;
mod codec;
mod command;
mod documents;
mod folder;
mod fuzz_replay;
mod hostile;
mod kill;
mod language;
mod mesh_run;
mod node_fuzz;
mod node_liars;
mod node_mesh;
mod node_refuses;
mod process;
mod rejected_frames;
mod samples;
mod seeds;
mod support;
mod surroundings;
mod tidy;
mod tls;
mod vectors;
mod wrong_usage;
mod zip215;
