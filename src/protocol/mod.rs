//! The node: a state machine that decides, and never acts.
//!
//! [`Node`] takes [`Input`]s and gives [`Output`]s. It has no clock (time is a number handed in),
//! no thread, no global randomness (a seed is handed in). What is slow is asked for and answered
//! later: signature checks, durable writes, reads of old batches.
//!
//! The parts (`links`, `lanes`, `relay`, `repair`, `recovery`, `promises`, `standing`, `quotas`,
//! `publisher`, `cache`) never import one another; `bucket` and `tree` are there for all of them,
//! `lack` and `under_way` for `recovery`.
//! `node` carries facts between them. Each reads like the section of `docs/PROTOCOL.md` that it is.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod bucket;
mod cache;
mod config;
mod examine;
mod io;
mod lack;
mod lanes;
mod links;
mod network;
mod node;
mod promises;
#[cfg(test)]
mod properties;
mod publisher;
mod quotas;
mod reason;
mod record;
mod recovery;
mod relay;
mod repair;
mod snapshot;
mod standing;
mod time;
mod tree;
mod under_way;

#[cfg(feature = "shell")]
pub(crate) use bucket::{Bucket, Rate};
pub use config::Config;
pub use examine::{Check, Examination, Known, Outcome, examine};
pub use io::{
    CloseWhy, Delivery, Down, Input, LinkId, Output, PublishError, Refusal, Ticket, Timer, Token,
};
pub use network::{Member, Network, NetworkError, Role};
pub use node::Node;
pub use reason::{Blame, CountsAs, Reason};
pub use record::{
    Ban, DiskRow, Durability, Hole, Record, Rejection, Restored, RestoredLane, RestoredSlot,
    StoredBatch, Verified,
};
use snapshot::Note;
pub use snapshot::{Counters, LaneView, LinkView, PeerView, Snapshot};
pub use time::Time;
