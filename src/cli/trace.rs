//! A message's path for a terminal: a tree of which node had it from which, and the nodes that
//! refused it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::output;
use crate::report::{Had, Trace, escape};

/// Maximum number of nodes drawn of a tree.
const MOST_LINES: usize = 400;
/// Maximum number of nodes named of the slowest path.
const MOST_WAY: usize = 64;

/// Formats the trace, with ANSI colours.
pub(super) fn text(trace: &Trace) -> String {
    let mut out = format!("\x1b[1mmessage {}\x1b[0m\n", trace.id);
    if let (Some(author), Some(name), Some(seq)) = (&trace.author, &trace.author_name, trace.seq) {
        let name = escape(name, 64);
        let topic = trace
            .topic
            .as_ref()
            .map_or_else(String::new, |topic| format!(", topic \"{}\"", escape(topic, 64)));
        let _ = writeln!(out, "author  {name} {}, slot {seq}{topic}", output::short(author));
    }
    Tree::new(trace).draw(&mut out);
    slowest(trace, &mut out);
    for (label, nodes) in [("missing at", &trace.missing), ("no answer from", &trace.unreachable)] {
        if !nodes.is_empty() {
            let shown = |name: &String| match trace.liars.contains(name) {
                true => format!("{name} (malicious)"),
                false => name.clone(),
            };
            let nodes: Vec<String> = nodes.iter().map(shown).collect();
            let _ = writeln!(out, "\x1b[33m{label} {}\x1b[0m", nodes.join(", "));
        }
    }
    for row in &trace.refused {
        let from = match (&row.link_name, &row.link) {
            (Some(name), _) => escape(name, 64),
            (None, Some(key)) => output::short(key).to_owned(),
            (None, None) => "its own API".into(),
        };
        let (reason, detail) = (escape(&row.reason, 32), escape(&row.detail, 100));
        let _ = writeln!(
            out,
            "\x1b[31mrefused\x1b[0m by {} from {from}: {reason} ×{} ({detail})",
            row.node, row.count
        );
    }
    out
}

/// The path to the node that had it last; only for a recorded run, where the whole path is known.
fn slowest(trace: &Trace, out: &mut String) {
    if !trace.recorded {
        return;
    }
    let by_key: BTreeMap<&str, &Had> =
        trace.delivered.iter().map(|had| (&*had.key, had)).rev().collect();
    let honest = |had: &&Had| !trace.liars.contains(&had.node);
    let Some(last) = trace.delivered.iter().filter(honest).max_by_key(|had| had.at) else { return };
    let mut way = vec![last.node.clone()];
    let mut from = last.from.as_deref();
    while let Some(had) = from.and_then(|key| by_key.get(key)) {
        if way.len() > MOST_WAY {
            break;
        }
        let liar = if trace.liars.contains(&had.node) { " (malicious)" } else { "" };
        way.push(format!("{}{liar}", had.node));
        from = had.from.as_deref();
    }
    way.reverse();
    let start = trace.posted.or(trace.delivered.first().map(|had| had.at)).unwrap_or(0);
    let after = last.at.saturating_sub(start) as f64 / 1000.0;
    let _ = writeln!(out, "last    {} after {after:.1} ms: {}", last.node, way.join(" → "));
}

/// The tree of deliveries: children had the message from their parent.
struct Tree<'a> {
    trace: &'a Trace,
    had: &'a [Had],
    children: BTreeMap<&'a str, Vec<usize>>,
    drawn: BTreeSet<usize>,
    start: u64,
}

