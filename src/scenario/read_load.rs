//! Reads the loads and the expectations.

use std::time::Duration;

use super::error::{At, Wrong, meant, shown, wrong};
use super::quantity::{DAY, every, size, span};
use super::section::{Section, value};
use super::select::{Cast, names};
use super::tree::{Kind, Node};
use super::{Expect, Limit, Load, Publishers, keys, metrics, section};
use crate::wire::limits::MAX_PAYLOAD;

const MAX_LOADS: usize = 64;
const MAX_EXPECTS: usize = 1024;
/// Maximum number of messages in a run.
const MAX_MESSAGES: u64 = 10_000_000;
const MAX_RATE: f64 = 1e6;
const DEFAULT_SIZE: usize = 256;

pub(super) fn loads(
    top: &Section<'_>,
    cast: &Cast,
    duration: Duration,
) -> Result<Vec<Load>, Wrong> {
    let mut loads = Vec::new();
    let mut messages = 0;
    for node in top.list("load", MAX_LOADS)? {
        let section = Section::open(node, "[[load]]", keys::LOAD)?;
        let load = load(&section, cast, duration)?;
        messages += number(&section, &load, duration)?;
        if messages > u128::from(MAX_MESSAGES) {
            let why = format!("{messages} messages are too many; at most {MAX_MESSAGES} can be");
            return wrong(node.at, why);
        }
        loads.push(load);
    }
    Ok(loads)
}

fn load(section: &Section<'_>, cast: &Cast, duration: Duration) -> Result<Load, Wrong> {
    let Some(rate) = section.number("rate")? else {
        return section.missing("rate", "rate = 50 (messages a second)");
    };
    let Some(every) = every(rate.value).filter(|_| rate.value <= MAX_RATE) else {
        let why = format!(
            "`rate` is messages a second, above 0 (at least one a day) and at most {MAX_RATE}"
        );
        return wrong(rate.at, format!("{why}, not {}", rate.value));
    };
    let count = section.whole("count", 1, MAX_MESSAGES)?.map(value);
    let from = section.span("from", (Duration::ZERO, DAY))?.map_or(Duration::ZERO, value);
    let until = section.span("until", (Duration::ZERO, DAY))?;
    if let Some(until) = &until
        && until.value <= from
    {
        return wrong(until.at, format!("`until` is not after `from`, which is {}", span(from)));
    }
    if count.is_none() && until.is_none() && duration <= from {
        let why = "[[load]] has neither `count` nor `until`, and `duration` does not end it either";
        return wrong(section.at, format!("{why}; add count = 1000 or duration = \"20s\""));
    }
    Ok(Load {
        every,
        count,
        from,
        until: until.map(value),
        size: section.whole("size", 0, MAX_PAYLOAD as u64)?.map_or(DEFAULT_SIZE, |n| size(n.value)),
        publishers: section
            .get("publishers")
            .map_or(Ok(Publishers::Honest), |node| publishers(node, cast))?,
    })
}

/// Returns an upper bound of the number of messages that a load publishes.
fn number(section: &Section<'_>, load: &Load, duration: Duration) -> Result<u128, Wrong> {
    let end = load.until.or(load.count.is_none().then_some(duration)).unwrap_or(DAY);
    let fit = end.saturating_sub(load.from).as_nanos().div_ceil(load.every.as_nanos().max(1));
    match (load.count, load.until) {
        (None, _) => Ok(fit),
        (Some(count), Some(_)) => Ok(fit.min(u128::from(count))),
        (Some(count), None) if u128::from(count) <= fit => Ok(u128::from(count)),
        (Some(count), None) => {
            let at = section.get("count").map_or(section.at, |node| node.at);
            wrong(at, format!("`count` is {count}: at this rate that takes more than a day"))
        }
    }
}

fn publishers(node: &Node, cast: &Cast) -> Result<Publishers, Wrong> {
    match &node.kind {
        Kind::Text(word) if word == "honest" => Ok(Publishers::Honest),
        Kind::Text(word) => {
            let near = meant(word, ["honest"]);
            wrong(node.at, format!("{WHO}, not `{}`{near}", shown(word)))
        }
        Kind::Table(_) => {
            let table = Section::open(node, "publishers", keys::PUBLISHERS)?;
            let Some(count) = table.whole("count", 1, cast.honest as u64)? else {
                return table.missing("count", "count = 3");
            };
            Ok(Publishers::Count(size(count.value)))
        }
        Kind::List(list) => {
            let named = names("publishers", node, cast.lies.len())?;
            let liar = named.iter().zip(list).find(|(number, _)| cast.lies[**number]);
            if let Some((number, entry)) = liar {
                return wrong(entry.at, liar_publishes(*number));
            }
            Ok(Publishers::Nodes(named))
        }
        _ => wrong(node.at, format!("{WHO}, not {}", node.what())),
    }
}

const WHO: &str = "`publishers` is \"honest\", { count = 3 } or a list as in [\"n0\"]";

fn liar_publishes(number: usize) -> String {
    format!("`publishers`: n{number} lies; only honest nodes publish")
}

pub(super) fn expects(top: &Section<'_>) -> Result<Vec<Expect>, Wrong> {
    let known = metrics();
    let expects = top.list("expect", MAX_EXPECTS)?.iter().map(|node| expect(node, &known));
    expects.collect()
}

fn expect(node: &Node, known: &[String]) -> Result<Expect, Wrong> {
    let section = Section::open(node, "[[expect]]", keys::EXPECT)?;
    let Some(metric) = section.text("metric")? else {
        return section.missing("metric", "metric = \"delivery.ratio\"");
    };
    if !known.iter().any(|name| name == metric.value) {
        return unknown_metric(metric.at, metric.value, known);
    }
    let limits = ["at_least", "at_most", "equals"];
    let Some((key, node)) = section.either(&limits)? else {
        return section.missing("at_least", "at_least, at_most or equals, as in at_least = 1.0");
    };
    let limit = section::number(key, node)?.value;
    let limit = match key {
        "at_least" => Limit::AtLeast(limit),
        "at_most" => Limit::AtMost(limit),
        _ => Limit::Equals(limit),
    };
    Ok(Expect { metric: metric.value.to_owned(), limit })
}

fn unknown_metric<T>(at: At, name: &str, known: &[String]) -> Result<T, Wrong> {
    let near = meant(name, known.iter().map(String::as_str));
    let near = if near.is_empty() { "; see `loyal scenarios schema`" } else { &near };
    wrong(at, format!("`{}` is no metric of the report{near}", shown(name)))
}
