//! A mesh of real processes on this machine: started, loaded and observed from outside, through the
//! same HTTP interface that all clients use. Each child holds a pipe from the launcher and stops
//! when it closes, so that none outlives the launcher, however that dies.

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
mod steps;

pub use address::{Place, places};
pub use collect::{Progress, measure_run};
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
