//! A mesh of real processes on this machine: launched, loaded and observed from outside, through
//! the same HTTP interface that everybody has. Children hold a pipe from the launcher and stop at
//! its end, so that none outlives it, however it dies.

mod address;
mod child;
mod decoys;
mod ending;
mod error;
mod files;
mod halt;
mod launch;
mod lives;
mod load;
mod loads;
mod network;
mod observe;
mod play;
mod posts;
mod record;
mod roster;
mod run;
mod steps;
mod weather;

pub use address::{Place, places};
pub use decoys::{decoys, read_decoys};
pub use ending::Progress;
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
