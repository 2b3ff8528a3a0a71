//! `loyal`: a Byzantine-aware gossip node, and a lab that puts it to the test.
//!
//! The crate has two halves. The *pure* half decides: no clock, no socket, no thread, no global
//! randomness; the same input gives the same output, in a real process and in a simulator. The
//! *shell* carries out: sockets, TLS, SQLite, HTTP, processes.
//!
//! | module | half | what it is |
//! |---|---|---|
//! | `crypto` | pure | identities, signing, checking (ZIP-215), digests |
//! | `wire` | pure | frames, the canonical codec, signed statements, every limit |
//! | `protocol` | pure | the node: one state machine |
//! | `adversary` | pure | what a malicious node does instead: a wrapper round an honest one |
//! | `scenario` | pure | a run as data: file format, built-ins, verdict |
//! | `report` | pure | from what a run recorded to its report: JSON, terminal text, HTML, JUnit |
//! | `sim` | pure | the same nodes and adversaries in virtual time, under an oracle |
//! | `diagnostics` | shell | what is logged of what repeats; whether threads are at work |
//! | `clock` | shell | a clock that does not jump, and what is noticed of one that does |
//! | `store` | shell | SQLite, key files, locks |
//! | `net` | shell | links over TCP and TLS, the driver, the checkers |
//! | `http`, `api`, `client` | shell | the HTTP interface, and the client for it |
//! | `campaign` | shell | many simulated runs: seeds, swarms, shrinking |
//! | `mesh` | shell | launches processes, loads and observes them |
//! | `cli` | shell | the command line |
//!
#![doc = include_str!("../docs/EMBEDDING.md")]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
// The pure modules deny these again: the list is in clippy.toml.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod adversary;
#[cfg(feature = "shell")]
pub mod api;
#[cfg(feature = "shell")]
pub mod campaign;
#[cfg(feature = "shell")]
pub mod cli;
#[cfg(feature = "shell")]
pub mod client;
#[cfg(feature = "shell")]
mod clock;
pub mod crypto;
#[cfg(feature = "shell")]
mod diagnostics;
#[cfg(feature = "shell")]
pub mod http;
#[cfg(feature = "shell")]
pub mod mesh;
#[cfg(feature = "shell")]
pub mod net;
pub mod protocol;
pub mod report;
pub mod scenario;
pub mod sim;
#[cfg(feature = "shell")]
pub mod store;
pub mod wire;
