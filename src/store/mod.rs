//! Persistent storage of a node: one SQLite file, the lock on its folder, and key files.
//!
//! `DATA/node.sqlite` is written by one thread with group commit ([`Store`]) and read through
//! read-only connections ([`Reader`]). It is in WAL mode, so other programs can read it while the
//! node runs. A file that is not a valid store is refused and left unchanged. A row of `batches` is
//! trusted no more than what a neighbour sends: it is checked at every read.
//!
//! | table | one row |
//! |---|---|
//! | `meta` | a fact about the store: network, own key, generation, starts, clean end, clock |
//! | `authors` | a key that other tables refer to by number, and the state of its lane |
//! | `batches` | a batch: header, signature, body (NULL once pruned), and how it came |
//! | `holes` | slots up to a lane's tip that are not held |
//! | `gaps` | slots that readers were told not to wait for |
//! | `quarantine` | a damaged row of `batches` that was set aside |
//! | `rejections` | a line of the rejection log, keys and ids as lowercase hex |
//! | `bans` | the last ban of a member |
//! | `promises` | a slot that this node's key has signed: never signed again |

mod author;
mod cursor;
mod error;
mod folders;
mod handle;
mod health;
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
#[cfg(test)]
mod tests;
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