impl<'a> Tree<'a> {
    fn new(trace: &'a Trace) -> Self {
        let had = &*trace.delivered;
        let mut children: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, one) in had.iter().enumerate() {
            if let Some(from) = &one.from {
                children.entry(from).or_default().push(number);
            }
        }
        let start = trace.posted.or(had.first().map(|first| first.at)).unwrap_or(0);
        Self { trace, had, children, drawn: BTreeSet::new(), start }
    }

    fn draw(mut self, out: &mut String) {
        let keys: BTreeSet<&str> = self.had.iter().map(|had| &*had.key).collect();
        let is_root = |had: &Had| had.from.as_deref().is_none_or(|from| !keys.contains(from));
        let roots = (0..self.had.len()).filter(|number| is_root(&self.had[*number]));
        // Nodes that name each other as the source: a clock or a claim is wrong, but no node is
        // left out.
        for number in roots.chain(0..self.had.len()) {
            self.branch(out, number);
        }
        let left = self.had.len() - self.drawn.len();
        if left > 0 {
            let _ = writeln!(out, "\x1b[2m… and {left} more; --json shows all of them\x1b[0m");
        }
    }

    fn branch(&mut self, out: &mut String, root: usize) {
        let mut open = vec![(root, String::new(), String::new())];
        while let Some((number, first, rest)) = open.pop() {
            if self.drawn.len() >= MOST_LINES || !self.drawn.insert(number) {
                continue;
            }
            let had = &self.had[number];
            self.line(out, had, &first);
            let children = self.children.get(&*had.key).map(Vec::as_slice).unwrap_or_default();
            for (place, child) in children.iter().enumerate().rev() {
                let last = place + 1 == children.len();
                let (corner, bar) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                open.push((*child, format!("{rest}{corner}"), format!("{rest}{bar}")));
            }
        }
    }

    fn line(&self, out: &mut String, had: &Had, first: &str) {
        let after = had.at.saturating_sub(self.start) as f64 / 1000.0;
        let mut how = match &had.from {
            None if self.trace.recorded => {
                format!("published {:.3} s into the run", had.at as f64 / 1e6)
            }
            None => format!("published {}", output::time(had.at)),
            Some(_) => format!("+{after:.1} ms, hop {}", had.hops),
        };
        if let Some(hops) = had.true_hops.filter(|hops| *hops != u32::from(had.hops)) {
            let _ = write!(how, " \x1b[33mas claimed, in truth {hops}\x1b[0m");
        }
        if let (Some(key), true) = (&had.from, first.is_empty()) {
            let from = had.from_name.as_deref().unwrap_or_else(|| output::short(key));
            let _ = write!(how, ", from {from}");
        }
        let liar = if self.trace.liars.contains(&had.node) { " (malicious)" } else { "" };
        let _ = writeln!(out, "{first}\x1b[1m{}\x1b[0m{liar}  {how}", had.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(node: &str, at: u64, hops: u8, from: Option<&str>) -> Had {
        let (from, from_name) = (from.map(|name| format!("K{name}")), from.map(str::to_owned));
        Had {
            node: node.into(),
            key: format!("K{node}"),
            at,
            hops,
            true_hops: None,
            from,
            from_name,
        }
    }

    #[test]
    fn the_story_is_a_tree_and_leaves_nobody_out() {
        let trace = Trace {
            id: "aa.0".into(),
            delivered: vec![
                had("n0", 1_000_000, 0, None),
                had("n1", 1_001_000, 1, Some("n0")),
                had("n3", 1_001_200, 1, Some("n0")),
                had("n2", 1_002_500, 2, Some("n1")),
                had("n4", 1_003_000, 3, Some("n9")),
                had("n5", 1_004_000, 3, Some("n6")),
                had("n6", 1_005_000, 3, Some("n5")),
            ],
            missing: vec!["n7".into(), "n8".into()],
            liars: ["n8".to_owned()].into(),
            ..Trace::default()
        };
        let text = anstream::adapter::strip_str(&text(&trace)).to_string();
        for line in [
            "n0  published 1970-01-01T00:00:01.000Z",
            "├─ n1  +1.0 ms, hop 1",
            "│  └─ n2  +2.5 ms, hop 2",
            "└─ n3  +1.2 ms, hop 1",
            "n4  +3.0 ms, hop 3, from n9",
            "n5  +4.0 ms",
            "└─ n6",
            "missing at n7, n8 (malicious)",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_recorded_story_says_what_was_claimed_and_what_was_true() {
        let mut trace = Trace {
            recorded: true,
            posted: Some(1_000_000),
            delivered: vec![
                had("n0", 1_000_000, 0, None),
                had("n1", 1_001_000, 1, Some("n0")),
                had("n2", 1_009_000, 1, Some("n1")),
            ],
            liars: ["n1".to_owned()].into(),
            ..Trace::default()
        };
        trace.delivered[2].true_hops = Some(2);
        let text = anstream::adapter::strip_str(&text(&trace)).to_string();
        for line in [
            "n0  published 1.000 s into the run",
            "n1 (malicious)  +1.0 ms, hop 1",
            "n2  +9.0 ms, hop 1 as claimed, in truth 2",
            "last    n2 after 9.0 ms: n0 → n1 (malicious) → n2",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_huge_tree_is_cut_and_says_so_and_a_circle_ends() {
        let name = |number: u32| format!("n{number}");
        let from = |number: u32| (number > 0).then(|| name(number - 1));
        let one = |number: u32| had(&name(number), 1, 9, from(number).as_deref());
        let mut trace =
            Trace { recorded: true, delivered: (0..5000).map(one).collect(), ..Trace::default() };
        let long = text(&trace);
        assert!(long.contains("… and 4600 more"), "{}", long.len());
        trace.delivered.truncate(3);
        trace.delivered[0].from = Some("Kn2".into());
        assert!(text(&trace).contains("n2"));
    }
}
