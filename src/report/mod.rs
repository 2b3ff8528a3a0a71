//! A run's recording, its judge, and the result in every form: `report.json` (schema 1),
//! `report.html`, `junit.xml`, traces, and text for a terminal. Free of I/O.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod attribution;
mod diff;
mod epidemic;
mod escape;
mod expect;
mod headline;
mod html;
mod judge;
mod junit;
mod numbers;
mod paths;
mod recording;
mod schema;
mod tally;
mod terminal;
mod trace;

pub use diff::{Change, changes, diff};
pub use epidemic::EpidemicModel;
pub use escape::escape;
pub use html::html;
pub use judge::judge;
pub use junit::junit;
pub use recording::{
    Arrival, BanRecord, BatchRecord, FaultRecord, NodeRecord, Post, Recording, Refused, Tried,
    TriedOne, Violation,
};
pub use schema::{
    Attack, Backend, Bans, Breach, Certified, ClockStep, Delivery, Evidence, Expectation, Hops,
    Latency, Malicious, Rejections, Report, Resources, SCHEMA,
};
pub use tally::{hops_of, latency_of, percentile};
pub use terminal::terminal;
pub use trace::{
    BatchLine, DeliveryRow, Had, LineNode, NodesLine, Refusal, RefusalLine, Trace, delivery_lines,
    rejection_lines, trace,
};

#[cfg(test)]
mod testing;
