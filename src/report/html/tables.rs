//! The lists and tables of the page.

use std::fmt::Write as _;

use super::super::escape::{cut, safe};
use super::super::numbers::{count, figure, time};
use super::super::terminal::rank;
use super::super::{Attack, Recording, Report, Resources};
use super::chart::rows;
use crate::protocol::CountsAs;

/// Maximum number of bars per list.
const MOST_BARS: usize = 20;
/// Maximum number of rows per table.
const MOST_ROWS: usize = 100;

/// Rejections by reason; those that prove a lie come first.
pub(super) fn by_reason(report: &Report) -> String {
    let all = &report.rejections;
    let (lies, others): (Vec<_>, Vec<_>) =
        all.by_reason.iter().partition(|(reason, _)| rank(reason) == CountsAs::Lie);
    let of = |list: Vec<(&String, &u64)>, class| {
        bars(list.into_iter().map(|(reason, n)| (reason.clone(), *n, class)))
    };
    let mut out = of(lies, "bad");
    if !others.is_empty() {
        out += &of(others, "one");
    }
    if all.copies > 0 || all.knocks > 0 {
        let (copies, knocks) = (count(all.copies), count(all.knocks));
        let _ = write!(
            out,
            "<p class=\"note\">Counted separately: {copies} plain copies, {knocks} knocks by \
             banned peers</p>"
        );
    }
    out
}

/// Rejections by the neighbour that sent the refused frame.
pub(super) fn by_liar(run: &Recording) -> String {
    let mut counts = vec![0u64; run.nodes.len()];
    let mut own = 0u64;
    let rows = run.nodes.iter().filter(|node| node.honest()).flat_map(|node| &node.rejections);
    for row in rows.filter(|row| !row.counts_as.is_apart()) {
        match row.link.and_then(|link| counts.get_mut(link as usize)) {
            Some(count) => *count = count.saturating_add(row.count),
            None => own = own.saturating_add(row.count),
        }
    }
    let liars = run.nodes.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(node, n)| {
        match &node.spec {
            Some(spec) => (format!("{} · {spec}", node.name), n, "bad"),
            None => (format!("{} · honest", node.name), n, "one"),
        }
    });
    bars(liars.chain((own > 0).then(|| ("own API".to_owned(), own, "gone"))))
}

