//! A mesh of real processes on this machine: started, loaded and observed from outside, through the
//! same HTTP interface that all clients use. Each child holds a pipe from the launcher and stops
//! when it closes, so that none outlives the launcher, however that dies.

mod child;
mod clock;
mod collect;
mod decoys;
mod error;
mod files;
mod impairments;
mod launch;
mod load;
mod network;
mod observe;
mod play;
mod posts;
mod record;
mod restarts;
mod stop;
mod targets;

pub use collect::Progress;
pub use decoys::{decoys, read_decoys};
pub use error::MeshError;
pub use files::{MeshFile, NodeEntry};
pub use launch::Mesh;
pub use load::{Sent, messages};
pub use network::{Addresses, Created, create};
pub use observe::{HeldMessage, NodeView};
pub use play::Player;
pub use record::{Observed, Terms, record};
pub use stop::Stop;
