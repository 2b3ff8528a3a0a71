//! A mesh of real processes on this machine: launched, loaded and observed from outside, through
//! the same HTTP interface that everybody has. Children hold a pipe from the launcher and stop at
//! its end, so that none outlives it, however it dies.

mod address;
mod child;
mod collect;
mod decoys;
mod error;
mod files;
mod halt;
mod impairments;
mod launch;
mod load;
mod loads;
mod network;
mod observe;
mod play;
mod posts;
mod record;
mod restarts;
mod roster;
mod run;
mod steps;

pub use address::{Place, places};
pub use collect::Progress;
pub use decoys::{decoys, read_decoys};
pub use error::MeshError;
pub use files::{MeshFile, NodeEntry};
pub use halt::Halt;
pub use launch::{Liar, Mesh, Plan};
pub use load::{Load, Sent};
pub use loads::messages;
pub use network::{Created, create};
pub use observe::{Held, Seen};
pub use play::{Playing, plan, play};
pub use record::{Observed, Terms, record};
pub use run::measure_run;
