//! The node: a state machine that decides but performs no I/O.
//!
//! [`Node`] takes [`Input`]s and emits [`Output`]s. It has no clock (the time is passed in), no
//! threads, and no global randomness (a seed is passed in). Slow work is requested and answered
//! later: signature checks, durable writes, reads of old batches.
//!
//! The components (`links`, `lanes`, `relay`, `repair`, `recovery`, `standing`, `quotas`,
//! `publisher`) never import one another; all may use `time` and `tree`, and `recovery` uses `lack`
//! and `under_way`. `node` carries facts between them. Each component mirrors its section of
//! `docs/PROTOCOL.md`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod config;
mod examine;
mod io;
mod lack;
mod lanes;
mod links;
mod network;
mod node;
mod publisher;
mod quotas;
mod reason;
mod record;
mod recovery;
mod relay;
mod repair;
mod retention;
mod round_robin;
mod snapshot;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod time;
mod tree;
mod under_way;

pub use config::Config;
pub use examine::{Check, Examination, Known, Outcome, examine};
pub use io::{CloseWhy, Down, Input, LinkId, Output, PublishError, Refusal, Ticket, Timer, Token};
pub use network::{Member, Network, NetworkError, Role};
pub use node::Node;
pub use reason::{Blame, CountsAs, Reason};
pub use record::{
    Ban, DiskRow, Durability, Hole, Record, Rejection, Restored, RestoredLane, RestoredSlot,
    StoredBatch, Verified,
};
pub(crate) use retention::{ROW_COST, ROWS_KEPT, Shares, limit_holes};
pub(crate) use round_robin::RoundRobin;
use snapshot::Note;
pub use snapshot::{Counters, LaneView, LinkView, PeerView, Snapshot};
#[cfg(feature = "shell")]
pub(crate) use time::{Bucket, Rate};
pub use time::{Time, micros, millis};
