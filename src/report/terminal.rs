//! The report for a terminal: plain lines with ANSI colours, which the caller strips where there is
//! no terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::escape::escape;
use super::headline::{sentence, word};
use super::numbers::percent;
use super::{Attack, Backend, Delivery, EpidemicModel, Hops, Report};
use crate::protocol::{CountsAs, Reason};
use crate::scenario::Verdict;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const OFF: &str = "\x1b[0m";
/// Width of the longest bar, in cells.
const BAR: u64 = 30;
/// Maximum number of liars listed one by one; for more, only sums are shown.
const MOST_LIARS: usize = 40;
/// Maximum number of entries shown of a list.
const MOST_LINES: usize = 10;

/// Returns the report in words, with ANSI colours and a trailing newline.
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    headline(out, report)?;
    world(out, report)?;
    delivery(out, report)?;
    attacks(out, report)?;
    rejections(out, report)?;
    judgement(out, report)?;
    cost(out, report)?;
    writeln!(out, "  {DIM}reproduce  {}{OFF}", report.reproduce)
}

fn headline(out: &mut String, report: &Report) -> fmt::Result {
    let colour = match report.verdict {
        Verdict::Pass if report.within_bound => GREEN,
        Verdict::Pass | Verdict::NotExercised | Verdict::Interrupted => YELLOW,
        Verdict::Liveness | Verdict::Safety => RED,
    };
    let (word, sentence) = (word(report.verdict), plain(&sentence(report)));
    writeln!(out, "{BOLD}{colour}{word}{OFF}  {BOLD}{sentence}{OFF}")?;
    if report.verdict == Verdict::Interrupted {
        let what = "what was measured until then is not judged";
        writeln!(out, "  {YELLOW}expected   {what}{OFF}")?;
    } else if report.verdict != report.expected_verdict {
        let expected = self::word(report.expected_verdict);
        writeln!(out, "  {RED}expected   {expected}{OFF}")?;
    } else if report.verdict != Verdict::Pass {
        writeln!(out, "  {GREEN}expected   as the scenario declares{OFF}")?;
    }
    members(out, report)
}

fn members(out: &mut String, report: &Report) -> fmt::Result {
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
        let colour = if report.idle_liars.is_empty() { DIM } else { YELLOW };
        writeln!(out, "  {colour}no effect  {kinds}: reached no honest node{OFF}")?;
    }
    Ok(())
}

/// What ran the nodes, and under which conditions.
fn world(out: &mut String, report: &Report) -> fmt::Result {
    if let Some(digest) = &report.digest {
        let seed = report.seed.map_or_else(|| "none".into(), |seed| seed.to_string());
        let digest = digest.get(..16).unwrap_or(digest);
        writeln!(out, "  simulated  seed {seed}, digest {digest}")?;
    }
    if !report.real_crypto {
        writeln!(out, "  {YELLOW}modelled   signatures: none was really checked{OFF}")?;
    }
    for step in report.clock_steps.iter().take(MOST_LINES) {
        writeln!(out, "  {YELLOW}clock      {}{OFF}", step.words())?;
    }
    let lists = [("faults", &report.faults), ("omitted", &report.not_modelled)];
    for (name, list) in lists {
        for one in list.iter().take(MOST_LINES) {
            writeln!(out, "  {name:<10} {}", plain(one))?;
        }
        more(out, list.len())?;
    }
    if !report.dead.is_empty() {
        let some: Vec<&str> = report.dead.iter().take(20).map(|name| &**name).collect();
        let count = report.dead.len();
        writeln!(out, "  dead       {count} at the end: {}", plain(&some.join(", ")))?;
    }
    Ok(())
}

/// Says how many entries were left out of a list.
fn more(out: &mut String, length: usize) -> fmt::Result {
    match length.checked_sub(MOST_LINES) {
        Some(left @ 1..) => writeln!(out, "  {DIM}           and {left} more{OFF}"),
        _ => Ok(()),
    }
}

/// A report that was read from a file is untrusted and must not control the terminal.
fn plain(text: &str) -> String {
    escape(text, usize::MAX)
}

fn judgement(out: &mut String, report: &Report) -> fmt::Result {
    for one in report.violations.iter().take(MOST_LINES) {
        let at = one.node.as_ref().map_or_else(String::new, |node| format!(" at {node}"));
        let text = plain(&format!("{}{at}, {:.3} ms: {}", one.invariant, one.at_ms, one.what));
        writeln!(out, "  {RED}violated   {text}{OFF}")?;
    }
    more(out, report.violations.len())?;
    for one in &report.expectations {
        let (colour, sign) = if one.pass { (GREEN, "met") } else { (RED, "MISSED") };
        let (limit, actual) = (plain(&one.limit_words()), one.actual_words());
        writeln!(out, "  limit      {limit}: {colour}{sign}{OFF} with {actual}")?;
    }
    counted(out, report)
}

