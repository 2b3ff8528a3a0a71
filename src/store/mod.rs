//! What a node keeps on disk: one SQLite file, the lock on its folder, and key files.
//!
//! `DATA/node.sqlite` is written by one thread with group commit ([`Store`]) and read through
//! read-only connections ([`Reader`]); it is in WAL mode, so other programs can read it while the
//! node runs. A file that is not what it should be is refused and left as it is. A row of `batches`
//! is believed no more than what a neighbour sends: it is checked whenever it is read.
//!
//! | table | one row is |
//! |---|---|
//! | `meta` | a fact about the store: network, own key, generation, starts, clean end, clock |
//! | `authors` | a key that batches or senders refer to by number, and the state of its lane |
//! | `batches` | a batch: header, signature, body (NULL once pruned), and how it came |
//! | `holes` | slots up to a lane's tip that are not held |
//! | `gaps` | slots that readers were told not to wait for |
//! | `quarantine` | a row of `batches` that was no longer what was written |
//! | `rejections` | a line of the rejection log, keys and ids as lowercase hex |
//! | `bans` | the last ban of a member |
//! | `promises` | a slot that this node's key has signed: never signed again |

mod author;
mod cursor;
#[cfg(test)]
mod damage_tests;
mod error;
mod folders;
mod frames;
mod handle;
mod health;
#[cfg(test)]
mod hole_tests;
mod holes;
pub mod keys;
mod log;
mod messages;
mod open;
mod put;
mod quarantine;
mod queue;
mod reader;
mod rejections;
mod restore;
mod rows;
mod schema;
#[cfg(test)]
mod testing;
mod writer;

pub use cursor::{Cursor, CursorError, LaneGap, Page};
pub use error::StoreError;
pub use folders::Made;
pub use handle::{Options, Store};
pub use health::Health;
pub use keys::{KeyError, KeyLock};
pub use messages::{MessageQuery, MessageRow};
pub use queue::Answer;
pub use reader::Reader;
pub use rejections::{RejectionQuery, SummaryRow};
pub use rows::RejectionRow;
