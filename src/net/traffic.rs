//! Counters of traffic on the links and of the work that it causes. Tasks share atomics; readers
//! get plain values.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::protocol::micros;
use crate::wire::{Class, Kind};

/// Upper bounds of the buckets of [`Traffic::verify`], in microseconds.
const VERIFY_BOUNDS_US: [u64; 10] = [30, 50, 75, 100, 150, 250, 500, 1000, 5000, 25_000];
const KINDS: usize = Kind::ALL.len();
/// Indices of the two kinds of frame that the wire format does not have.
const RAW: usize = KINDS;
const UNKNOWN: usize = KINDS + 1;
/// Whether a frame was sent or received, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Written to a peer.
    Sent,
    /// Read from a peer.
    Received,
}

impl Direction {
    /// Name of the direction in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// Distribution of a duration, as counts by bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets, in seconds, ascending.
    pub bounds: Vec<f64>,
    /// Observations in each bucket (not cumulative), and last those above the highest bound.
    pub counts: Vec<u64>,
    /// Sum of all observations, in seconds.
    pub sum: f64,
    /// Number of observations, all buckets together.
    pub count: u64,
}

/// Counters since the node started, as of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Bytes written to links inside TLS, length prefixes included.
    pub bytes_sent: u64,
    /// Bytes read from links inside TLS, length prefixes included.
    pub bytes_received: u64,
    /// Frames by kind and direction. `raw` counts what a malicious node wrote as raw bytes,
    /// `unknown` frames whose kind does not exist.
    pub frames: BTreeMap<(&'static str, Direction), u64>,
    /// Frames that were dropped because a link's outbox was full, by class.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Inbound connections by outcome: `linked`; `failed` in TLS or at the deadline; or refused by
    /// the handshake limiter because of `half_open`, `address_rate` or `budget`.
    pub handshakes: BTreeMap<&'static str, u64>,
    /// Time that a signature check took on its thread.
    pub verify: Histogram,
    /// Number of signature checks that wait for a thread.
    pub verify_queue: u64,
    /// Number of records and reads that the store has not answered.
    pub store_queue: u64,
}

/// Outcome of an inbound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Linked,
    Failed,
    HalfOpen,
    AddressRate,
    Budget,
}

const INBOUND: [(Inbound, &str); 5] = [
    (Inbound::Linked, "linked"),
    (Inbound::Failed, "failed"),
    (Inbound::HalfOpen, "half_open"),
    (Inbound::AddressRate, "address_rate"),
    (Inbound::Budget, "budget"),
];

/// The counters, shared by all tasks of a node.
#[derive(Default)]
pub(super) struct Meter {
    bytes: [AtomicU64; 2],
    frames: [[AtomicU64; KINDS + 2]; 2],
    dropped: [AtomicU64; Class::ALL.len() + 1],
    inbound: [AtomicU64; INBOUND.len()],
    verify: [AtomicU64; VERIFY_BOUNDS_US.len() + 1],
    verify_ns: AtomicU64,
    /// Gauges, set by the checkers and the driver.
    pub verify_queue: AtomicU64,
    pub store_queue: AtomicU64,
}

impl Meter {
    /// Counts a whole frame; `bytes` is the frame without its length prefix.
    pub(super) fn frame(&self, direction: Direction, bytes: &[u8]) {
        let kind = bytes.get(1).map_or(UNKNOWN, |kind| usize::from(*kind).min(UNKNOWN));
        let kind = if kind < KINDS { kind } else { UNKNOWN };
        self.frames[direction as usize][kind].fetch_add(1, Relaxed);
        self.bytes(direction, bytes.len() + 4);
    }

    /// Counts raw bytes that a malicious node writes.
    pub(super) fn raw(&self, bytes: usize) {
        self.frames[Direction::Sent as usize][RAW].fetch_add(1, Relaxed);
        self.bytes(Direction::Sent, bytes);
    }

    /// Counts bytes that belong to no whole frame.
    pub(super) fn bytes(&self, direction: Direction, bytes: usize) {
        self.bytes[direction as usize].fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a dropped frame of this class; `None` for raw bytes.
    pub(super) fn dropped(&self, class: Option<Class>) {
        let place = class.map_or(Class::ALL.len(), |class| class as usize);
        self.dropped[place].fetch_add(1, Relaxed);
    }

    /// Counts an inbound connection by its outcome.
    pub(super) fn inbound(&self, what: Inbound) {
        self.inbound[what as usize].fetch_add(1, Relaxed);
    }

    /// Counts a signature check that took this long.
    pub(super) fn verified(&self, took: Duration) {
        let us = micros(took);
        let bucket = VERIFY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.verify[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.verify_ns.fetch_add(ns, Relaxed);
    }

    pub(super) fn read(&self) -> Traffic {
        let mut frames = BTreeMap::new();
        for direction in [Direction::Sent, Direction::Received] {
            for (place, count) in self.frames[direction as usize].iter().enumerate() {
                let name = match place {
                    RAW => "raw",
                    UNKNOWN => "unknown",
                    kind => Kind::ALL[kind].name(),
                };
                frames.insert((name, direction), count.load(Relaxed));
            }
        }
        let classes = Class::ALL.into_iter().map(Class::name).chain(["raw"]);
        let counts: Vec<u64> = self.verify.iter().map(|count| count.load(Relaxed)).collect();
        Traffic {
            bytes_sent: self.bytes[Direction::Sent as usize].load(Relaxed),
            bytes_received: self.bytes[Direction::Received as usize].load(Relaxed),
            frames,
            dropped: classes.zip(self.dropped.iter().map(|count| count.load(Relaxed))).collect(),
            handshakes: INBOUND
                .iter()
                .map(|(what, name)| (*name, self.inbound[*what as usize].load(Relaxed)))
                .collect(),
            verify: Histogram {
                bounds: VERIFY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
                sum: self.verify_ns.load(Relaxed) as f64 / 1e9,
                count: counts.iter().sum(),
                counts,
            },
            verify_queue: self.verify_queue.load(Relaxed),
            store_queue: self.store_queue.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_land_under_their_names() {
        let meter = Meter::default();
        meter.frame(Direction::Received, &[1, Kind::Push as u8, 0]);
        meter.frame(Direction::Received, &[1, 200]);
        meter.frame(Direction::Sent, &[1]);
        meter.raw(10);
        meter.dropped(Some(Class::Reply));
        meter.dropped(None);
        meter.inbound(Inbound::Budget);
        meter.verified(Duration::from_micros(45));
        meter.verified(Duration::MAX);
        let traffic = meter.read();
        assert_eq!(traffic.frames[&("push", Direction::Received)], 1);
        assert_eq!(traffic.frames[&("unknown", Direction::Received)], 1);
        assert_eq!(traffic.frames[&("unknown", Direction::Sent)], 1);
        assert_eq!(traffic.frames[&("raw", Direction::Sent)], 1);
        assert_eq!((traffic.bytes_received, traffic.bytes_sent), (7 + 6, 5 + 10));
        assert_eq!((traffic.dropped["reply"], traffic.dropped["raw"]), (1, 1));
        assert_eq!(traffic.handshakes["budget"], 1);
        assert_eq!((traffic.verify.count, traffic.verify.counts[1]), (2, 1));
        assert_eq!(traffic.verify.counts.len(), traffic.verify.bounds.len() + 1);
        for (place, class) in Class::ALL.iter().enumerate() {
            assert_eq!(*class as usize, place);
        }
        for (place, (what, _)) in INBOUND.iter().enumerate() {
            assert_eq!(*what as usize, place);
        }
    }
}