/// Counts that are not zero, four per line. Those that are zero are in the JSON only.
fn counted(out: &mut String, report: &Report) -> fmt::Result {
    let happened = report.counted.iter().filter(|(_, count)| **count > 0);
    let happened: Vec<String> =
        happened.map(|(what, count)| plain(&format!("{what} {count}"))).collect();
    for (place, some) in happened.chunks(4).enumerate() {
        let name = if place == 0 { "counted" } else { "" };
        writeln!(out, "  {DIM}{name:<10} {}{OFF}", some.join(" · "))?;
    }
    Ok(())
}

fn delivery(out: &mut String, report: &Report) -> fmt::Result {
    let d = &report.delivery;
    let colour = if d.delivered == d.expected { GREEN } else { RED };
    writeln!(
        out,
        "  messages   {} published, {colour}{} of {} deliveries ({}){OFF}, {} duplicates",
        report.published,
        d.delivered,
        d.expected,
        d.ratio.map_or_else(|| "-".into(), percent),
        d.duplicates
    )?;
    if report.refused_posts > 0 {
        writeln!(out, "  {RED}refused    {} posts{OFF}", report.refused_posts)?;
    }
    if let Some(l) = d.latency_ms {
        let [p50, p90, p99, max] = [l.p50, l.p90, l.p99, l.max].map(milliseconds);
        writeln!(out, "  latency    p50 {p50} · p90 {p90} · p99 {p99} · max {max} ms")?;
    }
    hops(out, d)?;
    if let (Some(copies), Some(bytes)) = (d.copies_per_delivery, d.bytes_per_payload_byte) {
        writeln!(
            out,
            "  overhead   {copies:.2} copies per delivery, {bytes:.1} bytes per payload byte"
        )?;
    }
    Ok(())
}

