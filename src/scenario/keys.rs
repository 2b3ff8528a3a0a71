//! Every key of the file format: what the reader accepts and the JSON Schema describes.

/// Keys at the top level of the file.
pub(super) const TOP: &[&str] = &[
    "name",
    "about",
    "seed",
    "duration",
    "settle",
    "verdict",
    "crypto",
    "mesh",
    "net",
    "store",
    "cpu",
    "malicious",
    "fault",
    "load",
    "expect",
];
pub(super) const MESH: &[&str] = &["nodes", "f", "links", "start"];
pub(super) const NET: &[&str] = &["latency", "jitter", "loss", "duplicate", "reorder", "bandwidth"];
pub(super) const STORE: &[&str] = &["max_bytes"];
pub(super) const CPU: &[&str] = &["check"];
/// Keys of a latency table, with the parameters of every kind.
pub(super) const LATENCY: &[&str] =
    &["kind", "min", "max", "mean", "sd", "median", "names", "matrix"];
pub(super) const MALICIOUS: &[&str] = &["count", "fraction", "nodes", "behave"];
/// Keys of a fault, with the parameters of every kind.
pub(super) const FAULT: &[&str] =
    &["kind", "at", "until", "select", "p", "by", "bandwidth", "every", "down", "rows"];
pub(super) const SELECT: &[&str] = &["count", "fraction", "nodes", "of"];
pub(super) const LOAD: &[&str] = &["rate", "count", "from", "until", "size", "publishers"];
pub(super) const PUBLISHERS: &[&str] = &["count"];
pub(super) const EXPECT: &[&str] = &["metric", "at_least", "at_most", "equals"];

/// The parameters of each kind of latency, all of them required.
pub(super) const LATENCIES: [(&str, &[&str]); 4] = [
    ("uniform", &["min", "max"]),
    ("normal", &["mean", "sd"]),
    ("long-tailed", &["median", "max"]),
    ("regions", &["names", "matrix"]),
];

/// The parameters of each kind of fault besides `kind`, `at` and `select`.
pub(super) const FAULTS: [(&str, &[&str]); 12] = [
    ("partition", &["until"]),
    ("isolate", &["until"]),
    ("loss", &["until", "p"]),
    ("delay", &["until", "by"]),
    ("cap", &["until", "bandwidth"]),
    ("kill", &["until"]),
    ("restart", &["down"]),
    ("pause", &["until"]),
    ("churn", &["until", "every", "down"]),
    ("disk-full", &["until"]),
    ("rot", &["rows"]),
    ("wipe", &["until"]),
];
