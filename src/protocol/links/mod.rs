//! Links: which members to link to, what a link may send, and which of two links to a peer stays.

mod credit;
mod link;
mod overlay;
mod table;

pub(super) use credit::Granted;
pub(super) use link::{Link, OpenWant};
pub(super) use overlay::{Overlay, Purpose};
pub(super) use table::{LINKS_PER_MEMBER, Links, TieBreak};
