//! What peers send each other, as bytes: frames, signed statements, and the limits of both.
//!
//! `docs/PROTOCOL.md` is normative, and `tests/vectors/` pins the encoding. Nothing here acts:
//! decoding turns hostile bytes into a bounded value, or into an error that says whose fault it is.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod codec;
mod fields;
mod frame;
mod lacked;
pub mod limits;
mod statement;

pub use codec::{Blob, List, WireError};
pub use fields::{Field, Shown, batch_start, fields};
pub use frame::{
    Announce, Class, Compare, Credit, Differ, Frame, Grant, Hello, Instance, Kind, Missing, Push,
    RangeHash, Reply, Request, SlotId, Tip, Want, WhyMissing,
};
pub use lacked::Lacked;
pub use statement::{
    Batch, BatchId, BodyError, Entry, Header, MessageId, SignedSlot, decode_body, encode_body,
};
