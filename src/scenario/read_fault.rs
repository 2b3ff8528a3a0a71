//! Reads the faults.

use std::time::Duration;

use super::error::{At, Wrong, wrong};
use super::quantity::{DAY, span};
use super::read_net::{MAX_BANDWIDTH, MAX_LATENCY};
use super::section::{Section, value};
use super::select::{Cast, who};
use super::tree::Node;
use super::{Among, Fault, FaultKind, Ppm, Select, Who, keys};

const MAX_FAULTS: usize = 64;
/// Maximum number of fault events in a run.
const MAX_STRIKES: u128 = 10_000_000;
/// Maximum number of rows that rot at once.
const MAX_ROWS: u64 = 1_000_000;
const DEFAULT_DOWN: Duration = Duration::from_secs(1);
const DEFAULT_EVERY: Duration = Duration::from_secs(1);
/// Minimum time that a node is down, and between two kills.
const SHORTEST: Duration = Duration::from_millis(1);
const AMONG: [(&str, Among); 3] =
    [("all", Among::All), ("honest", Among::Honest), ("malicious", Among::Malicious)];

pub(super) fn faults(
    top: &Section<'_>,
    cast: &Cast,
    duration: Duration,
) -> Result<Vec<Fault>, Wrong> {
    let mut faults = Vec::new();
    let mut strikes = 0;
    for node in top.list("fault", MAX_FAULTS)? {
        let fault = fault(node, cast, duration)?;
        strikes += weight(&fault, cast, duration);
        if strikes > MAX_STRIKES {
            let why = format!("faults strike nodes more than {MAX_STRIKES} times in all");
            return wrong(node.at, why);
        }
        faults.push(fault);
    }
    Ok(faults)
}

fn weight(fault: &Fault, cast: &Cast, duration: Duration) -> u128 {
    match fault.kind {
        FaultKind::Churn { every, .. } => {
            let length = fault.until.unwrap_or(duration).saturating_sub(fault.at);
            2 * (length.as_nanos() / every.as_nanos().max(1) + 1)
        }
        FaultKind::Kill
        | FaultKind::Restart(_)
        | FaultKind::Pause
        | FaultKind::DiskFull
        | FaultKind::Rot(_)
        | FaultKind::Wipe => 2 * fault.select.who.count(among(cast, fault.select.of)) as u128,
        _ => 2,
    }
}

fn among(cast: &Cast, of: Among) -> usize {
    match of {
        Among::All => cast.lies.len(),
        Among::Honest => cast.honest,
        Among::Malicious => cast.lies.len() - cast.honest,
    }
}

fn fault(node: &Node, cast: &Cast, duration: Duration) -> Result<Fault, Wrong> {
    let section = Section::open(node, "[[fault]]", keys::FAULT)?;
    let kinds: Vec<_> =
        keys::FAULTS.iter().map(|(kind, params)| (*kind, (*kind, *params))).collect();
    let Some((name, params)) = section.word("kind", &kinds)? else {
        return section.missing("kind", "kind = \"partition\"");
    };
    section.only(name, &["kind", "at", "select"], params, &keys::FAULTS)?;
    let at = section.span("at", (Duration::ZERO, DAY))?.map_or(Duration::ZERO, value);
    let until = until(&section, name, at, duration)?;
    let kind = kind(&section, name)?;
    let select = select(&section, name, cast)?;
    Ok(Fault { kind, at, until, select })
}

fn until(
    section: &Section<'_>,
    kind: &str,
    from: Duration,
    duration: Duration,
) -> Result<Option<Duration>, Wrong> {
    match section.span("until", (Duration::ZERO, DAY))? {
        Some(until) if until.value <= from => {
            let why = format!("`until` is not after `at`, which is {}", span(from));
            wrong(until.at, why)
        }
        Some(until) => Ok(Some(until.value)),
        None if ["kill", "restart", "rot"].contains(&kind) => Ok(None),
        None if kind == "churn" && duration > from => Ok(None),
        None => {
            let example = format!("until = \"{}\"", span(from + Duration::from_secs(5)));
            section.missing("until", &example)
        }
    }
}

