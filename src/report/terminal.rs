//! The verdict for a terminal: plain lines with ANSI colours, which the caller strips elsewhere.

use std::fmt::{self, Write as _};

use super::{Attack, Report};
use crate::scenario::Verdict;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const OFF: &str = "\x1b[0m";
/// Width of the longest bar.
const BAR: u64 = 30;

/// The verdict in words, with ANSI colours and a newline at the end.
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    headline(out, report)?;
    delivery(out, report)?;
    attacks(out, report)?;
    rejections(out, report)?;
    cost(out, report)?;
    writeln!(out, "  {DIM}again      {}{OFF}", report.reproduce)
}

fn headline(out: &mut String, report: &Report) -> fmt::Result {
    let (colour, word, sentence) = match report.verdict {
        Verdict::Pass => {
            (GREEN, "PASS", "every message reached every honest node; nothing false did")
        }
        Verdict::Liveness => (RED, "LIVENESS MISSED", "messages are missing at honest nodes"),
        Verdict::Safety => {
            (RED, "SAFETY BROKEN", "an honest node accepted or banned what it must not")
        }
        Verdict::NotExercised => {
            (YELLOW, "NOT EXERCISED", "an attack never reached an honest node")
        }
    };
    writeln!(out, "{BOLD}{colour}{word}{OFF}  {BOLD}{sentence}{OFF}")?;
    let liars = report.malicious.len();
    let bound = if report.within_bound {
        format!("within the bound of f = {}", report.f)
    } else {
        format!("{YELLOW}beyond the bound of f = {}: nothing is promised{OFF}", report.f)
    };
    writeln!(
        out,
        "  nodes      {} = {} honest + {liars} malicious, quorum {}, {bound}",
        report.nodes, report.honest, report.quorum
    )?;
    if !report.not_exercised.is_empty() {
        let kinds = report.not_exercised.join(", ");
        writeln!(out, "  {YELLOW}untried    {kinds}: reached no honest node{OFF}")?;
    }
    Ok(())
}

fn delivery(out: &mut String, report: &Report) -> fmt::Result {
    let d = &report.delivery;
    let colour = if d.delivered == d.expected { GREEN } else { RED };
    writeln!(
        out,
        "  messages   {} published, {colour}{} of {} deliveries ({}){OFF}, {} twice",
        report.published,
        d.delivered,
        d.expected,
        d.ratio.map_or_else(|| "-".into(), percent),
        d.duplicates
    )?;
    if report.refused_posts > 0 {
        writeln!(out, "  {RED}refused    {} posts were not taken{OFF}", report.refused_posts)?;
    }
    if let Some(l) = d.latency_ms {
        let [p50, p90, p99, max] = [l.p50, l.p90, l.p99, l.max].map(milliseconds);
        writeln!(out, "  latency    p50 {p50} · p90 {p90} · p99 {p99} · max {max} ms")?;
    }
    if let Some(hops) = &d.hops {
        writeln!(out, "  hops       mean {:.2} · p99 {} · max {}", hops.mean, hops.p99, hops.max)?;
        let most = hops.histogram.values().copied().max().unwrap_or(1).max(1);
        for (count, deliveries) in &hops.histogram {
            let bar = bar(*deliveries, most);
            writeln!(out, "  {count:>9}  {GREEN}{bar}{OFF} {deliveries}")?;
        }
    }
    if let (Some(copies), Some(bytes)) = (d.copies_per_delivery, d.bytes_per_payload_byte) {
        writeln!(
            out,
            "  overhead   {copies:.2} copies a delivery, {bytes:.1} bytes a payload byte"
        )?;
    }
    Ok(())
}

/// A bar with eighths of a cell, so that small counts do not vanish.
fn bar(value: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value.saturating_mul(BAR * 8) / most).max(u64::from(value > 0));
    let full = usize::try_from(eighths / 8).unwrap_or(0);
    "█".repeat(full) + PARTS[usize::try_from(eighths % 8).unwrap_or(0)]
}

fn attacks(out: &mut String, report: &Report) -> fmt::Result {
    if report.malicious.is_empty() {
        return writeln!(out, "  attacks    none: every node is honest");
    }
    writeln!(
        out,
        "\n  {DIM}{:<8} {:<12} {:>10} {:>14} {:>9}{OFF}",
        "liar", "behaviour", "attempted", "reached honest", "accepted"
    )?;
    for liar in &report.malicious {
        for (kind, attack) in &liar.attacks {
            attack_line(out, &liar.node, kind, attack)?;
        }
    }
    if report.delivery.unpublished > 0 {
        let count = report.delivery.unpublished;
        writeln!(out, "  {RED}{count} deliveries in an honest author's name are not its own{OFF}")?;
    }
    writeln!(out)
}

fn attack_line(out: &mut String, node: &str, kind: &str, attack: &Attack) -> fmt::Result {
    let colour = if attack.accepted > 0 { RED } else { GREEN };
    writeln!(
        out,
        "  {node:<8} {kind:<12} {:>10} {:>14} {colour}{:>9}{OFF}",
        attack.attempted, attack.reached_honest, attack.accepted
    )
}

