//! Reads the network under the links.

use std::time::Duration;

use super::error::{Wrong, shown, wrong};
use super::keys::Key;
use super::section::{Read, Section, list};
use super::tree::{Located, Value};
use super::{Latency, Net, keys};

const MAX_REGIONS: usize = 32;
const MAX_NAME: usize = 64;

pub(super) fn net(top: &Section<'_>) -> Result<Net, Wrong> {
    let net = top.table("net")?;
    Ok(Net {
        latency: net.need("latency")?,
        jitter: net.need("jitter")?,
        loss: net.need("loss")?,
        duplicate: net.need("duplicate")?,
        reorder: net.need("reorder")?,
        bandwidth: net.get("bandwidth")?,
    })
}

impl Read for Latency {
    fn read(key: &Key, from: &Located) -> Result<Self, Wrong> {
        match from.value {
            Value::Text(_) | Value::Whole(_) => {
                Ok(Self::Constant(Read::read(&Key { takes: keys::MINUTE, ..*key }, from)?))
            }
            Value::Table(_) => latency(&Section::open(from, key.name, keys::LATENCY)?),
            _ => {
                let why = "`latency` must be a duration or a table, as in { kind = \"uniform\", min, max }";
                wrong(from.at, format!("{why}, not {}", from.what()))
            }
        }
    }
}

fn latency(table: &Section<'_>) -> Result<Latency, Wrong> {
    Ok(match table.kind(&[])?.name {
        "uniform" => {
            let (min, max) = ordered(table, "min", "max")?;
            Latency::Uniform { min, max }
        }
        "normal" => Latency::Normal { mean: table.need("mean")?, sd: table.need("sd")? },
        "long-tailed" => {
            let (median, max) = ordered(table, "median", "max")?;
            Latency::LongTailed { median, max }
        }
        _ => regions(table)?,
    })
}

fn ordered(table: &Section<'_>, low: &str, high: &str) -> Result<(Duration, Duration), Wrong> {
    let (less, more): (Duration, Duration) = (table.need(low)?, table.need(high)?);
    if less <= more {
        return Ok((less, more));
    }
    wrong(table.place(high), format!("`{high}` must not be less than `{low}`"))
}

fn regions(table: &Section<'_>) -> Result<Latency, Wrong> {
    let Some(list) = table.given("names") else { return table.missing("names") };
    let mut names: Vec<String> = Vec::new();
    for entry in entries("names", list)? {
        let name = String::read(table.key("names"), entry)?;
        let sound =
            !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        if !sound || names.contains(&name) {
            let why = format!("`names`: `{}` is empty, too long or listed twice", shown(&name));
            return wrong(entry.at, why);
        }
        names.push(name);
    }
    let Some(square) = table.given("matrix") else { return table.missing("matrix") };
    let key = Key { takes: keys::MINUTE, ..*table.key("matrix") };
    let mut matrix = Vec::new();
    for row in entries("matrix", square)? {
        let cells = entries("matrix", row)?;
        if cells.len() != names.len() {
            let (many, regions) = (cells.len(), names.len());
            let why =
                format!("`matrix` must be square: a row has {many} entries for {regions} regions");
            return wrong(row.at, why);
        }
        let cells = cells.iter().map(|cell| Read::read(&key, cell));
        matrix.push(cells.collect::<Result<Vec<_>, _>>()?);
    }
    if matrix.len() != names.len() {
        let (rows, regions) = (matrix.len(), names.len());
        let why = format!("`matrix` must be square: it has {rows} rows for {regions} regions");
        return wrong(square.at, why);
    }
    Ok(Latency::Regions { names, matrix })
}

fn entries<'a>(key: &str, from: &'a Located) -> Result<&'a [Located], Wrong> {
    match &from.value {
        Value::List(entries) if (1..=MAX_REGIONS).contains(&entries.len()) => Ok(entries),
        Value::List(_) => wrong(from.at, format!("`{key}` must have 1 to {MAX_REGIONS} entries")),
        _ => wrong(from.at, format!("{} must hold lists, not {}", list(&[key]), from.what())),
    }
}
