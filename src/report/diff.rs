//! Compares two reports: the numbers that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::Report;

/// Prefixes of the paths of numbers where less is better.
const LESS: [&str; 13] = [
    "delivery.latency_ms",
    "delivery.hops",
    "delivery.true_hops",
    "delivery.copies_per_delivery",
    "delivery.bytes_per_payload_byte",
    "delivery.duplicates",
    "delivery.unpublished",
    "refused_posts",
    "bans.honest",
    "resources.cpu_s",
    "resources.peak_rss_mb",
    "resources.wall_s",
    "resources.start_s",
];
/// Prefixes of the paths of numbers where more is better.
const MORE: [&str; 4] = ["delivery.ratio", "resources.events_per_s", "bans.malicious", "certified"];

/// A number that differs between two reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The number's path in `report.json`.
    pub metric: String,
    /// The number in the earlier report; `None` if it is not there.
    pub before: Option<f64>,
    /// The number in the later report; `None` if it is not there.
    pub after: Option<f64>,
    /// `after / before`; `None` if either is missing or `before` is 0.
    pub ratio: Option<f64>,
    /// Whether the change is an improvement; `None` if neither direction is better.
    pub better: Option<bool>,
}

/// Returns the numbers that differ, ordered by path. Histograms, lists, the seed and the schema are
/// left out.
pub fn changes(before: &Report, after: &Report) -> Vec<Change> {
    let (old, new) = (numbers(before), numbers(after));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |path: &String| {
        let (a, b) = (old.get(path).copied(), new.get(path).copied());
        (a != b).then(|| Change {
            metric: path.clone(),
            before: a,
            after: b,
            ratio: a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| b / a),
            better: a.zip(b).and_then(|(a, b)| better(path, a, b)),
        })
    };
    paths.into_iter().filter_map(change).collect()
}

fn better(path: &str, before: f64, after: f64) -> Option<bool> {
    let among = |list: &[&str]| list.iter().any(|start| path.starts_with(start));
    if among(&LESS) || path.ends_with(".accepted") {
        Some(after < before)
    } else {
        among(&MORE).then_some(after > before)
    }
}

fn numbers(report: &Report) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), serde_json::to_value(report).unwrap_or_default())];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(parts) => open.extend(parts.into_iter().filter_map(|(key, part)| {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                let skip = path == "schema" || path == "seed" || path.ends_with("histogram");
                (!skip).then_some((path, part))
            })),
            Value::Number(number) => found.extend(number.as_f64().map(|number| (path, number))),
            _ => {}
        }
    }
    found
}

/// Formats the comparison for a terminal, with ANSI colours: scenario, verdicts, numbers.
pub fn diff(before: &Report, after: &Report) -> String {
    let mut out = String::new();
    let mut differs = |what: &str, a: String, b: String| {
        if a != b {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "\x1b[33m{what} differs: {a} before, {b} after\x1b[0m");
        }
    };
    let seed = |report: &Report| report.seed.map_or("none".into(), |seed| seed.to_string());
    let world = |report: &Report| format!("{:?}", report.backend).to_lowercase();
    differs("scenario", before.name.clone(), after.name.clone());
    differs("world", world(before), world(after));
    differs("seed", seed(before), seed(after));
    differs("verdict", before.verdict.name().into(), after.verdict.name().into());
    let digests = before.digest.as_ref().zip(after.digest.as_ref());
    match digests.map(|(a, b)| a == b) {
        Some(true) => out += "the same digest: both runs were the same, event by event\n",
        Some(false) if (before.seed, &before.name) == (after.seed, &after.name) => {
            out += "the digests differ\n"
        }
        _ => {}
    }
    let changes = changes(before, after);
    if changes.is_empty() {
        return out + "no number differs\n";
    }
    let width = changes.iter().map(|change| change.metric.chars().count()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "\x1b[2m{:<width$} {:>14} {:>14} {:>9}\x1b[0m",
        "metric", "before", "after", "ratio"
    );
    for change in changes {
        let (a, b) = (figure(change.before), figure(change.after));
        let ratio = change.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2} ×"));
        let colour = match change.better {
            Some(true) => "\x1b[32m",
            Some(false) => "\x1b[31m",
            None => "",
        };
        let metric = change.metric;
        let _ = writeln!(out, "{metric:<width$} {a:>14} {colour}{b:>14} {ratio:>9}\x1b[0m");
    }
    out
}

/// Whole numbers without decimals, others with one decimal from 1000 on, else with up to four.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.fract() == 0.0 && value.abs() < 1e12 => format!("{value:.0}"),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.4}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judge;
    use crate::report::testing::clean;

    #[test]
    fn two_runs_side_by_side() {
        let before = judge(&clean());
        assert!(diff(&before, &before).contains("no number differs"));
        let mut run = clean();
        run.seed = Some(8);
        run.digest = None;
        run.arrivals[3].at = 4000;
        let after = judge(&run);
        let found = changes(&before, &after);
        let max = found.iter().find(|c| c.metric == "delivery.latency_ms.max").expect("changed");
        assert_eq!((max.before, max.after, max.ratio), (Some(1.5), Some(3.0), Some(2.0)));
        assert_eq!(max.better, Some(false));
        assert_eq!(changes(&after, &before)[0].better, Some(true));
        let text = diff(&before, &after);
        for part in ["seed differs: 7 before, 8 after", "latency_ms.max", "2.00 ×"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("scenario differs"), "{text}");
    }

    #[test]
    fn what_is_better_is_known_of_few_numbers() {
        assert_eq!(better("attacks.forge.accepted", 0.0, 1.0), Some(false));
        assert_eq!(better("resources.events_per_s", 1.0, 2.0), Some(true));
        assert_eq!(better("rejections.total", 1.0, 2.0), None);
    }
}
