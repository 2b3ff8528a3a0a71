//! What a node keeps on disk: one SQLite file, the lock on its folder, and key files.
//!
//! `DATA/node.sqlite` is written by one thread with group commit ([`Store`]) and read through
//! read-only connections ([`Reader`]); it is in WAL mode, so other programs can read it while the
//! node runs. A file that is not what it should be is refused and left as it is.
//!
//! | table | one row is |
//! |---|---|
//! | `meta` | a fact about the store: network, own key, generation, starts, clean end |
//! | `authors` | a key that batches or senders refer to by number, and the state of its lane |
//! | `batches` | a batch: header, signature, body (NULL once pruned), and how it came |
//! | `rejections` | a line of the rejection log, keys and ids as lowercase hex |
//! | `bans` | the last ban of a member |
//! | `promises` | a slot that this node's key has signed: never signed again |

mod author;
mod cursor;
mod error;
mod handle;
pub mod keys;
mod log;
mod messages;
mod open;
mod put;
mod reader;
mod rejections;
mod rows;
mod schema;
#[cfg(test)]
mod testing;
mod writer;

pub use cursor::{Cursor, CursorError, Page};
pub use error::StoreError;
pub use handle::{Answer, Options, Store};
pub use keys::{KeyError, KeyLock};
pub use messages::{MessageQuery, MessageRow};
pub use reader::Reader;
pub use rejections::{RejectionQuery, RejectionRow, SummaryRow};
