//! The page: headline, numbers, plots, tables.

use super::super::escape::{cut, safe};
use super::super::headline::{sentence, word};
use super::super::numbers::{count, figure, percent, time};
use super::super::tally::Tally;
use super::super::{Backend, Recording, Report, trace};
use super::{graph, plots, tables, tree};
use crate::scenario::Verdict;

const STYLE: &str = include_str!("style.css");

/// Returns the whole page, at most a few hundred kilobytes whatever the size of the run.
pub fn html(run: &Recording, report: &Report) -> String {
    let tally = Tally::of(run);
    let name = safe(&report.name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n\
         <title>{name}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        word(report.verdict).to_lowercase()
    );
    out += &header(report);
    out += &tiles(report);
    out += &cards(sections(run, report, &tally));
    out + &footer(report) + "</main>\n</body>\n</html>\n"
}

/// The sections as cards: wide ones across the page, the others in two columns of similar height.
fn cards(sections: Vec<Section>) -> String {
    let (mut out, mut columns) = (String::new(), [(0, String::new()), (0, String::new())]);
    let flush = |columns: &mut [(usize, String); 2]| {
        let [(_, left), (_, right)] = std::mem::take(columns);
        if left.is_empty() {
            return String::new();
        }
        format!("<div class=\"grid2\"><div>{left}</div><div>{right}</div></div>\n")
    };
    for (title, small, wide, body) in sections {
        let small = if small.is_empty() { small } else { format!("<small>{small}</small>") };
        let card = format!("<section class=\"card\"><h2>{title}{small}</h2>{body}</section>\n");
        if wide {
            out += &flush(&mut columns);
            out += &card;
            continue;
        }
        let shorter = usize::from(columns[1].0 < columns[0].0);
        columns[shorter].0 += height(&body);
        columns[shorter].1 += &card;
    }
    out + &flush(&mut columns)
}

/// Estimated height of a section in pixels.
fn height(body: &str) -> usize {
    let shown = body.split("<details").next().unwrap_or(body);
    let many = |part: &str| shown.matches(part).count();
    let picture = if shown.contains("0 0 640 460") { 410 } else { 270 };
    80 + many("<svg") * picture + many("<tr>") * 33 + many("class=\"label\"") * 28 + many("<p") * 26
}

/// Title, small text beside it, whether it takes the full width, body.
type Section = (&'static str, String, bool, String);

fn sections(run: &Recording, report: &Report, tally: &Tally) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    let mut add = |title, small: &str, wide, body: Option<String>| {
        all.extend(body.map(|body| (title, small.to_owned(), wide, body)));
    };
    add("Violations", "what the oracle saw", true, tables::violations(report));
    add("Delivery over time", "", false, plots::over_time(run, tally));
    add("Latency", "share of deliveries within a time", false, plots::latency(tally));
    add("Hops", &hops_note(report), false, plots::hops(report));
    add("Reach", "share of nodes by hops", false, plots::reached(report));
    let attacks = Some(tables::attacks(report));
    add("Attacks", "what was tried, and its effect", false, attacks);
    add("Expectations", "limits that the scenario sets", false, tables::expectations(report));
    let total = format!("{} in total", count(report.rejections.total));
    add("Rejections by reason", &total, false, Some(tables::by_reason(report)));
    add("Rejections by sender", "at honest nodes", false, Some(tables::by_liar(run)));
    add("Faults", "when each was active", false, plots::faults(run));
    add("The mesh", "chosen links, at the end", false, graph::mesh(run));
    add("Cost", "", false, Some(tables::resources(&report.resources)));
    add("What this run does not show", "", false, Some(tables::limits(report)));
    add("Counted", "what a run must show to prove anything", true, tables::counted(report));
    let slowest = trace(run, "").and_then(|trace| tree::tree(&trace));
    add("The slowest message", "who received it from whom, and when", true, slowest);
    all
}

fn hops_note(report: &Report) -> String {
    let Some(theory) = &report.delivery.theory else { return String::new() };
    format!(
        "each node pushes to {} links; Pittel: all in {} rounds",
        figure(theory.fan_out),
        figure(theory.rounds)
    )
}

fn header(report: &Report) -> String {
    let expected = match (report.verdict, report.expected_verdict) {
        (Verdict::Pass, Verdict::Pass) | (Verdict::Interrupted, _) => String::new(),
        (found, expected) if found == expected => {
            "<p class=\"good\">As the scenario declares.</p>".into()
        }
        (_, expected) => {
            format!("<p class=\"fail\">The scenario expects {}.</p>", word(expected).to_lowercase())
        }
    };
    let world = match report.backend {
        Backend::Processes => "real processes",
        Backend::Simulated => "simulated",
    };
    let seed = report.seed.map_or_else(String::new, |seed| format!(" · seed {seed}"));
    let digest = report.digest.as_deref().map_or_else(String::new, |digest| {
        format!(" · digest <span class=\"mono\">{}</span>", cut(digest, 16))
    });
    // Beyond the bound nothing is promised, so a pass is not shown as a success.
    let badge = match report.verdict {
        Verdict::Pass if !report.within_bound => "beyond",
        verdict => verdict.name(),
    };
    let bound = if report.within_bound { "within" } else { "<b class=\"warn\">beyond</b>" };
    format!(
        "<header><span class=\"badge {}\">{}</span><h1>{}</h1><p>{}</p>{expected}\
         <p class=\"sub\">{world}{seed}{digest}</p><p class=\"sub\">{} nodes = {} honest + {} \
         malicious · quorum {} · {bound} the bound of f = {}</p><code class=\"again\">{}</code>\
         </header>\n",
        badge,
        word(report.verdict),
        safe(&report.name),
        safe(&sentence(report)),
        count(report.nodes as u64),
        count(report.honest as u64),
        count(report.malicious.len() as u64),
        count(report.quorum as u64),
        count(report.f as u64),
        cut(&report.reproduce, 2000)
    )
}

