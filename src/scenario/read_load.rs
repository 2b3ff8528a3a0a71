//! Reads the loads and the expectations.

use std::time::Duration;

use super::error::{At, Wrong, meant, shown, wrong};
use super::keys::{self, Key, MAX_MESSAGES, Takes};
use super::quantity::{DAY, every, span};
use super::section::{Read, Section};
use super::select::{Liars, names};
use super::tree::{Located, Value};
use super::{Expect, Limit, Load, Publishers, metrics};

/// Maximum number of messages per second.
const MAX_RATE: f64 = 1e6;

pub(super) fn loads(
    top: &Section<'_>,
    liars: &Liars,
    duration: Duration,
) -> Result<Vec<Load>, Wrong> {
    let mut loads = Vec::new();
    let mut messages = 0;
    for section in top.tables("load")? {
        let section = section?;
        let load = load(&section, liars, duration)?;
        messages += number(&section, &load, duration)?;
        if messages > u128::from(MAX_MESSAGES) {
            let why =
                format!("{messages} messages are too many; at most {MAX_MESSAGES} are allowed");
            return wrong(section.at, why);
        }
        loads.push(load);
    }
    Ok(loads)
}

fn load(section: &Section<'_>, liars: &Liars, duration: Duration) -> Result<Load, Wrong> {
    let rate: f64 = section.need("rate")?;
    let Some(every) = every(rate).filter(|_| rate <= MAX_RATE) else {
        let why =
            format!("`rate` must be at least one message a day and at most {MAX_RATE} a second");
        return wrong(section.place("rate"), format!("{why}, not {rate}"));
    };
    let count = section.get("count")?;
    let from = section.need("from")?;
    let until = section.get("until")?;
    if until.is_some_and(|until| until <= from) {
        let why = format!("`until` must be after `from`, which is {}", span(from));
        return wrong(section.place("until"), why);
    }
    if count.is_none() && until.is_none() && duration <= from {
        let why = "[[load]] has no end: no `count`, no `until`, and `duration` is not after `from`";
        return wrong(section.at, format!("{why}; add count = 1000 or duration = \"20s\""));
    }
    let size = section.need("size")?;
    let publishers = match section.given("publishers") {
        Some(from) => publishers(section.key("publishers"), from, liars)?,
        None => Publishers::Honest,
    };
    Ok(Load { every, count, from, until, size, publishers })
}

/// Returns an upper bound of the number of messages that a load publishes.
fn number(section: &Section<'_>, load: &Load, duration: Duration) -> Result<u128, Wrong> {
    let end = load.until.or(load.count.is_none().then_some(duration)).unwrap_or(DAY);
    let fit = end.saturating_sub(load.from).as_nanos().div_ceil(load.every.as_nanos().max(1));
    match (load.count, load.until) {
        (None, _) => Ok(fit),
        (Some(count), Some(_)) => Ok(fit.min(u128::from(count))),
        (Some(count), None) if u128::from(count) <= fit => Ok(u128::from(count)),
        (Some(count), None) => wrong(
            section.place("count"),
            format!("`count` is {count}: at this rate that takes more than a day"),
        ),
    }
}

fn publishers(key: &Key, from: &Located, liars: &Liars) -> Result<Publishers, Wrong> {
    match &from.value {
        Value::Text(word) if word == "honest" => Ok(Publishers::Honest),
        Value::Text(word) => {
            let near = meant(word, ["honest"]);
            wrong(from.at, format!("{WHO}, not `{}`{near}", shown(word)))
        }
        Value::Table(_) => {
            let table = Section::open(from, key.name, keys::PUBLISHERS)?;
            let Some(count) = table.given("count") else { return table.missing("count") };
            let takes = Takes::Whole(1, liars.honest as u64);
            let count = Read::read(&Key { takes, ..*table.key("count") }, count)?;
            Ok(Publishers::Count(count))
        }
        Value::List(list) => {
            let named = names(key, from, liars.lies.len())?;
            let liar = named.iter().zip(list).find(|(number, _)| liars.lies[**number]);
            if let Some((number, entry)) = liar {
                return wrong(entry.at, liar_publishes(*number));
            }
            Ok(Publishers::Nodes(named))
        }
        _ => wrong(from.at, format!("{WHO}, not {}", from.what())),
    }
}

const WHO: &str = "`publishers` must be \"honest\", { count = 3 } or a list as in [\"n0\"]";

fn liar_publishes(number: usize) -> String {
    format!("`publishers`: n{number} lies; only honest nodes publish")
}

pub(super) fn expects(top: &Section<'_>) -> Result<Vec<Expect>, Wrong> {
    let known = metrics();
    top.tables("expect")?.map(|section| expect(&section?, &known)).collect()
}

fn expect(section: &Section<'_>, known: &[String]) -> Result<Expect, Wrong> {
    let metric: String = section.need("metric")?;
    if !known.contains(&metric) {
        return unknown_metric(section.place("metric"), &metric, known);
    }
    let (key, value) = section.either()?;
    let limit = Read::read(key, value)?;
    let limit = match key.name {
        "at_least" => Limit::AtLeast(limit),
        "at_most" => Limit::AtMost(limit),
        _ => Limit::Equals(limit),
    };
    Ok(Expect { metric, limit })
}

fn unknown_metric<T>(at: At, name: &str, known: &[String]) -> Result<T, Wrong> {
    let near = meant(name, known.iter().map(String::as_str));
    let near = if near.is_empty() { "; see `loyal scenarios schema`" } else { &near };
    wrong(at, format!("`{}` is not a metric of the report{near}", shown(name)))
}