fn bars(all: impl Iterator<Item = (String, u64, &'static str)>) -> String {
    let mut all: Vec<_> = all.collect();
    if all.is_empty() {
        return "<p class=\"none\">none</p>".into();
    }
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rest = all.split_off(all.len().min(MOST_BARS));
    if !rest.is_empty() {
        let sum = rest.iter().fold(0u64, |sum, (_, n, _)| sum.saturating_add(*n));
        all.push((format!("{} others", rest.len()), sum, "gone"));
    }
    rows(&all)
}

/// Attacks: attempted, reached honest nodes, accepted; in total, then per liar.
pub(super) fn attacks(report: &Report) -> String {
    if report.malicious.is_empty() {
        return "<p class=\"none\">Every node is honest.</p>".into();
    }
    let head = "<div class=\"scroll\"><table><tr><th>behaviour</th><th class=\"n\">attempted</th>\
                <th class=\"n\">reached honest nodes</th><th class=\"n\">accepted</th></tr>";
    let mut out = String::from(head);
    for (kind, attack) in &report.attacks {
        let _ = write!(out, "<tr><td>{}</td>{}</tr>", safe(kind), figures(attack));
    }
    out += "</table></div>";
    let _ = write!(out, "<details><summary>each of {} liars</summary>", report.malicious.len());
    out += &head.replace("<th>behaviour", "<th>node</th><th>SPEC</th><th>behaviour");
    for liar in report.malicious.iter().take(MOST_ROWS) {
        for (kind, attack) in &liar.attacks {
            let (node, spec, kind) = (safe(&liar.node), cut(&liar.behave, 80), safe(kind));
            let figures = figures(attack);
            let _ = write!(out, "<tr><td>{node}</td><td>{spec}</td><td>{kind}</td>{figures}</tr>");
        }
    }
    out + "</table></div>" + &more(report.malicious.len()) + "</details>"
}

fn figures(attack: &Attack) -> String {
    let accepted = if attack.accepted > 0 { "n fail" } else { "n good" };
    format!(
        "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"{accepted}\">{}</td>",
        count(attack.attempted),
        count(attack.reached_honest),
        count(attack.accepted)
    )
}

fn more(length: usize) -> String {
    match length.checked_sub(MOST_ROWS) {
        Some(left @ 1..) => format!("<p class=\"note\">and {left} more</p>"),
        _ => String::new(),
    }
}

/// The scenario's limits, met or missed; `None` if it sets none.
pub(super) fn expectations(report: &Report) -> Option<String> {
    if report.expectations.is_empty() {
        return None;
    }
    let mut out = String::from(
        "<div class=\"scroll\"><table><tr><th>limit</th><th class=\"n\">measured</th><th></th></tr>",
    );
    for one in &report.expectations {
        let (class, word) = if one.pass { ("good", "met") } else { ("fail", "missed") };
        let (limit, actual) = (cut(&one.limit_words(), 120), one.actual_words());
        let _ = write!(
            out,
            "<tr><td>{limit}</td><td class=\"n\">{actual}</td><td class=\"{class}\">{word}</td></tr>"
        );
    }
    Some(out + "</table></div>")
}

/// Invariants that did not hold; `None` if all held.
pub(super) fn violations(report: &Report) -> Option<String> {
    if report.violations.is_empty() {
        return None;
    }
    let mut out = String::from(
        "<div class=\"scroll\"><table><tr><th>invariant</th><th>of</th><th class=\"n\">when</th>\
         <th>where</th><th>what</th></tr>",
    );
    for one in report.violations.iter().take(MOST_ROWS) {
        let of = if one.liveness { "liveness" } else { "safety" };
        let _ = write!(
            out,
            "<tr><td class=\"fail\">{}</td><td>{of}</td><td class=\"n\">{}</td><td>{}</td>\
             <td>{}</td></tr>",
            safe(&one.invariant),
            time(one.at_ms * 1000.0),
            safe(one.node.as_deref().unwrap_or("-")),
            safe(&one.what)
        );
    }
    Some(out + "</table></div>" + &more(report.violations.len()))
}

/// What the run does not prove.
pub(super) fn limits(report: &Report) -> String {
    let mut out = String::new();
    if report.not_exercised.is_empty() && !report.attacks.is_empty() {
        out += "<p>Every behaviour was exercised: each reached honest nodes.</p>";
    }
    if !report.not_exercised.is_empty() {
        let kinds: Vec<String> = report.not_exercised.iter().map(|kind| safe(kind)).collect();
        let _ = write!(
            out,
            "<p class=\"warn\">Not exercised: {} reached no honest node, so this run proves \
             nothing about it.</p>",
            kinds.join(", ")
        );
    }
    if !report.real_crypto {
        out += "<p class=\"warn\">Signatures were modelled: none was really checked.</p>";
    }
    if report.delivery.untraced > 0 {
        let _ = write!(
            out,
            "<p>{} deliveries passed a node that reported nothing: their true hops are not \
             known.</p>",
            count(report.delivery.untraced)
        );
    }
    if report.not_modelled.is_empty() {
        return out + "<p>Nothing of the scenario was left out.</p>";
    }
    let items = report.not_modelled.iter().take(MOST_ROWS);
    let items: String = items.map(|one| format!("<li>{}</li>", safe(one))).collect();
    out + "<p>Not modelled here:</p><ul>" + &items + "</ul>"
}

/// Counts that are not zero; `None` if all are.
pub(super) fn counted(report: &Report) -> Option<String> {
    let happened: Vec<_> = report.counted.iter().filter(|(_, n)| **n > 0).collect();
    if happened.is_empty() {
        return None;
    }
    let line = |(what, n): &(&String, &u64)| {
        format!("<p><span>{}</span><b>{}</b></p>", cut(&what.replace('_', " "), 60), count(**n))
    };
    let lines: String = happened.iter().take(MOST_ROWS).map(line).collect();
    let mut never = report.counted.iter().filter(|(_, n)| **n == 0).map(|(what, _)| what);
    let never: Vec<String> =
        never.by_ref().take(MOST_ROWS).map(|what| cut(&what.replace('_', " "), 60)).collect();
    let never = match never.is_empty() {
        true => String::new(),
        false => format!("<p class=\"note\">never: {}</p>", never.join(", ")),
    };
    Some(format!("<div class=\"counts\">{lines}</div>{never}"))
}

/// Time, memory and events that the run cost.
pub(super) fn resources(resources: &Resources) -> String {
    let r = resources;
    let seconds = |value: Option<f64>| value.map(|s| time(s * 1e6));
    let lines = [
        ("wall time", seconds(r.wall_s)),
        ("CPU time", seconds(r.cpu_s)),
        ("start to linked", seconds(r.start_s)),
        ("peak memory", r.peak_rss_mb.map(|mb| format!("{} MiB", figure(mb)))),
        ("simulated time", seconds(r.sim_s)),
        ("events", r.events.map(count)),
        ("events per second", r.events_per_s.map(|rate| count(rate as u64))),
    ];
    let line = |(what, value): &(&str, Option<String>)| {
        let value = value.as_ref()?;
        Some(format!("<tr><td>{what}</td><td class=\"n\">{value}</td></tr>"))
    };
    let lines: String = lines.iter().filter_map(line).collect();
    if lines.is_empty() {
        return "<p class=\"none\">not measured</p>".into();
    }
    format!("<table>{lines}</table>")
}
