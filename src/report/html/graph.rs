//! The mesh as a picture: a circle of nodes with the links that they chose; for a large mesh, a
//! histogram of links per node.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::super::escape::cut;
use super::super::{NodeRecord, Recording};
use super::chart::{Chart, Unit, legend};

/// Maximum number of nodes drawn one by one.
const MOST_NODES: usize = 200;
/// Maximum number of nodes with room for their names.
const MOST_NAMES: usize = 64;
/// Maximum number of links drawn.
const MOST_LINKS: usize = 4000;
/// Maximum number of links per node with a bar of its own.
const MOST_DEGREE: usize = 60;

const MIDDLE: (f64, f64) = (320.0, 230.0);
const RADIUS: f64 = 190.0;

/// The picture of the mesh; `None` if no node had chosen a link.
pub(super) fn mesh(run: &Recording) -> Option<String> {
    if run.links.is_empty() {
        return None;
    }
    Some(if run.nodes.len() > MOST_NODES { degrees(run) } else { circle(run) })
}

fn place(number: usize, of: usize, radius: f64) -> (f64, f64) {
    let angle = TAU * number as f64 / of as f64 - TAU / 4.0;
    (MIDDLE.0 + radius * angle.cos(), MIDDLE.1 + radius * angle.sin())
}

fn circle(run: &Recording) -> String {
    let of = run.nodes.len();
    let class = if run.links.len() <= MOST_NAMES * 2 { "few" } else { "many" };
    let mut out = format!(
        "<svg viewBox=\"0 0 640 460\" class=\"{class}\" role=\"img\" aria-label=\"The mesh\">\
         <title>The links that nodes chose</title>",
    );
    let mut inbound = vec![0usize; of];
    for (from, to) in run.links.iter().take(MOST_LINKS) {
        let (from, to) = (*from as usize, *to as usize);
        if from >= of || to >= of {
            continue;
        }
        inbound[to] += 1;
        let ((x1, y1), (x2, y2)) = (place(from, of, RADIUS), place(to, of, RADIUS));
        // Bent towards the centre, so that links between adjacent nodes do not coincide with the
        // circle.
        let (cx, cy) = ((x1 + x2 + MIDDLE.0) / 3.0, (y1 + y2 + MIDDLE.1) / 3.0);
        let lies = !run.nodes[from].honest() || !run.nodes[to].honest();
        let class = if lies { "edge liar" } else { "edge" };
        let _ = write!(
            out,
            "<path class=\"{class}\" d=\"M{x1:.0} {y1:.0}Q{cx:.0} {cy:.0} {x2:.0} {y2:.0}\"/>"
        );
    }
    for (number, node) in run.nodes.iter().enumerate() {
        dot(&mut out, node, (number, of), inbound[number]);
    }
    out += "</svg>";
    let mut series = vec![("one", "honest")];
    if run.nodes.iter().any(|node| !node.honest()) {
        series.push(("bad", "malicious"));
    }
    if run.nodes.iter().any(|node| node.dead) {
        series.push(("gone", "dead at the end"));
    }
    out + &legend(&series)
}

fn dot(out: &mut String, node: &NodeRecord, (number, of): (usize, usize), inbound: usize) {
    let (x, y) = place(number, of, RADIUS);
    let class = match (node.dead, node.honest()) {
        (true, _) => "gone",
        (_, false) => "bad",
        _ => "one",
    };
    let size = if of > 80 { 3.5 } else { 6.0 };
    let hint = match &node.spec {
        Some(spec) => format!("{}: {spec}, chosen by {inbound}", node.name),
        None => format!("{}, chosen by {inbound}", node.name),
    };
    let _ = write!(
        out,
        "<circle class=\"{class} ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\"><title>{}</title>\
         </circle>",
        cut(&hint, 200)
    );
    if of <= MOST_NAMES {
        let (x, y) = place(number, of, RADIUS + 14.0);
        let anchor = match x - MIDDLE.0 {
            side if side > 40.0 => "start",
            side if side < -40.0 => "end",
            _ => "middle",
        };
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            y + 4.0,
            cut(&node.name, 16)
        );
    }
}

fn degrees(run: &Recording) -> String {
    let mut links = vec![0usize; run.nodes.len()];
    for (from, to) in &run.links {
        for end in [*from, *to] {
            if let Some(count) = links.get_mut(end as usize) {
                *count += 1;
            }
        }
    }
    let most = links.iter().copied().max().unwrap_or(0).min(MOST_DEGREE);
    let mut histogram = vec![[0u64; 2]; most + 1];
    for (node, links) in run.nodes.iter().zip(&links) {
        histogram[(*links).min(most)][usize::from(!node.honest())] += 1;
    }
    let highest = histogram.iter().map(|[good, bad]| good + bad).max().unwrap_or(1);
    let least = histogram.iter().position(|[good, bad]| good + bad > 0).unwrap_or(0);
    let mut chart =
        Chart::new((least as f64 - 0.6, most as f64 + 0.6), (0.0, highest as f64 * 1.08));
    chart.axes((Unit::Count, "links of a node, chosen or accepted"), (Unit::Count, "nodes"), true);
    for (count, [good, bad]) in histogram.iter().enumerate().skip(least) {
        let (x, all) = (count as f64, (good + bad) as f64);
        let hint = format!("{count} links: {good} honest, {bad} malicious nodes");
        if *bad > 0 {
            chart.bar((x - 0.4, x + 0.4), all, "bad", &hint);
        }
        chart.bar((x - 0.4, x + 0.4), *good as f64, "one", &hint);
    }
    let mut series = vec![("one", "honest")];
    if run.nodes.iter().any(|node| !node.honest()) {
        series.push(("bad", "malicious, on top"));
    }
    let note = format!(
        "<p class=\"note\">{} nodes and {} chosen links: too many to draw one by one.</p>",
        run.nodes.len(),
        run.links.len()
    );
    chart.svg("Nodes by their number of links") + &legend(&series) + &note
}