fn kind(section: &Section<'_>, name: &str) -> Result<FaultKind, Wrong> {
    let down = || Ok(section.span("down", (SHORTEST, DAY))?.map_or(DEFAULT_DOWN, value));
    Ok(match name {
        "partition" => FaultKind::Partition,
        "isolate" => FaultKind::Isolate,
        "loss" => match section.chance("p")? {
            Some(p) => FaultKind::Loss(p.value),
            None => return section.missing("p", "p = 0.1"),
        },
        "delay" => match section.span("by", (Duration::ZERO, MAX_LATENCY))? {
            Some(by) => FaultKind::Delay(by.value),
            None => return section.missing("by", "by = \"100ms\""),
        },
        "cap" => match section.whole("bandwidth", 1, MAX_BANDWIDTH)? {
            Some(bandwidth) => FaultKind::Cap(bandwidth.value),
            None => return section.missing("bandwidth", "bandwidth = 100000 (bytes a second)"),
        },
        "kill" => FaultKind::Kill,
        "restart" => FaultKind::Restart(down()?),
        "pause" => FaultKind::Pause,
        "disk-full" => FaultKind::DiskFull,
        "wipe" => FaultKind::Wipe,
        "rot" => match section.whole("rows", 1, MAX_ROWS)? {
            Some(rows) => FaultKind::Rot(u32::try_from(rows.value).unwrap_or(u32::MAX)),
            None => return section.missing("rows", "rows = 10"),
        },
        _ => FaultKind::Churn {
            every: section.span("every", (SHORTEST, DAY))?.map_or(DEFAULT_EVERY, value),
            down: down()?,
        },
    })
}

fn select(section: &Section<'_>, kind: &str, cast: &Cast) -> Result<Select, Wrong> {
    let processes = !["partition", "isolate", "loss", "delay", "cap"].contains(&kind);
    let usual = if processes { Among::Honest } else { Among::All };
    let Some(node) = section.get("select") else {
        if ["loss", "delay", "cap"].contains(&kind) {
            return Ok(Select { who: Who::Fraction(Ppm::ONE), of: Among::All });
        }
        return section.missing("select", "select = { count = 1 }");
    };
    let table = Section::open(node, "select", keys::SELECT)?;
    let of = table.word("of", &AMONG)?;
    let Some((key, at, who)) = who(&table, cast.lies.len())? else {
        return table.missing("count", "count = 1, fraction = 0.4 or nodes = [\"n7\"]");
    };
    let of = match (&who, of) {
        (Who::Nodes(_), Some(_)) => {
            return wrong(node.at, "`nodes` says whom; `of` is for a count or a fraction");
        }
        (Who::Nodes(_), None) => Among::All,
        (_, of) => of.unwrap_or(usual),
    };
    possible(kind, key, at, &who, (of, among(cast, of)), cast)?;
    Ok(Select { who, of })
}

/// Refuses faults that select no node or more nodes than exist, and partitions with an empty side.
fn possible(
    kind: &str,
    key: &str,
    at: At,
    who: &Who,
    (of, there): (Among, usize),
    cast: &Cast,
) -> Result<(), Wrong> {
    let struck = who.count(there);
    let word = AMONG.iter().find(|(_, among)| *among == of).map_or("", |(word, _)| *word);
    let kin = if of == Among::All { "nodes".to_owned() } else { format!("{word} nodes") };
    if struck > there {
        return wrong(at, format!("`{key}` selects {struck} of {there} {kin}"));
    }
    if struck == 0 {
        return wrong(at, format!("`{key}` selects nobody of {there} {kin}; select at least one"));
    }
    if kind == "partition" && struck == cast.lies.len() {
        let why = format!("`{key}` selects everybody: a partition leaves some on each side");
        return wrong(at, why);
    }
    Ok(())
}
