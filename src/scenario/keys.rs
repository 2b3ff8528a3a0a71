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
    Kind(&'static [Kind]),
    /// A table with these keys.
    Table(&'static [Key]),
    /// At most so many tables with these keys.
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

/// A kind of faults or of latencies, and the keys that tables of this kind have.
pub(super) struct Kind {
    pub name: &'static str,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
    /// What it is, in the schema. Kinds with the same text share an entry.
    pub about: &'static str,
}

/// Describes kinds: each with its required and its optional keys, and what it is.
macro_rules! kinds {
    ($table:ident: $($name:literal: $required:expr, $optional:expr $(, $about:expr)?;)*) => {
        pub(super) const $table: &[Kind] = &[$(Kind {
            name: $name,
            required: &$required,
            optional: &$optional,
            about: [$($about,)? ""][0],
        }),*];
    };
}

impl Kind {
    /// The keys of this kind in their order, but for those that all kinds have.
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
    name: Json(NAME), Required("name = \"three-liars\""), "What it is called.";
    about: Json(ABOUT), Default(""), "One line for people.";
    seed: Whole(0, u64::MAX), Default("1"),
        "Seed of a simulated run; chooses whom faults strike, in both worlds.";
    duration: TIME, Default("0s"),
        "How long the run lasts at the least, before the liveness phase.";
    settle: Span(MS, DAY), Default("10s"),
        "The bound of the liveness phase: so long after the last message and fault, everything \
         must be everywhere.";
    verdict: Words(words::<Verdict>), Default("pass"),
        "The verdict that is expected; meeting it is exit code 0.";
    crypto: Words(words::<Cryptography>), Default("real"),
        "Whether signatures are made and checked, or modelled, for the largest simulated runs.";
    mesh: Table(MESH), Required("a table [mesh] with nodes = 10"), "The nodes.";
    net: Table(NET), Optional,
        "The network under the links. The simulator models it; real processes say what they \
         cannot.";
    store: Table(STORE), Optional, "The nodes' stores; simulated only.";
    cpu: Table(CPU), Optional,
        "The nodes' processors; simulated only. Without it nothing costs processor time.";
    malicious: Tables(MALICIOUS, 1024), Optional,
        "Who lies, and how. Nodes that are named lie where they are, the others are the last ones; \
         at least one node is honest.";
    fault: Tables(FAULT, 64), Optional, "What goes wrong, and when.";
    load: Tables(LOAD, 64), Optional,
        "Messages that are published, in turn by the publishers, at a fixed rate. Without count or \
         until, to the end of the scenario's duration.";
    expect: Tables(EXPECT, 1024), Optional, "Limits on the report's numbers.";
}

keys! { MESH:
    nodes: Whole(1, NODES), Either("nodes = 10 (or f = 3, for 3f+1 nodes)"),
        "How many, liars included.";
    f: Whole(0, (NODES - 1) / 3), Either(""), "3f + 1 nodes.";
    links: Whole(1, 64), Optional,
        "Links that each node chooses for itself; the node's own default without it.";
    start: Words(words::<Start>), Default("linked"),
        "Whether times count from when all honest nodes are linked, or from the first start.";
}

keys! { NET:
    latency: Latency, Default("1ms"), "One way, drawn once for each pair of nodes; at most 60s.";
    jitter: MINUTE, Default("0s"),
        "Added to each frame, uniform from nothing up to this; at most 60s.";
    loss: Chance, Default("0"), "Chance that a segment is lost and sent again; simulated only.";
    duplicate: Chance, Default("0"), "Chance that a segment comes twice; simulated only.";
    reorder: Chance, Default("0"),
        "Chance that a segment is overtaken by later ones; simulated only.";
    bandwidth: BANDWIDTH, Optional,
        "Bytes a second that each direction of a link takes; no limit without it.";
}

// A store of less than 4096 bytes could not hold what a lane needs for one long batch.
keys! { STORE:
    max_bytes: Whole(4096, 1 << 62), Optional,
        "Bytes of payloads that each keeps, shared among the authors; no limit without it.";
}

keys! { CPU:
    check: Span(Duration::from_micros(1), Duration::from_secs(1)), Optional,
        "What a signature check takes one of two workers, from 1us to 1s.";
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
        "Half below the median; above it each doubling is half as likely, up to max.";
    "regions": ["names", "matrix"], [],
        "Node i belongs to region i mod the number of regions; the matrix is square.";
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
        "Segments to and from those selected, all without it, are lost; simulated only.";
    "delay": ["until", "by"], ["select"],
        "Frames to and from those selected, all without it, take so much longer; at most 60s.";
    "cap": ["until", "bandwidth"], ["select"],
        "Links of those selected, all without it, take no more bytes a second.";
    "kill": ["select"], ["until"],
        "The process dies; it starts again at `until`, and without it never.";
    "restart": ["select"], ["down"],
        "The process dies and starts again after `down`, 1s without it.";
    "pause": ["until", "select"], [], "The process stands still.";
    "churn": ["select"], ["until", "every", "down"],
        "Every so often, 1s without it, one of those selected dies and starts again after `down`, \
         1s without it; until the scenario's duration is over, without `until`.";
    "disk-full": ["until", "select"], [], DISK;
    "rot": ["rows", "select"], [],
        "One bit flips in each of so many rows of the store; simulated only.";
    "wipe": ["until", "select"], [], DISK;
}
const CUT: &str = "Nothing passes between those selected and the others, or (isolate) anybody.";
const DISK: &str = "Nothing can be written to the disk (simulated only); or the process dies, loses its disk, and starts again.";

keys! { SELECT:
    count: COUNT, Either("count = 1, fraction = 0.4 or nodes = [\"n7\"]");
    fraction: Chance, Either("");
    nodes: Defined("names"), Either("");
    of: Words(words::<Among>), Optional;
}

keys! { LOAD:
    rate: Json(RATE), Required("rate = 50 (messages a second)"),
        "Messages a second, all publishers together; at least one a day.";
    count: Whole(1, MAX_MESSAGES), Optional, "How many.";
    from: TIME, Default("0s");
    until: TIME, Optional;
    size: Whole(0, MAX_PAYLOAD as u64), Default("256"), "Bytes of each payload.";
    publishers: Publishers, Default("honest"),
        "Every honest node, the first few of them, or these, which must be honest.";
}

keys! { PUBLISHERS:
    count: Whole(1, NODES), Required("count = 3");
}

keys! { EXPECT:
    metric: Words(metrics), Required("metric = \"delivery.ratio\""),
        "A number's dotted path in report.json.";
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
