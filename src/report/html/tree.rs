//! The path of one message through the mesh, as a tree over time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::escape::{cut, safe};
use super::super::numbers::time;
use super::super::{Had, Trace};

/// Maximum number of nodes of a tree drawn in full; of a larger one only the slowest path is drawn.
const MOST_NODES: usize = 200;
/// Maximum number of rows of a tree that is shown unfolded.
const MOST_OPEN: usize = 40;
const ROW: f64 = 19.0;
const LEFT: f64 = 14.0;
const WIDTH: f64 = 500.0;

/// A row of the tree: a node, and the row of its parent.
struct Row<'a> {
    had: &'a Had,
    parent: Option<usize>,
}

/// The trace as a picture; `None` if no node had the message.
pub(super) fn tree(trace: &Trace) -> Option<String> {
    let full = trace.delivered.len() <= MOST_NODES;
    let rows = if full { all(trace) } else { slowest(trace) };
    let start = trace.posted.or(trace.delivered.first().map(|had| had.at))?;
    let end = rows.iter().map(|row| row.had.at).max()?.max(start + 1);
    let body = draw(trace, &rows, start, end);
    let picture = format!(
        "<svg class=\"tree\" viewBox=\"0 0 640 {:.0}\" role=\"img\" aria-label=\"Path of the message\">\
         {body}</svg>",
        rows.len() as f64 * ROW + 32.0
    );
    let open = if rows.len() <= MOST_OPEN { " open" } else { "" };
    let what = if full {
        format!("{} nodes received it", rows.len())
    } else {
        format!("the path to the last of {} nodes that received it", trace.delivered.len())
    };
    Some(format!(
        "<p class=\"mono\">{}</p><p>slot {} of {}</p><details{open}><summary>{what}, the last after \
         {}</summary>{picture}</details>{}",
        cut(&trace.id, 70),
        trace.seq.unwrap_or(0),
        safe(trace.author_name.as_deref().unwrap_or("a stranger")),
        time((end - start) as f64),
        rest(trace)
    ))
}

fn rest(trace: &Trace) -> String {
    let mut out = String::new();
    if !trace.missing.is_empty() {
        let some: Vec<String> = trace.missing.iter().take(20).map(|name| safe(name)).collect();
        let more = trace.missing.len().saturating_sub(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = write!(out, "<p class=\"warn\">missing at {}{more}</p>", some.join(", "));
    }
    for row in trace.refused.iter().take(10) {
        let from = row.link_name.as_deref().unwrap_or("its own API");
        let _ = write!(
            out,
            "<p>refused by {} from {}: {} ×{}</p>",
            safe(&row.node),
            safe(from),
            safe(&row.reason),
            row.count
        );
    }
    out
}

/// All nodes, parents before children, each subtree in adjacent rows.
fn all(trace: &Trace) -> Vec<Row<'_>> {
    let had = &trace.delivered;
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, one) in had.iter().enumerate().rev() {
        by_key.insert(&one.key, number);
    }
    let parent = |one: &Had| one.from.as_deref().and_then(|from| by_key.get(from)).copied();
    let mut children: Vec<Vec<usize>> = vec![vec![]; had.len()];
    let mut roots = Vec::new();
    for (number, one) in had.iter().enumerate() {
        match parent(one) {
            Some(from) if from != number => children[from].push(number),
            _ => roots.push(number),
        }
    }
    let mut rows = Vec::with_capacity(had.len());
    let mut drawn = vec![false; had.len()];
    for root in roots.into_iter().chain(0..had.len()) {
        let mut open = vec![(root, None)];
        while let Some((number, parent)) = open.pop() {
            if std::mem::replace(&mut drawn[number], true) {
                continue;
            }
            let row = rows.len();
            rows.push(Row { had: &had[number], parent });
            open.extend(children[number].iter().rev().map(|child| (*child, Some(row))));
        }
    }
    rows
}

/// The path to the honest node that had it last.
fn slowest(trace: &Trace) -> Vec<Row<'_>> {
    let by_key: BTreeMap<&str, &Had> =
        trace.delivered.iter().rev().map(|had| (&*had.key, had)).collect();
    let honest = trace.delivered.iter().filter(|had| !trace.liars.contains(&had.node));
    let mut way = Vec::new();
    let mut next = honest.max_by_key(|had| had.at);
    while let Some(had) = next.filter(|_| way.len() < MOST_NODES) {
        way.push(had);
        next = had.from.as_deref().and_then(|from| by_key.get(from)).copied();
    }
    way.reverse();
    let parent = |row: usize| row.checked_sub(1);
    way.into_iter().enumerate().map(|(row, had)| Row { had, parent: parent(row) }).collect()
}

fn draw(trace: &Trace, rows: &[Row<'_>], start: u64, end: u64) -> String {
    let x = |had: &Had| {
        let part = had.at.saturating_sub(start) as f64 / (end - start) as f64;
        LEFT + part * WIDTH
    };
    let y = |row: usize| row as f64 * ROW + 14.0;
    let (mut edges, mut dots) = (String::new(), String::new());
    for (number, row) in rows.iter().enumerate() {
        if let Some(parent) = row.parent {
            let (left, top) = (x(rows[parent].had), y(parent));
            let _ = write!(
                edges,
                "<path class=\"branch\" d=\"M{left:.1} {top:.1}V{:.1}H{:.1}\"/>",
                y(number),
                x(row.had)
            );
        }
        let lies = trace.liars.contains(&row.had.node);
        let class = if lies {
            "bad"
        } else if row.had.from.is_none() {
            "two"
        } else {
            "one"
        };
        let _ = write!(
            dots,
            "<circle class=\"{class} ring\" cx=\"{0:.1}\" cy=\"{1:.1}\" r=\"4.5\"/>\
             <text class=\"tick strong\" x=\"{2:.1}\" y=\"{3:.1}\">{4} <tspan class=\"faint\">{5}\
             </tspan></text>",
            x(row.had),
            y(number),
            x(row.had) + 9.0,
            y(number) + 4.0,
            cut(&row.had.node, 16),
            note(row.had, start)
        );
    }
    let floor = y(rows.len());
    edges
        + &dots
        + &format!(
            "<path class=\"axis\" d=\"M{LEFT} {floor:.1}H{:.1}\"/><text class=\"tick\" x=\"{LEFT}\" \
             y=\"{2:.1}\">0</text><text class=\"tick\" x=\"{0:.1}\" y=\"{2:.1}\" \
             text-anchor=\"end\">{1}</text>",
            LEFT + WIDTH,
            time((end - start) as f64),
            floor + 15.0
        )
}

/// The time since the start, and the hops.
fn note(had: &Had, start: u64) -> String {
    let after = time(had.at.saturating_sub(start) as f64);
    match had.true_hops.filter(|hops| *hops != u32::from(had.hops)) {
        _ if had.from.is_none() => "published it".into(),
        Some(hops) => format!("{after}, hop {} as claimed, in truth {hops}", had.hops),
        None => format!("{after}, hop {}", had.hops),
    }
}
