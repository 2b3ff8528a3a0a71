//! A mesh of real processes on this machine: launched, loaded and observed from outside, through
//! the same HTTP interface that everybody has. Children hold a pipe from the launcher and stop at
//! its end, so that none outlives it, however it dies.

mod address;
mod attribute;
mod child;
mod decoys;
mod error;
mod files;
mod launch;
mod load;
mod measure;
mod network;
mod observe;
mod run;

pub use address::{Place, places};
pub use decoys::{decoys, read_decoys};
pub use error::MeshError;
pub use files::{MeshFile, NodeEntry};
pub use launch::{Liar, Mesh, Plan};
pub use load::{Load, Sent};
pub use measure::{Held, Observed, Seen, report};
pub use network::{Created, create};
pub use run::{Progress, measure_run};
