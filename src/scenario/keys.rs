//! Every key of the file format: its type and bounds, its default or an example, what it is for.
//! The reader and the JSON Schema follow from these tables.

use std::time::Duration;

use super::quantity::{DAY, MAX_NODES};
use super::word::words;
use super::{Among, Cryptography, Start, Verdict, metrics};
use crate::wire::limits::MAX_PAYLOAD;
use Takes::{
    Chance, Defined, Json, Latency, Number, Publishers, Shared, Span, Table, Tables, Whole, Words,
};
use Without::{Default, Either, Optional, Required};

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// A whole number, from the first to the second.
    Whole(u64, u64),
    /// The same, under a name among the schema's definitions.
    Shared(&'static str, u64, u64),
    /// A duration, from the first to the second.
    Span(Duration, Duration),
    /// A number from 0 to 1.
    Chance,
    /// A finite number.
    Number,
    /// One of some words.
    Words(fn() -> Vec<String>),
    /// The name of one of these kinds.
    Kind(&'static [TableKind]),
    /// A table with these keys.
    Table(&'static [Key]),
    /// Tables with these keys, at most this many.
    Tables(&'static [Key], usize),
    Latency,
    Publishers,
    /// What the schema has among its definitions under this name.
    Defined(&'static str),
    /// What this JSON Schema describes.
    Json(&'static str),
}

/// A key of a table.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    pub without: Without,
    /// What it is for, in the schema.
    pub about: &'static str,
}

/// What a table without the key means. Examples are for the error that it is missing.
#[derive(Clone, Copy)]
pub(super) enum Without {
    /// What the model says of a value that is `None`.
    Optional,
    /// This value, in TOML; quotes around a string may be missing.
    Default(&'static str),
    /// An error, with this example.
    Required(&'static str),
    /// The same, unless there is another of the table's keys that exclude each other.
    Either(&'static str),
}

impl Key {
    pub(super) fn required(&self) -> bool {
        matches!(self.without, Without::Required(_))
    }

    /// Whether it is one of the table's keys that exclude each other.
    pub(super) fn excludes(&self) -> bool {
        matches!(self.without, Without::Either(_))
    }
}

/// Describes a table: each key with what it takes, what a table without it means, and what it is
/// for.
macro_rules! keys {
    ($table:ident: $($name:ident: $takes:expr, $without:expr $(, $about:literal)?;)*) => {
        pub(super) const $table: &[Key] = &[$(Key {
            name: stringify!($name),
            takes: $takes,
            without: $without,
            about: concat!($($about)?),
        }),*];
    };
}

/// A kind of fault or latency, and the keys that tables of this kind have.
pub(super) struct TableKind {
    pub name: &'static str,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
    /// What it is, in the schema. Kinds with the same text share an entry.
    pub about: &'static str,
}

/// Describes kinds: each with its required and its optional keys, and what it is.
macro_rules! kinds {
    ($table:ident: $($name:literal: $required:expr, $optional:expr $(, $about:expr)?;)*) => {
        pub(super) const $table: &[TableKind] = &[$(TableKind {
            name: $name,
            required: &$required,
            optional: &$optional,
            about: [$($about,)? ""][0],
        }),*];
    };
}

impl TableKind {
    /// The keys of this kind, in order, without those that all kinds have.
    pub(super) fn params(&self, common: &[&str]) -> Vec<&'static str> {
        let keys = self.required.iter().chain(self.optional).copied();
        keys.filter(|key| !common.contains(key)).collect()
    }
}

/// The names of all kinds of faults.
pub fn fault_kinds() -> Vec<&'static str> {
    FAULTS.iter().map(|kind| kind.name).collect()
}

const NODES: u64 = MAX_NODES as u64;
const MS: Duration = Duration::from_millis(1);
const TIME: Takes = Span(Duration::ZERO, DAY);
/// A latency, a jitter or a delay.
pub(super) const MINUTE: Takes = Span(Duration::ZERO, Duration::from_secs(60));
pub(super) const COUNT: Takes = Shared("count", 0, NODES);
/// Bytes per second, at most a terabyte.
pub(super) const BANDWIDTH: Takes = Shared("bandwidth", 1, 1_000_000_000_000);
/// Maximum number of messages in a run.
pub(super) const MAX_MESSAGES: u64 = 10_000_000;

// Keys at the top level of the file.
keys! { TOP:
    name: Json(NAME), Required("name = \"three-liars\""), "The name of the scenario.";
    about: Json(ABOUT), Default(""), "Description in one line.";
    seed: Whole(0, u64::MAX), Default("1"),
        "Seed of a simulated run. It also chooses the nodes that faults strike, in simulated and real runs.";
    duration: TIME, Default("0s"),
        "Minimum duration of the run before the liveness phase.";
    settle: Span(MS, DAY), Default("10s"),
        "Length of the liveness phase: this long after the last message and fault, every message must be at every honest node.";
    verdict: Words(words::<Verdict>), Default("pass"),
        "The expected verdict; a run with this verdict exits with code 0.";
    crypto: Words(words::<Cryptography>), Default("real"),
        "Whether signatures are real, or modelled (for the largest simulated runs).";
    mesh: Table(MESH), Required("a table [mesh] with nodes = 10"), "The nodes.";
    net: Table(NET), Optional,
        "The network under the links. The simulator models all of it; a run of real processes reports what it cannot model.";
    store: Table(STORE), Optional, "The nodes' stores; simulated only.";
    cpu: Table(CPU), Optional,
        "The nodes' processors; simulated only. Default: nothing costs processor time.";
    malicious: Tables(MALICIOUS, 1024), Optional,
        "Which nodes lie, and how. Liars given by count or fraction are the last nodes. At least one node is honest.";
    fault: Tables(FAULT, 64), Optional, "Faults, and when they happen.";
    load: Tables(LOAD, 64), Optional,
        "Messages that the publishers publish in turn, at a fixed rate. Without count or until, this goes on to the end of the scenario's duration.";
    expect: Tables(EXPECT, 1024), Optional, "Limits on numbers of the report.";
}

keys! { MESH:
    nodes: Whole(1, NODES), Either("nodes = 10 (or f = 3, for 3f+1 nodes)"),
        "Number of nodes, liars included.";
    f: Whole(0, (NODES - 1) / 3), Either(""), "The mesh has 3f + 1 nodes.";
    links: Whole(1, 64), Optional,
        "Links that each node chooses for itself. Default: the node's own.";
    start: Words(words::<Start>), Default("linked"),
        "Whether times count from the moment when all honest nodes are linked, or from the first start.";
}

keys! { NET:
    latency: Latency, Default("1ms"), "One-way latency, drawn once for each pair of nodes; at most 60s.";
    jitter: MINUTE, Default("0s"),
        "Extra delay of each frame, uniform from 0 up to this; at most 60s.";
    loss: Chance, Default("0"), "Probability that a segment is lost and sent again; simulated only.";
    duplicate: Chance, Default("0"), "Probability that a segment arrives twice; simulated only.";
    reorder: Chance, Default("0"),
        "Probability that later segments overtake a segment; simulated only.";
    bandwidth: BANDWIDTH, Optional,
        "Bytes per second in each direction of a link. Default: no limit.";
}

// A store of less than 4096 bytes could not hold what a lane needs for one long batch.
keys! { STORE:
    max_bytes: Whole(4096, 1 << 62), Optional,
        "Bytes of payloads that each node keeps, shared among the authors. Default: no limit.";
}

keys! { CPU:
    check: Span(Duration::from_micros(1), Duration::from_secs(1)), Optional,
        "Time that a signature check takes on one of two workers, from 1us to 1s.";
}

// Keys of a latency table, with the parameters of every kind.
keys! { LATENCY:
    kind: Takes::Kind(LATENCIES), Required("kind = \"uniform\"");
    min: MINUTE, Required("min = \"20ms\"");
    max: MINUTE, Required("max = \"20ms\"");
    mean: MINUTE, Required("mean = \"20ms\"");
    sd: MINUTE, Required("sd = \"20ms\"");
    median: MINUTE, Required("median = \"20ms\"");
    names: Json(REGIONS), Required("names = [\"eu\", \"us\"]");
    matrix: Json(MATRIX), Required("matrix = [[\"1ms\", \"40ms\"], [\"40ms\", \"1ms\"]]");
}

kinds! { LATENCIES:
    "uniform": ["min", "max"], [];
    "normal": ["mean", "sd"], [];
    "long-tailed": ["median", "max"], [],
        "Half of the values are below the median; above it, each doubling is half as likely, up to max.";
    "regions": ["names", "matrix"], [],
        "Node i is in region i mod the number of regions. The matrix is square.";
}

keys! { MALICIOUS:
    count: COUNT, Either("count = 1, fraction = 0.3 or nodes = [\"n7\"]");
    fraction: Chance, Either("");
    nodes: Defined("names"), Either("");
    behave: Json(SPEC), Required("behave = \"drop\""),
        "A SPEC: behaviours joined by +, each KIND[:key=value…][@when], as in forge@after=2s.";
}

// Keys of a fault, with the parameters of every kind.
keys! { FAULT:
    kind: Takes::Kind(FAULTS), Required("kind = \"partition\"");
    at: TIME, Optional;
    until: TIME, Optional;
    select: Defined("select"), Required("select = { count = 1 }");
    p: Chance, Required("p = 0.1");
    by: MINUTE, Required("by = \"100ms\"");
    bandwidth: BANDWIDTH, Required("bandwidth = 100000 (bytes a second)");
    every: Span(MS, DAY), Optional;
    down: Span(MS, DAY), Optional;
    rows: Whole(1, 1_000_000), Required("rows = 10");
}

kinds! { FAULTS:
    "partition": ["until", "select"], [], CUT;
    "isolate": ["until", "select"], [], CUT;
    "loss": ["until", "p"], ["select"],
        "Segments to and from the selected nodes are lost with probability p; simulated only. Default: all nodes.";
    "delay": ["until", "by"], ["select"],
        "Frames to and from the selected nodes take longer by this; at most 60s. Default: all nodes.";
    "cap": ["until", "bandwidth"], ["select"],
        "Links of the selected nodes carry at most this many bytes per second. Default: all nodes.";
    "kill": ["select"], ["until"],
        "The process dies. It starts again at `until`; without `until`, never.";
    "restart": ["select"], ["down"],
        "The process dies and starts again after `down` (default 1s).";
    "pause": ["until", "select"], [], "The process is paused.";
    "churn": ["select"], ["until", "every", "down"],
        "After each `every` (default 1s), one of the selected nodes dies and starts again after `down` (default 1s). Without `until`, this goes on to the end of the scenario's duration.";
    "disk-full": ["until", "select"], [], DISK;
    "rot": ["rows", "select"], [],
        "One bit flips in each of this many rows of the store; simulated only.";
    "wipe": ["until", "select"], [], DISK;
}
const CUT: &str = "Nothing passes between the selected nodes and the others; with isolate, nothing passes to or from a selected node.";
const DISK: &str = "disk-full: nothing can be written to the disk (simulated only). wipe: the process dies, loses its disk, and starts again.";

keys! { SELECT:
    count: COUNT, Either("count = 1, fraction = 0.4 or nodes = [\"n7\"]");
    fraction: Chance, Either("");
    nodes: Defined("names"), Either("");
    of: Words(words::<Among>), Optional;
}

keys! { LOAD:
    rate: Json(RATE), Required("rate = 50 (messages a second)"),
        "Messages per second, all publishers together; at least one a day.";
    count: Whole(1, MAX_MESSAGES), Optional, "Number of messages.";
    from: TIME, Default("0s");
    until: TIME, Optional;
    size: Whole(0, MAX_PAYLOAD as u64), Default("256"), "Size of each payload in bytes.";
    publishers: Publishers, Default("honest"),
        "Every honest node, the first `count` of them, or the named nodes, which must be honest.";
}

keys! { PUBLISHERS:
    count: Whole(1, NODES), Required("count = 3");
}

keys! { EXPECT:
    metric: Words(metrics), Required("metric = \"delivery.ratio\""),
        "The dotted path of a number in report.json.";
    at_least: Number, Either("at_least, at_most or equals, as in at_least = 1.0");
    at_most: Number, Either("");
    equals: Number, Either("");
}

const NAME: &str = r#"{ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" }"#;
const ABOUT: &str = r#"{ "type": "string", "maxLength": 200 }"#;
const SPEC: &str = r#"{ "type": "string", "minLength": 1 }"#;
const RATE: &str = r#"{ "type": "number", "exclusiveMinimum": 0, "maximum": 1000000 }"#;
const REGIONS: &str = r#"{
    "type": "array", "minItems": 1, "maxItems": 32, "uniqueItems": true,
    "items": { "type": "string", "minLength": 1, "maxLength": 64 }
}"#;
const MATRIX: &str = r##"{
    "type": "array", "minItems": 1, "maxItems": 32, "items": {
        "type": "array", "minItems": 1, "maxItems": 32, "items": { "$ref": "#/$defs/duration" }
    }
}"##;
