//! A run's result as bytes: `report.json` (schema 1) and the verdict for a terminal. Pure.

mod rank;
mod recording;
mod schema;
mod terminal;

pub use rank::{hops, latency, percentile};
pub use recording::{
    Arrival, BanRecord, BatchRecord, FaultRecord, NodeRecord, Post, Recording, Refused, Tried,
    TriedOne, Violation,
};
pub use schema::{
    Attack, Backend, Bans, Certified, Delivery, Evidence, Expectation, Hops, Latency, Malicious,
    Rejections, Report, Resources, SCHEMA,
};
pub use terminal::terminal;