fn rejections(out: &mut String, report: &Report) -> fmt::Result {
    let mut reasons: Vec<_> = report.rejections.by_reason.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let list: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let list = if list.is_empty() { "none".into() } else { list.join(" · ") };
    writeln!(out, "  rejected   {list}")?;
    let honest = match report.bans.honest {
        0 => format!("{GREEN}no honest node{OFF}"),
        count => format!("{RED}{count} honest{OFF}"),
    };
    let liars = report.malicious.len();
    writeln!(out, "  banned     {} of {liars} malicious, {honest}", report.bans.malicious)
}

fn cost(out: &mut String, report: &Report) -> fmt::Result {
    let r = &report.resources;
    let mut parts = Vec::new();
    let figures = [
        ("wall", r.wall_s, "s"),
        ("start", r.start_s, "s"),
        ("cpu", r.cpu_s, "s"),
        ("peak", r.peak_rss_mb, "MiB a node"),
    ];
    for (name, value, unit) in figures {
        if let Some(value) = value {
            parts.push(format!("{name} {value:.1} {unit}"));
        }
    }
    if parts.is_empty() {
        Ok(())
    } else {
        writeln!(out, "  {DIM}cost       {}{OFF}", parts.join(" · "))
    }
}

/// Never rounds up to 100 %: one missing message must show.
fn percent(ratio: f64) -> String {
    let floor = (ratio * 10_000.0).floor() / 100.0;
    if floor >= 100.0 { "100 %".into() } else { format!("{floor:.2} %") }
}

fn milliseconds(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::{
        Backend, Bans, Delivery, Malicious, Rejections, SCHEMA, hops_of, latency_of,
    };

    pub(crate) fn sample() -> Report {
        let attack = Attack { attempted: 120, reached_honest: 80, accepted: 0 };
        let attacks = BTreeMap::from([("forge".to_owned(), attack)]);
        Report {
            schema: SCHEMA,
            name: "mesh up".into(),
            backend: Backend::Processes,
            seed: None,
            digest: None,
            nodes: 4,
            f: 1,
            quorum: 3,
            within_bound: true,
            honest: 3,
            dead: vec![],
            malicious: vec![Malicious {
                node: "n3".into(),
                behave: "forge".into(),
                attacks: attacks.clone(),
            }],
            published: 100,
            refused_posts: 0,
            delivery: Delivery {
                expected: 300,
                delivered: 300,
                ratio: Some(1.0),
                duplicates: 0,
                unpublished: 0,
                latency_ms: latency_of(&[1000, 2000]),
                hops: hops_of(&[0, 2, 1]),
                true_hops: hops_of(&[0, 1, 2]),
                untraced: 0,
                copies_per_delivery: Some(1.5),
                bytes_per_payload_byte: Some(3.0),
            },
            certified: Default::default(),
            attacks,
            rejections: Rejections {
                total: 80,
                by_reason: BTreeMap::from([("bad_signature".into(), 80)]),
                by_behaviour: BTreeMap::from([("forge".into(), 80)]),
            },
            evidence: Default::default(),
            bans: Bans { malicious: 1, honest: 0 },
            faults: vec![],
            resources: Default::default(),
            expectations: vec![],
            not_exercised: vec![],
            violations: vec![],
            counted: BTreeMap::new(),
            not_modelled: vec![],
            real_crypto: true,
            settle_s: None,
            verdict: Verdict::Pass,
            expected_verdict: Verdict::Pass,
            reproduce: "loyal mesh up --nodes 4 --malicious forge --messages 100".into(),
        }
    }

    #[test]
    fn every_key_of_schema_1_is_there_and_unmeasured_ones_are_null() {
        let json: serde_json::Value =
            serde_json::from_str(&sample().to_json().expect("has a form")).expect("is JSON");
        for key in "schema name backend seed digest nodes f quorum within_bound honest malicious \
                    published delivery certified attacks rejections evidence bans faults resources \
                    expectations not_exercised verdict reproduce"
            .split_whitespace()
        {
            assert!(json.get(key).is_some(), "{key}");
        }
        for path in ["seed", "digest"] {
            assert!(json[path].is_null(), "{path}");
        }
        for (part, key) in [
            ("certified", "latency_ms"),
            ("evidence", "proofs"),
            ("resources", "sim_s"),
            ("resources", "events_per_s"),
        ] {
            assert!(json[part].get(key).is_some_and(serde_json::Value::is_null), "{part}.{key}");
        }
        assert_eq!(json["verdict"], "pass");
        assert_eq!(json["backend"], "processes");
        assert_eq!(json["delivery"]["hops"]["histogram"]["1"], 2);
        let back: Report = serde_json::from_value(json).expect("reads back");
        assert_eq!(back, sample());
    }

    #[test]
    fn the_terminal_says_what_happened() {
        let text = terminal(&sample());
        for part in ["PASS", "300 of 300", "100 %", "n3", "forge", "bad_signature 80", "no honest"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let mut bad = sample();
        bad.verdict = Verdict::Safety;
        bad.bans.honest = 1;
        bad.within_bound = false;
        let text = terminal(&bad);
        for part in ["SAFETY BROKEN", "1 honest", "beyond the bound"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_ratio_is_never_rounded_up_to_all() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(bar(0, 10), "");
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(10, 10).chars().count(), 30);
    }
}
