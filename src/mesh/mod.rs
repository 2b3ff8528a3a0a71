//! A mesh of real processes on this machine: launched, loaded and observed from outside, through
//! the same HTTP interface that everybody has. Children hold a pipe from the launcher and stop at
//! its end, so that none outlives it, however it dies.

mod address;
mod child;
mod decoys;
mod error;
mod files;
mod launch;
mod load;
mod network;
mod observe;
mod posts;
mod record;
mod run;

pub use address::{Place, places};
pub use decoys::{decoys, read_decoys};
pub use error::MeshError;
pub use files::{MeshFile, NodeEntry};
pub use launch::{Liar, Mesh, Plan};
pub use load::{Load, Sent};
pub use network::{Created, create};
pub use record::{Held, Observed, Seen, Terms, record};
pub use run::{Progress, measure_run};