/// Claimed hops as bars; beside them the true hops where they differ, and the model's prediction.
fn hops(out: &mut String, d: &Delivery) -> fmt::Result {
    let Some(claimed) = &d.hops else { return Ok(()) };
    let line = |h: &Hops| format!("mean {:.2} · p99 {} · max {}", h.mean, h.p99, h.max);
    writeln!(out, "  hops       {}", line(claimed))?;
    let truly = d.true_hops.as_ref().filter(|truly| *truly != claimed);
    if let Some(truly) = truly {
        let some = if d.untraced > 0 { " of those that could be traced" } else { "" };
        writeln!(out, "  true hops  {}{some}", line(truly))?;
    } else if d.true_hops.is_some() {
        writeln!(out, "  true hops  the same: no node lied about them")?;
    }
    let theory = d.theory.as_ref();
    if let Some(EpidemicModel { fan_out, rounds, .. }) = theory {
        writeln!(out, "  {DIM}push alone {fan_out:.1} links each: all in {rounds:.1} rounds{OFF}")?;
    }
    let all: u64 = claimed.histogram.values().sum();
    let most = claimed.histogram.values().copied().max().unwrap_or(1).max(1);
    let empty = BTreeMap::new();
    let truly_by = truly.map_or(&empty, |truly| &truly.histogram);
    let rows: BTreeSet<u64> = claimed.histogram.keys().chain(truly_by.keys()).copied().collect();
    for count in rows {
        let deliveries = claimed.histogram.get(&count).copied().unwrap_or(0);
        let mut beside = Vec::new();
        if truly.is_some() {
            beside.push(format!("truly {}", truly_by.get(&count).copied().unwrap_or(0)));
        }
        if let Some(theory) = theory {
            let share = theory.at(usize::try_from(count).unwrap_or(usize::MAX));
            beside.push(format!("push alone {:.0}", share * all as f64));
        }
        let bar = bar(deliveries, most);
        write!(out, "  {count:>9}  {GREEN}{bar}{OFF} {deliveries}")?;
        if !beside.is_empty() {
            write!(out, "  {DIM}{}{OFF}", beside.join(" · "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A bar with a resolution of an eighth of a cell, so that small counts remain visible.
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
    if report.malicious.len() > MOST_LIARS {
        let all = format!("all {}", report.malicious.len());
        for (kind, attack) in &report.attacks {
            attack_line(out, &all, kind, attack)?;
        }
    } else {
        for liar in &report.malicious {
            for (kind, attack) in &liar.attacks {
                attack_line(out, &liar.node, kind, attack)?;
            }
        }
    }
    if report.delivery.unpublished > 0 {
        let count = report.delivery.unpublished;
        writeln!(
            out,
            "  {RED}{count} deliveries name an honest author that did not publish them{OFF}"
        )?;
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
    reasons.sort_by(|a, b| rank(a.0).cmp(&rank(b.0)).then(b.1.cmp(a.1)).then(a.0.cmp(b.0)));
    let list: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let list = if list.is_empty() { "none".into() } else { list.join(" · ") };
    writeln!(out, "  rejected   {list}")?;
    let (knocks, copies) = (report.rejections.knocks, report.rejections.copies);
    if knocks > 0 || copies > 0 {
        writeln!(out, "  separate   {copies} plain copies · {knocks} knocks by banned peers")?;
    }
    let honest = match report.bans.honest {
        0 => format!("{GREEN}no honest node{OFF}"),
        count => format!("{RED}{count} honest{OFF}"),
    };
    let liars = report.malicious.len();
    writeln!(out, "  banned     {} of {liars} malicious, {honest}", report.bans.malicious)
}

/// The class of a reason, for sorting: those that prove a lie come first.
pub(super) fn rank(reason: &str) -> CountsAs {
    Reason::from_name(reason).map_or(CountsAs::Refusal, |reason| CountsAs::of(reason, true))
}

fn cost(out: &mut String, report: &Report) -> fmt::Result {
    let r = &report.resources;
    let mut parts = Vec::new();
    let peak = match report.backend {
        Backend::Processes => "MiB per node",
        Backend::Simulated => "MiB",
    };
    let figures = [
        ("wall", r.wall_s, "s"),
        ("start", r.start_s, "s"),
        ("cpu", r.cpu_s, "s"),
        ("peak", r.peak_rss_mb, peak),
        ("simulated", r.sim_s, "s"),
        ("events", r.events.map(|count| count as f64), ""),
        ("events/s", r.events_per_s, ""),
    ];
    for (name, value, unit) in figures {
        if let Some(value) = value {
            let digits = usize::from(!unit.is_empty());
            parts.push(format!("{name} {value:.digits$} {unit}").trim_end().to_owned());
        }
    }
    if parts.is_empty() {
        Ok(())
    } else {
        writeln!(out, "  {DIM}cost       {}{OFF}", parts.join(" · "))
    }
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
                theory: None,
                copies_per_delivery: Some(1.5),
                bytes_per_payload_byte: Some(3.0),
            },
            certified: Default::default(),
            attacks,
            rejections: Rejections {
                total: 80,
                lies: 80,
                copies: 7,
                knocks: 3,
                by_reason: BTreeMap::from([("bad_signature".into(), 80)]),
                by_behaviour: BTreeMap::from([("forge".into(), 80)]),
            },
            evidence: Default::default(),
            bans: Bans { malicious: 1, honest: 0 },
            faults: vec![],
            resources: Default::default(),
            expectations: vec![],
            not_exercised: vec![],
            idle_liars: vec![],
            violations: vec![],
            counted: BTreeMap::new(),
            not_modelled: vec![],
            real_crypto: true,
            settle_s: None,
            clock_steps: vec![],
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
    fn the_terminal_shows_what_a_simulated_run_adds() {
        let mut run = crate::report::testing::clean();
        run.expects.push(crate::scenario::Expect {
            metric: "delivery.ratio".into(),
            limit: crate::scenario::Limit::AtLeast(2.0),
        });
        run.violations.push(crate::report::Violation {
            invariant: "L1".into(),
            liveness: true,
            at: 2500,
            node: Some(1),
            what: "late\x1b[2J".into(),
        });
        run.not_modelled.push("loss".into());
        run.counted = BTreeMap::from([("crashes".into(), 2), ("bans".into(), 0)]);
        run.real_crypto = false;
        let text = terminal(&crate::report::judge(&run));
        for part in [
            "LIVENESS MISSED",
            "expected   PASS",
            "seed 7, digest d1d1d1d1",
            "omitted    loss",
            r"violated   L1 at n1, 2.500 ms: late\u{1b}[2J",
            "delivery.ratio ≥ 2",
            "MISSED",
            "crashes 2",
            "true hops  mean 1.50",
            "truly 1 · push alone",
            "none was really checked",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("bans 0"), "{text}");
        run.expected_verdict = Verdict::Liveness;
        assert!(terminal(&crate::report::judge(&run)).contains("as the scenario declares"));
        let liar = run.nodes[3].clone();
        run.nodes.extend(std::iter::repeat_n(liar, MOST_LIARS));
        let text = terminal(&crate::report::judge(&run));
        assert!(text.contains("all 41   forge") && !text.contains("n3       forge"), "{text}");
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