fn tiles(report: &Report) -> String {
    let d = &report.delivery;
    let ms = |value: f64| time(value * 1000.0);
    let mut tiles = vec![
        (
            d.ratio.map_or("-".into(), percent),
            format!("{} of {} deliveries", count(d.delivered), count(d.expected)),
        ),
        (count(report.published), "messages published".into()),
    ];
    if let Some(latency) = d.latency_ms {
        tiles.push((ms(latency.p50), format!("median latency; p99 {}", ms(latency.p99))));
    }
    if let Some(hops) = d.true_hops.as_ref().or(d.hops.as_ref()) {
        tiles.push((figure(hops.mean), format!("hops on average; at most {}", hops.max)));
    }
    if let Some(copies) = d.copies_per_delivery {
        tiles.push((figure(copies), "copies for each delivery".into()));
    }
    tiles.push((count(report.rejections.total), "frames refused".into()));
    let liars = report.malicious.len();
    if liars > 0 || report.bans.honest > 0 {
        let banned = format!("{} of {}", count(report.bans.malicious), count(liars as u64));
        tiles.push((banned, format!("liars banned; {} honest nodes", report.bans.honest)));
    }
    let tile = |(value, what): (String, String)| {
        format!("<div class=\"tile\"><b>{value}</b><span>{what}</span></div>")
    };
    format!("<div class=\"tiles\">{}</div>\n", tiles.into_iter().map(tile).collect::<String>())
}

fn footer(report: &Report) -> String {
    let settle = report.settle_s.map_or_else(String::new, |settle| {
        format!(" The liveness phase had a limit of {}.", time(settle * 1e6))
    });
    let dead = match report.dead.len() {
        0 => String::new(),
        n => format!(" {n} nodes were dead at the end; nothing was expected of them."),
    };
    format!(
        "<footer>Counted at honest nodes; true hops are traced back from node to \
         node.{dead}{settle} report.json has every number.</footer>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{big, clean};
    use crate::report::{FaultRecord, Violation, judge};

    fn page(run: &Recording) -> String {
        html(run, &judge(run))
    }

    fn self_contained(page: &str) {
        let page = page.replace("http://www.w3.org", "");
        for other in ["http://", "https://", "src=", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(other), "{other}");
        }
        for tag in ["svg", "section", "table", "details", "div", "main"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(page.matches(&open).count(), page.matches(&close).count(), "{tag}");
        }
    }

    #[test]
    fn a_page_shows_all_and_needs_no_other_host() {
        let mut run = clean();
        run.faults.push(FaultRecord {
            what: "partition of 2 nodes".into(),
            at: 1100,
            until: Some(1900),
            nodes: vec![1, 2],
        });
        run.not_modelled.push("loss".into());
        let page = page(&run);
        self_contained(&page);
        for part in [
            "PASS",
            "loyal sim test --seed 7",
            "Delivery over time",
            "Latency",
            "Pittel",
            "bad_signature",
            "partition of 2 nodes",
            "Not modelled",
            "The mesh",
            "forge+drop",
            "hop 1 as claimed, in truth 2",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("Violations") && !page.contains("NaN"));
    }

    #[test]
    fn hostile_text_is_text() {
        let mut run = clean();
        let evil = "</svg><script src=https://evil.example>\u{0}</script>\"onload=\"x'";
        run.name = evil.into();
        run.reproduce = evil.into();
        run.nodes[1].name = evil.into();
        run.nodes[3].name = evil.into();
        run.nodes[3].spec = Some(evil.into());
        run.nodes[1].rejections[0].reason = evil.into();
        run.counted.insert(evil.into(), 1);
        run.not_modelled.push(evil.into());
        run.violations.push(Violation {
            invariant: evil.into(),
            liveness: false,
            at: 5,
            node: Some(1),
            what: evil.into(),
        });
        run.faults.push(FaultRecord { what: evil.into(), at: 1, until: None, nodes: vec![1] });
        let page = page(&run);
        let code = page.replace("src=https:&#47;&#47;", "");
        self_contained(&code);
        assert!(!page.contains("\"onload"), "an attribute was left");
        assert!(page.contains("SAFETY BROKEN"));
    }

    #[test]
    fn an_empty_run_has_a_page() {
        let mut run = clean();
        run.posts.clear();
        run.arrivals.clear();
        run.batches.clear();
        run.nodes.clear();
        run.links.clear();
        let page = page(&run);
        self_contained(&page);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn ten_thousand_nodes_fit_into_two_megabytes() {
        let mut run = big(10_000, 100);
        run.links = (0..80_000).map(|n| (n % 10_000, (n * 7 + 13) % 10_000)).collect();
        let page = page(&run);
        self_contained(&page);
        assert!(page.len() < 500_000, "{} bytes", page.len());
        assert!(page.contains("too many to draw"));
    }
}
