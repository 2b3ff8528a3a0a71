//! A run's result as bytes: `report.json` (schema 1) and the verdict for a terminal. Pure.

mod attribution;
mod expect;
mod judge;
mod rank;
mod recording;
mod schema;
mod tally;
mod terminal;
mod ways;

pub use judge::judge;
pub use rank::{hops_of, latency_of, percentile};
pub use recording::{
    Arrival, BanRecord, BatchRecord, FaultRecord, NodeRecord, Post, Recording, Refused, Tried,
    TriedOne, Violation,
};
pub use schema::{
    Attack, Backend, Bans, Breach, Certified, Delivery, Evidence, Expectation, Hops, Latency,
    Malicious, Rejections, Report, Resources, SCHEMA,
};
pub use terminal::terminal;
