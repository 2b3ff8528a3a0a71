//! Reads the network under the links, the stores and the processors.

use std::time::Duration;

use super::error::{Wrong, shown, wrong};
use super::section::{Found, Section, list, text, time, value};
use super::tree::{Kind, Node};
use super::{CpuShape, Latency, Net, StoreShape, keys};

/// Maximum latency, jitter and delay.
pub(super) const MAX_LATENCY: Duration = Duration::from_secs(60);
/// Maximum bandwidth: a terabyte per second.
pub(super) const MAX_BANDWIDTH: u64 = 1_000_000_000_000;
/// Minimum size of a store: a smaller one could not hold what a lane needs for one long batch.
const MIN_STORE: u64 = 4096;
/// Maximum size of a store: 2^62 bytes.
const MAX_STORE: u64 = 1 << 62;
/// The shortest and the longest signature check.
const CHECK: (Duration, Duration) = (Duration::from_micros(1), Duration::from_secs(1));
const MAX_REGIONS: usize = 32;
const MAX_NAME: usize = 64;
const UP_TO: (Duration, Duration) = (Duration::ZERO, MAX_LATENCY);

impl Default for Net {
    /// A good local network: 1 ms one-way latency, no jitter, no loss, no bandwidth limit.
    fn default() -> Self {
        Self {
            latency: Latency::Constant(Duration::from_millis(1)),
            jitter: Duration::ZERO,
            loss: Default::default(),
            duplicate: Default::default(),
            reorder: Default::default(),
            bandwidth: None,
        }
    }
}

pub(super) fn net(top: &Section<'_>) -> Result<Net, Wrong> {
    let default = Net::default();
    let Some(node) = top.get("net") else { return Ok(default) };
    let net = Section::open(node, "[net]", keys::NET)?;
    Ok(Net {
        latency: net.get("latency").map_or(Ok(default.latency), latency)?,
        jitter: net.span("jitter", UP_TO)?.map_or(default.jitter, value),
        loss: net.chance("loss")?.map_or(default.loss, value),
        duplicate: net.chance("duplicate")?.map_or(default.duplicate, value),
        reorder: net.chance("reorder")?.map_or(default.reorder, value),
        bandwidth: net.whole("bandwidth", 1, MAX_BANDWIDTH)?.map(value),
    })
}

pub(super) fn store(top: &Section<'_>) -> Result<StoreShape, Wrong> {
    let Some(node) = top.get("store") else { return Ok(StoreShape::default()) };
    let store = Section::open(node, "[store]", keys::STORE)?;
    Ok(StoreShape { max_bytes: store.whole("max_bytes", MIN_STORE, MAX_STORE)?.map(value) })
}

pub(super) fn cpu(top: &Section<'_>) -> Result<CpuShape, Wrong> {
    let Some(node) = top.get("cpu") else { return Ok(CpuShape::default()) };
    let cpu = Section::open(node, "[cpu]", keys::CPU)?;
    Ok(CpuShape { check: cpu.span("check", CHECK)?.map(value) })
}

fn latency(node: &Node) -> Result<Latency, Wrong> {
    if matches!(node.kind, Kind::Text(_) | Kind::Whole(_)) {
        return Ok(Latency::Constant(time("latency", node, UP_TO.0, UP_TO.1)?.value));
    }
    if !matches!(node.kind, Kind::Table(_)) {
        let why = "`latency` is a duration or a table, as in { kind = \"uniform\", min, max }";
        return wrong(node.at, format!("{why}, not {}", node.what()));
    }
    let table = Section::open(node, "latency", keys::LATENCY)?;
    let kinds: Vec<_> =
        keys::LATENCIES.iter().map(|(kind, params)| (*kind, (*kind, *params))).collect();
    let Some((kind, params)) = table.word("kind", &kinds)? else {
        return table.missing("kind", "kind = \"uniform\"");
    };
    table.only(kind, &["kind"], params, &keys::LATENCIES)?;
    let span = |key: &'static str| match table.span(key, UP_TO)? {
        Some(found) => Ok(found),
        None => table.missing(key, &format!("{key} = \"20ms\"")),
    };
    match kind {
        "uniform" => {
            let (min, max) = (span("min")?, span("max")?);
            ordered("min", &min, "max", &max)?;
            Ok(Latency::Uniform { min: min.value, max: max.value })
        }
        "normal" => Ok(Latency::Normal { mean: span("mean")?.value, sd: span("sd")?.value }),
        "long-tailed" => {
            let (median, max) = (span("median")?, span("max")?);
            ordered("median", &median, "max", &max)?;
            Ok(Latency::LongTailed { median: median.value, max: max.value })
        }
        _ => regions(&table),
    }
}

fn ordered(
    low: &str,
    less: &Found<Duration>,
    high: &str,
    more: &Found<Duration>,
) -> Result<(), Wrong> {
    if less.value <= more.value {
        return Ok(());
    }
    wrong(more.at, format!("`{high}` is less than `{low}`; it is at least as much"))
}

fn regions(table: &Section<'_>) -> Result<Latency, Wrong> {
    let Some(node) = table.get("names") else {
        return table.missing("names", "names = [\"eu\", \"us\"]");
    };
    let mut names: Vec<String> = Vec::new();
    for entry in entries("names", node)? {
        let name = text("names", entry)?;
        let sound = !name.value.is_empty()
            && name.value.len() <= MAX_NAME
            && !name.value.chars().any(char::is_control);
        if !sound || names.iter().any(|other| other == name.value) {
            let why = format!("`names`: `{}` is empty, too long or there twice", shown(name.value));
            return wrong(name.at, why);
        }
        names.push(name.value.to_owned());
    }
    let Some(square) = table.get("matrix") else {
        return table.missing("matrix", "matrix = [[\"1ms\", \"40ms\"], [\"40ms\", \"1ms\"]]");
    };
    let mut matrix = Vec::new();
    for row in entries("matrix", square)? {
        let cells = entries("matrix", row)?;
        if cells.len() != names.len() {
            let (many, regions) = (cells.len(), names.len());
            let why = format!("`matrix` is not square: a row of {many} for {regions} regions");
            return wrong(row.at, why);
        }
        let cells = cells.iter().map(|cell| time("matrix", cell, UP_TO.0, UP_TO.1).map(value));
        matrix.push(cells.collect::<Result<Vec<_>, _>>()?);
    }
    if matrix.len() != names.len() {
        let (rows, regions) = (matrix.len(), names.len());
        let why = format!("`matrix` is not square: {rows} rows for {regions} regions");
        return wrong(square.at, why);
    }
    Ok(Latency::Regions { names, matrix })
}

fn entries<'a>(key: &str, node: &'a Node) -> Result<&'a [Node], Wrong> {
    match &node.kind {
        Kind::List(entries) if (1..=MAX_REGIONS).contains(&entries.len()) => Ok(entries),
        Kind::List(_) => wrong(node.at, format!("`{key}` has 1 to {MAX_REGIONS} entries")),
        _ => wrong(node.at, format!("{} holds lists, not {}", list(&[key]), node.what())),
    }
}
