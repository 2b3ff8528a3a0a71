//! Reads the faults.

use std::time::Duration;

use super::error::{At, Wrong, wrong};
use super::keys::TableKind;
use super::quantity::span;
use super::section::Section;
use super::select::{Liars, who};
use super::word::Word;
use super::{Among, Fault, FaultKind, Ppm, Select, Who, keys};

/// Maximum number of fault events in a run.
const MAX_STRIKES: u128 = 10_000_000;
/// How long a node is down, and the time between two kills, by default.
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn faults(
    top: &Section<'_>,
    liars: &Liars,
    duration: Duration,
) -> Result<Vec<Fault>, Wrong> {
    let mut faults = Vec::new();
    let mut strikes = 0;
    for section in top.tables("fault")? {
        let section = section?;
        let fault = fault(&section, liars, duration)?;
        strikes += weight(&fault, liars, duration);
        if strikes > MAX_STRIKES {
            let why = format!("the faults strike nodes more than {MAX_STRIKES} times in total");
            return wrong(section.at, why);
        }
        faults.push(fault);
    }
    Ok(faults)
}

fn weight(fault: &Fault, liars: &Liars, duration: Duration) -> u128 {
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
        | FaultKind::Wipe => 2 * fault.select.who.count(among(liars, fault.select.of)) as u128,
        _ => 2,
    }
}

fn among(liars: &Liars, of: Among) -> usize {
    match of {
        Among::All => liars.lies.len(),
        Among::Honest => liars.honest,
        Among::Malicious => liars.lies.len() - liars.honest,
    }
}

fn fault(section: &Section<'_>, liars: &Liars, duration: Duration) -> Result<Fault, Wrong> {
    let kind = section.kind(&["at", "select"])?;
    let at = section.get("at")?.unwrap_or_default();
    let until = until(section, kind, at, duration)?;
    let down = || Ok(section.get("down")?.unwrap_or(SECOND));
    let what = match kind.name {
        "partition" => FaultKind::Partition,
        "isolate" => FaultKind::Isolate,
        "loss" => FaultKind::Loss(section.need("p")?),
        "delay" => FaultKind::Delay(section.need("by")?),
        "cap" => FaultKind::Cap(section.need("bandwidth")?),
        "kill" => FaultKind::Kill,
        "restart" => FaultKind::Restart(down()?),
        "pause" => FaultKind::Pause,
        "disk-full" => FaultKind::DiskFull,
        "wipe" => FaultKind::Wipe,
        "rot" => FaultKind::Rot(section.need("rows")?),
        _ => {
            let every = section.get("every")?.unwrap_or(SECOND);
            FaultKind::Churn { every, down: down()? }
        }
    };
    Ok(Fault { kind: what, at, until, select: select(section, kind, liars)? })
}

fn until(
    section: &Section<'_>,
    kind: &TableKind,
    from: Duration,
    duration: Duration,
) -> Result<Option<Duration>, Wrong> {
    match section.get("until")? {
        Some(until) if until <= from => {
            let why = format!("`until` must be after `at`, which is {}", span(from));
            wrong(section.place("until"), why)
        }
        None if kind.required.contains(&"until") || kind.name == "churn" && duration <= from => {
            section.lacks("until", &format!("until = \"{}\"", span(from + 5 * SECOND)))
        }
        until => Ok(until),
    }
}

fn select(section: &Section<'_>, kind: &TableKind, liars: &Liars) -> Result<Select, Wrong> {
    let Some(from) = section.given("select") else {
        if kind.required.contains(&"select") {
            return section.missing("select");
        }
        return Ok(Select { who: Who::Fraction(Ppm::ONE), of: Among::All });
    };
    let table = Section::open(from, "select", keys::SELECT)?;
    let of = table.get("of")?;
    let (key, at, who) = who(&table, liars.lies.len())?;
    let links = ["partition", "isolate", "loss", "delay", "cap"].contains(&kind.name);
    let of = match (&who, of) {
        (Who::Nodes(_), Some(_)) => {
            return wrong(from.at, "`of` goes with `count` or `fraction`, not with `nodes`");
        }
        (Who::Nodes(_), None) => Among::All,
        (_, Some(of)) => of,
        (_, None) => {
            if links {
                Among::All
            } else {
                Among::Honest
            }
        }
    };
    possible(kind.name, key, at, &who, (of, among(liars, of)), liars)?;
    Ok(Select { who, of })
}

/// Refuses faults that select no node or more nodes than exist, and partitions with an empty side.
fn possible(
    kind: &str,
    key: &str,
    at: At,
    who: &Who,
    (of, there): (Among, usize),
    liars: &Liars,
) -> Result<(), Wrong> {
    let struck = who.count(there);
    let kin = if of == Among::All { "nodes".to_owned() } else { format!("{} nodes", of.word()) };
    if struck > there {
        return wrong(at, format!("`{key}` selects {struck} of {there} {kin}"));
    }
    if struck == 0 {
        return wrong(at, format!("`{key}` selects none of {there} {kin}; select at least one"));
    }
    if kind == "partition" && struck == liars.lies.len() {
        let why = format!("`{key}` selects all nodes; a partition needs nodes on both sides");
        return wrong(at, why);
    }
    Ok(())
}
